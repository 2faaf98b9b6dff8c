"""Fused relative attention for GPUs, a kernel in JAX's Pallas (Triton).

Equation 3 of Huang et al. (2018) with a causal sliding window, forward and
backward, tile by tile as in FlashAttention-2 (Dao, 2023). No array of
(time, time) is ever in global memory.

Shapes are named (batch, heads, time, key_dim); a distance is how many events
a key lies before its query, in events, 0 for the query's own place. Kernels
know nothing of layers, caches or dropout.

Where the relative logits come from. A tile has `block` queries, and meets
keys a tile at a time, backwards from its own: step t's keys start t * block
events earlier, and their distances fall in tiles t - 1 and t of the relative
embeddings. Triton, as Pallas reaches it, can neither gather from registers
nor slice, roll or concatenate them, so that rows cannot be shifted there (the
skew of Huang et al., section 3.4.1). Memory can: a program owns a ring of
(block, 2 * block) float32 numbers, in which column d mod 2 * block of row m
is query m's product with distance d. Step t writes one half of it, the dot
product of the queries and distance tile t, and reads (m, n) at column
(distance of m and n) mod 2 * block; the other half is left from step t - 1.
So each product of a query and a distance is computed once. The ring is small
enough to stay in the GPU's caches. A second ring takes the gradients of the
logits back from keys to distances, the skew's inverse.

Programs write and read rings, with barriers between. Triton's pipelining of
loads could fetch one before the write it waits for, so it is off
(`num_stages=1`).

Besides inputs, outputs and gradients, global memory holds, in float32: the
log-sum-exp and one more number for each query and head; the rings, of 2 *
block numbers (backward, up to twice that) for each query and head; and up to
`time / (4 * key_dim)` partial sums of the gradient of the embeddings for each
batch item and head, added up in a fixed order: equal inputs, equal gradients.

This has been run by Pallas's interpreter and lowered for CUDA; it has not
been timed on a GPU. XLA compiled it for an H100 it had only a description of:
at the default tiles the kernels use up to 82 kB of shared memory, and keep to
registers up to `key_dim` 64 (at 128 some spill to memory). JAX 0.11 warns
that a later version will drop Pallas's Triton backend.

Reference:
    - [Huang et al., Music Transformer, 2018](https://arxiv.org/abs/1809.04281)
    - [Dao, FlashAttention-2, 2023](https://arxiv.org/abs/2307.08691)
"""

import functools
import typing

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from keras_pianogen.kernels.fused_inputs import check_inputs

MIN_TILE = 16  # The least size of a dot product in Triton, on every axis.
ENOUGH_PROGRAMS = 256  # To fill a GPU: about two for each multiprocessor.
LOWEST = -1e30  # Less than any logit, and finite: no inf - inf.


class Plan(typing.NamedTuple):
    """What is known of a call when its kernels are built.

    Fields:
        scale: float. Factor of the logits.
        max_distance: int. Number of distances seen, at most `time`.
        block: int. Queries in a tile, and keys, and distances.
        num_warps: int. Groups of 32 threads in a program.
        interpret: bool. Whether Pallas interprets the kernels.
    """

    scale: float
    max_distance: int
    block: int
    num_warps: int
    interpret: bool

    @property
    def last_step(self):
        """The step whose keys are the furthest that a tile sees."""
        return (self.max_distance - 2) // self.block + 1


class Inputs(typing.NamedTuple):
    """What kernels read: arrays, their block specifications, or references.

    Fields:
        query, key, value: shape (batch, heads, time, key_dim).
        embeddings: shape (heads or 1, distances, key_dim), by distance.
        mask: shape (batch, time), int, 0 for keys that are padding.
        d_outputs: gradient of the outputs. The rest is for gradients alone.
        lse: shape (batch, heads, time), log-sum-exp of the logits.
        mean: shape (batch, heads, time), see `_attend_backward`.
    """

    query: typing.Any
    key: typing.Any
    value: typing.Any
    embeddings: typing.Any
    mask: typing.Any
    d_outputs: typing.Any = None
    lse: typing.Any = None
    mean: typing.Any = None


