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

One guard stands before both libraries. Files are untrusted: whatever is wrong
with one, `MidiError` says what was expected and what was found. symusic reads
a file's long track in bulk where its 32-bit ticks can't overflow and no
channel is in doubt; everything else is walked here event by event.
"""

import collections
import dataclasses
import io
import logging
import os
import pathlib
import struct
import typing
from collections.abc import Iterator

import miditoolkit
import numpy as np
import symusic

NOTE_DTYPE = np.dtype(
    [("start", "f8"), ("end", "f8"), ("pitch", "u1"), ("velocity", "u1")]
)
PEDAL_DTYPE = np.dtype([("start", "f8"), ("end", "f8")])

# MAESTRO's longest performance: 44 minutes, 360 KB, 28,000 notes, 2 tracks.
MAX_BYTES = 5_000_000  # read whole; 1.5 seconds of work at the very worst
MAX_TRACKS = 64  # an orchestra's score; libraries slow down with empty tracks
MAX_NOTES = 200_000  # 28 notes a second for two hours
MAX_SECONDS = 7_200.0  # two hours: a delta of four bytes can claim days
MAX_TICK = 2**31 - 1  # the last tick that symusic can count
MAX_TEMPO = 2**24 - 1  # microseconds a beat, three bytes in a file

SUSTAIN = 64  # the controller of the damper pedal
PEDAL_DOWN = 64  # of 0 to 127
DRUM_CHANNEL = 9  # "channel 10", counted from zero
DEFAULT_TEMPO = 500_000  # microseconds a beat, until a file sets its own

logger = logging.getLogger(__name__)


class MidiError(ValueError):
    """What was read is not a MIDI performance within this module's limits.

    The message names the file, what was expected and what was found.
    """


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
    where no report is asked for, in a warning of the `keras_pianogen.midi`
    logger.

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


def write_midi(
    notes: np.ndarray,
    path: str | os.PathLike | None = None,
    *,
    ticks_per_beat: int = 500,
    program: int = 0,
    name: str = "Piano",
) -> miditoolkit.MidiFile:
    """Writes notes as MIDI: one track, channel 0, 120 beats a minute.

    Times are rounded to the nearest tick, of one millisecond by default.
    Every note is at least a tick long and ends by the next start of its
    pitch; where two notes of one pitch fall on one tick, the later one starts
    a tick later. The file appears whole or not at all.

    Args:
        notes: an array of `NOTE_DTYPE`, times at most 7,200 s, at most
            200,000 notes.
        path: where to write the file; by default none is written.
        ticks_per_beat: ticks in half a second, 1 to 32767.
        program: General MIDI program, 0 (grand piano) to 127.
        name: the track's name, in Latin-1.

    Returns:
        A `miditoolkit.MidiFile`.

    Raises:
        ValueError: an argument is out of its range.

    Examples:
        >>> notes = np.array([(0.0, 0.5, 60, 80)], dtype=NOTE_DTYPE)
        >>> write_midi(notes).instruments[0].notes
        [Note(velocity=80, pitch=60, start=0, end=500)]
    """
    notes = check_notes(notes)
    _check_writable(notes, ticks_per_beat, program, name)
    start, end = _ticks(notes, 2 * ticks_per_beat)
    columns = notes["velocity"], notes["pitch"], start, end
    piano = miditoolkit.Instrument(program, name=name)
    piano.notes = [
        miditoolkit.Note(*note)
        for note in zip(*(column.tolist() for column in columns), strict=True)
    ]
    file = miditoolkit.MidiFile(ticks_per_beat=ticks_per_beat)
    file.tempo_changes = [miditoolkit.TempoChange(120, 0)]
    file.time_signature_changes = [miditoolkit.TimeSignature(4, 4, 0)]
    file.instruments = [piano]
    file.max_tick = int(end.max(initial=0)) + 1
    if path is not None:
        _save(file, pathlib.Path(path))
    return file


def check_notes(notes: np.ndarray) -> np.ndarray:
    """Checks an array of notes and sorts a copy by start, then pitch.

    Args:
        notes: a one-dimensional structured array with the fields of
            `NOTE_DTYPE`, of any numeric types.

    Returns:
        The notes as a new array of `NOTE_DTYPE`.

    Raises:
        ValueError: the fields are not there, or a value is out of range.

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


