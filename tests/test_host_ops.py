"""The functions of `host_ops` against those of `keras.ops` they stand for."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from keras_pianogen.attention import dispatch

X, IDS = np.array([[3, 1, 2], [9, 7, 8]], "int32"), np.array([2, 0, 1], "int32")
FLOATS = np.array([[0.5, np.nan], [2.0, -1.0]], "float32")
CALLS = {
    "convert_to_tensor": [(X,), (2, "int32")],
    "cast": [(X, "float32"), (X, "bool"), (FLOATS[1], "int32")],
    "shape": [(X,)],
    "reshape": [(X, (3, 2))],
    "zeros_like": [(X,)],
    "ones_like": [(FLOATS,)],
    "arange": [(3, None, 1, "int32"), (1, 9, 2, "int32")],
    "one_hot": [(IDS, 4)],
    "stack": [([X, X], -1)],
    "unstack": [(X, None, -1)],
    "concatenate": [([X, X], 1)],
    "split": [(X, [1, 2], 1), (X, 2, 0)],
    "take": [(IDS, X % 3, 0), (X, IDS, -1), (X, np.int32(-1), -1)],
    "take_along_axis": [(X, X % 3, 1)],
    "slice_update": [(X, (0, 1), X[:, :1])],
    "sort": [(X, -1)],
    "searchsorted": [(np.array([1, 4, 9]), X, "right")],
    "max": [(X,), (X, -1), (X, -1, True)],
    "log": [(np.abs(FLOATS),), (np.array(2.0, "float32"),)],
    "all": [(X > 0,), (X > 2,)],
    "any": [(X > 8, -1)],
    "where": [
        (X > 2, 0, X),
        (X > 2, -1e9, 0.0),
        (X > 2, X, -X),
        (X > 2, 0, 1),
        (X > 2, True, False),
    ],
    "maximum": [(X, 2), (2, X), (X, -X), (FLOATS, 0.0)],
    "minimum": [(X, 2), (2, X), (X, -X), (FLOATS, 0.0)],
    "clip": [(X, 2, 8)],
    "equal": [(X, 2)],
    "isnan": [(FLOATS,)],
    "logical_and": [(X > 1, X < 8)],
    "logical_or": [(X > 8, X < 2)],
    "logical_not": [(X > 2,)],
    "while_loop": [
        (lambda i: i < 5, lambda i: (i + 1,), (np.int32(0),), most)
        for most in (3, 9)
    ],
}


def as_tensors(arguments):
    """Arrays as tensors; all else stays."""
    return keras.tree.map_structure(
        lambda x: ops.convert_to_tensor(x) if hasattr(x, "dtype") else x,
        arguments,
    )


@pytest.mark.skipif(keras.config.backend() != "torch", reason="is about torch")
def test_each_function_gives_what_keras_gives():
    from keras_pianogen.attention import host_ops

    names = {
        name
        for name, function in vars(host_ops).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }
    assert names == set(CALLS)
    for name, calls in CALLS.items():
        for arguments in calls:
            found = getattr(host_ops, name)(*arguments)
            expected = getattr(ops, name)(*as_tensors(arguments))
            # As lists, where a function gives several.
            found, expected = (
                given if isinstance(given, list | tuple) else [given]
                for given in (found, expected)
            )
            for ours, keras_s in zip(found, expected, strict=True):
                keras_s = ops.convert_to_numpy(keras_s)
                assert np.asarray(ours).dtype == keras_s.dtype, name
                np.testing.assert_array_equal(ours, keras_s, name)


@pytest.mark.skipif(keras.config.backend() != "torch", reason="is about torch")
def test_tensors_of_any_type_become_arrays():
    from keras_pianogen.attention import host_ops

    tensor = ops.cast(ops.convert_to_tensor(FLOATS), "bfloat16")
    array = host_ops.cast(tensor, "float32")
    np.testing.assert_array_equal(array, FLOATS)
    assert host_ops.convert_to_tensor(ops.ones(2)).tolist() == [1.0, 1.0]


@pytest.mark.skipif(keras.config.backend() != "torch", reason="is about torch")
def test_rows_of_logits_without_a_probability_are_not_drawn_from():
    state = ops.convert_to_tensor([1, 0])
    logits = np.zeros((2, 3), "float32")
    for min_p in (0.0, 0.1):
        settings = ops.ones(()), ops.convert_to_tensor(min_p)
        draws = dispatch.categorical_draws(state, *settings)
        assert draws.draw(logits).shape == (2,)
        for wrong in (np.nan, np.inf):
            with pytest.raises(ValueError, match="must have a probability"):
                draws.draw(logits + np.array([[0, 0, 0], [0, 0, wrong]], "f4"))
