# mypy: allow-untyped-defs, allow-incomplete-defs
"""The attention weights of a Music Transformer, as arrays and as pictures.

A weight is the share of its attention, 0 to 1, that an event gives to an
earlier event (equation 3 of Huang et al., 2018). Matplotlib's objects are used
without `pyplot`.
"""

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_pianogen.files import save_figure
from keras_pianogen.layers import RelativeGlobalAttention

# Distances, in events, at which the columns of the picture begin. From 2 on,
# each is a third or a half larger than the one before.
DISTANCES = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256,
             384, 512, 768, 1024)  # fmt: skip


def attention_weights(model, music, max_events=512):
    """Attention weights of all heads over a performance.

    Args:
        model: a `MusicTransformerCausalLM` with global attention.
        music: a performance: a MIDI file's path, notes or event ids.
        max_events: int. Number of its first events that are used, the start
            id among them.

    Returns:
        A pair: event ids, (time,), and weights, (layers, heads, time, time).
        The last axis is that of the events that are attended to. Weights add
        up to 1 along it.

    Raises:
        ValueError: if there are no events, or attention is local.
    """
    model.preprocessor.form.events_for("Attention maps")
    ids = model.preprocessor.generate_preprocess([music])["token_ids"]
    ids = ids[:, :max_events]  # (1, time)
    if ids.shape[1] < 2:
        raise ValueError("`music` must have events. Received: none")
    x = model.backbone.token_embedding(ids)
    weights = []
    for block in model.backbone.transformer_layers:
        hidden = x
        if block.normalize_first:
            hidden = block.self_attention_layer_norm(x)
        weights.append(weights_of_layer(block.self_attention, hidden)[0])
        x = block(x, training=False)
    return ids[0], np.stack(weights)


def weights_of_layer(attention, inputs):
    """Weights of one attention layer, computed in NumPy.

    Args:
        attention: a `RelativeGlobalAttention`.
        inputs: tensor of shape (batch, time, features).

    Returns:
        Weights, a float32 array (batch, heads, time, time).

    Raises:
        ValueError: if the layer is of another kind.
    """
    if not isinstance(attention, RelativeGlobalAttention):
        raise ValueError(
            "`attention` must be a `RelativeGlobalAttention`. Received: "
            f"{type(attention).__name__}"
        )
    query, key = (
        _heads(layer(inputs), attention.num_heads)
        for layer in (attention.query, attention.key)
    )  # (batch, heads, time, key_dim)
    time = query.shape[2]
    relative = _to_numpy(attention.relative_embeddings)
    shape = len(relative), attention.num_heads, attention.key_dim
    by_distance = np.einsum(
        "bhtd,mhd->bhtm", query, np.broadcast_to(relative, shape)
    )  # (batch, heads, time, max_distance), farthest distance first
    distance = np.arange(time)[:, None] - np.arange(time)
    seen = (distance >= 0) & (distance < attention.max_distance)
    column = np.where(seen, attention.max_distance - 1 - distance, 0)
    logits = query @ key.transpose(0, 1, 3, 2) + np.take_along_axis(
        by_distance, np.broadcast_to(column, (*query.shape[:3], time)), axis=-1
    )
    logits = np.where(seen, logits / attention.key_dim**0.5, -np.inf)
    logits = np.exp(logits - logits.max(-1, keepdims=True))
    return logits / logits.sum(-1, keepdims=True)


