"""Relative attention in blocks of queries for PyTorch, with its gradient.

This file computes the sums of `blocks` in PyTorch's own operations, because on
PyTorch starting an operation and allocating a buffer cost more than the maths.
All blocks write to one workspace, which fits the processor's cache, and
skewing (Huang et al., 2018, section 3.4.1) is a view with other strides, not a
copy.

Measured gain: outputs and gradients of 8 heads, 1,024 events and key_dim 32
take 387 ms, and 852 ms with `blocks` on PyTorch (one thread, in turns, the
best of 12).

Shapes are (batch, heads, time, key_dim), or value_dim, see `whole`; a "row" is
one head of one sequence.
"""

import torch

from keras_pianogen.attention import whole
from keras_pianogen.attention.whole import HIDDEN
from keras_pianogen.attention.whole import LEAST

# Logits of one block: 4 MiB on a CPU, where they stay in its cache, and 256 MiB
# on a GPU, which needs much work at a time.
LOGITS_CPU = 2**20
LOGITS_GPU = 2**26


def attend(
    query, key, value, relative, padding_mask=None, offset=0, block_size=None
):
    """Causal attention with relative positions; arguments as in `blocks`.

    A second derivative, which a gradient penalty needs, is taken through
    `whole.attend` and builds the (time, time) logits.
    """
    if padding_mask is not None:
        padding_mask = padding_mask.to(query.device, torch.bool)
        # Most masks hide nothing. A GPU would have to be waited for to know.
        if query.device.type == "cpu" and bool(padding_mask.all()):
            padding_mask = None
    if block_size is None:
        block_size = 128 if query.device.type == "cpu" else 256
    return _Attention.apply(
        query, key, value, relative, padding_mask, offset, block_size
    )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, relative, mask, offset, block_size):
        blocks = _Blocks(query, key, value, relative, mask, offset, block_size)
        shape = *query.shape[:3], value.shape[3]
        outputs = _rows(query.new_empty(shape))
        for rows, queries, keys in blocks:
            weights = blocks.weights(rows, queries, keys).to(value.dtype)
            outputs[rows, queries] = torch.bmm(
                weights, blocks.value[rows, keys]
            )
        outputs = outputs.view(shape)
        ctx.save_for_backward(query, key, value, relative, mask, outputs)
        ctx.offset, ctx.block_size = offset, block_size
        return outputs

    @staticmethod
    def backward(ctx, upstream):
        query, key, value, relative, mask, outputs = ctx.saved_tensors
        inputs = query, key, value, relative
        if torch.is_grad_enabled():  # A second derivative is wanted.
            # Views, so that a tensor that is two inputs has two gradients.
            inputs = [x.view_as(x) for x in inputs]
            asked = [x for x in inputs if x.requires_grad]
            again = whole.attend(*inputs, mask, ctx.offset)
            again = iter(
                torch.autograd.grad(again, asked, upstream, create_graph=True)
            )
            found = [next(again) if x.requires_grad else None for x in inputs]
        else:
            blocks = _Blocks(*inputs, mask, ctx.offset, ctx.block_size)
            found = _gradients(blocks, upstream, outputs)
        return *found, None, None, None


def _gradients(blocks, upstream, outputs):
    upstream = _rows(upstream)
    overlap = (upstream.float() * _rows(outputs).float()).sum(-1, keepdim=True)
    query, key = blocks.query, blocks.key
    columns = blocks.columns.transpose(1, 2)  # (heads or 1, columns, key_dim)
    query_gradient = torch.empty_like(query)
    others = [
        torch.zeros_like(x, dtype=torch.float32)
        for x in (key, blocks.value, columns)
    ]
    key_gradient, value_gradient, column_gradient = others
    by_key = blocks.workspace(torch.float32)
    value_t = blocks.value.transpose(1, 2)
    for rows, queries, keys in blocks:
        weights = blocks.weights(rows, queries, keys)
        pull = upstream[rows, queries]
        pulled = _product(pull, value_t[rows, :, keys], by_key)
        pulled.sub_(overlap[rows, queries]).mul_(weights)
        weights, pulled = weights.to(query.dtype), pulled.to(query.dtype)
        _add_product(value_gradient[rows, keys], weights.transpose(1, 2), pull)
        asked = query[rows, queries]
        _add_product(key_gradient[rows, keys], pulled.transpose(1, 2), asked)
        found = torch.bmm(pulled, key[rows, keys])
        by_column, rows_of = blocks.unskew(pulled), blocks.relative_rows(rows)
        near = columns.shape[1] - by_column.shape[2]
        if blocks.shared:
            by_column = by_column.view(1, -1, by_column.shape[2])
            found = found.view(1, -1, found.shape[2])
            asked = asked.reshape(found.shape)
        found.baddbmm_(by_column, columns[rows_of, near:])
        query_gradient[rows, queries] = found.view(
            -1, pull.shape[1], query.shape[2]
        )
        _add_product(
            column_gradient[rows_of, near:], by_column.transpose(1, 2), asked
        )
    return blocks.as_inputs(query_gradient.mul_(blocks.scale), *others)


