"""A corpus at a glance, in one picture.

It shows hours by year, composers, lengths of pieces (minutes), notes a second
and velocities (1 to 127). The paper that this package implements describes its
data set by the same figures, in figure 8. Matplotlib's objects are used
without `pyplot`.
"""

import collections
import os
from collections.abc import Container
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.pieces import Piece
from keras_pianogen.files import save_figure

COLOUR = "#1d4ed8"
MEDIAN = "#c2410c"
COMPOSERS = 12  # named in the picture; the others share one bar
COLUMNS = 3
BINS = 40


def plot_corpus(corpus: Corpus, path: str | os.PathLike[str]) -> dict[str, str]:
    """Draws a corpus: years, composers, lengths, notes a second, velocities.

    Args:
        corpus: a prepared corpus of at least one piece.
        path: picture to write: .png, .svg or .pdf.

    Returns:
        The reason for each panel that is left out, by the panel's name: a
        dict of sentences.
    """
    left_out = _without_data(corpus.pieces)
    save_figure(_compose(corpus, left_out), path, dpi=100)
    return left_out


def _compose(corpus: Corpus, left_out: Container[str]) -> Figure:
    """Draws the panels that aren't left out, row after row."""
    names = [name for name in PANELS if name not in left_out]
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(12, 3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis, name in zip(grid, names):
        PANELS[name](axis, corpus)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in grid[len(names) :]:
        axis.remove()
    hours = sum(piece.seconds for piece in corpus.pieces) / 3600
    figure.suptitle(
        f"{len(corpus):,} pieces, {hours:,.1f} hours, "
        f"{len(corpus.packed):,} notes",
        fontsize=11,
    )
    return figure


def _without_data(pieces: list[Piece[str]]) -> dict[str, str]:
    """Reasons to leave out the panels of years and of composers."""
    reasons = {}
    if not any(piece.year for piece in pieces):
        reasons["years"] = "no piece has a year"
    if not any(piece.composer for piece in pieces):
        reasons["composers"] = "no piece has a composer"
    return reasons


def _draw_years(axis: Axes, corpus: Corpus) -> None:
    hours = _hours(corpus, "year")
    hours.pop(0, None)
    years = sorted(hours)
    # Bars stand side by side even if years between them are missing.
    axis.bar(range(len(years)), [hours[y] for y in years], color=COLOUR)
    axis.set_xticks(range(len(years)), list(map(str, years)), rotation=45)
    _label(axis, "year of the performance", "hours")


def _draw_composers(axis: Axes, corpus: Corpus) -> None:
    hours = _hours(corpus, "composer")
    unknown = hours.pop("", 0.0)
    ranked = sorted(hours, key=lambda name: (-hours[name], name))
    rows = [(_short(name), hours[name]) for name in ranked[:COMPOSERS]]
    if rest := ranked[COMPOSERS:]:
        rows.append((f"{len(rest)} others", sum(hours[name] for name in rest)))
    if unknown:
        rows.append(("not named", unknown))
    names, lengths = zip(*rows)
    axis.barh(range(len(rows)), lengths, color=COLOUR)
    axis.set_yticks(range(len(rows)), names, parse_math=False)
    axis.invert_yaxis()
    _label(axis, "hours", None)
    axis.set_title("composer", fontsize=9, loc="left")


def _draw_lengths(axis: Axes, corpus: Corpus) -> None:
    minutes = np.array([piece.seconds / 60 for piece in corpus.pieces])
    _draw_histogram(axis, minutes, "length (minutes)", "{:.1f} min")


def _draw_densities(axis: Axes, corpus: Corpus) -> None:
    densities = np.array(
        [p.num_notes / p.seconds for p in corpus.pieces if p.seconds]
    )
    _draw_histogram(
        axis, densities, "notes a second, mean of a piece", "{:.1f}"
    )


def _draw_velocities(axis: Axes, corpus: Corpus) -> None:
    counts = np.bincount(corpus.packed["velocity"], minlength=128)[:128]
    shares = 100 * counts / max(counts.sum(), 1)
    axis.bar(range(128), shares, width=1.0, color=COLOUR)
    middle = np.searchsorted(np.cumsum(counts), counts.sum() / 2)
    _mark(axis, float(middle), f"median {middle}")
    axis.set_xlim(0, 128)
    _label(axis, "velocity", "% of the notes")


def _draw_splits(axis: Axes, corpus: Corpus) -> None:
    rows = corpus.summary()[:-1]
    names = [row["split"] for row in rows]
    bars = axis.bar(names, [row["hours"] for row in rows], color=COLOUR)
    labels = [f"{row['pieces']:,} pieces" for row in rows]
    axis.bar_label(bars, labels, fontsize=8)
    axis.margins(y=0.12)
    _label(axis, "split", "hours")


def _hours(corpus: Corpus, field: str) -> dict[Any, float]:
    """Hours of the pieces for each value of one of their fields."""
    hours: dict[Any, float] = collections.defaultdict(float)
    for piece in corpus.pieces:
        hours[getattr(piece, field)] += piece.seconds / 3600
    return hours


def _short(name: str) -> str:
    """Shortens `Johann Sebastian Bach` to `J. S. Bach`, pairs to last names."""
    if "/" in name:
        parts = [part.split()[-1] for part in name.split("/") if part.strip()]
        return " / ".join(parts)
    *first, last = name.split() or [name]
    return " ".join([f"{word[0]}." for word in first] + [last])


def _draw_histogram(
    axis: Axes, values: NDArray[np.float64], label: str, form: str
) -> None:
    axis.hist(values, bins=BINS, color=COLOUR)
    middle = float(np.median(values)) if len(values) else 0.0
    _mark(axis, middle, f"median {form.format(middle)}")
    axis.set_xlim(left=0)
    _label(axis, label, "pieces")


def _mark(axis: Axes, place: float, text: str) -> None:
    axis.margins(y=0.12)  # Room for the words above the bars.
    axis.axvline(place, color=MEDIAN, lw=1)
    axis.annotate(
        text,
        (place, 1),
        (4, -8),
        xycoords=axis.get_xaxis_transform(),
        textcoords="offset points",
        color=MEDIAN,
        fontsize=8,
    )


def _label(axis: Axes, across: str, up: str | None) -> None:
    axis.set_xlabel(across, fontsize=9)
    if up:
        axis.set_ylabel(up, fontsize=9)


PANELS = {
    "years": _draw_years,
    "composers": _draw_composers,
    "lengths": _draw_lengths,
    "notes a second": _draw_densities,
    "velocities": _draw_velocities,
    "splits": _draw_splits,
}
