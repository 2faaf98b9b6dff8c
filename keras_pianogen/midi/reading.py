"""MIDI files, bytes and library objects to notes in seconds, and back.

A note is `start` and `end` (seconds, 0 and above), `pitch` (MIDI number, 0 to
127) and `velocity` (1 to 127). A performance is a one-dimensional NumPy array
of `NOTE_DTYPE`, sorted by start, then pitch. Its pedal, which the ends of its
notes hold already, can be read by itself: an array of `PEDAL_DTYPE`.

How a performance is read, whoever reads it:

- A note-off, or a note-on of velocity 0, ends the oldest open note of its
  track, channel and pitch. A note that nothing ends is left out.
- The sustain pedal is CC64 alone, down at 64 and above. A key released while
  the pedal is down (by the last movement up to that very tick) sounds on to
  the pedal's next release; a pedal never released ends with the last key
  release or pedal movement of the file. CC66 and CC67 are not sustain.
- A pedal acts on its channel, in whatever track it stands. The objects of
  miditoolkit and symusic forget channels: there, parts of one program share
  one pedal.
- Notes of one pitch never overlap: an earlier note ends at the next start of
  its pitch. Notes of one pitch and one start are merged into one, as long as
  the longest and as loud as the loudest.
- All tracks, channels and programs are played together on one piano, except
  drums (channel 10), which are left out, and said to be.
- Ticks become seconds by the tempos of all tracks, in order of time; 120 beats
  a minute until the first; the last one at a tick holds.
"""

import dataclasses
import logging
import typing

import numpy as np

from keras_pianogen.midi.parsing import END
from keras_pianogen.midi.parsing import PEDAL_DOWN
from keras_pianogen.midi.parsing import PEDAL_VOICE
from keras_pianogen.midi.parsing import PITCH
from keras_pianogen.midi.parsing import PROGRAM
from keras_pianogen.midi.parsing import START
from keras_pianogen.midi.parsing import TICK
from keras_pianogen.midi.parsing import VELOCITY
from keras_pianogen.midi.parsing import VOICE
from keras_pianogen.midi.parsing import _check_movements
from keras_pianogen.midi.parsing import _Movements
from keras_pianogen.midi.parsing import _open
from keras_pianogen.midi.parsing import _seconds
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class MidiReport:
    """What `read_notes` left out, merged, or played on the piano regardless.

    Attributes:
        drum_notes: number of notes left out because a drum plays them.
        merged_notes: number of notes merged into another one of the same
            pitch and start.
        other_programs: number of notes of each program that is not a piano
            (General MIDI program, 8 to 127): they are kept.
    """

    drum_notes: int = 0
    merged_notes: int = 0
    other_programs: dict[int, int] = dataclasses.field(default_factory=dict)


@typing.overload
def read_notes(
    source: object,
    *,
    sustain: bool = ...,
    return_report: typing.Literal[False] = ...,
) -> np.ndarray: ...
@typing.overload
def read_notes(
    source: object,
    *,
    sustain: bool = ...,
    return_report: typing.Literal[True],
) -> tuple[np.ndarray, MidiReport]: ...
def read_notes(
    source: object, *, sustain: bool = True, return_report: bool = False
) -> np.ndarray | tuple[np.ndarray, MidiReport]:
    """Reads a MIDI performance as notes in seconds.

    Notes left out because a drum plays them are counted in the report, or,
    where no report is asked for, in a warning of the
    `keras_pianogen.midi.reading` logger.

    Args:
        source: a path, the bytes of a file, a `miditoolkit.MidiFile` or a
            `symusic.Score`.
        sustain: whether the sustain pedal lengthens notes; if not, a note
            ends where its key is released.
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

    Examples:
        >>> from keras_pianogen.midi import NOTE_DTYPE, write_midi
        >>> notes = np.array([(0.0, 0.5, 60, 80)], dtype=NOTE_DTYPE)
        >>> read_notes(write_midi(notes)).tolist()
        [(0.0, 0.5, 60, 80)]
    """
    name, played = _open(source)
    _check_movements(name, played)
    keys = played.keys
    if sustain:
        keys[END] = _sustained_ends(keys, played.pedals)
    merged = _one_note_at_a_time(keys)
    notes = np.empty(merged.shape[1], NOTE_DTYPE)
    notes["start"] = _seconds(merged[START], played)
    notes["end"] = _seconds(merged[END], played)
    notes["pitch"] = merged[PITCH]
    notes["velocity"] = merged[VELOCITY]
    if return_report:
        return notes, _report(played, keys.shape[1] - len(notes))
    if played.drum_notes:
        logger.warning("%s: %d drum notes left out", name, played.drum_notes)
    return notes


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
    name, played = _open(source)
    _check_movements(name, played)
    start, end = _pedal_spans(played.keys, played.pedals)
    pedal = np.empty(len(start), PEDAL_DTYPE)
    pedal["start"] = _seconds(start, played)
    pedal["end"] = _seconds(end, played)
    return pedal


