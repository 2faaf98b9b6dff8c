"""Runs of language models: what they learn, record and save."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
from small_runs import RECIPE
from small_runs import assert_same_variables
from small_runs import last_checkpoint
from small_runs import read_history
from small_runs import train
from small_runs import train_and_sample
from small_runs import weights_of

from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models.losses import SmoothedCrossentropy
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.training import length
from keras_pianogen.training import recorder
from keras_pianogen.training.checkpoints import Checkpoints
from keras_pianogen.training.run import Run


class Clock(keras.callbacks.Callback):
    """A clock on which each step takes so many seconds, and nothing else."""

    def __init__(self, seconds_a_step):
        super().__init__()
        self.seconds_a_step = seconds_a_step
        self.now = 0.0

    def monotonic(self):
        return self.now

    def on_train_batch_begin(self, batch, logs=None):
        self.now += self.seconds_a_step


def test_a_run_learns_and_keeps_its_record(finished, small_corpus):
    rows = read_history(finished)
    assert [int(row["step"]) for row in rows] == list(range(1, 41))
    assert int(rows[-1]["events"]) == 40 * 4 * 32
    losses = [float(row["loss"]) for row in rows]
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])
    rates = [row["learning_rate"] for row in rows if row["learning_rate"]]
    rates = np.array(rates, float)
    assert len(rates) == 20
    assert rates.max() <= 1e-2 and rates[-1] < 1e-3
    read = [row["val_nats_per_event"] for row in rows]
    assert sum(figure != "" for figure in read) == 4
    config = json.loads((finished / "config.json").read_text())
    assert config["recipe"] == dataclasses.asdict(RECIPE.on_device())
    assert config["corpus"] == small_corpus.fingerprint


def test_the_preset_is_the_one_that_was_best_on_validation(
    finished, small_corpus
):
    best = float(read_history(finished)[-1]["best_val_nats_per_event"])
    model = MusicTransformerCausalLM.from_preset(finished / "preset")
    figures = evaluate(model, small_corpus, "validation")
    np.testing.assert_allclose(figures.nats_per_event, best, rtol=1e-4)


@pytest.mark.bit_for_bit
def test_a_stopped_run_goes_on_to_the_very_same_weights(
    finished, stopped, small_corpus, tmp_path, monkeypatch
):
    folder = shutil.copytree(stopped, tmp_path / "stopped")
    assert 17 <= int(last_checkpoint(folder).name.split("-")[1]) < 40
    assert (folder / "preset" / "model.weights.h5").exists()
    # As if each step were slow: epochs end early, for their checkpoints.
    monkeypatch.setattr(recorder, "SECONDS_A_CHECKPOINT", 0)
    train(small_corpus, folder, resume=True)
    assert_same_variables(folder, finished)
    # It was validated at the same steps, too.
    columns = ("step", "events", "val_nats_per_event")
    assert [[row[c] for c in columns] for row in read_history(folder)] == [
        [row[c] for c in columns] for row in read_history(finished)
    ]
    # A loss is taken from Keras's means over epochs, of other lengths here.
    np.testing.assert_allclose(
        *(
            [float(row["loss"]) for row in read_history(place)]
            for place in (folder, finished)
        ),
        rtol=1e-4,
    )
    steps = {path.name for path in (folder / "checkpoints").iterdir()}
    assert steps == {"step-000000039", "step-000000040"}


@pytest.mark.one_backend
def test_a_checkpoint_ends_no_run(small_corpus, tmp_path, monkeypatch):
    clock = Clock(1.0)
    monkeypatch.setattr(recorder, "time", clock)
    # After step 11, amid an epoch; after step 22, at the end of one.
    monkeypatch.setattr(recorder, "SECONDS_A_CHECKPOINT", 10.5)
    saved = []
    save = Run.save

    def watched(self, model, state):
        saved.append(state["step"])
        save(self, model, state)

    monkeypatch.setattr(Run, "save", watched)
    settings = {"steps": 40, "validations": 1, "callbacks": [clock]}
    row = train(small_corpus, tmp_path / "run", RECIPE, **settings)
    assert row["step"] == 40
    assert saved == [11, 22, 33, 40]


@pytest.mark.one_backend
def test_callbacks_see_one_training_and_may_stop_it(
    small_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(recorder, "SECONDS_A_CHECKPOINT", 0)  # Many `fit`s.
    folder, log = tmp_path / "run", tmp_path / "log.csv"
    row = train(
        small_corpus,
        folder,
        RECIPE,
        steps=40,
        validations=1,
        callbacks=[
            keras.callbacks.CSVLogger(log),
            # Losses fall, so that each epoch is worse.
            keras.callbacks.EarlyStopping("loss", mode="max", patience=5),
        ],
    )
    assert len(log.read_text().splitlines()) == 1 + row["step"]
    assert 6 <= row["step"] < 40
    assert int(last_checkpoint(folder).name.split("-")[1]) == row["step"]
    assert (folder / "preset" / "model.weights.h5").exists()
    assert (folder / "curves.png").exists()


def test_what_is_validated_and_saved_is_the_average(small_corpus, tmp_path):
    recipe = dataclasses.replace(RECIPE, ema_momentum=0.9)
    row = train(small_corpus, tmp_path / "run", recipe, steps=8, validations=1)
    model = recipe.build_model()
    recipe.compile(model, 8)
    Checkpoints(tmp_path / "run" / "checkpoints").restore(model)
    weights = weights_of(model)
    saved = MusicTransformerCausalLM.from_preset(tmp_path / "run" / "preset")
    averages = weights_of(saved)
    assert any(
        np.abs(w - a).max() > 1e-4
        for w, a in zip(weights, averages, strict=True)
    )
    figures = evaluate(saved, small_corpus, "validation")
    np.testing.assert_allclose(
        figures.nats_per_event, row["val_nats_per_event"], rtol=1e-4
    )
    # The average of what there was after each step, by a slow twin.
    plain = dataclasses.replace(recipe, ema_momentum=None)
    trail = Trail()
    train(
        small_corpus,
        tmp_path / "plain",
        plain,
        steps=8,
        callbacks=[trail],
        validations=1,
    )
    expected = trail.weights[0]
    for weights in trail.weights[1:]:
        expected = [
            0.9 * e + 0.1 * w for e, w in zip(expected, weights, strict=True)
        ]
    for ours, theirs in zip(averages, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


class Trail(keras.callbacks.Callback):
    """The weights after each step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        if keras.config.backend() == "jax":
            self.model.jax_state_sync()
        self.weights.append(weights_of(self.model))


