"""Performances as note tuples: one row a note. NumPy alone.

| field    | unit                  | meaning                         |
| -------- | --------------------- | ------------------------------- |
| shift    | ticks, 0 and above    | time since the last note began  |
| pitch    | MIDI number, 0 to 127 | the key                         |
| velocity | bin, 0 to 31          | how hard the key is struck      |
| duration | ticks, 0 and above    | time until the note ends        |

A tick is 10 ms. Times are rounded to their nearest tick on the absolute grid,
so an error is at most half a tick and never accumulates. The grid and the
velocity bins are those of the event vocabulary `"magenta"`: both forms write
the same quantised notes, nothing is lost in either, and their likelihoods per
note can be compared.

Rows are sorted by the tick they begin at, then by pitch. A note that is still
sounding when its key is struck again ends there, in `encode` as in `decode`.
The first row's shift is counted from the beginning of the piece. A pause or a
duration may have any length: see `TickCode` for how a model with a bounded
number of classes writes it.

A tuple for each note is the compound word of Hsiao et al. (2021) and the
octuple of Zeng et al. (2021) in the time of performances, which has no beats.

References:
    - [Hsiao et al. (2021), Compound Word Transformer](
      https://arxiv.org/abs/2101.02402)
    - [Zeng et al. (2021), MusicBERT](https://arxiv.org/abs/2106.05630)
"""

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from keras_pianogen.events import MAX_SECONDS
from keras_pianogen.events import PITCHES
from keras_pianogen.events import EventVocabulary
from keras_pianogen.events import check_performance
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import cut_overlaps

NOTE_TUPLE_DTYPE = np.dtype(
    [("shift", "i4"), ("pitch", "u1"), ("velocity", "u1"), ("duration", "i4")]
)
FIELDS = ("shift", "pitch", "velocity", "duration")
NO_NOTE = -1  # in place of a class: there is no note here
BINS_AN_OCTAVE = 4  # of ticks beyond those that have a class of their own


