"""Files that aren't MIDI, told in the words of whoever gave them."""

import io
import wave
import zipfile

import pytest
from command_line import fail

from keras_pianogen.midi.movements import MAX_BYTES
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import read_notes

pytestmark = pytest.mark.one_backend


def sound():
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(bytes(2 * MAX_BYTES))
    return file.getvalue()


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr(name, "<x/>")
    return file.getvalue()


SCORE = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN"
 "http://www.musicxml.org/dtds/partwise.dtd"><score-partwise version="4.0"/>"""


@pytest.mark.parametrize(
    "data, said",
    [
        (sound(), "is a WAV file, which is sound"),
        (b"FORM\0\0\1\0AIFFCOMM" + bytes(50), "an AIFF file, which is sound"),
        (b"ID3\4\0\0\0\0\0\0" + bytes(50), "is an MP3 file, which is sound"),
        (b"\xff\xfb\x90\x64" + bytes(50), "is an MP3 file"),
        (b"fLaC\0\0\0\x22" + bytes(50), "is a FLAC file"),
        (b"OggS\0\2" + bytes(50), "is an Ogg file"),
        (b"\0\0\0\x20ftypM4A " + bytes(50), "is an MP4 file"),
        (b"RIFF\0\0\1\0sfbkLIST" + bytes(50), "is a SoundFont"),
        (SCORE.encode(), "a MusicXML file, which is a score. A notation pro"),
        (b"\xef\xbb\xbf" + SCORE.encode(), "is a MusicXML file"),
        (zipped("META-INF/container.xml"), "a compressed MusicXML file"),
        (zipped("songs/a.mid"), "is a ZIP archive. Unpack"),
        (b"<?xml version='1.0'?><svg/>", "is an XML file"),
        (b"\n<!DOCTYPE html><html>", "is a web page. Download"),
        (b"%PDF-1.7\n", "is a PDF file"),
        (b"\x93NUMPY\1\0", "is a NumPy array"),
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"This is no MIDI file.", "Expected a header"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_another_kind_of_file_is_named(data, said, tmp_path):
    path = tmp_path / "my song.mid"
    path.write_bytes(data)
    with pytest.raises(MidiError, match="is not a MIDI file") as raised:
        read_notes(path)
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(path))
    error, hint = fail(
        "generate", "--prompt", path, "--out", tmp_path / "a.mid"
    )
    assert said in error and "my song.mid" in error
    assert "Give a MIDI file" in hint


@pytest.mark.parametrize("command", ["prepare", "compare"])
def test_a_folder_of_other_files_is_described(command, tmp_path):
    folder = tmp_path / "songs"
    folder.mkdir()
    for name in ("a.wav", "b.WAV", "c.musicxml"):
        (folder / name).write_bytes(b"x")
    others = {
        "prepare": ["--out", tmp_path / "corpus"],
        "compare": [folder, "--no-embeddings"],
    }
    error, _ = fail(command, folder, *others[command])
    assert "2 .wav, 1 .musicxml" in error
