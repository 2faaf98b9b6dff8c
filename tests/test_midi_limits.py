"""Large files stop at the limits of reading before they take long."""

import struct
import time

import pytest

from keras_pianogen.midi import MidiError
from keras_pianogen.midi import read_notes
from keras_pianogen.midi.movements import MAX_BYTES

pytestmark = pytest.mark.one_backend

KEY = b"\x00\x90\x3c\x40"
END = b"\x00\xff\x2f\x00"
ROOM = MAX_BYTES - 2_000


def header(tracks):
    return struct.pack(">4sIHHH", b"MThd", 6, 1, tracks, 500)


def full(event, tracks=1, before=b""):
    """A file of 5 MB, of one event over and over."""
    data = before + event * (ROOM // tracks // len(event))
    track = KEY + data + END
    chunk = struct.pack(">4sI", b"MTrk", len(track)) + track
    return header(tracks) + chunk * tracks


FILES = {
    "notes": full(b"\x00\x3c\x40"),
    "notes of 64 tracks": full(b"\x00\x3c\x40", 64),
    "programs of 8 tracks": full(b"\x00\x01", 8, b"\x00\xc0\x01"),
    "clocks": full(b"\x00\xf8"),
    "clocks of 64 tracks": full(b"\x00\xf8", 64),
    "texts": full(b"\x00\xff\x01\x00"),
    "tempos of 8 tracks": full(b"\x00\xff\x51\x03\x07\xa1\x20", 8),
    "tempos after an end": full(b"\x00\xff\x51\x03\x07\xa1\x20", 1, END),
    "ends": full(END),
    "chunks": header(1) + b"none\0\0\0\0" * (ROOM // 8),
    "chunks of RIFF": b"RIFF\0\0\0\0RMID" + b"none\0\0\0\0" * (ROOM // 8),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_beyond_a_limit_is_refused_before_it_is_read_whole(name):
    seconds = []
    for _ in range(2):
        began = time.process_time()
        with pytest.raises(
            MidiError, match="at most 1,000,000 events|MThd|MTr"
        ):
            read_notes(FILES[name])
        seconds.append(time.process_time() - began)
    # Each took up to 2.5 s when it was read whole.
    assert min(seconds) < 0.9
