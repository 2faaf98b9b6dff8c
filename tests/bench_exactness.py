"""How far attention is from sums in float64, and its cache from it.

    KERAS_BACKEND=jax python tests/bench_exactness.py

Largest differences, as shares of the largest number that was expected, at
least of 1; see docs/performance.md.
"""

import conftest  # noqa: F401
import keras
import numpy as np
import test_kernels
from keras import ops

from keras_pianogen import kernels
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.layers import RelativeLocalAttention

EVENTS = 2048


def difference(found, expected):
    found = ops.convert_to_numpy(ops.cast(found, "float32"))
    return np.abs(found - expected).max() / max(1, np.abs(expected).max())


def against_twin(dtype, max_distance, offset=0):
    """Of the outputs, and of the gradient that is worst."""
    arrays = test_kernels.random_arrays(
        256, max_distance, offset, batch=1, key_dim=32
    )
    inputs = [ops.cast(x, dtype) for x in arrays]
    # The twin starts from what is left of the numbers in that dtype.
    kept = [ops.convert_to_numpy(ops.cast(x, "float32")) for x in inputs]
    expected = test_kernels.twin(*kept, offset=offset)
    found = test_kernels.run(kernels.attend, inputs, offset=offset)
    outputs, *gradients = map(difference, found, expected)
    return outputs, max(gradients)


def cached_against_full(layer):
    """A cache that 2,048 events go through, one by one."""
    x = np.random.default_rng(0).normal(size=(1, EVENTS, 64))
    x = ops.convert_to_tensor(x, layer.compute_dtype)
    full = ops.convert_to_numpy(ops.cast(layer(x), "float32"))
    cache, worst = layer.build_cache(1), 0
    for i in range(EVENTS):
        outputs, cache = layer(
            x[:, i : i + 1], cache=cache, cache_update_index=i
        )
        worst = max(worst, difference(outputs, full[:, i : i + 1]))
    return worst


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
        shape = {"num_heads": 2, "key_dim": 32, "dtype": dtype}
        for window in (EVENTS, 512):
            layer = RelativeGlobalAttention(max_distance=window, **shape)
            what = f"cached, window of {window}"
            report(dtype, what, cached_against_full(layer))
        layer = RelativeLocalAttention(
            local_block_size=128, attend_previous_block=True, **shape
        )
        report(dtype, "cached, local", cached_against_full(layer))


if __name__ == "__main__":
    main()
