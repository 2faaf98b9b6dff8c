"""Relative attention as fused GPU kernels in Triton, for torch tensors.

Equation 3 of Huang et al. (2018) in the manner of FlashAttention-2 (Dao,
2023), forward and backward. Tensors are (batch, heads, time, key_dim),
relative embeddings (max_distance, heads or 1, key_dim); times and distances
are counted in events. Nothing of size time x time is ever written to the
GPU's memory: only outputs, log-sum-exps (float32, in units of log 2) and
gradients are. Gradients are deterministic; no kernel uses atomics.

The kernels work on square tiles of `tile` queries by `tile` keys. Query tile
m and key tile n lie on block diagonal t = m - n, and their distances fall in
two distance tiles, `far` = t and `near` = t - 1, where distance tile t holds
the rows of distances t * tile to (t + 1) * tile - 1, the greatest first. Row
q of the relative logits (section 3.4.1, skewing) is then

    the last q + 1 products of query q with the far tile, followed by
    the first tile - 1 - q products of query q with the near one,

which is one choice between two matrices and one rotation of each row by
q + 1 places (`_skew`); `_unskew` turns gradients back. Walking away from the
diagonal, the far tile of one step is the near tile of the next.

The module knows nothing of Keras, and needs Triton 3.3, the first to have
`gather`. It has been run in the interpreter and compiled for sm_80 and sm_90;
it has not been timed on a GPU.
"""

import torch
import triton
import triton.language as tl

from keras_pianogen.kernels.fused_inputs import check_inputs

LOG2_E = tl.constexpr(1.4426950408889634)
# Enough programs to fill a large GPU several times over. It does not depend
# on the GPU at hand, so that sums are taken in the same order on all.
NUM_PROGRAMS = 512


def relative_attention(
    query, key, value, relative, padding_mask=None, scale=None, tile=None
):
    r"""Causal attention with learned relative positions, fused.

    Equation 3 of Huang et al. (2018) within a window,

    $$\mathrm{softmax}\left(s\,(Q K^\top + S^{rel})\right) V,
    \qquad S^{rel}_{ij} = Q_i \cdot E^r_{max\_distance - 1 - (i - j)}$$

    over the keys $0 \le i - j < max\_distance$ that `padding_mask` keeps. A
    query that sees no key gives zeros, and gradients of zero.

    Products of bfloat16 and float16 are summed in float32, as is the
    softmax; float32 inputs are multiplied without TF32. Inputs whose memory
    is not laid out as (batch, time, heads, key_dim) are copied first.

    Args:
        query: torch tensor of shape (batch, heads, time, key_dim), of
            float32, bfloat16 or float16, with any strides. `key_dim` is 128
            at most.
        key: tensor like `query`.
        value: tensor like `query`.
        relative: float tensor of shape (max_distance, heads or 1, key_dim).
            The last row is distance 0, the first one `max_distance - 1`. It
            is cast to the dtype of `query`; its gradient, summed in float32,
            has its own.
        padding_mask: optional bool tensor of shape (batch, time), `False`
            where a key must not be attended to.
        scale: float. Multiplies the logits. Defaults to `key_dim**-0.5`.
        tile: int. Queries and keys handled at once, a power of two, 16 at
            least. Changes speed and the order of sums only. Defaults to `32`,
            or `16` for float32 with a `key_dim` above 64.

    Returns:
        A tensor of the shape and dtype of `query`, differentiable once in
        `query`, `key`, `value` and `relative`.

    Raises:
        ValueError: if shapes, dtypes or devices do not fit together, or the
            tensors are on a CPU and the kernels are not interpreted.

    Reference:
        - [Huang et al., Music Transformer, 2018](https://arxiv.org/abs/1809.04281)
        - [Dao, FlashAttention-2, 2023](https://arxiv.org/abs/2307.08691)
    """
    check_inputs(query, key, value, relative, padding_mask)
    if padding_mask is not None and padding_mask.dtype != torch.bool:
        raise ValueError(
            "`padding_mask` must be bool. "
            f"Received: padding_mask.dtype={padding_mask.dtype}"
        )
    _check_devices(query, key, value, relative, padding_mask)
    key_dim = query.shape[-1]
    scale = key_dim**-0.5 if scale is None else float(scale)
    tile = _default_tile(query) if tile is None else tile
    if tile < 16 or tile & (tile - 1):
        raise ValueError(
            f"`tile` must be a power of two, 16 at least. Received: tile={tile}"
        )
    if query.numel() == 0:
        return query.clone()
    return _RelativeAttention.apply(
        query, key, value, relative, padding_mask, scale, tile
    )