def check_pedal(pedal: np.ndarray) -> np.ndarray:
    """Checks spans of a pedal.

    Args:
        pedal: as `read_pedal` returns it.

    Returns:
        The spans, a new array of `PEDAL_DTYPE`, sorted by start.

    Raises:
        ValueError: they are no such spans.
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


# What every reader fills in, before any rule is applied.
START, END, PITCH, VELOCITY, VOICE, PROGRAM = range(6)  # rows of `keys`
TICK, VALUE, PEDAL_VOICE = range(3)  # rows of `pedals`
TEMPO, END_OF_TRACK = 0xFF51, 0xFF2F  # the two meta events that count here
DATA_BYTES = {status: 2 for status in range(0x80, 0xF0)}  # after a status
DATA_BYTES |= {status: 1 for status in range(0xC0, 0xE0)}
DATA_BYTES |= {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0}
DATA_BYTES |= {status: 0 for status in range(0xF8, 0xFF)}


@dataclasses.dataclass
class _Movements:
    """The movements of a file's keys and pedals, before any rule is applied.

    Times are in ticks, tempos in microseconds a beat. A voice is what one
    pedal acts on: a channel, or a program where channels are not known.
    """

    ticks_per_beat: int
    keys: np.ndarray  # int64 (6, notes), rows START, END, ...
    pedals: np.ndarray  # int64 (3, movements), rows TICK, VALUE, ...
    tempos: np.ndarray  # int64 (3, changes): tick, track, tempo
    drum_notes: int
    last_tick: int


def _open(source: object) -> tuple[str, _Movements]:
    """The name of a source in messages, and what is played in it."""
    if isinstance(source, str | os.PathLike):
        path = pathlib.Path(source)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        return str(path), _parse(str(path), data)
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>", _parse("<bytes>", bytes(source))
    if isinstance(source, miditoolkit.MidiFile):
        return "<MidiFile>", _from_miditoolkit("<MidiFile>", source)
    if isinstance(source, symusic.Score):
        return "<Score>", _from_symusic(source.to("tick"))
    raise TypeError(
        "`source` must be a path, bytes, a miditoolkit.MidiFile or a "
        f"symusic.Score. Received: {type(source).__name__}"
    )


def _parse(name: str, data: bytes) -> _Movements:
    """Reads a file's bytes: its longest track in bulk where that is safe."""
    ticks_per_beat, tracks = _chunks(name, data)
    longest = max(range(len(tracks)), key=lambda index: len(tracks[index]))
    parts = [
        _walk(name, ticks_per_beat, index, track)
        for index, track in enumerate(tracks)
        if index != longest
    ]
    main = None
    if not any(part.keys.size or part.pedals.size for part in parts):
        main = _in_bulk(ticks_per_beat, longest, tracks[longest])
    if main is None:
        main = _walk(name, ticks_per_beat, longest, tracks[longest])
    parts.append(main)
    return _Movements(
        ticks_per_beat,
        np.concatenate([part.keys for part in parts], axis=1),
        np.concatenate([part.pedals for part in parts], axis=1),
        np.concatenate([part.tempos for part in parts], axis=1),
        sum(part.drum_notes for part in parts),
        max(part.last_tick for part in parts),
    )


def _chunks(name: str, data: bytes) -> tuple[int, list[bytes]]:
    """Splits a file into its division and the bytes of its tracks."""
    if not data:
        raise MidiError(f"{name} is empty. Expected a MIDI file")
    if len(data) > MAX_BYTES:
        raise MidiError(
            f"{name} is too large. Expected at most {MAX_BYTES:,} bytes"
        )
    if len(data) < 14 or data[:4] != b"MThd":
        raise MidiError(
            f"{name} is not a MIDI file. Expected a header of 14 bytes that "
            f"begins with b'MThd'. Found {len(data)} bytes: {data[:14]!r}"
        )
    length, form, declared, division = struct.unpack_from(">IHHH", data, 4)
    separate = form == 2 and declared > 1
    for good, expected, found in (
        (length == 6, "a header length of 6", length),
        (form <= 2 and not separate, "one piece (format 0 or 1)", form),
        (0 < division, "a division above 0", division),
        (division < 0x8000, "ticks a beat, not SMPTE", division - 65536),
    ):
        if not good:
            raise MidiError(f"{name}: expected {expected}. Found {found}")
    return division, _tracks(name, data, declared)


