"""Piano rolls: what is drawn is what is played."""

import io
import itertools
import subprocess
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from performances import notes_of
from performances import random_notes

from keras_pianogen.midi.reading import read_notes
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.rendering.pianoroll import PROMPT_COLOURS
from keras_pianogen.rendering.pianoroll import VELOCITY_COLOURS
from keras_pianogen.rendering.pianoroll import plot_piano_roll

pytestmark = pytest.mark.one_backend


def rows_of(figure):
    """The rows of a figure, without its colour bar."""
    return figure.axes[:-1]


def bars_of(axes):
    (bars,) = [c for c in axes.collections if c.get_label() == "notes"]
    return bars


def boxes_of(axes):
    """Start, end and middle of each bar."""
    paths = [path.vertices[:4] for path in bars_of(axes).get_paths()]
    corners = np.array(paths).reshape(-1, 4, 2)
    x, y = corners[..., 0], corners[..., 1]
    return x.min(axis=1), x.max(axis=1), y.mean(axis=1)


def shades_of(axes):
    """Start and end of each shaded stretch of prompt."""
    shades = [p for p in axes.patches if p.get_label() == "prompt"]
    return [(p.get_x(), p.get_x() + p.get_width()) for p in shades]


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def is_grey(colours):
    return np.ptp(colours[:, :3], axis=1) < 0.15


def test_bars_are_the_notes():
    notes = random_notes(200, 20)
    (axes,) = rows_of(plot_piano_roll(notes))
    start, end, pitch = boxes_of(axes)
    np.testing.assert_allclose(start, notes["start"])
    np.testing.assert_allclose(end, notes["end"])
    np.testing.assert_allclose(pitch, notes["pitch"])


def test_bars_of_a_real_piece_are_its_notes(maestro_folder):
    path = sorted(maestro_folder.glob("2018/*.midi"))[0]
    notes = read_notes(path)
    drawn = set()
    for axes in rows_of(plot_piano_roll(notes)):
        start, _, pitch = boxes_of(axes)
        drawn |= set(zip(start, pitch.round(), strict=True))
    assert drawn == set(zip(notes["start"], notes["pitch"], strict=True))


def test_neighbouring_pitches_do_not_touch():
    notes = notes_of((0, 1, 60, 64), (0, 1, 61, 64))
    (axes,) = rows_of(plot_piano_roll(notes))
    low, high = (p.vertices[:4, 1] for p in bars_of(axes).get_paths())
    assert low.max() < 60.5 < high.min()


def test_the_shortest_note_still_has_a_width():
    notes = notes_of((0, 30, 60, 64), (10, 10, 62, 64))
    (axes,) = rows_of(plot_piano_roll(notes))
    start, end, _ = boxes_of(axes)
    assert 0.01 < (end - start)[1] < 0.1


def test_notes_in_any_order_give_one_picture():
    notes = random_notes(50, 10)
    pictures = []
    for given_notes in (notes, notes[::-1]):
        pictures.append(io.BytesIO())
        plot_piano_roll(given_notes).savefig(pictures[-1])
    assert pictures[0].getvalue() == pictures[1].getvalue()


def test_drawing_leaves_the_notes_alone():
    notes = random_notes(50, 10)
    before = notes.copy()
    plot_piano_roll(notes, prompt_seconds=5)
    assert (notes == before).all()


@pytest.mark.parametrize("colours", [VELOCITY_COLOURS, PROMPT_COLOURS])
def test_each_velocity_is_lighter_than_the_one_below(colours):
    linear = colours(np.linspace(0, 1, 127))[:, :3] ** 2.2
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()


def test_a_louder_note_has_a_lighter_bar():
    notes = notes_of(*((i, i + 1, 60, 1 + 18 * i) for i in range(8)))
    (axes,) = rows_of(plot_piano_roll(notes))
    assert (np.diff(bars_of(axes).get_facecolor()[:, :3].sum(axis=1)) > 0).all()


def test_each_c_in_sight_is_named():
    notes = notes_of((0, 1, 36, 64), (1, 2, 84, 64))
    (axes,) = rows_of(plot_piano_roll(notes))
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["C2", "C3", "C4", "C5", "C6"]
    assert axes.get_yticks().tolist() == [36, 48, 60, 72, 84]


@given(
    st.lists(st.integers(0, 127), min_size=1, max_size=4),
)
@settings(max_examples=25, deadline=None)
def test_the_pitch_range_holds_every_note_and_two_octaves(pitches):
    notes = notes_of(*((0, 1, pitch, 64) for pitch in pitches))
    (axes,) = rows_of(plot_piano_roll(notes))
    low, high = axes.get_ylim()
    assert -1 < low < min(pitches) and max(pitches) < high < 128
    assert high - low >= 25
    assert high - low <= max(25, max(pitches) - min(pitches) + 5)


# The prompt.


