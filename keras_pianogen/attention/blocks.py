"""Relative attention in blocks of queries, in `keras.ops`, with its gradient.

The path of JAX and TensorFlow, and the fallback of every other. Sequences are
(batch, heads, time, key_dim); a "row" is one head of one sequence.

A block of queries meets only the keys that it can see. Rows go through a loop,
a few at a time, so that what a block writes stays in the processor's cache,
and the gradient makes the logits anew from the queries and keys, instead of
keeping them: nothing of size (time, time) is ever there.

The relative term is made by skewing (Huang et al., 2018, section 3.4.1)
without a copy: the product with the relative embeddings has a column more
than there are keys, for distance -1, so that its rows, read as one line from
element `queries - 1` on, are the skewed rows.
"""

import numpy as np
from keras import ops

# Blocks whose keys end at places of their own; more of them would save
# little work and cost time to compile.
STAIRS = 8
# Up to this length blocks may be done at the same time, which is faster;
# beyond, one after the other, which keeps memory linear.
SHORT = 1024
# What a hidden key's logit is, and the least maximum of a query's logits: a
# query that sees no key at all gets weights of zero, not of 1 / keys: its
# total is 0, where every other's is 1 or more.
HIDDEN = -1e9
LEAST = -1e8
LEAST_TOTAL = 0.5


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
        query: see `keras_pianogen.attention.dispatch.attend`, as the next five.
        key: see there.
        value: see there.
        relative: see there.
        padding_mask: see there.
        offset: see there.
        block_size: int. Queries handled at once.
        rows: int that divides `heads`, the rows handled at once; `None` for
            all of them.
        differentiable: where the backend cannot differentiate the gradient
            itself, a function that makes it differentiable. It is given the
            gradient, a function of the outputs' gradient, of two tensors it
            keeps and of the inputs; and the plain function of the inputs.

    Returns:
        A tensor of the shape of `query`. A query that sees no key gets zeros.
    """
    shape = _Shape(query.shape, relative.shape[0], offset, block_size)
    columns = _columns(relative, query.shape[1], shape)
    query = query * query.shape[-1] ** -0.5
    attention = _attention(shape, rows, differentiable)
    if padding_mask is None:
        return attention(query, key, value, columns)
    return attention(
        query, key, value, columns, ops.cast(padding_mask, "float32")
    )


def attend_whole(query, key, value, relative, padding_mask=None, offset=0):
    """The same in plain operations, whose (time, time) logits are built.

    For lengths that are only known when a graph runs, and for derivatives of
    any order.

    Args:
        query: see `attend`.
        key: see `attend`.
        value: see `attend`.
        relative: see `attend`.
        padding_mask: see `attend`; or of shape (batch, time, offset + time),
            a mask for each query.
        offset: see `attend`.

    Returns:
        A tensor of the shape of `query`.
    """
    keys, rows = ops.shape(key)[2], relative.shape[0]
    missing = keys - rows
    # Padding by a tensor is for TensorFlow's graphs alone.
    missing = max(missing, 0) if isinstance(keys, int) else (
        ops.maximum(missing, 0)
    )  # fmt: skip
    columns = ops.transpose(
        ops.pad(relative, ((missing, 1), (0, 0), (0, 0))), (1, 2, 0)
    )[:, :, -1 - keys :]  # (heads or 1, key_dim, keys + 1)
    query = query * query.shape[-1] ** -0.5
    return _whole(query, key, value, columns, rows, offset, padding_mask)


def _whole(query, key, value, columns, max_distance, offset, padding_mask):
    """Of scaled queries, and a column for each distance, from keys - 1 on."""
    shape = ops.shape(query)
    time, keys = shape[2], ops.shape(key)[2]
    products = ops.matmul(query, columns)
    products = ops.reshape(products, (shape[0], shape[1], time * (keys + 1)))
    products = products[:, :, time - 1 : time - 1 + time * keys]
    logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    logits = logits + ops.reshape(products, (shape[0], shape[1], time, keys))
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


class _Shape:
    """Which queries are handled together, and which keys they meet."""

    def __init__(self, query_shape, max_distance, offset, block_size):
        _, self.heads, self.time, _ = query_shape
        self.max_distance = max_distance
        self.offset = offset
        self.block_size = min(block_size, self.time)
        self.in_turn = self.time > SHORT

    def stairs(self):
        """Of each stair: its blocks' starts, and its keys' first and stop.

        All blocks of a stair meet the keys up to the stair's end, so that one
        loop handles them, whatever the length.
        """
        size = self.block_size
        blocks = -(-self.time // size)
        whole = self.time // size
        step = -(-whole // STAIRS)
        bounds = [*range(0, whole, step), whole] if whole else [0]
        for first, stop in zip(bounds[:-1], bounds[1:], strict=True):
            yield (
                first * size,
                (stop - first),
                size,
                *self.keys(first * size, stop * size),
            )
        if blocks > whole:  # The last block is shorter than the others.
            start = whole * size
            yield start, 1, self.time - start, *self.keys(start, self.time)

    def keys(self, start, stop):
        first = max(0, start + self.offset - self.max_distance + 1)
        return first, stop + self.offset

    @property
    def most_keys(self):
        return max(stop - first for *_, first, stop in self.stairs())

    @property
    def most_behind(self):
        """The most keys of a stair behind the end of one of its blocks."""
        return max((n - 1) * size for _, n, size, *_ in self.stairs())


def _columns(relative, heads, shape):
    """Relative embeddings as (heads, key_dim, columns), padded with zeros.

    From left to right distances fall; there are as many as the widest block
    asks for, those that are too far or negative included.
    """
    columns = ops.transpose(relative, (1, 2, 0))
    if columns.shape[0] != heads:
        columns = ops.broadcast_to(columns, (heads, *columns.shape[1:]))
    before = max(0, shape.most_keys - shape.max_distance)
    after = 1 + shape.most_behind
    return ops.pad(columns, ((0, 0), (0, 0), (before, after)))


def _attention(shape, rows, differentiable):
    """The function of scaled queries, keys, values and columns."""

    def gradients(upstream, outputs, sums, *inputs):
        groups = _Groups(ops.shape(upstream)[0], shape.heads, rows)
        found = groups.map(
            lambda x: _backward(shape, *x),
            [outputs, sums, groups.split(upstream), *groups.split_all(*inputs)],
        )
        query, key, value, columns = map(groups.join, found)
        found = query, key, value, ops.sum(columns, axis=0)
        found = [
            ops.cast(x, like.dtype)
            for x, like in zip(found, inputs, strict=False)
        ]
        return *found, *(ops.zeros_like(visible) for visible in inputs[4:])

    if differentiable is not None:
        gradients = differentiable(
            gradients, lambda *inputs: _plain(shape, *inputs)
        )

    @ops.custom_gradient
    def attention(*inputs):
        groups = _Groups(ops.shape(inputs[0])[0], shape.heads, rows)
        outputs, sums = groups.map(
            lambda x: _forward(shape, *x), groups.split_all(*inputs)
        )
        kept = outputs, sums
        if differentiable is not None:  # By the inputs alone.
            kept = tuple(map(ops.stop_gradient, kept))

        def gradient(*args, upstream=None):
            if upstream is None:  # All backends but PyTorch.
                (upstream,) = args
            return gradients(upstream, *kept, *inputs)

        return groups.join(outputs), gradient

    return attention


def _plain(shape, query, key, value, columns, visible=None):
    """What `_attention` computes, in plain operations."""
    keys = key.shape[2]
    beyond = columns.shape[2] - shape.most_behind  # Distance -1 is the last.
    missing = max(0, keys + 1 - beyond)
    columns = ops.pad(columns, ((0, 0), (0, 0), (missing, 0)))
    columns = columns[:, :, missing + beyond - keys - 1 : missing + beyond]
    return _whole(
        query, key, value, columns, shape.max_distance, shape.offset, visible
    )


class _Groups:
    """Rows in groups, one group after the other, or all of them at once."""

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


def _forward(shape, query, key, value, columns, visible=None):
    """Outputs, and the logarithm of each query's sum, of a group of rows."""
    key = ops.transpose(key, (0, 2, 1))  # (rows, key_dim, keys)
    outputs, sums, done = [], [], None
    for start, count, size, first, stop in shape.stairs():
        shown = None if visible is None else visible[:, first:stop]

        def block(at, done, key=key[:, :, first:stop],
                  value=value[:, first:stop], size=size, first=first,
                  shown=shown):  # fmt: skip
            asked = _after(done, _at(query, at, size))
            logits = _logits(shape, asked, key, columns, at, first, shown)
            most = ops.maximum(ops.max(logits, -1, keepdims=True), LEAST)
            weights = ops.exp(logits - most)
            total = ops.maximum(
                ops.sum(weights, -1, keepdims=True), LEAST_TOTAL
            )
            mixed = ops.matmul(ops.cast(weights, value.dtype), value)
            mixed = ops.cast(ops.cast(mixed, total.dtype) / total, value.dtype)
            return mixed, most + ops.log(total)

        found = _blocks(block, done, start, count, size)
        outputs.append(found[0])
        sums.append(found[1])
        done = found[0] if shape.in_turn else None
    return ops.concatenate(outputs, axis=1), ops.concatenate(sums, axis=1)


