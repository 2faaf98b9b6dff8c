"""Performances that tests write down, or draw by a seed."""

import numpy as np

from keras_pianogen.notes import NOTE_DTYPE


def notes_of(*rows):
    return np.array(list(rows), NOTE_DTYPE)


def random_notes(count, seconds, seed=0):
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.sort(rng.uniform(0, seconds - 1, count))
    notes["end"] = notes["start"] + rng.uniform(0.1, 1, count)
    notes["pitch"] = rng.integers(21, 109, count)
    notes["velocity"] = rng.integers(1, 128, count)
    return np.sort(notes, order=("start", "pitch"))
