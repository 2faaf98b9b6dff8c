"""Continuations by a language model, with gradients.

`continue_events` samples event after event through the cache, without a
gradient. `relax` runs the model once over what was sampled, all places at the
same time, and gives the same events with the gradient of a straight-through
Gumbel-softmax. Sequences are (batch, time), N is the size of the vocabulary.
"""

import keras
import numpy as np
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.layers.event_embedding import embed_distributions
from keras_pianogen.layers.gumbel_softmax import straight_through

BARRED = -1e9


def bars(vocabulary_size, ids):
    """What is added to logits, or to noise, so that ids are never drawn.

    Returns:
        A float32 array of shape (vocabulary_size,).
    """
    values = np.zeros(vocabulary_size, "float32")
    values[list(ids)] = BARRED
    return values


def continue_events(model, context, noise):
    """Events that follow a context, drawn from the model.

    Args:
        model: a `MusicTransformerCausalLM`.
        context: int tensor of shape (batch, context_length).
        noise: Gumbel noise (batch, length, N), with `bars` added for ids that
            may not come. The largest of logits plus noise is a draw from
            softmax of the logits.

    Returns:
        Ids, an int32 tensor of shape (batch, length).
    """
    batch, length = ops.shape(noise)[0], noise.shape[1]
    before = context.shape[1]
    context = ops.cast(context, "int32")
    capacity = before + length
    cache = tuple(
        layer.self_attention.build_cache(batch, capacity)
        for layer in model.backbone.transformer_layers
    )
    if before > 1:
        cache = model.call_with_cache(context[:, :-1], cache, 0)[2]
        cache = keras.tree.map_structure(ops.stop_gradient, cache)
    on_torch = keras.config.backend() == "torch"
    step = dispatch.cached_step(model.backbone) if on_torch else None

    def logits_of(last, cache, index):
        if step is not None:
            return step(last, cache, index)
        logits, _, cache = model.call_with_cache(last, cache, index)
        return logits[:, 0], cache

    def body(i, state):
        last, cache, new = state
        logits, cache = logits_of(last, cache, before - 1 + i)
        logits = ops.cast(logits, "float32")
        drawn = ops.slice(noise, (0, i, 0), (batch, 1, noise.shape[2]))[:, 0]
        last = ops.cast(ops.argmax(logits + drawn, axis=-1), "int32")[:, None]
        return last, cache, ops.slice_update(new, (0, i), last)

    state = context[:, -1:], cache, ops.zeros((batch, length), "int32")
    if on_torch:
        for i in range(length):
            state = body(i, state)
    else:
        state = ops.fori_loop(0, length, body, state)
    return ops.stop_gradient(state[2])


def relax(model, ids, noise, temperature, feedback=0):
    """Sampled events as one-hot vectors with a gradient.

    The gradient of an event reaches the weights through the logits it was
    drawn from; and, as later events were drawn from logits that had seen it,
    through theirs. Paths over `feedback` later draws are followed; with
    `feedback` as large as `length - 1` the gradient is that of the whole
    rollout, backwards through each step.

    Args:
        model: a `MusicTransformerCausalLM`.
        ids: int tensor (batch, context_length + length), a context and what
            `continue_events` made of it.
        noise: the noise (batch, length, N) that it was made with.
        temperature: float above 0, of the softmax whose gradient is taken.
        feedback: int, 0 or more. Each one costs a pass more. Dropout is off,
            as it was for the draws.

    Returns:
        A float tensor (batch, context_length + length, N), one-hot.
    """
    hard = ops.one_hot(ids, noise.shape[2])
    before = ids.shape[1] - noise.shape[1]
    events = hard
    for _ in range(feedback + 1):
        logits = event_logits(model, events[:, :-1])
        soft = ops.softmax(
            (logits[:, before - 1 :] + noise) / temperature, axis=-1
        )
        new = straight_through(hard[:, before:], soft)
        events = ops.concatenate([hard[:, :before], new], axis=1)
    return events


def event_logits(model, events, training=False):
    """Logits (batch, time, N) in float32 after ids or distributions."""
    backbone = model.backbone
    if len(events.shape) == 3:
        x = embed_distributions(backbone.token_embedding, events)
    else:
        x = backbone.token_embedding(events)
    x = backbone.embeddings_dropout(x, training=training)
    for layer in backbone.transformer_layers:
        x = layer(x, training=training)
    logits = backbone.token_embedding(backbone.layer_norm(x), reverse=True)
    return ops.cast(logits, "float32")