def _backward(
    shape, outputs, sums, upstream, query, key, value, columns, visible=None
):
    """Gradients of queries, keys, values and columns, of a group of rows."""
    turned = [
        ops.transpose(x, (0, 2, 1)) for x in (query, key, value, upstream)
    ]
    query_t, key_t, value_t, upstream_t = turned  # (rows, key_dim, time)
    columns_t = ops.transpose(columns, (0, 2, 1))
    overlap = ops.sum(
        ops.cast(upstream, "float32") * ops.cast(outputs, "float32"),
        axis=-1,
        keepdims=True,
    )  # (rows, time, 1)
    query_gradients = []
    gradients = [_zeros(key_t), _zeros(value_t), _zeros(columns)]
    done = None
    for start, count, size, first, stop in shape.stairs():
        shown = None if visible is None else visible[:, first:stop]

        def block(at, done, size=size, first=first, stop=stop, shown=shown):
            asked = _after(done, _at(query, at, size))
            logits = _logits(
                shape, asked, key_t[:, :, first:stop], columns, at, first, shown
            )
            weights = ops.exp(logits - _at(sums, at, size))
            pull = _after(done, _at(upstream, at, size))
            pulled = ops.matmul(pull, value_t[:, :, first:stop])
            pulled = weights * (
                ops.cast(pulled, "float32") - _at(overlap, at, size)
            )
            pulled = ops.cast(pulled, query.dtype)
            weights = ops.cast(weights, query.dtype)
            by_column = _unskew(pulled)
            column = _first_column(shape, columns, at, size, first, stop)
            width = stop - first + 1
            query_t_block = _at(query_t, at, size, axis=2)
            return (
                ops.matmul(pulled, key[:, first:stop])
                + ops.matmul(by_column, _at(columns_t, column, width)),
                ops.matmul(query_t_block, pulled),
                ops.matmul(_at(upstream_t, at, size, axis=2), weights),
                ops.matmul(query_t_block, by_column),
                column,
            )

        found, gradients = _blocks_and_sums(
            block, done, gradients, start, count, size, first
        )
        query_gradients.append(found)
        done = found if shape.in_turn else None
    key_gradient, value_gradient, column_gradient = gradients
    return (
        ops.concatenate(query_gradients, axis=1),
        ops.transpose(key_gradient, (0, 2, 1)),
        ops.transpose(value_gradient, (0, 2, 1)),
        column_gradient,
    )