def _tracks(name: str, data: bytes, declared: int) -> list[bytes]:
    tracks: list[bytes] = []
    place = 14
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(">4sI", data, place)
        place += 8
        if size > len(data) - place:
            if len(tracks) >= declared:
                break  # the tracks are all here: what follows is no MIDI
            raise MidiError(
                f"{name}: expected {size:,} bytes in chunk {kind!r} at byte "
                f"{place - 8:,}. Found {len(data) - place:,}"
            )
        if kind == b"MTrk":
            tracks.append(data[place : place + size])
        if len(tracks) > MAX_TRACKS:
            raise MidiError(
                f"{name}: expected at most {MAX_TRACKS} tracks. Found more"
            )
        place += size
    if not tracks:
        raise MidiError(f"{name}: expected a track (b'MTrk'). Found none")
    return tracks


def _in_bulk(
    ticks_per_beat: int, index: int, track: bytes
) -> _Movements | None:
    """Reads one track with symusic; None where the walk must decide."""
    if not _is_plain(track):
        return None
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, ticks_per_beat)
    start = struct.pack(">4sI", b"MTrk", len(track))
    # symusic reads a short tempo event beyond the end of its track.
    end = bytes(16)
    try:
        score = symusic.Score.from_midi(header + start + track + end)
    except Exception:
        return None  # whatever the parser says, the walk says it better
    played = [part for part in score.tracks if part.notes and not part.is_drum]
    if len(played) != 1:
        return None  # maybe several channels
    if len(score.tempos) != track.count(b"\xff\x51\x03"):
        return None  # maybe a malformed tempo
    return _from_symusic(score, index)


def _is_plain(track: bytes) -> bool:
    """Whether symusic reads these bytes exactly, whatever they are.

    It has 32-bit ticks, and loses notes whose running status began before a
    system event (0xF0 to 0xFE). The ticks are bounded without reading the
    events: a delta is some bytes above 127, then one below. Where at most two
    above come in a row, one is worth at most 2**14 times its low seven bits
    with another behind it, and 2**7 times without; none counts twice.
    """
    raw = np.frombuffer(track, np.uint8)
    counts = np.bincount(raw, minlength=256)
    pair = raw[:-1] & raw[1:] & 0x80
    if counts[0xF0:0xFF].any() or (pair[:-1] & raw[2:]).any():
        return False
    worth = np.arange(256) & 127
    worth[128:] <<= 7
    firsts = (raw[:-1] & 127)[pair > 0].sum(dtype=np.int64)
    return int(counts @ worth) + (int(firsts) << 14) <= MAX_TICK


def _walk(
    name: str, ticks_per_beat: int, index: int, track: bytes
) -> _Movements:
    """Reads one track in Python: slow, exact and strict."""
    pressed: dict[tuple[int, int], collections.deque]
    pressed = collections.defaultdict(collections.deque)
    keys, pedals, tempos = [], [], []
    drum_notes = tick = 0
    programs = [0] * 16
    for tick, status, first, second in _events(
        f"{name}, track {index + 1}", track
    ):
        kind, channel = status >> 4, status & 15
        if kind == 0x9 and second:
            pressed[channel, first].append((tick, second, programs[channel]))
        elif kind in (0x8, 0x9):
            if not pressed[channel, first]:
                continue
            start, velocity, program = pressed[channel, first].popleft()
            if channel == DRUM_CHANNEL:
                drum_notes += 1
            else:
                keys.append((start, tick, first, velocity, channel, program))
        elif kind == 0xB and first == SUSTAIN and channel != DRUM_CHANNEL:
            pedals.append((tick, second, channel))
        elif kind == 0xC:
            programs[channel] = first
        elif status == TEMPO:
            tempos.append((tick, index, first))
    return _Movements(
        ticks_per_beat,
        np.array(keys, np.int64).reshape(-1, 6).T,
        np.array(pedals, np.int64).reshape(-1, 3).T,
        np.array(tempos, np.int64).reshape(-1, 3).T,
        drum_notes,
        tick,
    )


