"""How far attention is from sums in float64, and sampling from training.

    KERAS_BACKEND=jax python tests/exactness.py

Largest differences of outputs and gradients, and of a small model's logits,
2,048 events one by one through the cache against all at once; as shares of the
largest number that was expected, at least of 1. See docs/performance.md.
"""

import conftest  # noqa: F401
import keras
import numpy as np
import test_attention
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.generation import decoding
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM

EVENTS, AT_ONCE = 2048, 64
TRAINED = 512  # Events of context, of which the longer sequence takes four.
SHAPE = {
    "vocabulary_size": 391,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 64,
    "intermediate_dim": 128,
    "dropout": 0.0,
}
LOCAL = {"local_block_size": 128, "attend_previous_block": True}


def difference(found, expected):
    found = ops.convert_to_numpy(ops.cast(found, "float32"))
    return np.abs(found - expected).max() / max(1, np.abs(expected).max())


def against_twin(dtype, max_distance, offset=0):
    """Of the outputs, and of the gradient that is worst."""
    arrays = test_attention.random_arrays(
        256, max_distance, offset, batch=1, key_dim=32
    )
    inputs = [ops.cast(x, dtype) for x in arrays]
    # The twin starts from what is left of the numbers in that dtype.
    kept = [ops.convert_to_numpy(ops.cast(x, "float32")) for x in inputs]
    expected = test_attention.twin(*kept, offset=offset)
    found = test_attention.run(dispatch.attend, inputs, offset=offset)
    outputs, *gradients = map(difference, found, expected)
    return outputs, max(gradients)


def cached_against_full(dtype, **shape):
    """Logits of events one by one, as they are sampled, and of all at once."""
    keras.utils.set_random_seed(0)
    backbone = MusicTransformerBackbone(
        **SHAPE | shape,
        dtype="mixed_bfloat16" if dtype == "bfloat16" else dtype,
    )
    rng = np.random.default_rng(0)
    for weight in backbone.trainable_variables:
        if weight.name == "relative_embeddings":  # So that they matter.
            weight.assign(rng.normal(scale=0.3, size=weight.shape))
    model = MusicTransformerCausalLM(backbone)
    ids = rng.integers(3, SHAPE["vocabulary_size"], (1, EVENTS), "int32")
    mask = np.ones(ids.shape, "bool")
    full = model.predict_on_batch({"token_ids": ids, "padding_mask": mask})
    full = np.asarray(full, "float32")
    go_on, cache, found = compiled(model), model.build_cache(1), []
    for base in range(0, EVENTS, AT_ONCE):
        logits, cache = go_on(
            ops.convert_to_tensor(ids[:, base : base + AT_ONCE]),
            cache,
            ops.convert_to_tensor(base, "int32"),
        )
        found.append(ops.convert_to_numpy(logits))
    return difference(np.concatenate(found), full[0])


def compiled(model):
    """Logits (events, size) of some events, and the cache after them."""

    def go_on(ids, cache, base):
        step = decoding.cached_step(model, cache, base, AT_ONCE)

        def one(i, carried):
            logits, cache = carried
            i = ops.convert_to_tensor(i, "int32")
            last = ops.slice(ids, (0, i), (1, 1))
            new, cache = step(last, cache, i)
            new = ops.cast(new, "float32")
            return ops.slice_update(logits, (i, 0), new), cache

        logits = ops.zeros((AT_ONCE, SHAPE["vocabulary_size"]))
        state = logits, step.carried
        logits, cache = ops.fori_loop(0, AT_ONCE, one, state)
        return logits, step.merge(cache, AT_ONCE)

    if keras.config.backend() == "jax":
        import jax

        return jax.jit(go_on)
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(go_on, jit_compile=True)
    import torch

    return torch.no_grad()(go_on)


def report(dtype, what, *found):
    numbers = ", ".join(f"{x:.1e}" for x in found)
    print(f"{keras.config.backend()}, {dtype}, {what}: {numbers}", flush=True)


def main():
    dtypes = ("float32", "bfloat16")
    for dtype in dtypes:
        report(dtype, "global", *against_twin(dtype, 256))
        report(dtype, "window of 64", *against_twin(dtype, 64))
        report(dtype, "local", *against_twin(dtype, 512, offset=256))
    for dtype in dtypes:
        for what, shape in (
            ("cached", {"max_sequence_length": EVENTS}),
            ("past the trained length", {"max_sequence_length": TRAINED}),
            ("cached, local", LOCAL),
        ):
            report(dtype, what, cached_against_full(dtype, **shape))


if __name__ == "__main__":
    main()