def _logits(shape, query, key, columns, at, first, visible):
    """Logits in float32 of the block of queries from `at` on."""
    size, keys = query.shape[1], key.shape[2]
    column = _first_column(shape, columns, at, size, first, first + keys)
    products = ops.matmul(query, _at(columns, column, keys + 1, axis=2))
    logits = ops.matmul(query, key) + _skew(products)
    distance = (
        at
        + shape.offset
        - first
        + (
            np.arange(size, dtype="int32")[:, None]
            - np.arange(keys, dtype="int32")
        )
    )
    seen = (distance >= 0) & (distance < shape.max_distance)
    if visible is not None:
        seen = ops.logical_and(seen, visible[:, None] > 0)
    return ops.where(seen, ops.cast(logits, "float32"), HIDDEN)


def _first_column(shape, columns, at, size, first, stop):
    """The column of a block's largest distance: last query to first key."""
    behind = stop - shape.offset - (at + size)
    zero = columns.shape[2] - 2 - shape.most_behind  # Of distance 0.
    return zero - (stop - first - 1) + behind


def _skew(products):
    """(rows, queries, keys + 1) by column to (rows, queries, keys) by key."""
    _, size, width = products.shape
    line = ops.reshape(products, (-1, size * width))
    line = line[:, size - 1 : size - 1 + size * (width - 1)]
    return ops.reshape(line, (-1, size, width - 1))


