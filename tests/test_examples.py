"""The examples, run as a reader runs them, in small."""

import csv
import json
import pathlib
import runpy
import sys

import numpy as np
import pytest

from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import from_preset
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.training import gan as gan_training
from keras_pianogen.training import language_model as training

pytestmark = pytest.mark.one_backend

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A function that runs an example with arguments, in a new folder."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        path = EXAMPLES / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        runpy.run_path(str(path), run_name="__main__")

    return run


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=str)
def test_an_example_says_how_it_is_run(path, run, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(path.stem, "--help")
    assert stopped.value.code == 0
    assert f"python examples/{path.name}" in capsys.readouterr().out


# === paper_transformer ===

SMALL = (
    *("--epochs", 1, "--num-layers", 1, "--hidden-dim", 8),
    *("--sequence-length", 32, "--validation-events", 64, "--seconds", 1),
)


@pytest.fixture
def corpus_folder(small_corpus):
    return small_corpus.folder


def test_figure_9_is_drawn_of_runs_that_differ_in_one_setting(
    run, corpus_folder, capsys
):
    names = ("batch-16", "batch-8")
    out = pathlib.Path("runs/paper")
    run("paper_transformer", corpus_folder, "--runs", names[0], *SMALL)
    before = (out / "batch-16/history.csv").read_bytes()
    # The first run is done, and isn't trained again.
    run("paper_transformer", corpus_folder, "--runs", *names, *SMALL)
    assert (out / "batch-16/history.csv").read_bytes() == before
    rows = json.loads((out / "table.json").read_text())
    assert [row["run"] for row in rows] == list(names)
    # Half the batch, twice the steps.
    assert rows[1]["steps"] == pytest.approx(2 * rows[0]["steps"], abs=1)
    assert rows[0]["difference"] == rows[0]["low"] == rows[0]["high"] == 0
    difference = rows[1]["validation"] - rows[0]["validation"]
    assert rows[1]["difference"] == pytest.approx(difference)
    configs = [
        json.loads((out / name / "config.json").read_text())["recipe"]
        for name in names
    ]
    assert configs[0] | {"batch_size": 8} == configs[1]
    assert (out / "figure_9.png").stat().st_size > 10_000
    # It may hold no note: the model knows nothing yet.
    assert (out / "piece.mid").read_bytes().startswith(b"MThd")
    assert "batch-8" in capsys.readouterr().out


# === train_transformer_gan ===


@pytest.fixture
def small_gans(monkeypatch):
    """The set-ups, as small as can be."""
    small = {
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 8,
        "sequence_length": 32,
    }
    for name in ("paper", "straight-through"):
        setups = gan_training.SETUPS
        monkeypatch.setitem(setups, name, setups[name] | small)


def test_figure_10_shows_that_the_papers_generator_gets_no_gradient(
    run, corpus_folder, small_gans
):
    arguments = ("--steps", 2, "--batch-size", 2, "--pieces", 2)
    run("train_transformer_gan", corpus_folder, *arguments)
    out = pathlib.Path("runs/gan")
    norms = {}
    for name in ("paper", "straight-through"):
        with open(out / name / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        norms[name] = [float(row["generator_gradient_norm"]) for row in rows]
        for kind in ("pieces", "joined"):
            assert len(list((out / name / kind).glob("*.mid"))) == 2
    assert norms["paper"] == [0, 0]
    assert min(norms["straight-through"]) > 0
    assert (out / "curves.png").stat().st_size > 10_000
    # It is as long as was asked for: nothing is trained again.
    run("train_transformer_gan", corpus_folder, *arguments)


# === train_on_gpu ===


def test_a_timed_run_is_packed_and_measured(
    run, corpus_folder, capsys, monkeypatch
):
    monkeypatch.setitem(training.LOOKS, "samples", 0)
    shape = ("--size", "tiny", "--sequence-length", 32, "--batch-size", 2)
    place = (corpus_folder, "--out", "runs/base")
    small = ("--minutes", 0.03, "--dtype", "float32", "--peak", 1e-3)
    run("train_on_gpu", *place, *shape, *small)
    printed = capsys.readouterr().out
    assert "model TFLOP/s" in printed
    assert "% of the bfloat16 peak, 0.001 TFLOP/s" in printed
    packed = pathlib.Path("runs/base/packed")
    model = from_preset(packed)
    assert f"{model.count_params():,} parameters" in printed
    assert {"config.json", "history.csv", "curves.png"} <= {
        path.name for path in (packed / "record").iterdir()
    }
    assert max(p.stat().st_size for p in packed.rglob("*")) <= 15_000_000
    run("train_on_gpu", *place, "--resume")
    with pytest.raises(ValueError, match="`seed` of this run is 0"):
        run("train_on_gpu", *place, "--resume", "--seed", 3)


# === paper_ratings ===


def write_pieces(folder, seed):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for place in range(3):
        notes = np.zeros(60, NOTE_DTYPE)
        notes["start"] = np.arange(60) / 8
        notes["end"] = notes["start"] + 0.2
        notes["pitch"] = rng.integers(40, 80, 60)
        notes["velocity"] = 64
        write_midi(notes, folder / f"{place}.mid")


def test_figure_11_shows_the_papers_answers_with_intervals(
    run, tmp_path, capsys
):
    for seed, name in enumerate(("real", "transformer", "gan")):
        write_pieces(tmp_path / name, seed)
    conditions = [
        word
        for name in ("real", "transformer", "gan")
        for word in ("--condition", f"{name}={tmp_path / name}")
    ]
    run("paper_ratings", *conditions, "--pieces", 2, "--seconds", 3)
    out = capsys.readouterr().out
    assert "50% (24 to 76)" in out
    assert "10 simulated" in out
    results = tmp_path / "runs/ratings"
    assert len(list(results.glob("page/sounds/*.wav"))) == 8
    assert len(list(results.glob("ratings/*.json"))) == 10
    assert (results / "figure_11.png").stat().st_size > 10_000
    with pytest.raises(SystemExit):
        run("paper_ratings", *conditions, "--pieces", 2, "--seconds", 3)
    assert "has a page already" in capsys.readouterr().err


def test_figure_11_knows_no_tastes_but_its_own(run, capsys):
    with pytest.raises(SystemExit):
        run("paper_ratings", "--condition", "waltz=waltzes")
    assert "'waltz'" in capsys.readouterr().err
