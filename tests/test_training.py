"""Runs of language models: what they learn and record, and how they go on."""

import dataclasses
import json
import shutil
import signal

import keras
import numpy as np
import pytest
from small_runs import RECIPE
from small_runs import assert_same_variables
from small_runs import interrupt_at
from small_runs import last_checkpoint
from small_runs import read_history
from small_runs import train
from small_runs import train_and_sample
from small_runs import weights_of

from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models.losses import SmoothedCrossentropy
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.training import TrainingError
from keras_pianogen.training import language_model
from keras_pianogen.training import length
from keras_pianogen.training import recorder
from keras_pianogen.training.checkpoints import Checkpoints
from keras_pianogen.training.run import Run


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


@pytest.fixture(scope="module")
def tuned(finished, small_corpus, tmp_path_factory):
    """The folder of a run of four steps from a preset, and the preset's.

    It was stopped after two steps. Then the preset was removed, and the record
    of what was asked for damaged.
    """
    place = tmp_path_factory.mktemp("tuned")
    folder, preset = place / "run", place / "preset"
    model = MusicTransformerCausalLM.from_preset(finished / "preset")
    config = model.backbone.get_config() | {"layer_norm_epsilon": 1e-3}
    backbone = MusicTransformerBackbone.from_config(config)
    other = MusicTransformerCausalLM(backbone, model.preprocessor)
    other.set_weights(model.get_weights())
    other.save_to_preset(str(preset))
    train(small_corpus, folder, RECIPE, steps=2, preset=preset)
    shutil.rmtree(preset)
    (folder / "config.json").write_text("{")
    assert train(small_corpus, folder, resume=True, steps=4)["step"] == 4
    return folder, preset


@pytest.mark.one_backend
def test_a_run_begins_from_a_preset_and_goes_on_without_it(tuned, finished):
    folder, preset = tuned
    first, fresh = (
        float(read_history(place)[0]["loss"]) for place in (folder, finished)
    )
    assert first < 0.8 * fresh
    config = json.loads((folder / "config.json").read_text())
    assert config["preset"] == str(preset)


@pytest.mark.one_backend
def test_a_preset_s_own_settings_outlive_it(tuned):
    saved = MusicTransformerCausalLM.from_preset(tuned[0] / "preset")
    assert saved.backbone.layer_norm_epsilon == 1e-3


@pytest.mark.one_backend
def test_a_run_from_a_preset_has_the_preset_s_shape(
    tuned, small_corpus, tmp_path
):
    folder = shutil.copytree(tuned[0], tmp_path / "run")
    recipe = dataclasses.replace(RECIPE, num_layers=5)
    settings = {"resume": True, "preset": tuned[1]}
    assert train(small_corpus, folder, recipe, **settings)["step"] == 4
    with pytest.raises(TrainingError, match="`num_layers` of this run is 1"):
        train(small_corpus, folder, {"num_layers": 5}, **settings)


@pytest.mark.one_backend
def test_a_preset_is_measured_before_it_is_trained(
    tuned, small_corpus, tmp_path
):
    rows = []

    def progress(row, done):
        rows.append(row)

    settings = {"preset": tuned[0] / "preset", "progress": progress}
    # The minutes are over before the first step: there is one all the same.
    row = train(
        small_corpus, tmp_path / "run", RECIPE, minutes=1e-4, **settings
    )
    assert row["step"] == 1
    preset = MusicTransformerCausalLM.from_preset(tuned[0] / "preset")
    figures = evaluate(preset, small_corpus, "validation")
    first = {
        "step": 0,
        "val_nats_per_event": row["preset_val_nats_per_event"],
        "unit": "event",
    }
    assert rows[0] == first
    assert first["val_nats_per_event"] == pytest.approx(
        figures.nats_per_event, rel=1e-4
    )