def _unskew(gradients):
    """The way back: zeros where no key is."""
    _, size, keys = gradients.shape
    line = ops.reshape(gradients, (-1, size * keys))
    line = ops.pad(line, ((0, 0), (size - 1, 1)))
    return ops.reshape(line, (-1, size, keys + 1))


def _after(done, x):
    """`x`, but not before the block is there whose result is `done`.

    Blocks do not need each other's results, and XLA would begin all of them
    at once and keep the logits of each. Nothing is above infinity, so zero
    is added; XLA does not know.
    """
    if done is None:
        return x
    return x + ops.cast(done[:, :1, :1] > np.inf, x.dtype)


def _blocks(block, done, start, count, size):
    """What a stair's blocks return, joined along time."""
    first = block(start, done)
    if count == 1:
        return first
    filled = [
        ops.slice_update(
            ops.zeros((ops.shape(x)[0], count * size, x.shape[2]), x.dtype),
            (0, 0, 0),
            x,
        )
        for x in first
    ]

    def step(i, filled):
        new = block(start + i * size, None)
        return tuple(
            ops.slice_update(x, (0, i * size, 0), y)
            for x, y in zip(filled, new, strict=True)
        )

    return ops.fori_loop(1, count, step, tuple(filled))


def _blocks_and_sums(block, done, sums, start, count, size, first):
    """A stair's query gradients, and its other ones added to `sums`."""

    def add(sums, found):
        key, value, by_column, column = found
        places = (first, first, column)
        return tuple(
            _add_at(total, new, place)
            for total, new, place in zip(
                sums, (key, value, by_column), places, strict=True
            )
        )

    query, *found = block(start, done)
    sums = add(sums, found)
    if count == 1:
        return query, sums
    queries = ops.zeros(
        (ops.shape(query)[0], count * size, query.shape[2]), query.dtype
    )
    queries = ops.slice_update(queries, (0, 0, 0), query)

    def step(i, state):
        queries, *sums = state
        query, *found = block(start + i * size, None)
        queries = ops.slice_update(queries, (0, i * size, 0), query)
        return (queries, *add(sums, found))

    queries, *sums = ops.fori_loop(1, count, step, (queries, *sums))
    return queries, tuple(sums)


def _at(x, start, size, axis=1):
    """`size` places of `x` from `start` on, which a loop may count."""
    if isinstance(start, int):
        return x[:, start : start + size] if axis == 1 else (
            x[:, :, start : start + size]
        )  # fmt: skip
    starts, shape = [0, 0, 0], [ops.shape(x)[0], *x.shape[1:]]
    starts[axis], shape[axis] = start, size
    return ops.slice(x, starts, shape)


def _add_at(total, new, start):
    """`total` with `new` added from column `start` on, in float32."""
    size = new.shape[2]
    new = ops.cast(new, total.dtype) + _at(total, start, size, axis=2)
    return ops.slice_update(total, (0, 0, start), new)


def _zeros(x):
    return ops.zeros(ops.shape(x), "float32")
