"""Relative attention over whole sequences, in plain operations of `keras.ops`.

All (time, time) logits are built at once. These functions serve lengths that
are only known when a graph runs, derivatives of any order, and attention in
both directions. Sequences are (batch, heads, time, width). Queries, keys and
relative embeddings have the width `key_dim`; values and outputs have the width
`value_dim`, which is smaller if keys carry phases.

The relative term is made by skewing (Huang et al., 2018, section 3.4.1) without
a copy. The queries are multiplied by the relative embeddings, whose distances
fall from left to right, and by one column more than there are keys. Read as one
line from element `queries - 1` on, the rows of the product are the skewed rows,
whose columns are keys.
"""

from keras import ops

# The logit of a hidden key.
HIDDEN = -1e9
# A query that sees no key gets weights of zero, and not of 1 / keys, because
# its logits are compared with LEAST, which is far above HIDDEN. The total of
# its weights is then 0, where that of every other query is 1 or more, and is
# replaced by LEAST_TOTAL for the division.
LEAST = -1e8
LEAST_TOTAL = 0.5


def attend(query, key, value, relative, padding_mask=None, offset=0):
    """Causal attention with relative positions.

    Args:
        query: tensor of shape (batch, heads, time, key_dim).
        key: tensor of shape (batch, heads, offset + time, key_dim). Query `i`
            stands at key `offset + i`.
        value: tensor of shape (batch, heads, offset + time, value_dim).
        relative: tensor of shape (max_distance, heads or 1, key_dim), the
            last row for distance 0. A query sees `max_distance` keys, its own
            included.
        padding_mask: optional bool tensor of shape (batch, offset + time),
            `False` where a key is hidden; or of shape (batch, time, offset +
            time), one mask for each query.
        offset: int. Number of keys before the first query's own.

    Returns:
        A tensor of shape (batch, heads, time, value_dim). A query that sees no
        key gets zeros.
    """
    keys, distances = ops.shape(key)[2], relative.shape[0]
    missing = keys - distances
    # Padding by a tensor is for TensorFlow's graphs alone.
    missing = max(missing, 0) if isinstance(keys, int) else (
        ops.maximum(missing, 0)
    )  # fmt: skip
    columns = ops.transpose(
        ops.pad(relative, ((missing, 1), (0, 0), (0, 0))), (1, 2, 0)
    )[:, :, -1 - keys :]  # (heads or 1, key_dim, keys + 1)
    query = query * query.shape[-1] ** -0.5
    return attend_by_columns(
        query, key, value, columns, distances, offset, padding_mask
    )


def attend_by_columns(
    query, key, value, columns, max_distance, offset, padding_mask=None
):
    """`attend`, given scaled queries and the columns of the relative term.

    `columns` has the shape (heads or 1, key_dim, keys + 1).
    """
    products = skew(ops.matmul(query, columns))
    logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + products
    time, keys = ops.shape(logits)[2:]
    distance = (
        ops.arange(time, dtype="int32")[:, None]
        + offset
        - ops.arange(keys, dtype="int32")
    )
    seen = (distance >= 0) & (distance < max_distance)
    if padding_mask is not None:
        mask = ops.cast(padding_mask, "bool")
        mask = mask[:, None] if len(mask.shape) == 3 else mask[:, None, None]
        seen = ops.logical_and(seen, mask)
    logits = ops.where(seen, ops.cast(logits, "float32"), HIDDEN)
    most = ops.maximum(ops.max(logits, axis=-1, keepdims=True), LEAST)
    weights = ops.exp(logits - ops.stop_gradient(most))
    total = ops.maximum(ops.sum(weights, axis=-1, keepdims=True), LEAST_TOTAL)
    return ops.matmul(ops.cast(weights / total, value.dtype), value)


def attend_both_ways(query, key, value, relative, padding_mask=None):
    """Attention of each event to those before and after it.

    Args:
        query: tensor of shape (batch, heads, time, key_dim).
        key: tensor of the shape of `query`.
        value: tensor of shape (batch, heads, time, value_dim).
        relative: tensor of shape (2 * max_distance - 1, heads or 1, key_dim),
            for distances from `max_distance - 1` back to as many ahead.
        padding_mask: optional bool tensor of shape (batch, time), `False`
            where a key is hidden.

    Returns:
        A tensor of shape (batch, heads, time, value_dim).
    """
    time, key_dim = ops.shape(query)[2:]
    max_distance = (relative.shape[0] + 1) // 2
    query = query * key_dim**-0.5
    logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    products = ops.matmul(query, _columns_both_ways(relative, time))
    # The skewed row of a query has its own distance 0 at its own place, and
    # `time - 1` columns behind the last key.
    logits = ops.cast(logits + skew(products)[..., :time], "float32")
    place = ops.arange(time, dtype="int32")
    seen = ops.abs(place[:, None] - place) < max_distance
    if padding_mask is not None:
        seen = ops.logical_and(
            seen, ops.cast(padding_mask, "bool")[:, None, None]
        )
    weights = ops.softmax(ops.where(seen, logits, HIDDEN), axis=-1)
    return ops.matmul(ops.cast(weights, value.dtype), value)


def _columns_both_ways(relative, time):
    """(heads or 1, key_dim, 2 * time): distances from `time - 1` down."""
    max_distance = (relative.shape[0] + 1) // 2
    columns = ops.transpose(relative, (1, 2, 0))
    if isinstance(time, int):
        more = max(0, time - max_distance)
    else:
        more = ops.maximum(0, time - max_distance)
    columns = ops.pad(columns, ((0, 0), (0, 0), (more, more + 1)))
    first = max_distance + more - time
    return columns[:, :, first : first + 2 * time]


def skew(products):
    """Products of queries by distance, moved to where their keys are.

    Args:
        products: tensor of shape (..., queries, columns), from the farthest
            distance on.

    Returns:
        A tensor of shape (..., queries, columns - 1). Column `c` of query `i`
        is now column `c + i - (queries - 1)`.
    """
    *rows, queries, columns = ops.shape(products)
    line = ops.reshape(products, (*rows, queries * columns))
    line = line[..., queries - 1 : queries - 1 + queries * (columns - 1)]
    return ops.reshape(line, (*rows, queries, columns - 1))
