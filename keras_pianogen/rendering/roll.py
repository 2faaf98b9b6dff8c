"""The content of a piano roll, however it is drawn: its rows, notes and keys.

Time goes to the right, in seconds. Pitch goes upwards, in semitones, as MIDI
numbers. A long piece is wrapped into rows, as a score is.
"""

import dataclasses
import itertools
import math

import numpy as np

from keras_pianogen.events import PITCH_NAMES
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import check_pedal

BLACK_KEYS = (1, 3, 6, 8, 10)  # semitones above C
MIN_SPAN = 24  # semitones that a picture shows at least
SECONDS_PER_ROW = 30.0
ONE_ROW = 36.0  # seconds; a piece up to this long has one row, not two
DEFAULT_ROWS = 12  # longer pieces get longer rows
MAX_ROWS = 100
PEDAL_NAME = "Ped."  # as in scores


@dataclasses.dataclass(frozen=True)
class Roll:
    """A performance, checked and laid out to be drawn.

    Args:
        notes: a performance of one note or more.
        pedal: when the sustain pedal is down, as `read_pedal` returns it;
            without any spans it is not drawn.
        bounds: the times at which rows begin, and at which the last row ends.
        border: the time at which the prompt ends, 0 without a prompt.
        low: lower edge of the picture, half a semitone below a pitch.
        high: upper edge of the picture, half a semitone above a pitch.
    """

    notes: np.ndarray
    pedal: np.ndarray
    bounds: list[float]
    border: float
    low: float
    high: float

    @classmethod
    def of(
        cls,
        notes: np.ndarray,
        prompt_seconds: float | None,
        pedal: np.ndarray | None,
        seconds_per_row: float | None,
    ) -> "Roll":
        """Checks the arguments of `plot_piano_roll`, and lays them out.

        Raises:
            ValueError: as `plot_piano_roll` does.
        """
        notes = check_notes(notes)
        if not len(notes):
            raise ValueError(
                "`notes` must hold at least one note to draw. Received: 0 notes"
            )
        check_prompt(prompt_seconds)
        bounds = row_bounds(float(notes["end"].max()), seconds_per_row)
        border = min(prompt_seconds or 0.0, bounds[-1])
        if pedal is None:
            pedal = np.empty(0, PEDAL_DTYPE)
        low, high = _pitch_range(notes["pitch"])
        return cls(notes, check_pedal(pedal), bounds, border, low, high)

    @property
    def rows(self) -> list[tuple[float, float]]:
        """The times at which each row begins and ends."""
        return list(itertools.pairwise(self.bounds))

    def notes_in(self, begin: float, end: float) -> np.ndarray:
        """The notes that sound between two times."""
        seen = (self.notes["start"] < end) & (self.notes["end"] >= begin)
        return self.notes[seen]

    def pedal_in(self, begin: float, end: float) -> np.ndarray:
        """The spans of the pedal between two times."""
        seen = (self.pedal["start"] < end) & (self.pedal["end"] > begin)
        return self.pedal[seen]

    @property
    def keys(self) -> np.ndarray:
        """The pitches that the picture shows."""
        return np.arange(math.ceil(self.low), math.floor(self.high) + 1)

    @property
    def black_keys(self) -> np.ndarray:
        """Those of `keys` that are black on a piano."""
        return self.keys[np.isin(self.keys % 12, BLACK_KEYS)]

    @property
    def octaves(self) -> np.ndarray:
        """Those of `keys` that are a C."""
        return self.keys[self.keys % 12 == 0]


def check_prompt(prompt_seconds: float | None) -> None:
    """Refuses a length of a prompt that is negative or not finite."""
    if prompt_seconds is not None and not 0 <= prompt_seconds < math.inf:
        raise ValueError(
            "`prompt_seconds` must be a number of seconds, 0 or more. "
            f"Received: prompt_seconds={prompt_seconds}"
        )


def pitch_name(pitch: int) -> str:
    """The name of a pitch, such as `"C4"` for 60."""
    return f"{PITCH_NAMES[pitch % 12]}{pitch // 12 - 1}"


def row_bounds(length: float, seconds_per_row: float | None) -> list[float]:
    """The times at which rows begin, and at which the last one ends.

    Args:
        length: length of the piece in seconds.
        seconds_per_row: longest time that one row may hold, or None.

    Raises:
        ValueError: if `seconds_per_row` is out of its range.
    """
    length = length or 1.0
    longest = seconds_per_row
    if longest is None:
        longest = max(SECONDS_PER_ROW, math.ceil(length / DEFAULT_ROWS))
        longest = length if length <= ONE_ROW else longest
    if not 0 < longest < math.inf:
        raise ValueError(
            "`seconds_per_row` must be a number of seconds, more than 0. "
            f"Received: seconds_per_row={longest}"
        )
    count = math.ceil(length / longest)
    if count > MAX_ROWS:
        raise ValueError(
            f"`seconds_per_row` must be at least {length / MAX_ROWS:.1f} for "
            f"a piece of {length:.1f} seconds: a picture has at most "
            f"{MAX_ROWS} rows. Received: seconds_per_row={seconds_per_row}"
        )
    if count == 1:
        return [0.0, length]
    # All rows have one length, in whole seconds if possible, so that the last
    # row is not nearly empty.
    width = min(longest, math.ceil(length / count))
    return [row * width for row in range(count + 1)]


def _pitch_range(pitch: np.ndarray) -> tuple[float, float]:
    """The lower and the upper edge of the picture, in semitones."""
    low, high = int(pitch.min()) - 2, int(pitch.max()) + 2
    span = min(max(high - low, MIN_SPAN), 127)
    low = min(max((low + high - span) // 2, 0), 127 - span)
    return low - 0.5, low + span + 0.5
