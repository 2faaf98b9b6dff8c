"""Performances as pictures: piano rolls drawn by Matplotlib.

Times in seconds; pitches and velocities are MIDI's. Matplotlib's objects are
used without `pyplot`, so that no display is needed and no global state changes.
"""

import itertools
import math
import os
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.colors import ListedColormap
from matplotlib.colors import Normalize
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_pianogen.files import save_figure
from keras_pianogen.rendering.roll import PEDAL_NAME
from keras_pianogen.rendering.roll import SECONDS_PER_ROW
from keras_pianogen.rendering.roll import Roll
from keras_pianogen.rendering.roll import pitch_name

# Lightness rises evenly with velocity. The darkest end of plasma is left out,
# because it would not stand out from the background.
VELOCITY = Normalize(1, 127)
VELOCITY_COLOURS = ListedColormap(
    matplotlib.colormaps["plasma"](np.linspace(0.22, 0.97, 127))
)
PROMPT_COLOURS = LinearSegmentedColormap.from_list(
    "prompt", ["#4a556b", "#eef2f8"], N=127
)
BACKGROUND = "#0f1420"
BLACK_KEY_ROW = "#171d2c"
OCTAVE_LINE = "#2c3549"
PROMPT_ROW = "#9db4dc"  # laid thinly over the rows of the prompt
FAINT = "#98a3b7"
WHITE_KEY = "#cfd6e2"
BRIGHT = "#e8ecf4"

# A bar fades from its onset, as a piano's tone does. So a note that is struck
# again under the pedal can be seen. Bars of one colour would run together.
FADED = 0.38  # share of the colour that remains
FADE_AGES = np.append(0, np.geomspace(0.07, 3.5, 16))  # s, in a row of 30 s
FADE_SECONDS = 0.8  # to 1/e, in a row of 30 s

WIDTH = 12.0  # inches, as are the next lengths
LEFT, RIGHT = 0.75, 0.3
TOP, BOTTOM, GAP = 0.62, 0.55, 0.42
HEADING = 0.27  # from the top down to the middle of the title
PEDAL = (0.045, 0.12)  # from the row down to the pedal's lane, and to its end
KEYS = (-0.0165, -0.0085, -0.0025)  # a keyboard, in fractions of a row


def plot_piano_roll(
    notes: np.ndarray,
    path: str | os.PathLike[str] | None = None,
    *,
    prompt_seconds: float | None = None,
    pedal: np.ndarray | None = None,
    title: str | None = None,
    seconds_per_row: float | None = None,
    dpi: int = 150,
) -> Figure:
    """Draws notes as a piano roll: time to the right, pitch upwards.

    A note is a bar from its start to its end, coloured by its velocity and
    fading from its onset. A long piece is wrapped into rows like a score.

    Args:
        notes: A performance, as `read_notes` returns; at least one note.
        path: File to save the picture in as well. The suffix names the
            format (`.png`, `.svg`, `.pdf`). The file appears whole or not at
            all. Defaults to none.
        prompt_seconds: Length of the prompt in seconds, 0 or more. Notes that
            start in it are drawn in grey on a shaded ground, and the rest is
            labelled as generated. Defaults to no prompt.
        pedal: When the sustain pedal is down, as `read_pedal` returns it. It
            is drawn in a lane under each row. Defaults to none.
        title: Text above the picture.
        seconds_per_row: Longest time that one row may hold, in seconds, more
            than 0. Defaults to 30, or more if a piece would need over 12 rows.
        dpi: Pixels per inch of a saved picture, which is 12 inches wide.

    Returns:
        The figure.

    Raises:
        ValueError: If `notes` are none or not notes, `pedal` is no pedal, or
            a number is out of its range.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> figure = plot_piano_roll(notes, "roll.png", prompt_seconds=1)
        >>> len(figure.axes)  # one row, and the colours of the velocities
        2
    """
    roll = Roll.of(notes, prompt_seconds, pedal, seconds_per_row)
    figure, rows = _lay_out(roll, dpi)
    for axes, row in zip(rows, roll.rows, strict=True):
        axes.set_xlim(row)
        _draw_keys(axes, roll)
        _draw_keyboard(axes, roll)
        _draw_notes(axes, roll)
        if roll.border:
            _draw_prompt(axes, roll.border)
        if len(roll.pedal):
            _draw_pedal(axes, roll)
    rows[-1].set_xlabel("time (seconds)", color=FAINT, fontsize=9)
    if title:
        _draw_title(figure, title)
    _draw_colours(figure)
    if path is not None:
        save_figure(figure, path, dpi)
    return figure