def _default_tile(query):
    """The largest at which the compiled gradients need few spills, or none."""
    wide = query.dtype == torch.float32 and query.shape[-1] > 64
    return 16 if wide else 32


def _check_devices(*tensors):
    devices = {str(x.device) for x in tensors if x is not None}
    if len(devices) > 1:
        raise ValueError(
            "All tensors must be on the device of `query`. "
            f"Received: {sorted(devices)}"
        )
    compiled = isinstance(_forward_kernel, triton.JITFunction)
    if compiled and devices == {"cpu"}:
        raise ValueError(
            "`query` must be on a GPU, unless TRITON_INTERPRET=1 was set "
            "before this module's import. Received: query.device=cpu"
        )


class _RelativeAttention(torch.autograd.Function):
    """The kernels' launches. Tensors are kept time-major (see below)."""

    @staticmethod
    def forward(ctx, query, key, value, relative, padding_mask, scale, tile):
        query, key, value = (_time_major(x) for x in (query, key, value))
        rows = relative.to(query.dtype).contiguous()
        if padding_mask is not None:
            padding_mask = padding_mask.contiguous().view(torch.uint8)
        inputs = (query, key, value, rows, padding_mask)
        sizes = _sizes(query, rows, scale, tile)
        outputs = torch.empty_like(query)
        batch, heads, time, _ = query.shape
        log_sums = query.new_empty((batch, heads, time), dtype=torch.float32)
        with torch.cuda.device_of(query):
            _forward_kernel[(_num_tiles(time, tile), batch * heads)](
                *inputs, outputs, log_sums, **sizes
            )
        ctx.save_for_backward(*inputs, outputs, log_sums)
        ctx.sizes = sizes
        ctx.relative_dtype = relative.dtype
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_outputs):
        query, key, value, rows, padding_mask, outputs, log_sums = (
            ctx.saved_tensors
        )
        batch, heads, time, _ = query.shape
        grid = (_num_tiles(time, ctx.sizes["TILE"]), batch * heads)
        d_outputs = _time_major(d_outputs)
        d_query, d_key, d_value = (
            torch.empty_like(x) for x in (query, key, value)
        )
        d_relative = None
        deltas = torch.empty_like(log_sums)
        inputs = (query, key, value, rows, padding_mask)
        inputs = (*inputs, d_outputs, log_sums, deltas)
        with torch.cuda.device_of(query):
            # First, for it also makes the deltas.
            _query_gradient_kernel[grid](*inputs, outputs, d_query, **ctx.sizes)
            if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
                _key_value_gradient_kernel[grid](
                    *inputs, d_key, d_value, **ctx.sizes
                )
            if ctx.needs_input_grad[3]:
                d_relative = _relative_gradient(inputs, ctx.sizes)
                d_relative = d_relative.to(ctx.relative_dtype)
        return d_query, d_key, d_value, d_relative, None, None, None


def _time_major(x):
    """`x`, (batch, heads, time, ...), in the memory order the kernels read.

    That is (batch, time, heads, ...), in which projections come and the next
    one reads: for a layer neither costs a copy.
    """
    return x.transpose(1, 2).contiguous().transpose(1, 2)


