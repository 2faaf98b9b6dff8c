"""Notes in 10 bytes each, as a corpus keeps them on disk.

Start and duration are whole numbers of 10 microseconds; pitch and velocity are
as in MIDI.
"""

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.notes import NOTE_DTYPE

UNITS = 100_000  # units of packed times in a second: 10 microseconds each
PACKED_DTYPE = np.dtype(
    [("start", "<u4"), ("duration", "<u4"), ("pitch", "u1"), ("velocity", "u1")]
)


def pack(notes: NDArray[np.void]) -> NDArray[np.void]:
    """Packs notes, to the nearest 10 microseconds.

    Args:
        notes: array of `NOTE_DTYPE`, times up to 42,949 seconds.

    Returns:
        An array of `PACKED_DTYPE`.
    """
    start = np.rint(notes["start"] * UNITS)
    packed = np.empty(len(notes), PACKED_DTYPE)
    packed["start"] = start
    packed["duration"] = np.rint(notes["end"] * UNITS) - start
    packed["pitch"] = notes["pitch"]
    packed["velocity"] = notes["velocity"]
    return packed


def unpack(packed: NDArray[np.void]) -> NDArray[np.void]:
    """The reverse of `pack`: array of `NOTE_DTYPE`, times in seconds."""
    notes = np.empty(len(packed), NOTE_DTYPE)
    notes["start"] = packed["start"] / UNITS
    notes["end"] = packed_ends(packed) / UNITS
    notes["pitch"] = packed["pitch"]
    notes["velocity"] = packed["velocity"]
    return notes


def packed_ends(packed: NDArray[np.void]) -> NDArray[np.int64]:
    """When packed notes end, in units of 10 microseconds."""
    return packed["start"].astype(np.int64) + packed["duration"]
