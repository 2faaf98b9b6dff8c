"""Performances as SVG, for web pages. Times in seconds, pitches as MIDI's.

A roll is one element without scripts, styles, names or references, so a page
may hold any number of them. It is as wide as the page lets it be; letters and
lines keep their size, and have the page's own colour (`currentColor`). The
notes' colours are seen on a light ground and on a dark one.
"""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np

from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import check_pedal

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
BLACK_KEYS = (1, 3, 6, 8, 10)  # semitones above C
MIN_SPAN = 24  # semitones that a picture shows at least
SECONDS_PER_ROW = 30.0
ONE_ROW = 36.0  # seconds: rather one long row than two short ones
DEFAULT_ROWS = 12  # longer pieces get longer rows
MAX_ROWS = 100

# From soft to loud, in even steps of hue. All have a contrast of 3:1 or more
# with white and with #1e2129.
VELOCITY_COLOURS = (
    "#5c72a3",
    "#7470af",
    "#8f6bb3",
    "#ab65ab",
    "#c65e97",
    "#da5977",
    "#e95848",
    "#e06903",
)
LOUDER = range(28, 101, 12)  # velocities where the next colour begins
# Opacities of a bar, and of its onset.
OPACITIES = {"notes": 0.6, "onsets": 1.0}
PROMPT_OPACITIES = {"notes": 0.35, "onsets": 0.7}
ONSET = 0.15  # seconds of a bar that are its onset, in a row of 30 s

# CSS pixels.
SEMITONE = 4
LEFT, RIGHT = 30, 12
TOP, BOTTOM = 18, 22  # above and below each row
PEDAL = (4, 6)  # from a row to the lane of its pedal, and the lane's height
PEDAL_NAME = "Ped."  # as in scores
MAX_TICKS = 7
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200)  # seconds

# What XML can't hold, even escaped.
_UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def piano_roll_svg(
    notes: np.ndarray,
    *,
    title: str | None = None,
    prompt_seconds: float | None = None,
    pedal: np.ndarray | None = None,
    seconds_per_row: float | None = None,
) -> str:
    """Draws notes as a piano roll in SVG: time to the right, pitch upwards.

    A note is a bar from its start to its end, coloured by its velocity,
    stronger at its onset. A long piece is wrapped into rows like a score.
    Each row has an inner `<svg class="row">` whose `viewBox` is in seconds and
    semitones: a script of the page's own that draws a cursor there need not
    know how the picture is laid out.

    Args:
        notes: A performance, as `read_notes` returns; at least one note.
        title: What the picture is called, for those who don't see it and
            where the mouse rests on it. Defaults to the number of notes.
        prompt_seconds: Length of the prompt in seconds, 0 or more. What
            starts before it is drawn in grey on a shaded ground, and what
            follows is labelled as generated. Defaults to no prompt.
        pedal: When the sustain pedal is down, as `read_pedal` returns it: a
            lane under each row. Defaults to none.
        seconds_per_row: Longest time that one row may hold, in seconds, more
            than 0. Defaults to 30, or more where a piece would need over 12
            rows.

    Returns:
        An `<svg>` element, which is also a file: the first 400 notes of a
        piece take about 25 kB.

    Raises:
        ValueError: `notes` are none or not notes, `pedal` isn't one, or a
            number is out of its range.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> svg = piano_roll_svg(notes, title="Two notes")
        >>> svg.startswith("<svg"), "<title>Two notes</title>" in svg
        (True, True)
    """
    notes, bounds, border = prepare_roll(notes, prompt_seconds, seconds_per_row)
    pedal = prepare_pedal(pedal)
    pitches = pitch_range(notes["pitch"])
    lane = sum(PEDAL) if len(pedal) else 0
    height = int(SEMITONE * (pitches[1] - pitches[0])) + lane + TOP + BOTTOM
    svg = ET.Element("svg", _root((len(bounds) - 1) * height))
    title = title or f"Piano roll of {len(notes):,} notes"
    ET.SubElement(svg, "title").text = _UNWRITABLE.sub("\ufffd", title)
    ET.SubElement(svg, "desc").text = _describe(notes, pedal, border)
    for place, times in enumerate(itertools.pairwise(bounds)):
        top = TOP + place * height
        frame = _draw_row(svg, top, notes, times, pitches, border)
        below = SEMITONE * (pitches[1] - pitches[0])
        if lane:
            _draw_pedal(frame, pedal, times, below + PEDAL[0])
        _draw_times(frame, times, below + lane + 15)
    return ET.tostring(svg, encoding="unicode")


def prepare_roll(
    notes: np.ndarray,
    prompt_seconds: float | None,
    seconds_per_row: float | None,
) -> tuple[np.ndarray, list[float], float]:
    """Notes that can be drawn, the bounds of rows, and the prompt's end."""
    notes = check_notes(notes)
    if not len(notes):
        raise ValueError(
            "`notes` must hold at least one note to draw. Received: 0 notes"
        )
    if prompt_seconds is not None:
        _check_seconds("prompt_seconds", prompt_seconds, prompt_seconds >= 0)
    bounds = row_bounds(float(notes["end"].max()), seconds_per_row)
    border = min(prompt_seconds or 0.0, bounds[-1])
    return notes, bounds, border


