"""Piano rolls for web pages: every note is there, and nothing else acts."""

import pathlib
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import strategies as st
from performances import notes_of
from performances import random_notes

import keras_pianogen
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.rendering.pianoroll_svg import VELOCITY_COLOURS
from keras_pianogen.rendering.pianoroll_svg import piano_roll_svg
from keras_pianogen.rendering.roll import row_bounds

pytestmark = pytest.mark.one_backend

SVG = "{http://www.w3.org/2000/svg}"
BOX = re.compile(r"M(\S+) (\S+)h(\S+)v(\S+)h-\3z")
DATA = pathlib.Path(__file__).parent / "data"
GROUNDS = ("#ffffff", "#1e2129")  # white, and the documentation's dark


def draw(notes, **options):
    return ET.fromstring(piano_roll_svg(notes, **options))


def rows_of(svg):
    return [e for e in svg.iter(f"{SVG}svg") if e.get("class") == "row"]


def boxes_of(row, name="notes"):
    """Left, top, width and height of bars: seconds and semitones."""
    paths = [
        e.get("d") for e in row.iter(f"{SVG}path") if e.get("class") == name
    ]
    boxes = [box for path in paths for box in BOX.findall(path)]
    return np.array(sorted(tuple(map(float, box)) for box in boxes))


def texts_of(svg):
    return [e.text for e in svg.iter(f"{SVG}text")]


# Notes.


def test_each_note_is_a_bar_where_it_sounds():
    notes = random_notes(200, 30)
    (row,) = rows_of(draw(notes))
    begin, top, length, height = map(float, row.get("viewBox").split())
    assert (begin, top) == (0, 0)
    assert length == pytest.approx(notes["end"].max(), abs=0.01)
    boxes = boxes_of(row)
    assert len(boxes) == 200
    middle = boxes[:, 1] + boxes[:, 3] / 2
    assert 0 < middle.min() and middle.max() < height
    # Pitch rises upwards, a unit for each semitone.
    order = np.argsort(notes["pitch"] - notes["start"] / 1e6)
    drawn = np.argsort(-middle - boxes[:, 0] / 1e6)
    found = boxes[drawn]
    np.testing.assert_allclose(found[:, 0], notes["start"][order], atol=0.006)
    held = (notes["end"] - notes["start"])[order]
    np.testing.assert_allclose(found[:, 2], held, atol=0.006)
    np.testing.assert_allclose(
        np.diff(-middle[drawn]), np.diff(notes["pitch"][order]), atol=0.02
    )


def test_each_onset_lies_over_its_bar():
    (row,) = rows_of(draw(random_notes(50, 20)))
    bars, onsets = boxes_of(row), boxes_of(row, "onsets")
    np.testing.assert_array_equal(bars[:, [0, 1, 3]], onsets[:, [0, 1, 3]])
    assert (onsets[:, 2] <= bars[:, 2]).all() and (onsets[:, 2] > 0).all()


def test_the_shortest_note_is_seen():
    (row,) = rows_of(draw(notes_of((0, 30, 60, 64), (5, 5, 64, 64))))
    assert boxes_of(row)[:, 2].min() == pytest.approx(0.03)


def test_louder_notes_are_further_along_the_colours():
    notes = notes_of(*((v / 10, v / 10 + 1, 60, v) for v in range(1, 128)))
    (row,) = rows_of(draw(notes))
    starts = [
        boxes_of_path[0]
        for colour in VELOCITY_COLOURS
        for e in row.iter(f"{SVG}path")
        if e.get("class") == "notes" and e.get("fill") == colour
        for boxes_of_path in BOX.findall(e.get("d"))
    ]
    starts = list(map(float, starts))
    assert len(starts) == 127 and starts == sorted(starts)


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("colour", VELOCITY_COLOURS)
def test_every_colour_is_seen_on_light_and_on_dark(colour, ground):
    """The contrast of WCAG 2.2 for graphics, 3:1."""

    def luminance(text):
        parts = [int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4
            for p in parts
        ]
        return np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05

    ratio = luminance(colour) / luminance(ground)
    assert max(ratio, 1 / ratio) >= 3


