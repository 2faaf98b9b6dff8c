"""Functions of `keras.ops`, in PyTorch's own operations.

They have the names and arguments of `keras.ops`, for tensors alone, without its
conversions and checks, which cost more than the arithmetic on what is known of
a note. Further functions of `keras.ops` are those of Keras.

Measured gain: a note of `note_transformer_maestro` takes 5.5 ms of one core,
and 6.9 ms with `keras.ops` (four pieces of 20 seconds, in turns).
"""

import keras
import torch

DTYPES = {"int32": torch.int32, "float32": torch.float32, "bool": torch.bool}


def __getattr__(name):
    return getattr(keras.ops, name)


def shape(x):
    return x.shape


def reshape(x, newshape):
    return x.reshape(newshape)


def cast(x, dtype):
    return x.to(DTYPES[dtype])


def zeros_like(x):
    return torch.zeros_like(x)


def stack(x, axis=0):
    return torch.stack(x, axis)


def unstack(x, num=None, axis=0):
    return x.unbind(axis)


def concatenate(xs, axis=0):
    return torch.cat(xs, axis)


def split(x, indices, axis=0):
    return torch.tensor_split(x, indices, axis)


def take(x, indices, axis=0):
    """`x` has one axis, or `axis` is its first or its last one."""
    return x[indices] if axis == 0 else x[..., indices]


def take_along_axis(x, indices, axis):
    return torch.take_along_dim(x, indices.long(), axis)


def sort(x, axis=-1):
    return torch.sort(x, axis).values


def searchsorted(sorted_sequence, values, side):
    return torch.searchsorted(
        sorted_sequence, values, side=side, out_int32=True
    )


def max(x, axis=None, keepdims=False):
    return x.max() if axis is None else x.amax(axis, keepdims)


def log(x):
    return torch.log(x)


def any(x, axis):
    return x.any(axis)


def where(condition, x1, x2):
    return torch.where(condition, x1, x2)


def maximum(x1, x2):
    """One of both may be a number."""
    if isinstance(x2, torch.Tensor) and isinstance(x1, torch.Tensor):
        return torch.maximum(x1, x2)
    return _clamped(x1, x2, "min")


def minimum(x1, x2):
    """One of both may be a number."""
    if isinstance(x2, torch.Tensor) and isinstance(x1, torch.Tensor):
        return torch.minimum(x1, x2)
    return _clamped(x1, x2, "max")


def clip(x, x_min, x_max):
    return x.clamp(x_min, x_max)


def equal(x1, x2):
    return x1 == x2


def isnan(x):
    return torch.isnan(x)


def logical_and(x1, x2):
    return x1 & x2


def logical_or(x1, x2):
    return x1 | x2


def logical_not(x):
    return ~x


def _clamped(x1, x2, bound):
    """The larger or smaller of a tensor and a number, in either order."""
    if isinstance(x1, torch.Tensor):
        return x1.clamp(**{bound: x2})
    return x2.clamp(**{bound: x1})
