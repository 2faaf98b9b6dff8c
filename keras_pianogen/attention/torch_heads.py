"""The heads of a model of notes in PyTorch's own operations.

As in `torch_step`, Keras's calls cost more than the arithmetic of one note.
This file does the same computation on the same weights. It is given a layer
whose parts it uses, and knows nothing of music.
"""

import keras
import numpy as np
import torch
from torch.nn import functional

from keras_pianogen.attention.torch_step import norm_of
from keras_pianogen.attention.torch_step import value
from keras_pianogen.attention.whole import HIDDEN


def build(heads):
    """Heads that compute without Keras.

    Args:
        heads: a `NoteHeads`.

    Returns:
        An object with those methods of `heads` that take one field after the
        other; or `heads` itself, if a layer is quantized or does not compute
        in float32.
    """
    if any(
        layer.quantization_mode is not None or layer.compute_dtype != "float32"
        for layer in heads.parts
    ):
        return heads
    return Heads(heads)


class Heads:
    """See `NoteHeads`, which has the shapes of all arguments.

    Hidden states are tensors, and what is known of notes are NumPy's arrays.
    """

    def __init__(self, heads):
        self.before = _Sounding(heads.sounding_before)
        self.after = _Sounding(heads.sounding_after)
        self.shift_head, self.pitch_head, self.velocity, duration_head = (
            _head(heads, name)
            for name in ("shift", "pitch", "velocity", "duration")
        )
        self.duration_head = duration_head
        self.shift_copying = _Copying(heads.shift_copying)
        self.duration_copying = _Copying(heads.duration_copying)
        self.shifts, self.pitches, self.velocities = (
            value(getattr(heads, f"{name}_embedding").embeddings)
            for name in ("shift", "pitch", "velocity")
        )
        self.numbers = np.arange(len(self.pitches))

    def shift(self, hidden, sounding):
        x = hidden + self.before(sounding)
        return self.shift_copying(self.shift_head(x), x, sounding)

    def with_shift(self, hidden, shift, left):
        return hidden + self._of(self.shifts, shift) + self.after(left)

    def pitch(self, x, left, elapsed, last_pitch):
        lower = self.numbers < last_pitch[..., None]
        hidden = (left > 0) | ((elapsed == 0)[..., None] & lower)
        hidden = torch.as_tensor(hidden, device=x.device)
        return self.pitch_head(x).masked_fill(hidden, HIDDEN)

    def with_pitch(self, x, pitch):
        return x + self._of(self.pitches, pitch)

    def with_velocity(self, x, velocity):
        return x + self._of(self.velocities, velocity)

    def _of(self, embeddings, ids):
        return embeddings[torch.as_tensor(ids, device=embeddings.device)]

    def duration(self, x, left):
        return self.duration_copying(self.duration_head(x), x, left)


def _head(heads, name):
    """A `FieldHead` as a function."""
    head = getattr(heads, f"{name}_head")
    norm, middle = norm_of(head.layer_norm), _linear(head.intermediate_dense)
    logits = _linear(head.logits_dense)
    return lambda x: logits(functional.gelu(middle(norm(x))))


def _linear(layer):
    """A dense layer for any number of axes."""
    kernel = value(layer.kernel).T  # a view: each call of the loop makes one
    bias = None if layer.bias is None else value(layer.bias)
    return lambda x: functional.linear(x, kernel, bias)


class _Sounding:
    """A `SoundingProjection`."""

    def __init__(self, layer):
        self.project, self.unit = _linear(layer.dense), layer.ticks_of_one
        self.device = value(layer.dense.kernel).device

    def __call__(self, left):
        left = torch.as_tensor(left, device=self.device).float() / self.unit
        flags = (left > 0).float()
        return self.project(torch.cat([flags, torch.log1p(left)], dim=-1))


class _Copying:
    """An `EndCopying`. Only the notes that sound are looked at."""

    def __init__(self, layer):
        self.query, self.keys = _linear(layer.query), value(layer.pitch_keys)
        # A class reaches to both sides, as a correlation with the window.
        self.window = torch.exp(value(layer.window)).flip(0)
        self.reach, self.classes = layer.reach, layer.class_of
        self.offsets = np.arange(len(self.window))
        self.unit, self.epsilon = layer.ticks_of_one, keras.config.epsilon()

    def __call__(self, logits, hidden, left):
        batch, time, classes = logits.shape
        room = classes + 2 * self.reach
        place, pitch, ticks, places = self._places(left, room)
        place, pitch, ticks, places = (
            torch.as_tensor(x, device=logits.device)
            for x in (place, pitch, ticks, places)
        )
        query = self.query(hidden).flatten(0, 1)[place]  # (notes, 3 + key_dim)
        late = torch.log1p(ticks / self.unit)
        score = (query[:, 3:] * self.keys[pitch]).sum(-1) + query[:, 0]
        score = score + late * (query[:, 1] + late * query[:, 2])
        share = torch.exp(score.clamp_(-30, 30))
        shares = share[:, None] * self.window
        mass = torch.zeros(batch * time * room, device=logits.device)
        mass.index_add_(0, places, shares.flatten())
        mass = mass.view(batch, time, room)
        mass = mass[..., self.reach : self.reach + classes]
        return torch.logaddexp(logits, torch.log(mass + self.epsilon))

    def _places(self, left, room):
        """Of each note that sounds: its position, its pitch, its ticks.

        And the places, (notes * window), to which its mass goes if each
        position has `room` classes.
        """
        row, position, pitch = np.nonzero(left)
        ticks = left[row, position, pitch]
        place = row * left.shape[1] + position
        first = self.classes[np.minimum(ticks, len(self.classes) - 1)]
        places = (place * room + first)[:, None] + self.offsets
        return place, pitch, ticks.astype("float32"), places.ravel()