def _sustained_ends(keys: np.ndarray, pedals: np.ndarray) -> np.ndarray:
    """The ends of notes as the pedal of each voice lengthens them."""
    ends = keys[END].copy()
    last = max(ends.max(), pedals[TICK].max(initial=0))
    for voice in np.unique(pedals[PEDAL_VOICE]):
        mine = keys[VOICE] == voice
        tick, down = _pedal_of(pedals, voice)
        past = np.searchsorted(tick, ends[mine], side="right")
        next_up = np.append(np.where(down, last, tick), last)
        next_up = np.minimum.accumulate(next_up[::-1])[::-1]
        is_down = np.append(False, down)[past]
        ends[mine] = np.where(is_down, next_up[past], ends[mine])
    return ends


def _pedal_of(pedals: np.ndarray, voice: int) -> tuple[np.ndarray, np.ndarray]:
    """A voice's movements in order: their ticks, and whether they are down."""
    tick, value, _ = pedals[:, pedals[PEDAL_VOICE] == voice]
    order = np.argsort(tick, kind="stable")
    return tick[order], value[order] >= PEDAL_DOWN


def _pedal_spans(
    keys: np.ndarray, pedals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last ticks of when the pedal of any voice is down."""
    last = max(keys[END].max(), pedals[TICK].max(initial=0))
    edges = []
    for voice in np.unique(keys[VOICE]):
        tick, down = _pedal_of(pedals, voice)
        edges.append(tick[np.diff(down, prepend=False)])
        if down[-1:].any():
            edges.append(np.array([last]))
    spans = np.concatenate(edges).reshape(-1, 2)
    spans = spans[spans[:, 0] < spans[:, 1]]
    start, end = spans[np.argsort(spans[:, 0])].T
    apart = np.ones(len(start), bool)
    apart[1:] = start[1:] >= np.maximum.accumulate(end)[:-1]
    first = np.flatnonzero(apart)
    return start[first], np.maximum.reduceat(end, first)


def _one_note_at_a_time(keys: np.ndarray) -> np.ndarray:
    """Sorts, merges notes of one pitch and start, cuts at the next start."""
    pitch = keys[PITCH].astype(np.uint8)  # sorted by radix, in linear time
    keys = keys[:, np.lexsort((pitch, keys[START]))]
    new = (np.diff(keys[START]) != 0) | (np.diff(keys[PITCH]) != 0)
    first = np.flatnonzero(np.append(True, new))
    merged = keys[:, first]
    merged[END] = np.maximum.reduceat(keys[END], first)
    merged[VELOCITY] = np.maximum.reduceat(keys[VELOCITY], first)
    order = np.argsort(merged[PITCH].astype(np.uint8), kind="stable")
    again = np.diff(merged[PITCH, order]) == 0
    note, following = order[:-1][again], order[1:][again]
    merged[END, note] = np.minimum(merged[END, note], merged[START, following])
    return merged


def _report(played: _Movements, merged_notes: int) -> MidiReport:
    programs, counts = np.unique(played.keys[PROGRAM], return_counts=True)
    pairs = zip(programs.tolist(), counts.tolist(), strict=True)
    others = {program: count for program, count in pairs if program > 7}
    return MidiReport(played.drum_notes, merged_notes, others)
