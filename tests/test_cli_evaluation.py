"""The commands evaluate and attention: what they print, draw and refuse."""

import json
import pathlib
import re
import shutil

import pytest
from command_line import fail
from command_line import invoke
from command_line import succeed

from keras_pianogen.cli import progress

pytestmark = pytest.mark.one_backend

DATA = pathlib.Path(__file__).parent / "data"


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_missing_corpus_is_named_and_prepare_makes_one(tmp_path, command):
    out = ["--out", tmp_path / "run"] if command == "train" else []
    error, hint = fail(command, tmp_path / "nowhere", *out)
    assert str(tmp_path / "nowhere") in error
    assert "pianogen prepare" in hint


def test_evaluate_counts_ngrams(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    printed = succeed(*evaluate, "--split", "test", "--n-gram", "2", "--json")
    figures = json.loads(printed)
    assert figures["preset"] == "2-grams" and figures["accuracy"] is None
    assert 0 < figures["nats_per_event"] < 6
    assert "2-grams on test" in succeed(
        *evaluate, "--split", "test", "--n-gram", "2", "--by", "composer"
    )
    error, _ = fail(*evaluate, "--n-gram", "2", "--transpose", "1")
    assert "--transpose" in error


def test_evaluate_counts_ngrams_of_part_of_a_split(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    evaluate += ["--split", "train", "--max-events", "200", "--json"]
    model = json.loads(succeed(*evaluate))
    ngrams = json.loads(succeed(*evaluate, "--n-gram", "2"))
    assert 0 < ngrams["num_events"] == model["num_events"] < 400
    assert not ngrams["full_coverage"] and ngrams["context"] == 1
    assert 0 < ngrams["nats_per_event"] < 3 < model["nats_per_event"]
    assert model["num_parameters"] > ngrams["num_parameters"] > 20


@pytest.mark.parametrize("way", ["--transpose", "--dynamic"])
def test_evaluate_reads_some_pieces_in_a_way_of_their_own(
    run, small_corpus, way
):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    evaluate += ["--split", "train", "--pieces", "1", "--json"]
    plain = json.loads(succeed(*evaluate))
    other = json.loads(succeed(*evaluate, way, "1"))
    assert plain["num_pieces"] == other["num_pieces"] == 1
    assert plain["nats_per_event"] != other["nats_per_event"]


@pytest.mark.parametrize(
    "other", ["--pieces", "--novelty", "--scores", "--controls"]
)
def test_evaluate_answers_one_question(run, small_corpus, other):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    error, _ = fail(*evaluate, "--fillings", "2", other, "20")
    assert "can't be given together" in error
    assert other in error


@pytest.mark.parametrize("of", [[], ["--n-gram", "2"], ["--novelty", "1"]])
def test_evaluate_says_which_splits_have_pieces(of, run, tmp_path):
    (tmp_path / "midi").mkdir()
    shutil.copy(next(DATA.glob("*.midi")), tmp_path / "midi")
    corpus = tmp_path / "corpus"
    succeed("prepare", tmp_path / "midi", "--out", corpus)
    error, hint = fail("evaluate", corpus, "--preset", run / "preset", *of)
    assert "'validation' must have pieces" in error
    assert f"{corpus}, whose pieces are in train (1)" in error
    assert "three files" in hint


def test_evaluate_prints_names_as_they_are(run, tmp_path):
    (tmp_path / "midi" / "[").mkdir(parents=True)
    names = "[live] take.mid", "[/b]" + 60 * "x" + ":piano:.mid"
    for name in names:
        shutil.copy(DATA / "bach_bwv_885.midi", tmp_path / "midi" / name)
    shutil.copytree(run / "preset", tmp_path / "[preset]")
    fractions = ["--validation-fraction", "0", "--test-fraction", "0"]
    corpus = tmp_path / "corpus"
    succeed("prepare", tmp_path / "midi", "--out", corpus, *fractions)
    options = ["--preset", tmp_path / "[preset]", "--split", "train"]
    printed = succeed("evaluate", corpus, *options, "--by", "piece")
    cells = [x.split("│")[1].strip() for x in printed.splitlines() if "│" in x]
    assert all(name in "".join(cells) for name in names)
    assert "[preset] on train" in " ".join(printed.split())


def test_evaluate_states_its_length_and_prints_lines_without_a_terminal(
    run, small_corpus, monkeypatch
):
    monkeypatch.setattr(progress, "SECONDS_OF_A_LINE", 0.0)
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    lines = invoke(*evaluate).stderr.splitlines()
    assert lines[0].startswith("Backend: ")
    assert lines[1] == (
        "Reading the validation split: 2 pieces, 240 notes, 0.0 hours of music"
    )
    course = [line for line in lines if line.startswith("Progress: ")]
    assert re.fullmatch(
        r"Progress: Reading 50%, about \d+\.\d minutes left", course[0]
    )
    assert len(course) == 2
    lines = invoke(*evaluate, "--max-events", "200").stderr.splitlines()
    assert lines[1].startswith("Reading about 200 events of the validation")


def test_lines_come_less_often_as_time_passes(monkeypatch, capsys):
    clock, printed = [0.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(progress, "say", lambda line, to: printed.append(clock))
    with progress.counting_bar("Reading") as report:
        for second in range(10_000):
            clock[0] = float(second)
            report(second, 10_000)
    assert 30 < len(printed) < 70


def test_evaluate_looks_for_copies(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    evaluate += ["--novelty", "2", "--seconds", "3"]
    figures = json.loads(succeed(*evaluate, "--json"))
    assert [row["piece"] for row in figures["pieces"]] == [1, 2]
    for row in figures["pieces"]:
        assert row["suspect"] == (row["shared_notes"] > row["usual"])
    assert "99 % of excerpts" in succeed(*evaluate)
    error, _ = fail(*evaluate, "--by", "piece")
    assert "--novelty" in error


def test_attention_is_drawn_of_a_piece(run, tmp_path):
    piece = next(DATA.glob("*.midi"))
    picture = tmp_path / "attention.png"
    attention = ["attention", piece, "--out", picture]
    attention += ["--preset", run / "preset", "--max-events", "50"]
    assert succeed(*attention, "--head", "0", "1") == f"{picture}\n"
    assert picture.stat().st_size > 10_000
    one = picture.read_bytes()
    assert succeed(*attention, "--all-heads") == f"{picture}\n"
    assert picture.read_bytes() != one
    error, _ = fail(*attention, "--all-heads", "--head", "0", "1")
    assert "--all-heads" in error
    error, _ = fail(*attention, "--head", "1", "0")
    assert "layer from 0 to 0" in error


def test_evaluate_names_the_splits_there_are(small_corpus):
    error, _ = fail("evaluate", small_corpus.folder, "--split", "holdout")
    assert "train, validation, test" in error
    assert "'holdout'" in error
