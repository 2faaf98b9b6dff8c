"""What layers share: built parts called fast, initializers, checks."""

import numbers

import keras


def apply(layer, inputs, **kwargs):
    """Call a built layer that needs nothing of `Layer.__call__`'s own work.

    One event's arithmetic is so small that Keras's bookkeeping around each
    call (mask and scope handling, some 100 microseconds) would cost more
    than it. Casting and quantization need that bookkeeping.
    """
    if (
        layer.quantization_mode is not None
        or layer.compute_dtype != layer.variable_dtype
    ):
        return layer(inputs, **kwargs)
    return layer.call(inputs, **kwargs)


def check_sizes(**sizes):
    """Refuse a size that is not a positive integer."""
    for name, value in sizes.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(
                f"`{name}` must be a positive integer. "
                f"Received: {name}={value!r}"
            )


def output_spec(layer, inputs, cache):
    """What a layer that keeps its inputs' shape returns, cache included."""
    outputs = keras.KerasTensor(inputs.shape, dtype=layer.compute_dtype)
    if cache is None:
        return outputs
    return outputs, keras.tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, dtype=x.dtype), cache
    )


def clone(initializer):
    """A fresh copy, so that two weights never share a seed."""
    return initializer.__class__.from_config(initializer.get_config())