def test_the_prompt_is_shaded_named_and_grey():
    notes = random_notes(100, 20)
    (axes,) = rows_of(plot_piano_roll(notes, prompt_seconds=7.5))
    assert shades_of(axes) == [(0, 7.5)]
    assert texts_of(axes) == ["prompt", "generated"]
    grey = is_grey(bars_of(axes).get_facecolor())
    np.testing.assert_array_equal(grey, notes["start"] < 7.5)


def test_the_border_of_the_prompt_is_drawn_once_over_all_rows():
    notes = random_notes(200, 80)
    figure = plot_piano_roll(notes, prompt_seconds=45, seconds_per_row=20)
    rows = rows_of(figure)
    assert [shades_of(axes) for axes in rows] == [
        [(0, 20)],
        [(20, 40)],
        [(40, 45)],
        [],
    ]
    assert [texts_of(axes) for axes in rows] == [
        [],
        [],
        ["prompt", "generated"],
        [],
    ]


def test_a_border_between_two_rows_is_named_on_both():
    notes = random_notes(200, 80)
    figure = plot_piano_roll(notes, prompt_seconds=40, seconds_per_row=20)
    named = [texts_of(axes) for axes in rows_of(figure)]
    assert named == [[], ["prompt"], ["generated"], []]


@pytest.mark.parametrize("prompt_seconds", [None, 0])
def test_without_a_prompt_nothing_is_shaded_or_grey(prompt_seconds):
    notes = random_notes(100, 20)
    (axes,) = rows_of(plot_piano_roll(notes, prompt_seconds=prompt_seconds))
    assert shades_of(axes) == [] and texts_of(axes) == []
    assert not is_grey(bars_of(axes).get_facecolor()).any()


def test_a_prompt_longer_than_the_piece_is_all_of_it():
    notes = random_notes(100, 20)
    (axes,) = rows_of(plot_piano_roll(notes, prompt_seconds=100))
    assert shades_of(axes) == [tuple(axes.get_xlim())]
    assert texts_of(axes) == ["prompt"]
    assert is_grey(bars_of(axes).get_facecolor()).all()


# The pedal.


def lane_of(axes):
    """Start and end of each press that is drawn."""
    (bars,) = [c for c in axes.collections if c.get_label() == "pedal"]
    x = np.array([path.vertices[:4, 0] for path in bars.get_paths()])
    x = x.reshape(-1, 4)
    return list(zip(x.min(axis=1), x.max(axis=1), strict=True))


def test_each_press_of_the_pedal_is_drawn_in_the_rows_where_it_is_held():
    notes = notes_of((0, 39, 60, 64))
    pedal = np.array([(1, 12), (12, 13), (25, 26)], PEDAL_DTYPE)
    figure = plot_piano_roll(notes, pedal=pedal, seconds_per_row=10)
    assert [lane_of(axes) for axes in rows_of(figure)] == [
        [(1, 10)],
        [(10, 12), (12, 13)],
        [(25, 26)],
        [],
    ]


def test_the_lane_is_below_its_row_and_above_the_next(tmp_path):
    notes = notes_of((0, 40, 60, 64))
    pedal = np.array([(0, 40)], PEDAL_DTYPE)
    figure = plot_piano_roll(notes, tmp_path / "roll.png", pedal=pedal)
    above, below = rows_of(figure)
    (bars,) = [c for c in above.collections if c.get_label() == "pedal"]
    corners = bars.get_transform().transform(bars.get_paths()[0].vertices)
    bottom, top = corners[:, 1].min(), corners[:, 1].max()
    assert below.bbox.y1 < bottom < top < above.bbox.y0
    picture = matplotlib.image.imread(tmp_path / "roll.png")[::-1, :, :3]
    middle = int(corners[:, 0].mean())
    assert picture[int((bottom + top) / 2), middle].min() > 0.5


@pytest.mark.parametrize("pedal", [None, np.zeros(0, PEDAL_DTYPE)])
def test_without_a_pedal_there_is_no_lane(pedal):
    notes = random_notes(20, 10)
    figure = plot_piano_roll(notes, pedal=pedal)
    labels = [c.get_label() for c in rows_of(figure)[0].collections]
    assert "notes" in labels and "pedal" not in labels
    assert figure.get_figheight() == plot_piano_roll(notes).get_figheight()


def test_what_is_no_pedal_is_refused():
    with pytest.raises(ValueError, match="`pedal` must be spans"):
        plot_piano_roll(random_notes(5, 5), pedal=np.zeros(2))


# Rows.


def test_a_note_stands_in_each_row_where_it_sounds():
    notes = notes_of((0, 12, 60, 64), (13, 14, 62, 64), (28, 32, 64, 64))
    figure = plot_piano_roll(notes, seconds_per_row=10)
    pitches = [boxes_of(axes)[2].round().tolist() for axes in rows_of(figure)]
    assert [axes.get_xlim() for axes in rows_of(figure)] == [
        (0, 8),
        (8, 16),
        (16, 24),
        (24, 32),
    ]
    assert pitches == [[60], [60, 62], [], [64]]


