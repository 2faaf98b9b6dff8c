"""Gaps in pieces as a model of notes sees them: what follows comes first.

A model that fills gaps reads three parts in a row: the notes after the gap,
`START`, the notes before it; then it writes the notes in it, and the end. This
is fill-in-the-middle (Bavarian et al., 2022) for notes. To the four fields of a
row comes a fifth, the gap:

| gap           | meaning                                                   |
| ------------- | --------------------------------------------------------- |
| -1            | the next note is in no gap                                |
| 0             | this note comes after the gap                             |
| 1 and above   | the next note is in the gap, which ends this number of    |
|               | ticks, less 1, after this note began                      |

So each note of the gap is written with the time to its end in view. The shift
of the first note after the gap counts from the end of the gap.

References:
    - [Bavarian et al. (2022), Efficient Training of Language Models to Fill in
      the Middle](https://arxiv.org/abs/2207.14255)
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import NO_NOTE
from keras_pianogen.note_tuples import NoteTuples

FIELDS_WITH_GAP = (*FIELDS, "gap")
NO_GAP, AFTER = -1, 0
START = np.full((1, len(FIELDS_WITH_GAP)), NO_NOTE, np.int64)
# Of the gaps that are drawn: their lengths, and the most notes after them.
GAP_SECONDS = (1.0, 30.0)
MOST_AFTER = 96
ROUNDING = 1e-9  # seconds that a difference of two times may be off


def check_span(
    notes: NDArray[np.void],
    start: float,
    end: float,
    names: tuple[str, str] = ("start", "end"),
    shortest: float = NoteTuples.time_step,
) -> None:
    """Check that a gap lies in a piece, and isn't too short or too long.

    Args:
        notes: array of `NOTE_DTYPE`.
        start: where the gap begins, in seconds.
        end: where it ends, in seconds.
        names: what the user calls these two.
        shortest: length of a tick of the model's form, in seconds.

    Raises:
        ValueError: if the piece has no notes, or the gap is not in it, is
            shorter than a tick or longer than those that models learn from.
    """
    first, last = (f"`{name}`" for name in names)
    received = f"Received: {first[1:-1]}={start}, {last[1:-1]}={end}"
    if not len(notes):
        raise ValueError("`piece` must have notes. Received: none")
    length = float(notes["end"].max())
    if not 0 <= start < end <= length:
        raise ValueError(
            f"{first} and {last} must lie in the piece, from 0 to "
            f"{length:.2f} s, {first} before {last}. {received}"
        )
    if end - start < shortest - ROUNDING:
        raise ValueError(
            f"A gap must be at least {shortest:g} seconds long. {received}"
        )
    longest = GAP_SECONDS[1]
    if end - start > longest:
        raise ValueError(
            f"A gap must be at most {longest:g} seconds long. {received}"
        )


@dataclasses.dataclass(frozen=True)
class Gap:
    """Where a gap is in some rows of a piece.

    Args:
        first: index of the first row in the gap, or of the first after it if
            the gap is empty.
        stop: index of the first row after the gap.
        end: when the gap ends, in ticks on the clock of the rows' starts.
    """

    first: int
    stop: int
    end: int

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        starts: NDArray[np.int64],
        least: int,
        most: int,
        time_step: float,
    ) -> "Gap":
        """A gap of 1 to 30 seconds, short ones as often as long ones.

        Args:
            rng: a NumPy generator.
            starts: when each row begins, in ticks, in order.
            least: rows that must come before the gap.
            most: the most rows in the gap.
            time_step: length of a tick in seconds.
        """
        shortest, longest = np.log(GAP_SECONDS) - np.log(time_step)
        ticks = int(np.exp(rng.uniform(shortest, longest)))
        place, share = rng.random(2)
        first = least + int(place * (len(starts) - least))
        begin = starts[first]
        stop = int(np.searchsorted(starts, begin + ticks, side="left"))
        stop = min(max(stop, first + 1), first + most)
        if stop == len(starts):
            return cls(first, stop, int(begin) + ticks)
        # The end is anywhere between the last note of the gap and the next.
        room = int(starts[stop] - starts[stop - 1])
        return cls(first, stop, int(starts[stop]) - int(share * room))


def rows_around(
    rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    gap: Gap,
    kept: int,
    after: int,
) -> NDArray[np.int64]:
    """What a model reads before it fills a gap, with five fields.

    Args:
        rows: fields of the notes of a piece, (rows, 4).
        starts: when each row begins, in ticks.
        gap: a `Gap`.
        kept: how many of the rows before the gap are read, the last ones.
        after: how many of the rows after the gap are read, the first ones.
    """
    following = rows[gap.stop : gap.stop + after].copy()
    since = starts[gap.stop : gap.stop + 1] - gap.end
    following[:1, 0] = np.maximum(since, 0)
    before = slice(gap.first - kept, gap.first)
    parts = [
        with_gap(following, AFTER),
        START.copy(),
        with_gap(rows[before], NO_GAP),
    ]
    # The row from which the first note of the gap is predicted.
    clock = starts[gap.first - 1] if kept else 0
    last = parts[2] if kept else parts[1]
    last[-1, -1] = countdown(gap.end, clock)
    return np.concatenate(parts)


def with_gap(rows: NDArray[Any], gap: Any) -> NDArray[np.int64]:
    """Rows of four fields with a fifth, the gap."""
    column = np.broadcast_to(np.asarray(gap, np.int64), len(rows))
    return np.concatenate([rows, column[:, None]], axis=1).astype(np.int64)


def countdown(end: int, clock: Any) -> Any:
    """The field of notes that begin at `clock` in a gap that ends at `end`."""
    return 1 + np.maximum(end - clock, 0)


def gap_classes(form: NoteTuples, gaps: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each number in the field, -1 where there is no gap."""
    ticks = np.maximum(gaps - 1, 0)
    return np.where(gaps > 0, 1 + form.shift_code.encode(ticks)[0], gaps)


def num_gap_classes(form: NoteTuples) -> int:
    """How many classes the field has."""
    return 1 + form.shift_code.num_classes
