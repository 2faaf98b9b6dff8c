"""MIDI files to the movements of keys and pedals.

Files are untrusted. A file that strays from the standard is read where it has
one clear meaning, and every such repair is counted by its kind. For any other
file `MidiError` says what was expected and what was found.
"""

import collections
import dataclasses
import os
import pathlib
import stat
import struct

import miditoolkit
import numpy as np
import symusic

from keras_pianogen.midi import foreign
from keras_pianogen.midi import objects
from keras_pianogen.midi.controllers import end_keys
from keras_pianogen.midi.controllers import pedals_of
from keras_pianogen.midi.controllers import settings_of
from keras_pianogen.midi.movements import ANOTHER_FILE
from keras_pianogen.midi.movements import DRUM_CHANNEL
from keras_pianogen.midi.movements import MAX_BYTES
from keras_pianogen.midi.movements import MAX_CHUNKS
from keras_pianogen.midi.movements import MAX_TRACKS
from keras_pianogen.midi.movements import VOICE
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.movements import Movements
from keras_pianogen.midi.movements import error
from keras_pianogen.midi.movements import is_too_long
from keras_pianogen.midi.track import END
from keras_pianogen.midi.track import HELD
from keras_pianogen.midi.track import NEVER
from keras_pianogen.midi.track import NORMAL
from keras_pianogen.midi.track import RESTRIKES
from keras_pianogen.midi.track import RESTRUCK
from keras_pianogen.midi.track import Room
from keras_pianogen.midi.track import Track

# The kinds of repair, as they are counted.
WRAPPED = "RIFF wrappers"
HEADER = "headers longer than 6 bytes"
SMPTE = "times in SMPTE frames"
TRACK_LENGTH = "wrong lengths of tracks"
STRAY = "stray bytes between tracks"
ANOTHER = "further files after the first one"
LATE_END = "ends of track beyond two hours"

NOTHING = np.empty((3, 0), np.int64)

Repairs = collections.Counter[str]


def open_source(source: object) -> tuple[str, Movements]:
    """The name of a source in messages, and its movements, checked.

    Raises:
        MidiError, OSError, TypeError: see `read_notes`.
    """
    if isinstance(source, str | os.PathLike):
        name = str(pathlib.Path(source))
        played = _parse(name, _read(name))
    elif isinstance(source, bytes | bytearray | memoryview):
        name, played = "<bytes>", _parse("<bytes>", bytes(source))
    elif isinstance(source, miditoolkit.MidiFile):
        name = "<MidiFile>"
        played = objects.from_miditoolkit(name, source)
    elif isinstance(source, symusic.Score):
        name, played = "<Score>", objects.from_symusic(source.to("tick"))
    else:
        raise TypeError(
            "`source` must be a path, bytes, a miditoolkit.MidiFile or a "
            f"symusic.Score. Received: {type(source).__name__}"
        )
    played.check(name)
    return name, played


def _read(path: str) -> bytes:
    """The bytes of a file; a pipe or a device could have no end."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise MidiError(
            f"{path} is a pipe or a device. Expected a MIDI file", ANOTHER_FILE
        )
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _parse(name: str, data: bytes) -> Movements:
    """The movements in a file's bytes."""
    repairs: Repairs = collections.Counter()
    division, chunks = _chunks(name, data, repairs)
    room = Room()
    tracks = [
        Track(f"{name}, track {index + 1}", index, chunk, repairs, room)
        for index, chunk in enumerate(chunks)
    ]
    tempos = np.concatenate([t.tempo_changes() for t in tracks], axis=1)
    clock = division.clock(tempos, repairs)
    ends = [_end(track, clock, repairs) for track in tracks]
    found = [track.keys(end) for track, end in zip(tracks, ends, strict=True)]
    keys = np.concatenate([rows for rows, _ in found], axis=1)
    how = np.concatenate([how for _, how in found])
    controls = np.concatenate([track.controls() for track in tracks], axis=1)
    how[end_keys(keys, controls)] = NORMAL
    is_drum = keys[VOICE] == DRUM_CHANNEL
    controls = controls[:, controls[3] != DRUM_CHANNEL]
    for kind, way in ((RESTRIKES, RESTRUCK), (HELD, NEVER)):
        repairs[kind] += int((how[~is_drum] == way).sum())
    return dataclasses.replace(
        clock,
        keys=keys[:, ~is_drum],
        pedals=pedals_of(controls),
        settings=settings_of(controls),
        drum_notes=int(is_drum.sum()),
        repairs=+repairs,
    )


def _end(track: Track, clock: Movements, repairs: Repairs) -> int:
    """The tick at which a track's held keys end: with it, within two hours."""
    last = track.last_tick
    if last <= track.last_movement:
        return last
    seconds = clock.seconds(np.array([min(last, 2**40)]))[0]
    if not is_too_long(seconds):
        return last
    repairs[LATE_END] += 1
    return track.last_movement