@pytest.mark.one_backend
def test_ctrl_c_before_the_first_step_ends_a_run(tuned, small_corpus, tmp_path):
    settings = {"preset": tuned[0] / "preset", "steps": 4}
    evaluated = language_model.evaluate

    def interrupted(*arguments, **others):
        signal.raise_signal(signal.SIGINT)
        return evaluated(*arguments, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_model, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(small_corpus, tmp_path / "run", RECIPE, **settings)
    assert (
        train(small_corpus, tmp_path / "run", RECIPE, **settings)["step"] == 4
    )


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        None,
        {"learning_rate": 1e-2, "hidden_dim": 16},
        {"size": "tiny", **dataclasses.asdict(RECIPE)},
    ],
    ids=("all settings", "none", "two", "a size and all settings"),
)
def test_a_run_goes_on_with_the_settings_it_has(
    finished, small_corpus, tmp_path, recipe
):
    folder = shutil.copytree(finished, tmp_path / "run")
    assert train(small_corpus, folder, recipe, resume=True)["step"] == 40


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("recipe", "preset", "message"),
    [
        (
            {"learning_rate": 0.5, "seed": 0},
            None,
            "`learning_rate` of this run is 0.01. Received: 0.5",
        ),
        (
            dataclasses.replace(RECIPE, batch_size=8, dropout=0.5),
            None,
            "`dropout` of this run is 0.0. Received: 0.5. "
            "`batch_size` of this run is 4. Received: 8",
        ),
        (
            {"size": "tiny", "num_layers": 1, "num_heads": 2},
            None,
            "`hidden_dim` of this run is 16. Received: 128. "
            "`sequence_length` of this run is 32. Received: 256. "
            "`batch_size` of this run is 4. Received: 8",
        ),
        (None, "mine", "`preset` of this run is None. Received: 'mine'"),
    ],
)
def test_only_settings_that_differ_are_refused_by_name_with_both_values(
    finished, small_corpus, recipe, preset, message
):
    before = (finished / "config.json").read_bytes()
    with pytest.raises(TrainingError) as refused:
        train(small_corpus, finished, recipe, resume=True, preset=preset)
    assert str(refused.value) == message
    assert "--preset" in refused.value.__notes__[0]
    assert (finished / "config.json").read_bytes() == before


@pytest.mark.one_backend
def test_only_what_is_there_goes_on(small_corpus, tmp_path):
    with pytest.raises(TrainingError, match="no run to go on with"):
        train(small_corpus, tmp_path / "none", resume=True)


@pytest.mark.one_backend
def test_a_run_is_never_overwritten(finished, small_corpus):
    with pytest.raises(TrainingError, match="holds a run already"):
        train(small_corpus, finished, RECIPE, steps=1)


@pytest.mark.one_backend
def test_a_longer_run_is_remembered(finished, small_corpus, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    longer = {"steps": 46, "progress": interrupt_at(42)}
    train(small_corpus, folder, resume=True, **longer)
    row = train(small_corpus, folder, resume=True)
    assert row["step"] == 46
    config = json.loads((folder / "config.json").read_text())
    assert config["steps"] == 46
    assert [resume["step"] for resume in config["resumes"]] == [40, 42]
    assert config["command"] and config["resumes"][0]["versions"]


@pytest.mark.one_backend
def test_a_run_from_before_there_were_blocks_goes_on(
    finished, small_corpus, tmp_path
):
    folder = shutil.copytree(finished, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    for name in ("local_block_size", "attend_previous_block"):
        del config["recipe"][name]
    (folder / "config.json").write_text(json.dumps(config))
    assert train(small_corpus, folder, RECIPE, resume=True)["step"] == 40


@pytest.mark.bit_for_bit
def test_every_setting_of_a_recipe_goes_on_bit_for_bit(small_corpus, tmp_path):
    recipe = dataclasses.replace(
        RECIPE,
        optimizer="muon",
        dropout=0.2,
        gradient_accumulation_steps=3,
        ema_momentum=0.7,
        label_smoothing=0.1,
    )
    whole = tmp_path / "whole"
    train(small_corpus, whole, recipe, steps=16, validations=2)
    # As if it had been killed after its validation halfway, two of three
    # gradients added up.
    parts = shutil.copytree(whole, tmp_path / "parts")
    shutil.rmtree(last_checkpoint(parts))
    assert last_checkpoint(parts).name == "step-000000008"
    train(small_corpus, parts, resume=True)
    assert_same_variables(parts, whole)


@pytest.mark.one_backend
def test_local_attention_goes_on_and_is_kept_in_the_preset(
    small_corpus, tmp_path
):
    folder = tmp_path / "run"
    blocks = {"local_block_size": 16, "attend_previous_block": True}
    recipe = dataclasses.replace(RECIPE, **blocks)
    train(small_corpus, folder, recipe, steps=4, progress=interrupt_at(2))
    row = train(small_corpus, folder, resume=True)
    assert row["step"] == 4
    model = MusicTransformerCausalLM.from_preset(folder / "preset")
    assert blocks.items() <= model.backbone.get_config().items()
    assert recipe.with_shape_of(model) == RECIPE.with_shape_of(model) == recipe


@pytest.mark.one_backend
def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    small_corpus, tmp_path
):
    folder = tmp_path / "run"

    def kill(row, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_corpus, folder, RECIPE, steps=4, progress=kill)
    assert not list((folder / "checkpoints").glob("step-*"))
    row = train(small_corpus, folder, RECIPE, steps=4)
    assert row["step"] == 4


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
