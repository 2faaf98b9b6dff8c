"""Relative attention on each backend, behind one function.

The one place beside `gradients` and `feeding` where a backend is imported.
`blocks` is the path of JAX and TensorFlow, `torch_blocks` that of PyTorch. On
a GPU, `KERAS_PIANOGEN_FUSED=1` in the environment chooses the fused kernels,
`pallas_attention` and `triton_attention`: they have been checked in their
languages' interpreters and compiled for GPUs, but not timed on one, so they
are not the default.
"""

import functools
import os

import keras

from keras_pianogen.attention import blocks

# Queries that XLA handles at once where `block_size` is left open. Measured on
# 2 cores at 1,024 events, as are the next two; see docs/performance.md.
BLOCK_SIZE = {"jax": 256, "tensorflow": 128}
# Logits that XLA handles at once on a CPU: all that there are, if they are
# few, or as many heads as have about so many. A GPU wants much work at once:
# there, all heads of all sequences.
FEW_LOGITS = {"jax": 2**22, "tensorflow": 2**20}
LOGITS = {"jax": 2**19, "tensorflow": 2**18}


def attend(
    query,
    key,
    value,
    relative,
    padding_mask=None,
    offset=0,
    block_size=None,
):
    """Causal attention with relative positions.

    Args:
        query: tensor of shape (batch, heads, time, key_dim).
        key: tensor of shape (batch, heads, offset + time, key_dim). Query i
            stands at key `offset + i`.
        value: tensor of the shape of `key`.
        relative: tensor of shape (max_distance, heads or 1, key_dim), the
            last row for distance 0. A query sees `max_distance` keys, its
            own included.
        padding_mask: optional bool tensor of shape (batch, offset + time),
            `False` where a key is hidden.
        offset: int. Keys before the first query's own.
        block_size: int. Queries handled at once. Defaults to what was
            measured to be fastest.

    Returns:
        A tensor of the shape of `query`. A query that sees no key gets zeros.
    """
    backend = keras.config.backend()
    if query.shape[2] == 0:
        return query
    if query.shape[2] is None:  # A length only known when a graph runs.
        return blocks.attend_whole(
            query, key, value, relative, padding_mask, offset
        )
    on_gpu = _on_gpu(backend, query)
    if on_gpu and offset == 0 and os.environ.get("KERAS_PIANOGEN_FUSED") == "1":
        fused = _fused(backend)
        if fused is not None:
            return fused(query, key, value, relative, padding_mask)
    if backend == "torch":
        from keras_pianogen.attention import torch_blocks

        return torch_blocks.attend(
            query, key, value, relative, padding_mask, offset, block_size
        )
    shape, keys = tuple(query.shape), key.shape[2]
    block_size = block_size or BLOCK_SIZE[backend]
    rows = None if on_gpu else _rows(backend, shape, keys, block_size)
    return _compiled(shape, offset, block_size, rows)(
        query, key, value, relative, padding_mask
    )


@functools.lru_cache
def _compiled(shape, offset, block_size, rows):
    """`blocks.attend` compiled by XLA, whatever compiles the call around it.

    Keras has XLA compile a TensorFlow model on GPUs only, and JAX's calls
    outside of `jit` not at all.
    """
    settings = {"offset": offset, "block_size": block_size, "rows": rows}
    attend = functools.partial(blocks.attend, **settings)
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(attend)
    import tensorflow as tf

    attend = functools.partial(attend, differentiable=_differentiable)
    # One function for each shape: TensorFlow warns of one that has many.
    return tf.function(attend, jit_compile=True)


def _differentiable(gradients, plain):
    """Gradients whose derivatives go through the plain path.

    TensorFlow cannot differentiate XLA's own operations. As on PyTorch, the
    (time, time) logits are built then.
    """
    import tensorflow as tf

    zeros = tf.UnconnectedGradients.ZERO

    @tf.custom_gradient
    def first(*arguments):
        # The graph's own: they may come from that of the way forward.
        upstream, outputs, sums, *inputs = map(tf.identity, arguments)
        places = [upstream, *inputs]

        def second(*upstreams):
            with tf.GradientTape() as outer:
                outer.watch(places)
                with tf.GradientTape() as inner:
                    inner.watch(inputs)
                    again = plain(*inputs)
                found = inner.gradient(again, inputs, upstream, zeros)
            found = outer.gradient(found, places, upstreams, zeros)
            return found[0], None, None, *found[1:]

        return gradients(upstream, outputs, sums, *inputs), second

    return first


def _rows(backend, query_shape, keys, block_size):
    """How many heads are handled at once; `None` for all of all sequences."""
    batch, heads, time, _ = query_shape
    logits = min(time, block_size) * keys
    if batch is not None and batch * heads * logits <= FEW_LOGITS[backend]:
        return None
    return next(
        rows
        for rows in range(1, heads + 1)
        if heads % rows == 0
        and (rows * logits >= LOGITS[backend] or rows == heads)
    )


def _on_gpu(backend, tensor):
    if backend == "torch":
        return tensor.device.type != "cpu"
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def _fused(backend):
    """The backend's fused kernel, if it has one and can be imported."""
    try:
        if backend == "jax":
            from keras_pianogen.attention.dispatch import pallas_attention

            return pallas_attention.relative_attention
        if backend == "torch":
            from keras_pianogen.attention.dispatch import triton_attention

            return triton_attention.relative_attention
    except ImportError:
        pass
    return None


def cached_step(backbone):
    """One event at a time without layer calls, where these cost the most.

    Args:
        backbone: a `MusicTransformerBackbone`.

    Returns:
        On PyTorch a function of the last events (batch, 1), the cache and the
        position, which returns logits (batch, vocabulary_size) and the
        updated cache; it writes to the cache in place. `None` on the other
        backends, where the loop is compiled, and for models that are
        quantized or of low precision.
    """
    if keras.config.backend() != "torch":
        return None
    from keras_pianogen.attention import torch_step

    return torch_step.build(backbone)