def test_smoothed_labels_cost_what_they_should():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5, 7)).astype("float32")
    y = rng.integers(0, 7, (2, 5))
    weights = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], "float32")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = 0.8 * np.eye(7)[y] + 0.2 / 7
    nats = -(targets * logs).sum(-1)
    found = SmoothedCrossentropy(0.2)(y, logits, sample_weight=weights)
    expected = (nats * weights).sum() / weights.sum()
    np.testing.assert_allclose(float(found), expected, rtol=1e-5)


@pytest.mark.slow_to_trace
def test_a_run_writes_music_pictures_and_what_it_was_made_with(
    small_corpus, tmp_path
):
    folder = tmp_path / "run"
    logged = []

    class Logs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logged.append((epoch, dict(logs)))

    train_and_sample(
        small_corpus,
        folder,
        RECIPE,
        steps=4,
        samples=2,
        validations=2,
        callbacks=[Logs()],
    )
    samples = sorted(path.name for path in (folder / "samples").iterdir())
    assert {"step-000000002.mid", "step-000000004.mid"} <= set(samples)
    read_notes(folder / "samples" / "step-000000004.mid")
    assert (folder / "curves.png").stat().st_size > 5000
    config = json.loads((folder / "config.json").read_text())
    assert config["versions"]["keras"] == keras.__version__
    assert len(config["commit"].removesuffix("-dirty")) == 40
    assert [epoch for epoch, _ in logged] == [0, 1]
    assert "val_nats_per_event" in logged[-1][1]
    memory = [int(row["memory_bytes"]) for row in read_history(folder)]
    assert min(memory) > 10_000_000


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "exactly one"),
        ({"steps": 1, "minutes": 1}, "exactly one"),
        ({"steps": 0}, "steps=0"),
        ({"minutes": -1.0}, "minutes=-1.0"),
    ],
)
def test_a_length_is_needed(small_corpus, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        train(small_corpus, tmp_path / "run", RECIPE, **arguments)


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "seconds_a_step, at_least, rows",
    [
        (1.0, 200, 30),  # Of two steps each.
        (0.5, 12, 14),  # Of ten, after two short ones.
    ],
)
def test_a_run_by_the_clock_ends(
    small_corpus, tmp_path, monkeypatch, seconds_a_step, at_least, rows
):
    clock = Clock(seconds_a_step)
    monkeypatch.setattr(recorder, "time", clock)
    monkeypatch.setattr(length, "EPOCHS_BY_THE_CLOCK", at_least)
    row = train(
        small_corpus,
        tmp_path / "run",
        RECIPE,
        minutes=1,
        validations=1,
        callbacks=[clock],
    )
    # Seconds are added up.
    assert row["step"] == pytest.approx(60 / seconds_a_step, abs=1)
    assert row["best_val_nats_per_event"] < float("inf")
    # However slow the steps, the learning rate rises and falls.
    rates = [r["learning_rate"] for r in read_history(tmp_path / "run")]
    rates = np.array([rate for rate in rates if rate], float)
    assert len(rates) == rows
    assert rates[0] < 1e-3 < 9e-3 < rates.max()
    assert rates[-1] < 1e-3


@pytest.mark.one_backend
def test_one_file_is_enough_to_train_on(tmp_path):
    notes = np.zeros(100, NOTE_DTYPE)
    notes["start"] = np.arange(100) / 8
    notes["end"] = notes["start"] + 0.1
    notes["pitch"] = 60 + np.arange(100) % 12
    notes["velocity"] = 64
    (tmp_path / "midi").mkdir()
    write_midi(notes, tmp_path / "midi" / "a.mid")
    corpus = prepare_corpus(tmp_path / "midi", tmp_path / "corpus")
    row = train(corpus, tmp_path / "run", RECIPE, steps=4)
    assert row["val_nats_per_event"] == ""
    assert (tmp_path / "run" / "preset" / "model.weights.h5").exists()