def _num_tiles(time, tile):
    return -(-time // tile)


def _sizes(query, rows, scale, tile):
    """What every kernel needs to know of shapes, and how it is compiled."""
    _, heads, time, key_dim = query.shape
    max_distance, relative_heads, _ = rows.shape
    exact = query.dtype == torch.float32
    return {
        "scale": scale,
        "heads": heads,
        "relative_heads": relative_heads,
        "time": time,
        "max_distance": max_distance,
        # Those on which some distance is less than `max_distance`.
        "num_diagonals": min(
            _num_tiles(time, tile), _num_tiles(max_distance - 1, tile) + 1
        ),
        "KEY_DIM": key_dim,
        "WIDTH": max(16, triton.next_power_of_2(key_dim)),
        "TILE": tile,
        "num_warps": 8 if exact or key_dim > 64 else 4,
        "num_stages": 1 if exact else 2,
    }


def _relative_gradient(inputs, sizes):
    """The gradient of `relative`, float32.

    Each block diagonal adds to two distance tiles. The sums are kept apart,
    (splits of the batch, far or near, rows, heads, key_dim), and added here.
    """
    batch, heads, _, key_dim = inputs[0].shape
    num_diagonals = sizes["num_diagonals"]
    splits = min(batch, -(-NUM_PROGRAMS // (num_diagonals * heads)))
    num_rows = num_diagonals * sizes["TILE"]
    parts = torch.zeros(
        (splits, 2, num_rows, heads, key_dim), device=inputs[0].device
    )
    _relative_gradient_kernel[(num_diagonals, heads, splits)](
        *inputs, parts, batch, **sizes
    )
    rows = parts.sum((0, 1))  # (rows, heads, key_dim), distance 0 the last
    if sizes["relative_heads"] == 1:
        rows = rows.sum(1, keepdim=True)
    missing = sizes["max_distance"] - num_rows  # Negative: rows are dropped.
    return torch.nn.functional.pad(rows, (0, 0, 0, 0, missing, 0))


# The kernels. `query` and the like are pointers, `q` and the like are tiles of
# shape (tile, width), the width being `key_dim` filled up with zeros to a
# power of two. Matrices of logits have their keys, or distances, along axis
# `KEYS` and their queries along the other one.


@triton.jit
def _dot(x, y):
    return tl.dot(x, y, input_precision="ieee")


@triton.jit
def _start(batch, head, heads, time, KEY_DIM: tl.constexpr):
    """Where the events of a batch and head begin in a time-major tensor."""
    return (batch.to(tl.int64) * time * heads + head) * KEY_DIM


@triton.jit
def _load(x, rows, num_rows, stride, columns, KEY_DIM: tl.constexpr):
    """The given rows; zeros where there is none."""
    rows = rows[:, None]
    exists = (rows >= 0) & (rows < num_rows) & (columns < KEY_DIM)
    return tl.load(x + rows * stride + columns, mask=exists, other=0.0)


@triton.jit
def _store(x, tile, rows, num_rows, stride, columns, KEY_DIM: tl.constexpr):
    rows = rows[:, None]
    exists = (rows >= 0) & (rows < num_rows) & (columns < KEY_DIM)
    tile = tile.to(x.dtype.element_ty)
    tl.store(x + rows * stride + columns, tile, mask=exists)


@triton.jit
def _choose(far, near, KEYS: tl.constexpr):
    """Of each query's distances in two tiles, those of this tile's keys."""
    lanes = tl.arange(0, far.shape[0])
    query = tl.expand_dims(lanes, KEYS)
    distance = tl.expand_dims(lanes, 1 - KEYS)
    return tl.where(query + distance >= far.shape[0] - 1, far, near)


@triton.jit
def _skew(by_distance, KEYS: tl.constexpr):
    """From places by distance, as `_choose` leaves them, to places by key."""
    size: tl.constexpr = by_distance.shape[0]
    lanes = tl.arange(0, size)
    turn = tl.expand_dims(lanes, 1 - KEYS) - tl.expand_dims(lanes, KEYS) - 1
    return tl.gather(by_distance, turn & (size - 1), KEYS)


@triton.jit
def _unskew(by_key, KEYS: tl.constexpr):
    """From places by key back to places by distance."""
    size: tl.constexpr = by_key.shape[0]
    lanes = tl.arange(0, size)
    turn = tl.expand_dims(lanes, 1 - KEYS) + tl.expand_dims(lanes, KEYS) + 1
    return tl.gather(by_key, turn & (size - 1), KEYS)


@triton.jit
def _visible(
    query_places,
    key_places,
    padding_mask,
    time,
    max_distance,
    KEYS: tl.constexpr,
):
    """Which keys each query may attend to."""
    keys = tl.expand_dims(key_places, 1 - KEYS)
    distance = tl.expand_dims(query_places, KEYS) - keys
    visible = (distance >= 0) & (distance < max_distance)
    if padding_mask is not None:
        kept = tl.load(padding_mask + keys, mask=keys < time, other=0)
        visible = visible & (kept != 0)
    return visible


@triton.jit
def _logits(products, far, near, visible, scale, KEYS: tl.constexpr):
    """Logits in units of log 2, -inf where they are not visible."""
    logits = products + _skew(_choose(far, near, KEYS), KEYS)
    return tl.where(visible, logits * (scale * LOG2_E), float("-inf"))


@triton.jit
def _forward_kernel(
    query,
    key,
    value,
    relative,
    padding_mask,
    outputs,
    log_sums,
    scale,
    heads,
    relative_heads,
    time,
    max_distance,
    num_diagonals,
    KEY_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
):
    """A program makes the outputs of a tile of queries, for one head."""
    query_tile = tl.num_programs(0) - 1 - tl.program_id(0)  # Longest first.
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    start = _start(batch, head, heads, time, KEY_DIM)
    stride, relative_stride = heads * KEY_DIM, relative_heads * KEY_DIM
    relative += (head % relative_heads) * KEY_DIM
    if padding_mask is not None:
        padding_mask += batch.to(tl.int64) * time
    lanes, columns = tl.arange(0, TILE), tl.arange(0, WIDTH)[None, :]
    places = query_tile * TILE + lanes
    q = _load(query + start, places, time, stride, columns, KEY_DIM)
    near = tl.full((TILE, TILE), 0.0, tl.float32)  # Distances below zero.
    peak = tl.full((TILE,), float("-inf"), tl.float32)
    total = tl.full((TILE,), 0.0, tl.float32)
    sums = tl.full((TILE, WIDTH), 0.0, tl.float32)
    for diagonal in range(0, tl.minimum(query_tile + 1, num_diagonals)):
        keys = places - diagonal * TILE
        rows = max_distance - (diagonal + 1) * TILE + lanes
        k = _load(key + start, keys, time, stride, columns, KEY_DIM)
        v = _load(value + start, keys, time, stride, columns, KEY_DIM)
        far_rows = _load(
            relative, rows, max_distance, relative_stride, columns, KEY_DIM
        )
        far = _dot(q, tl.trans(far_rows))
        visible = _visible(places, keys, padding_mask, time, max_distance, 1)
        logits = _logits(_dot(q, tl.trans(k)), far, near, visible, scale, 1)
        near = far
        new_peak = tl.maximum(peak, tl.max(logits, 1))
        # A query that has seen no key yet: -inf minus 0, not -inf minus -inf.
        origin = tl.where(new_peak == float("-inf"), 0.0, new_peak)
        weights = tl.exp2(logits - origin[:, None])
        decay = tl.exp2(peak - origin)
        peak = new_peak
        total = total * decay + tl.sum(weights, 1)
        sums = sums * decay[:, None] + _dot(weights.to(v.dtype), v)
    empty = total == 0.0
    total = tl.where(empty, 1.0, total)
    sums = sums / total[:, None]
    _store(outputs + start, sums, places, time, stride, columns, KEY_DIM)
    # Infinity makes all weights of a query that sees no key zero.
    log_sum = tl.where(empty, float("inf"), peak + tl.log2(total))
    log_sums += tl.program_id(1).to(tl.int64) * time
    tl.store(log_sums + places, log_sum, mask=places < time)


@triton.jit
def _query_gradient_kernel(
    query,
    key,
    value,
    relative,
    padding_mask,
    d_outputs,
    log_sums,
    deltas,
    outputs,
    d_query,
    scale,
    heads,
    relative_heads,
    time,
    max_distance,
    num_diagonals,
    KEY_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
):
    """A program walks as the forward one does, away from the diagonal.

    It also makes `deltas`, (batch, heads, time), the products of outputs
    with their gradients, for the kernels that follow.
    """
    query_tile = tl.num_programs(0) - 1 - tl.program_id(0)  # Longest first.
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    start = _start(batch, head, heads, time, KEY_DIM)
    stride, relative_stride = heads * KEY_DIM, relative_heads * KEY_DIM
    relative += (head % relative_heads) * KEY_DIM
    if padding_mask is not None:
        padding_mask += batch.to(tl.int64) * time
    lanes, columns = tl.arange(0, TILE), tl.arange(0, WIDTH)[None, :]
    places = query_tile * TILE + lanes
    q = _load(query + start, places, time, stride, columns, KEY_DIM)
    do = _load(d_outputs + start, places, time, stride, columns, KEY_DIM)
    o = _load(outputs + start, places, time, stride, columns, KEY_DIM)
    delta = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
    line = tl.program_id(1).to(tl.int64) * time + places
    tl.store(deltas + line, delta, mask=places < time)
    log_sum = tl.load(log_sums + line, mask=places < time, other=float("inf"))
    near = tl.full((TILE, TILE), 0.0, tl.float32)
    nothing = tl.full((TILE, TILE), 0.0, q.dtype)
    d_near = nothing
    near_rows = tl.full((TILE, WIDTH), 0.0, q.dtype)
    sums = tl.full((TILE, WIDTH), 0.0, tl.float32)
    for diagonal in range(0, tl.minimum(query_tile + 1, num_diagonals)):
        keys = places - diagonal * TILE
        rows = max_distance - (diagonal + 1) * TILE + lanes
        k = _load(key + start, keys, time, stride, columns, KEY_DIM)
        v = _load(value + start, keys, time, stride, columns, KEY_DIM)
        far_rows = _load(
            relative, rows, max_distance, relative_stride, columns, KEY_DIM
        )
        far = _dot(q, tl.trans(far_rows))
        visible = _visible(places, keys, padding_mask, time, max_distance, 1)
        logits = _logits(_dot(q, tl.trans(k)), far, near, visible, scale, 1)
        near = far
        weights = tl.exp2(logits - log_sum[:, None])
        d_weights = _dot(do, tl.trans(v))
        d_logits = (weights * (d_weights - delta[:, None])).to(q.dtype)
        sums += _dot(d_logits, k)
        # With this step's share the near tile's gradient is complete.
        d_far = _unskew(d_logits, 1)
        sums += _dot(_choose(d_near, d_far, 1), near_rows)
        d_near, near_rows = d_far, far_rows
    sums += _dot(_choose(d_near, nothing, 1), near_rows)
    sums *= scale
    _store(d_query + start, sums, places, time, stride, columns, KEY_DIM)


@triton.jit
def _tile_gradients(
    q, k, v, do, far_rows, near_rows, visible, log_sum, delta, scale
):
    """Weights of a tile and gradients of its logits, both (keys, queries).

    Turned so, they go into the next product as they are.
    """
    queries = tl.trans(q)
    far, near = _dot(far_rows, queries), _dot(near_rows, queries)
    logits = _logits(_dot(k, queries), far, near, visible, scale, 0)
    weights = tl.exp2(logits - log_sum[None, :])
    d_logits = weights * (_dot(v, tl.trans(do)) - delta[None, :])
    return weights.to(q.dtype), d_logits.to(q.dtype)


@triton.jit
def _key_value_gradient_kernel(
    query,
    key,
    value,
    relative,
    padding_mask,
    d_outputs,
    log_sums,
    deltas,
    d_key,
    d_value,
    scale,
    heads,
    relative_heads,
    time,
    max_distance,
    num_diagonals,
    KEY_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
):
    """A program walks from a tile of keys along the queries that see it."""
    key_tile = tl.program_id(0)
    batch, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    start = _start(batch, head, heads, time, KEY_DIM)
    line = tl.program_id(1).to(tl.int64) * time
    stride, relative_stride = heads * KEY_DIM, relative_heads * KEY_DIM
    relative += (head % relative_heads) * KEY_DIM
    if padding_mask is not None:
        padding_mask += batch.to(tl.int64) * time
    lanes, columns = tl.arange(0, TILE), tl.arange(0, WIDTH)[None, :]
    keys = key_tile * TILE + lanes
    k = _load(key + start, keys, time, stride, columns, KEY_DIM)
    v = _load(value + start, keys, time, stride, columns, KEY_DIM)
    d_k = tl.full((TILE, WIDTH), 0.0, tl.float32)
    d_v = tl.full((TILE, WIDTH), 0.0, tl.float32)
    num_steps = tl.minimum(tl.num_programs(0) - key_tile, num_diagonals)
    for diagonal in range(0, num_steps):
        places = keys + diagonal * TILE
        rows = max_distance - (diagonal + 1) * TILE + lanes
        q = _load(query + start, places, time, stride, columns, KEY_DIM)
        do = _load(d_outputs + start, places, time, stride, columns, KEY_DIM)
        far_rows = _load(
            relative, rows, max_distance, relative_stride, columns, KEY_DIM
        )
        near_rows = _load(
            relative,
            rows + TILE,
            max_distance,
            relative_stride,
            columns,
            KEY_DIM,
        )
        exists = places < time
        log_sum = tl.load(log_sums + line + places, exists, float("inf"))
        delta = tl.load(deltas + line + places, exists, 0.0)
        visible = _visible(places, keys, padding_mask, time, max_distance, 0)
        weights, d_logits = _tile_gradients(
            q, k, v, do, far_rows, near_rows, visible, log_sum, delta, scale
        )
        d_v += _dot(weights, do)
        d_k += _dot(d_logits, q)
    d_k *= scale
    _store(d_key + start, d_k, keys, time, stride, columns, KEY_DIM)
    _store(d_value + start, d_v, keys, time, stride, columns, KEY_DIM)


@triton.jit
def _relative_gradient_kernel(
    query,
    key,
    value,
    relative,
    padding_mask,
    d_outputs,
    log_sums,
    deltas,
    parts,
    num_batches,
    scale,
    heads,
    relative_heads,
    time,
    max_distance,
    num_diagonals,
    KEY_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    TILE: tl.constexpr,
):
    """A program walks along a block diagonal, in its split of the batch.

    All tiles on it share their two distance tiles. `parts` has the shape
    (splits, far or near, num_diagonals * tile, heads, key_dim).
    """
    diagonal, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    num_splits = tl.num_programs(2)
    stride, relative_stride = heads * KEY_DIM, relative_heads * KEY_DIM
    relative += (head % relative_heads) * KEY_DIM
    lanes, columns = tl.arange(0, TILE), tl.arange(0, WIDTH)[None, :]
    rows = max_distance - (diagonal + 1) * TILE + lanes
    far_rows = _load(
        relative, rows, max_distance, relative_stride, columns, KEY_DIM
    )
    near_rows = _load(
        relative, rows + TILE, max_distance, relative_stride, columns, KEY_DIM
    )
    nothing = tl.full((TILE, TILE), 0.0, far_rows.dtype)
    d_far = tl.full((TILE, WIDTH), 0.0, tl.float32)
    d_near = tl.full((TILE, WIDTH), 0.0, tl.float32)
    num_tiles = (time + TILE - 1) // TILE
    for step in range(0, (num_batches - split + num_splits - 1) // num_splits):
        batch = split + step * num_splits
        start = _start(batch, head, heads, time, KEY_DIM)
        line = (batch.to(tl.int64) * heads + head) * time
        kept = padding_mask
        if padding_mask is not None:
            kept = padding_mask + batch.to(tl.int64) * time
        for query_tile in range(diagonal, num_tiles):
            places = query_tile * TILE + lanes
            keys = places - diagonal * TILE
            q = _load(query + start, places, time, stride, columns, KEY_DIM)
            do = _load(
                d_outputs + start, places, time, stride, columns, KEY_DIM
            )
            k = _load(key + start, keys, time, stride, columns, KEY_DIM)
            v = _load(value + start, keys, time, stride, columns, KEY_DIM)
            exists = places < time
            log_sum = tl.load(log_sums + line + places, exists, float("inf"))
            delta = tl.load(deltas + line + places, exists, 0.0)
            visible = _visible(places, keys, kept, time, max_distance, 0)
            _, d_logits = _tile_gradients(
                q, k, v, do, far_rows, near_rows, visible, log_sum, delta, scale
            )
            by_distance = _unskew(d_logits, 0)
            d_far += _dot(_choose(by_distance, nothing, 0), q)
            d_near += _dot(_choose(nothing, by_distance, 0), q)
    num_rows = num_diagonals * TILE
    rows = num_rows - (diagonal + 1) * TILE + lanes
    size = (num_rows * stride).to(tl.int64)
    parts += 2 * split * size + head * KEY_DIM
    d_far *= scale
    _store(parts, d_far, rows, num_rows, stride, columns, KEY_DIM)
    # Diagonal 0 has no near tile: these rows lie past the last one.
    d_near *= scale
    parts += size
    _store(parts, d_near, rows + TILE, num_rows, stride, columns, KEY_DIM)