def prepare_pedal(pedal: np.ndarray | None) -> np.ndarray:
    """A pedal that can be drawn; without spans it isn't."""
    return np.empty(0, PEDAL_DTYPE) if pedal is None else check_pedal(pedal)


def _check_seconds(name: str, value: float, holds: bool) -> None:
    """Refuses a number that is not finite, or for which `holds` is false."""
    if not (holds and math.isfinite(value)):
        least = "0 or more" if name == "prompt_seconds" else "more than 0"
        raise ValueError(
            f"`{name}` must be a number of seconds, {least}. "
            f"Received: {name}={value}"
        )


def row_bounds(length: float, seconds_per_row: float | None) -> list[float]:
    """The times where rows begin, and where the last one ends."""
    length = length or 1.0
    longest = seconds_per_row
    if longest is None:
        longest = max(SECONDS_PER_ROW, math.ceil(length / DEFAULT_ROWS))
        longest = length if length <= ONE_ROW else longest
    _check_seconds("seconds_per_row", longest, longest > 0)
    count = math.ceil(length / longest)
    if count > MAX_ROWS:
        raise ValueError(
            f"`seconds_per_row` must be at least {length / MAX_ROWS:.1f} for "
            f"a piece of {length:.1f} seconds: a picture has at most "
            f"{MAX_ROWS} rows. Received: seconds_per_row={seconds_per_row}"
        )
    if count == 1:
        return [0.0, length]
    # Rows of one length, in whole seconds if they can be; none nearly empty.
    width = min(longest, math.ceil(length / count))
    return [row * width for row in range(count + 1)]


