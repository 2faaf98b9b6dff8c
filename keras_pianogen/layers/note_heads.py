"""From hidden states to the next note, field by field.

Logits of all fields lie side by side in the last axis, in the order of
`note_tuples.FIELDS`; `split_fields` takes them apart.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_pianogen.attention.whole import HIDDEN
from keras_pianogen.events import PITCHES
from keras_pianogen.layers.building import apply
from keras_pianogen.layers.layer_normalization import LayerNormalization
from keras_pianogen.layers.sounding import EndCopying
from keras_pianogen.layers.sounding import SoundingProjection
from keras_pianogen.note_tuples import NoteTuples


@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoteHeads(keras.layers.Layer):
    """The next note's shift, pitch, velocity and duration, in this order.

    Each field is given those before it. Shift, pitch and duration are also
    given what sounds, and shift and duration may copy its ends, see
    `EndCopying`. Two kinds of notes can't be: a key that still sounds is
    never struck, and notes of one moment come in the order of their pitches.
    The pitches that are left share all probability.

    Args:
        form: a `NoteTuples`.
        intermediate_dim: int. Width of the middle of each field's network.
        layer_norm_epsilon: float. Defaults to `1e-5`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        hidden: tensor of shape (batch, time, hidden_dim).
        notes: int tensor of shape (batch, time, 4), the notes before.
        next_notes: int tensor of shape (batch, time, 4), the notes to predict.
            The prediction of a field sees the fields before it.
        elapsed: int tensor of shape (batch, time), ticks between the two.
        sounding: int tensor of shape (batch, time, 128), how many ticks each
            pitch still sounds when the note before begins.

    Returns:
        Logits, a float32 tensor of shape (batch, time, classes of all fields).
    """

    def __init__(
        self, form, intermediate_dim, layer_norm_epsilon=1e-5, **kwargs
    ):
        super().__init__(**kwargs)
        self.form = NoteTuples(**form) if isinstance(form, dict) else form
        self.intermediate_dim = intermediate_dim
        self.layer_norm_epsilon = layer_norm_epsilon

    def build(self, hidden_shape, *_, **__):
        width = hidden_shape[-1]
        for name, count in self.form.num_classes.items():
            setattr(self, f"{name}_head", self._head(count, name))
            getattr(self, f"{name}_head").build((None, None, width))
        for name in ("shift", "pitch", "velocity"):
            embedding = keras.layers.Embedding(
                self.form.num_classes[name],
                width,
                embeddings_initializer=keras.initializers.RandomNormal(
                    stddev=0.02
                ),
                dtype=self.dtype_policy,
                name=f"{name}_embedding",
            )
            embedding.build((None, None))
            setattr(self, f"{name}_embedding", embedding)
        for name in ("before", "after"):
            projection = SoundingProjection(
                width, dtype=self.dtype_policy, name=f"sounding_{name}"
            )
            projection.build((None, None, PITCHES))
            setattr(self, f"sounding_{name}", projection)
        for name in ("shift", "duration"):
            copying = EndCopying(
                getattr(self.form, f"{name}_code"),
                dtype=self.dtype_policy,
                name=f"{name}_copying",
            )
            copying.build(None, (None, None, width), None)
            setattr(self, f"{name}_copying", copying)
        self.built = True

    def _head(self, count, name):
        return FieldHead(
            count,
            self.intermediate_dim,
            epsilon=self.layer_norm_epsilon,
            dtype=self.dtype_policy,
            name=f"{name}_head",
        )

    def call(self, hidden, notes, next_notes, elapsed, sounding):
        shift, pitch, velocity, _ = ops.unstack(
            ops.maximum(ops.cast(next_notes, "int32"), 0), axis=-1
        )
        shifts = self.shift(hidden, sounding)
        left = left_after(sounding, elapsed)
        x = self.with_shift(hidden, shift, left)
        pitches = self.pitch(x, left, elapsed, notes[..., 1])
        x = self.with_pitch(x, pitch)
        velocities = self.velocity(x)
        x = self.with_velocity(x, velocity)
        durations = self.duration(x, left)
        return ops.concatenate(
            [shifts, pitches, velocities, durations], axis=-1
        )

    @property
    def parts(self):
        """The layers that hold the weights."""
        for name in self.form.num_classes:
            head = getattr(self, f"{name}_head")
            yield from (head.intermediate_dense, head.logits_dense)
        for name in ("shift", "pitch", "velocity"):
            yield getattr(self, f"{name}_embedding")
        yield from (self.sounding_before.dense, self.sounding_after.dense)
        yield from (self.shift_copying.query, self.duration_copying.query)

    # One field after the other, as generation asks for them.

    def shift(self, hidden, sounding):
        """Logits of the shift, (batch, time, classes)."""
        x = hidden + apply(self.sounding_before, sounding)
        return self.shift_copying.call(apply(self.shift_head, x), x, sounding)

    def with_shift(self, hidden, shift, left):
        """The hidden state, given the shift, (batch, time, hidden_dim)."""
        return hidden + self.shift_embedding(shift) + self.sounding_after(left)

    def pitch(self, x, left, elapsed, last_pitch):
        """Logits of the pitch, (batch, time, 128).

        Args:
            x: tensor of shape (batch, time, hidden_dim), given the shift.
            left: int tensor of shape (batch, time, 128), what sounds.
            elapsed: int tensor of shape (batch, time), the shift in ticks.
            last_pitch: int tensor of shape (batch, time), of the note before.
        """
        pitches = ops.arange(PITCHES, dtype="int32")
        lower = pitches < ops.cast(last_pitch, "int32")[..., None]
        at_once = (elapsed == 0)[..., None]
        hidden = ops.logical_or(left > 0, ops.logical_and(at_once, lower))
        return ops.where(hidden, HIDDEN, apply(self.pitch_head, x))

    def with_pitch(self, x, pitch):
        return x + apply(self.pitch_embedding, pitch)

    def velocity(self, x):
        """Logits of the velocity, (batch, time, bins)."""
        return apply(self.velocity_head, x)

    def with_velocity(self, x, velocity):
        return x + apply(self.velocity_embedding, velocity)

    def duration(self, x, left):
        """Logits of the duration, (batch, time, classes)."""
        return self.duration_copying.call(apply(self.duration_head, x), x, left)

    def compute_output_spec(self, hidden, notes, next_notes, elapsed, sounding):
        classes = sum(self.form.num_classes.values())
        return keras.KerasTensor((*hidden.shape[:-1], classes), dtype="float32")

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "form": dataclasses.asdict(self.form),
                "intermediate_dim": self.intermediate_dim,
                "layer_norm_epsilon": self.layer_norm_epsilon,
            }
        )
        return config


@keras.saving.register_keras_serializable(package="keras_pianogen")
class FieldHead(keras.layers.Layer):
    """Logits of one field: layer normalization, a hidden layer, a linear map.

    Args:
        num_classes: int. Number of logits.
        intermediate_dim: int. Width of the hidden layer.
        epsilon: float. Of the layer normalization. Defaults to `1e-5`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: tensor of shape (batch, time, hidden_dim).

    Returns:
        A float32 tensor of shape (batch, time, num_classes).
    """

    def __init__(self, num_classes, intermediate_dim, epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.intermediate_dim = intermediate_dim
        self.epsilon = epsilon

    def build(self, input_shape):
        self.layer_norm = LayerNormalization(
            epsilon=self.epsilon, dtype=self.dtype_policy, name="layer_norm"
        )
        self.intermediate_dense = keras.layers.Dense(
            self.intermediate_dim,
            activation="gelu",
            dtype=self.dtype_policy,
            name="intermediate_dense",
        )
        # Small, so that the first loss is that of equal chances.
        self.logits_dense = keras.layers.Dense(
            self.num_classes,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="logits_dense",
        )
        self.layer_norm.build(input_shape)
        self.intermediate_dense.build(input_shape)
        self.logits_dense.build((*input_shape[:-1], self.intermediate_dim))
        self.built = True

    def call(self, inputs):
        x = apply(self.intermediate_dense, apply(self.layer_norm, inputs))
        return ops.cast(apply(self.logits_dense, x), "float32")

    def compute_output_spec(self, inputs):
        shape = (*inputs.shape[:-1], self.num_classes)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_classes": self.num_classes,
                "intermediate_dim": self.intermediate_dim,
                "epsilon": self.epsilon,
            }
        )
        return config


def left_after(sounding, elapsed):
    """How many ticks each pitch still sounds after `elapsed` ticks."""
    return ops.maximum(sounding - ops.expand_dims(elapsed, -1), 0)


def split_fields(form, logits):
    """The logits of each field, a list of tensors."""
    sizes = list(form.num_classes.values())
    return ops.split(logits, np.cumsum(sizes)[:-1].tolist(), axis=-1)
