"""The folder of a training run: crash-safe checkpoints and the record.

    config.json     what was asked for and with what: corpus, settings,
                    command, commit, versions
    history.csv     the record, a row every step
    checkpoints/    the last two, each enough to go on exactly

What is written is on disk whole under its name, or not at all. One process at
a time writes.
"""

import contextlib
import csv
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import threading

import filelock
import keras
import numpy as np


class TrainingError(ValueError):
    """A run that can't begin or go on, and why."""


def _for_the_writer(method):
    """Of several processes that train together, one writes."""

    @functools.wraps(method)
    def write(self, *args, **kwargs):
        return method(self, *args, **kwargs) if self.writes else None

    return write


class Run:
    """What is written in a run's folder, and read back.

    Args:
        folder: the run's folder.
        columns: names of the history's columns, `step` the first.
        writes: Whether anything is written. Of several processes one does.
    """

    def __init__(self, folder, columns, writes=True):
        self.folder = pathlib.Path(folder)
        self.columns = tuple(columns)
        self.checkpoints = self.folder / "checkpoints"
        self.history = self.folder / "history.csv"
        self.config_file = self.folder / "config.json"
        self.config = {}
        self.writes = writes

    @contextlib.contextmanager
    def held(self, create):
        """A context in which no other process may train in the folder.

        Args:
            create: whether to make the folder where there is none.
        """
        if create and self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
        if not self.writes or not self.folder.is_dir():
            yield
            return
        lock = filelock.FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise TrainingError(
                f"Another process is training in {self.folder}."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def check_unused(self):
        """Refuse a folder with a checkpoint in it, which is another run's."""
        if self.last_step() is not None:
            raise TrainingError(
                f"{self.folder} holds a run already. "
                "Go on with it (resume), or give another folder."
            )
        if self.writes:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.history.unlink(missing_ok=True)

    def last_step(self):
        """The step of the newest checkpoint, or `None`."""
        folders = self._checkpoints()
        return int(folders[-1].name.split("-")[1]) if folders else None

    def _checkpoints(self):
        return sorted(self.checkpoints.glob("step-*"))

    @_for_the_writer
    def check_room(self, model):
        """Refuse a disk that is too full for what a run keeps.

        That is three checkpoints, one of them being written, and two presets,
        no larger; less what is there already.
        """
        size = sum(_to_numpy(variable).nbytes for variable in _variables(model))
        there = len(self._checkpoints()) + (self.folder / "preset").exists()
        missing = max(1, 5 - there) * size
        free = shutil.disk_usage(self.folder).free
        if free < missing:
            raise TrainingError(
                f"{self.folder} must have room for checkpoints and presets, "
                f"{missing / 1e6:,.0f} MB. Received: {free / 1e6:,.0f} MB"
            )

    def write_config(self, corpus, state, **settings):
        """Write what was asked for, and with what it is done.

        A run that goes on keeps what it began with; `resumes` has the rest.
        """
        means = {
            "command": " ".join(sys.argv),
            "commit": _commit(),
            "versions": _versions(),
            "platform": platform.platform(),
            "backend": keras.config.backend(),
        }
        if self.config:
            resumes = self.config.get("resumes", [])
            resumes = [*resumes, {"step": state["step"], **means}]
            self.config |= settings | {"resumes": resumes}
        else:
            self.config = {"corpus": corpus.fingerprint, **settings, **means}
        if self.writes:
            with self.writing("The configuration"):
                text = json.dumps(self.config, indent=2)
                _write(self.config_file, text.encode())

    def open(self, corpus, settings):
        """Read what was asked for; `settings` makes it of the file's dict.

        Returns:
            What `settings` returns.
        """
        try:
            self.config = self._read_config()
            saved = settings(self.config)
            fingerprint = self.config["corpus"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise TrainingError(
                f"{self.folder} holds no run to go on with: {error}"
            ) from error
        if corpus.fingerprint != fingerprint:
            raise TrainingError(
                "A run goes on with the corpus it began with, whose "
                f"fingerprint is {fingerprint}. "
                f"Received one of {corpus.fingerprint}"
            )
        return saved

    @contextlib.contextmanager
    def writing(self, what):
        """A context in which a disk's errors name what can't be written."""
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{what} can't be written: {error}. {self._last_checkpoint()}"
            ) from error

    def check_finite(self, model, step):
        """Refuse weights of which a number isn't finite, before a save."""
        for variable in _variables(model):
            if not np.isfinite(_to_numpy(variable)).all():
                raise TrainingError(self.not_finite(step, "weights are"))

    def _read_config(self):
        """What was asked for, or what the newest checkpoint says that was."""
        try:
            return json.loads(self.config_file.read_text())
        except (OSError, ValueError):
            for folder in reversed(self._checkpoints()):
                with contextlib.suppress(OSError, ValueError):
                    text = (folder / "state.json").read_text()
                    return json.loads(text)["config"]
            raise

    @_for_the_writer
    def save(self, model, state):
        """A checkpoint that is whole or not there at all."""
        with self.writing(f"The checkpoint of step {state['step']}"):
            content = io.BytesIO()
            np.savez(content, *map(_to_numpy, _variables(model)))
            content = content.getvalue()
            state = state | {"config": self.config}
            state |= {"sha256": _sha256(state, content)}
            partial = self.checkpoints / ".partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _write(partial / "variables.npz", content)
            _write(partial / "state.json", json.dumps(state, indent=2).encode())
            _replace(partial, self.checkpoints / f"step-{state['step']:09d}")
            for old in self._checkpoints()[:-2]:
                shutil.rmtree(old)

    def not_finite(self, step, what):
        """What to say of a number that isn't finite: which step, and what."""
        recipe = self.config.get("recipe", {})
        before = recipe.get("gradient_accumulation_steps", 1)
        return (
            f"A number stopped being finite: at step {step} the {what}, "
            "through that step or through the gradient of "
            f"{'the one' if before == 1 else f'the {before}'} before. "
            f"{self._last_checkpoint()} A lower learning rate may help."
        )

    def _last_checkpoint(self):
        last = self.last_step()
        if last is None:
            return "There is no checkpoint yet."
        return f"The checkpoint of step {last} is whole."

    def begin(self, model, resume):
        """Where a run begins or goes on, if there is room for it; its state."""
        self.check_room(model)
        return self.restore(model) if resume else {"step": 0, "seconds": 0.0}

    def restore(self, model):
        """Read the newest checkpoint that is whole; return its state."""
        if self.writes:
            _recover(self.checkpoints)
            _recover(self.folder)
        for folder in reversed(self._checkpoints()):
            try:
                state = json.loads((folder / "state.json").read_text())
                content = (folder / "variables.npz").read_bytes()
            except (OSError, ValueError):
                continue
            if state.pop("sha256", None) != _sha256(state, content):
                continue
            arrays = np.load(io.BytesIO(content))
            variables = _variables(model)
            if len(arrays.files) != len(variables):
                raise TrainingError(
                    f"{folder} must have the model's {len(variables)} "
                    f"variables. Received: {len(arrays.files)}"
                )
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"arr_{i}"])
            self._cut_history(state["step"])
            return state
        raise TrainingError(
            f"{self.checkpoints} holds no whole checkpoint to go on from."
        )

    @_for_the_writer
    def _cut_history(self, step):
        """Drop rows newer than the checkpoint: they will come again."""
        rows = [r for r in self.rows() if int(r["step"]) <= step]
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with self.writing("The history"):
            _write(self.history, text.getvalue().encode())

    def rows(self):
        if not self.history.exists():
            return []
        with open(self.history, newline="") as file:
            return list(csv.DictReader(file))

    @_for_the_writer
    def append(self, *rows):
        """Add rows to the history, dicts of some of its columns."""
        new = not self.history.exists()
        with (
            self.writing("The history"),
            open(self.history, "a", newline="") as file,
        ):
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if new:
                writer.writeheader()
            for row in rows:
                writer.writerow({k: _short(v) for k, v in row.items()})

    @_for_the_writer
    def save_preset(self, model, name="preset"):
        """Save a model as a preset in the run's folder."""
        partial = self.folder / f".{name}"
        shutil.rmtree(partial, ignore_errors=True)
        with self.writing(f"The preset {name!r}"):
            model.save_to_preset(str(partial))
            _replace(partial, self.folder / name)


