"""Relative attention in blocks of queries, in `keras.ops`, with its gradient.

JAX and TensorFlow use this path. Sequences are (batch, heads, time, key_dim),
or value_dim, see `whole`; a "row" is one head of one sequence.

A block of queries meets only the keys that it can see. Rows go through a loop,
a few at a time, so that the logits of a block stay in the processor's cache.
The gradient computes these logits again from the queries and keys, instead of
keeping them, so nothing of size (time, time) exists at any time. The relative
term is made by skewing, see `whole`.
"""

import functools
import typing

import numpy as np
from keras import ops

from keras_pianogen.attention.whole import HIDDEN
from keras_pianogen.attention.whole import LEAST
from keras_pianogen.attention.whole import LEAST_TOTAL
from keras_pianogen.attention.whole import attend_by_columns
from keras_pianogen.attention.whole import skew

# The most blocks whose keys end at different places. With more of them little
# work would be saved, and compiling would take longer.
STAIRS = 8
# Up to this length blocks may run at the same time, which is faster. In longer
# sequences they run one after another, which keeps memory linear.
SHORT = 1024


def attend(
    query,
    key,
    value,
    relative,
    padding_mask=None,
    offset=0,
    block_size=256,
    rows=None,
    differentiable=None,
):
    """Causal attention with relative positions, and its gradient.

    Args:
        query: see `whole.attend`.
        key: see `whole.attend`.
        value: see `whole.attend`.
        relative: see `whole.attend`.
        padding_mask: optional bool tensor of shape (batch, offset + time),
            `False` where a key is hidden.
        offset: see `whole.attend`.
        block_size: int. Number of queries in a block.
        rows: int that divides `heads`: number of rows handled at once. `None`
            for all of them.
        differentiable: function that makes the gradient differentiable, for
            a backend that can't differentiate it. It is given the gradient, a
            function of the outputs' gradient, of two tensors that were kept
            and of the inputs; and the plain function of the inputs.

    Returns:
        A tensor of shape (batch, heads, time, value_dim). A query that sees no
        key gets zeros.
    """
    staircase = Staircase(query.shape, relative.shape[0], offset, block_size)
    columns = _columns(relative, query.shape[1], staircase)
    query = query * query.shape[-1] ** -0.5
    attention = _attention(staircase, rows, differentiable)
    if padding_mask is None:
        return attention(query, key, value, columns)
    return attention(
        query, key, value, columns, ops.cast(padding_mask, "float32")
    )


class Stair(typing.NamedTuple):
    """Blocks of queries that all meet the same keys."""

    start: int  # The first query.
    count: int  # Number of blocks.
    size: int  # Queries of each block.
    first: int  # The first key.
    stop: int  # The key after the last one.


