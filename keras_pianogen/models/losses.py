"""Losses and metrics that Keras lacks. They are in nats, and means.

Targets of note tuples are int tensors of shape (batch, time, 4), classes as
`NoteTuples.classes` gives them; -1 where a field is no target. Their logits
have the shape (batch, time, classes of all fields), see `layers.note_heads`.
"""

import dataclasses

import keras
from keras import ops

from keras_pianogen.layers.note_heads import split_fields
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import NoteTuples


@keras.saving.register_keras_serializable(package="keras_pianogen")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with smoothed labels (Szegedy et al., 2016).

    The target distribution gives the true event the probability
    `1 - label_smoothing` and spreads `label_smoothing` evenly over all events.
    The loss is averaged over the events that are not padding. The metric
    `nats_per_event` is computed without smoothing.

    Args:
        label_smoothing: float, 0 to 1. The share that is spread evenly.
            Defaults to `0.1`.
        name: string. Defaults to `"smoothed_crossentropy"`.
    """

    def __init__(self, label_smoothing=0.1, name="smoothed_crossentropy"):
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        # `y_pred` holds logits, (batch, time, vocabulary_size).
        logs = keras.ops.log_softmax(y_pred, axis=-1)
        nats = keras.ops.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )  # (batch, time)
        uniform = -keras.ops.mean(logs, axis=-1)  # (batch, time)
        smoothing = self.label_smoothing
        return (1 - smoothing) * nats + smoothing * uniform

    def get_config(self):
        return {"name": self.name, "label_smoothing": self.label_smoothing}


@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoteCrossentropy(keras.losses.Loss):
    """Cross-entropy of note tuples: the sum over the fields of a note.

    It is the negative logarithm of the probability of the whole note, with
    that of the remainders that classes leave open, see `TickCode`. So it
    compares with other ways to write the same notes.

    Args:
        form: a `NoteTuples`, or its settings as a dict.
        name: string. Defaults to `"note_crossentropy"`.
    """

    def __init__(self, form, name="note_crossentropy"):
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.form = NoteTuples(**form) if isinstance(form, dict) else form

    def call(self, y_true, y_pred):
        return sum(field_nats(self.form, y_true, y_pred))

    def get_config(self):
        return {"name": self.name, "form": dataclasses.asdict(self.form)}


def field_nats(form, y_true, y_pred):
    """The nats of each field, a list of tensors of shape (batch, time)."""
    y_true = ops.cast(y_true, "int32")
    nats = []
    for i, logits in enumerate(split_fields(form, y_pred)):
        label = ops.maximum(y_true[..., i], 0)
        cost = ops.sparse_categorical_crossentropy(
            label, logits, from_logits=True
        )
        remainder = form.remainder_nats[FIELDS[i]].astype("float32")
        if remainder.any():
            cost = cost + ops.take(ops.convert_to_tensor(remainder), label)
        nats.append(ops.where(y_true[..., i] >= 0, cost, 0.0))
    return nats


@keras.saving.register_keras_serializable(package="keras_pianogen")
class FieldNats(keras.metrics.Mean):
    """The mean of the nats of one field of note tuples.

    Args:
        form: a `NoteTuples`, or its settings as a dict.
        field: `"shift"`, `"pitch"`, `"velocity"` or `"duration"`; `None` is
            the whole note. Defaults to `None`.
        name: string. Defaults to `"nats_per_note"`, or the field's name with
            `"_nats"`.
        **kwargs: See `keras.metrics.Metric`.
    """

    def __init__(self, form, field=None, name=None, **kwargs):
        default = "nats_per_note" if field is None else f"{field}_nats"
        super().__init__(name=name or default, **kwargs)
        self.form = NoteTuples(**form) if isinstance(form, dict) else form
        self.field = field

    def update_state(self, y_true, y_pred, sample_weight=None):
        nats = field_nats(self.form, y_true, y_pred)
        nats = sum(nats) if self.field is None else nats[self._index]
        return super().update_state(nats, sample_weight)

    @property
    def _index(self):
        return FIELDS.index(self.field)

    def get_config(self):
        form = dataclasses.asdict(self.form)
        return super().get_config() | {"form": form, "field": self.field}


@keras.saving.register_keras_serializable(package="keras_pianogen")
class PitchAccuracy(keras.metrics.Mean):
    """The share of notes whose pitch is the most likely one.

    Args:
        form: a `NoteTuples`, or its settings as a dict.
        name: string. Defaults to `"accuracy"`.
        **kwargs: See `keras.metrics.Metric`.
    """

    def __init__(self, form, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.form = NoteTuples(**form) if isinstance(form, dict) else form

    def update_state(self, y_true, y_pred, sample_weight=None):
        pitches = split_fields(self.form, y_pred)[1]
        found = ops.cast(ops.argmax(pitches, axis=-1), "int32")
        hits = ops.equal(found, ops.cast(y_true[..., 1], "int32"))
        return super().update_state(hits, sample_weight)

    def get_config(self):
        return super().get_config() | {"form": dataclasses.asdict(self.form)}
