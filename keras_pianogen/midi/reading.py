"""MIDI files, bytes and library objects to notes in seconds, and back.

A note is `start` and `end` (seconds, 0 and above), `pitch` (MIDI number, 0 to
127) and `velocity` (1 to 127). A performance is a one-dimensional NumPy array
of `NOTE_DTYPE`, sorted by start, then pitch. Its pedal, which the ends of its
notes hold already, can be read by itself: an array of `PEDAL_DTYPE`.

How a performance is read, whoever reads it:

- A note-off, or a note-on of velocity 0, ends the open note of its track,
  channel and pitch. A note whose key is struck again ends there, and takes no
  later note-off with it. A key that is held to the end of its track ends with
  the track. Both are counted in the report.
- Events of one tick count in the order of the tracks, and within a track in
  the order of the file. One order has a rule of its own: a key that sounds, is
  struck again and then released on one tick. The release is the older note's.
  Notation programs write repeated notes that way, and a note of no length
  would be the other meaning.
- The sustain pedal is CC64 alone, down at 64 and above. A key released while
  the pedal is down sounds on to the pedal's next release; a pedal never
  released ends with the last key release or pedal movement of the file. CC66
  and CC67 are not sustain.
- A pedal acts on its channel, in whatever track it stands. So do CC120, which
  ends all notes, CC121, which lifts the pedal, and CC123 to CC127, which
  release all keys. The objects of miditoolkit and symusic forget channels:
  there, parts of one program share one pedal, and on each tick pedals move
  before keys are released.
- Notes of one pitch never overlap: an earlier note ends at the next start of
  its pitch. Notes of one pitch and one start are merged into one, as long as
  the longest and as loud as the loudest.
- All tracks, channels and programs are played together on one piano, except
  drums (channel 10), which are left out, and said to be.
- Ticks become seconds by the tempos of all tracks, in order of time; 120 beats
  a minute until the first; the last one at a tick holds.
"""

import collections
import dataclasses
import logging
import math
import typing

import numpy as np

from keras_pianogen.bounds import Real
from keras_pianogen.midi.movements import CUT
from keras_pianogen.midi.movements import MOMENT
from keras_pianogen.midi.movements import PEDAL_VOICE
from keras_pianogen.midi.movements import PITCH
from keras_pianogen.midi.movements import PLACE_BITS
from keras_pianogen.midi.movements import PRESS
from keras_pianogen.midi.movements import PROGRAM
from keras_pianogen.midi.movements import RELEASE
from keras_pianogen.midi.movements import VELOCITY
from keras_pianogen.midi.movements import VOICE
from keras_pianogen.midi.movements import Movements
from keras_pianogen.midi.parsing import open_source
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.notes import cut_overlaps

PEDAL_DOWN = 64  # of 0 to 127
ABOVE_ZERO = Real(0, math.inf, above=True)
LONG_RING = 20.0  # seconds after the release of its key

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class MidiReport:
    """What `read_notes` left out, merged, mended or found strange.

    Attributes:
        drum_notes: number of notes left out because a drum plays them.
        merged_notes: number of notes that became one with another of their
            pitch and start.
        other_programs: number of notes of each program that is not a piano
            (General MIDI program, 8 to 127): they are kept.
        repairs: number of repairs of each kind, such as note-offs that never
            came. The music is read as any player would.
        ringing_notes: number of notes that the pedal holds for more than 20
            seconds after their key's release. `max_ring` limits that.
        unlifted_pedals: number of pedals that hold notes, and that are never
            lifted once they were pressed.
    """

    drum_notes: int = 0
    merged_notes: int = 0
    other_programs: dict[int, int] = dataclasses.field(default_factory=dict)
    repairs: dict[str, int] = dataclasses.field(default_factory=dict)
    ringing_notes: int = 0
    unlifted_pedals: int = 0

    def __add__(self, other: "MidiReport") -> "MidiReport":
        """The report of two sources together."""
        sums: dict[str, typing.Any] = {}
        for name, mine in vars(self).items():
            theirs = getattr(other, name)
            if isinstance(mine, dict):
                counter = collections.Counter(mine)
                counter.update(theirs)
                sums[name] = dict(counter)
            else:
                sums[name] = mine + theirs
        return MidiReport(**sums)

    @classmethod
    def from_dict(cls, values: dict[str, typing.Any]) -> "MidiReport":
        """The reverse of `dataclasses.asdict`, also of what JSON kept of it."""
        programs = values["other_programs"].items()
        programs = {int(program): count for program, count in programs}
        return cls(**values | {"other_programs": programs})

    def warnings(self) -> list[str]:
        """What a user should know, in words, a line for each."""
        lines = [f"{count:,} {kind}" for kind, count in self.repairs.items()]
        if self.drum_notes:
            lines.append(f"{self.drum_notes:,} drum notes left out")
        if self.ringing_notes:
            lines.append(
                f"{self.ringing_notes:,} notes held by the pedal for over "
                f"{LONG_RING:.0f} s"
            )
        if self.unlifted_pedals:
            lines.append(f"{self.unlifted_pedals:,} pedals that never lift")
        return lines


