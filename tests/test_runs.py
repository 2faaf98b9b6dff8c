"""A run's folder, which survives whatever ends the process."""

import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import filelock
import keras
import numpy as np
import pytest
from small_runs import RECIPE
from small_runs import assert_same_variables
from small_runs import interrupt_at
from small_runs import last_checkpoint
from small_runs import read_history
from small_runs import train
from small_runs import variables_of

from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.files import seal
from keras_pianogen.files import unseal
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.training import Recipe
from keras_pianogen.training import TrainingError
from keras_pianogen.training import run as runs
from keras_pianogen.training.checkpoints import Checkpoints
from keras_pianogen.training.recorder import stop_on_interrupt

# A process that saves until it is killed in the middle of it; numbers that
# belong together, so that a mixture of two checkpoints would be seen. It has
# no backend to start: fifty are forked from one that has loaded everything.
SAVER = """
import json
import os
import random
import signal
import sys
import time

import numpy as np

from keras_pianogen.training.checkpoints import Checkpoints


class Variable:
    name = "kernel"

    def __init__(self, value):
        self.value = value

    def assign(self, value):
        self.value = value


class Model:
    def __init__(self):
        self.variables = [Variable(np.zeros(20_000)) for _ in range(20)]
        self.optimizer = self

    def fill(self, number):
        for variable in self.variables:
            variable.assign(np.full(20_000, float(number)))


def save_for_ever(checkpoints, first, pipe):
    model = Model()
    for step in range(first, 10**9):
        model.fill(step)
        os.write(pipe, b".")
        checkpoints.save(model, {"step": step})


rng = random.Random(0)
checkpoints = Checkpoints(sys.argv[1])
checkpoints.folder.mkdir(parents=True)
steps, partial = [0], 0
for i in range(50):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        save_for_ever(checkpoints, steps[-1] + 1, write)
    for _ in range(rng.randrange(1, 4)):
        os.read(read, 1)  # A save begins.
    # Half of the kills anywhere, half while the files are written.
    deadline = time.monotonic() + 5
    while i % 2 and not (checkpoints.folder / ".partial").exists():
        assert time.monotonic() < deadline
    time.sleep(rng.uniform(0, 0.002 if i % 2 else 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read), os.close(write)
    partial += (checkpoints.folder / ".partial").exists()
    model = Model()
    begun = checkpoints.last_step() is not None
    state = checkpoints.restore(model) if begun else {"step": 0}
    assert state["step"] >= steps[-1], (state, steps)
    for variable in model.variables:
        assert (variable.value == state["step"]).all()
    steps.append(state["step"])
print(json.dumps({"steps": steps, "partial": partial}))
"""