def _lay_out(roll: Roll, dpi: int) -> tuple[Figure, list[Axes]]:
    """A figure and its rows, from the top down, with room for the pedal."""
    count, lane = len(roll.rows), PEDAL[1] if len(roll.pedal) else 0.0
    semitone = max(0.032, 0.058 - 0.006 * count)  # inches
    row = semitone * (roll.high - roll.low)
    height = TOP + count * (row + lane) + (count - 1) * GAP + BOTTOM
    figure = Figure(figsize=(WIDTH, height), dpi=dpi, facecolor=BACKGROUND)
    rows = []
    for place in range(count):
        bottom = height - TOP - row - place * (row + lane + GAP)
        box = (
            LEFT / WIDTH,
            bottom / height,
            (WIDTH - LEFT - RIGHT) / WIDTH,
            row / height,
        )
        axes = figure.add_axes(
            box, facecolor=BACKGROUND, ylim=(roll.low, roll.high)
        )
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.tick_params(colors=FAINT, labelsize=9, length=0, pad=4)
        axes.tick_params(axis="x", pad=4 + 72 * lane)
        axes.tick_params(axis="y", pad=21)
        axes.xaxis.set_major_locator(MaxNLocator(12, steps=[1, 2, 5, 10]))
        rows.append(axes)
    return figure, rows


def _bars(
    start: npt.ArrayLike, end: npt.ArrayLike, pitch: np.ndarray, half: float
) -> np.ndarray:
    """Corners of bars that reach `half` a semitone up and down from `pitch`."""
    left, right, middle = np.broadcast_arrays(start, end, pitch.astype(float))
    x = np.stack([left, left, right, right], axis=-1)
    y = np.stack([-half, half, half, -half]) + middle[:, None]
    return np.stack([x, y], axis=-1)  # (bars, corners, 2)


def _add_bars(axes: Axes, bars: Any, colours: Any, **style: Any) -> None:
    """Adds all bars at once, and leaves the row's limits as they are."""
    collection = PolyCollection(bars, facecolors=colours, linewidths=0, **style)
    axes.add_collection(collection, autolim=False)


def _draw_keys(axes: Axes, roll: Roll) -> None:
    """Draws a band for each black key, and a line and a name for each C."""
    begin, end = axes.get_xlim()
    bands = _bars(begin, end, roll.black_keys, 0.5)
    _add_bars(axes, bands, BLACK_KEY_ROW, zorder=0)
    for line in roll.octaves - 0.5:
        axes.axhline(line, color=OCTAVE_LINE, linewidth=0.8, zorder=1)
    axes.set_yticks(roll.octaves, [pitch_name(c) for c in roll.octaves])


def _draw_keyboard(axes: Axes, roll: Roll) -> None:
    """Draws a keyboard at the row's left edge; x in fractions of the row."""
    keys, black = roll.keys, roll.black_keys
    across: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "clip_on": False,
    }
    for pitch, right, colour in (
        (keys, KEYS[2], WHITE_KEY),
        (black, KEYS[1], BACKGROUND),
    ):
        _add_bars(axes, _bars(KEYS[0], right, pitch, 0.5), colour, **across)
    # White keys meet behind a black key, or between E and F, B and C.
    joints = np.append(black, keys[np.isin(keys % 12, (0, 5))] - 0.5)
    axes.hlines(
        joints, KEYS[0], KEYS[2], colors=BACKGROUND, linewidths=0.5, **across
    )


def _draw_notes(axes: Axes, roll: Roll) -> None:
    """Draws each note as a bar; notes of the prompt in grey."""
    begin, end = axes.get_xlim()
    notes = roll.notes_in(begin, end)
    level = VELOCITY(notes["velocity"].astype(float))
    colours = VELOCITY_COLOURS(level)
    given = notes["start"] < roll.border
    colours[given] = PROMPT_COLOURS(level[given])
    thinnest = (end - begin) / 1000  # so that the shortest note is seen
    until = np.maximum(notes["end"], notes["start"] + thinnest)
    bars = _bars(notes["start"], until, notes["pitch"], 0.42)
    faded = FADED * colours + (1 - FADED) * np.array(to_rgba(BACKGROUND))
    _add_bars(axes, bars, faded, label="notes", zorder=2)
    _draw_onsets(axes, bars, colours)