def seed_step(seed, step):
    """Give a step a seed of its own where the backend needs that.

    Keras's dropout on torch draws from torch's global generator, which no
    checkpoint holds.
    """
    if keras.config.backend() == "torch":
        keras.utils.set_random_seed((seed * 1_000_003 + step) % 2**32)


class stop_on_interrupt:
    """The first Ctrl-C ends the run after its step; a second one at once."""

    def __init__(self, recorder):
        self.recorder = recorder

    def __enter__(self):
        self.previous = None
        if threading.current_thread() is threading.main_thread():
            self.previous = signal.signal(signal.SIGINT, self._handle)

    def _handle(self, *_):
        self.recorder.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_):
        if self.previous is not None:
            signal.signal(signal.SIGINT, self.previous)


def _variables(model):
    """All that a step changes: weights, dropout's seeds, the optimizer's."""
    moments = [
        variable
        for variable in model.optimizer.variables
        if variable.name != "learning_rate"  # Set anew as the run goes on.
    ]
    return [*model.variables, *moments]


def _to_numpy(variable):
    return keras.ops.convert_to_numpy(variable.value)


def _commit():
    """The commit of the package's code, where that is a clone; or `None`."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        # An installed package can lie in somebody else's repository.
        git("ls-files", "--error-unmatch", "runs.py")
        return git("describe", "--always", "--abbrev=40", "--dirty")
    except (OSError, subprocess.SubprocessError):
        return None


def _versions():
    """Releases of what a run rests on."""
    names = ["keras-pianogen", "keras", "keras-hub", "numpy"]
    names.append(keras.config.backend())
    versions = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _short(value):
    return f"{value:.6g}" if isinstance(value, float) else value


def _write(path, content):
    """Write a file whole: it is on disk under its name, or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _replace(partial, target):
    """Put a whole folder in another's place, on disk before it has its name.

    There is no moment without either: `_recover` finds the old one.
    """
    for path in (*partial.rglob("*"), partial):
        _sync(path)
    old = target.with_name(f".old-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _recover(parent):
    """Bring back what was to be replaced when the process ended."""
    for old in parent.glob(".old-*"):
        target = parent / old.name.removeprefix(".old-")
        if target.exists():
            shutil.rmtree(old)
        else:
            old.rename(target)


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(state, content):
    """Of a checkpoint: its state and its variables."""
    text = json.dumps(state, sort_keys=True).encode()
    return hashlib.sha256(text + content).hexdigest()