def _events(where: str, track: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yields the tick, status and two data bytes of each event of a track.

    A tempo comes as status `TEMPO`, with its microseconds for a data byte;
    other meta events and system exclusive ones come with their status alone.
    """
    place = tick = running = 0
    try:
        while place < len(track):
            delta, place = _quantity(where, track, place)
            tick += delta
            if tick > MAX_TICK:
                raise _error(where, f"ticks up to {MAX_TICK:,}", f"{tick:,}")
            status = track[place]
            if status < 0x80:
                status = running
            else:
                place += 1
            if status in (0xF0, 0xF7, 0xFF):
                status, value, place = _long_event(where, track, place, status)
                yield tick, status, value, 0
                if status == END_OF_TRACK:
                    return
                continue
            if status not in DATA_BYTES:
                raise _error(where, "a status byte", status, place)
            if status < 0xF0:
                running = status
            first = second = 0
            if DATA_BYTES[status]:
                first = track[place]
            if DATA_BYTES[status] == 2:
                second = track[place + 1]
            if first > 127 or second > 127:
                raise _error(
                    where, "data bytes up to 127", (first, second), place
                )
            place += DATA_BYTES[status]
            yield tick, status, first, second
    except IndexError:
        raise _error(
            where, "whole events to the end", "one broken off", len(track)
        ) from None


def _long_event(
    where: str, track: bytes, place: int, status: int
) -> tuple[int, int, int]:
    """Its status (tempo and end of track have their own), value, and end."""
    kind = track[place] if status == 0xFF else 0
    place += status == 0xFF
    size, place = _quantity(where, track, place)
    content = track[place : place + size]
    if len(content) < size:
        raise IndexError
    place += size
    if status == 0xFF and kind == 0x2F:
        return END_OF_TRACK, 0, place
    if status == 0xFF and kind == 0x51:
        if size != 3:
            raise _error(where, "a tempo of 3 bytes", size, place)
        return TEMPO, int.from_bytes(content, "big"), place
    return status, 0, place


def _quantity(where: str, track: bytes, place: int) -> tuple[int, int]:
    """A number of at most four bytes, seven bits in each, and its end."""
    value = 0
    for end in range(place + 1, place + 5):
        byte = track[end - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, end
    raise _error(where, "a number of at most 4 bytes", "more", place)


def _error(
    where: str, expected: str, found: object, place: int | None = None
) -> MidiError:
    at = "" if place is None else f" at byte {place:,} of the track"
    return MidiError(f"{where}: expected {expected}{at}. Found {found}")


def _from_symusic(score: typing.Any, track: int = 0) -> _Movements:
    """A score in ticks; the parts of one program are taken as one voice."""
    keys = [np.empty((6, 0), np.int64)]
    pedals = [np.empty((3, 0), np.int64)]
    drum_notes = 0
    for part in score.tracks:
        if part.is_drum:
            drum_notes += len(part.notes)
            continue
        notes, controls = part.notes.numpy(), part.controls.numpy()
        start = notes["time"].astype(np.int64)
        rows = start, start + notes["duration"], notes["pitch"]
        voice = np.full(len(start), part.program)
        keys.append(np.stack((*rows, notes["velocity"], voice, voice)))
        sustain = controls["number"] == SUSTAIN
        time, value = controls["time"][sustain], controls["value"][sustain]
        voice = np.full(len(time), part.program)
        pedals.append(np.stack((time, value, voice)))
    tempos = score.tempos.numpy()
    tracks = np.full(len(score.tempos), track)
    return _Movements(
        score.ticks_per_quarter,
        np.concatenate(keys, axis=1),
        np.concatenate(pedals, axis=1),
        np.stack((tempos["time"], tracks, tempos["mspq"])).astype(np.int64),
        drum_notes,
        0,
    )


def _from_miditoolkit(name: str, file: miditoolkit.MidiFile) -> _Movements:
    """The parts of one program are taken as one voice."""
    parts = [part for part in file.instruments if not part.is_drum]
    keys = [
        (note.start, note.end, note.pitch, note.velocity, *2 * (part.program,))
        for part in parts
        for note in part.notes
    ]
    pedals = [
        (control.time, control.value, part.program)
        for part in parts
        for control in part.control_changes
        if control.number == SUSTAIN
    ]
    tempos = [
        (change.time, 0, 60e6 / change.tempo if change.tempo else 0)
        for change in file.tempo_changes
    ]
    return _Movements(
        file.ticks_per_beat,
        _rows(name, keys, 6),
        _rows(name, pedals, 3),
        _rows(name, tempos, 3),
        sum(len(part.notes) for part in file.instruments if part.is_drum),
        0,
    )


def _rows(name: str, values: list, width: int) -> np.ndarray:
    """Numbers that a user may have set to anything, rounded to integers."""
    try:
        rows = np.array(values, np.float64).reshape(-1, width).T
    except (TypeError, ValueError, OverflowError) as error:
        raise _error(name, "numbers", error) from error
    if not (np.abs(rows) <= MAX_TICK).all():
        raise _error(name, f"numbers up to {MAX_TICK:,}", "one beyond")
    return np.rint(rows).astype(np.int64)


def _check_movements(name: str, played: _Movements) -> None:
    """The guard's second half: what the numbers of any source may be."""
    keys, pedals, tempos = played.keys, played.pedals, played.tempos
    count = keys.shape[1]
    if not count:
        drums = (
            f"{played.drum_notes} drum notes" if played.drum_notes else "none"
        )
        raise MidiError(f"{name} holds no piano notes. Found {drums}")
    for what, values, low, high in (
        ("a number of notes", count, 1, MAX_NOTES),
        ("ticks a beat", played.ticks_per_beat, 1, MAX_TICK),
        ("note starts in ticks", keys[START], 0, MAX_TICK),
        ("note ends in ticks", keys[END], 0, MAX_TICK),
        ("note lengths in ticks", keys[END] - keys[START], 0, MAX_TICK),
        ("pitches", keys[PITCH], 0, 127),
        ("velocities", keys[VELOCITY], 1, 127),
        ("pedal times in ticks", pedals[TICK], 0, MAX_TICK),
        ("pedal values", pedals[VALUE], 0, 127),
        ("tempo times in ticks", tempos[0], 0, MAX_TICK),
        ("microseconds a beat", tempos[2], 1, MAX_TEMPO),
    ):
        values = np.atleast_1d(values)
        bad = (values < low) | (values > high)
        if bad.any():
            found = f"{values[bad][0]:,}"
            raise _error(name, f"{what} from {low} to {high:,}", found)
    last = max(keys[END].max(), pedals[TICK].max(initial=0), played.last_tick)
    seconds = float(_seconds(np.array([last]), played)[0])
    if seconds // 1 > MAX_SECONDS:
        raise _error(
            name, f"at most {MAX_SECONDS:,.0f} seconds", f"{seconds:,.0f}"
        )


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


def _seconds(ticks: np.ndarray, played: _Movements) -> np.ndarray:
    """Ticks as seconds: exact in microseconds x ticks, rounded once."""
    tempos = played.tempos
    tempos = tempos[:, np.lexsort((tempos[1], tempos[0]))]
    tick = np.append(0, tempos[0])
    tempo = np.append(DEFAULT_TEMPO, tempos[2])
    before = np.append(0, np.cumsum(np.diff(tick) * tempo[:-1]))
    latest = np.searchsorted(tick, ticks, side="right") - 1
    since = (ticks - tick[latest]) * tempo[latest]
    return (before[latest] + since) / (played.ticks_per_beat * 1e6)


def _report(played: _Movements, merged_notes: int) -> MidiReport:
    programs, counts = np.unique(played.keys[PROGRAM], return_counts=True)
    pairs = zip(programs.tolist(), counts.tolist(), strict=True)
    others = {program: count for program, count in pairs if program > 7}
    return MidiReport(played.drum_notes, merged_notes, others)


def _check_writable(
    notes: np.ndarray, ticks_per_beat: int, program: int, name: str
) -> None:
    for good, expected in (
        (1 <= ticks_per_beat < 0x8000, "`ticks_per_beat` from 1 to 32767"),
        (0 <= program <= 127, "`program` from 0 to 127"),
        (len(notes) <= MAX_NOTES, f"at most {MAX_NOTES:,} `notes`"),
        (
            notes["end"].max(initial=0) <= MAX_SECONDS,
            f"`notes` up to {MAX_SECONDS:,.0f} seconds",
        ),
        (
            name.encode("latin-1", "replace").decode("latin-1") == name,
            "a `name` in Latin-1",
        ),
    ):
        if not good:
            raise ValueError(
                f"MIDI needs {expected}. Received: ticks_per_beat="
                f"{ticks_per_beat}, program={program}, name={name!r}, "
                f"{len(notes)} notes up to {notes['end'].max(initial=0)} s"
            )


def _ticks(
    notes: np.ndarray, ticks_per_second: int
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends such that both readers give each note back."""
    pitch = notes["pitch"].astype(np.int64)
    start = np.rint(notes["start"] * ticks_per_second).astype(np.int64)
    end = np.rint(notes["end"] * ticks_per_second).astype(np.int64)
    order = np.lexsort((start, pitch))
    pitch, start, end = pitch[order], start[order], end[order]
    # One line of time, pitch after pitch, on which no two starts coincide.
    rank = np.arange(len(notes))
    line = np.maximum.accumulate((pitch << 40) + start - rank) + rank
    start = line - (pitch << 40)
    end = np.maximum(end, start + 1)
    again = np.flatnonzero(np.diff(pitch) == 0)
    end[again] = np.minimum(end[again], start[again + 1])
    back = np.argsort(order)
    return start[back], end[back]


def _save(file: miditoolkit.MidiFile, path: pathlib.Path) -> None:
    """Writes beside the path, then renames: no half file is ever there."""
    content = io.BytesIO()
    file.dump(file=content)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
