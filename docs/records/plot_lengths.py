"""Draws time and memory of a training step for docs/performance.md.

python docs/records/plot_lengths.py docs/records/lengths.csv docs/images

tests/lengths.py prints the records.
"""

import csv
import pathlib
import sys

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from matplotlib.ticker import NullFormatter

BACKENDS = {"torch": "PyTorch", "jax": "JAX", "tensorflow": "TensorFlow"}
STYLES = {
    "ours": {"color": "#cc5533", "marker": "o", "label": "this package"},
    "textbook": {
        "color": "#8888cc",
        "marker": "s",
        "linestyle": "--",
        "label": "textbook skewing",
    },
}
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
# The same data gives the same file, with text stored as text.
matplotlib.rcParams |= {"svg.hashsalt": "lengths", "svg.fonttype": "none"}


def main(source, folder):
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    for column, label in (
        ("best_seconds", "seconds per step"),
        ("peak_mib", "peak MiB of a step"),
    ):
        picture = pathlib.Path(folder) / f"lengths_{column.split('_')[1]}.svg"
        draw(rows, column, label).savefig(picture, metadata={"Date": None})


def draw(rows, column, label):
    """Draws a panel for each backend, with two logarithmic axes."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, len(BACKENDS), sharey=True)
    first = [int(row["events"]) for row in rows if row[column]]
    for axes, (backend, title) in zip(panels, BACKENDS.items(), strict=True):
        for name, style in STYLES.items():
            points = [
                (int(row["events"]), float(row[column]))
                for row in rows
                if (row["backend"], row["attention"]) == (backend, name)
                and row[column]
            ]
            axes.plot(*zip(*points, strict=True), markersize=4, **style)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks(LENGTHS, [f"{n:,}" for n in LENGTHS], fontsize=8)
        axes.set_xlim(min(first) / 1.2, LENGTHS[-1] * 1.2)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("events")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(label)
    panels[0].legend(frameon=False, loc="lower right", fontsize=9)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
