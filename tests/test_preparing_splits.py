"""The splits that preparing draws or finds in a table."""

import pathlib
import shutil

import numpy as np
import pytest
from sources import files_of
from sources import write_folder

from keras_pianogen.data import preparing
from keras_pianogen.data.maestro import Maestro
from keras_pianogen.data.pieces import SPLITS
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.preparing import prepare_corpus

pytest_plugins = ["sources"]
pytestmark = pytest.mark.one_backend


# Splits.


def split_sizes(corpus):
    return [len(corpus.split(name)) for name in SPLITS]


def test_every_piece_has_one_split(corpus):
    indices = np.concatenate([corpus.split(name) for name in SPLITS])
    assert sorted(indices) == list(range(40))


def test_splits_follow_the_names_and_the_seed(source, corpus, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in source.rglob("*.[mM]*"):
        shutil.copy(path, flat)
    moved = prepare_corpus(flat, tmp_path / "a")
    other = prepare_corpus(flat, tmp_path / "b", seed=1)

    def splits(corpus):
        return {pathlib.Path(p.path).name: p.split for p in corpus.pieces}

    assert splits(moved) == splits(corpus) != splits(other)


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1])]
)
def test_three_files_are_enough_for_three_splits(tmp_path, count, sizes):
    write_folder(tmp_path / "midi", count)
    small = prepare_corpus(tmp_path / "midi", tmp_path / "corpus")
    assert split_sizes(small) == sizes


def test_fractions_are_kept_in_the_long_run():
    pieces = [Piece(f"{i}.mid") for i in range(20_000)]
    pieces = preparing._draw_splits(pieces, 0.1, 0.2, seed=3)
    names = [piece.split for piece in pieces]
    shares = [names.count(name) / len(names) for name in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


def test_fractions_of_nothing_leave_all_to_train_on(source, tmp_path):
    whole = prepare_corpus(
        source, tmp_path, validation_fraction=0, test_fraction=0
    )
    assert split_sizes(whole) == [40, 0, 0]


@pytest.mark.parametrize("fractions", [(-0.1, 0), (0.5, 0.5), (0, 1.5)])
def test_fractions_that_leave_nothing_are_refused(source, tmp_path, fractions):
    with pytest.raises(ValueError, match="`validation_fraction` and `test"):
        prepare_corpus(
            source,
            tmp_path,
            validation_fraction=fractions[0],
            test_fraction=fractions[1],
        )


# MAESTRO.


def test_maestros_own_table_gives_splits_and_titles(maestro_folder, tmp_path):
    table = (maestro_folder / "maestro-v3.0.0.csv").read_text().splitlines()
    rows = [table[0], table[1], table[3], table[9]]
    (tmp_path / "maestro").mkdir()
    (tmp_path / "maestro" / "maestro-v3.0.0.csv").write_text("\n".join(rows))
    for year in maestro_folder.glob("20*"):
        (tmp_path / "maestro" / year.name).symlink_to(year)
    small = prepare_corpus(tmp_path / "maestro", tmp_path / "corpus")
    berg = [p for p in small.pieces if p.year == 2018][0]
    assert berg.composer == "Alban Berg"
    assert berg.title == "Sonata Op. 1"
    assert berg.split == "train"
    assert len(small) == 3


def test_a_source_may_be_given_by_a_relative_path(
    maestro_folder, source, corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(source.parent)
    again = prepare_corpus(source.name, tmp_path / "a")
    assert files_of(again.folder) == files_of(corpus.folder)
    monkeypatch.chdir(maestro_folder.parent)
    maestro = Maestro(maestro_folder.name)
    few = Maestro(maestro_folder.name, pieces=maestro.pieces[:3])
    paths = [piece.path for piece in prepare_corpus(few, tmp_path / "b").pieces]
    assert all((maestro_folder / path).is_file() for path in paths)
    assert not any(path.startswith(maestro_folder.name) for path in paths)


def test_a_maestro_object_gives_its_pieces(maestro_folder, tmp_path):
    maestro = Maestro(maestro_folder).paper_subset()
    hundred = prepare_corpus(maestro, tmp_path, workers=1)
    assert split_sizes(hundred) == [70, 15, 15]
    durations = {p.path: p.duration for p in maestro.pieces}
    for piece in hundred.pieces:
        length = durations[maestro_folder / piece.path]
        assert piece.seconds == pytest.approx(length, abs=10)
        assert piece.composer and piece.title and piece.year > 2003


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("midi_filename,split\na.mid,train\n", "lacks the column"),
        (
            "midi_filename,split,canonical_composer,canonical_title,year\n"
            "a.mid,dev,B,S,2004\n",
            "line 2: .*`split` must be one of",
        ),
    ],
)
def test_a_broken_table_is_named(tmp_path, table, message):
    (tmp_path / "maestro-v3.0.0.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        prepare_corpus(tmp_path, tmp_path / "corpus")
