"""Runs: what they learn and record, and how they go on after a stop."""

import csv
import dataclasses
import errno
import functools
import json
import os
import shutil
import signal

import filelock
import keras
import numpy as np
import pytest

from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.judging.likelihood import Likelihood
from keras_pianogen.judging.likelihood import PieceLikelihood
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.judging.likelihood import evaluate_ngram
from keras_pianogen.judging.ngram import NGram
from keras_pianogen.judging.statistics import resampled_interval
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models.losses import SmoothedCrossentropy
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.training import language_model as training
from keras_pianogen.training import run as runs
from keras_pianogen.training.language_model import COLUMNS
from keras_pianogen.training.language_model import TrainingError
from keras_pianogen.training.language_model import train as train_and_sample
from keras_pianogen.training.recipe import Recipe

RECIPE = Recipe(
    num_layers=1,
    num_heads=2,
    hidden_dim=16,
    intermediate_dim=32,
    sequence_length=32,
    batch_size=4,
    learning_rate=1e-2,
    optimizer="adamw",
    dtype="float32",
)


# Without pieces written in between, whose compilation takes its time.
train = functools.partial(train_and_sample, samples=0)


def read_history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def last_checkpoint(folder):
    return max((folder / "checkpoints").glob("step-*"))


def variables_of(folder):
    with np.load(last_checkpoint(folder) / "variables.npz") as arrays:
        return [arrays[name] for name in arrays]


