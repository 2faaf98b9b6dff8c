"""Pieces of random notes, and their ids, for tests of windows."""

import numpy as np
import pytest

from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.events import EventVocabulary
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

PNO_AI = EventVocabulary.named("pno-ai")
MAGENTA = EventVocabulary.named("magenta")
VOCABULARIES = pytest.mark.parametrize(
    "vocabulary", [PNO_AI, MAGENTA], ids=["413", "388"]
)


def random_notes(rng, count, longest=20):
    """Chords, long pedalled notes, short ones and silences."""
    notes = np.zeros(count, NOTE_DTYPE)
    gaps = rng.choice(
        [0, 0.003, 0.05, 0.2, 3], count, p=[0.3, 0.2, 0.3, 0.15, 0.05]
    )
    notes["start"] = 0.7 + np.cumsum(gaps)
    notes["end"] = notes["start"] + rng.choice(
        [0.004, 0.1, 0.5, longest], count
    )
    notes["pitch"] = rng.integers(30, 100, count)
    notes["velocity"] = rng.integers(1, 128, count)
    return notes


def even_notes(count, seed, seconds=20):
    """Random keys, struck at even times and held for 0.2 s."""
    notes = random_notes(np.random.default_rng(seed), count, longest=1)
    notes["start"] = np.linspace(0, seconds, count, endpoint=False)
    notes["end"] = notes["start"] + 0.2
    return notes


def prepare_pieces(pieces, folder, ticks_per_beat=500, **options):
    """A corpus of arrays of notes, in a new folder."""
    (folder / "midi").mkdir()
    for i, notes in enumerate(pieces):
        path = folder / "midi" / f"{i}.mid"
        write_midi(notes, path, ticks_per_beat=ticks_per_beat)
    return prepare_corpus(folder / "midi", folder / "corpus", **options)


def random_corpus(folder):
    """A corpus of pieces of 1 to 900 notes, without a test split."""
    rng = np.random.default_rng(0)
    counts = [1, 2, 3, 10, 50, 100, 200, 400, 600, 900] * 2
    return prepare_pieces(
        [random_notes(rng, count) for count in counts],
        folder,
        validation_fraction=0.3,
        test_fraction=0,
    )


def all_ids(corpus, vocabulary, index, stretch=1, semitones=0, velocity=0):
    """Start id, events and end id of an augmented piece."""
    notes = corpus.notes(index)
    notes["start"] *= stretch
    notes["end"] *= stretch
    notes["pitch"] = notes["pitch"].astype(int) + semitones
    louder = notes["velocity"].astype(int) + velocity
    notes["velocity"] = np.clip(louder, 1, 127)
    events = vocabulary.encode(notes)
    return np.concatenate([[vocabulary.start_id], events, [vocabulary.end_id]])


def small(corpus, vocabulary=MAGENTA, **options):
    options = {"sequence_length": 64, "batch_size": 8, "workers": 0, **options}
    return EventWindows(corpus, vocabulary=vocabulary, **options)


def find(row, ids):
    """Where a row without padding lies in a piece's ids, or None."""
    views = np.lib.stride_tricks.sliding_window_view(ids, len(row))
    places = np.flatnonzero((views == row).all(axis=1))
    return int(places[0]) if len(places) else None


def rows_of(batch):
    """Rows of `x` and the last of `y`, without padding."""
    x, y, _ = batch
    rows = np.concatenate([x["token_ids"], y[:, -1:]], axis=1)
    return [row[row != 0] for row in rows]
