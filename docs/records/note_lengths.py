"""Measures how long the notes of a corpus sound, by octave. In seconds.

python docs/records/note_lengths.py CORPUS

It prints `TABLE` of `keras_pianogen.generation.lifetimes`, from the notes of
the train split, and how often a note that has sounded so long ends, by second.
"""

import sys

import numpy as np

from keras_pianogen import Corpus
from keras_pianogen.generation.lifetimes import ONE_OF
from keras_pianogen.generation.lifetimes import registers
from keras_pianogen.notes import cut_overlaps

AGES = (0, 1, 2, 4, 6, 8, 10, 12, 16, 20, 24)


def lengths(corpus):
    """The length and the register of each note of the train split."""
    found = []
    for index in corpus.split("train"):
        notes = corpus.notes(index)
        of_piece = cut_overlaps(notes) - notes["start"]
        found.append(np.stack([of_piece, registers(notes["pitch"])]))
    return np.concatenate(found, axis=1)


def quantiles(seconds):
    """The lengths that one of so many notes exceeds, to a tenth."""
    shares = 1 - 1 / np.array(ONE_OF)
    return tuple(np.quantile(seconds, shares).round(1).tolist())


def hazard(seconds):
    """Notes that end in a second, of those that sound, between ages."""
    left = np.array([(seconds > age).sum() for age in AGES])
    ended = np.log(left[:-1] / np.maximum(left[1:], 1)) / np.diff(AGES)
    return " ".join(f"{rate:.2f}" for rate in ended)


def main(folder):
    seconds, rows = lengths(Corpus(folder))
    print(f"TABLE = (  # {len(seconds):,} notes")
    for row in range(int(rows.max()) + 1):
        print(f"    {quantiles(seconds[rows == row])},")
    print(")")
    print("ends a second, at ages", *AGES)
    for row in range(int(rows.max()) + 1):
        print(hazard(seconds[rows == row]))


if __name__ == "__main__":
    main(sys.argv[1])
