"""Music is held to what is asked of it, while it is written.

What is asked are values of the scales, and shares of the twelve pitch classes.

A model that is told what is asked follows it only in part. So each note that is
drawn is compared with what is asked, and the logits of the next notes are
tilted: to each class of a field is added a strength times a number of that
class, such as its pitch. Of all changes that give a field another mean, this
one changes the model's probabilities the least (in relative entropy; Csiszár,
1975). The strength grows as long as notes fall short of what is asked, and
falls as long as they go beyond it (stochastic approximation; Robbins and Monro,
1951).

Tensors, or NumPy arrays on PyTorch, see `dispatch.host_ops`.

References:
    - [Csiszár (1975)](https://doi.org/10.1214/aop/1176996454)
    - [Robbins and Monro (1951)](https://doi.org/10.1214/aoms/1177729586)
"""

import numpy as np

from keras_pianogen.attention import dispatch
from keras_pianogen.data.scales import SCALES
from keras_pianogen.data.scales import SHORTEST
from keras_pianogen.notes import TOGETHER

ops = dispatch.host_ops()

# How much a note changes the strength of each scale, and the most strength.
GAINS = {
    "density": 0.2,
    "loudness": 0.1,
    "register": 0.06,
    "polyphony": 0.05,
    "pace": 0.2,
    "legato": 0.05,
}
GAIN_OF_CLASSES = 0.5  # the same for the share of a pitch class
STRONGEST = 3.0
# Velocities, and semitones, over which a strength of 1 makes a factor of e.
VELOCITIES, SEMITONES = 16.0, 12.0
# Durations are told apart by their logarithms, from about `SHORT` seconds to
# `LONG`. A duration of twice `LONG` counts as half of it, and so on, so that no
# note is made to ring on and on. `USUAL` is the time from one note to the next.
SHORT, USUAL, LONG = 0.05, 0.1, 4.0
# A time between notes counts as at most this multiple of the mean time that is
# asked for, so that no strength makes a pause of many seconds likely.
LONGEST_WAIT = 4.0
# Notes a second. In music that is asked to be denser, each note changes the
# strength by less, so that a second changes it as much as at this density.
SLOW = 5.0
# Below this number of notes or onsets a second, each note changes the strength
# by more, and strengths may be larger, because one wait counts for more there.
SLOWEST = 1.0
# How much the strengths of polyphony and legato shorten the times between notes
# too, where no density and no pace are asked for: long notes alone would leave
# music sparse.
SHARE = 0.5
BETWEEN = 0.2  # seconds from one onset to the next, as usual

# The columns of strengths and targets: the scales, then the pitch classes from
# C upwards.
CLASSES = 12
COLUMNS = len(SCALES) + CLASSES