@pytest.fixture(scope="module")
def finished(small_corpus, tmp_path_factory):
    """A run of 40 steps, never stopped."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(small_corpus, folder, RECIPE, steps=40, validations=4)
    return folder


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


def interrupt_at(step):
    """A Ctrl-C, once, after that step."""
    steps = []

    def progress(row, done):
        if row["step"] == step and not steps:
            steps.append(step)
            os.kill(os.getpid(), signal.SIGINT)

    return progress


@pytest.mark.bit_for_bit
def test_a_stopped_run_goes_on_to_the_very_same_weights(
    finished, small_corpus, tmp_path, monkeypatch
):
    folder = tmp_path / "stopped"
    train(
        small_corpus,
        folder,
        RECIPE,
        steps=40,
        validations=4,
        progress=interrupt_at(17),
    )
    assert 17 <= int(last_checkpoint(folder).name.split("-")[1]) < 40
    assert (folder / "preset" / "model.weights.h5").exists()
    # As where each step is slow: rows end early, for their checkpoints.
    monkeypatch.setattr(training, "SECONDS_A_CHECKPOINT", 0)
    train(small_corpus, folder, resume=True, validations=4)
    for ours, theirs in zip(
        variables_of(folder), variables_of(finished), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    # It was validated at the same steps, too.
    columns = ("step", "events", "val_nats_per_event")
    assert [[row[c] for c in columns] for row in read_history(folder)] == [
        [row[c] for c in columns] for row in read_history(finished)
    ]
    # Losses are taken apart from Keras's means of rows, of other lengths here.
    np.testing.assert_allclose(
        *(
            [float(row["loss"]) for row in read_history(place)]
            for place in (folder, finished)
        ),
        rtol=1e-4,
    )
    steps = {path.name for path in (folder / "checkpoints").iterdir()}
    assert steps == {"step-000000039", "step-000000040"}


@pytest.mark.bit_for_bit
@pytest.mark.parametrize("name", ["variables.npz", "state.json"])
def test_a_damaged_checkpoint_is_passed_over(
    finished, small_corpus, tmp_path, name
):
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
    whole = variables_of(folder)
    newest = last_checkpoint(folder) / name
    content = newest.read_bytes()
    damaged = content.replace(b'"step": 40', b'"step": 41')
    if name == "variables.npz":
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
    assert damaged != content
    newest.write_bytes(damaged)
    # What a kill in the middle of a save leaves behind.
    (folder / "checkpoints" / ".partial").mkdir()
    train(small_corpus, folder, resume=True, validations=4)
    for ours, theirs in zip(variables_of(folder), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_kill_between_two_names_loses_nothing(
    finished, small_corpus, tmp_path
):
    folder = shutil.copytree(finished, tmp_path / "run")
    first, last = sorted((folder / "checkpoints").glob("step-*"))
    shutil.rmtree(first)
    # Where it is to be replaced, the old one has another name for a moment.
    for path in (last, folder / "preset"):
        path.rename(path.with_name(f".old-{path.name}"))
    assert train(small_corpus, folder, resume=True)["step"] == 40
    assert variables_of(folder)
    MusicTransformerCausalLM.from_preset(folder / "preset")


def test_the_best_preset_outlives_a_stop_before_its_checkpoint(
    finished, small_corpus, tmp_path, monkeypatch
):
    folder = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(last_checkpoint(folder))
    shutil.rmtree(folder / "preset")
    write = runs._replace

    def fail(partial, target):
        if target.name == "preset":
            raise OSError(errno.EIO, "Input/output error", str(target))
        write(partial, target)

    monkeypatch.setattr(runs, "_replace", fail)
    with pytest.raises(TrainingError, match="preset'.*output error.*is whole"):
        train(small_corpus, folder, resume=True)
    monkeypatch.undo()
    row = train(small_corpus, folder, resume=True)
    model = MusicTransformerCausalLM.from_preset(folder / "preset")
    figures = evaluate(model, small_corpus, "validation")
    np.testing.assert_allclose(
        figures.nats_per_event, row["best_val_nats_per_event"], rtol=1e-4
    )


def test_two_processes_dont_train_in_one_folder(
    finished, small_corpus, tmp_path
):
    folder = shutil.copytree(finished, tmp_path / "run")
    with filelock.FileLock(folder / ".lock"):
        with pytest.raises(TrainingError, match="Another process"):
            train(small_corpus, folder, resume=True)
    assert train(small_corpus, folder, resume=True)["step"] == 40


def test_a_run_begins_from_a_preset(finished, small_corpus, tmp_path):
    preset = shutil.copytree(finished / "preset", tmp_path / "preset")
    folder = tmp_path / "a"
    first = train(small_corpus, folder, RECIPE, steps=1, preset=preset)
    fresh = train(small_corpus, tmp_path / "b", RECIPE, steps=1)
    assert first["loss"] < 0.8 * fresh["loss"]
    # What it brought is in the run now.
    shutil.rmtree(preset)
    assert train(small_corpus, folder, resume=True, steps=2)["step"] == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["preset"] == str(preset)


def test_a_loss_that_is_not_finite_stops_the_run(small_corpus, tmp_path):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e30, warmup=0.0)
    with pytest.raises(TrainingError, match="no checkpoint yet"):
        train(small_corpus, tmp_path / "run", recipe, steps=10)


class Poison(keras.callbacks.Callback):
    """Makes the loss NaN from a step on, or its gradient alone."""

    def __init__(self, step):
        super().__init__()
        self.step = step
        self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1

    def on_epoch_begin(self, epoch, logs=None):
        if self.seen >= self.step:
            norm = self.model.backbone.layer_norm
            norm.gamma.assign(np.full(norm.gamma.shape, np.nan, "float32"))


def test_poison_stops_a_run_in_its_step_and_keeps_what_was_good(
    small_corpus, tmp_path
):
    seen = []
    with pytest.raises(
        TrainingError, match="at step 21 the loss is nan.*of step 20 is whole"
    ):
        train(
            small_corpus,
            tmp_path / "run",
            RECIPE,
            steps=400,
            validations=40,
            callbacks=[Poison(20)],
            progress=lambda row, done: seen.append(row["step"]),
        )
    assert max(seen) == 20
    rows = read_history(tmp_path / "run")
    assert (rows[-1]["step"], rows[-1]["loss"]) == ("21", "nan")
    assert all(np.isfinite(x).all() for x in variables_of(tmp_path / "run"))


def test_a_gradient_that_is_not_finite_stops_a_run_a_step_later(
    small_corpus, tmp_path, monkeypatch
):
    class Loss(keras.losses.Loss):
        """A finite loss whose gradient isn't: the slope of a root at 0."""

        def call(self, y_true, y_pred):
            zero = keras.ops.sqrt(0.0 * keras.ops.abs(y_pred))
            return keras.ops.mean(y_pred, -1) + keras.ops.mean(zero, -1)

    compile_ = Recipe.compile

    def compile_with_it(self, model, steps=None):
        compile_(self, model, steps)
        model.compile(optimizer=model.optimizer, loss=Loss())

    monkeypatch.setattr(Recipe, "compile", compile_with_it)
    with pytest.raises(TrainingError, match="at step 2 the loss is nan"):
        train(small_corpus, tmp_path / "run", RECIPE, steps=40)


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
    for ours, theirs in zip(
        variables_of(parts), variables_of(whole), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_checkpoint_ends_no_run(small_corpus, tmp_path, monkeypatch):
    clock = Clock(1.0)
    monkeypatch.setattr(training, "time", clock)
    # After step 11, amid a row; after step 22, at the end of one.
    monkeypatch.setattr(training, "SECONDS_A_CHECKPOINT", 10.5)
    saved = []
    save = runs.Run.save

    def watched(self, model, state):
        saved.append(state["step"])
        save(self, model, state)

    monkeypatch.setattr(runs.Run, "save", watched)
    settings = {"steps": 40, "validations": 1, "callbacks": [clock]}
    row = train(small_corpus, tmp_path / "run", RECIPE, **settings)
    assert row["step"] == 40
    assert saved == [11, 22, 33, 40]


def test_callbacks_see_one_training_and_may_stop_it(
    small_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(training, "SECONDS_A_CHECKPOINT", 0)  # Many `fit`s.
    folder, log = tmp_path / "run", tmp_path / "log.csv"
    row = train(
        small_corpus,
        folder,
        RECIPE,
        steps=400,
        validations=1,
        callbacks=[
            keras.callbacks.CSVLogger(log),
            # Losses fall, so that each row is worse.
            keras.callbacks.EarlyStopping("loss", mode="max", patience=5),
        ],
    )
    assert len(log.read_text().splitlines()) == 1 + row["step"]
    assert 6 <= row["step"] < 100
    assert int(last_checkpoint(folder).name.split("-")[1]) == row["step"]
    assert (folder / "preset" / "model.weights.h5").exists()
    assert (folder / "curves.png").exists()


def test_a_preset_s_own_settings_outlive_it(small_corpus, tmp_path):
    model = RECIPE.build_model()
    config = model.backbone.get_config()
    config |= {"layer_norm_epsilon": 0.1}
    MusicTransformerCausalLM(
        MusicTransformerBackbone.from_config(config), model.preprocessor
    ).save_to_preset(str(tmp_path / "preset"))
    folder = tmp_path / "run"
    settings = {"preset": tmp_path / "preset", "steps": 2}
    train(small_corpus, folder, RECIPE, **settings)
    shutil.rmtree(tmp_path / "preset")
    # Nor is the record needed that says what was asked for.
    (folder / "config.json").write_text("{")
    train(small_corpus, folder, resume=True, steps=4)
    saved = MusicTransformerCausalLM.from_preset(folder / "preset")
    assert saved.backbone.layer_norm_epsilon == 0.1


def test_what_is_validated_and_saved_is_the_average(small_corpus, tmp_path):
    recipe = dataclasses.replace(RECIPE, ema_momentum=0.9)
    row = train(small_corpus, tmp_path / "run", recipe, steps=8, validations=1)
    model = recipe.build_model()
    recipe.compile(model, 8)
    runs.Run(tmp_path / "run", COLUMNS).restore(model)
    weights = arrays_of(model)
    saved = MusicTransformerCausalLM.from_preset(tmp_path / "run" / "preset")
    averages = arrays_of(saved)
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


def arrays_of(model):
    return [
        np.array(keras.ops.convert_to_numpy(variable.value))
        for variable in model.trainable_variables
    ]


class Trail(keras.callbacks.Callback):
    """The weights after each step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        if keras.config.backend() == "jax":
            self.model.jax_state_sync()
        self.weights.append(arrays_of(self.model))


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


def test_a_disk_without_room_is_named_before_training(
    small_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 8, 1)
    )
    with pytest.raises(TrainingError, match="must have room.*Received: 0 MB"):
        train(small_corpus, tmp_path / "run", RECIPE, steps=4)


def test_a_disk_that_fills_up_keeps_the_last_checkpoint(
    small_corpus, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    train(small_corpus, folder, RECIPE, steps=8, progress=interrupt_at(4))
    write = runs._write

    def full(path, content):
        if path.name == "variables.npz":
            path.with_name(".variables.npz.partial").write_bytes(content[:99])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(runs, "_write", full)
    with pytest.raises(TrainingError, match="No space left.*4 is whole"):
        train(small_corpus, folder, resume=True)
    monkeypatch.undo()
    assert train(small_corpus, folder, resume=True)["step"] == 8


def test_a_folder_that_cant_be_written_is_named_at_once(small_corpus, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        train(small_corpus, tmp_path / "file" / "run", RECIPE, steps=4)


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
        steps=8,
        samples=2,
        validations=2,
        callbacks=[Logs()],
    )
    samples = sorted(path.name for path in (folder / "samples").iterdir())
    assert {"step-000000004.mid", "step-000000008.mid"} <= set(samples)
    read_notes(folder / "samples" / "step-000000008.mid")
    assert (folder / "curves.png").stat().st_size > 5000
    config = json.loads((folder / "config.json").read_text())
    assert config["versions"]["keras"] == keras.__version__
    assert len(config["commit"].removesuffix("-dirty")) == 40
    assert [epoch for epoch, _ in logged] == [0, 1, 2, 3]
    assert "val_nats_per_event" in logged[-1][1]
    memory = [int(row["memory_bytes"]) for row in read_history(folder)]
    assert min(memory) > 10_000_000


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


def test_a_run_is_never_overwritten(finished, small_corpus):
    with pytest.raises(TrainingError, match="holds a run already"):
        train(small_corpus, finished, RECIPE, steps=1)


def test_only_what_is_there_goes_on(finished, small_corpus, tmp_path):
    with pytest.raises(TrainingError, match="no run to go on with"):
        train(small_corpus, tmp_path / "none", resume=True)
    with pytest.raises(TrainingError, match="recipe it began with"):
        train(small_corpus, finished, Recipe(), resume=True)


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
    monkeypatch.setattr(training, "time", clock)
    monkeypatch.setattr(training, "ROWS_BY_THE_CLOCK", at_least)
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


def test_local_attention_goes_on_and_is_kept_in_the_preset(
    small_corpus, tmp_path
):
    folder = tmp_path / "run"
    blocks = {"local_block_size": 16, "attend_previous_block": True}
    recipe = dataclasses.replace(RECIPE, **blocks)
    train(small_corpus, folder, recipe, steps=8, progress=interrupt_at(4))
    row = train(small_corpus, folder, resume=True)
    assert row["step"] == 8
    model = MusicTransformerCausalLM.from_preset(folder / "preset")
    assert blocks.items() <= model.backbone.get_config().items()
    assert recipe.with_shape_of(model) == RECIPE.with_shape_of(model) == recipe


def test_a_run_from_before_there_were_blocks_goes_on(
    finished, small_corpus, tmp_path
):
    folder = shutil.copytree(finished, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    for name in ("local_block_size", "attend_previous_block"):
        del config["recipe"][name]
    (folder / "config.json").write_text(json.dumps(config))
    assert train(small_corpus, folder, RECIPE, resume=True)["step"] == 40


# === Evaluation ===


def test_a_split_s_likelihood_equals_a_sum_over_its_pieces(small_corpus):
    model = RECIPE.build_model()
    vocabulary = model.preprocessor.tokenizer.vocabulary
    total = events = notes = 0
    for piece in small_corpus.split("validation"):
        ids = vocabulary.encode(small_corpus.notes(piece))
        x, y, _ = model.preprocessor.windows(ids, sequence_length=len(ids) + 1)
        losses = keras.losses.sparse_categorical_crossentropy(
            y, model.predict(x, verbose=0), from_logits=True
        )
        total += float(keras.ops.sum(losses))
        events += y.size
        notes += len(small_corpus.notes(piece))
    figures = evaluate(
        model, small_corpus, "validation", sequence_length=1024, stride=1024
    )
    assert figures.num_events == events
    assert figures.full_coverage
    np.testing.assert_allclose(
        figures.nats_per_event, total / events, rtol=1e-5
    )
    np.testing.assert_allclose(figures.nats_per_note, total / notes, rtol=1e-5)
    np.testing.assert_allclose(
        figures.perplexity, np.exp(total / events), rtol=1e-4
    )


def test_pieces_and_composers_make_up_the_split(small_corpus):
    model = RECIPE.build_model()
    whole = evaluate(model, small_corpus, "train")
    indices = small_corpus.split("train")
    assert [piece.path for piece in whole.pieces] == [
        small_corpus.pieces[i].path for i in indices
    ]
    for name in ("num_events", "num_notes"):
        total = sum(getattr(piece, name) for piece in whole.pieces)
        assert total == {"num_notes": 120 * len(indices)}.get(
            name, whole.num_events
        )
    total = sum(piece.nats for piece in whole.pieces)
    np.testing.assert_allclose(
        whole.nats_per_event, total / whole.num_events, rtol=1e-6
    )
    alone = evaluate(model, small_corpus, "test", batch_size=3)
    again = evaluate(model, small_corpus, "test", batch_size=1)
    np.testing.assert_allclose(
        alone.pieces[0].nats, again.pieces[0].nats, rtol=1e-5
    )
    low, high = whole.intervals["nats_per_event"]
    assert low < whole.nats_per_event < high
    composers = whole.by_composer()
    assert list(composers) == [""]  # This corpus says nothing of them.
    assert composers[""].nats_per_event == whole.nats_per_event


def test_ngrams_read_the_events_that_models_read(small_corpus):
    model = RECIPE.build_model()
    vocabulary = model.preprocessor.tokenizer.vocabulary
    ours = evaluate(model, small_corpus, "test")
    settings = {"vocabulary": vocabulary, "sequence_length": 16}
    orders = [
        evaluate_ngram(small_corpus, "test", order=n, **settings)
        for n in (1, 2, 3)
    ]
    for found in orders:
        assert found.num_events == ours.num_events
        assert [p.path for p in found.pieces] == [p.path for p in ours.pieces]
    # Piece by piece, as wholes.
    counts = NGram(3, len(vocabulary))
    ids = {
        index: np.r_[
            vocabulary.start_id,
            vocabulary.encode(small_corpus.notes(index)),
            vocabulary.end_id,
        ]
        for index in range(len(small_corpus))
    }
    counts.fit(ids[index] for index in small_corpus.split("train"))
    np.testing.assert_allclose(
        [piece.nats for piece in orders[-1].pieces],
        [counts.nats(ids[i]).sum() for i in small_corpus.split("test")],
        rtol=1e-6,
    )
    assert orders[-1].num_parameters == counts.num_parameters
    # Scales: the longer the history, the surer.
    nats = [found.nats_per_event for found in orders]
    assert nats == sorted(nats, reverse=True) and nats[-1] < nats[0] - 1


def test_composers_are_told_apart():
    pieces = tuple(
        PieceLikelihood(
            f"{i}.mid", composer, nats, 0.0, 100, 20, 10.0 * (i + 1)
        )
        for i, (composer, nats) in enumerate(
            [("Liszt", 300.0), ("Bach", 100.0), ("Liszt", 200.0)]
        )
    )
    split = Likelihood(2.0, 10.0, 10.0, 0.0, 300, 3, 512, True, 7, pieces)
    composers = split.by_composer()
    assert list(composers) == ["Bach", "Liszt"]
    liszt = composers["Liszt"]
    assert (liszt.nats_per_event, liszt.num_pieces) == (2.5, 2)
    assert (liszt.nats_per_note, liszt.nats_per_second) == (12.5, 12.5)
    assert split.intervals["nats_per_event"] == (1.0, 3.0)


def test_intervals_are_as_wide_as_theory_says():
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 0.5, size=400)
    low, high = resampled_interval(values, np.ones(400))
    width = 2 * 1.96 * values.std() / 20
    assert high - low == pytest.approx(width, rel=0.1)
    assert low < values.mean() < high


def test_part_of_a_split_is_near_all_of_it(small_corpus):
    model = RECIPE.build_model()
    whole = evaluate(model, small_corpus, "validation", batch_size=1)
    part = evaluate(
        model, small_corpus, "validation", batch_size=1, max_events=300
    )
    assert not part.full_coverage
    np.testing.assert_allclose(
        part.nats_per_event, whole.nats_per_event, rtol=0.1
    )


def test_an_untrained_model_knows_nothing(small_corpus):
    figures = evaluate(RECIPE.build_model(), small_corpus, "validation")
    np.testing.assert_allclose(figures.nats_per_event, np.log(391), rtol=0.05)


def test_an_unknown_split_is_named(small_corpus):
    with pytest.raises(ValueError, match="nowhere"):
        evaluate(RECIPE.build_model(), small_corpus, "nowhere")


def test_weights_that_are_not_finite_are_never_saved(
    small_corpus, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    train(small_corpus, folder, RECIPE, steps=8, progress=interrupt_at(4))
    assert last_checkpoint(folder).name == "step-000000004"
    to_numpy = runs._to_numpy

    def poisoned(variable):
        array = to_numpy(variable)
        return array * np.nan if array.ndim == 2 else array

    # As where the last step before a save overflows: its loss is finite.
    monkeypatch.setattr(runs, "_to_numpy", poisoned)
    with pytest.raises(TrainingError, match="step 4 is whole"):
        train(small_corpus, folder, resume=True)
    assert last_checkpoint(folder).name == "step-000000004"


def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    small_corpus, tmp_path
):
    folder = tmp_path / "run"

    def kill(row, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_corpus, folder, RECIPE, steps=400, progress=kill)
    assert not list((folder / "checkpoints").glob("step-*"))
    row = train(small_corpus, folder, RECIPE, steps=4)
    assert row["step"] == 4


def test_a_longer_run_is_remembered(small_corpus, tmp_path):
    folder = tmp_path / "run"
    train(small_corpus, folder, RECIPE, steps=2)
    train(small_corpus, folder, resume=True, steps=8, progress=interrupt_at(4))
    row = train(small_corpus, folder, resume=True)
    assert row["step"] == 8
    config = json.loads((folder / "config.json").read_text())
    assert config["steps"] == 8
    assert [resume["step"] for resume in config["resumes"]] == [2, 4]
    assert config["command"] and config["resumes"][0]["versions"]


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
