"""The commands, as a user meets them: what they print, leave and refuse."""

import csv
import importlib.util
import json
import math
import os
import pathlib
import re
import shutil
import signal
import time

import pytest
from command_line import TINY
from command_line import fail
from command_line import invoke
from command_line import start
from command_line import succeed

from keras_pianogen.cli.loading import loading
from keras_pianogen.data.corpus import Corpus

DATA = pathlib.Path(__file__).parent / "data"
COMMANDS = ("prepare", "train", "generate", "render", "evaluate")
BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"


# Help.


def test_help_names_the_commands_and_their_options():
    printed = succeed("--help")
    assert all(command in printed for command in COMMANDS)
    for command in COMMANDS:
        assert "--help" in succeed(command, "--help")


def test_help_loads_nothing_heavy():
    code = f"""
import sys
from keras_pianogen.cli import app
for command in {[[], *([c] for c in COMMANDS)]!r}:
    try:
        app([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0
heavy = {{"keras", "keras_hub", "numpy", "matplotlib", "symusic", "miditoolkit",
    "tensorflow", "jax", "torch"}}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    printed, errors = start(code=code).communicate()
    assert errors == ""
    assert printed.endswith("loaded: []\n")


def test_an_option_that_is_no_number_is_refused():
    result = invoke("generate", "--out", "x.mid", "--temperature", "warm")
    assert result.exit_code == 2
    assert "--temperature" in result.stderr
    assert "Traceback" not in result.stderr


# prepare


def test_prepare_prints_the_table_and_names_what_it_skipped(
    midi_folder, tmp_path
):
    printed = succeed("prepare", midi_folder, "--out", tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    assert printed.startswith(str(corpus))
    assert len(corpus) == 3
    assert "Skipped 1 of 4 files:\n  broken.mid: is not a MIDI" in printed


def test_prepare_draws_the_splits_that_were_asked_for(midi_folder, tmp_path):
    options = ["--validation-fraction", "0", "--test-fraction", "0"]
    out = tmp_path / "corpus"
    succeed("prepare", midi_folder, "--out", out, *options)
    assert len(Corpus(out).split("train")) == 3


@pytest.mark.parametrize("make", [False, True])
def test_prepare_refuses_a_folder_without_midi_files(tmp_path, make):
    source = tmp_path / "nothing here"
    if make:
        source.mkdir()
    error, hint = fail("prepare", source, "--out", tmp_path / "corpus")
    assert str(source) in error
    assert "--download" in hint
    assert not (tmp_path / "corpus" / "corpus.json").exists()


def test_prepare_replaces_another_corpus_only_when_told(midi_folder, tmp_path):
    out = tmp_path / "corpus"
    succeed("prepare", midi_folder, "--out", out)
    again = ["prepare", midi_folder, "--out", out, "--seed", "5"]
    error, hint = fail(*again)
    assert str(out) in error
    assert "--overwrite" in hint
    succeed(*again, "--overwrite")


def test_prepare_stopped_by_ctrl_c_goes_on_from_there(
    midi_folder, tmp_path, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    out = tmp_path / "corpus"
    with monkeypatch.context() as patch:
        patch.setattr("keras_pianogen.data.workers.read_notes", interrupt)
        result = invoke("prepare", midi_folder, "--out", out)
    assert result.exit_code == 130
    assert result.stderr == "Stopped. The same command goes on from there.\n"
    assert not (out / "corpus.json").exists()
    succeed("prepare", midi_folder, "--out", out)
    Corpus(out).verify()


# train


def test_train_leaves_a_history_and_a_preset(run):
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[-1]["best_val_nats_per_event"]) > 0
    assert (run / "preset" / "config.json").is_file()


def test_train_uses_every_setting_it_is_given(run):
    config = json.loads((run / "config.json").read_text())
    expected = {
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "sequence_length": 32,
        "batch_size": 2,
        "seed": 7,
        "dropout": 0.0,
        "optimizer": "adamw",
        "learning_rate": 0.003,
    }
    assert expected.items() <= config["recipe"].items()
    assert config["steps"] == 4


def test_train_leaves_a_preset_with_local_attention(small_corpus, tmp_path):
    folder = tmp_path / "run"
    options = ["--steps", "2", "--local-block-size", "16", *TINY]
    train = ["train", small_corpus.folder, "--out", folder, *options]
    succeed(*train, "--attend-previous-block")
    config = json.loads((folder / "preset" / "config.json").read_text())
    expected = {"local_block_size": 16, "attend_previous_block": True}
    assert expected.items() <= config["config"].items()
    options = ["--preset", folder / "preset", "--seconds", "1", "--seed", "1"]
    succeed("generate", "--out", tmp_path / "piece.mid", *options)


def test_train_and_evaluate_take_baselines_too(small_corpus, tmp_path):
    folder = tmp_path / "run"
    options = ["--architecture", "lstm", "--size", "tiny", "--hidden-dim", "8"]
    train = ["train", small_corpus.folder, "--out", folder, "--steps", "2"]
    succeed(*train, *options, "--sequence-length", "16")
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["architecture"] == "lstm"
    assert config["recipe"]["num_layers"] == 3
    assert not (folder / "samples").exists()
    evaluate = ["evaluate", small_corpus.folder, "--preset", folder / "preset"]
    plain = json.loads(succeed(*evaluate, "--split", "test", "--json"))
    keys = succeed(*evaluate, "--split", "test", "--json", "--transpose", "2")
    keys = json.loads(keys)
    assert keys["num_events"] == plain["num_events"]
    assert 0 < abs(keys["nats_per_event"] - plain["nats_per_event"]) < 0.5
    error, _ = fail(*evaluate, "--novelty", "1")
    assert f"{folder / 'preset'}, of class LSTMLanguageModel" in error


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_logger_is_used_or_its_absence_named(logger, small_corpus, tmp_path):
    folder = tmp_path / "run"
    train = ["train", small_corpus.folder, "--out", folder, "--steps", "2"]
    train += [*TINY, f"--{logger}"]
    if importlib.util.find_spec(logger) is None:
        error, hint = fail(*train)
        assert logger in error and f"pip install {logger}" in hint
        assert not folder.exists()
    elif logger == "tensorboard":
        succeed(*train)
        assert list((folder / "tensorboard").rglob("events.out.*"))


def test_train_says_which_sizes_there_are(small_corpus, tmp_path):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run"]
    error, _ = fail(*train, "--size", "huge")
    assert "'tiny', 'small', 'base', 'large'" in error and "huge" in error
    if BACKEND != "jax":
        error, _ = fail(*train, *TINY, "--data-parallel")
        assert "needs the backend JAX" in error


@pytest.mark.parametrize(
    ("options", "expected", "received"),
    [
        (["--local-block-size", "0"], "positive", "local_block_size=0"),
        (["--local-block-size", "33"], "at least", "sequence_length=32"),
        (["--attend-previous-block"], "needs", "local_block_size=None"),
    ],
)
def test_train_says_what_blocks_it_expected_and_received(
    small_corpus, tmp_path, options, expected, received
):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run", *TINY]
    error, hint = fail(*train, *options)
    assert expected in error
    assert received in error.partition("Received")[2]
    assert "--sequence-length" in hint
    assert not (tmp_path / "run").exists()


def test_train_goes_on_with_a_run_only_with_resume(run, small_corpus, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    train = ["train", small_corpus.folder, "--out", folder]
    error, hint = fail(*train, "--steps", "4")
    assert str(folder) in error
    assert "--resume" in hint
    printed = succeed(*train, "--resume")
    assert printed.startswith("4 steps")
    assert "length already; --steps" in printed
    printed = succeed(*train, "--resume", "--steps", "6")
    assert printed.startswith("6 steps")


def test_resume_takes_no_other_settings(run, small_corpus):
    train = ["train", small_corpus.folder, "--out", run, "--resume"]
    error, hint = fail(*train, "--hidden-dim", "32", "--preset", "mine")
    assert "hidden_dim, preset" in error
    assert "--preset" in hint


def test_resume_needs_a_run(small_corpus, tmp_path):
    error, hint = fail(
        "train", small_corpus.folder, "--out", tmp_path / "run", "--resume"
    )
    assert "no run" in error
    assert "Without --resume" in hint


def test_train_takes_one_length(small_corpus, tmp_path):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run"]
    error, _ = fail(*train, "--steps", "4", "--minutes", "1")
    assert "steps=4, minutes=1.0" in error
    error, _ = fail(*train, "--steps", "0")
    assert "steps=0" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_missing_corpus_is_named_and_prepare_makes_one(tmp_path, command):
    out = ["--out", tmp_path / "run"] if command == "train" else []
    error, hint = fail(command, tmp_path / "nowhere", *out)
    assert str(tmp_path / "nowhere") in error
    assert "pianogen prepare" in hint


def test_ctrl_c_ends_training_so_that_it_can_go_on(small_corpus, tmp_path):
    folder = tmp_path / "run"
    train = ["train", small_corpus.folder, "--out", folder]
    process = start(*train, "--minutes", "9", *TINY)
    deadline = time.monotonic() + 120
    while not (folder / "history.csv").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    stopped = re.search(
        r"^Stopped at step (\d+); --resume continues$", printed, re.MULTILINE
    )
    step = int(stopped[1])
    assert (folder / "preset" / "config.json").is_file()
    assert f"step-{step:09}" in os.listdir(folder / "checkpoints")
    printed = succeed(*train, "--resume", "--steps", str(step + 2))
    assert printed.startswith(f"{step + 2} steps")


# evaluate


def test_evaluate_prints_one_line_of_json(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    printed = succeed(*evaluate, "--split", "test", "--json")
    assert printed.count("\n") == 1
    figures = json.loads(printed)
    assert figures["split"] == "test"
    assert figures["num_pieces"] == len(small_corpus.split("test"))
    assert figures["full_coverage"] is True
    assert figures["perplexity"] == math.exp(figures["nats_per_event"])
    assert {
        "preset",
        "nats_per_note",
        "nats_per_second",
        "accuracy",
        "num_events",
        "context",
    } <= figures.keys()
    assert len(figures["pieces"]) == figures["num_pieces"]
    assert set(figures["intervals"]) == {
        "nats_per_event",
        "nats_per_note",
        "nats_per_second",
    }
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures[name] <= high
    printed = succeed(*evaluate, "--split", "test", "--by", "piece")
    for piece in figures["pieces"]:
        assert piece["path"] in printed
    assert "95 % over pieces" in printed
    printed = succeed(*evaluate, "--split", "test")
    assert f"{figures['nats_per_event']:.4f}" in printed


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


def test_presets_are_listed_with_their_cards():
    printed = json.loads(succeed("presets", "--json"))
    row = printed["music_transformer_maestro"]
    assert 1_000_000 < row["bytes"] < 10_000_000
    assert "MAESTRO" in pathlib.Path(row["card"]).read_text()
    printed = succeed("presets")
    assert "music_transformer_maestro" in printed and "verified" in printed


def test_a_damaged_preset_is_named_and_the_others_listed(tmp_path, monkeypatch):
    from keras_pianogen.models import presets

    shutil.copytree(presets.FOLDER, tmp_path / "presets")
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "presets")
    damaged, *others = presets.PRESETS
    (tmp_path / "presets" / damaged / "task.json").write_text("{}")
    result = invoke("presets", "--json")
    assert list(json.loads(result.stdout)) == others
    assert result.exit_code == 2
    assert f"'{damaged}' is damaged" in result.stderr
    assert "pip install" in result.stderr


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


def test_curves_of_runs_are_drawn_in_one_picture(run, tmp_path):
    picture = tmp_path / "pictures" / "curves.png"
    lines = ["--line", "3-grams=3.65", "--line", "2-grams=3.96"]
    assert succeed("curves", run, "--out", picture, *lines) == f"{picture}\n"
    assert picture.stat().st_size > 10_000
    error, _ = fail("curves", run, "--out", picture, "--line", "3-grams")
    assert "NAME=LOSS" in error
    error, _ = fail("curves", tmp_path, "--out", picture)
    assert str(tmp_path) in error
    error, _ = fail("curves", run, "--out", tmp_path / "curves.gif")
    assert ".png" in error


def test_curves_of_runs_of_one_name_are_all_drawn(run, tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("a/run", "b/run", "other")]
    for folder in folders:
        folder.mkdir(parents=True)
        shutil.copy(run / "history.csv", folder)
    drawn = []
    monkeypatch.setattr(
        "keras_pianogen.training.curves.plot_training_curves",
        lambda runs, out, lines: drawn.append(runs),
    )
    succeed("curves", *folders, "--out", tmp_path / "curves.png")
    assert drawn == [dict(zip(("a/run", "b/run", "other"), folders))]


def test_evaluate_names_the_splits_there_are(small_corpus):
    error, _ = fail("evaluate", small_corpus.folder, "--split", "holdout")
    assert "train, validation, test" in error
    assert "'holdout'" in error


# Loading.


def test_a_backend_that_is_missing_is_named_with_its_command(tmp_path):
    code = f"""