@pytest.mark.parametrize(
    ("seconds", "rows"), [(5, 1), (30, 1), (33, 1), (59, 2), (60, 2), (700, 12)]
)
def test_a_longer_piece_has_more_rows_but_not_too_many(seconds, rows):
    assert len(rows_of(plot_piano_roll(random_notes(40, seconds)))) == rows


def test_rows_do_not_overlap_and_stay_inside_the_picture():
    figure = plot_piano_roll(random_notes(100, 100), title="Title")
    boxes = [axes.get_position() for axes in rows_of(figure)]
    for above, below in itertools.pairwise(boxes):
        assert below.y1 < above.y0
    assert boxes[-1].y0 > 0 and boxes[0].y1 < 1


# The picture as a file.


def test_a_saved_picture_shows_each_note_where_it_sounds(tmp_path):
    notes = random_notes(60, 20)
    path = tmp_path / "roll.png"
    figure = plot_piano_roll(notes, path)
    (axes,) = rows_of(figure)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    picture = matplotlib.image.imread(path)[::-1, :, :3]
    height, width = picture.shape[:2]
    assert width == 12 * 150
    middle = (notes["start"] + notes["end"]) / 2
    points = np.stack([middle, notes["pitch"]], axis=1)
    x, y = axes.transData.transform(points).astype(int).T
    on_notes = picture[y, x].max(axis=1)
    beside_notes = picture[y, int(axes.bbox.x0) + 2].max(axis=1)
    assert on_notes.min() > 0.2 > beside_notes.max()


@pytest.mark.parametrize(
    ("suffix", "begins"), [(".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_the_suffix_names_the_format(tmp_path, suffix, begins):
    path = tmp_path / f"roll{suffix}"
    plot_piano_roll(random_notes(500, 20), str(path), title="Title")
    assert path.read_bytes().startswith(begins)
    assert path.stat().st_size < 500_000


def test_a_picture_that_fails_half_way_leaves_what_was_there(
    tmp_path, monkeypatch
):
    path = tmp_path / "roll.png"
    path.write_bytes(b"an older one")

    def write_half(self, part, **_):
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", write_half)
    with pytest.raises(OSError, match="No space"):
        plot_piano_roll(random_notes(5, 5), path)
    assert path.read_bytes() == b"an older one"
    assert list(tmp_path.iterdir()) == [path]


def test_one_piece_gives_one_file_whatever_the_size(tmp_path):
    notes = random_notes(60, 20)
    for name, dpi in (("a", 150), ("b", 150), ("c", 75)):
        plot_piano_roll(notes, tmp_path / f"{name}.png", dpi=dpi)
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b
    assert matplotlib.image.imread(io.BytesIO(c)).shape[1] == 12 * 75


def test_a_title_is_text_not_mathematics(tmp_path):
    figure = plot_piano_roll(
        random_notes(5, 5), tmp_path / "roll.png", title=r"$\frac_1$ & x_2"
    )
    assert figure.texts[0].get_text() == r"$\frac_1$ & x_2"


def test_a_users_style_is_neither_changed_nor_followed(tmp_path):
    notes = random_notes(20, 5)
    before = dict(matplotlib.rcParams)
    plot_piano_roll(notes, tmp_path / "plain.png")
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"axes.grid": True, "axes.facecolor": "red"}):
        plot_piano_roll(notes, tmp_path / "styled.png")
    plain = (tmp_path / "plain.png").read_bytes()
    assert (tmp_path / "styled.png").read_bytes() == plain


def test_drawing_starts_neither_pyplot_nor_a_backend():
    code = (
        "import sys, keras_pianogen.rendering.pianoroll;"
        "print([m for m in ('matplotlib.pyplot', 'keras', 'torch', 'jax', "
        "'tensorflow') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_ten_thousand_notes_are_no_more_artists_than_a_hundred(tmp_path):
    # An artist takes as long to draw as hundreds of notes in one artist.
    few, many = (
        plot_piano_roll(random_notes(count, 300), tmp_path / "roll.png")
        for count in (100, 10_000)
    )
    assert len(many.findobj()) == len(few.findobj())


# What is refused.


def test_no_notes_are_refused():
    with pytest.raises(ValueError, match="at least one note"):
        plot_piano_roll(notes_of())


def test_what_is_not_notes_is_refused():
    with pytest.raises(ValueError, match="notes"):
        plot_piano_roll(np.zeros(3))


@pytest.mark.parametrize(
    "argument",
    [
        {"prompt_seconds": -1},
        {"prompt_seconds": float("nan")},
        {"prompt_seconds": float("inf")},
        {"seconds_per_row": 0},
        {"seconds_per_row": -5},
        {"seconds_per_row": float("nan")},
    ],
)
def test_a_time_out_of_range_is_named(argument):
    (name,) = argument
    with pytest.raises(ValueError, match=f"`{name}` must be .*{name}="):
        plot_piano_roll(random_notes(5, 5), **argument)


def test_more_rows_than_a_picture_can_hold_are_refused():
    with pytest.raises(ValueError, match="`seconds_per_row` must be at least"):
        plot_piano_roll(random_notes(10, 500), seconds_per_row=1)