@typing.overload
def read_notes(
    source: object,
    *,
    sustain: bool = ...,
    max_ring: float | None = ...,
    return_report: typing.Literal[False] = ...,
) -> np.ndarray: ...
@typing.overload
def read_notes(
    source: object,
    *,
    sustain: bool = ...,
    max_ring: float | None = ...,
    return_report: typing.Literal[True],
) -> tuple[np.ndarray, MidiReport]: ...
def read_notes(
    source: object,
    *,
    sustain: bool = True,
    max_ring: float | None = None,
    return_report: bool = False,
) -> np.ndarray | tuple[np.ndarray, MidiReport]:
    """Reads a MIDI performance as notes in seconds.

    Where no report is asked for, what it would say is a warning of the
    `keras_pianogen.midi.reading` logger.

    Args:
        source: a path, the bytes of a file, a `miditoolkit.MidiFile` or a
            `symusic.Score`. A path gives more than these objects, which have
            lost the order of events within a tick, see `midi.objects`.
        sustain: whether the sustain pedal lengthens notes; if not, a note
            ends where its key is released.
        max_ring: seconds, above 0, for which the pedal holds a note at most
            after its key is released. Defaults to `None`, no limit.
        return_report: whether to return a `MidiReport` beside the notes.

    Returns:
        The notes, an array of `NOTE_DTYPE` sorted by start, then pitch; or
        `(notes, report)`.

    Raises:
        MidiError: the source is broken, holds no piano notes, or is beyond a
            limit of this module.
        OSError: the path can't be opened (`FileNotFoundError`,
            `IsADirectoryError`, ...).
        TypeError: the source is of no such kind.
        ValueError: `max_ring` is not above 0.

    Examples:
        >>> from keras_pianogen.midi import NOTE_DTYPE, write_midi
        >>> notes = np.array([(0.0, 0.5, 60, 80)], dtype=NOTE_DTYPE)
        >>> read_notes(write_midi(notes)).tolist()
        [(0.0, 0.5, 60, 80)]
    """
    check_max_ring(max_ring)
    name, played = open_source(source)
    keys = played.keys
    released = played.seconds(keys[RELEASE] >> PLACE_BITS)
    ends = sustained_ends(played) if sustain else keys[RELEASE] >> PLACE_BITS
    ends = played.seconds(ends)
    ringing = int((ends - released > LONG_RING).sum())
    if max_ring is not None:
        ends = np.minimum(ends, released + max_ring)
    notes = one_note_at_a_time(played, ends)
    report = _report(played, keys.shape[1] - len(notes), ringing)
    if return_report:
        return notes, report
    if report.warnings():
        logger.warning("%s: %s", name, "; ".join(report.warnings()))
    return notes


def check_max_ring(max_ring: float | None) -> None:
    """Refuses a limit of ringing that is not above 0 s."""
    if max_ring is not None and max_ring not in ABOVE_ZERO:
        raise ValueError(
            f"`max_ring` must be above 0 s. Received: max_ring={max_ring!r}"
        )


def read_pedal(source: object) -> np.ndarray:
    """Reads when the sustain pedal is down, by the rules of `read_notes`.

    The pedals of all channels that have notes are one: it is down while any of
    them is.

    Args:
        source: what `read_notes` takes.

    Returns:
        Spans in seconds, an array of `PEDAL_DTYPE` sorted by start, each
        longer than 0 s. None overlap; where the pedal is changed in no time,
        one ends as the next begins. Music that `write_midi` wrote has none.

    Raises:
        MidiError, OSError, TypeError: as `read_notes` does.

    Examples:
        >>> import miditoolkit
        >>> from keras_pianogen.midi import NOTE_DTYPE, write_midi
        >>> notes = np.array([(0.0, 0.5, 60, 80)], dtype=NOTE_DTYPE)
        >>> file = write_midi(notes)
        >>> file.instruments[0].control_changes = [
        ...     miditoolkit.ControlChange(64, 127, 100),
        ...     miditoolkit.ControlChange(64, 0, 600),
        ... ]
        >>> read_pedal(file).tolist()
        [(0.1, 0.6)]
    """
    _, played = open_source(source)
    start, end = _pedal_spans(played)
    pedal = np.empty(len(start), PEDAL_DTYPE)
    pedal["start"] = played.seconds(start)
    pedal["end"] = played.seconds(end)
    return pedal


