"""How the layers of this package call and build their parts."""

import numbers

import keras


def apply(layer, inputs, **kwargs):
    """Call a built layer without the bookkeeping of `Layer.__call__`.

    Keras's handling of masks and scopes takes some 100 microseconds, which is
    more than the arithmetic of one event. A layer that casts its inputs or is
    quantized needs this bookkeeping and is called as usual.
    """
    if (
        layer.quantization_mode is not None
        or layer.compute_dtype != layer.variable_dtype
    ):
        return layer(inputs, **kwargs)
    return layer.call(inputs, **kwargs)


def check_sizes(**sizes):
    """Raise a `ValueError` if a size is not a positive integer."""
    _check_whole(1, "a positive integer", sizes)


def check_count(**counts):
    """Raise a `ValueError` if a count is not an integer of 0 or more."""
    _check_whole(0, "an integer of 0 or more", counts)


def _check_whole(least, expected, values):
    for name, value in values.items():
        if not isinstance(value, numbers.Integral) or value < least:
            raise ValueError(
                f"`{name}` must be {expected}. Received: {name}={value!r}"
            )


def output_spec(layer, inputs, cache):
    """Outputs of a layer that keeps its inputs' shape, as `KerasTensor`s."""
    outputs = keras.KerasTensor(inputs.shape, dtype=layer.compute_dtype)
    if cache is None:
        return outputs
    return outputs, keras.tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, dtype=x.dtype), cache
    )


def clone(initializer):
    """A copy of an initializer, so that two weights never share a seed."""
    return initializer.__class__.from_config(initializer.get_config())