def _draw_onsets(axes: Axes, bars: np.ndarray, colours: np.ndarray) -> None:
    """Draws each note's full colour over its bar, fading with time."""
    begin, end = axes.get_xlim()
    scale = (end - begin) / SECONDS_PER_ROW
    start, stop = bars[:, 0, 0], bars[:, 2, 0]
    pieces, lights = [], []
    for age, until in itertools.pairwise(FADE_AGES):
        held = start + age * scale < stop
        piece = bars[held].copy()
        piece[:, :2, 0] += age * scale
        until = np.minimum(stop, start + until * scale)[held]
        piece[:, 2:, 0] = until[:, None]
        light = colours[held].copy()
        light[:, 3] = math.exp(-age / FADE_SECONDS)
        pieces.append(piece)
        lights.append(light)
    _add_bars(
        axes,
        np.concatenate(pieces),
        np.concatenate(lights),
        antialiased=False,  # no seams between the pieces of a bar
        rasterized=True,  # thousands of pieces: an SVG would be huge
        zorder=3,
    )


def _draw_prompt(axes: Axes, border: float) -> None:
    """Shades the ground of the prompt, and labels both sides of its end."""
    begin, end = axes.get_xlim()
    if begin < border:
        axes.axvspan(
            begin,
            min(border, end),
            color=PROMPT_ROW,
            alpha=0.09,
            linewidth=0,
            label="prompt",
            zorder=1.5,
        )
    if begin < border <= end:
        axes.axvline(border, color=BRIGHT, linewidth=1, linestyle=(0, (4, 3)))
        _name_side(axes, "prompt", border, "right")
    # Close to the row's end there is no room for the word.
    if begin <= border < end - 0.05 * (end - begin):
        _name_side(axes, "generated", border, "left")


def _draw_pedal(axes: Axes, roll: Roll) -> None:
    """Draws a bar for each press in a lane below the row."""
    begin, end = axes.get_xlim()
    pedal = roll.pedal_in(begin, end)
    inch = 1 / (axes.get_position().height * axes.figure.get_figheight())
    top, bottom = (-inches * inch for inches in PEDAL)
    middle, half = (top + bottom) / 2, (top - bottom) / 2
    below: dict[str, Any] = {
        "transform": axes.get_xaxis_transform(),
        "clip_on": False,
    }
    ground = _bars(begin, end, np.array([middle]), half)
    _add_bars(axes, ground, BLACK_KEY_ROW, **below)
    left, right = (np.clip(pedal[x], begin, end) for x in ("start", "end"))
    bars = _bars(left, right, np.full(len(pedal), middle), half)
    # The ground shows between two presses, by the width of a line.
    _add_bars(axes, bars, FAINT, label="pedal", **below)
    axes.vlines(left, bottom, top, colors=BACKGROUND, linewidths=0.8, **below)
    axes.annotate(
        PEDAL_NAME,
        (0, middle),
        (-21, 0),
        xycoords="axes fraction",
        textcoords="offset points",
        color=FAINT,
        fontsize=8,
        ha="right",
        va="center",
    )


def _name_side(axes: Axes, text: str, border: float, side: str) -> None:
    axes.annotate(
        text,
        (border, 1),
        (-5 if side == "right" else 5, 4),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        color=BRIGHT,
        fontsize=9,
        ha=side,
    )


def _draw_title(figure: Figure, title: str) -> None:
    figure.text(
        LEFT / WIDTH,
        1 - HEADING / figure.get_figheight(),
        title,
        color=BRIGHT,
        fontsize=13,
        fontweight="bold",
        parse_math=False,
        va="center",
    )


def _draw_colours(figure: Figure) -> None:
    """Draws the colours of the velocities, at the right of the heading."""
    height = figure.get_figheight()
    line = 1 - HEADING / height
    width, thick = 1.5 / WIDTH, 0.09 / height
    left = 1 - (RIGHT + 0.3) / WIDTH - width
    axes = figure.add_axes((left, line - thick / 2, width, thick))
    axes.imshow(
        np.linspace(0, 1, 127)[None],
        cmap=VELOCITY_COLOURS,
        aspect="auto",
        extent=(1, 127, 0, 1),
    )
    axes.set_axis_off()
    for x, text, side in (
        (-0.04, "velocity 1", "right"),
        (1.04, "127", "left"),
    ):
        axes.text(
            x,
            0.5,
            text,
            transform=axes.transAxes,
            color=FAINT,
            fontsize=9,
            ha=side,
            va="center_baseline",
        )