class Steering:
    """Tilts of logits, by what is asked and by what was obtained.

    Args:
        form: a `NoteTuples`.
    """

    def __init__(self, form):
        self.time_step = form.time_step
        self.together = int(TOGETHER / form.time_step + 1e-6)
        gains = [GAINS[name] for name in SCALES] + CLASSES * [GAIN_OF_CLASSES]
        self.gains = _float32(gains)
        is_rate = [name in ("density", "pace") for name in SCALES]
        self.is_rate = _bool(is_rate + CLASSES * [False])
        velocities = form.to_velocities(np.arange(form.velocity_bins))
        self.velocities = _float32(velocities)
        self.waits = _float32(self._seconds(form.shift_code))
        is_onset = form.shift_code.firsts > self.together
        self.is_onset = _float32(is_onset)
        delays = np.maximum(self._seconds(form.shift_code), TOGETHER)
        self.delays = _float32(is_onset * np.log(delays / BETWEEN))
        rings = np.maximum(self._seconds(form.duration_code), SHORT)
        rings = np.minimum(rings, LONG**2 / rings)
        pitches = np.arange(form.num_classes["pitch"])
        self.pitch_classes = ops.convert_to_tensor(pitches % CLASSES, "int32")
        # The number of each class, of the fields but the first.
        self.numbers = {
            "velocity": _float32((velocities - 64.0) / VELOCITIES),
            "pitch": _float32((pitches - 64) / SEMITONES),
            "duration": _float32(np.log((rings + SHORT) / (USUAL + SHORT))),
        }

    def _seconds(self, code):
        """The mean time that each class of a `TickCode` stands for."""
        return (code.firsts + (code.widths - 1) / 2) * self.time_step

    def tilt(self, field, strengths):
        """What is added to the logits of a field, (batch, classes).

        Args:
            field: "pitch", "velocity" or "duration".
            strengths: float tensor (batch, COLUMNS), see `follow`.
        """
        of = _columns(strengths)
        strength = {
            "velocity": of["loudness"],
            "pitch": of["register"],
            # At most one of the two is asked for, see `asking`.
            "duration": of["polyphony"] + of["legato"],
        }[field]
        tilt = strength * self.numbers[field]
        if field == "pitch":
            tilt = tilt + ops.take(of["classes"], self.pitch_classes, axis=1)
        return tilt

    def tilt_of_shifts(self, strengths, targets, left):
        """What is added to the logits of shifts: dense music waits less.

        Args:
            strengths: float tensor (batch, COLUMNS), see `follow`.
            targets: float tensor (batch, COLUMNS), see `follow`.
            left: int tensor (batch,), for how many ticks no note comes if the
                end is drawn, the last class. With 0 it stays as likely as it
                is.

        Returns:
            A float tensor (batch, classes).
        """
        of, asked = _columns(strengths), _columns(targets)
        left = ops.cast(left, "float32")[:, None] * self.time_step
        waits = ops.concatenate(
            [ops.zeros_like(left) + self.waits, left], axis=1
        )

        def less(strength, rate):
            rate = ops.where(ops.isnan(rate), 0.0, rate)
            return -strength * ops.minimum(waits * rate, LONGEST_WAIT)

        is_free = ops.logical_and(
            ops.isnan(asked["density"]), ops.isnan(asked["pace"])
        )
        lasting = less(of["polyphony"], asked["polyphony"])
        onsets = ops.clip(of["pace"], -STRONGEST, STRONGEST) * self.is_onset
        onsets = onsets * ops.minimum(asked["pace"], SLOWEST)
        onsets = ops.where(ops.isnan(asked["pace"]), 0.0, onsets)
        shared = ops.where(is_free, SHARE * of["legato"], 0.0)
        onsets = onsets - shared * self.delays
        return (
            less(of["density"], asked["density"])
            + less(of["pace"], asked["pace"])
            + ops.where(is_free, SHARE * lasting, 0.0)
            + ops.concatenate([onsets, ops.zeros_like(left)], axis=1)
        )

    def follow(self, strengths, targets, new, chord):
        """The strengths after a note of each piece.

        Args:
            strengths: float tensor (batch, COLUMNS).
            targets: float tensor (batch, COLUMNS): what is asked of this note,
                NaN where nothing is.
            new: int tensor (batch, fields), the rows of the notes.
            chord: float tensor (batch, 2), see `chord_after`: the notes of the
                onset before.
        """
        missing = self._missing(ops.maximum(new, 0), targets, chord)
        strengths = strengths + self.gains * missing
        # Only rates divide: the share of a pitch class may be 0.
        rates = ops.where(self.is_rate, targets, SLOWEST)
        most = STRONGEST * ops.maximum(SLOWEST / rates, 1.0)
        strengths = ops.minimum(ops.maximum(strengths, -most), most)
        return ops.where(ops.isnan(targets), 0.0, strengths)

    def chord_after(self, chord, new):
        """The notes of the last onset, after a note of each piece.

        Args:
            chord: float tensor (batch, 2): how many notes the last onset has,
                and the sum of the logarithms of the times that they last from
                the last note's beginning on.
            new: see `follow`.
        """
        new = ops.maximum(new, 0)
        lasts = self._logarithm(new[:, 3:4])
        one = ops.concatenate([ops.ones_like(lasts), lasts], axis=1)
        return one + ops.where(self._begins_onset(new), 0.0, chord)

    def _begins_onset(self, new):
        return new[:, :1] > self.together

    def _logarithm(self, ticks):
        seconds = ops.cast(ticks, "float32") * self.time_step
        return ops.log(ops.maximum(seconds, SHORTEST))

    def _missing(self, new, targets, chord):
        """By how much notes fall short of what is asked, (batch, COLUMNS)."""
        asked = _columns(targets)
        times = ops.cast(new[:, :4], "float32") * self.time_step
        wait, rings = times[:, :1], times[:, 3:4]
        pitch = ops.cast(new[:, 1:2], "float32")
        velocity = ops.take(self.velocities, new[:, 2:3])
        is_onset = ops.cast(self._begins_onset(new), "float32")
        count, lasted = ops.split(chord, 2, axis=1)
        overlap = lasted - count * self._logarithm(new[:, :1])

        def of_each(rate):
            slow = ops.maximum(1.0, SLOWEST / rate)
            return slow * ops.minimum(1.0, SLOW / rate)

        missing = {
            "density": (asked["density"] * wait - 1)
            * of_each(asked["density"]),
            "loudness": (asked["loudness"] - velocity) / VELOCITIES,
            "register": (asked["register"] - pitch) / SEMITONES,
            "polyphony": (wait - rings / asked["polyphony"]) / USUAL,
            "pace": (asked["pace"] * wait - is_onset) * of_each(asked["pace"]),
            # The notes of an onset count when the next one comes.
            "legato": is_onset * (count * ops.log(asked["legato"]) - overlap),
        }
        classes = ops.one_hot(new[:, 1] % CLASSES, CLASSES)
        return ops.concatenate(
            [missing[name] for name in SCALES] + [asked["classes"] - classes],
            axis=1,
        )


def no_strengths(pieces):
    """The strengths in which pieces begin, float32 (pieces, COLUMNS)."""
    return np.zeros((pieces, COLUMNS), "float32")


def _columns(columns):
    """The column of each scale, (batch, 1), and those of the classes."""
    parts = ops.split(columns, list(range(1, 1 + len(SCALES))), axis=1)
    return dict(zip([*SCALES, "classes"], parts, strict=True))


def _bool(truths):
    return ops.convert_to_tensor(np.asarray(truths, "bool"))


def _float32(numbers):
    return ops.convert_to_tensor(np.asarray(numbers, "float32"))
