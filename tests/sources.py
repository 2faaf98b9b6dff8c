"""Folders of MIDI files to prepare, and what is seen of preparing them."""

import pathlib

import numpy as np
import pytest

from keras_pianogen.data import workers as workers_module
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

ROOT = pathlib.Path(__file__).resolve().parents[1]


def random_notes(seed, count=40):
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.sort(rng.uniform(0, count / 5, count))
    notes["end"] = notes["start"] + rng.uniform(0.05, 1, count)
    notes["pitch"] = rng.integers(21, 109, count)
    notes["velocity"] = rng.integers(1, 128, count)
    return notes


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    """A folder of small MIDI files; not to be changed."""
    return write_folder(tmp_path_factory.mktemp("source") / "midi")


@pytest.fixture(scope="session")
def corpus(source, tmp_path_factory):
    """Its corpus; not to be changed."""
    return prepare_corpus(source, tmp_path_factory.mktemp("corpus"))


def write_folder(folder, count=40):
    """A folder of small MIDI files, some of them in a folder below."""
    (folder / "below").mkdir(parents=True)
    for i in range(count):
        name = f"below/{i:02}.MIDI" if i % 3 == 0 else f"{i:02}.mid"
        write_midi(random_notes(i), folder / name)
    return folder


def files_of(folder):
    """The bytes of a corpus's two files."""
    return [
        (folder / name).read_bytes() for name in ("corpus.json", "notes.npy")
    ]


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def count_reads(monkeypatch):
    """A list that grows by each path that is read."""
    paths = []

    def read(path, **options):
        paths.append(path)
        return read_notes(path, **options)

    monkeypatch.setattr(workers_module, "read_notes", read)
    return paths
