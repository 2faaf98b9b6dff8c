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
    histories = {
        name: _read(pathlib.Path(folder) / "history.csv")
        for name, folder in runs.items()
    }
    figure = Figure(figsize=(10, 4), layout="constrained")
    by_events, by_hours = figure.subplots(1, 2, sharey=True)
    for axis, column, unit, label in (
        (by_events, "events", 1e6, "events seen (millions)"),
        (by_hours, "seconds", 3600.0, "hours"),
    ):
        for i, (name, history) in enumerate(histories.items()):
            _draw(axis, name, history, column, unit, COLOURS[i % len(COLOURS)])
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


def _draw(
    axis: Axes,
    name: str,
    history: Mapping[str, NDArray[np.float64]],
    column: str,
    unit: float,
    colour: str,
) -> None:
    places = history[column] / unit
    axis.plot(
        _means(places), _means(history["loss"]), color=colour, alpha=0.35, lw=1
    )
    validation = history["val_nats_per_event"]
    read = np.isfinite(validation)
    axis.plot(
        places[read],
        validation[read],
        color=colour,
        marker="o",
        markersize=3,
        label=name,
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


def _read(path: pathlib.Path) -> dict[str, NDArray[np.float64]]:
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        name: np.array([float(row[name] or "nan") for row in rows])
        for name in ("events", "seconds", "loss", "val_nats_per_event")
    }
