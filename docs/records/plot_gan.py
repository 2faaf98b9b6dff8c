"""Draws the runs of the Transformer-GAN, as docs/gan.md shows.

python docs/records/plot_gan.py docs/records/gan docs/images

Each run's folder has what `pianogen train-gan` left in it: `history.csv`,
`real.json`, and `sample.mid`, the first of its last samples.
"""

import pathlib
import sys

import numpy as np

from keras_pianogen import plot_piano_roll
from keras_pianogen import read_notes
from keras_pianogen.training.gan_curves import plot_gan_curves

RUNS = ("paper", "straight-through", "fine-tune")


def main(records, images):
    runs = {name: records / name for name in RUNS}
    plot_gan_curves(runs, images / "gan_curves.png")
    for name, folder in runs.items():
        notes = read_notes(folder / "sample.mid")
        # Notes of no length, which a generator from noise writes, are shown.
        notes["end"] = np.maximum(notes["end"], notes["start"] + 0.02)
        plot_piano_roll(
            notes,
            images / f"gan_{name.replace('-', '_')}.png",
            title=f"{name}: {len(notes)} notes",
            dpi=80,
        )


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