import sys
sys.modules[{BACKEND!r}] = None
from keras_pianogen.cli import app
app()
"""
    process = start("generate", "--out", tmp_path / "piece.mid", code=code)
    printed, errors = process.communicate()
    assert (process.returncode, printed) == (2, "")
    error, hint = errors.splitlines()
    assert error == f"Error: The backend {BACKEND} is not installed."
    assert f"pip install {BACKEND}" in hint


def test_a_backend_that_is_none_of_ours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    error, _ = fail("generate", "--out", tmp_path / "piece.mid")
    assert "tensorflow, jax, torch" in error
    assert "'numpy'" in error


def test_generate_prints_its_own_lines_alone_and_its_seed_holds_elsewhere(
    run, tmp_path
):
    here, there = tmp_path / "here.mid", tmp_path / "there.mid"
    options = ["--preset", run / "preset", "--seconds", "4", "--seed", "1"]
    process = start("generate", "--out", there, *options)
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    figures, path = printed.splitlines()
    assert re.fullmatch(r"\d+ notes, .*seed 1", figures)
    assert path == str(there)
    succeed("generate", "--out", here, *options)
    assert here.read_bytes() == there.read_bytes()


CHATTER = "I0000 00:00:1795356181.122278   22469 port.cc:153] oneDNN is on.\n"


def log_while_loading(text, error=None):
    with loading():
        os.write(2, text.encode())
        if error is not None:
            raise error


def test_loading_keeps_back_chatter_and_nothing_else(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    log_while_loading(CHATTER + "real trouble\n")
    assert capfd.readouterr().err == "real trouble\n"
    with pytest.raises(ValueError):
        log_while_loading(CHATTER, ValueError("an error of the user's"))
    assert capfd.readouterr().err == ""
    os.write(2, b"as before\n")
    assert capfd.readouterr().err == "as before\n"


def test_loading_keeps_back_nothing_where_it_fails_or_is_told_not_to(
    capfd, monkeypatch
):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with pytest.raises(ImportError):
        log_while_loading(CHATTER, ImportError("a library is broken"))
    assert capfd.readouterr().err == CHATTER
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    log_while_loading(CHATTER)
    assert capfd.readouterr().err == CHATTER


def test_a_crash_while_loading_leaves_a_trace():
    code = """
import os, resource
from keras_pianogen.cli.loading import loading
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with loading():
    os.abort()
"""
    process = start(code=code)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in errors


def test_ctrl_c_that_a_library_swallows_while_loading_is_heeded():
    with pytest.raises(KeyboardInterrupt), loading():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
    with pytest.raises(KeyboardInterrupt), loading():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("half loaded") from error
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_that_is_a_bug_keeps_its_traceback(midi_folder, monkeypatch):
    def broken(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr("keras_pianogen.data.preparing.prepare_corpus", broken)
    result = invoke("prepare", midi_folder, "--out", midi_folder / "corpus")
    assert isinstance(result.exception, ModuleNotFoundError)