def share_by_distance(weights):
    """Share of each head's attention by distance in events.

    It is the mean over the second half of the events, because each of them
    has events before it at every distance.

    Args:
        weights: (layers, heads, time, time), see `attention_weights`.

    Returns:
        A pair: the first distance of each bin, (bins,), and shares, (layers,
        heads, bins), which add up to 1 over the bins.
    """
    time = weights.shape[-1]
    firsts = np.array([d for d in DISTANCES if d < max(1, time // 2)])
    queries = np.arange(time - max(1, time // 2), time)
    bins = np.searchsorted(
        firsts, queries[:, None] - np.arange(time), side="right"
    )  # 0 for later events
    shares = np.stack(
        [
            (weights[:, :, queries] * (bins == i + 1)).sum(-1).mean(-1)
            for i in range(len(firsts))
        ],
        axis=-1,
    )
    return firsts, shares


def plot_attention(ids, weights, vocabulary, path, *, head=None, events=40):
    """Draws the attention of all heads by distance, and one head's map.

    The map shows the weights between the last events.

    Args:
        ids: event ids, (time,).
        weights: (layers, heads, time, time), see `attention_weights`.
        vocabulary: an `EventVocabulary`, for the names of events.
        path: picture to write: .png, .svg or .pdf.
        head: a pair of a layer and a head, from 0. Defaults to the head that
            gives most attention to events that the map shows, at a distance
            of 4 events or more.
        events: int. Number of events in the map.
    """
    layers, heads, time = weights.shape[:3]
    if head is None:
        back = np.arange(time)[:, None] - np.arange(time)
        means = (weights * ((back >= 4) & (back < events))).sum(-1).mean(-1)
        head = np.unravel_index(means.argmax(), means.shape)
    layer, one = (int(number) for number in head)
    if not (0 <= layer < layers and 0 <= one < heads):
        raise ValueError(
            f"`head` must be a layer from 0 to {layers - 1} and a head from 0 "
            f"to {heads - 1}. Received: head={tuple(head)}"
        )
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_shares(figure, left, weights)
    events = min(events, time)
    names = [vocabulary.describe(event) for event in ids[-events:]]
    _draw_map(right, names, weights[layer, one, -events:, -events:])
    right.set_title(
        f"layer {layer}, head {one}: the last {events} events",
        fontsize=10,
        loc="left",
    )
    save_figure(figure, path, dpi=110)


def plot_heads(weights, path, *, events=128):
    """Draws a map of each head's attention between the last events.

    A row of maps is a layer. In a map, a row is an event, from the top down,
    and a column is an event that it attends to. Each map has its own scale of
    colours.

    Args:
        weights: (layers, heads, time, time), see `attention_weights`.
        path: picture to write: .png, .svg or .pdf.
        events: int. Number of events in each map.
    """
    layers, heads, time = weights.shape[:3]
    figure = Figure(
        figsize=(1.5 * heads + 0.8, 1.5 * layers + 0.6), layout="constrained"
    )
    grid = figure.subplots(
        layers, heads, sharex=True, sharey=True, squeeze=False
    )
    first = max(0, time - events)
    edges = first - 0.5, time - 0.5
    for (layer, head), axis in np.ndenumerate(grid):
        # Up to a quantile, not the maximum, which would leave the rest pale.
        seen = weights[layer, head, first:, first:]
        axis.imshow(
            seen,
            cmap="magma_r",
            vmin=0,
            vmax=np.quantile(seen, 0.995),
            extent=(*edges, *edges[::-1]),
        )
        axis.tick_params(labelsize=7)
        if layer == 0:
            axis.set_title(f"head {head}", fontsize=8)
        if head == 0:
            axis.set_ylabel(f"layer {layer}", fontsize=8)
    figure.supxlabel("event that is looked at", fontsize=9)
    figure.supylabel("event that looks", fontsize=9)
    save_figure(figure, path, dpi=110)


def _draw_shares(figure, axis, weights):
    layers, heads = weights.shape[:2]
    firsts, shares = share_by_distance(weights)
    rows = shares.reshape(layers * heads, -1)
    image = axis.imshow(rows, aspect="auto", cmap="magma_r", vmin=0)
    distances = [f"{d}" for d in firsts]
    axis.set_xticks(range(len(firsts)), distances, rotation=60, fontsize=7)
    axis.set_yticks(
        [layer * heads + (heads - 1) / 2 for layer in range(layers)],
        [f"layer {layer}" for layer in range(layers)],
        fontsize=8,
    )
    for layer in range(1, layers):
        axis.axhline(layer * heads - 0.5, color="white", lw=2)
    axis.set_xlabel("events back, from")
    axis.set_title(
        "share of attention, a row for each head", fontsize=10, loc="left"
    )
    figure.colorbar(image, ax=axis, shrink=0.5)


def _draw_map(axis, names, weights):
    axis.imshow(weights, cmap="magma_r", vmin=0)
    places = range(len(names))
    axis.set_xticks(places, names, rotation=90, fontsize=5.5)
    axis.set_yticks(places, names, fontsize=5.5)
    axis.set_xlabel("event that is looked at")
    axis.set_ylabel("event that looks")


def _heads(x, num_heads):
    x = _to_numpy(x)
    x = x.reshape(*x.shape[:2], num_heads, -1)
    return x.transpose(0, 2, 1, 3)  # (batch, heads, time, key_dim)


def _to_numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x), "float32")
