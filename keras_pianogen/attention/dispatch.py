"""Relative attention on each backend, behind one function.

`blocks` serves JAX and TensorFlow, `torch_blocks` serves PyTorch, and `whole`
serves lengths that are only known when a graph runs. Backends are imported in
this room, in `gradients`, `devices` and `data.feeding`, and nowhere else.
"""

import functools

import keras

from keras_pianogen.attention import blocks
from keras_pianogen.attention import whole

# Queries that XLA handles at once if `block_size` is None. These values, and
# the next two, were measured on 2 cores at 1,024 events; see
# docs/performance.md.
BLOCK_SIZE = {"jax": 256, "tensorflow": 128}
# Logits that XLA handles at once on a CPU. If a block has no more logits than
# FEW_LOGITS, all heads run at once; otherwise as many heads as have about
# LOGITS of them. On a GPU all heads of all sequences run at once, because a
# GPU needs much work at a time.
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
        query: see `whole.attend`.
        key: see `whole.attend`.
        value: see `whole.attend`.
        relative: see `whole.attend`.
        padding_mask: see `blocks.attend`.
        offset: see `whole.attend`.
        block_size: int. Number of queries handled at once. Defaults to the
            fastest that was measured.

    Returns:
        A tensor of shape (batch, heads, time, value_dim). A query that sees no
        key gets zeros.
    """
    backend = keras.config.backend()
    if query.shape[2] == 0:
        return value[:, :, :0]
    if query.shape[2] is None:  # A length only known when a graph runs.
        return whole.attend(query, key, value, relative, padding_mask, offset)
    if backend == "torch":
        from keras_pianogen.attention import torch_blocks

        return torch_blocks.attend(
            query, key, value, relative, padding_mask, offset, block_size
        )
    block_size = block_size or BLOCK_SIZE[backend]
    rows = _rows(backend, query.shape, key.shape[2], block_size)
    return _compiled(tuple(query.shape), offset, block_size, rows)(
        query, key, value, relative, padding_mask
    )


@functools.lru_cache
def _compiled(shape, offset, block_size, rows):
    """`blocks.attend` compiled by XLA, whether or not the caller is compiled.

    Keras lets XLA compile a TensorFlow model on GPUs only, and JAX compiles
    nothing outside of `jit`.
    """
    settings = {"offset": offset, "block_size": block_size, "rows": rows}
    attend = functools.partial(blocks.attend, **settings)
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(attend)
    import tensorflow as tf

    attend = functools.partial(attend, differentiable=_differentiable)
    # One function for each shape, because TensorFlow warns about a function
    # that is traced for many shapes.
    return tf.function(attend, jit_compile=True)


def _differentiable(gradients, plain):
    """Gradients whose own derivatives are taken through `plain`.

    TensorFlow cannot differentiate XLA's own operations. The second derivative
    builds the (time, time) logits, as it does on PyTorch.
    """
    import tensorflow as tf

    zeros = tf.UnconnectedGradients.ZERO

    @tf.custom_gradient
    def first(*arguments):
        # Copy into this graph, because the arguments may belong to the forward
        # graph.
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
    """How many heads run at once; `None` for all heads of all sequences."""
    batch, heads, time, _ = query_shape
    logits = min(time, block_size) * keys
    few = batch is not None and batch * heads * logits <= FEW_LOGITS[backend]
    if few or _has_gpu(backend):
        return None
    return next(
        rows
        for rows in range(1, heads + 1)
        if heads % rows == 0
        and (rows * logits >= LOGITS[backend] or rows == heads)
    )


def _has_gpu(backend):
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))


def cached_step(backbone):
    """A function that computes one event's logits without layer calls.

    Args:
        backbone: a `MusicTransformerBackbone`.

    Returns:
        On PyTorch, where layer calls cost the most, the function that
        `torch_step.build` makes, or `None` if it makes none for this
        backbone. On the other backends, whose loops are compiled, `None`.
    """
    if keras.config.backend() != "torch":
        return None
    from keras_pianogen.attention import torch_step

    return torch_step.build(backbone)


def stepwise_heads(heads):
    """Heads that compute one field after the other without layer calls.

    Args:
        heads: a `NoteHeads`.

    Returns:
        On PyTorch what `torch_heads.build` makes, on the other backends, whose
        loops are compiled, `heads` itself.
    """
    if keras.config.backend() != "torch":
        return heads
    from keras_pianogen.attention import torch_heads

    return torch_heads.build(heads)


def host_ops():
    """`keras.ops` for the loop of sampling, and what it knows of each token.

    Returns:
        On PyTorch the module `host_ops`, whose functions take and give arrays.
        On the other backends, whose loops are compiled, `keras.ops` itself.
    """
    if keras.config.backend() != "torch":
        return keras.ops
    from keras_pianogen.attention import host_ops

    return host_ops


def categorical_draws(state, temperature, min_p):
    """Draws by probability for a loop that runs in Python.

    Args:
        state: see `torch_draws.Categorical`.
        temperature: see there.
        min_p: see there.

    Returns:
        A `torch_draws.Categorical`. PyTorch alone has one.
    """
    from keras_pianogen.attention import torch_draws

    return torch_draws.Categorical(state, temperature, min_p)
