"""Deadpan twins of performances: what a score says of them, and no more.

There are no scores in MAESTRO. A performance is flattened in their place:
notes within 40 ms of a chord's first belong to it, and begin together; the
time between chords becomes the nearest of a few simple ratios to the local
pulse, the middle of the times around; durations become such a ratio too, or
last until the next chord; velocities are left out. A model that learns to turn
the twin back into the performance can perform a real score.
"""

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.note_tuples import NoteTuples

SPREAD = 0.04  # seconds from the first note of a played chord to its last
AROUND = 12  # chords on either side, whose times make the local pulse
RATIOS = np.array(
    [1 / 8, 1 / 6, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 4 / 3, 3 / 2, 2, 3, 4]
    + [6, 8, 12, 16, 24, 32]
)
# Of twins, those in which notes last as long as in the performance, at most
# this many pulses, and not until the next chord.
SHARE_HELD = 0.7
MOST_PULSES = 8


def deadpan(
    form: NoteTuples,
    starts: NDArray[np.int64],
    durations: NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The onsets and the durations of a performance's twin.

    Args:
        form: a `NoteTuples`.
        starts: when each note begins, in ticks, in order.
        durations: how long each note lasts, in ticks.
        rng: a NumPy generator.

    Returns:
        A pair of arrays (notes,), in ticks: when each note begins in the twin,
        counted from its first note, and how long it lasts there.
    """
    if not len(starts):
        return starts, durations
    chord = chords(starts, int(SPREAD / form.time_step + 1e-6))
    first = np.flatnonzero(np.diff(chord, prepend=-1))
    between = np.maximum(np.diff(starts[first]), 1)
    pulse = local_pulse(between)
    steps = np.rint(_simple(between, pulse[: len(between)]) * pulse[:-1])
    steps = np.maximum(steps, 1)
    begins = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    of_note = pulse[chord]
    if rng.random() < SHARE_HELD:
        most = MOST_PULSES * of_note
        lasts = np.minimum(np.maximum(durations, 1), most)
        lasts = _simple(lasts, of_note) * of_note
    else:
        lasts = np.append(steps, pulse[-1])[chord]
    return begins[chord], np.maximum(np.rint(lasts), 1).astype(np.int64)


def score_classes(
    form: NoteTuples,
    shifts: NDArray[np.int64],
    pitches: NDArray[np.integer],
    durations: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The classes of the fields of a score, (notes, 3), see `fields`."""
    return np.stack(
        [
            form.shift_code.encode(shifts)[0],
            np.asarray(pitches, np.int64),
            form.duration_code.encode(durations)[0],
        ],
        axis=1,
    )


def chords(starts: NDArray[np.int64], together: int) -> NDArray[np.int64]:
    """The number of the chord of each note.

    A chord's notes begin at most `together` after its first.
    """
    chord = np.zeros(len(starts), np.int64)
    number, first = 0, starts[0]
    for i, start in enumerate(starts):
        if start > first + together:
            number, first = number + 1, start
        chord[i] = number
    return chord


def local_pulse(between: NDArray[np.int64]) -> NDArray[np.float64]:
    """The local pulse at each chord: a median of the times around it."""
    if not len(between):
        return np.array([50.0])
    # A short row can't be reflected as far.
    times, is_long = between.astype(np.float64), len(between) > AROUND
    padded = np.pad(times, AROUND, mode="reflect" if is_long else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * AROUND + 1)
    pulse = np.median(windows, axis=1)
    return np.append(pulse, pulse[-1])


def _simple(
    times: NDArray[np.floating | np.integer], pulse: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The nearest of `RATIOS` of each time to its pulse."""
    logs = np.log(times / pulse)
    places = np.abs(logs[:, None] - np.log(RATIOS)).argmin(axis=1)
    return RATIOS[places]
