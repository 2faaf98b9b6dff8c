"""Performances as event ids, after Oore et al. (2018). NumPy alone.

This is the vocabulary `EventVocabulary.named("pno-ai")`. `print` shows any
other in the same way:

| kind       | ids        | meaning of one id                                |
| ---------- | ---------- | ------------------------------------------------ |
| pad        | 0          | nothing; it fills up a row of a batch            |
| start      | 1          | a piece begins                                   |
| end        | 2          | a piece is over                                  |
| note on    | 3 to 130   | this pitch begins, MIDI 0 to 127                 |
| note off   | 131 to 258 | this pitch ends, MIDI 0 to 127                   |
| time shift | 259 to 383 | 1 to 125 ticks of 8 ms go by                     |
| velocity   | 384 to 415 | how hard the notes that follow are struck        |

Times are seconds outside and whole ticks of `time_step` seconds inside. Each
time is rounded to its nearest tick on the absolute grid, so an error never
accumulates: it is at most half a tick anywhere. A gap longer than `max_shift`
ticks becomes several longest shifts, then the remainder.

Within one tick, notes that began earlier end first, by pitch; then each new
note, by pitch and start: its velocity, its note-on and, where it is less than
a tick long, its note-off at once. So a pitch struck again at the tick where
it ends, and notes shorter than half a tick, all survive. Notes of one pitch
that overlap are cut where the next one begins, because events have no way to
let a pitch sound twice.

Pad, start and end are no events: `encode` never gives them, and `decode`
passes over them.

Reference:
    - [Oore et al. (2018), This Time with Feeling: Learning Expressive
      Musical Performance](https://arxiv.org/abs/1808.03715), section 3.2
"""

import dataclasses
import numbers
import typing
from collections.abc import Mapping
from typing import Any
from typing import Literal
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import cut_overlaps

PITCHES = 128
MAX_VELOCITY = 127
DEFAULT_VELOCITY = 64  # of note-ons that no velocity event precedes
# The longest performance, in seconds. Without a limit, one wrong time would
# become millions of time shifts.
MAX_SECONDS = 86_400.0

PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    # pno-ai and the paper implemented here use these 413 events.
    "pno-ai": {
        "time_step": 0.008,
        "max_shift": 125,
        "velocity_bins": 32,
        "velocity_on_change": False,
    },
    # Oore et al., and Huang et al. (2018) after them, use these 388 events.
    "magenta": {
        "time_step": 0.01,
        "max_shift": 100,
        "velocity_bins": 32,
        "velocity_on_change": True,
    },
}


@dataclasses.dataclass(frozen=True)
class DecodeReport:
    """How often `EventVocabulary.decode` met irregular events, by kind.

    `encode` gives none of them.

    Attributes:
        stray_offs: note-offs of pitches that were not sounding; passed over.
        unended_notes: notes still sounding at the last event; they end there.
        restruck_notes: notes whose pitch was struck again before their
            note-off; they end at the new onset.
        unknown_ids: ids outside the vocabulary; passed over.
    """

    stray_offs: int = 0
    unended_notes: int = 0
    restruck_notes: int = 0
    unknown_ids: int = 0


