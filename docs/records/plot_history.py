"""Draws a run's history.csv as the picture that docs/results.md shows.

python docs/records/plot_history.py docs/records/NAME/history.csv PICTURE.png
"""

import csv
import sys

from matplotlib.figure import Figure


def main(source, target):
    with open(source, newline="") as file:
        rows = list(csv.DictReader(file))
    events = [int(row["events"]) / 1e6 for row in rows]
    figure = Figure(figsize=(8, 3.6), layout="constrained", dpi=150)
    axes = figure.add_subplot()
    axes.plot(
        events,
        [float(row["loss"]) for row in rows],
        color="#8888cc",
        linewidth=1,
        label="training, augmented",
    )
    read = [
        (e, float(row["val_nats_per_event"]))
        for e, row in zip(events, rows, strict=True)
        if row["val_nats_per_event"]
    ]
    axes.plot(
        *zip(*read, strict=True),
        color="#cc5533",
        marker="o",
        markersize=4,
        label="validation, 200,000 events",
    )
    axes.axhline(3.65, color="grey", linestyle=":", linewidth=1)
    axes.text(events[-1], 3.68, "trigram model 3.65", ha="right", color="grey")
    axes.set_xlabel("events seen (millions)")
    axes.set_ylabel("nats per event")
    axes.set_ylim(1.7, 4.5)
    axes.set_xlim(0, events[-1] * 1.02)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