@dataclasses.dataclass(frozen=True)
class _Division:
    """The length of a tick, as a part of a beat or of a frame of film."""

    ticks: int
    frames: int = 0  # in a second; 0 for beats

    @classmethod
    def of(cls, name: str, number: int) -> "_Division":
        if number < 0x8000:
            if not number:
                raise error(name, "a division above 0", number)
            return cls(number)
        frames, ticks = 256 - (number >> 8), number & 0xFF
        if frames not in (24, 25, 29, 30) or not ticks:
            raise error(
                name,
                "24, 25, 29 or 30 SMPTE frames of at least 1 tick",
                f"{frames} of {ticks}",
            )
        return cls(ticks, frames)

    def clock(self, tempos: np.ndarray, repairs: Repairs) -> Movements:
        """A piece without keys, that tells seconds of ticks.

        Frames take no notice of tempos. 29 frames are the 29.97 of television.
        """
        per_beat = self.ticks
        if self.frames:
            repairs[SMPTE] += 1
            per_beat *= 30 if self.frames == 29 else self.frames
            second = 1_001_000 if self.frames == 29 else 1_000_000
            tempos = np.array([[0], [0], [second]])
        keys = np.empty((6, 0), np.int64)
        settings = np.empty((4, 0), np.int64)
        return Movements(per_beat, keys, NOTHING, settings, tempos, 0, repairs)


# The chunks of a file.


def _chunks(
    name: str, data: bytes, repairs: Repairs
) -> tuple[_Division, list[bytes]]:
    """Splits a file into its division and the bytes of its tracks."""
    if not data:
        raise MidiError(f"{name} is empty. Expected a MIDI file", ANOTHER_FILE)
    if kind := foreign.describe(data):
        raise MidiError(
            f"{name} is not a MIDI file. It is {kind}", ANOTHER_FILE
        )
    if len(data) > MAX_BYTES:
        raise MidiError(
            f"{name} is too large. Expected at most {MAX_BYTES:,} bytes"
        )
    data = _unwrap(data, repairs)
    if len(data) < 14 or data[:4] != b"MThd":
        raise MidiError(
            f"{name} is not a MIDI file. Expected a header of 14 bytes that "
            f"begins with b'MThd'. Found {len(data)} bytes: {data[:14]!r}",
            ANOTHER_FILE,
        )
    length, form, declared, division = struct.unpack_from(">IHHH", data, 4)
    separate = form == 2 and declared > 1
    for good, expected, found in (
        (6 <= length <= len(data), "a header length of 6", length),
        (form <= 2 and not separate, "one piece (format 0 or 1)", form),
    ):
        if not good:
            raise error(name, expected, found)
    repairs[HEADER] += length > 6
    tracks = _tracks(name, data, 8 + length, repairs)
    return _Division.of(name, division), tracks


def _unwrap(data: bytes, repairs: Repairs) -> bytes:
    """The MIDI file in a RIFF file of the kind RMID, or the data itself."""
    if data[:4] != b"RIFF" or data[8:12] != b"RMID":
        return data
    place = 12
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(data):
            break
        kind, size = struct.unpack_from("<4sI", data, place)
        if kind == b"data":
            repairs[WRAPPED] += 1
            return data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return data


def _tracks(
    name: str, data: bytes, place: int, repairs: Repairs
) -> list[bytes]:
    """The bytes of the tracks; other chunks are passed over."""
    tracks: list[bytes] = []
    for _ in range(MAX_CHUNKS):
        if place + 8 > len(data):
            break
        kind, size = struct.unpack_from(">4sI", data, place)
        if kind == b"MTrk":
            end = _track_end(data, place + 8, size, repairs)
            tracks.append(data[place + 8 : end])
        elif kind == b"MThd":
            repairs[ANOTHER] += 1
            break
        else:
            end = place + 8 + size
            if not _is_boundary(data, end):
                end = _next_chunk(data, place)
                if end == len(data):
                    break
                repairs[STRAY] += 1
        if len(tracks) > MAX_TRACKS:
            raise error(name, f"at most {MAX_TRACKS} tracks", "more")
        place = end
    if not tracks:
        raise error(name, "a track (b'MTrk')", "none")
    return tracks


def _track_end(data: bytes, begin: int, size: int, repairs: Repairs) -> int:
    """Where a track ends: as it says, if that can be.

    A length is believed if a chunk or the end of the file comes next, or the
    track's own end comes before. Otherwise the track goes on to the next one,
    or to the end of the file.
    """
    end = begin + size
    if _is_boundary(data, end):
        return end
    if data[end - 3 : end] == END and end <= len(data):
        return end
    repairs[TRACK_LENGTH] += 1
    return _next_chunk(data, begin)


def _next_chunk(data: bytes, place: int) -> int:
    """Where the next track or file begins, or the end of the data."""
    found = [data.find(kind, place) for kind in (b"MTrk", b"MThd")]
    return min((at for at in found if at >= 0), default=len(data))


def _is_boundary(data: bytes, place: int) -> bool:
    """Whether a chunk may begin here, or the file ends."""
    kind = data[place : place + 4]
    return place == len(data) or (len(kind) == 4 and kind.isalnum())
