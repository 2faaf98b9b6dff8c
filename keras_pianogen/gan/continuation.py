"""Continuations by a language model, with gradients.

`continue_events` samples event after event through the cache, without a
gradient. `relax` runs the model once over what was sampled, all places at the
same time, and gives the same events with the gradient of a straight-through
Gumbel-softmax. Sequences are (batch, time), N is the size of the vocabulary.
"""

import numpy as np
from keras import ops

from keras_pianogen.generation.decoding import roll_out
from keras_pianogen.generation.draws import GivenNoise
from keras_pianogen.generation.request import Request
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
    request = Request(
        model=model,
        prompts=context,
        sampler=GivenNoise(noise),
        max_length=context.shape[1] + noise.shape[1],
        stop_token_ids=None,
    )
    return roll_out(request)


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
