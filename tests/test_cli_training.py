"""The commands that train, as a user meets them: what they leave and refuse."""

import csv
import importlib.util
import json
import os
import re
import shutil
import signal

import pytest
from command_line import TINY
from command_line import fail
from command_line import invoke
from command_line import succeed
from sizes import LANGUAGE_MODEL

BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"


def test_train_leaves_a_history_and_a_preset(run):
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[-1]["best_val_nats_per_event"]) > 0
    assert (run / "preset" / "config.json").is_file()


def test_train_uses_every_setting_it_is_given(run):
    config = json.loads((run / "config.json").read_text())
    expected = LANGUAGE_MODEL | {
        "batch_size": 2,
        "seed": 7,
        "dropout": 0.0,
        "optimizer": "adamw",
        "learning_rate": 0.003,
    }
    assert expected.items() <= config["recipe"].items()
    assert config["steps"] == 4


@pytest.mark.one_backend
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


@pytest.mark.one_backend
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


@pytest.mark.one_backend
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


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("options", "expected", "received", "advice"),
    [
        ("--local-block-size 0", "positive", "local_block_size=0", "--help"),
        (
            "--local-block-size 33",
            "at least",
            "sequence_length=32",
            "--sequence-length",
        ),
        (
            "--attend-previous-block",
            "needs",
            "local_block_size=None",
            "--local-block-size",
        ),
    ],
)
def test_train_says_what_blocks_it_expected_and_received(
    small_corpus, tmp_path, options, expected, received, advice
):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run", *TINY]
    error, hint = fail(*train, *options.split())
    assert expected in error
    assert received in error.partition("Received")[2]
    assert advice in hint
    assert not (tmp_path / "run").exists()


@pytest.mark.one_backend
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


@pytest.mark.one_backend
def test_a_preset_s_own_figure_comes_first_and_the_difference_last(
    run, small_corpus, tmp_path
):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run"]
    options = ["--preset", run / "preset", "--steps", "4", "--samples", "0"]
    first, last, *_ = succeed(*train, *options).splitlines()
    own = re.fullmatch(r"The preset: validation (.*) nats per event", first)
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    figures = json.loads(succeed(*evaluate, "--json"))
    assert float(own[1]) == pytest.approx(figures["nats_per_event"], abs=1e-3)
    found = re.search(
        r"validation (.*) nats.* (.*) (below|above) .* (.*)", last
    )
    best, difference, side, preset = found.groups()
    assert preset == own[1]
    sign = -1 if side == "below" else 1
    expected = float(preset) + sign * float(difference)
    assert float(best) == pytest.approx(expected, abs=2e-3)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["recipe"]["learning_rate"] == 3e-4
    # Who goes on is told the same.
    printed = succeed(*train, "--resume", "--steps", "6")
    assert printed.startswith("6 steps")
    assert printed.splitlines()[0].endswith(f"the preset's {preset}")


@pytest.mark.one_backend
def test_a_run_in_which_nothing_changes_is_refused(small_corpus, tmp_path):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run", *TINY]
    options = ["--steps", "4", "--gradient-accumulation-steps", "5"]
    error, hint = fail(*train, *options)
    assert "steps=4, gradient_accumulation_steps=5" in error
    assert "--steps" in hint


@pytest.mark.one_backend
def test_a_corpus_without_validation_is_told(small_corpus, tmp_path):
    corpus = tmp_path / "corpus"
    midi = ["prepare", small_corpus.folder.parent, "--out", corpus]
    nothing = ["--validation-fraction", "0", "--test-fraction", "0"]
    succeed(*midi, *nothing)
    train = ["train", corpus, "--out", tmp_path / "run", *TINY]
    result = invoke(*train, "--steps", "2")
    assert "no pieces for validation" in result.stderr
    assert "; not validated" in result.stdout


@pytest.mark.one_backend
def test_resume_takes_the_settings_of_the_run_and_names_others(
    run, small_corpus
):
    train = ["train", small_corpus.folder, "--out", run, "--resume"]
    same = ["--hidden-dim", "16", "--optimizer", "adamw", "--steps", "4"]
    assert "that length already" in succeed(*train, *same)
    error, hint = fail(*train, *same[:2], "--seed", "8", "--warmup", "0.5")
    assert "`seed` of this run is 7. Received: 8" in error
    assert "`warmup` of this run is 0.02. Received: 0.5" in error
    assert "hidden_dim" not in error
    assert "--preset" in hint
    error, _ = fail(*train, "--preset", "mine")
    assert "`preset` of this run is None. Received: 'mine'" in error


@pytest.mark.one_backend
def test_resume_needs_a_run(small_corpus, tmp_path):
    error, hint = fail(
        "train", small_corpus.folder, "--out", tmp_path / "run", "--resume"
    )
    assert "no run" in error
    assert "Without --resume" in hint


@pytest.mark.one_backend
def test_train_takes_one_length(small_corpus, tmp_path):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run"]
    error, _ = fail(*train, "--steps", "4", "--minutes", "1")
    assert "steps=4, minutes=1.0" in error
    error, _ = fail(*train, "--steps", "0")
    assert "steps=0" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.one_backend
def test_ctrl_c_ends_training_so_that_it_can_go_on(
    small_corpus, tmp_path, monkeypatch
):
    pressed = []

    def press(row, sentence):
        if row["step"] == 3 and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return ""

    folder = tmp_path / "run"
    train = ["train", small_corpus.folder, "--out", folder]
    with monkeypatch.context() as patch:
        patch.setattr("keras_pianogen.cli.progress._describe_step", press)
        printed = succeed(*train, "--minutes", "9", *TINY)
    assert "Stopped at step 3; --resume continues" in printed.splitlines()
    assert (folder / "preset" / "config.json").is_file()
    assert "step-000000003" in os.listdir(folder / "checkpoints")
    printed = succeed(*train, "--resume", "--steps", "5")
    assert printed.startswith("5 steps")


@pytest.mark.one_backend
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


@pytest.mark.one_backend
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
