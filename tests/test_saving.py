"""A piece as files of one name."""

import miditoolkit
import numpy as np
import pytest

import keras_pianogen
from keras_pianogen import read_notes
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

NOTES = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
MAGIC = {".mid": b"MThd", ".png": b"\x89PNG", ".wav": b"RIFF"}


@pytest.mark.parametrize("picture", [False, True])
@pytest.mark.parametrize("audio", [False, True])
def test_what_is_asked_for_is_written(tmp_path, picture, audio):
    written = keras_pianogen.save(
        NOTES, tmp_path / "piece.mid", picture=picture, audio=audio
    )
    kinds = [".mid", *[".png"] * picture, *[".wav"] * audio]
    assert written == [tmp_path / f"piece{kind}" for kind in kinds]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    for path in written:
        assert path.read_bytes().startswith(MAGIC[path.suffix])
    np.testing.assert_array_equal(read_notes(written[0]), NOTES)


@pytest.mark.parametrize(
    "notes, name, settings, sentence",
    [
        (NOTES, "piece.wav", {}, "end in .mid or .midi.*piece.wav"),
        (NOTES[:0], "piece.mid", {"audio": True}, "`notes` must hold one note"),
        (NOTES[:0], "piece.mid", {"picture": True}, "`notes` must hold one"),
        (np.zeros(3), "piece.mid", {}, "NOTE_DTYPE|fields"),
        (NOTES, "piece.mid", {"prompt_seconds": -1, "picture": True}, "-1"),
    ],
)
def test_nothing_is_written_where_something_is_wrong(
    tmp_path, notes, name, settings, sentence
):
    with pytest.raises(ValueError, match=sentence):
        keras_pianogen.save(notes, tmp_path / name, **settings)
    assert not list(tmp_path.iterdir())


def test_folders_are_made(tmp_path):
    path = tmp_path / "new" / "folder" / "piece.mid"
    keras_pianogen.save(NOTES, path, picture=True)
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "piece.mid",
        "piece.png",
    ]


def test_a_picture_that_fails_leaves_nothing_half_written(
    tmp_path, monkeypatch
):
    def write_half(self, part, **_):
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", write_half)
    with pytest.raises(OSError, match="No space"):
        keras_pianogen.save(NOTES, tmp_path / "piece.mid", picture=True)
    assert not list(tmp_path.iterdir())


def test_a_piece_without_notes_is_a_midi_file_alone(tmp_path):
    (path,) = keras_pianogen.save(NOTES[:0], tmp_path / "empty.midi")
    assert not any(x.notes for x in miditoolkit.MidiFile(str(path)).instruments)
