"""How far performances depart from their score: as far as pianists. In ticks.

A model that performs scores spreads its notes too widely: a little of its
probability lies on times and durations that no pianist plays, and its next
notes build on them. So the time between chords has bounds, by the rhythm of the
score. The logits of durations are tilted towards the length in the score: to
each class is added a number times the logarithm of how many times as long, or
as short, it is. The numbers are chosen so that durations get the spread of
pianists' (see `steering`), on twins of performances of MAESTRO's train split.

Tensors, or NumPy arrays on PyTorch, see `dispatch.host_ops`.
"""

import dataclasses
import functools

import numpy as np

from keras_pianogen.attention import dispatch
from keras_pianogen.data.scores import MOST_PULSES
from keras_pianogen.data.scores import RATIOS
from keras_pianogen.data.scores import SPREAD
from keras_pianogen.data.scores import local_pulse

ops = dispatch.host_ops()

# How much sooner and later than in its score a chord comes at most, as a
# multiple of the time since the chord before, where no other rhythm is near.
SOONEST, LATEST = 0.8, 1.25
# What is added to the logit of a duration, for each unit of the logarithm of
# how many times as long it is as in the score, and of how many times as short.
HELD = (-5.0, -8.0)
LONG = (-4.0, -6.0)  # for notes of `MOST_PULSES` and more
FREE = (0.5, -0.5)  # where the score doesn't say how long a note is held
# A score in which this share of the notes last until the next chord doesn't
# say how long keys and pedal hold them.
SHARE_UNTIL_NEXT = 0.75
WIDEST = 2.5  # Larger logarithms count as this.


class Touch:
    """Tilts of the logits of durations, by the score.

    Args:
        form: a `NoteTuples`.
    """

    def __init__(self, form):
        code = form.duration_code
        middles = np.maximum(code.firsts + (code.widths - 1) / 2, 0.5)
        self.logarithms = ops.convert_to_tensor(
            np.log(middles).astype("float32")
        )

    def tilt(self, touch):
        """What is added to the logits of durations, (classes,).

        Args:
            touch: float tensor (3,), a row of `touches`.
        """
        longer = ops.clip(self.logarithms - touch[0], -WIDEST, WIDEST)
        above, below = ops.maximum(longer, 0.0), ops.maximum(-longer, 0.0)
        return touch[1] * above + touch[2] * below


@dataclasses.dataclass(frozen=True, eq=False)
class Chords:
    """The chords of a score, and what notes have around them. In ticks.

    Args:
        onsets: int array (notes,), when each note begins, in order.
    """

    onsets: np.ndarray

    @functools.cached_property
    def first(self):
        """The first note of each chord."""
        before = self.onsets[:1] - 1
        return np.flatnonzero(np.diff(self.onsets, prepend=before))

    @functools.cached_property
    def between(self):
        """The times from chord to chord, (chords - 1,)."""
        return np.diff(self.onsets[self.first])

    @functools.cached_property
    def pulse(self):
        """The local pulse at each chord."""
        return local_pulse(self.between)

    def of_notes(self, of_chords):
        """What is said of each chord, for each note."""
        notes = np.diff(self.first, append=len(self.onsets))
        return np.repeat(of_chords, notes, axis=0)


def bounds_of_rhythms(onsets):
    """The least and the most time between the chords of a performance.

    A rhythm stays itself: the time between two chords stays nearer to its own
    simple ratio to the local pulse than to any other (categorical perception of
    rhythm, Desain and Honing, 2003).

    Args:
        onsets: int array (notes,), when each note of the score begins, in
            order.

    Returns:
        An array (chords - 1, 2), in ticks.

    References:
        - [Desain and Honing (2003)](https://doi.org/10.1068/p3370)
    """
    chords = Chords(onsets)
    between, pulse = chords.between, chords.pulse[:-1]
    edges = pulse[:, None] * np.sqrt(RATIOS[1:] * RATIOS[:-1])
    lower = np.where(edges <= between[:, None], edges, 0.0).max(1, initial=0)
    higher = np.where(edges > between[:, None], edges, np.inf).min(1)
    lower = np.where(lower > 0, lower, SOONEST * between)
    higher = np.where(higher < np.inf, higher, LATEST * between)
    return np.stack([lower, higher], axis=1)


def bounds_of_shifts(form, onsets):
    """How soon and how late each note of a score may come, int32 (notes, 2).

    They count from the first note of the chord before or, in a chord, of its
    own. The first notes of chords keep within `bounds_of_rhythms`.

    Args:
        form: a `NoteTuples`.
        onsets: see `bounds_of_rhythms`.
    """
    bounds = np.zeros((len(onsets), 2), "int32")
    bounds[:, 1] = int(SPREAD / form.time_step + 1e-6)
    bounds[Chords(onsets).first[1:]] = np.rint(bounds_of_rhythms(onsets))
    return bounds


def touches(onsets, lengths):
    """What tilts the durations of the notes of a score, float32 (notes, 3).

    Args:
        onsets: int array (notes,), when each begins, in order.
        lengths: int array (notes,), how long each lasts, 1 or more.

    Returns:
        The logarithms of the lengths, and the two numbers of the tilt.
    """
    chords = Chords(onsets)
    pulse = chords.of_notes(chords.pulse)
    until_next = np.append(chords.between, np.rint(chords.pulse[-1]))
    lasts_until_next = abs(chords.of_notes(until_next) - lengths) <= 1
    is_free = lasts_until_next.mean() >= SHARE_UNTIL_NEXT
    is_long = lengths >= MOST_PULSES * pulse - 1
    usual = FREE if is_free else HELD
    weights = np.where(is_long[:, None], LONG, usual)
    rows = np.concatenate([np.log(lengths)[:, None], weights], axis=1)
    return rows.astype("float32")