class Staircase:
    """Which queries are handled together, and which keys they meet.

    Args:
        query_shape: shape (batch, heads, time, key_dim) of the queries.
        max_distance: int. Number of keys that a query sees.
        offset: int. Number of keys before the first query's own.
        block_size: int. Number of queries in a block.
    """

    def __init__(self, query_shape, max_distance, offset, block_size):
        _, self.heads, self.time, _ = query_shape
        self.max_distance = max_distance
        self.offset = offset
        self.block_size = min(block_size, self.time)
        self.in_turn = self.time > SHORT

    def stairs(self):
        """Stairs from the first query to the last, at most `STAIRS` and one.

        All blocks of a stair meet the keys up to the stair's end, so that one
        loop handles them, however long the sequence is.
        """
        size = self.block_size
        blocks = -(-self.time // size)
        whole = self.time // size
        step = -(-whole // STAIRS)
        bounds = [*range(0, whole, step), whole] if whole else [0]
        for first, stop in zip(bounds[:-1], bounds[1:], strict=True):
            keys = self._keys(first * size, stop * size)
            yield Stair(first * size, stop - first, size, *keys)
        if blocks > whole:  # The last block is shorter than the others.
            start = whole * size
            keys = self._keys(start, self.time)
            yield Stair(start, 1, self.time - start, *keys)

    def _keys(self, start, stop):
        first = max(0, start + self.offset - self.max_distance + 1)
        return first, stop + self.offset

    @property
    def most_keys(self):
        return max(stair.stop - stair.first for stair in self.stairs())

    @property
    def most_behind(self):
        """The most keys of a stair behind the end of one of its blocks."""
        return max((stair.count - 1) * stair.size for stair in self.stairs())


def _columns(relative, heads, staircase):
    """Relative embeddings as (heads, key_dim, columns), padded with zeros.

    Distances fall from left to right. The columns are as many as the widest
    block needs, including distances that are too far or negative.
    """
    columns = ops.transpose(relative, (1, 2, 0))
    if columns.shape[0] != heads:
        columns = ops.broadcast_to(columns, (heads, *columns.shape[1:]))
    before = max(0, staircase.most_keys - staircase.max_distance)
    after = 1 + staircase.most_behind
    return ops.pad(columns, ((0, 0), (0, 0), (before, after)))


def _attention(staircase, rows, differentiable):
    """The function of scaled queries, keys, values and columns."""

    def gradients(upstream, outputs, sums, *inputs):
        return _gradients(staircase, rows, upstream, outputs, sums, *inputs)

    if differentiable is not None:
        gradients = differentiable(
            gradients, lambda *inputs: _plain(staircase, *inputs)
        )

    @ops.custom_gradient
    def attention(*inputs):
        groups = _Groups(ops.shape(inputs[0])[0], staircase.heads, rows)
        outputs, sums = groups.map(
            lambda x: _forward(staircase, *x), groups.split_all(*inputs)
        )
        kept = outputs, sums
        if differentiable is not None:  # They depend on the inputs alone.
            kept = tuple(map(ops.stop_gradient, kept))

        def gradient(*args, upstream=None):
            if upstream is None:  # On all backends but PyTorch.
                (upstream,) = args
            return gradients(upstream, *kept, *inputs)

        return groups.join(outputs), gradient

    return attention


def _gradients(staircase, rows, upstream, outputs, sums, *inputs):
    groups = _Groups(ops.shape(upstream)[0], staircase.heads, rows)
    found = groups.map(
        lambda x: _Backward(staircase, *x).gradients(),
        [outputs, sums, groups.split(upstream), *groups.split_all(*inputs)],
    )
    query, key, value, columns = map(groups.join, found)
    found = query, key, value, ops.sum(columns, axis=0)
    found = [
        ops.cast(x, like.dtype) for x, like in zip(found, inputs, strict=False)
    ]
    return *found, *(ops.zeros_like(visible) for visible in inputs[4:])


def _plain(staircase, query, key, value, columns, visible=None):
    """The function that `_attention` computes, in plain operations."""
    keys = key.shape[2]
    beyond = columns.shape[2] - staircase.most_behind  # Distance -1 is last.
    missing = max(0, keys + 1 - beyond)
    columns = ops.pad(columns, ((0, 0), (0, 0), (missing, 0)))
    columns = columns[:, :, missing + beyond - keys - 1 : missing + beyond]
    return attend_by_columns(
        query,
        key,
        value,
        columns,
        staircase.max_distance,
        staircase.offset,
        visible,
    )


class _Groups:
    """Rows in groups that run one after another, or all rows at once."""

    def __init__(self, batch, heads, rows):
        self.batch, self.heads, self.rows = batch, heads, rows

    def split(self, x):
        """(batch or 1, heads or 1, ...) to (groups, rows, ...)."""
        rest = x.shape[2:]
        x = ops.broadcast_to(x, (self.batch, self.heads, *rest))
        return ops.reshape(x, (-1, *rest) if self.rows is None else (
            self.batch * (self.heads // self.rows), self.rows, *rest
        ))  # fmt: skip

    def split_all(self, query, key, value, columns, visible=None):
        inputs = [query, key, value, columns[None]]
        if visible is not None:
            inputs.append(visible[:, None])
        return [self.split(x) for x in inputs]

    def join(self, x):
        rest = x.shape[1:] if self.rows is None else x.shape[2:]
        return ops.reshape(x, (self.batch, self.heads, *rest))

    def map(self, function, inputs):
        if self.rows is None:
            return function(inputs)
        return ops.map(function, list(inputs))


def _forward(staircase, query, key, value, columns, visible=None):
    """Outputs of a group of rows, and the logarithm of each query's total."""
    key = ops.transpose(key, (0, 2, 1))  # (rows, key_dim, keys)
    found, done = [], None
    for stair in staircase.stairs():
        keys = slice(stair.first, stair.stop)
        shown = None if visible is None else visible[:, keys]
        block = functools.partial(
            _forward_block,
            staircase,
            stair,
            query,
            key[:, :, keys],
            value[:, keys],
            columns,
            shown,
        )
        new, _ = _run(stair, block, done)
        found.append(new)
        done = new[0] if staircase.in_turn else None
    outputs, sums = zip(*found, strict=True)
    return ops.concatenate(outputs, axis=1), ops.concatenate(sums, axis=1)


def _forward_block(
    staircase, stair, query, key, value, columns, visible, at, done
):
    asked = _after(done, _at(query, at, stair.size))
    logits = _logits(staircase, asked, key, columns, at, stair.first, visible)
    most = ops.maximum(ops.max(logits, -1, keepdims=True), LEAST)
    weights = ops.exp(logits - most)
    total = ops.maximum(ops.sum(weights, -1, keepdims=True), LEAST_TOTAL)
    mixed = ops.matmul(ops.cast(weights, value.dtype), value)
    mixed = ops.cast(ops.cast(mixed, total.dtype) / total, value.dtype)
    return (mixed, most + ops.log(total)), ()


class _Backward:
    """Gradients of queries, keys, values and columns, of a group of rows."""

    def __init__(
        self,
        staircase,
        outputs,
        sums,
        upstream,
        query,
        key,
        value,
        columns,
        visible=None,
    ):
        self.staircase, self.visible = staircase, visible
        self.query, self.key, self.sums = query, key, sums
        self.upstream, self.columns = upstream, columns
        turned = [
            ops.transpose(x, (0, 2, 1)) for x in (query, key, value, upstream)
        ]
        self.query_t, self.key_t, self.value_t, self.upstream_t = (
            turned  # (rows, key_dim, time)
        )
        self.columns_t = ops.transpose(columns, (0, 2, 1))
        self.overlap = ops.sum(
            ops.cast(upstream, "float32") * ops.cast(outputs, "float32"),
            axis=-1,
            keepdims=True,
        )  # (rows, time, 1)

    def gradients(self):
        found, done = [], None
        sums = _zeros(self.key_t), _zeros(self.value_t), _zeros(self.columns)
        for stair in self.staircase.stairs():
            shown = self.visible
            if shown is not None:
                shown = shown[:, stair.first : stair.stop]
            block = functools.partial(self._block, stair, shown)
            (query,), sums = _run(stair, block, done, sums)
            found.append(query)
            done = query if self.staircase.in_turn else None
        key, value, columns = sums
        return (
            ops.concatenate(found, axis=1),
            ops.transpose(key, (0, 2, 1)),
            ops.transpose(value, (0, 2, 1)),
            columns,
        )

    def _block(self, stair, visible, at, done):
        first, stop, size = stair.first, stair.stop, stair.size
        weights, pulled = self._weights(stair, visible, at, done)
        by_column = _unskew(pulled)
        column = _first_column(
            self.staircase, self.columns, at, size, first, stop
        )
        columns_t = _at(self.columns_t, column, stop - first + 1)
        query_t = _at(self.query_t, at, size, axis=2)
        query = ops.matmul(pulled, self.key[:, first:stop])
        query = query + ops.matmul(by_column, columns_t)
        upstream_t = _at(self.upstream_t, at, size, axis=2)
        return (query,), (
            (ops.matmul(query_t, pulled), first),
            (ops.matmul(upstream_t, weights), first),
            (ops.matmul(query_t, by_column), column),
        )

    def _weights(self, stair, visible, at, done):
        """Weights of a block of queries, and the gradient of its logits."""
        keys, size = slice(stair.first, stair.stop), stair.size
        asked = _after(done, _at(self.query, at, size))
        logits = _logits(
            self.staircase,
            asked,
            self.key_t[:, :, keys],
            self.columns,
            at,
            stair.first,
            visible,
        )
        weights = ops.exp(logits - _at(self.sums, at, size))
        pull = _after(done, _at(self.upstream, at, size))
        pulled = ops.matmul(pull, self.value_t[:, :, keys])
        pulled = weights * (
            ops.cast(pulled, "float32") - _at(self.overlap, at, size)
        )
        dtype = self.query.dtype
        return ops.cast(weights, dtype), ops.cast(pulled, dtype)


def _logits(staircase, query, key, columns, at, first, visible):
    """Logits in float32 of the block of queries from `at` on."""
    size, keys = query.shape[1], key.shape[2]
    column = _first_column(staircase, columns, at, size, first, first + keys)
    products = ops.matmul(query, _at(columns, column, keys + 1, axis=2))
    logits = ops.matmul(query, key) + skew(products)
    distance = (
        at
        + staircase.offset
        - first
        + (
            np.arange(size, dtype="int32")[:, None]
            - np.arange(keys, dtype="int32")
        )
    )
    seen = (distance >= 0) & (distance < staircase.max_distance)
    if visible is not None:
        seen = ops.logical_and(seen, visible[:, None] > 0)
    return ops.where(seen, ops.cast(logits, "float32"), HIDDEN)


def _first_column(staircase, columns, at, size, first, stop):
    """The column of a block's largest distance: last query to first key."""
    behind = stop - staircase.offset - (at + size)
    zero = columns.shape[2] - 2 - staircase.most_behind  # Of distance 0.
    return zero - (stop - first - 1) + behind


def _unskew(gradients):
    """The inverse of `whole.skew`, with zeros where there is no key."""
    _, size, keys = gradients.shape
    line = ops.reshape(gradients, (-1, size * keys))
    line = ops.pad(line, ((0, 0), (size - 1, 1)))
    return ops.reshape(line, (-1, size, keys + 1))


def _after(done, x):
    """`x`, but not before the block is finished whose result is `done`.

    Blocks don't need each other's results. XLA would start all of them at
    once and keep the logits of each. Zero is added to `x`, in a way that XLA
    can't know: nothing is above infinity.
    """
    if done is None:
        return x
    return x + ops.cast(done[:, :1, :1] > np.inf, x.dtype)


def _run(stair, block, done, sums=()):
    """Run the blocks of a stair one after another.

    Args:
        stair: a `Stair`.
        block: function of a block's first query and of `done`, see `_after`.
            It returns a tuple of tensors of shape (rows, size, ...), and a
            tuple of pairs: a tensor to add to each of `sums`, and the column
            to add it at.
        done: see `_after`.
        sums: tuple of float32 tensors.

    Returns:
        A pair of tuples: the blocks' tensors, joined along time, and `sums`
        with the blocks' additions.
    """
    found, parts = block(stair.start, done)
    sums = _add(sums, parts)
    if stair.count == 1:
        return found, sums
    time = stair.count * stair.size
    joined = tuple(
        ops.slice_update(
            ops.zeros((ops.shape(x)[0], time, x.shape[2]), x.dtype),
            (0, 0, 0),
            x,
        )
        for x in found
    )

    def step(i, state):
        joined, sums = state
        found, parts = block(stair.start + i * stair.size, None)
        joined = tuple(
            ops.slice_update(x, (0, i * stair.size, 0), new)
            for x, new in zip(joined, found, strict=True)
        )
        return joined, _add(sums, parts)

    return ops.fori_loop(1, stair.count, step, (joined, sums))


def _add(sums, parts):
    """Each of `sums` with its part added from the part's column on."""
    return tuple(
        ops.slice_update(
            total,
            (0, 0, start),
            ops.cast(new, total.dtype)
            + _at(total, start, new.shape[2], axis=2),
        )
        for total, (new, start) in zip(sums, parts, strict=True)
    )


def _at(x, start, size, axis=1):
    """`size` places of `x` from `start` on, an int or a loop's counter."""
    if isinstance(start, int):
        return x[:, start : start + size] if axis == 1 else (
            x[:, :, start : start + size]
        )  # fmt: skip
    starts, shape = [0, 0, 0], [ops.shape(x)[0], *x.shape[1:]]
    starts[axis], shape[axis] = start, size
    return ops.slice(x, starts, shape)


def _zeros(x):
    return ops.zeros(ops.shape(x), "float32")
