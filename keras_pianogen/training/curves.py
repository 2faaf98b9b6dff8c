"""Curves of language models' runs, in one picture.

Reads `history.csv` of a run's folder; Matplotlib's objects are used without
`pyplot`. Losses in nats per event.
"""

import csv
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

COLOURS = ("#1d4ed8", "#c2410c", "#047857", "#7c3aed", "#a16207", "#be185d")
# Points of a training curve: each is the mean of as many steps.
POINTS = 200


def plot_training_curves(
    runs: Mapping[str, str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    lines: Mapping[str, float] | None = None,
) -> None:
    """Draws losses against the events that were seen, and against hours.

    Faint lines are losses of training, on augmented music; bold ones with
    dots those of validation.

    Args:
        runs: each run's folder, by its name.
        path: picture to write: .png, .svg or .pdf.
        lines: losses of what has no run, by its name: dotted lines.
    """
    histories = {name: read_history(folder) for name, folder in runs.items()}
    figure = Figure(figsize=(10, 4), layout="constrained")
    by_events, by_hours = figure.subplots(1, 2, sharey=True)
    for axis, column, unit, label in (
        (by_events, "events", 1e6, "events seen (millions)"),
        (by_hours, "seconds", 3600.0, "hours"),
    ):
        for i, (name, history) in enumerate(histories.items()):
            colour = COLOURS[i % len(COLOURS)]
            draw_losses(axis, history, column, unit, label=name, color=colour)
        for name, loss in (lines or {}).items():
            axis.axhline(loss, color="grey", ls=":", lw=1)
            axis.annotate(
                f"{name} {loss:.2f}",
                (1, loss),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color="grey",
                fontsize=8,
            )
        axis.set_xlabel(label)
        axis.set_xlim(left=0)
        axis.grid(alpha=0.25)
    by_events.set_ylabel("nats per event")
    _set_limits(by_events, histories.values(), lines or {})
    by_events.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def read_history(
    folder: str | os.PathLike[str],
) -> dict[str, NDArray[np.float64]]:
    """The record of a run: columns by name, nan where nothing is written.

    Args:
        folder: the run's folder, with its `history.csv`.
    """
    with open(pathlib.Path(folder) / "history.csv", newline="") as file:
        rows = csv.DictReader(file)
        values = [[float(x or "nan") for x in row.values()] for row in rows]
    names = rows.fieldnames or ()
    columns = np.array(values).reshape(-1, len(names)).T
    return dict(zip(names, columns, strict=True))


def draw_losses(
    axis: Axes,
    history: Mapping[str, NDArray[np.float64]],
    column: str,
    unit: float,
    *,
    label: str,
    color: str,
) -> None:
    """Draws the losses of a language model's run.

    Args:
        axis: where to.
        history: the run's record, see `read_history`.
        column: the column to draw them against: `step`, `events`, `seconds`.
        unit: what that column is divided by.
        label: the run's name in the legend.
        color: see Matplotlib.
    """
    places = history[column] / unit
    axis.plot(
        _means(places), _means(history["loss"]), color=color, alpha=0.35, lw=1
    )
    validation = history["val_nats_per_event"]
    read = np.isfinite(validation)
    axis.plot(
        places[read],
        validation[read],
        color=color,
        marker="o",
        markersize=3,
        label=label,
    )


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of as many values each, at most `POINTS` of them."""
    parts = np.array_split(values, min(POINTS, len(values)))
    return np.array([part.mean() for part in parts])


def _set_limits(
    axis: Axes,
    histories: Iterable[Mapping[str, NDArray[np.float64]]],
    lines: Mapping[str, float],
) -> None:
    """Leave out the first few steps, next to which nothing else is seen."""
    losses = [
        value
        for history in histories
        for value in (
            *_means(history["loss"])[2:],
            *history["val_nats_per_event"],
        )
        if np.isfinite(value)
    ]
    values = [*losses, *lines.values()]
    low, high = min(values, default=0.0), max(values, default=0.0)
    if low < high:
        axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
