"""Performances as event ids, after Oore et al. (2018). NumPy alone.

The vocabulary, on one screen (`print(EventVocabulary())`):

| kind       | ids        | what one id says                                 |
| ---------- | ---------- | ------------------------------------------------ |
| pad        | 0          | nothing: fills a row of a batch                  |
| start      | 1          | a piece begins                                   |
| end        | 2          | a piece is over                                  |
| note on    | 3 .. 130   | this pitch begins, MIDI 0 to 127                 |
| note off   | 131 .. 258 | this pitch ends, MIDI 0 to 127                   |
| time shift | 259 .. 383 | 1 to `max_shift` steps of `time_step` seconds go by |
| velocity   | 384 .. 415 | how hard the notes that follow are struck        |

Times are seconds outside and whole steps inside. Each time is rounded to the
nearest step on the absolute grid, so an error never accumulates: it is at
most half a step anywhere. A gap longer than `max_shift` steps becomes several
longest shifts, then the remainder.

Within one step, notes that began earlier end first, by pitch; then each new
note, by pitch and start: its velocity, its note on and, where it is less than
a step long, its note off at once. So a pitch struck again at the step where
it ends, and notes shorter than half a step, all survive. Notes of one pitch
that overlap are cut where the next one begins: the events cannot say more.

Pad, start and end stand outside the events: `encode` never gives them and
`decode` passes over them.

Reference:
    Oore et al. (2018), "This Time with Feeling: Learning Expressive Musical
    Performance", section 3.
"""

from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from keras_pianogen.midi import NOTE_DTYPE
from keras_pianogen.midi import check_notes

PITCHES = 128
MAX_VELOCITY = 127
# A velocity for note-ons that no velocity event precedes (mezzo forte).
DEFAULT_VELOCITY = 64
# The longest performance, in seconds. Keeps a wrong time from becoming
# millions of time shifts.
MAX_SECONDS = 86_400.0

PITCH_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

NAMED: Mapping[str, Mapping[str, Any]] = {
    "pno-ai": {
        "time_step": 0.008,
        "max_shift": 125,
        "velocity_bins": 32,
        "velocity_on_change": False,
    },
    "magenta": {
        "time_step": 0.01,
        "max_shift": 100,
        "velocity_bins": 32,
        "velocity_on_change": True,
    },
}


@dataclass(frozen=True)
class DecodeReport:
    """What `EventVocabulary.decode` met that no performance encodes to.

    Args:
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

    Args:
        ids: event ids of all runs, int32, shape (events,).
        starts: where each run begins in `ids`, and the end: (runs + 1,).
        ons: where each note's note-on lies in `ids`, shape (notes,).
    """

    ids: NDArray[np.int32]
    starts: NDArray[np.int64]
    ons: NDArray[np.int64]