def test_the_prompt_is_grey_shaded_and_labelled():
    notes = notes_of((0, 1, 60, 64), (1, 2, 62, 64), (2, 3, 64, 64))
    svg = draw(notes, prompt_seconds=1.5)
    grey = [
        e
        for e in svg.iter(f"{SVG}path")
        if e.get("class") == "notes" and e.get("fill") == "currentColor"
    ]
    assert len(BOX.findall(grey[0].get("d"))) == 2
    assert {"prompt", "generated"} <= set(texts_of(svg))
    assert (
        "The first 1.5 seconds are the prompt." in svg.find(f"{SVG}desc").text
    )
    assert "prompt" not in texts_of(draw(notes))


# Rows.


@pytest.mark.parametrize(("seconds", "rows"), [(5, 1), (36, 1), (700, 12)])
def test_a_longer_piece_has_more_rows_but_not_too_many(seconds, rows):
    svg = draw(random_notes(40, seconds))
    assert len(rows_of(svg)) == rows
    frames = [e for e in svg if e.tag == f"{SVG}svg"]
    bottoms = [float(e.get("y")) + float(e.get("height")) for e in frames]
    tops = [float(e.get("y")) for e in frames[1:]]
    assert all(t > b for t, b in zip(tops, bottoms[:-1], strict=True))
    assert bottoms[-1] < float(svg.get("height"))


def test_a_note_over_the_end_of_a_row_goes_on_in_the_next():
    notes = notes_of((0, 1, 60, 64), (9, 12, 62, 64), (19, 20, 64, 64))
    rows = rows_of(draw(notes, seconds_per_row=10))
    assert [len(boxes_of(row)) for row in rows] == [2, 2]


@given(
    length=st.floats(0.01, 8000),
    longest=st.one_of(st.none(), st.floats(0.5, 4000)),
)
def test_rows_cover_the_piece_without_gaps_or_empty_rows(length, longest):
    assume(longest is None or length / longest <= 100)
    bounds = row_bounds(length, longest)
    widths = np.diff(bounds)
    assert bounds[0] == 0 and bounds[-2] <= length
    assert bounds[-1] >= length * (1 - 1e-12)
    np.testing.assert_allclose(widths, widths[0])
    if longest is None:
        assert len(widths) <= 12
    else:
        assert widths[0] <= longest * (1 + 1e-12)


@pytest.mark.parametrize("seconds", [0.5, 3, 20, 36, 100, 3600, 8000])
def test_a_row_has_some_times_below_it_but_not_too_many(seconds):
    svg = draw(notes_of((0, seconds, 60, 64)), seconds_per_row=seconds)
    times = [text for text in texts_of(svg) if text.endswith(" s")]
    assert 1 <= len(times) <= 8 and times[0] == "0 s"


# The pedal.


def lanes_of(svg):
    return [e for e in svg.iter(f"{SVG}svg") if e.get("class") == "pedal"]


def test_each_press_of_the_pedal_is_in_the_lane_of_its_row():
    pedal = np.array([(1, 12), (12, 13), (25, 26)], PEDAL_DTYPE)
    notes = notes_of((0, 39, 60, 64))
    svg = draw(notes, pedal=pedal, seconds_per_row=10)
    found = []
    for row, lane in zip(rows_of(svg), lanes_of(svg), strict=True):
        assert (
            lane.get("viewBox").split()[::2]
            == (row.get("viewBox").split()[::2])
        )  # begins and lasts as the row does
        _, held, onsets = (
            BOX.findall(path.get("d")) for path in lane.iter(f"{SVG}path")
        )
        assert [box[0] for box in held] == [box[0] for box in onsets]
        found.append([(float(box[0]), float(box[2])) for box in held])
    assert found == [[(1, 11)], [(1, 11), (12, 1)], [(25, 1)], []]