class EncodedRuns(NamedTuple):
    """Several runs of notes, encoded one after the other.

    Attributes:
        ids: event ids of all runs, int32, (events,).
        bounds: where each run begins in `ids`, and the end, (runs + 1,).
        ons: where each note's note-on lies in `ids`, (notes,).
    """

    ids: NDArray[np.int32]
    bounds: NDArray[np.int64]
    ons: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class EventVocabulary:
    """Notes to event ids and back.

    The defaults are the settings of `"magenta"`.

    Args:
        time_step: length of a tick in seconds, above 0.
        max_shift: ticks in the longest time shift, 1 or more.
        velocity_bins: number of velocity events, 1 to 127. Each stands for
            `ceil(127 / velocity_bins)` neighbouring MIDI velocities.
        velocity_on_change: whether a velocity event comes only before a note
            whose bin differs from that of the note before. If not, one comes
            before every note.

    Examples:
        >>> vocabulary = EventVocabulary.named("pno-ai")
        >>> len(vocabulary), vocabulary.num_events
        (416, 413)
        >>> notes = np.array([(0.5, 0.75, 60, 80)], dtype=NOTE_DTYPE)
        >>> ids = vocabulary.encode(notes)
        >>> for event_id in ids:
        ...     print(vocabulary.describe(event_id))
        shift 504 ms
        velocity 77 to 80
        note on C4 (60)
        shift 248 ms
        note off C4 (60)
        >>> vocabulary.decode(ids).tolist()
        [(0.504, 0.752, 60, 78)]
    """

    time_step: float = 0.01
    max_shift: int = 100
    velocity_bins: int = 32
    velocity_on_change: bool = True

    pad_id = 0
    start_id = 1
    end_id = 2
    note_on_id = 3  # of pitch 0
    note_off_id = note_on_id + PITCHES
    shift_id = note_off_id + PITCHES  # of one tick

    def __post_init__(self) -> None:
        if not 0 < self.time_step <= MAX_SECONDS:
            raise ValueError(
                "`time_step` must be a number of seconds above 0. "
                f"Received: time_step={self.time_step}"
            )
        for name, most in (("max_shift", 2**24), ("velocity_bins", 127)):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= most:
                raise ValueError(
                    f"`{name}` must be a whole number from 1 to {most:,}. "
                    f"Received: {name}={value!r}"
                )

    @classmethod
    def named(cls, name: str) -> "EventVocabulary":
        """The vocabulary of a named setting.

        Args:
            name: `"pno-ai"` (8 ms × 125, velocity before every note: 413
                events) or `"magenta"` (10 ms × 100, velocity on change: 388).

        Raises:
            ValueError: for any other name.
        """
        if name not in SETTINGS:
            raise ValueError(
                f"`name` must be one of {list(SETTINGS)}. "
                f"Received: name={name!r}"
            )
        return cls(**SETTINGS[name])

    @property
    def velocity_id(self) -> int:
        """Id of the softest velocity."""
        return self.shift_id + self.max_shift

    @property
    def num_events(self) -> int:
        """Number of events, without pad, start and end."""
        return len(self) - self.note_on_id

    def __len__(self) -> int:
        return self.velocity_id + self.velocity_bins

    def get_config(self) -> dict[str, Any]:
        """The settings, as plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "EventVocabulary":
        """The vocabulary with the settings that `get_config` gave."""
        return cls(**config)

    # Notes to ids.

    def encode(self, notes: NDArray[np.void]) -> NDArray[np.int32]:
        """The events of a performance.

        Args:
            notes: array of `NOTE_DTYPE`, times in seconds from 0 to 86,400.

        Returns:
            Event ids, int32, (events,), without pad, start and end.

        Raises:
            ValueError: `notes` is no such array, or lasts longer.
        """
        notes = check_performance(notes)
        return self.encode_runs(
            notes["start"],
            cut_overlaps(notes),
            notes["pitch"],
            notes["velocity"],
            np.array([len(notes)]),
        ).ids

    def encode_runs(
        self,
        starts: NDArray[np.float64],
        ends: NDArray[np.float64],
        pitches: NDArray[np.integer],
        velocities: NDArray[np.integer],
        counts: NDArray[np.int64],
        origins: NDArray[np.int64] | None = None,
    ) -> EncodedRuns:
        """Encodes several runs of notes at once, with one sort for all.

        Nothing is checked: the notes of each run must be sorted by start,
        then pitch, and notes of one pitch must not overlap.

        Args:
            starts: seconds, (notes,), one run after the other.
            ends: seconds, (notes,).
            pitches: MIDI numbers, 0 to 127, (notes,).
            velocities: 1 to 127, (notes,).
            counts: number of notes in each run, (runs,).
            origins: the tick at which each run's clock starts, (runs,), none
                later than the run's first note. Defaults to 0.

        Returns:
            `EncodedRuns`.

        Raises:
            ValueError: the runs are too many, or too long, for one sort.
        """
        runs = np.repeat(np.arange(len(counts)), counts)
        on_ticks, off_ticks = self.to_ticks(starts), self.to_ticks(ends)
        if origins is not None:
            on_ticks -= origins[runs]
            off_ticks -= origins[runs]
        bits = _KeyBits.fit(
            self.velocity_bins, len(runs), off_ticks.max(initial=0), len(counts)
        )
        bins = self.to_bins(velocities)
        keys = bits.pack(runs, on_ticks, off_ticks, pitches, bins)
        keys.sort()
        return self._write(keys, bits, 2 * counts)

    def _write(
        self,
        keys: NDArray[np.int64],
        bits: "_KeyBits",
        counts: NDArray[np.int64],
    ) -> EncodedRuns:
        """The events of sorted keys, `counts` of which belong to each run."""
        stops = np.cumsum(counts)
        firsts = (stops - counts)[counts > 0]
        ticks, is_off = bits.ticks(keys), bits.is_off(keys)
        bins = bits.bins(keys)
        waits = np.diff(ticks, prepend=0)
        waits[firsts] = ticks[firsts]
        shifts = (waits + (self.max_shift - 1)) // self.max_shift
        tells = is_off == 0  # which keys a velocity precedes
        if self.velocity_on_change:
            tells = _changes(bins, tells, firsts)
        # A key's events are its shifts, a velocity, and itself at `places`.
        places = np.cumsum(shifts + tells + 1)
        bounds = np.append(0, places)[np.append(0, stops)]
        places -= 1
        ids = np.full(bounds[-1], self.velocity_id - 1, np.int32)  # longest
        ids[places] = self.note_on_id + bits.pitches(keys) + PITCHES * is_off
        ids[places[tells] - 1] = self.velocity_id + bins[tells]
        moves = np.flatnonzero(shifts)
        rest = waits[moves] - (shifts[moves] - 1) * self.max_shift
        ids[places[moves] - tells[moves] - 1] = self.shift_id - 1 + rest
        ons = np.flatnonzero(is_off == 0)
        on_places = np.empty(len(ons), np.int64)
        on_places[bits.notes(keys[ons])] = places[ons]
        return EncodedRuns(ids, bounds, on_places)

    def to_ticks(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Seconds to ticks, to the nearest one."""
        return np.floor(seconds / self.time_step + 0.5).astype(np.int64)

    def to_bins(self, velocities: NDArray[np.integer]) -> NDArray[np.int64]:
        """MIDI velocities, 1 to 127, to bins, 0 to `velocity_bins` - 1."""
        return (velocities.astype(np.int64) - 1) // self._bin_width

    def to_velocities(self, bins: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Bins to the MIDI velocity at the middle of each."""
        low, high = self.velocity_range(bins)
        return ((low + high) // 2).astype(np.uint8)

    def velocity_range(
        self, bins: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The lowest and the highest MIDI velocity of each bin."""
        low = np.minimum(bins * self._bin_width + 1, MAX_VELOCITY)
        return low, np.minimum(low + self._bin_width - 1, MAX_VELOCITY)

    @property
    def _bin_width(self) -> int:
        return -(-MAX_VELOCITY // self.velocity_bins)

    # Ids to notes.

    @typing.overload
    def decode(
        self, ids: ArrayLike, return_report: Literal[False] = ...
    ) -> NDArray[np.void]: ...
    @typing.overload
    def decode(
        self, ids: ArrayLike, return_report: Literal[True]
    ) -> tuple[NDArray[np.void], DecodeReport]: ...
    def decode(
        self, ids: ArrayLike, return_report: bool = False
    ) -> NDArray[np.void] | tuple[NDArray[np.void], DecodeReport]:
        """The performance that a sequence of events describes.

        Every sequence of integers describes one. Note-offs of silent pitches,
        pad, start, end and unknown ids are passed over. A note-on of a
        sounding pitch ends the note before it, and a note that never ends
        lasts until the last event. Notes before the first velocity get 64.

        Args:
            ids: integers, (events,).
            return_report: whether to return a `DecodeReport` as well.

        Returns:
            Notes, array of `NOTE_DTYPE`, sorted by start, then pitch; or
            `(notes, report)`, with a `DecodeReport`.

        Raises:
            ValueError: `ids` is not a one-dimensional sequence of integers.
        """
        ids = _check_ids(ids)
        ticks = self._ticks(ids)
        places = np.flatnonzero(
            (ids >= self.note_on_id) & (ids < self.shift_id)
        )
        codes = ids[places] - self.note_on_id
        # Entries are sorted by pitch, then time. A note ends at the next entry
        # of its pitch, whether that is a note-off or another note-on.
        pitches = (codes % PITCHES).astype(np.uint8)
        order = np.argsort(pitches, kind="stable")
        places, pitches = places[order], pitches[order]
        is_on = codes[order] < PITCHES
        is_last = np.append(pitches[1:] != pitches[:-1], True)[: len(pitches)]
        entries = np.append(ticks[places], _last(ticks))
        ends = np.where(is_last, entries[-1], entries[1:])
        ons, pitches = places[is_on], pitches[is_on]
        order = np.lexsort((pitches, ticks[ons]))
        notes = np.empty(len(ons), NOTE_DTYPE)
        notes["start"] = ticks[ons[order]] * self.time_step
        notes["end"] = ends[is_on][order] * self.time_step
        notes["pitch"] = pitches[order]
        notes["velocity"] = self._velocities(ids, ons[order])
        if not return_report:
            return notes
        unknown = int(((ids < 0) | (ids >= len(self))).sum())
        return notes, _report(is_on, is_last, unknown)

    def _velocities(
        self, ids: NDArray[np.int64], places: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """The velocity in force at each of `places`."""
        said = np.flatnonzero((ids >= self.velocity_id) & (ids < len(self)))
        velocities = self.to_velocities(ids[said] - self.velocity_id)
        velocities = np.append(np.uint8(DEFAULT_VELOCITY), velocities)
        return velocities[np.searchsorted(said, places)]

    def times(self, ids: ArrayLike) -> NDArray[np.floating[Any]]:
        """When each event happens, in seconds, (events,).

        The time of a time shift is the time at its end.

        Args:
            ids: integers, (events,).
        """
        return self._ticks(_check_ids(ids)) * self.time_step

    def duration(self, ids: ArrayLike) -> float:
        """How long a sequence of events lasts, in seconds.

        Args:
            ids: integers, (events,).
        """
        return _last(self._ticks(_check_ids(ids))) * self.time_step

    def _ticks(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        is_shift = (ids >= self.shift_id) & (ids < self.velocity_id)
        return np.cumsum(np.where(is_shift, ids - (self.shift_id - 1), 0))

    # For people.

    def transpose(self, ids: ArrayLike, semitones: int) -> NDArray[np.int32]:
        """Ids of the same music in another key.

        Args:
            ids: any shape, of a whole performance or a part.
            semitones: up, or down if below 0.

        Returns:
            An int32 array of the shape of `ids`.

        Raises:
            ValueError: if a pitch would leave 0 to 127.
        """
        ids = np.array(ids, dtype=np.int32)
        places = (ids >= self.note_on_id) & (ids < self.shift_id)
        pitches = (ids[places] - self.note_on_id) % PITCHES + semitones
        if pitches.size and not 0 <= pitches.min() <= pitches.max() < PITCHES:
            raise ValueError(
                f"`semitones` must leave pitches within 0 to {PITCHES - 1}. "
                f"Received: semitones={semitones}, pitches of "
                f"{pitches.min()} to {pitches.max()}"
            )
        ids[places] += semitones
        return ids

    def describe(self, event_id: int) -> str:
        """One id in words: `"note on C4 (60)"`, `"shift 80 ms"`.

        Args:
            event_id: 0 to `len(self)` - 1. Middle C is C4.

        Raises:
            ValueError: for an id outside the vocabulary.
        """
        event_id = int(event_id)
        if not 0 <= event_id < len(self):
            raise ValueError(
                f"`event_id` must be 0 to {len(self) - 1}. "
                f"Received: event_id={event_id}"
            )
        if event_id < self.note_on_id:
            return ("pad", "start", "end")[event_id]
        if event_id < self.note_off_id:
            return "note on " + _pitch_name(event_id - self.note_on_id)
        if event_id < self.shift_id:
            return "note off " + _pitch_name(event_id - self.note_off_id)
        if event_id < self.velocity_id:
            return "shift " + self._milliseconds(event_id - self.shift_id + 1)
        low = (event_id - self.velocity_id) * self._bin_width + 1
        return f"velocity {low} to {min(low + self._bin_width - 1, 127)}"

    def table(self) -> str:
        """The vocabulary as a table: kind, ids, count, meaning."""
        short, long = self._milliseconds(1), self._milliseconds(self.max_shift)
        when = "changes of velocity" if self.velocity_on_change else "all notes"
        rows = [
            ("pad", self.pad_id, 1, "fills a row of a batch"),
            ("start", self.start_id, 1, "a piece begins"),
            ("end", self.end_id, 1, "a piece is over"),
            ("note on", self.note_on_id, PITCHES, "MIDI pitch 0 to 127"),
            ("note off", self.note_off_id, PITCHES, "MIDI pitch 0 to 127"),
            ("time shift", self.shift_id, self.max_shift,
             f"{short} to {long} go by"),
            ("velocity", self.velocity_id, self.velocity_bins,
             f"1 to 127 in bins of {self._bin_width}, before {when}"),
        ]  # fmt: skip
        lines = [f"{'kind':<12}{'ids':<12}{'count':>5}  meaning"]
        for kind, first, count, meaning in rows:
            ids = (
                f"{first}" if count == 1 else f"{first} to {first + count - 1}"
            )
            lines.append(f"{kind:<12}{ids:<12}{count:>5}  {meaning}")
        lines.append(f"{'in all':<12}{'':<12}{len(self):>5}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()

    def _milliseconds(self, ticks: int) -> str:
        return f"{ticks * self.time_step * 1000:g} ms"


class _KeyBits(NamedTuple):
    """Where the fields of a key begin: a note-on or note-off as one integer.

    Keys are sorted by their fields, from the high bits to the low ones: run,
    tick, phase (0 for the end of a note of an earlier tick, 1 otherwise),
    pitch, index of the note, off. The lowest field, the velocity's bin, has no
    part in the order.
    """

    off: int
    note: int
    pitch: int
    phase: int
    tick: int
    run: int

    @classmethod
    def fit(cls, bins: int, notes: int, ticks: int, runs: int) -> "_KeyBits":
        """Fields that are wide enough for numbers up to the given ones."""
        widths = [n.bit_length() for n in (bins, 1, notes, 127, 1, int(ticks))]
        bits = cls(*np.cumsum(widths).tolist())
        if bits.run + runs.bit_length() > 63:
            raise ValueError(
                "Notes must fit one sort: encode fewer, or shorter ones. "
                f"Received: {notes} notes in {runs} runs of {ticks} ticks"
            )
        return bits

    def pack(
        self,
        runs: NDArray[np.int64],
        on_ticks: NDArray[np.int64],
        off_ticks: NDArray[np.int64],
        pitches: NDArray[np.integer],
        bins: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """The keys of all note-ons, then of all note-offs, (2 * notes,)."""
        shared = runs << self.run
        shared += pitches.astype(np.int64) << self.pitch
        shared += np.arange(len(runs)) << self.note
        ons = (on_ticks << self.tick) + shared + bins + (1 << self.phase)
        offs = (off_ticks << self.tick) + shared + (1 << self.off)
        offs[on_ticks == off_ticks] += 1 << self.phase
        return np.concatenate([ons, offs])

    def bins(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return keys & ((1 << self.off) - 1)

    def is_off(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return (keys >> self.off) & 1

    def notes(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return (keys >> self.note) & ((1 << (self.pitch - self.note)) - 1)

    def pitches(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return (keys >> self.pitch) & 127

    def ticks(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        return (keys >> self.tick) & ((1 << (self.run - self.tick)) - 1)


def check_performance(notes: NDArray[np.void]) -> NDArray[np.void]:
    """Checks and sorts notes that are to be encoded.

    Args:
        notes: array of `NOTE_DTYPE`, times in seconds from 0 to 86,400.

    Returns:
        The notes as a new array, sorted by start, then pitch.

    Raises:
        ValueError: `notes` is no such array, or lasts longer.
    """
    notes = check_notes(notes)
    last = notes["end"].max(initial=0)
    if last > MAX_SECONDS:
        raise ValueError(
            f"`notes` must end within {MAX_SECONDS:.0f} seconds. "
            f"Received: a note that ends at {last} s"
        )
    return notes


def _changes(
    bins: NDArray[np.int64],
    is_on: NDArray[np.bool_],
    firsts: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which note-ons have a different bin from the note-on before.

    The first note-on of a run counts as different. It is the run's first key,
    because a note begins before it ends.
    """
    ons = np.flatnonzero(is_on)
    changes = is_on.copy()
    changes[ons] = np.diff(bins[ons], prepend=-1) != 0
    changes[firsts] = True
    return changes


def _report(
    is_on: NDArray[np.bool_], is_last: NDArray[np.bool_], unknown_ids: int
) -> DecodeReport:
    """Counts what is irregular in entries sorted by pitch, then time."""
    after_on = np.append(False, is_on & ~is_last)[:-1]
    return DecodeReport(
        stray_offs=int((~is_on & ~after_on).sum()),
        unended_notes=int((is_on & is_last).sum()),
        restruck_notes=int((is_on & after_on).sum()),
        unknown_ids=unknown_ids,
    )


def _check_ids(ids: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(ids)
    if array.dtype == object and array.ndim == 1:
        # Integers too large for NumPy become unknown ids.
        if all(isinstance(i, numbers.Integral) for i in array):
            array = np.array([i if 0 <= i < 2**31 else -1 for i in array])
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "`ids` must be a one-dimensional sequence of integers. "
            f"Received: shape={array.shape}, dtype={array.dtype}"
        )
    return array.astype(np.int64)


def _last(ticks: NDArray[np.int64]) -> int:
    return int(ticks[-1]) if len(ticks) else 0


def _pitch_name(pitch: int) -> str:
    return f"{PITCH_NAMES[pitch % 12]}{pitch // 12 - 1} ({pitch})"