def sustained_ends(played: Movements) -> np.ndarray:
    """The ticks at which notes end as the pedal of each voice holds them."""
    keys, pedals = played.keys, played.pedals
    ends = keys[RELEASE] >> PLACE_BITS
    for voice in np.unique(pedals[PEDAL_VOICE]):
        mine = keys[VOICE] == voice
        moment, down, stops = _pedal_of(pedals, voice)
        past = np.searchsorted(moment, keys[RELEASE, mine])
        stop = np.where(stops, moment >> PLACE_BITS, played.last_tick)
        stop = np.append(stop, played.last_tick)
        stop = np.minimum.accumulate(stop[::-1])[::-1]
        is_down = np.append(False, down)[past]
        ends[mine] = np.where(is_down, stop[past], ends[mine])
    return ends


def _pedal_of(
    pedals: np.ndarray, voice: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A voice's movements in order.

    Returns:
        Their moments; whether the pedal is down after each; and whether each
        ends the notes that ring.
    """
    mine = pedals[:, pedals[PEDAL_VOICE] == voice]
    moment, value, _ = mine[:, np.argsort(mine[MOMENT], kind="stable")]
    moves = value != CUT
    down = np.append(False, value[moves] >= PEDAL_DOWN)[np.cumsum(moves)]
    return moment, down, ~down | ~moves


def _pedal_spans(played: Movements) -> tuple[np.ndarray, np.ndarray]:
    """First and last ticks of when the pedal of any voice is down."""
    edges = []
    for voice in np.unique(played.keys[VOICE]):
        moment, down, _ = _pedal_of(played.pedals, voice)
        changes = moment[np.diff(down, prepend=False)]
        edges.append(changes >> PLACE_BITS)
        if down[-1:].any():
            edges.append(np.array([played.last_tick]))
    spans = np.concatenate(edges).reshape(-1, 2)
    spans = spans[spans[:, 0] < spans[:, 1]]
    start, end = spans[np.argsort(spans[:, 0])].T
    apart = np.ones(len(start), bool)
    apart[1:] = start[1:] >= np.maximum.accumulate(end)[:-1]
    first = np.flatnonzero(apart)
    return start[first], np.maximum.reduceat(end, first)


def one_note_at_a_time(played: Movements, ends: np.ndarray) -> np.ndarray:
    """Sorts, merges notes of one pitch and start, cuts at the next start.

    Args:
        played: its keys are the notes.
        ends: seconds at which the notes end, (notes,).

    Returns:
        An array of `NOTE_DTYPE`.
    """
    start, pitch = played.keys[PRESS] >> PLACE_BITS, played.keys[PITCH]
    pitch = pitch.astype(np.uint8)  # sorted by radix, in linear time
    order = np.lexsort((pitch, start))
    start, pitch, ends = start[order], pitch[order], ends[order]
    new = (np.diff(start) != 0) | (np.diff(pitch) != 0)
    first = np.flatnonzero(np.append(True, new))
    notes = np.empty(len(first), NOTE_DTYPE)
    notes["start"] = played.seconds(start[first])
    notes["pitch"] = pitch[first]
    velocity = played.keys[VELOCITY, order]
    notes["velocity"] = np.maximum.reduceat(velocity, first)
    notes["end"] = np.maximum.reduceat(ends, first)
    notes["end"] = cut_overlaps(notes)
    return notes


def _unlifted_pedals(played: Movements) -> int:
    """How many pedals hold keys, and stay down once they are pressed."""
    count = 0
    for voice in np.unique(played.pedals[PEDAL_VOICE]):
        moment, down, stops = _pedal_of(played.pedals, voice)
        first = int(np.argmax(down))
        if down.any() and not stops[first:].any():
            mine = played.keys[VOICE] == voice
            count += bool((played.keys[RELEASE, mine] > moment[first]).any())
    return count


def _report(played: Movements, merged_notes: int, ringing: int) -> MidiReport:
    programs, counts = np.unique(played.keys[PROGRAM], return_counts=True)
    pairs = zip(programs.tolist(), counts.tolist(), strict=True)
    return MidiReport(
        drum_notes=played.drum_notes,
        merged_notes=merged_notes,
        other_programs={program: n for program, n in pairs if program > 7},
        repairs=dict(played.repairs),
        ringing_notes=ringing,
        unlifted_pedals=_unlifted_pedals(played),
    )
