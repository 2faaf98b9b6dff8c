"""Pictures of the histories of training runs.

They are drawn from the files in a run's folder: `history.csv`, and `real.json`
for a GAN. Losses are in nats per event. Matplotlib's objects are used without
`pyplot`.
"""

import itertools
import json
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from keras_pianogen.files import save_figure
from keras_pianogen.training.history import read_rows

History = Mapping[str, NDArray[np.float64]]

COLOURS = ("#1d4ed8", "#c2410c", "#047857", "#7c3aed", "#a16207", "#be185d")
# A curve of training losses has at most this many points; each is the mean
# over equally many steps.
POINTS = 200

# The rows of a GAN's picture: title, columns of the history and their labels.
PANELS: Mapping[str, Mapping[str, str]] = {
    "losses": {
        "generator_loss": "generator",
        "discriminator_loss": "discriminator",
    },
    "gradient norm at the generator": {"generator_gradient_norm": "norm"},
    "told right by the discriminator": {
        "real_accuracy": "real",
        "fake_accuracy": "generated",
    },
    "distance from real music (Jensen-Shannon, nats)": {
        "event_divergence": "events",
        "pitch_divergence": "pitches",
    },
    "variety": {
        "distinct_1": "distinct-1",
        "distinct_2": "distinct-2",
        "distinct_4": "distinct-4",
        "commonest_share": "commonest event",
    },
}
LOGARITHMIC = "generator_gradient_norm"
GAN_COLOURS = ("#c2410c", "#1d4ed8", "#047857", "#7c3aed")
# A GAN's curves are jagged. They are drawn faint, and bold as their mean over
# this many rounds.
SMOOTHED = 25


def read_history(
    folder: str | os.PathLike[str],
) -> dict[str, NDArray[np.float64]]:
    """The history of a run: its columns by name, nan where a cell is empty.

    Args:
        folder: the run's folder, with its `history.csv`.
    """
    names, rows = read_rows(pathlib.Path(folder) / "history.csv")
    values = [[float(x or "nan") for x in row.values()] for row in rows]
    columns = np.array(values).reshape(-1, len(names)).T
    return dict(zip(names, columns, strict=True))


# === Language models ===


def plot_training_curves(
    runs: Mapping[str, str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    lines: Mapping[str, float] | None = None,
) -> None:
    """Draws the losses of runs over the events they read, and over hours.

    Faint lines are training losses, on augmented music. Bold lines with dots
    are validation losses.

    Args:
        runs: each run's folder, by the name to show.
        path: picture to write: .png, .svg or .pdf.
        lines: losses of models that have no run, by the name to show. Each is
            a dotted line.
    """
    histories = {name: read_history(folder) for name, folder in runs.items()}
    figure = Figure(figsize=(10, 4), layout="constrained")
    by_events, by_hours = figure.subplots(1, 2, sharey=True)
    for axis, column, unit, label in (
        (by_events, "events", 1e6, "events seen (millions)"),
        (by_hours, "seconds", 3600.0, "hours"),
    ):
        drawn = [
            draw_losses(axis, history, column, unit, color=colour)
            for history, colour in zip(
                histories.values(), itertools.cycle(COLOURS)
            )
        ]
        _draw_lines(axis, lines or {})
        axis.set_xlabel(label)
        axis.set_xlim(left=0)
        axis.grid(alpha=0.25)
    by_events.set_ylabel("nats per event")
    _set_limits(by_events, histories.values(), lines or {})
    legend = by_events.legend(
        drawn, ["run"] * len(drawn), frameon=False, fontsize=8
    )
    # Matplotlib would leave out names that begin with _, and read $ as maths.
    for text, name in zip(legend.get_texts(), runs, strict=True):
        text.set(text=name, parse_math=False)
    save_figure(figure, path, dpi=120)


def draw_losses(
    axis: Axes,
    history: History,
    column: str,
    unit: float,
    *,
    color: str,
    label: str | None = None,
) -> Line2D:
    """Draws the training and validation losses of a language model's run.

    Args:
        axis: Matplotlib's axes to draw in.
        history: the run's history, see `read_history`.
        column: the column on the horizontal axis: `step`, `events` or
            `seconds`.
        unit: the number that the column is divided by.
        color: a colour of Matplotlib's.
        label: the run's name in the legend.

    Returns:
        The line of the validation losses.
    """
    x = history[column] / unit
    axis.plot(_means(x), _means(history["loss"]), color=color, alpha=0.35, lw=1)
    validation = history["val_nats_per_event"]
    measured = np.isfinite(validation)
    (line,) = axis.plot(
        x[measured],
        validation[measured],
        color=color,
        marker="o",
        markersize=3,
        label=label,
    )
    return line


def _draw_lines(axis: Axes, lines: Mapping[str, float]) -> None:
    for name, loss in lines.items():
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


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means of equal parts of an array, of at most `POINTS` parts."""
    parts = np.array_split(values, min(POINTS, len(values)))
    return np.array([part.mean() for part in parts])


def _set_limits(
    axis: Axes, histories: Iterable[History], lines: Mapping[str, float]
) -> None:
    """Leaves the first losses out: beside them nothing else could be seen."""
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


# === GANs ===


def plot_gan_curves(
    runs: Mapping[str, str | os.PathLike[str]], path: str | os.PathLike[str]
) -> None:
    """Draws the histories of a Transformer-GAN's runs, a column for each run.

    The dashed lines are the same figures of real music.

    Args:
        runs: each run's folder, by the name to show.
        path: picture to write: .png, .svg or .pdf.
    """
    figure = Figure(
        figsize=(1.6 + 4.4 * len(runs), 2.1 * len(PANELS)),
        layout="constrained",
    )
    axes = figure.subplots(len(PANELS), len(runs), squeeze=False, sharex="col")
    for column, (name, folder) in enumerate(runs.items()):
        history = read_history(folder)
        real = json.loads((pathlib.Path(folder) / "real.json").read_text())
        for axis, (title, labels) in zip(axes[:, column], PANELS.items()):
            _draw_panel(axis, history, labels, real)
            axis.set_title(title, fontsize=9, loc="left")
            if LOGARITHMIC in labels and history[LOGARITHMIC].any():
                axis.set_yscale("log")
        axes[0, column].set_title(
            f"{name}\n\nlosses", fontsize=9, loc="left", parse_math=False
        )
        axes[-1, column].set_xlabel("round")
    save_figure(figure, path, dpi=120)


def _draw_panel(
    axis: Axes,
    history: History,
    labels: Mapping[str, str],
    real: Mapping[str, float],
) -> None:
    for colour, (name, label) in zip(GAN_COLOURS, labels.items()):
        values = history[name]
        if name == LOGARITHMIC and not values.any():
            axis.text(
                0.5, 0.6, "exactly 0", transform=axis.transAxes, ha="center"
            )
        if len(values) > 4 * SMOOTHED and name not in real:
            axis.plot(history["step"], values, color=colour, alpha=0.2, lw=0.7)
            values = _smooth(values)
        axis.plot(history["step"], values, color=colour, label=label, lw=1.3)
        if name in real:
            axis.axhline(real[name], color=colour, ls="--", lw=0.8)
    axis.legend(fontsize=7, loc="best", frameon=False)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.2)


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over `SMOOTHED` values around each, over fewer at the ends."""
    kernel = np.ones(SMOOTHED)
    sums = np.convolve(values, kernel, "same")
    return sums / np.convolve(np.ones(len(values)), kernel, "same")
