"""Models as TensorFlow SavedModels, for programs that run without Keras."""

import keras

SIGNATURE = (
    "[{'token_ids': keras.InputSpec(shape=(1, 512), dtype='int32', "
    "name='token_ids'), 'padding_mask': keras.InputSpec(shape=(1, 512), "
    "dtype='bool', name='padding_mask')}]"
)


class Exports:
    """Mixin whose `export` says beforehand what a backend can't export.

    List this class before the KerasHub task among the bases of a class.
    """

    def export(
        self,
        filepath,
        format="tf_saved_model",
        verbose=None,
        input_signature=None,
        **kwargs,
    ):
        """Export the model, from event ids to logits, for inference.

        On TensorFlow, sequences and batches may have any size. On JAX, sizes
        are fixed by `input_signature`. On PyTorch nothing can be exported.

        Args:
            filepath: path of the folder to write.
            format: `"tf_saved_model"`, which is tested, or another one that
                `keras.Model.export` knows.
            verbose: bool. Whether to print what was exported.
            input_signature: a list with a dict of a `keras.InputSpec` for
                `token_ids` and one for `padding_mask`. Defaults to `None`,
                any size.
            **kwargs: See `keras.Model.export`.

        Raises:
            ValueError: if the backend can't export this.
        """
        _check(keras.config.backend(), input_signature)
        super().export(
            filepath,
            format=format,
            verbose=verbose,
            input_signature=input_signature,
            **kwargs,
        )


def _check(backend, input_signature):
    if backend == "torch":
        raise ValueError(
            "`export` needs the backend TensorFlow or JAX: save the model as "
            "a preset, load it there, and export it. Received: the backend "
            "PyTorch"
        )
    if backend == "jax" and not _is_fixed(input_signature):
        raise ValueError(
            "On JAX, `input_signature` must fix the batch size and the length, "
            f"as in {SIGNATURE}. Received: input_signature={input_signature}"
        )


def _is_fixed(signature):
    specs = keras.tree.flatten(signature)
    return all(
        spec is not None and None not in getattr(spec, "shape", (None,))
        for spec in specs
    )
