"""A comparison of two sets of pieces as a picture.

It draws a result of `Comparison.to_dict`, with Matplotlib's objects and
without `pyplot`.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_pianogen.files import save_figure
from keras_pianogen.judging.features import FEATURES
from keras_pianogen.judging.features import PEDAL_FEATURES
from keras_pianogen.judging.features import Feature
from keras_pianogen.judging.statistics import LEVEL

REAL, OTHER, SHUFFLED = "#64748b", "#c2410c", "#7c3aed"
# The sets that are compared with half of the real pieces, from the top down.
ROWS = (
    ("floor", "real", REAL),
    ("other", None, OTHER),
    ("shuffled", "shuffled", SHUFFLED),
)
COLUMNS = 4
OVERALL = {
    "frechet": "Fréchet distance of embeddings",
    "classifier": "classifier's accuracy",
}


def plot_comparison(
    comparison: Mapping[str, Any],
    path: str | os.PathLike[str] | None = None,
    *,
    real: str = "real",
    other: str = "other",
) -> Figure:
    """Draws each feature of both sets, and the measures over all features.

    Args:
        comparison: a dict from `Comparison.to_dict`.
        path: picture to write: .png, .svg or .pdf. Defaults to none.
        real: the real set's name.
        other: the other set's name.

    Returns:
        The figure.
    """
    shares = comparison["shares"]["real"]
    features = [f for f in (*FEATURES, *PEDAL_FEATURES) if f.name in shares]
    overall = [name for name in OVERALL if name in comparison["measures"]]
    rows = -(-(len(features) + len(overall)) // COLUMNS)
    figure = Figure(figsize=(13, 2.4 * rows + 0.4), layout="constrained")
    grid = figure.add_gridspec(rows, COLUMNS)
    cells = list(grid)
    for cell, feature in zip(cells, features, strict=False):
        _draw_shares(figure.add_subplot(cell), comparison, feature)
    figure.legend(
        handles=list(figure.axes[0].patches),
        labels=[real, other],
        loc="outside upper center",
        ncols=2,
        frameon=False,
    )
    for name, cell in zip(overall, cells[len(features) :], strict=False):
        axis = figure.add_subplot(cell)
        _draw_splits(axis, comparison, name, other)
        told = comparison["p_values"][name] < LEVEL
        title = OVERALL[name] + (" *" if told else "")
        axis.set_title(title, fontsize=9, loc="left")
        if name == "classifier":
            axis.axvline(0.5, color=REAL, ls=":", lw=1)
    if path is not None:
        save_figure(figure, path, dpi=120)
    return figure


def _draw_shares(
    axis: Axes, comparison: Mapping[str, Any], feature: Feature
) -> None:
    """Draws both histograms. A bin's height is its share."""
    # Zero has no place on a logarithmic axis: the first bin begins above it.
    edges = feature.edges.copy()
    if feature.logarithmic:
        axis.set_xscale("log")
        edges[0] = edges[0] or edges[1] / 2
    shares = comparison["shares"]
    axis.stairs(
        shares["real"][feature.name], edges, fill=True, color=REAL, alpha=0.45
    )
    axis.stairs(shares["other"][feature.name], edges, color=OTHER, lw=1.4)
    kl = comparison["measures"][f"{feature.name}.kl"]
    told = comparison["p_values"][f"{feature.name}.kl"] < LEVEL
    axis.set_title(
        f"{feature.name}: KL {kl['other']['mean']:.3f}{' *' if told else ''}"
        f"  (floor {kl['floor']['mean']:.3f})",
        fontsize=9,
        loc="left",
    )
    filled = np.flatnonzero(
        np.add(shares["real"][feature.name], shares["other"][feature.name])
        > 1e-4
    )
    axis.set_xlim(edges[filled[0]], edges[filled[-1] + 1])
    axis.set_ylim(0)
    axis.set_xlabel(feature.unit, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)


def _draw_splits(
    axis: Axes, comparison: Mapping[str, Any], name: str, other: str
) -> None:
    """Draws a row for each set: a dot for each split, a line for the mean."""
    measure = comparison["measures"][name]
    for row, (of, _, colour) in enumerate(ROWS):
        values = measure[of]["splits"]
        axis.scatter(values, np.full(len(values), row), color=colour, alpha=0.4)
        axis.plot(2 * [measure[of]["mean"]], [row - 0.3, row + 0.3], colour)
    axis.set_yticks(range(len(ROWS)), [label or other for _, label, _ in ROWS])
    axis.set_ylim(len(ROWS) - 0.5, -0.5)
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
