"""Draws the curves and samples of the Transformer-GAN in docs/gan.md.

python docs/records/plot_gan.py docs/records/gan docs/images

The folder of each run has two files written by `pianogen train-gan`,
`history.csv` and `real.json`, and `sample.mid`, the first of its last samples.
"""

import pathlib
import sys

import numpy as np

from keras_pianogen import plot_piano_roll
from keras_pianogen import read_notes
from keras_pianogen.training.curves import plot_gan_curves

RUNS = ("paper", "straight-through", "fine-tune")


def main(records, images):
    runs = {name: records / name for name in RUNS}
    plot_gan_curves(runs, images / "gan_curves.png")
    for name, folder in runs.items():
        notes = read_notes(folder / "sample.mid")
        # A generator from noise writes notes of no length; make them visible.
        notes["end"] = np.maximum(notes["end"], notes["start"] + 0.02)
        plot_piano_roll(
            notes,
            images / f"gan_{name.replace('-', '_')}.png",
            title=f"{name}: {len(notes)} notes",
            dpi=80,
        )


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
