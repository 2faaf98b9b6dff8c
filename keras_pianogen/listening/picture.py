"""The report of a listening test as a picture, like the paper's figure 11.

Matplotlib's objects are used without `pyplot`.
"""

from __future__ import annotations

import os
import typing

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_pianogen.files import save_figure
from keras_pianogen.listening.ratings import QUALITIES

if typing.TYPE_CHECKING:
    from keras_pianogen.listening.report import Report

COLOURS = {
    "good": "#047857",
    "average": "#94a3b8",
    "bad": "#b91c1c",
    "inspiring": "#1d4ed8",
}


def plot_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Draws the share of each answer for each condition, and saves the picture.

    Lines are 95 % intervals.

    Args:
        report: a `Report`.
        path: picture to write: .png, .svg or .pdf.
    """
    save_figure(draw_report(report), path, dpi=120)


def draw_report(report: Report) -> Figure:
    """Draws the picture of `plot_report`, as a figure of Matplotlib.

    Args:
        report: a `Report`.
    """
    width = 2 + 1.1 * len(report.shares)
    figure = Figure(figsize=(2 * width, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    _draw(axes[0], report, QUALITIES)
    _draw(axes[1], report, ("inspiring",))
    axes[0].set_title("how they find it", fontsize=10, loc="left")
    axes[1].set_title("inspiring", fontsize=10, loc="left")
    axes[0].set_ylabel("share of ratings")
    axes[0].legend(frameon=False, fontsize=9, ncols=3)
    figure.suptitle(f"{report.panel}; lines are 95 % intervals", fontsize=11)
    return figure


def _draw(axis: Axes, report: Report, answers: tuple[str, ...]) -> None:
    """Draws a group of bars for each condition."""
    width = 0.8 / max(len(answers), 2)
    middle = np.arange(len(report.shares))
    for place, answer in enumerate(answers):
        shares = [of[answer] for of in report.shares.values()]
        heights = np.array([share.share for share in shares])
        low = np.array([share.low for share in shares])
        high = np.array([share.high for share in shares])
        axis.bar(
            middle + (place - (len(answers) - 1) / 2) * width,
            heights,
            0.92 * width,
            color=COLOURS[answer],
            yerr=np.maximum([heights - low, high - heights], 0),
            error_kw={"elinewidth": 1.2, "capsize": 3, "ecolor": "#1f2937"},
            label=answer,
        )
    # A name with dollar signs is no formula.
    axis.set_xticks(middle, list(report.shares), fontsize=9, parse_math=False)
    axis.set_ylim(0, 1.2)
    axis.set_yticks(
        np.arange(0, 1.01, 0.25), ["0", "25 %", "50 %", "75 %", "100 %"]
    )
    axis.spines[["top", "right"]].set_visible(False)