def test_the_lane_takes_room_of_its_own_and_is_told_in_words():
    notes = notes_of((0, 10, 60, 64))
    pedal = np.array([(1, 3.5), (4, 5)], PEDAL_DTYPE)
    bare, svg = draw(notes), draw(notes, pedal=pedal)
    (lane,), (row,) = lanes_of(svg), rows_of(svg)
    height = 4 * float(row.get("viewBox").split()[3])
    assert float(lane.get("y")) > height
    more = int(svg.get("height")) - int(bare.get("height"))
    assert more > int(lane.get("height"))
    assert lane.find(f"{SVG}title").text == "Sustain pedal"
    assert "Ped." in texts_of(svg) and "Ped." not in texts_of(bare)
    assert svg.find(f"{SVG}desc").text.endswith(
        " The sustain pedal is pressed 2 times, 3.5 seconds."
    )
    assert "pedal" not in ET.tostring(bare, encoding="unicode")
    assert piano_roll_svg(notes) == piano_roll_svg(notes, pedal=pedal[:0])


def test_what_is_no_pedal_is_refused():
    with pytest.raises(ValueError, match="`pedal` must be spans"):
        piano_roll_svg(notes_of((0, 1, 60, 64)), pedal=[(0, 1)])


# The element.


def test_it_has_a_role_a_name_and_a_description():
    svg = draw(notes_of((0, 1, 60, 20), (1, 2, 66, 96)))
    assert svg.get("role") == "img"
    assert svg.find(f"{SVG}title").text == "Piano roll of 2 notes"
    assert svg.find(f"{SVG}desc").text == (
        "2 notes in 2.0 seconds, from C4 to F#4, velocities 20 to 96."
    )


@pytest.mark.parametrize("title", ["<b>&\"'</b>", "]]> <!-- é 🎹", "a\0b\x1b"])
def test_any_title_is_text(title):
    svg = draw(notes_of((0, 1, 60, 64)), title=title)
    expected = title.replace("\0", "\ufffd").replace("\x1b", "\ufffd")
    assert svg.find(f"{SVG}title").text == expected
    assert {e.tag.removeprefix(SVG) for e in svg.iter()} == {
        "desc",
        "path",
        "svg",
        "text",
        "title",
    }


def test_nothing_acts_and_nothing_is_asked_for():
    text = piano_roll_svg(random_notes(50, 20), prompt_seconds=5)
    text = text.replace('xmlns="http://www.w3.org/2000/svg"', "", 1)
    for word in ("//", "href", "url(", "script", "<style", "id=", " on"):
        assert word not in text


def test_four_hundred_notes_take_less_than_thirty_kilobytes():
    assert len(piano_roll_svg(random_notes(400, 36))) < 30_000


def test_a_performance_of_maestro_is_drawn():
    notes = read_notes(DATA / "scarlatti_k_525.midi")
    rows = rows_of(draw(notes))
    assert len(notes) == 882 <= sum(len(boxes_of(row)) for row in rows)


def test_it_is_a_public_name():
    assert keras_pianogen.piano_roll_svg is piano_roll_svg


# What is refused.


def test_no_notes_are_refused():
    with pytest.raises(ValueError, match="`notes` must hold at least one"):
        piano_roll_svg(notes_of())


def test_what_is_not_notes_is_refused():
    with pytest.raises(ValueError, match="`notes` must"):
        piano_roll_svg([1, 2, 3])


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_prompt_out_of_its_range_is_refused(seconds):
    with pytest.raises(ValueError, match="`prompt_seconds` must"):
        piano_roll_svg(notes_of((0, 1, 60, 64)), prompt_seconds=seconds)


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_row_without_length_is_refused(seconds):
    with pytest.raises(ValueError, match="`seconds_per_row` must"):
        piano_roll_svg(notes_of((0, 1, 60, 64)), seconds_per_row=seconds)
