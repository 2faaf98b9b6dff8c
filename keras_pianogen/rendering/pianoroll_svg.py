"""Performances as SVG, for web pages. Times in seconds, pitches as MIDI's.

A roll is one element without scripts, styles, names or references, so a page
may hold any number of rolls. It is as wide as the page allows. Letters and
lines keep their size, and have the page's own colour (`currentColor`). The
notes' colours stand out on a light ground and on a dark one.
"""

import math
import re
import xml.etree.ElementTree as ET

import numpy as np

from keras_pianogen.notices.counts import counted
from keras_pianogen.rendering.roll import PEDAL_NAME
from keras_pianogen.rendering.roll import SECONDS_PER_ROW
from keras_pianogen.rendering.roll import Roll
from keras_pianogen.rendering.roll import pitch_name

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
MAX_TICKS = 7
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200)  # seconds

# Characters that XML can't hold, even escaped.
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
    semitones, so that a script of the page can draw a cursor there without
    knowing how the picture is laid out.

    Args:
        notes: A performance, as `read_notes` returns; at least one note.
        title: The picture's name, for those who can't see it, and for a mouse
            that rests on it. Defaults to the number of notes.
        prompt_seconds: Length of the prompt in seconds, see `plot_piano_roll`.
            Defaults to no prompt.
        pedal: When the sustain pedal is down, as `read_pedal` returns it.
            Defaults to none.
        seconds_per_row: Longest time that one row may hold, in seconds, see
            `plot_piano_roll`.

    Returns:
        An `<svg>` element, which is a complete file as well. The first 400
        notes of a piece take about 25 kB.

    Raises:
        ValueError: If `notes` are none or not notes, `pedal` is no pedal, or
            a number is out of its range.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> svg = piano_roll_svg(notes, title="Two notes")
        >>> svg.startswith("<svg"), "<title>Two notes</title>" in svg
        (True, True)
    """
    roll = Roll.of(notes, prompt_seconds, pedal, seconds_per_row)
    lane = sum(PEDAL) if len(roll.pedal) else 0
    below = SEMITONE * (roll.high - roll.low)
    height = int(below) + lane + TOP + BOTTOM
    svg = ET.Element("svg", _root(len(roll.rows) * height))
    title = title or f"Piano roll of {counted(len(roll.notes), 'note')}"
    ET.SubElement(svg, "title").text = _UNWRITABLE.sub("\ufffd", title)
    ET.SubElement(svg, "desc").text = _describe(roll)
    for place, times in enumerate(roll.rows):
        frame = _draw_row(svg, TOP + place * height, roll, times)
        if lane:
            _draw_pedal(frame, roll.pedal_in(*times), times, below + PEDAL[0])
        _draw_times(frame, times, below + lane + 15)
    return ET.tostring(svg, encoding="unicode")


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


def _describe(roll: Roll) -> str:
    """The picture in words."""
    notes, pedal = roll.notes, roll.pedal
    low, high = (pitch_name(int(p)) for p in np.sort(notes["pitch"])[[0, -1]])
    text = (
        f"{counted(len(notes), 'note')} in {notes['end'].max():.1f} seconds, "
        f"from {low} to {high}, velocities {notes['velocity'].min()} to "
        f"{notes['velocity'].max()}."
    )
    if len(pedal):
        down = (pedal["end"] - pedal["start"]).sum()
        times = "once" if len(pedal) == 1 else f"{len(pedal):,} times"
        text += f" The sustain pedal is pressed {times}, {down:.1f} seconds."
    if roll.border:
        text += f" The first {roll.border:.1f} seconds are the prompt."
    return text


def _draw_row(
    svg: ET.Element, top: int, roll: Roll, times: tuple[float, float]
) -> ET.Element:
    """Adds a row, and returns its frame.

    The frame is in pixels. In it is an inner element in seconds and semitones.
    """
    begin, end = times
    height = roll.high - roll.low
    frame = ET.SubElement(
        svg,
        "svg",
        x=str(LEFT),
        y=str(top),
        height=_number(SEMITONE * height),
        style=f"width:calc(100% - {LEFT + RIGHT}px)",
        overflow="visible",
    )
    row = ET.SubElement(
        frame,
        "svg",
        {"class": "row", "preserveAspectRatio": "none"},
        viewBox=" ".join(map(_number, (begin, 0, end - begin, height))),
    )
    _draw_keys(row, frame, roll, times)
    if begin < roll.border:
        _draw_prompt(row, frame, times, height, min(roll.border, end))
    _draw_notes(row, roll, times)
    return frame


def _draw_keys(
    row: ET.Element, frame: ET.Element, roll: Roll, times: tuple[float, float]
) -> None:
    """Draws a band for each black key, and a line and a name for each C."""
    begin, end = times
    bands = "".join(
        _box(begin, roll.high - black - 0.5, end - begin, 1)
        for black in roll.black_keys
    )
    ET.SubElement(row, "path", {"d": bands, "fill-opacity": "0.05"})
    for octave in roll.octaves:
        y = roll.high - octave
        _draw_line(row, begin, y + 0.5, f"H{_number(end)}", "0.2")
        _draw_text(frame, "-6", SEMITONE * y + 4, pitch_name(octave), "end")


def _draw_pedal(
    frame: ET.Element,
    pedal: np.ndarray,
    times: tuple[float, float],
    top: float,
) -> None:
    """Draws a bar for each press in a lane, stronger where it begins."""
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
    """Writes the seconds below a row, with `MAX_TICKS` labels at most."""
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
    """Shades the ground of the prompt, and labels both sides of its end."""
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
    row: ET.Element, roll: Roll, times: tuple[float, float]
) -> None:
    """Draws bars and, over them, their onsets; those of the prompt in grey."""
    notes, length = roll.notes_in(*times), times[1] - times[0]
    thinnest = length / 1000  # so that the shortest note is seen
    held = np.maximum(notes["end"] - notes["start"], thinnest)
    onset = np.minimum(held, ONSET * length / SECONDS_PER_ROW)
    level = np.digitize(notes["velocity"], LOUDER)
    level[notes["start"] < roll.border] = -1
    for index in np.unique(level):
        chosen = level == index
        colour, opacities = "currentColor", PROMPT_OPACITIES
        if index >= 0:
            colour, opacities = VELOCITY_COLOURS[index], OPACITIES
        for name, width in (("notes", held), ("onsets", onset)):
            bars = "".join(
                _box(start, roll.high - pitch - 0.42, seconds, 0.84)
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
    """A time's distance from the left edge of its row, in per cent."""
    return f"{_number(100 * (time - times[0]) / (times[1] - times[0]))}%"


def _number(value: float) -> str:
    """A number rounded to a hundredth of a second, semitone, pixel or %."""
    return f"{round(float(value), 2) + 0.0:.8g}"


def _box(x: float, y: float, width: float, height: float) -> str:
    """A rectangle as a part of a path."""
    across, up = _number(width), _number(height)
    return f"M{_number(x)} {_number(y)}h{across}v{up}h-{across}z"