class _Blocks:
    """Blocks of rows and queries, and the workspace that they share."""

    def __init__(self, query, key, value, relative, mask, offset, block_size):
        self.inputs = query, key, value, relative
        self.scale = query.shape[-1] ** -0.5
        self.heads = query.shape[1]
        self.query = _rows(query) * self.scale  # (rows, time, key_dim)
        self.key, self.value = _rows(key), _rows(value)
        self.mask, self.offset = mask, offset
        self.max_distance = len(relative)
        self.shared = relative.shape[1] == 1
        time = query.shape[2]
        self.size = min(block_size, time)
        self.most_keys = min(time + offset, self.max_distance + self.size - 1)
        # The columns' distances fall from left to right, down to -1.
        self.columns = torch.nn.functional.pad(
            relative.permute(1, 2, 0),
            (max(0, self.most_keys - self.max_distance), 1),
        )  # (heads or 1, key_dim, columns)
        # The rows of a block keep the order of the heads, so that their
        # relative embeddings are a slice. So their number divides the heads,
        # or is a multiple of the heads if these share their embeddings.
        limit = LOGITS_CPU if query.device.type == "cpu" else LOGITS_GPU
        limit = max(1, limit // (self.size * self.most_keys))
        self.rows = max(
            n for n in range(1, self.heads + 1)
            if self.heads % n == 0 and (n <= limit or n == 1)
        )  # fmt: skip
        if self.shared and self.rows == self.heads:
            batch = query.shape[0]
            self.rows *= max(1, min(batch, limit // self.heads))
        dtype = query.dtype
        self.ahead = torch.full(
            (self.size, self.size), HIDDEN, device=query.device
        ).triu_(1)
        self.by_column = self.workspace(dtype, one_more=True)
        self.by_key = self.workspace(dtype)

    def workspace(self, dtype, one_more=False):
        count = self.rows * self.size * (self.most_keys + one_more)
        return torch.empty(count, dtype=dtype, device=self.query.device)

    def __iter__(self):
        """Slices of rows, of queries, and of the keys that the queries meet."""
        count, time = self.query.shape[:2]
        for row in range(0, count, self.rows):
            for start in range(0, time, self.size):
                stop = min(start + self.size, time)
                first = max(0, start + self.offset - self.max_distance + 1)
                yield (
                    slice(row, min(row + self.rows, count)),
                    slice(start, stop),
                    slice(first, stop + self.offset),
                )

    def relative_rows(self, rows):
        if self.shared:
            return slice(0, 1)
        first = rows.start % self.heads
        return slice(first, first + rows.stop - rows.start)

    def weights(self, rows, queries, keys):
        """Weights of a block, a float32 tensor (rows, queries, keys)."""
        query = self.query[rows, queries]
        count, size, _ = query.shape
        width = keys.stop - keys.start
        columns = self.columns[self.relative_rows(rows)][:, :, -width - 1 :]
        if self.shared:
            query = query.reshape(1, -1, query.shape[2])
        products = _product(query, columns, self.by_column)
        products = products.view(count, size, width + 1)
        logits = self.by_key[: count * size * width].view(count, size, width)
        logits.copy_(_skewed(products))
        logits.baddbmm_(
            self.query[rows, queries], self.key[rows, keys].transpose(1, 2)
        )
        logits = logits.float()
        self._hide_far(logits)
        if self.mask is None:
            return torch.softmax(logits, dim=-1, out=logits)
        sequences = torch.arange(rows.start, rows.stop) // self.heads
        hidden = ~self.mask[sequences.to(self.mask.device), keys][:, None]
        logits.masked_fill_(hidden, HIDDEN)
        blind = logits.amax(-1, keepdim=True) <= LEAST  # They see no key.
        weights = torch.softmax(logits, dim=-1, out=logits)
        return weights.masked_fill_(blind, 0.0)

    def _hide_far(self, logits):
        """Hide keys after their queries, and keys that are too far back."""
        _, size, width = logits.shape
        ahead = self.ahead[:size, :size]
        logits[:, :, width - size :].add_(ahead)
        # Keys before the first one that the last query sees.
        too_far = width - self.max_distance
        if too_far > 0:
            place = torch.arange(size, device=logits.device)
            far = torch.arange(too_far, device=logits.device)
            far = place[:, None] - far > self.max_distance - 1 - (width - size)
            logits[:, :, :too_far].masked_fill_(far, HIDDEN)

    def unskew(self, gradients):
        """The inverse of `_skewed`, with zeros where there is no key."""
        count, size, width = gradients.shape
        products = self.by_column[: count * size * (width + 1)]
        line = products.view(count, size * (width + 1))
        line[:, : size - 1] = 0
        line[:, -1] = 0
        products = products.view(count, size, width + 1)
        _skewed(products).copy_(gradients)
        return products

    def as_inputs(self, query, key, value, columns):
        """Gradients in the shapes and dtypes of the inputs."""
        like = self.inputs
        columns = columns[:, -1 - min(self.max_distance, self.most_keys) : -1]
        relative = torch.zeros_like(like[3])
        found = columns.transpose(0, 1)
        relative[-found.shape[0] :] = found
        return (
            query.view(like[0].shape).to(like[0].dtype),
            key.view(like[1].shape).to(like[1].dtype),
            value.view(like[2].shape).to(like[2].dtype),
            relative,
        )


def _rows(x):
    """(batch, heads, time, key_dim) as (rows, time, key_dim)."""
    return x.reshape(-1, *x.shape[2:])


def _skewed(products):
    """A view (rows, queries, keys) of products (rows, queries, keys + 1).

    Key `n` of query `m` is column `queries - 1 - m + n`; see `whole.skew`.
    """
    count, size, width = products.shape
    return products.as_strided(
        (count, size, width - 1),
        (size * width, width - 1, 1),
        products.storage_offset() + size - 1,
    )


def _product(a, b, workspace):
    shape = a.shape[0], a.shape[1], b.shape[2]
    if workspace.dtype != a.dtype:  # The inputs are of low precision.
        return torch.bmm(a, b).to(workspace.dtype)
    out = workspace[: shape[0] * shape[1] * shape[2]].view(shape)
    return torch.bmm(a, b, out=out)


def _add_product(total, a, b):
    if total.dtype == a.dtype:
        total.baddbmm_(a, b)
    else:
        total.add_(torch.bmm(a, b))
