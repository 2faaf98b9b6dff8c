"""A corpus on disk: its notes, its splits, and damage that is found."""

import pathlib
import shutil

import numpy as np
import pytest

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.packing import pack
from keras_pianogen.data.packing import unpack
from keras_pianogen.data.pieces import SPLITS
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend


def test_packing_keeps_notes_to_half_of_10_microseconds():
    rng = np.random.default_rng(0)
    notes = np.zeros(5000, NOTE_DTYPE)
    notes["start"] = 40_000 + np.sort(rng.uniform(0, 1000, 5000))
    notes["end"] = notes["start"] + rng.uniform(0.05, 1, 5000)
    notes["pitch"] = rng.integers(21, 109, 5000)
    notes["velocity"] = rng.integers(1, 128, 5000)
    again = unpack(pack(notes))
    assert pack(notes).itemsize == 10
    for field in ("start", "end"):
        assert np.abs(again[field] - notes[field]).max() <= 5.001e-6
    for field in ("pitch", "velocity"):
        np.testing.assert_array_equal(again[field], notes[field])
    np.testing.assert_array_equal(pack(again), pack(notes))


def test_the_notes_are_memory_mapped(small_corpus):
    assert isinstance(small_corpus.packed, np.memmap)
    assert not small_corpus.packed.flags.writeable


def test_summary_counts_every_piece_and_note_once(small_corpus):
    *rows, total = small_corpus.summary()
    assert [row["split"] for row in rows] == list(SPLITS)
    assert sum(row["pieces"] for row in rows) == total["pieces"] == 12
    assert sum(row["notes"] for row in rows) == total["notes"]
    assert total["notes"] == len(small_corpus.packed)
    assert "1,440" in str(small_corpus).splitlines()[-1]


def test_an_unknown_split_is_refused(small_corpus):
    with pytest.raises(ValueError, match="`name` must be one of.*'dev'"):
        small_corpus.split("dev")


# Damage.


@pytest.fixture
def copy(small_corpus, tmp_path):
    return pathlib.Path(shutil.copytree(small_corpus.folder, tmp_path / "copy"))


def test_a_folder_without_a_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`folder` must be a corpus"):
        Corpus(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": "x"}', "\0"])
def test_a_table_that_is_none_is_refused(copy, text):
    (copy / "corpus.json").write_text(text)
    with pytest.raises(ValueError, match="`folder` must be a corpus"):
        Corpus(copy)


def test_another_version_is_refused(copy):
    table = (copy / "corpus.json").read_text()
    table = table.replace('"version": 2', '"version": 1')
    (copy / "corpus.json").write_text(table)
    with pytest.raises(ValueError, match="version 2.*Received: version=1"):
        Corpus(copy)


@pytest.mark.parametrize("size", [0, 50, 1000])
def test_notes_cut_short_are_refused(copy, size):
    notes = copy / "notes.npy"
    notes.write_bytes(notes.read_bytes()[:size])
    with pytest.raises(ValueError, match="missing or cut short"):
        Corpus(copy)


def test_notes_of_another_corpus_are_refused(copy):
    np.save(copy / "notes.npy", np.zeros(3))
    with pytest.raises(ValueError, match="must hold 1440 notes"):
        Corpus(copy)


@pytest.mark.parametrize(
    ("name", "flips"), [("notes.npy", 60), ("corpus.json", 150)]
)
def test_every_flipped_bit_is_noticed(copy, name, flips):
    data = (copy / name).read_bytes()
    bits = np.random.default_rng(0).choice(8 * len(data), flips, replace=False)
    for bit in bits:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        (copy / name).write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged|must be") as error:
            Corpus(copy)
        assert "pianogen prepare" in error.value.__notes__[0]
    (copy / name).write_bytes(data)
    assert len(Corpus(copy)) == 12


def test_damage_after_opening_is_found_by_verify(copy):
    opened = Corpus(copy)
    with open(copy / "notes.npy", "r+b") as file:
        file.seek(5000)
        file.write(b"\1\2\3")
    with pytest.raises(ValueError, match="must have the sha256"):
        opened.verify()
