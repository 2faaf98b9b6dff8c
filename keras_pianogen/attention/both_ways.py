"""Relative attention that looks both ways, for models that judge.

Shapes as in `blocks`; the logits of a whole sequence are built at once, and
derivatives may be of any order.
"""

from keras import ops

from keras_pianogen.attention.blocks import HIDDEN


def attend(query, key, value, relative, padding_mask=None):
    """Attention of each event to those before and after it.

    Args:
        query: tensor of shape (batch, heads, time, key_dim), as the next two.
        key: see `query`.
        value: see `query`.
        relative: tensor of shape (2 * max_distance - 1, heads or 1, key_dim):
            distances from `max_distance - 1` back to as many ahead.
        padding_mask: optional bool tensor of shape (batch, time).

    Returns:
        A tensor of the shape of `query`.
    """
    batch, heads, time, key_dim = ops.shape(query)
    max_distance = (relative.shape[0] + 1) // 2
    query = query * key_dim**-0.5
    logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    products = ops.matmul(query, _columns(relative, time, max_distance))
    # Column c is of distance time - 1 - c. Read as one line from `time - 1`
    # on, in rows of 2 * time - 1, column j of row i is of distance i - j.
    line = ops.reshape(products, (batch, heads, time * 2 * time))
    line = line[:, :, time - 1 : time - 1 + time * (2 * time - 1)]
    skewed = ops.reshape(line, (batch, heads, time, 2 * time - 1))
    logits = ops.cast(logits + skewed[..., :time], "float32")
    place = ops.arange(time, dtype="int32")
    seen = ops.abs(place[:, None] - place) < max_distance
    if padding_mask is not None:
        seen = ops.logical_and(
            seen, ops.cast(padding_mask, "bool")[:, None, None]
        )
    weights = ops.softmax(ops.where(seen, logits, HIDDEN), axis=-1)
    return ops.matmul(ops.cast(weights, value.dtype), value)


def _columns(relative, time, max_distance):
    """(heads or 1, key_dim, 2 * time): distances from `time - 1` down."""
    columns = ops.transpose(relative, (1, 2, 0))
    if isinstance(time, int):
        more = max(0, time - max_distance)
    else:
        more = ops.maximum(0, time - max_distance)
    columns = ops.pad(columns, ((0, 0), (0, 0), (more, more + 1)))
    first = max_distance + more - time
    return columns[:, :, first : first + 2 * time]