@pytest.mark.one_backend
def test_fifty_kills_inside_saves_lose_nothing(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", SAVER, str(tmp_path / "run")],
        env=os.environ | {"KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found["steps"]) == 51
    assert found["steps"] == sorted(found["steps"])
    assert found["steps"][-1] > 25
    # The kills do come in the middle of saves.
    assert found["partial"] >= 10


@pytest.mark.one_backend
def test_no_run_begins_or_goes_on_with_a_damaged_corpus(
    stopped, small_corpus, tmp_path
):
    corpus = shutil.copytree(small_corpus.folder, tmp_path / "corpus")
    with open(corpus / "notes.npy", "r+b") as file:
        file.seek(5000)
        file.write(b"\1\2\3")
    for settings in (
        {"out": tmp_path / "new", "recipe": RECIPE, "steps": 4},
        {"out": stopped, "resume": True},
    ):
        with pytest.raises(ValueError, match="notes.npy is damaged"):
            train(corpus, **settings)
    assert not (tmp_path / "new").exists()


@pytest.mark.one_backend
def test_a_run_goes_on_with_the_very_notes_it_began_with(
    stopped, small_corpus, tmp_path
):
    midi = tmp_path / "midi"
    midi.mkdir()
    for path in small_corpus.folder.parent.glob("*.mid"):
        shutil.copy(path, midi)
    notes = read_notes(midi / "00.mid")
    notes["velocity"][0] += 5
    write_midi(notes, midi / "00.mid")
    other = prepare_corpus(
        midi, tmp_path / "other", validation_fraction=0.2, test_fraction=0.2
    )
    assert other.pieces == small_corpus.pieces
    with pytest.raises(TrainingError, match="goes on with the corpus it began"):
        train(other, stopped, resume=True)


@pytest.mark.one_backend
@pytest.mark.bit_for_bit
@pytest.mark.parametrize("name", ["variables.npz", "state.json"])
def test_a_damaged_checkpoint_is_passed_over(
    finished, small_corpus, tmp_path, name
):
    folder = tmp_path / "damaged"
    shutil.copytree(finished, folder)
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
    assert_same_variables(folder, finished)


@pytest.mark.one_backend
def test_a_copy_that_a_user_made_is_no_checkpoint(tmp_path):
    for name in ("step-000000020", "step-000000040", "step-000000040 copy"):
        (tmp_path / name).mkdir()
    assert Checkpoints(tmp_path).last_step() == 40


def damage_state(folder):
    (last_checkpoint(folder) / "state.json").write_text('["step"]')


def damage_history(folder):
    path = folder / "history.csv"
    rows = path.read_bytes().replace(b"\n5,", b"\n\xff,")
    path.write_bytes(rows[:-30])


def damage_config(folder):
    path = folder / "config.json"
    path.write_bytes(path.read_bytes().replace(b'"seed": 0', b'"seed": 2'))


def cut_config(folder):
    (folder / "config.json").write_text("[1]")


@pytest.mark.one_backend
@pytest.mark.bit_for_bit
@pytest.mark.parametrize(
    "damage", [damage_state, damage_history, damage_config, cut_config]
)
def test_a_run_goes_on_while_a_checkpoint_is_whole(
    finished, small_corpus, tmp_path, damage
):
    folder = shutil.copytree(finished, tmp_path / "run")
    damage(folder)
    assert train(small_corpus, folder, resume=True)["step"] == 40
    assert_same_variables(folder, finished)
    lost = {5, 40} if damage is damage_history else set()
    steps = [int(row["step"]) for row in read_history(folder)]
    assert steps == sorted(set(range(1, 41)) - lost)
    seed = unseal((folder / "config.json").read_bytes())["recipe"]["seed"]
    assert seed == RECIPE.seed


@pytest.mark.one_backend
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_that_end_a_process_leave_a_checkpoint(
    small_corpus, tmp_path, monkeypatch, name
):
    number = getattr(signal, name)
    # Tests that `nohup` has started would ignore SIGHUP.
    ours = signal.signal(number, signal.SIG_DFL)
    folder, stop = tmp_path / "run", interrupt_at(3, number)
    saved = []
    for method in ("save", "save_preset"):
        write = getattr(runs.Run, method)
        monkeypatch.setattr(
            runs.Run,
            method,
            lambda *arguments, write=write, method=method: (
                saved.append(method) or write(*arguments)
            ),
        )
    train(small_corpus, folder, RECIPE, steps=40, progress=stop)
    after = signal.signal(number, ours)
    assert saved == ["save", "save_preset"]  # A kill can follow at once.
    assert last_checkpoint(folder).name == "step-000000003"
    assert after == signal.SIG_DFL


@pytest.mark.one_backend
def test_under_nohup_the_end_of_a_terminal_ends_no_run():
    class Recorder:
        interrupted = False

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_interrupt(Recorder()):
            signal.raise_signal(signal.SIGHUP)
            assert not Recorder.interrupted
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.one_backend
def test_another_backend_is_told_when_a_run_goes_on(
    finished, small_corpus, tmp_path, caplog
):
    folder = shutil.copytree(finished, tmp_path / "run")
    train(small_corpus, folder, resume=True)
    assert not caplog.text
    config = unseal((folder / "config.json").read_bytes())
    config["resumes"][-1]["backend"] = "theano"
    (folder / "config.json").write_bytes(seal(config))
    train(small_corpus, folder, resume=True)
    expected = f"goes on with {keras.config.backend()}. It was made with theano"
    assert expected in caplog.text


@pytest.mark.one_backend
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


@pytest.mark.one_backend
def test_the_best_preset_outlives_a_stop_before_its_checkpoint(
    finished, small_corpus, tmp_path, monkeypatch
):
    folder = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(last_checkpoint(folder))
    shutil.rmtree(folder / "preset")
    write = runs.replace_folder

    def fail(partial, target):
        if target.name == "preset":
            raise OSError(errno.EIO, "Input/output error", str(target))
        write(partial, target)

    monkeypatch.setattr(runs, "replace_folder", fail)
    with pytest.raises(TrainingError, match="preset'.*output error.*is whole"):
        train(small_corpus, folder, resume=True)
    monkeypatch.undo()
    row = train(small_corpus, folder, resume=True)
    model = MusicTransformerCausalLM.from_preset(folder / "preset")
    figures = evaluate(model, small_corpus, "validation")
    np.testing.assert_allclose(
        figures.nats_per_event, row["best_val_nats_per_event"], rtol=1e-4
    )


@pytest.mark.one_backend
def test_two_processes_dont_train_in_one_folder(
    finished, small_corpus, tmp_path
):
    folder = shutil.copytree(finished, tmp_path / "run")
    with filelock.FileLock(folder / ".lock"):
        with pytest.raises(TrainingError, match="Another process"):
            train(small_corpus, folder, resume=True)
    assert train(small_corpus, folder, resume=True)["step"] == 40


@pytest.mark.one_backend
def test_a_disk_without_room_is_named_before_training(
    small_corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 8, 1)
    )
    with pytest.raises(TrainingError, match="must have room.*Received: 0 MB"):
        train(small_corpus, tmp_path / "run", RECIPE, steps=4)


@pytest.mark.one_backend
def test_a_disk_that_fills_up_keeps_the_last_checkpoint(
    stopped, small_corpus, tmp_path, monkeypatch
):
    folder = shutil.copytree(stopped, tmp_path / "run")
    step = int(last_checkpoint(folder).name.split("-")[1])
    write = pathlib.Path.write_bytes

    def full(path, content):
        if path.name == "variables.npz":
            write(path, content[:99])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(TrainingError, match=f"No space left.*{step} is whole"):
        train(small_corpus, folder, resume=True, steps=step + 2)
    monkeypatch.undo()
    row = train(small_corpus, folder, resume=True)
    assert row["step"] == step + 2


@pytest.mark.one_backend
def test_a_folder_that_cant_be_written_is_named_at_once(small_corpus, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        train(small_corpus, tmp_path / "file" / "run", RECIPE, steps=4)


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


@pytest.mark.one_backend
def test_a_loss_that_is_not_finite_stops_the_run(small_corpus, tmp_path):
    with pytest.raises(TrainingError, match="loss is nan.*no checkpoint yet"):
        train(
            small_corpus,
            tmp_path / "run",
            RECIPE,
            steps=40,
            validations=1,
            callbacks=[Poison(1)],
        )


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
            steps=40,
            validations=4,
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


@pytest.mark.one_backend
def test_weights_that_are_not_finite_are_never_saved(
    stopped, small_corpus, tmp_path, monkeypatch
):
    folder = shutil.copytree(stopped, tmp_path / "run")
    newest = last_checkpoint(folder).name
    to_numpy = runs.to_numpy

    def poisoned(variable):
        array = to_numpy(variable)
        return array * np.nan if array.ndim == 2 else array

    # As if the last step before a save overflowed: its loss is finite.
    monkeypatch.setattr(runs, "to_numpy", poisoned)
    step = int(newest.split("-")[1])
    with pytest.raises(TrainingError, match=f"step {step} is whole"):
        train(small_corpus, folder, resume=True, steps=step + 2)
    assert last_checkpoint(folder).name == newest