@dataclasses.dataclass(frozen=True)
class TickCode:
    """Numbers of ticks as classes and remainders, without loss.

    Each number below `direct` has a class of its own. Beyond them a class is
    a range of numbers, a quarter of an octave wide, and the remainder is the
    place in that range. A model predicts the class; all remainders of a class
    are taken as equally likely, so that a remainder costs the logarithm of
    its class's width in nats.

    Args:
        direct: how many numbers, from 0 on, have a class of their own; 4 or
            more.
        most: the largest number of ticks.

    Examples:
        >>> code = TickCode(direct=400, most=8_640_000)
        >>> code.num_classes
        458
        >>> classes, remainders = code.encode([7, 399, 400, 2_000])
        >>> classes.tolist(), remainders.tolist()
        ([7, 399, 400, 409], [0, 0, 0, 97])
        >>> code.decode(classes, remainders).tolist()
        [7, 399, 400, 2000]
    """

    direct: int
    most: int

    def __post_init__(self) -> None:
        if not 4 <= self.direct <= self.most:
            raise ValueError(
                "`direct` must be from 4 to `most`. "
                f"Received: direct={self.direct}, most={self.most}"
            )

    @functools.cached_property
    def firsts(self) -> NDArray[np.int64]:
        """The smallest number of each class, (num_classes,)."""
        octaves = np.log2((self.most + 1) / self.direct)
        steps = np.arange(int(np.ceil(octaves * BINS_AN_OCTAVE)))
        wide = np.ceil(self.direct * 2 ** (steps / BINS_AN_OCTAVE))
        return np.append(np.arange(self.direct), wide.astype(np.int64))

    @property
    def num_classes(self) -> int:
        return len(self.firsts)

    @functools.cached_property
    def widths(self) -> NDArray[np.int64]:
        """How many numbers each class stands for, (num_classes,)."""
        return np.diff(self.firsts, append=self.most + 1)

    def encode(
        self, ticks: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The classes and remainders of numbers of ticks, 0 to `most`."""
        numbers = np.asarray(ticks, np.int64)
        if (
            numbers.size
            and not 0 <= numbers.min() <= numbers.max() <= self.most
        ):
            raise ValueError(
                f"`ticks` must be from 0 to {self.most:,}. Received: "
                f"{numbers.min():,} to {numbers.max():,}"
            )
        classes = np.searchsorted(self.firsts, numbers, side="right") - 1
        return classes, numbers - self.firsts[classes]

    def decode(
        self, classes: ArrayLike, remainders: ArrayLike
    ) -> NDArray[np.int64]:
        """The numbers of ticks that classes and remainders stand for."""
        return self.firsts[np.asarray(classes)] + np.asarray(remainders)


@dataclasses.dataclass(frozen=True)
class NoteTuples:
    """Notes to note tuples and back.

    Args:
        time_step: length of a tick in seconds, above 0.
        velocity_bins: number of velocity bins, 1 to 127. Each stands for
            `ceil(127 / velocity_bins)` neighbouring MIDI velocities.
        direct_shifts: shifts from 0 on that have a class of their own, see
            `TickCode`.
        direct_durations: the same for durations.

    Examples:
        >>> form = NoteTuples()
        >>> notes = np.array(
        ...     [(0.5, 2, 60, 80), (0.75, 2, 64, 70)], dtype=NOTE_DTYPE
        ... )
        >>> rows = form.encode(notes)
        >>> for row in rows:
        ...     print(form.describe(row))
        after 500 ms, C4 (60), velocity 77 to 80, for 1500 ms
        after 250 ms, E4 (64), velocity 69 to 72, for 1250 ms
        >>> form.decode(rows).tolist()
        [(0.5, 2.0, 60, 78), (0.75, 2.0, 64, 70)]
    """

    time_step: float = 0.01
    velocity_bins: int = 32
    direct_shifts: int = 100
    direct_durations: int = 1024

    def __post_init__(self) -> None:
        _ = self._grid, self.shift_code, self.duration_code  # checks them

    @functools.cached_property
    def _grid(self) -> EventVocabulary:
        """The events on the same grid and with the same velocity bins."""
        return EventVocabulary(
            time_step=self.time_step, velocity_bins=self.velocity_bins
        )

    @functools.cached_property
    def shift_code(self) -> TickCode:
        """How shifts are written with a bounded number of classes."""
        return TickCode(self.direct_shifts, self._most_ticks)

    @functools.cached_property
    def duration_code(self) -> TickCode:
        """How durations are written with a bounded number of classes."""
        return TickCode(self.direct_durations, self._most_ticks)

    @property
    def _most_ticks(self) -> int:
        return int(MAX_SECONDS / self.time_step)

    def to_ticks(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Seconds to ticks, to the nearest one."""
        return self._grid.to_ticks(seconds)

    @property
    def num_classes(self) -> dict[str, int]:
        """Number of classes of each field, in the order of `FIELDS`.

        The last class of `"shift"` is `end_class`.
        """
        return {
            "shift": self.shift_code.num_classes + 1,
            "pitch": PITCHES,
            "velocity": self.velocity_bins,
            "duration": self.duration_code.num_classes,
        }

    @property
    def end_class(self) -> int:
        """The class of `"shift"` that ends a piece, in place of a note."""
        return self.shift_code.num_classes

    @functools.cached_property
    def remainder_nats(self) -> dict[str, NDArray[np.float64]]:
        """Cost of the remainder of each class in nats, for each field."""
        nats = {name: np.zeros(n) for name, n in self.num_classes.items()}
        nats["shift"][:-1] = np.log(self.shift_code.widths)
        nats["duration"][:] = np.log(self.duration_code.widths)
        return nats

    def get_config(self) -> dict[str, Any]:
        """The settings, as plain values for JSON."""
        return dataclasses.asdict(self)

    def encode(self, notes: NDArray[np.void]) -> NDArray[np.void]:
        """The note tuples of a performance.

        Args:
            notes: array of `NOTE_DTYPE`, times in seconds from 0 to 86,400.

        Returns:
            Array of `NOTE_TUPLE_DTYPE`, a row for each note.

        Raises:
            ValueError: `notes` is no such array, or lasts longer.
        """
        notes = check_performance(notes)
        starts = self._grid.to_ticks(notes["start"])
        ends = self._grid.to_ticks(cut_overlaps(notes))
        order = np.lexsort((notes["pitch"], starts))
        rows = np.empty(len(notes), NOTE_TUPLE_DTYPE)
        rows["shift"] = np.diff(starts[order], prepend=0)
        rows["pitch"] = notes["pitch"][order]
        rows["velocity"] = self._grid.to_bins(notes["velocity"])[order]
        rows["duration"] = (ends - starts)[order]
        return rows

    def decode(self, rows: NDArray[np.void]) -> NDArray[np.void]:
        """The performance that note tuples describe.

        All rows are some performance: a value outside its field's range
        counts as the nearest one within, a note that is still sounding when
        its key is struck again ends there, and what comes after 86,400
        seconds counts as coming then.

        Args:
            rows: array with the fields of `NOTE_TUPLE_DTYPE`, integers.

        Returns:
            Notes, array of `NOTE_DTYPE`, sorted by start, then pitch.

        Raises:
            ValueError: `rows` is no one-dimensional array with these fields.
        """
        rows = _check_rows(rows)
        ticks = {
            field: np.clip(rows[field].astype(np.int64), 0, self._most_ticks)
            for field in ("shift", "duration")
        }
        starts = np.cumsum(ticks["shift"]).clip(max=self._most_ticks)
        ends = (starts + ticks["duration"]).clip(max=self._most_ticks)
        pitches = np.clip(rows["pitch"], 0, 127).astype(np.uint8)
        notes = np.empty(len(rows), NOTE_DTYPE)
        notes["start"] = starts * self.time_step
        notes["end"] = ends * self.time_step
        notes["pitch"] = pitches
        notes["velocity"] = self.to_velocities(rows["velocity"])
        notes = notes[np.lexsort((pitches, starts))]
        notes["end"] = cut_overlaps(notes)
        return notes

    def to_velocities(self, bins: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The MIDI velocities that bins stand for."""
        return self._grid.to_velocities(self._inside(bins)).astype(np.uint8)

    def velocity_range(
        self, bins: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The lowest and the highest MIDI velocity that bins stand for."""
        return self._grid.velocity_range(self._inside(bins))

    def _inside(self, bins: NDArray[np.integer]) -> NDArray[np.int64]:
        return np.clip(bins, 0, self.velocity_bins - 1).astype(np.int64)

    def classes(self, rows: NDArray[np.void]) -> NDArray[np.int32]:
        """The class of each field of each row, (rows, 4)."""
        return np.stack(
            [
                self.shift_code.encode(rows["shift"])[0],
                rows["pitch"],
                rows["velocity"],
                self.duration_code.encode(rows["duration"])[0],
            ],
            axis=1,
        ).astype(np.int32)

    # For people.

    def describe(self, row: np.void) -> str:
        """One row in words."""
        shift, pitch, velocity, duration = row.tolist()
        key = self._grid.describe(self._grid.note_on_id + pitch)
        strength = self._grid.describe(self._grid.velocity_id + velocity)
        return (
            f"after {self._milliseconds(shift)}, "
            f"{key.removeprefix('note on ')}, {strength}, "
            f"for {self._milliseconds(duration)}"
        )

    def table(self) -> str:
        """The form as a table: field, classes, meaning."""
        direct = self._milliseconds(1)
        rows = [
            ("shift", self.shift_code.num_classes,
             f"since the last onset: {direct} apart up to "
             f"{self._milliseconds(self.direct_shifts - 1)}, then ranges"),
            ("pitch", 128, "MIDI pitch 0 to 127"),
            ("velocity", self.velocity_bins, "1 to 127 in bins"),
            ("duration", self.duration_code.num_classes,
             f"until the note ends: {direct} apart up to "
             f"{self._milliseconds(self.direct_durations - 1)}, then ranges"),
        ]  # fmt: skip
        lines = [f"{'field':<10}{'classes':>7}  meaning"]
        for field, count, meaning in rows:
            lines.append(f"{field:<10}{count:>7}  {meaning}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def _milliseconds(self, ticks: int) -> str:
        return f"{int(ticks) * self.time_step * 1000:g} ms"


def rows_of(array: NDArray[np.integer]) -> NDArray[np.void]:
    """An array of `NOTE_TUPLE_DTYPE` of an int array of shape (notes, 4)."""
    rows = np.empty(len(array), NOTE_TUPLE_DTYPE)
    for i, name in enumerate(FIELDS):
        rows[name] = array[:, i]
    return rows


def _check_rows(rows: object) -> NDArray[np.void]:
    fields = NOTE_TUPLE_DTYPE.names or ()
    if isinstance(rows, np.ndarray) and rows.ndim == 1:
        known = rows.dtype.fields or {}
        if all(
            name in known and known[name][0].kind in "iu" for name in fields
        ):
            return rows
    found = getattr(rows, "dtype", type(rows).__name__)
    raise ValueError(
        "`rows` must be a one-dimensional array with the whole-number fields "
        f"{', '.join(fields)}. Received: {found}"
    )