def relative_attention(
    query,
    key,
    value,
    relative,
    padding_mask=None,
    scale=None,
    interpret=False,
    block_size=None,
):
    """Causal attention with learned relative positions, in one kernel.

    Query i attends to key j where `0 <= i - j < max_distance` and j is not
    padding; its logit is `scale * (q_i . k_j + q_i . e_ij)`, with e_ij row
    `max_distance - 1 - (i - j)` of `relative`. Softmax and sums are in
    float32; dot products take 16-bit numbers as they are, and float32 ones
    in full precision. A query that no key is left for gives zeros.

    Differentiable, once, in `query`, `key`, `value` and `relative`.

    Args:
        query: array of shape (batch, heads, time, key_dim), of dtype
            bfloat16, float16 or float32. `key_dim` is 128 at most.
        key: array of the shape and dtype of `query`.
        value: array of the shape and dtype of `query`.
        relative: float array of shape (max_distance, heads or 1, key_dim).
            The last row is distance 0.
        padding_mask: optional bool array of shape (batch, time), `False`
            where a key must not be attended to.
        scale: float. Factor of the logits. Defaults to `key_dim**-0.5`.
        interpret: bool. Whether to run the kernels in Pallas's interpreter,
            which needs no GPU. Defaults to `False`.
        block_size: int. Queries, keys and distances in a tile, a power of
            two from 16 on. Changes speed and memory, never the result.
            Defaults to 64, in float32 to 32; less for fewer events.

    Returns:
        An array of the shape and dtype of `query`.

    Raises:
        ValueError: if a shape, a dtype or `block_size` is not as above.

    Examples:
        >>> import jax.numpy as jnp
        >>> events = jnp.ones((1, 2, 5, 16))  # (batch, heads, time, key_dim)
        >>> relative = jnp.ones((8, 2, 16))
        >>> relative_attention(
        ...     events, events, events, relative, interpret=True
        ... ).shape
        (1, 2, 5, 16)
    """
    check_inputs(query, key, value, relative, padding_mask)
    batch, _, time, key_dim = query.shape
    if query.size == 0:
        return query
    block = _choose_block(block_size, time, query.dtype)
    plan = Plan(
        scale=float(key_dim**-0.5 if scale is None else scale),
        max_distance=min(relative.shape[0], time),
        block=block,
        # With 4, float32's dot products, which tensor cores do not do, spill.
        num_warps=8 if query.dtype == jnp.float32 or block > 64 else 4,
        interpret=interpret,
    )
    if padding_mask is None:
        padding_mask = jnp.ones((batch, time))
    mask = jnp.asarray(padding_mask).astype("bool").astype("int32")
    outputs = _attend(
        *(_pad(x, (time, key_dim), plan) for x in (query, key, value)),
        _by_distance(relative, plan),
        jnp.pad(mask, ((0, 0), (0, -time % plan.block))),
        plan,
    )
    return outputs[:, :, :time, :key_dim]


def _choose_block(block_size, time, dtype):
    if block_size is None:
        block_size = 32 if dtype == jnp.float32 else 64
        return min(block_size, max(MIN_TILE, pl.next_power_of_2(time)))
    if block_size < MIN_TILE or block_size & (block_size - 1):
        raise ValueError(
            f"`block_size` must be a power of two, at least {MIN_TILE}. "
            f"Received: block_size={block_size}"
        )
    return block_size


def _pad(x, shape, plan):
    """`x` with its last two axes, of `shape`, made whole tiles by zeros."""
    rows, key_dim = shape
    width = max(MIN_TILE, pl.next_power_of_2(key_dim))
    padding = ((0, -rows % plan.block), (0, width - key_dim))
    return jnp.pad(x, ((0, 0),) * (x.ndim - 2) + padding)


