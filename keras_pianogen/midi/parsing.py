"""MIDI files and library objects to the movements of keys and pedals.

Times are in ticks. Nothing is decided here about what a note is: `reading`
does that. One guard stands before miditoolkit and symusic. Files are
untrusted: whatever is wrong with one, `MidiError` says what was expected and
what was found. symusic reads a file's long track in bulk where its 32-bit
ticks can't overflow and no channel is in doubt; everything else is walked here
event by event.
"""

import collections
import dataclasses
import os
import pathlib
import struct
import typing
from collections.abc import Iterator

import miditoolkit
import numpy as np
import symusic

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


class MidiError(ValueError):
    """What was read is not a MIDI performance within this module's limits.

    The message names the file, what was expected and what was found.
    """


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
