"""Cuts out the seams between fillings of gaps and what follows them.

A seam is three seconds before and three after the end of a gap of 8 seconds in
the middle of each piece of MAESTRO's validation split. The folder `real` gets
those of the pieces as they are, `filled` those after fillings, and `cut` those
after continuations that know nothing of what follows. `real_before` gets other
moments of the same pieces, for comparison.

KERAS_BACKEND=jax python docs/records/draw_seams.py CORPUS seams
pianogen compare seams/real seams/filled --seconds 6
"""

import pathlib
import sys

import numpy as np

import keras_pianogen
from keras_pianogen.judging.features import cut

GAP, AROUND, READ = 8.0, 3.0, 60.0

corpus = keras_pianogen.Corpus(sys.argv[1])
model = keras_pianogen.from_preset("note_transformer_maestro")
for index in corpus.split("validation").tolist():
    notes = corpus.notes(index)
    middle = float(notes["start"][-1]) / 2
    piece = cut(notes, max(middle - READ, 0.0), 2 * READ + GAP)
    begin = min(middle, READ)
    end = begin + GAP
    filled = model.infill(piece, begin, end, seed=index)
    continued = model.generate(
        piece, prompt_seconds=begin, seconds=GAP, seed=index
    )
    kept = continued[continued["start"] < end], piece[piece["start"] >= end]
    pieces = {
        "real": (piece, end),
        "real_before": (piece, begin - GAP),
        "filled": (filled, end),
        "cut": (np.concatenate(kept), end),
    }
    for name, (music, seam) in pieces.items():
        window = cut(music, seam - AROUND, 2 * AROUND)
        if len(window) > 1:
            path = pathlib.Path(sys.argv[2], name, f"{index:04}.mid")
            path.parent.mkdir(parents=True, exist_ok=True)
            keras_pianogen.write_midi(window, path)