def _by_distance(relative, plan):
    """`relative` as (heads or 1, distances, key_dim), row d distance d."""
    reach = plan.max_distance
    relative = jnp.flip(relative[relative.shape[0] - reach :], axis=0)
    relative = jnp.transpose(relative, (1, 0, 2))
    relative = _pad(relative, relative.shape[1:], plan)
    missing = (plan.last_step + 1) * plan.block - relative.shape[1]
    return jnp.pad(relative, ((0, 0), (0, missing), (0, 0)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attend(query, key, value, embeddings, mask, plan):
    """Attention of whole tiles, with `embeddings` by distance."""
    return _attend_forward(query, key, value, embeddings, mask, plan)[0]


def _attend_forward(query, key, value, embeddings, mask, plan):
    same_dtype = embeddings.astype(query.dtype)
    inputs = Inputs(query, key, value, same_dtype, mask)
    outputs, lse = _run_forward(inputs, plan)
    return outputs, (inputs, outputs, lse, embeddings)


def _attend_backward(plan, kept, d_outputs):
    inputs, outputs, lse, embeddings = kept
    # The mean of the gradients of a query's weights, sum_j p_ij dp_ij.
    mean = jnp.sum(
        outputs.astype("float32") * d_outputs.astype("float32"), axis=-1
    )  # (batch, heads, time)
    inputs = inputs._replace(d_outputs=d_outputs, lse=lse, mean=mean)
    d_query, d_embeddings = _run_backward_queries(inputs, plan)
    d_key, d_value = _run_backward_keys(inputs, plan)
    d_embeddings = jnp.sum(d_embeddings, axis=(0, 2))
    if embeddings.shape[0] == 1:
        d_embeddings = jnp.sum(d_embeddings, axis=0, keepdims=True)
    d_embeddings = d_embeddings.astype(embeddings.dtype)
    return d_query, d_key, d_value, d_embeddings, None


_attend.defvjp(_attend_forward, _attend_backward)


def _run_forward(inputs, plan):
    batch, heads, time, key_dim = inputs.query.shape
    block, tiles = plan.block, time // plan.block
    tile = _tile(block, key_dim)
    outputs, lse, _ = _call(
        _forward_kernel,
        tiles,
        inputs,
        _specs(inputs)._replace(query=tile),
        [
            (inputs.query.shape, inputs.query.dtype, tile),
            ((batch, heads, time), jnp.float32, _tile(block)),
            _own((batch, heads, tiles), (block, 2 * block)),
        ],
        plan,
    )
    return outputs, lse


def _run_backward_keys(inputs, plan):
    batch, heads, time, key_dim = inputs.query.shape
    block, tiles = plan.block, time // plan.block
    tile = _tile(block, key_dim)
    d_key, d_value, _ = _call(
        _backward_keys_kernel,
        tiles,
        inputs,
        _specs(inputs)._replace(key=tile, value=tile),
        [
            (inputs.key.shape, inputs.key.dtype, tile),
            (inputs.value.shape, inputs.value.dtype, tile),
            _own((batch, heads, tiles), (block, 2 * block)),
        ],
        plan,
    )
    return d_key, d_value


def _run_backward_queries(inputs, plan):
    batch, heads, time, key_dim = inputs.query.shape
    segments = _count_segments(inputs.query.shape, plan)
    owners = (batch, heads, segments)
    specs = _specs(inputs)
    d_query, d_embeddings, _, _ = _call(
        _backward_queries_kernel,
        segments,
        inputs,
        specs,
        [
            (inputs.query.shape, inputs.query.dtype, specs.query),
            _own(owners, inputs.embeddings.shape[1:]),
            _own(owners, (plan.block, 2 * plan.block)),
            _own(owners, (plan.block, 2 * plan.block)),
        ],
        plan,
    )
    return d_query, d_embeddings


def _count_segments(shape, plan):
    """Into how many programs the query tiles of a head are dealt out.

    Each has its own sum of the embeddings' gradient. Many programs fill a
    GPU; few keep the sums well below the size of (time, time).
    """
    batch, heads, time, key_dim = shape
    wanted = min(ENOUGH_PROGRAMS // (batch * heads), time // (4 * key_dim))
    return max(1, min(wanted, time // plan.block))


def _call(kernel, programs, inputs, specs, outputs, plan):
    """Run `programs` for each head and batch item.

    `outputs` are triples of a shape, a dtype and a block specification.
    """
    given = [i for i, x in enumerate(inputs) if x is not None]
    batch, heads = inputs.query.shape[:2]
    return pl.pallas_call(
        functools.partial(kernel, plan=plan),
        grid=(programs, heads, batch),
        in_specs=[specs[i] for i in given],
        out_specs=[spec for _, _, spec in outputs],
        out_shape=[jax.ShapeDtypeStruct(*x) for *x, _ in outputs],
        interpret=plan.interpret,
        compiler_params=plgpu.CompilerParams(
            num_warps=plan.num_warps, num_stages=1
        ),
        name=kernel.__name__.strip("_"),
    )(*(inputs[i] for i in given))


def _specs(inputs):
    """What a program reaches: all that its head and batch item have."""
    time, key_dim = inputs.query.shape[2:]
    rows = pl.BlockSpec(
        (None, None, time, key_dim), lambda i, h, b: (b, h, 0, 0)
    )
    numbers = pl.BlockSpec((None, None, time), lambda i, h, b: (b, h, 0))
    heads, *shape = inputs.embeddings.shape
    embeddings = pl.BlockSpec(
        (None, *shape), lambda i, h, b: (0 if heads == 1 else h, 0, 0)
    )
    mask = pl.BlockSpec((None, time), lambda i, h, b: (b, 0))
    return Inputs(rows, rows, rows, embeddings, mask, rows, numbers, numbers)


def _tile(*shape):
    """Program i reaches tile i of what its head and batch item have."""
    zeros = (0,) * (len(shape) - 1)
    return pl.BlockSpec((None, None, *shape), lambda i, h, b: (b, h, i, *zeros))


def _own(owners, shape):
    """An output that has an array of this shape for each program."""
    zeros = (0,) * len(shape)
    spec = pl.BlockSpec(
        (None, None, None, *shape), lambda i, h, b: (b, h, i, *zeros)
    )
    return (*owners, *shape), jnp.float32, spec


def _forward_kernel(*refs, plan):
    """A tile of queries, over all the keys that it sees."""
    *refs, outputs_ref, lse_ref, ring_ref = refs
    refs = Inputs(*refs)
    tile = pl.program_id(0)
    query = refs.query[...]

    def step(t, carry):
        sums, peak, total = carry
        keys = _rows(tile - t, plan)
        relative = _relative_logits(ring_ref, query, refs, t, (t,), plan)
        logits = (_dot_t(query, refs.key[keys, :]) + relative) * plan.scale
        visible = _visible(t, refs.mask[keys], plan)
        logits = jnp.where(visible, logits, LOWEST)
        new_peak = jnp.maximum(peak, jnp.max(logits, axis=1))
        weights = jnp.exp(logits - new_peak[:, None])
        weights = jnp.where(visible, weights, 0.0)
        shrink = jnp.exp(peak - new_peak)
        value = refs.value[keys, :]
        sums = sums * shrink[:, None] + _dot(weights.astype(value.dtype), value)
        return sums, new_peak, total * shrink + jnp.sum(weights, axis=1)

    nothing = (
        jnp.zeros(query.shape, jnp.float32),
        jnp.full((plan.block,), LOWEST, jnp.float32),
        jnp.zeros((plan.block,), jnp.float32),
    )
    steps = jnp.minimum(tile, plan.last_step) + 1
    sums, peak, total = lax.fori_loop(0, steps, step, nothing)
    total = jnp.where(total > 0.0, total, 1.0)  # No key at all: zeros.
    outputs_ref[...] = (sums / total[:, None]).astype(outputs_ref.dtype)
    lse_ref[...] = peak + jnp.log(total)


def _backward_keys_kernel(*refs, plan):
    """Gradients of a tile of keys, over all the queries that see it."""
    *refs, d_key_ref, d_value_ref, ring_ref = refs
    refs = Inputs(*refs)
    tile = pl.program_id(0)
    key, value = refs.key[...], refs.value[...]
    mask = refs.mask[_rows(tile, plan)]

    def step(t, carry):
        d_key, d_value = carry
        queries = _rows(tile + t, plan)
        query, d_outputs = refs.query[queries, :], refs.d_outputs[queries, :]
        # Each step has other queries: nothing is left of the one before.
        relative = _relative_logits(ring_ref, query, refs, t, (t - 1, t), plan)
        weights, d_logits = _weights_and_gradients(
            (_dot_t(query, key) + relative) * plan.scale,
            _visible(t, mask, plan),
            _dot_t(d_outputs, value),
            refs.lse[queries],
            refs.mean[queries],
        )
        d_value = d_value + _t_dot(weights.astype(value.dtype), d_outputs)
        return d_key + _t_dot(d_logits.astype(key.dtype), query), d_value

    tiles_after = refs.query.shape[0] // plan.block - 1 - tile
    steps = jnp.minimum(tiles_after, plan.last_step) + 1
    zeros = jnp.zeros(key.shape, jnp.float32)
    d_key, d_value = lax.fori_loop(0, steps, step, (zeros, zeros))
    d_key_ref[...] = (d_key * plan.scale).astype(d_key_ref.dtype)
    d_value_ref[...] = d_value.astype(d_value_ref.dtype)


def _backward_queries_kernel(*refs, plan):
    """Gradients of every n-th tile of queries, and of the embeddings."""
    *refs, d_query_ref, d_embeddings_ref, ring_ref, d_ring_ref = refs
    refs, d_refs = Inputs(*refs), (d_embeddings_ref, ring_ref, d_ring_ref)
    segment, num_segments = pl.program_id(0), pl.num_programs(0)

    def clear(u, _):
        rows = _rows(u, plan)
        zeros = jnp.zeros((plan.block, refs.query.shape[1]), jnp.float32)
        d_embeddings_ref[rows, :] = zeros

    def visit(index, _):
        tile = segment + index * num_segments
        d_query = _query_gradients(tile, refs, d_refs, plan)
        d_query_ref[_rows(tile, plan), :] = d_query.astype(d_query_ref.dtype)

    lax.fori_loop(0, plan.last_step + 1, clear, None)
    _wait(plan)
    tiles_after = refs.query.shape[0] // plan.block - 1 - segment
    visits = lax.div(tiles_after, num_segments) + 1
    lax.fori_loop(0, visits, visit, None)


def _query_gradients(tile, refs, d_refs, plan):
    """Those of a tile; the embeddings' ones are added to what is there."""
    d_embeddings_ref, ring_ref, d_ring_ref = d_refs
    queries = _rows(tile, plan)
    query, d_outputs = refs.query[queries, :], refs.d_outputs[queries, :]
    lse, mean = refs.lse[queries], refs.mean[queries]

    def from_distances(u, ready, d_query):
        """What distance tile u gives to queries, and takes from them."""
        rows = _rows(jnp.maximum(u, 0), plan)
        d_products = d_ring_ref[:, _ring_half(u, plan)]
        d_products = jnp.where(ready, d_products, 0.0).astype(query.dtype)
        d_embeddings = _t_dot(d_products, query) * plan.scale
        d_embeddings_ref[rows, :] = d_embeddings_ref[rows, :] + d_embeddings
        _wait(plan)
        return d_query + _dot(d_products, refs.embeddings[rows, :])

    def step(t, d_query):
        keys = _rows(tile - t, plan)
        key = refs.key[keys, :]
        relative = _relative_logits(ring_ref, query, refs, t, (t,), plan)
        _, d_logits = _weights_and_gradients(
            (_dot_t(query, key) + relative) * plan.scale,
            _visible(t, refs.mask[keys], plan),
            _dot_t(d_outputs, refs.value[keys, :]),
            lse,
            mean,
        )
        d_ring_ref[_ring_places(t, plan)] = d_logits
        _wait(plan)
        d_query = d_query + _dot(d_logits.astype(key.dtype), key)
        # Distance tile t - 1 has had both its steps now.
        return from_distances(t - 1, t > 0, d_query)

    last = jnp.minimum(tile, plan.last_step)
    zeros = jnp.zeros(query.shape, jnp.float32)
    d_query = lax.fori_loop(0, last + 1, step, zeros)
    # The last tile has had one step: query m's distances up to m in it.
    ready = _distances(0, plan) >= 0
    return from_distances(last, ready, d_query) * plan.scale


def _relative_logits(ring_ref, query, refs, t, tiles, plan):
    """Products of queries and embeddings, as (queries, keys) of step t.

    `tiles` are the distance tiles that the ring does not hold yet.
    """
    for u in tiles:
        embeddings = refs.embeddings[_rows(jnp.maximum(u, 0), plan), :]
        ring_ref[:, _ring_half(u, plan)] = _dot_t(query, embeddings)
    _wait(plan)
    relative = ring_ref[_ring_places(t, plan)]
    _wait(plan)
    return relative


def _weights_and_gradients(logits, visible, d_weights, lse, mean):
    """Weights, again, and the gradients of their logits."""
    weights = jnp.where(visible, jnp.exp(logits - lse[:, None]), 0.0)
    return weights, weights * (d_weights - mean[:, None])


def _rows(tile, plan):
    """The places of a tile."""
    return pl.ds(pl.multiple_of(tile * plan.block, plan.block), plan.block)


def _distances(t, plan):
    """Of the queries of a tile to the keys t tiles before."""
    shape = (plan.block, plan.block)  # (queries, keys)
    rows = lax.broadcasted_iota(jnp.int32, shape, 0)
    return t * plan.block + rows - lax.broadcasted_iota(jnp.int32, shape, 1)


def _visible(t, mask, plan):
    """Which query attends to which key, (queries, keys)."""
    distances = _distances(t, plan)
    in_window = (distances >= 0) & (distances < plan.max_distance)
    return in_window & (mask != 0)[None, :]


def _ring_half(u, plan):
    """The columns of distance tile u."""
    start = pl.multiple_of((u & 1) * plan.block, plan.block)
    return pl.ds(start, plan.block)


def _ring_places(t, plan):
    """Row and column of each query and key of step t."""
    rows = lax.broadcasted_iota(jnp.int32, (plan.block, plan.block), 0)
    return rows, _distances(t, plan) & (2 * plan.block - 1)


def _wait(plan):
    """Until all threads of the program have written and read so far."""
    if not plan.interpret:
        plgpu.debug_barrier()


def _dot(x, y, contract=(1, 0)):
    return lax.dot_general(
        x,
        y,
        (((contract[0],), (contract[1],)), ((), ())),
        precision=lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )


def _dot_t(x, y):
    return _dot(x, y, (1, 1))


def _t_dot(x, y):
    return _dot(x, y, (0, 0))
