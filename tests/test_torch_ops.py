"""The functions of `torch_ops` against those of `keras.ops` they stand for."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

X, IDS = np.array([[3, 1, 2], [9, 7, 8]], "int32"), np.array([2, 0, 1], "int32")
FLOATS = np.array([[0.5, np.nan], [2.0, -1.0]], "float32")
CALLS = {
    "shape": [(X,)],
    "reshape": [(X, (3, 2))],
    "cast": [(X, "float32"), (X, "bool")],
    "zeros_like": [(X,)],
    "stack": [([X, X], -1)],
    "unstack": [(X, None, -1)],
    "concatenate": [([X, X], 1)],
    "split": [(X, [1, 2], 1)],
    "take": [(IDS, X % 3, 0), (X, IDS, -1), (X, np.int32(-1), -1)],
    "take_along_axis": [(X, X % 3, 1)],
    "sort": [(X, -1)],
    "searchsorted": [(np.array([1, 4, 9]), X, "right")],
    "max": [(X,), (X, -1), (X, -1, True)],
    "log": [(np.abs(FLOATS),)],
    "any": [(X > 8, -1)],
    "where": [(X > 2, 0, X), (X > 2, -1e9, 0.0), (X > 2, X, -X)],
    "maximum": [(X, 2), (2, X), (X, -X), (FLOATS, 0.0)],
    "minimum": [(X, 2), (2, X), (X, -X), (FLOATS, 0.0)],
    "clip": [(X, 2, 8)],
    "equal": [(X, 2)],
    "isnan": [(FLOATS,)],
    "logical_and": [(X > 1, X < 8)],
    "logical_or": [(X > 8, X < 2)],
    "logical_not": [(X > 2,)],
}


def as_tensors(arguments):
    """Arrays as tensors; all else stays."""
    return keras.tree.map_structure(
        lambda x: ops.convert_to_tensor(x) if hasattr(x, "dtype") else x,
        arguments,
    )


@pytest.mark.skipif(keras.config.backend() != "torch", reason="is about torch")
def test_each_function_gives_what_keras_gives():
    from keras_pianogen.attention import torch_ops

    names = {
        name
        for name, function in vars(torch_ops).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }
    assert names == set(CALLS)
    for name, calls in CALLS.items():
        for arguments in map(as_tensors, calls):
            found, expected = (
                getattr(module, name)(*arguments) for module in (torch_ops, ops)
            )
            # As lists of tensors, where a function gives several.
            found, expected = (
                [ops.convert_to_numpy(x) for x in given]
                if isinstance(given, list | tuple)
                else [ops.convert_to_numpy(given)]
                for given in (found, expected)
            )
            for ours, keras_s in zip(found, expected, strict=True):
                np.testing.assert_array_equal(ours, keras_s, name, strict=True)
    assert torch_ops.tanh is ops.tanh  # All others are Keras's own.