def pitch_range(pitch: np.ndarray) -> tuple[float, float]:
    """The lowest and highest edge to show, in semitones."""
    low, high = int(pitch.min()) - 2, int(pitch.max()) + 2
    span = min(max(high - low, MIN_SPAN), 127)
    low = min(max((low + high - span) // 2, 0), 127 - span)
    return low - 0.5, low + span + 0.5


def _root(height: int) -> dict[str, str]:
    """The outer element's attributes."""
    return {
        "xmlns": "http://www.w3.org/2000/svg",
        "class": "piano-roll",
        "role": "img",
        "width": "100%",
        "height": str(height),
        "fill": "currentColor",
        "font-size": "11",
        "font-family": "system-ui, sans-serif",
    }


def _describe(notes: np.ndarray, pedal: np.ndarray, border: float) -> str:
    """The picture in words."""
    low, high = (_name(int(p)) for p in np.sort(notes["pitch"])[[0, -1]])
    text = (
        f"{len(notes):,} notes in {notes['end'].max():.1f} seconds, from "
        f"{low} to {high}, velocities {notes['velocity'].min()} to "
        f"{notes['velocity'].max()}."
    )
    if len(pedal):
        down = (pedal["end"] - pedal["start"]).sum()
        times = "once" if len(pedal) == 1 else f"{len(pedal):,} times"
        text += f" The sustain pedal is pressed {times}, {down:.1f} seconds."
    if border:
        text += f" The first {border:.1f} seconds are the prompt."
    return text


def _draw_row(
    svg: ET.Element,
    top: int,
    notes: np.ndarray,
    times: tuple[float, float],
    pitches: tuple[float, float],
    border: float,
) -> ET.Element:
    """Adds a row: a frame in pixels, and in it one in seconds and semitones.

    Returns the frame.
    """
    (begin, end), (low, high) = times, pitches
    frame = ET.SubElement(
        svg,
        "svg",
        x=str(LEFT),
        y=str(top),
        height=_number(SEMITONE * (high - low)),
        style=f"width:calc(100% - {LEFT + RIGHT}px)",
        overflow="visible",
    )
    view = map(_number, (begin, 0, end - begin, high - low))
    row = ET.SubElement(
        frame,
        "svg",
        {"class": "row", "preserveAspectRatio": "none"},
        viewBox=" ".join(view),
    )
    _draw_keys(row, frame, times, pitches)
    if begin < border:
        _draw_prompt(row, frame, times, high - low, min(border, end))
    seen = notes[(notes["start"] < end) & (notes["end"] >= begin)]
    _draw_notes(row, seen, end - begin, high, border)
    return frame


def _draw_keys(
    row: ET.Element,
    frame: ET.Element,
    times: tuple[float, float],
    pitches: tuple[float, float],
) -> None:
    """A band for each black key; a line and a name for each C."""
    (begin, end), (low, high) = times, pitches
    pitch = np.arange(math.ceil(low), math.floor(high) + 1)
    bands = "".join(
        _box(begin, high - black - 0.5, end - begin, 1)
        for black in pitch[np.isin(pitch % 12, BLACK_KEYS)]
    )
    ET.SubElement(row, "path", {"d": bands, "fill-opacity": "0.05"})
    for octave in pitch[pitch % 12 == 0]:
        _draw_line(row, begin, high - octave + 0.5, f"H{_number(end)}", "0.2")
        y = SEMITONE * (high - octave) + 4
        _draw_text(frame, "-6", y, _name(int(octave)), "end")


def _draw_pedal(
    frame: ET.Element,
    pedal: np.ndarray,
    times: tuple[float, float],
    top: float,
) -> None:
    """A lane in seconds: a bar for each press, stronger where it begins."""
    (begin, end), height = times, PEDAL[1]
    lane = ET.SubElement(
        frame,
        "svg",
        {"class": "pedal", "preserveAspectRatio": "none"},
        y=_number(top),
        height=str(height),
        viewBox=f"{_number(begin)} 0 {_number(end - begin)} 1",
    )
    ET.SubElement(lane, "title").text = "Sustain pedal"
    ground = _box(begin, 0, end - begin, 1)
    ET.SubElement(lane, "path", {"d": ground, "fill-opacity": "0.08"})
    pedal = pedal[(pedal["start"] < end) & (pedal["end"] > begin)]
    held = pedal["end"] - pedal["start"]
    onset = np.minimum(held, ONSET * (end - begin) / SECONDS_PER_ROW)
    zeros = np.zeros(len(pedal))
    for width, opacity in ((held, "0.45"), (onset, "0.8")):
        bars = "".join(map(_box, pedal["start"], zeros, width, zeros + 1))
        ET.SubElement(lane, "path", {"d": bars, "fill-opacity": opacity})
    _draw_text(frame, "-6", top + height, PEDAL_NAME, "end")


def _draw_times(
    frame: ET.Element, times: tuple[float, float], y: float
) -> None:
    """Seconds below a row, with `MAX_TICKS` labels at most."""
    begin, end = times
    fitting = (s for s in TICKS if (end - begin) / s <= MAX_TICKS)
    step = next(fitting, math.ceil((end - begin) / MAX_TICKS))
    for tick in np.arange(math.ceil(begin / step), end / step) * step:
        _draw_text(frame, _share(tick, times), y, f"{tick:g} s", "middle")


def _draw_prompt(
    row: ET.Element,
    frame: ET.Element,
    times: tuple[float, float],
    height: float,
    border: float,
) -> None:
    """Shades the prompt's ground; where it ends, says what follows."""
    begin, end = times
    shade = _box(begin, 0, border - begin, height)
    ET.SubElement(row, "path", {"d": shade, "fill-opacity": "0.08"})
    if border == end:
        return
    _draw_line(row, border, 0, f"V{_number(height)}", "0.6")
    share = _share(border, times)
    _draw_text(frame, share, -6, "prompt", "end", dx="-5")
    if (border - begin) / (end - begin) < 0.8:
        _draw_text(frame, share, -6, "generated", "start", dx="5")


def _draw_notes(
    row: ET.Element,
    notes: np.ndarray,
    length: float,
    high: float,
    border: float,
) -> None:
    """Bars and, over them, their onsets; the prompt's are grey."""
    thinnest = length / 1000  # so that the shortest note is seen
    held = np.maximum(notes["end"] - notes["start"], thinnest)
    onset = np.minimum(held, ONSET * length / SECONDS_PER_ROW)
    level = np.digitize(notes["velocity"], LOUDER)
    level[notes["start"] < border] = -1
    for index in np.unique(level):
        chosen = level == index
        colour, opacities = "currentColor", PROMPT_OPACITIES
        if index >= 0:
            colour, opacities = VELOCITY_COLOURS[index], OPACITIES
        for name, width in (("notes", held), ("onsets", onset)):
            bars = "".join(
                _box(start, high - pitch - 0.42, seconds, 0.84)
                for start, pitch, seconds in zip(
                    notes["start"][chosen],
                    notes["pitch"][chosen],
                    width[chosen],
                    strict=True,
                )
            )
            style = {"class": name, "fill": colour, "d": bars}
            style["fill-opacity"] = f"{opacities[name]:g}"
            ET.SubElement(row, "path", style)


def _draw_line(
    row: ET.Element, x: float, y: float, to: str, opacity: str
) -> None:
    style = {
        "stroke": "currentColor",
        "stroke-opacity": opacity,
        "vector-effect": "non-scaling-stroke",
    }
    ET.SubElement(row, "path", style, d=f"M{_number(x)} {_number(y)}{to}")


def _draw_text(
    frame: ET.Element, x: str, y: float, text: str, anchor: str, dx: str = "0"
) -> None:
    style = {"text-anchor": anchor, "fill-opacity": "0.75"}
    label = ET.SubElement(frame, "text", style, x=x, y=_number(y), dx=dx)
    label.text = text


def _share(time: float, times: tuple[float, float]) -> str:
    """Where a time is in its row, in per cent."""
    return f"{_number(100 * (time - times[0]) / (times[1] - times[0]))}%"


def _name(pitch: int) -> str:
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


def _number(value: float) -> str:
    """To a hundredth: of a second, a semitone, a pixel or a per cent."""
    return f"{round(float(value), 2) + 0.0:.8g}"


def _box(x: float, y: float, width: float, height: float) -> str:
    """A rectangle as a piece of a path."""
    across, up = _number(width), _number(height)
    return f"M{_number(x)} {_number(y)}h{across}v{up}h-{across}z"
