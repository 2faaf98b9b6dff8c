"""How notes enter a model: the sum of the embeddings of their fields."""

import keras
import numpy as np
from keras import ops

from keras_pianogen.layers.building import apply


@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoteEmbedding(keras.layers.Layer):
    """The sum of the embeddings of a note's fields.

    Args:
        sizes: ints. Number of classes of each field.
        hidden_dim: int. Width of the embeddings.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: int tensor of shape (..., fields): the class of each field, or
            -1 where there is none; that has an embedding too.

    Returns:
        A tensor of shape (..., hidden_dim).

    Examples:
        >>> import numpy as np
        >>> layer = NoteEmbedding((5, 128), 16)
        >>> tuple(layer(np.array([[[0, 60], [4, 62]]])).shape)
        (1, 2, 16)
    """

    def __init__(self, sizes, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.sizes = tuple(sizes)
        self.hidden_dim = hidden_dim
        # Each field has a row for "none" before those of its classes.
        self.firsts = np.cumsum([1, *(n + 1 for n in self.sizes[:-1])])

    def build(self, input_shape):
        self.embedding = keras.layers.Embedding(
            sum(self.sizes) + len(self.sizes),
            self.hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.embedding.build((None, None))
        self.built = True

    def call(self, inputs):
        firsts = ops.convert_to_tensor(self.firsts, "int32")
        ids = ops.cast(inputs, "int32") + firsts
        return ops.sum(apply(self.embedding, ids), axis=-2)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.hidden_dim)

    def compute_output_spec(self, inputs):
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        config = super().get_config()
        config.update({"sizes": self.sizes, "hidden_dim": self.hidden_dim})
        return config


def row_classes(form, rows, infilling=False, ops=ops):
    """The class of each field of note tuples, in any backend's tensors.

    Args:
        form: a `NoteTuples`.
        rows: int tensor or array of shape (..., fields): shift, pitch, velocity
            bin and duration, with times in ticks. Fields below 0 are none.
        infilling: bool. Whether the field of gaps follows, see `data.gaps`.
            All further fields are classes already.
        ops: `keras.ops`, or a module that has its functions. Defaults to
            `keras.ops`.

    Returns:
        An int32 tensor of the shape of `rows`; -1 where a field is none.
    """
    shift, pitch, velocity, duration, *more = ops.unstack(
        ops.convert_to_tensor(rows, "int32"), axis=-1
    )
    gap, controls = more[:infilling], more[infilling:]
    fields = [
        _tick_classes(form.shift_code, shift, ops),
        ops.maximum(pitch, -1),
        ops.maximum(velocity, -1),
        _tick_classes(form.duration_code, duration, ops),
        *(_gap_classes(form.shift_code, x, ops) for x in gap),
        *controls,
    ]
    return ops.stack(fields, axis=-1)


def _tick_classes(code, ticks, ops):
    firsts = ops.convert_to_tensor(code.firsts.astype("int32"))
    # In one row, because TensorFlow searches each row in a sequence of its own;
    # and a copy, because PyTorch warns of a tensor with gaps.
    found = ops.searchsorted(
        firsts, ops.reshape(ticks + 0, (-1,)), side="right"
    )
    return ops.reshape(ops.cast(found, "int32") - 1, ops.shape(ticks))


def _gap_classes(code, gap, ops):
    """`data.gaps.gap_classes`, of tensors."""
    in_gap = 1 + _tick_classes(code, ops.maximum(gap - 1, 0), ops)
    return ops.where(gap > 0, in_gap, gap)
