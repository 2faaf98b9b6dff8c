"""MAESTRO's table: the real one, and small ones that are wrong."""

import pytest
from maestro_files import ROWS
from maestro_files import digest
from maestro_files import make_folder
from maestro_files import metadata

from keras_pianogen.data.maestro import NAME
from keras_pianogen.data.maestro import Maestro
from keras_pianogen.data.pieces import COLUMNS
from keras_pianogen.data.pieces import SPLITS

pytestmark = pytest.mark.one_backend

# The table.


def test_real_metadata_agrees_with_the_published_statistics(maestro_folder):
    maestro = Maestro(maestro_folder)
    counts = [len(maestro.split(name)) for name in SPLITS]
    assert len(maestro) == 1276
    assert counts == [962, 137, 177]
    assert maestro.summary().splitlines() == [
        "split       performances   hours",
        "train                962   159.2",
        "validation           137    19.4",
        "test                 177    20.0",
        "total              1,276   198.7",
    ]


def test_real_pieces_have_files_years_and_durations(maestro_folder):
    for piece in Maestro(maestro_folder).pieces:
        assert piece.path.suffix == ".midi"
        assert 2004 <= piece.year <= 2018
        assert 30 < piece.duration < 3600


def test_a_folder_one_above_is_the_same_data_set(maestro_folder):
    above = Maestro(maestro_folder.parent)
    assert above.folder == maestro_folder
    assert above.pieces == Maestro(maestro_folder).pieces


def test_commas_quotes_newlines_and_accents_survive(tmp_path):
    pieces = Maestro(make_folder(tmp_path)).pieces
    assert [
        (p.composer, p.title, p.split, p.year, p.duration) for p in pieces
    ] == ROWS
    assert pieces[0].path == tmp_path / "2018" / "0.midi"


def test_a_byte_order_mark_changes_nothing(tmp_path):
    plain = Maestro(make_folder(tmp_path))
    marked = Maestro(make_folder(tmp_path, "\ufeff" + metadata()))
    assert marked.pieces == plain.pieces


def test_splits_share_no_piece_and_leave_none_out(tmp_path):
    maestro = Maestro(make_folder(tmp_path))
    together = [p for name in SPLITS for p in maestro.split(name)]
    assert together == list(maestro.pieces)


def test_table_has_a_line_for_each_piece(tmp_path):
    maestro = Maestro(make_folder(tmp_path), pieces=())
    assert len(maestro.table().splitlines()) == 1
    chosen = Maestro(make_folder(tmp_path)).pieces[::2]
    table = Maestro(tmp_path, pieces=chosen).table().splitlines()
    assert table[1:] == [
        'train       2018     1:02  Frédéric Chopin: Études, Op. 10, "Black'
        ' Keys"',
        "test        2011    60:00  J. S. Bach: Prelude and Fugue, WTC I",
    ]


def test_an_unknown_split_is_named(tmp_path):
    maestro = Maestro(make_folder(tmp_path))
    with pytest.raises(ValueError, match="train, validation, test.*'dev'"):
        maestro.split("dev")


# The paper's subset.


def test_paper_subset_is_70_15_15_within_the_published_splits(maestro_folder):
    maestro = Maestro(maestro_folder)
    subset = maestro.paper_subset()
    assert [len(subset.split(name)) for name in SPLITS] == [70, 15, 15]
    for name in SPLITS:
        assert set(subset.split(name)) <= set(maestro.split(name))


def test_the_published_splits_share_five_titles(maestro_folder):
    maestro = Maestro(maestro_folder)
    train, validation, test = (
        {(p.composer, p.title) for p in maestro.split(name)} for name in SPLITS
    )
    shared = train & validation | train & test | validation & test
    assert len(shared) == 5


def test_a_seed_draws_the_same_files_and_another_draws_others(maestro_folder):
    maestro = Maestro(maestro_folder)
    assert maestro.paper_subset(1).pieces == maestro.paper_subset(1).pieces
    assert maestro.paper_subset(1).pieces != maestro.paper_subset(2).pieces
    # Pinned: a seed must not come to mean other files.
    drawn = "".join(p.path.name for p in maestro.paper_subset(0).pieces)
    assert digest(drawn.encode())[:16] == "46ea17f00d673dd4"


def test_too_small_a_data_set_has_no_paper_subset(tmp_path):
    with pytest.raises(ValueError, match="70 pieces .*'train'.* with 1"):
        Maestro(make_folder(tmp_path)).paper_subset()


# What is missing or wrong.


def test_missing_metadata_says_what_was_expected_and_found(tmp_path):
    (tmp_path / "maestro-v2.0.0.csv").touch()
    with pytest.raises(FileNotFoundError) as error:
        Maestro(tmp_path)
    assert f"{NAME}.csv" in str(error.value)
    assert "Found there: maestro-v2.0.0.csv" in str(error.value)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Maestro(tmp_path / "absent")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    kept = [name for name in COLUMNS if name != column]
    make_folder(tmp_path, metadata(columns=kept))
    with pytest.raises(ValueError, match=f"lacks the columns {column}. "):
        Maestro(tmp_path)


def test_missing_midi_files_are_counted_and_the_first_named(tmp_path):
    make_folder(tmp_path, files=1)
    with pytest.raises(FileNotFoundError, match="2 of the 3 .*1.midi"):
        Maestro(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        ("A", "B", "dev", 2018, 1.0),
        ("A", "B", "train", "MMXVIII", 1.0),
        ("A", "B", "train", 2018, "long"),
        ("A", "B", "train", "../2018", 1.0),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, wrong):
    make_folder(tmp_path, metadata([ROWS[0], wrong]))
    with pytest.raises(ValueError, match="csv, line 3: .*Found: "):
        Maestro(tmp_path)


def test_a_short_row_is_named_by_its_line(tmp_path):
    make_folder(tmp_path, metadata([ROWS[0]]) + "A,B\n")
    with pytest.raises(ValueError, match="csv, line 3: "):
        Maestro(tmp_path)


def test_a_file_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    text = metadata().replace("2018/0.midi", "../../0.midi")
    with pytest.raises(ValueError, match="line 2: .*leads out"):
        Maestro(make_folder(tmp_path, text))


def test_metadata_that_is_no_table_is_refused(tmp_path):
    path = make_folder(tmp_path) / f"{NAME}.csv"
    for content in (b"\xff\xfe\x00", b'a,"b\n', b"", metadata([]).encode()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{NAME}.csv"):
            Maestro(tmp_path)