@dataclass(frozen=True)
class EventVocabulary:
    """Notes to event ids and back.

    Args:
        time_step: seconds in one step of time, above 0.
        max_shift: steps in the longest time shift, 1 or more.
        velocity_bins: number of velocity events, 1 to 127. Each covers
            `ceil(127 / velocity_bins)` neighbouring MIDI velocities.
        velocity_on_change: whether a velocity event comes only before notes
            whose bin differs from the note's before, or before every note.

    Examples:
        >>> vocabulary = EventVocabulary.named("pno-ai")
        >>> len(vocabulary), vocabulary.num_events
        (416, 413)
        >>> notes = np.array([(0.5, 0.75, 60, 80)], NOTE_DTYPE)
        >>> [vocabulary.describe(i) for i in vocabulary.encode(notes)]
        ['shift 504 ms', 'velocity 77-80', 'note on C4 (60)', \
'shift 248 ms', 'note off C4 (60)']

    Reference:
        Oore et al. (2018), section 3.2: 10 ms steps, 100 shifts, 32
        velocities, velocity on change: `EventVocabulary.named("magenta")`.
    """

    time_step: float = 0.008
    max_shift: int = 125
    velocity_bins: int = 32
    velocity_on_change: bool = False

    pad_id = 0
    start_id = 1
    end_id = 2
    note_on_id = 3
    note_off_id = note_on_id + PITCHES
    shift_id = note_off_id + PITCHES

    def __post_init__(self) -> None:
        if not 0 < self.time_step < MAX_SECONDS:
            raise ValueError(
                "`time_step` must be a number of seconds above 0. "
                f"Received: time_step={self.time_step}"
            )
        if not 1 <= self.max_shift:
            raise ValueError(
                "`max_shift` must be 1 step or more. "
                f"Received: max_shift={self.max_shift}"
            )
        if not 1 <= self.velocity_bins <= MAX_VELOCITY:
            raise ValueError(
                f"`velocity_bins` must be 1 to {MAX_VELOCITY}. "
                f"Received: velocity_bins={self.velocity_bins}"
            )

    @classmethod
    def named(cls, name: str) -> "EventVocabulary":
        """One of the named settings.

        Args:
            name: `"pno-ai"` (8 ms × 125, velocity before every note: 413
                events) or `"magenta"` (10 ms × 100, velocity on change: 388).

        Raises:
            ValueError: for any other name.
        """
        if name not in NAMED:
            raise ValueError(
                f"`name` must be one of {sorted(NAMED)}. Received: name={name!r}"
            )
        return cls(**NAMED[name])

    @property
    def velocity_id(self) -> int:
        """Id of the softest velocity."""
        return self.shift_id + self.max_shift

    @property
    def num_events(self) -> int:
        """Number of events, without pad, start and end."""
        return 2 * PITCHES + self.max_shift + self.velocity_bins

    def __len__(self) -> int:
        return self.note_on_id + self.num_events

    def get_config(self) -> dict[str, Any]:
        """The settings, as plain values for JSON."""
        return asdict(self)

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
            Event ids, int32, shape (events,), without pad, start and end.

        Raises:
            ValueError: if `notes` is no such array or lasts longer.
        """
        notes = check_notes(notes)
        if len(notes) and notes["end"].max() > MAX_SECONDS:
            raise ValueError(
                f"`notes` must end within {MAX_SECONDS:.0f} seconds. "
                f"Received: a note that ends at {notes['end'].max()} s"
            )
        return self.encode_runs(
            notes["start"],
            _cut_overlaps(notes),
            notes["pitch"],
            notes["velocity"],
            np.array([len(notes)]),
        ).ids

    def encode_runs(
        self,
        starts: NDArray[np.float64],
        ends: NDArray[np.float64],
        pitches: NDArray[np.uint8],
        velocities: NDArray[np.uint8],
        counts: NDArray[np.int64],
        origins: NDArray[np.int64] | None = None,
    ) -> EncodedRuns:
        """Encodes several runs of notes at once, with one sort for all.

        Nothing is checked: the notes of each run must be sorted by start,
        then pitch, and notes of one pitch must not overlap.

        Args:
            starts: seconds, shape (notes,), run after run.
            ends: seconds, shape (notes,).
            pitches: MIDI numbers, 0 to 127, shape (notes,).
            velocities: 1 to 127, shape (notes,).
            counts: number of notes in each run, shape (runs,).
            origins: the step at which each run's clock starts, shape
                (runs,), none later than the run's first note; 0 if not given.

        Returns:
            `EncodedRuns`.
        """
        counts = np.asarray(counts, np.int64)
        run_of_note = np.repeat(np.arange(len(counts)), counts)
        on_ticks, off_ticks = self.to_steps(starts), self.to_steps(ends)
        if origins is not None:
            base = origins[run_of_note]
            on_ticks, off_ticks = on_ticks - base, off_ticks - base
        # A note-on or note-off is one integer. Its fields, from the high bits
        # to the low ones, are what the events are sorted by: run, tick,
        # phase (0: ends a note that began earlier, 1: the rest), pitch,
        # index of the note, off; the velocity bin is carried along.
        num_notes = len(on_ticks)
        off_bit = self.velocity_bins.bit_length()
        index_bit = off_bit + 1
        pitch_bit = index_bit + num_notes.bit_length()
        tick_bit = pitch_bit + 8
        tick_bits = int(off_ticks.max(initial=0)).bit_length()
        run_bit = tick_bit + tick_bits
        if run_bit + len(counts).bit_length() > 63:
            raise ValueError(
                f"Too many notes at once: {num_notes} notes in {len(counts)} "
                f"runs of up to {2**tick_bits} steps. Encode fewer."
            )
        index = np.arange(num_notes) << index_bit
        same = (
            (run_of_note << run_bit)
            + (pitches.astype(np.int64) << pitch_bit)
            + index
        )
        late = 128 << pitch_bit  # phase 1
        keys = np.empty(2 * num_notes, np.int64)
        ons, offs = keys[:num_notes], keys[num_notes:]
        np.left_shift(on_ticks, tick_bit, out=ons)
        ons += same + self.to_bins(velocities) + late
        np.left_shift(off_ticks, tick_bit, out=offs)
        offs += same + (1 << off_bit)
        offs[on_ticks == off_ticks] += late
        keys.sort()

        is_off = (keys >> off_bit) & 1
        is_on = is_off == 0
        pitch = (keys >> pitch_bit) & 127
        tick = (keys >> tick_bit) & ((1 << tick_bits) - 1)
        ends_of_runs = np.cumsum(2 * counts)
        first = (ends_of_runs - 2 * counts)[counts > 0]
        wait = np.diff(tick, prepend=0)
        wait[first] = tick[first]
        shifts = (wait + (self.max_shift - 1)) // self.max_shift
        bins = keys & ((1 << off_bit) - 1)
        tells = is_on
        if self.velocity_on_change:
            tells = self._changes(bins, is_on, first)
        # Each note-on or note-off closes its own group of events:
        # shifts, velocity, then itself, at `place`.
        place = np.cumsum(shifts + tells + 1)
        starts_of_runs = np.append(0, place)[np.append(0, ends_of_runs)]
        place -= 1
        ids = np.full(
            starts_of_runs[-1], self.velocity_id - 1, np.int32
        )  # the longest shift, where nothing else is written
        ids[place] = self.note_on_id + pitch + PITCHES * is_off
        ids[(place - 1)[tells]] = self.velocity_id + bins[tells]
        moves = np.flatnonzero(shifts)
        rest = wait[moves] - (shifts[moves] - 1) * self.max_shift
        ids[place[moves] - tells[moves] - 1] = self.shift_id - 1 + rest
        note_ons = np.empty(num_notes, np.int64)
        index = (keys >> index_bit) & ((1 << (pitch_bit - index_bit)) - 1)
        note_ons[index[is_on]] = place[is_on]
        return EncodedRuns(ids, starts_of_runs, note_ons)

    def to_steps(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        """Seconds to whole steps, to the nearest one."""
        return np.floor(seconds / self.time_step + 0.5).astype(np.int64)

    def to_bins(self, velocities: NDArray[np.uint8]) -> NDArray[np.int64]:
        """MIDI velocities, 1 to 127, to bins, 0 to `velocity_bins` - 1."""
        return (velocities.astype(np.int64) - 1) // self._bin_width

    def to_velocities(self, bins: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Bins to the MIDI velocity at the middle of each."""
        low = np.minimum(bins * self._bin_width + 1, MAX_VELOCITY)
        high = np.minimum(low + self._bin_width - 1, MAX_VELOCITY)
        return ((low + high) // 2).astype(np.uint8)

    @property
    def _bin_width(self) -> int:
        return -(-MAX_VELOCITY // self.velocity_bins)

    @staticmethod
    def _changes(
        bins: NDArray[np.int64],
        is_on: NDArray[np.bool_],
        first: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Which note-ons have another bin than the one before in their run.

        Each run's first entry is a note-on, since a note begins before it
        ends: so `first` is where each run's velocity is still unknown.
        """
        ons = np.flatnonzero(is_on)
        changes = is_on.copy()
        changes[ons] = np.diff(bins[ons], prepend=-1) != 0
        changes[first] = True
        return changes

    # Ids to notes.

    def decode(
        self, ids: ArrayLike, return_report: bool = False
    ) -> NDArray[np.void] | tuple[NDArray[np.void], DecodeReport]:
        """The performance that a sequence of events describes.

        Every sequence of integers is one: note-offs of silent pitches, pad,
        start, end and unknown ids are passed over, a note-on of a sounding
        pitch ends the note before it, and notes that never end last until
        the last event. Notes before the first velocity get 64.

        Args:
            ids: integers, shape (events,).
            return_report: whether to return what was met as well.

        Returns:
            Notes, array of `NOTE_DTYPE`, sorted by start, then pitch; or
            `(notes, report)`, with a `DecodeReport`.

        Raises:
            ValueError: if `ids` is not a one-dimensional array of integers.
        """
        ids = _check_ids(ids)
        ticks = self._ticks(ids)
        notes_only = (ids >= self.note_on_id) & (ids < self.shift_id)
        where = np.flatnonzero(notes_only)
        code = ids[where] - self.note_on_id
        # One pitch after the other, each in order of time.
        pitch = (code % PITCHES).astype(np.uint8)
        order = np.argsort(pitch, kind="stable")
        where, pitch = where[order], pitch[order]
        is_on = code[order] < PITCHES
        tick = ticks[where]

        last = np.append(pitch[1:] != pitch[:-1], True)
        next_on = np.append(is_on[1:], False)
        until = np.where(last, self._last_tick(ticks), np.append(tick[1:], 0))
        stray = ~is_on & np.append(True, last[:-1] | ~is_on[:-1])[: len(is_on)]

        start, end, where = tick[is_on], until[is_on], where[is_on]
        pitch = pitch[is_on]
        by_start = np.lexsort((where, pitch, start))
        notes = np.empty(len(start), NOTE_DTYPE)
        notes["start"] = start[by_start] * self.time_step
        notes["end"] = end[by_start] * self.time_step
        notes["pitch"] = pitch[by_start]
        notes["velocity"] = self._velocities(ids, where[by_start])
        if not return_report:
            return notes
        return notes, DecodeReport(
            stray_offs=int(stray.sum()),
            unended_notes=int((is_on & last).sum()),
            restruck_notes=int((is_on & ~last & next_on).sum()),
            unknown_ids=int(((ids < 0) | (ids >= len(self))).sum()),
        )

    def times(self, ids: ArrayLike) -> NDArray[np.float64]:
        """When each event happens, in seconds, shape (events,).

        A time shift happens when it is over.
        """
        return self._ticks(_check_ids(ids)) * self.time_step

    def duration(self, ids: ArrayLike) -> float:
        """Seconds from the first event to the last."""
        return float(self._last_tick(self._ticks(_check_ids(ids)))) * (
            self.time_step
        )

    def _ticks(self, ids: NDArray[np.integer]) -> NDArray[np.int64]:
        shifts = (ids >= self.shift_id) & (ids < self.velocity_id)
        steps = np.where(shifts, ids.astype(np.int64) - (self.shift_id - 1), 0)
        return np.cumsum(steps)

    @staticmethod
    def _last_tick(ticks: NDArray[np.int64]) -> int:
        return int(ticks[-1]) if len(ticks) else 0

    def _velocities(
        self, ids: NDArray[np.integer], ons: NDArray[np.int64]
    ) -> NDArray[np.uint8]:
        """The velocity in force at each of the events `ons`."""
        said = np.flatnonzero((ids >= self.velocity_id) & (ids < len(self)))
        bins = ids[said].astype(np.int64) - self.velocity_id
        velocities = np.append(DEFAULT_VELOCITY, self.to_velocities(bins))
        return velocities[np.searchsorted(said, ons)].astype(np.uint8)

    # For people.

    def describe(self, event_id: int) -> str:
        """One event in words: `"note on C4 (60)"`, `"shift 80 ms"`.

        Args:
            event_id: 0 to `len(self)` - 1.

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
            steps = event_id - self.shift_id + 1
            return f"shift {steps * self.time_step * 1000:g} ms"
        return "velocity " + self._velocity_range(event_id - self.velocity_id)

    def _velocity_range(self, velocity_bin: int) -> str:
        low = min(velocity_bin * self._bin_width + 1, MAX_VELOCITY)
        high = min(low + self._bin_width - 1, MAX_VELOCITY)
        return str(low) if low == high else f"{low}-{high}"

    def table(self) -> str:
        """The vocabulary as a table: kind, ids, count, meaning."""
        step = f"{self.time_step * 1000:g} ms"
        longest = f"{self.max_shift * self.time_step * 1000:g} ms"
        when = "when it changes" if self.velocity_on_change else "every note"
        rows = [
            ("pad", self.pad_id, 1, "fills a row of a batch"),
            ("start", self.start_id, 1, "a piece begins"),
            ("end", self.end_id, 1, "a piece is over"),
            ("note on", self.note_on_id, PITCHES, "pitch 0 to 127"),
            ("note off", self.note_off_id, PITCHES, "pitch 0 to 127"),
            ("time shift", self.shift_id, self.max_shift,
             f"{step} to {longest}"),
            ("velocity", self.velocity_id, self.velocity_bins,
             f"1 to 127 by {self._bin_width}, before {when}"),
        ]  # fmt: skip
        lines = [f"{'kind':<11}{'ids':<11}{'count':>5}  meaning"]
        for kind, first, count, meaning in rows:
            ids = str(first) if count == 1 else f"{first}-{first + count - 1}"
            lines.append(f"{kind:<11}{ids:<11}{count:>5}  {meaning}")
        lines.append(f"{'in all':<11}{'':<11}{len(self):>5}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def _cut_overlaps(notes: NDArray[np.void]) -> NDArray[np.float64]:
    """The end of each note, or the next start of its pitch if that is first."""
    order = np.argsort(notes["pitch"], kind="stable")
    pitch, start = notes["pitch"][order], notes["start"][order]
    ends = notes["end"][order]
    same = pitch[1:] == pitch[:-1]
    ends[:-1][same] = np.minimum(ends[:-1], start[1:])[same]
    cut = np.empty(len(notes), np.float64)
    cut[order] = ends
    return cut


def _check_ids(ids: ArrayLike) -> NDArray[np.integer]:
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            "`ids` must be a one-dimensional array of integers. "
            f"Received: shape={array.shape}, dtype={array.dtype}"
        )
    return array


def _pitch_name(pitch: int) -> str:
    return f"{PITCH_NAMES[pitch % 12]}{pitch // 12 - 1} ({pitch})"
