"""One position of a backbone at a time, in PyTorch's own operations.

Keras's layer calls cost more than the arithmetic of one position. This file
does the same computation on the same weights in about 16 operations a block.
It is given the backbone's layers and knows nothing of music.

Measured gain: 122 to 470 events a second (docs/performance.md).
"""

import keras
import torch
from torch.nn import functional

from keras_pianogen.attention import host_ops


def build(backbone):
    """The step function of a backbone, or `None` if it has none.

    Args:
        backbone: a `MusicTransformerBackbone` or `NoteTransformerBackbone`.

    Returns:
        A function of the last tokens (batch, 1, ...), the cache and the number
        of positions that the cache has seen. It returns logits of shape
        (batch, vocabulary_size), or the hidden states of notes (batch,
        hidden_dim), and the cache, a tuple of each block's ring (see `ring`),
        to which it writes in place. `None` if a layer is quantized or does
        not compute in float32, or if the attention is not relative.
    """
    if hasattr(backbone, "note_embedding"):
        embedding, ends = backbone.note_embedding.embedding, _note_ends
    else:
        embedding, ends = backbone.token_embedding, _event_ends
    if not all(
        hasattr(layer.self_attention, "relative_embeddings")
        for layer in backbone.transformer_layers
    ) or any(
        layer.quantization_mode is not None or layer.compute_dtype != "float32"
        for layer in (embedding, *_layers(backbone))
    ):
        return None
    blocks = [_Block(layer) for layer in backbone.transformer_layers]
    ids_of, embed, outputs = ends(backbone)
    phases_of = _no_phases
    if getattr(backbone, "note_phases", None) is not None:
        phases_of = _Phases(backbone)

    def step(last, cache, position):
        position = int(position)
        ids = ids_of(last[:, 0])
        x = embed(ids)  # (batch, hidden_dim)
        rings, phases = phases_of(ids, cache)
        for block, (key, value) in zip(blocks, rings, strict=True):
            x = block(x, key, value, position, phases)
        return outputs(x), cache

    return step


# What attention is told of notes besides their order, see `NotePhases`.


class _Phases:
    """What `NotePhases.call_with_cache` computes, of one note of each piece."""

    def __init__(self, backbone):
        device = value(backbone.note_embedding.embedding.embeddings).device
        layer = backbone.note_phases
        self.shifts = torch.as_tensor(layer.shifts, device=device)
        self.tables = {
            kind.name: torch.as_tensor(kind.table, device=device)
            for kind in layer.kinds
        }

    def __call__(self, classes, cache):
        """The blocks' rings, and the phases of notes, (batch, 2, phases)."""
        *rings, (onset, pitch) = cache
        shift, new = classes[:, 0], classes[:, 1]
        onset += self.shifts[shift + 1].view(onset.shape)
        pitch.copy_(new.view(pitch.shape))
        places = {"onset": onset.view(-1), "pitch": new}
        phases = torch.cat(
            [
                table[places[name] % len(table)]
                for name, table in self.tables.items()
            ],
            dim=-1,
        )
        return rings, phases * (new >= 0)[:, None, None]


def _no_phases(ids, cache):
    return cache, None


# From tokens to the first block, and from the last block to outputs.


def _note_ends(backbone):
    layer = backbone.note_embedding
    embeddings = value(layer.embedding.embeddings)
    device = embeddings.device
    firsts = torch.as_tensor(layer.firsts, device=device)

    def classes_of(rows):
        classes = backbone.row_classes(rows, host_ops)
        return torch.as_tensor(classes, device=device)

    def embed(classes):
        return embeddings[classes + firsts].sum(-2)

    return classes_of, embed, norm_of(backbone.layer_norm)


def _event_ends(backbone):
    norm = norm_of(backbone.layer_norm)
    embeddings = value(backbone.token_embedding.embeddings)
    return (
        lambda ids: torch.as_tensor(ids, device=embeddings.device).long(),
        lambda ids: embeddings[ids],
        lambda x: norm(x) @ embeddings.T,
    )


def _layers(backbone):
    yield backbone.layer_norm
    for block in backbone.transformer_layers:
        attention = block.self_attention
        yield from (attention.query, attention.key, attention.value)
        yield attention.attention_output
        yield block.feedforward_intermediate_dense
        yield block.feedforward_output_dense


