"""Notes and presses of the pedal as arrays, and their checks. In seconds.

A note is `start` and `end` (seconds, 0 and above), `pitch` (MIDI number, 0 to
127) and `velocity` (1 to 127). A performance is a one-dimensional NumPy array
of `NOTE_DTYPE`, sorted by start, then pitch.
"""

import numpy as np

NOTE_DTYPE = np.dtype(
    [("start", "f8"), ("end", "f8"), ("pitch", "u1"), ("velocity", "u1")]
)
PEDAL_DTYPE = np.dtype([("start", "f8"), ("end", "f8")])
# Notes that begin at most this long after each other, in seconds, begin
# together: those of a chord on paper are about 30 ms apart (Goebl, 2001).
TOGETHER = 0.03


def check_notes(notes: np.ndarray) -> np.ndarray:
    """Checks an array of notes and sorts a copy by start, then pitch.

    Args:
        notes: a one-dimensional structured array with the fields of
            `NOTE_DTYPE`, of any numeric types.

    Returns:
        The notes as a new array of `NOTE_DTYPE`.

    Raises:
        ValueError: a field is missing, or a value is out of range.

    Examples:
        >>> check_notes(np.array([(1, 2, 60, 0)], dtype=NOTE_DTYPE))
        Traceback (most recent call last):
        ...
        ValueError: `notes` must have whole velocities from 1 to 127. \
Received: velocity=0 in note 0
    """
    names = NOTE_DTYPE.names or ()
    if (
        not isinstance(notes, np.ndarray)
        or notes.ndim != 1
        or not set(names) <= set(notes.dtype.names or ())
    ):
        found = getattr(notes, "dtype", type(notes).__name__)
        raise ValueError(
            "`notes` must be a one-dimensional NumPy array with the fields "
            f"{', '.join(names)}. Received: {found}"
        )
    start, end, pitch, velocity = (notes[field] for field in names)
    for field, good, expected in (
        ("start", np.isfinite(start) & (start >= 0), "starts of 0 s or later"),
        ("end", np.isfinite(end) & (end >= start), "ends at or after starts"),
        ("pitch", _whole(pitch, 0), "whole pitches from 0 to 127"),
        ("velocity", _whole(velocity, 1), "whole velocities from 1 to 127"),
    ):
        if not good.all():
            worst = int(np.argmin(good))
            raise ValueError(
                f"`notes` must have {expected}. Received: "
                f"{field}={notes[field][worst]} in note {worst}"
            )
    order = np.lexsort((pitch, start))
    checked = np.empty(len(notes), NOTE_DTYPE)
    for field in names:
        checked[field] = notes[field][order]
    return checked


def cut_overlaps(notes: np.ndarray) -> np.ndarray:
    """The end of each note, or the next start of its pitch if that is first."""
    order = np.argsort(notes["pitch"], kind="stable")
    pitches, starts = notes["pitch"][order], notes["start"][order]
    ends = notes["end"][order]
    limits = np.where(pitches[1:] == pitches[:-1], starts[1:], np.inf)
    ends[:-1] = np.minimum(ends[:-1], limits)
    cut = np.empty(len(notes), np.float64)
    cut[order] = ends
    return cut


def to_rows(notes: np.ndarray) -> list[list[float]]:
    """Notes as lists of start, end, pitch and velocity, for JSON.

    Times are rounded to 0.1 ms.
    """
    return [
        [round(start, 4), round(end, 4), pitch, velocity]
        for start, end, pitch, velocity in notes.tolist()
    ]


def check_pedal(pedal: np.ndarray) -> np.ndarray:
    """Checks when a pedal is down, and sorts a copy by start.

    Args:
        pedal: an array of `PEDAL_DTYPE`, as `read_pedal` returns it.

    Returns:
        A new array of `PEDAL_DTYPE`.

    Raises:
        ValueError: it is no such array, a value is out of range, or two spans
            overlap.
    """
    if getattr(pedal, "dtype", None) != PEDAL_DTYPE or pedal.ndim != 1:
        found = getattr(pedal, "dtype", type(pedal).__name__)
        raise ValueError(
            "`pedal` must be spans as `read_pedal` returns them. "
            f"Received: {found}"
        )
    start, end = pedal["start"], pedal["end"]
    good = np.isfinite(end) & (start >= 0) & (end >= start)
    if not good.all():
        raise ValueError(
            "`pedal` must have starts of 0 s or later, and ends at or after "
            f"them. Received: {pedal[np.argmin(good)]}"
        )
    pedal = np.sort(pedal, order="start")
    over = pedal["start"][1:] < pedal["end"][:-1]
    if over.any():
        raise ValueError(
            "Spans of `pedal` must not overlap. Received: "
            f"{pedal[np.argmax(over)]} and {pedal[np.argmax(over) + 1]}"
        )
    return pedal


def _whole(values: np.ndarray, least: int) -> np.ndarray:
    return (values >= least) & (values <= 127) & (values % 1 == 0)
