"""Curves of the Transformer-GAN's runs, one beside the other.

Reads what a run's folder holds, `history.csv` and `real.json`; Matplotlib's
objects are used without `pyplot`.
"""

import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from keras_pianogen.training.curves import read_history

# Rows of the picture: a title, columns of the history with their labels, and
# whether the axis is logarithmic.
PANELS: tuple[tuple[str, dict[str, str], bool], ...] = (
    (
        "losses",
        {"generator_loss": "generator", "discriminator_loss": "discriminator"},
        False,
    ),
    (
        "gradient norm at the generator",
        {"generator_gradient_norm": "norm"},
        True,
    ),
    (
        "told right by the discriminator",
        {"real_accuracy": "real", "fake_accuracy": "generated"},
        False,
    ),
    (
        "distance from real music (Jensen-Shannon, nats)",
        {"event_divergence": "events", "pitch_divergence": "pitches"},
        False,
    ),
    (
        "variety",
        {
            "distinct_1": "distinct-1",
            "distinct_2": "distinct-2",
            "distinct_4": "distinct-4",
            "commonest_share": "commonest event",
        },
        False,
    ),
)
# Rounds that a faint, jagged curve is averaged over for the bold one.
SMOOTHED = 25
COLOURS = ("#c2410c", "#1d4ed8", "#047857", "#7c3aed")


def plot_gan_curves(
    runs: Mapping[str, str | os.PathLike[str]], path: str | os.PathLike[str]
) -> None:
    """Draws the histories of runs, a column each.

    Dashed lines are the same figures of real music.

    Args:
        runs: each run's folder, by its name.
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
        for row, (title, names, logarithmic) in enumerate(PANELS):
            axis = axes[row, column]
            _draw(axis, history, names, real)
            axis.set_title(title, fontsize=9, loc="left")
            if logarithmic and any(history[key].any() for key in names):
                axis.set_yscale("log")
        axes[0, column].set_title(f"{name}\n\nlosses", fontsize=9, loc="left")
        axes[-1, column].set_xlabel("round")
    figure.savefig(path, dpi=120)


def _draw(
    axis: Axes,
    history: Mapping[str, NDArray[np.float64]],
    names: Mapping[str, str],
    real: Mapping[str, float],
) -> None:
    for colour, (name, label) in zip(COLOURS, names.items()):
        values = history[name]
        if name == "generator_gradient_norm" and not values.any():
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
    """A running mean, of fewer values at the ends."""
    kernel = np.ones(SMOOTHED)
    sums = np.convolve(values, kernel, "same")
    return sums / np.convolve(np.ones(len(values)), kernel, "same")