class _Block:
    """A `DecoderBlock` with one projection for query, key and value."""

    def __init__(self, layer):
        attention = layer.self_attention
        self.heads, self.key_dim = attention.num_heads, attention.key_dim
        self.reach = attention.reach
        self.normalize_first = layer.normalize_first
        projections = attention.query, attention.key, attention.value
        self.kernel = torch.cat([value(p.kernel) for p in projections], 1)
        self.bias = None
        if attention.use_bias:
            self.bias = torch.cat([value(p.bias) for p in projections])
        self.relative = value(attention.relative_embeddings).transpose(0, 1)
        if attention.num_phases:
            embeddings = value(attention.phase_embeddings)
            self.phase_embeddings = embeddings.permute(1, 2, 0)
        self.twice = torch.cat([self.relative, self.relative], 1)
        self.outputs = dense(attention.attention_output)
        self.attention_norm = norm_of(layer.self_attention_layer_norm)
        self.feedforward_norm = norm_of(layer.feedforward_layer_norm)
        self.middle = dense(layer.feedforward_intermediate_dense)
        self.activation = layer.activation
        if self.activation is keras.activations.relu:
            self.activation = torch.relu_
        self.last = dense(layer.feedforward_output_dense)

    def __call__(self, x, key, value, position, phases):
        """Outputs of one event, (batch, hidden_dim); see `attend`."""
        if self.normalize_first:
            normed = self.attention_norm(x)
            x = x + self.attend(normed, key, value, position, phases)
            return x + self.feed_forward(self.feedforward_norm(x))
        x = self.attention_norm(
            x + self.attend(x, key, value, position, phases)
        )
        return self.feedforward_norm(x + self.feed_forward(x))

    def turned(self, capacity):
        """Relative embeddings twice in a row, so that any start is a slice."""
        if capacity == self.relative.shape[1]:
            return self.twice
        nearest = self.relative[:, -capacity:]
        return torch.cat([nearest, nearest], 1)

    def with_phases(self, query, phases):
        """See `RelativeAttention`; of one scaled query of each head."""
        amplitudes = query.transpose(0, 1) @ self.phase_embeddings
        cosine, sine = amplitudes.transpose(0, 1).chunk(2, -1)
        cosines, sines = phases[:, :1], phases[:, 1:]
        turned = cosine * cosines + sine * sines
        more = cosine * sines - sine * cosines
        return torch.cat([query, turned, more], -1)

    def feed_forward(self, x):
        return self.last(self.activation(self.middle(x)))

    def attend(self, x, key, value, position, phases):
        """Write the event to the ring, and attend to the events in it.

        Args:
            x: tensor of shape (batch, hidden_dim).
            key: tensor of shape (batch, heads, capacity, key_dim + 2 * phases),
                the ring's keys, which are written to.
            value: tensor of shape (batch, heads, capacity, key_dim), the
                ring's values, which are written to.
            position: int. Number of events before this one.
            phases: tensor of shape (batch, 2, phases), or `None`.
        """
        batch, capacity = x.shape[0], key.shape[2]
        slot = position % capacity
        new = x @ self.kernel if self.bias is None else torch.addmm(
            self.bias, x, self.kernel
        )  # fmt: skip
        new = new.view(batch, 3, self.heads, self.key_dim)
        query, new_key, value[:, :, slot] = new.unbind(1)
        key[:, :, slot, : self.key_dim] = new_key
        filled = min(position + 1, capacity)
        rows = batch * self.heads
        first = capacity - 1 - slot
        relative = self.turned(capacity)[:, first : first + filled]
        query = query * self.key_dim**-0.5
        if len(relative) == 1:
            logits = query.reshape(rows, -1) @ relative[0].T
        else:
            logits = query.transpose(0, 1) @ relative.transpose(1, 2)
            logits = logits.transpose(0, 1)
        if phases is not None:
            key[:, :, slot, self.key_dim :] = phases.flatten(1)[:, None]
            query = self.with_phases(query, phases)
        logits = torch.baddbmm(
            logits.reshape(rows, 1, filled),
            query.reshape(rows, 1, -1),
            key[:, :, :filled].reshape(rows, filled, -1).transpose(1, 2),
        )
        reach = int(self.reach(position))
        if reach < filled - 1:
            distance = (slot - torch.arange(filled, device=x.device)) % capacity
            logits = logits.masked_fill(distance > reach, float("-inf"))
        weights = torch.softmax(logits, dim=-1)
        mixed = weights @ value[:, :, :filled].reshape(rows, filled, -1)
        return self.outputs(mixed.reshape(batch, -1))


def value(variable):
    return keras.ops.convert_to_tensor(variable).detach()


def dense(layer):
    kernel = value(layer.kernel)
    if layer.bias is None:
        return lambda x: x @ kernel
    bias = value(layer.bias)
    return lambda x: torch.addmm(bias, x, kernel)


def norm_of(layer):
    gamma, beta = value(layer.gamma), value(layer.beta)
    shape, epsilon = gamma.shape, layer.epsilon
    return lambda x: functional.layer_norm(x, shape, gamma, beta, epsilon)
