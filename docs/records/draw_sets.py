"""Chooses two sets of 20 MAESTRO pieces and shuffles one, see judging.md.

python docs/records/draw_sets.py ../shared/data/maestro-v3.0.0 sets
"""

import pathlib
import random
import shutil
import sys

from keras_pianogen import Maestro
from keras_pianogen import read_notes
from keras_pianogen import write_midi
from keras_pianogen.judging.features import shuffle_pitches

source, out = sys.argv[1], pathlib.Path(sys.argv[2])
pieces = list(Maestro(source).split("validation"))
random.Random(0).shuffle(pieces)
# Keep each composition once, so that no music is in both sets.
unique = {}
for piece in pieces:
    unique.setdefault((piece.composer, piece.title), piece)
for name in ("real_a", "real_b", "shuffled_b"):
    (out / name).mkdir(parents=True)
for index, piece in enumerate(list(unique.values())[:40]):
    path = piece.path
    if index < 20:
        shutil.copy(path, out / "real_a")
        continue
    shutil.copy(path, out / "real_b")
    notes = shuffle_pitches(read_notes(path), index)
    write_midi(notes, out / "shuffled_b" / f"{path.stem}.mid")
