"""Where a finished piece can go on: before its final chord. Times in seconds.

A piece of music that has ended is seldom continued: after a last chord that
rings, a model writes a few soft notes or none. So the page offers to begin
where the music was still moving. New music may begin there, and the rest of the
piece is kept.
"""

import numpy as np

from keras_pianogen.notes import TOGETHER

WINDOW = 4.0  # in which notes are counted
MOVING = 0.75  # share of the piece's usual number of notes in a window
FURTHEST = 30.0  # back from the last note


def going_on(notes):
    """The latest time at which a piece still moves as it usually does.

    Args:
        notes: array of `NOTE_DTYPE`, sorted by start.

    Returns:
        The time at which a chord or a note begins, before which the music
        moves; or `None` if there is none, because the piece is too short.

    Examples:
        >>> import numpy as np
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> starts = [*np.arange(0, 10, 0.25), 10.0, 12.0]
        >>> notes = np.zeros(len(starts), NOTE_DTYPE)
        >>> notes["start"], notes["end"] = starts, np.add(starts, 0.2)
        >>> going_on(notes)
        10.0
    """
    starts = notes["start"].astype("float64")
    if not len(starts) or starts[-1] - starts[0] < 2 * WINDOW:
        return None
    chords = starts[1:][np.diff(starts) > TOGETHER]
    chords = chords[chords > starts[0] + WINDOW]
    moving = _counts(starts, chords)
    usual = np.median(
        _counts(starts, np.arange(starts[0] + WINDOW, starts[-1]))
    )
    late = chords >= starts[-1] - FURTHEST
    found = chords[late & (moving >= MOVING * usual)]
    return float(found[-1]) if len(found) else None


def _counts(starts, times):
    """How many notes begin in the window before each time."""
    before = np.searchsorted(starts, times)
    return before - np.searchsorted(starts, times - WINDOW)
