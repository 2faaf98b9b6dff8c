"""Continuations by a language model, with gradients.

`continue_events` samples one event after another through the key-value cache,
without a gradient. `relax` runs the model over all sampled events at once, and
returns the same events with the gradient of a straight-through
Gumbel-softmax. Ids have the shape (batch, time); N is the size of the
vocabulary.
"""

import numpy as np
from keras import ops

from keras_pianogen.generation.decoding import roll_out
from keras_pianogen.generation.draws import GivenNoise
from keras_pianogen.generation.event_request import EventRequest
from keras_pianogen.generation.grammar import BARRED
from keras_pianogen.layers.event_embedding import embed_distributions
from keras_pianogen.layers.gumbel_softmax import straight_through


def bars(vocabulary_size, ids):
    """The bias that, added to logits or to noise, bars ids from being drawn.

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
        noise: Gumbel noise (batch, length, N), to which `bars` may have been
            added. The id with the largest sum of logit and noise is a draw
            from the softmax of the logits.

    Returns:
        Ids, an int32 tensor of shape (batch, length).
    """
    request = EventRequest(
        model=model,
        prompts=context,
        sampler=GivenNoise(noise),
        max_length=context.shape[1] + noise.shape[1],
        stop_token_ids=None,
    )
    return roll_out(request)


def relax(model, ids, noise, temperature, feedback=0):
    """Sampled events as one-hot vectors with a gradient.

    The gradient of an event reaches the weights in two ways: through the
    logits that the event was drawn from, and through the logits of later
    events, which depend on it. The second way is followed over `feedback`
    later draws. With `feedback` of `length - 1`, the gradient is that of the
    whole rollout.

    Args:
        model: a `MusicTransformerCausalLM`.
        ids: int tensor (batch, context_length + length), a context and
            the events that `continue_events` returned for it.
        noise: the noise (batch, length, N) of these draws.
        temperature: float above 0, of the softmax whose gradient is taken.
        feedback: int, 0 or more. Each unit costs one more pass of the model.
            Dropout is off, as it was for the draws.

    Returns:
        A float tensor (batch, context_length + length, N), one-hot.
    """
    hard = ops.one_hot(ids, noise.shape[2])
    before = ids.shape[1] - noise.shape[1]
    events = hard  # (batch, context_length + length, N)
    for _ in range(feedback + 1):
        logits = event_logits(model, events[:, :-1])
        soft = ops.softmax(
            (logits[:, before - 1 :] + noise) / temperature, axis=-1
        )
        new = straight_through(hard[:, before:], soft)
        events = ops.concatenate([hard[:, :before], new], axis=1)
    return events


def event_logits(model, events, training=False):
    """Logits of the events after ids or after distributions over them.

    Args:
        model: a `MusicTransformerCausalLM`.
        events: int tensor (batch, time) or float tensor (batch, time, N).
        training: bool. Whether dropout is on.

    Returns:
        A float32 tensor (batch, time, N).
    """
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
