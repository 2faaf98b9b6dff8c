"""A corpus at a glance: what the bars show is what the corpus holds."""

import csv
import pathlib
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_pianogen.cli import app
from keras_pianogen.data import corpus_picture
from keras_pianogen.data.corpus_picture import _compose
from keras_pianogen.data.corpus_picture import _short
from keras_pianogen.data.corpus_picture import plot_corpus
from keras_pianogen.data.preparing import prepare_corpus

pytestmark = pytest.mark.one_backend

DATA = pathlib.Path(__file__).parent / "data"
PIECES = (
    ("Johann Sebastian Bach", "train", 2011, "bach_bwv_885.midi"),
    ("Franz Liszt", "validation", 2015, "liszt_preludio.midi"),
    ("Domenico Scarlatti", "test", 2015, "scarlatti_k_525.midi"),
)
FIELDS = ("canonical_composer", "split", "year", "midi_filename")


@pytest.fixture
def corpus(tmp_path):
    """Three pieces in a table such as MAESTRO's."""
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "maestro-v0.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*FIELDS, "canonical_title"))
        writer.writerows((*piece, "") for piece in PIECES)
    for *_, name in PIECES:
        shutil.copy(DATA / name, source / name)
    return prepare_corpus(source, tmp_path / "corpus", workers=1)


def panels_of(figure):
    """Axes by the label below them; the title where there is one."""
    return {
        axis.get_title(loc="left") or axis.get_xlabel(): axis
        for axis in figure.axes
    }


def heights_of(axis):
    return [bar.get_height() for bar in axis.patches]


def test_bars_of_the_years_are_their_hours(corpus):
    axis = panels_of(_compose(corpus, {}))["year of the performance"]
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert names == ["2011", "2015"]
    bach, liszt, scarlatti = (piece.seconds / 3600 for piece in corpus.pieces)
    np.testing.assert_allclose(heights_of(axis), [bach, liszt + scarlatti])


def test_composers_stand_from_the_longest_down(corpus):
    axis = panels_of(_compose(corpus, {}))["composer"]
    widths = [bar.get_width() for bar in axis.patches]
    assert widths == sorted(widths, reverse=True)
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names[0] == "D. Scarlatti" and set(names[1:]) == {
        "J. S. Bach",
        "F. Liszt",
    }


def test_velocities_are_shares_of_all_notes(corpus):
    axis = panels_of(_compose(corpus, {}))["velocity"]
    velocities = corpus.packed["velocity"]
    assert sum(heights_of(axis)) == pytest.approx(100)
    loudest = int(velocities.max())
    share = 100 * np.mean(velocities == loudest)
    assert heights_of(axis)[loudest] == pytest.approx(share)
    assert axis.texts[0].get_text() == f"median {np.median(velocities):.0f}"


@pytest.mark.parametrize(
    "label", ["length (minutes)", "notes a second, mean of a piece"]
)
def test_each_piece_is_counted_once(corpus, label):
    assert sum(heights_of(panels_of(_compose(corpus, {}))[label])) == 3


def test_hours_of_the_splits_are_those_of_the_table(corpus):
    axis = panels_of(_compose(corpus, {}))["split"]
    hours = [row["hours"] for row in corpus.summary()[:-1]]
    np.testing.assert_allclose(heights_of(axis), hours)


def test_panels_without_data_are_left_out_with_the_reason(
    small_corpus, tmp_path
):
    left_out = plot_corpus(small_corpus, tmp_path / "corpus.png")
    assert left_out == {
        "years": "no piece has a year",
        "composers": "no piece has a composer",
    }
    assert len(_compose(small_corpus, left_out).axes) == 4


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Johann Sebastian Bach", "J. S. Bach"),
        ("Franz Schubert / Franz Liszt", "Schubert / Liszt"),
        ("Anonymous", "Anonymous"),
        (" ", " "),
    ],
)
def test_names_are_shortened(name, short):
    assert _short(name) == short


def test_the_same_corpus_gives_the_same_picture(corpus, tmp_path):
    for name in "ab":
        plot_corpus(corpus, tmp_path / f"{name}.png")
    first, second = ((tmp_path / f"{n}.png").read_bytes() for n in "ab")
    assert first == second and first.startswith(b"\x89PNG")


def test_composers_beyond_the_first_are_one_bar(corpus, monkeypatch):
    monkeypatch.setattr(corpus_picture, "COMPOSERS", 1)
    axis = panels_of(_compose(corpus, {}))["composer"]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["D. Scarlatti", "2 others"]
    hours = corpus.summary()[-1]["hours"]
    assert sum(bar.get_width() for bar in axis.patches) == pytest.approx(hours)


def test_describe_prints_the_table_and_writes_the_picture(corpus, tmp_path):
    out = tmp_path / "new" / "corpus.png"
    command = ["describe", str(corpus.folder), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{corpus}\n{out}\n"
    assert out.is_file()


def test_describe_says_what_is_left_out(small_corpus, tmp_path):
    out = tmp_path / "corpus.png"
    command = ["describe", str(small_corpus.folder), "--out", str(out)]
    result = CliRunner().invoke(app, command)
    assert "Left out: years, as no piece has a year." in result.stdout


def test_describe_refuses_what_is_no_corpus(tmp_path):
    result = CliRunner().invoke(app, ["describe", str(tmp_path)])
    assert result.exit_code == 2 and "Hint:" in result.output
