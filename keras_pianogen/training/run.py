"""The folder of a training run, and the record of how it was made.

    config.json     the corpus, the settings, the command, the commit, versions
    history.csv     a row for each step
    checkpoints/    the last two, each enough to go on exactly

One process at a time trains in a folder.
"""

import contextlib
import functools
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import filelock
import keras
import numpy as np

from keras_pianogen.files import SEAL
from keras_pianogen.files import held
from keras_pianogen.files import seal
from keras_pianogen.files import unseal
from keras_pianogen.files import whole
from keras_pianogen.notices.hints import hinted
from keras_pianogen.training.checkpoints import Checkpoints
from keras_pianogen.training.checkpoints import TrainingError
from keras_pianogen.training.checkpoints import recover_folders
from keras_pianogen.training.checkpoints import replace_folder
from keras_pianogen.training.checkpoints import to_numpy
from keras_pianogen.training.checkpoints import variables_of
from keras_pianogen.training.history import History

logger = logging.getLogger(__name__)


def _by_the_writer(method):
    """Makes a method do nothing in the processes that write nothing."""

    @functools.wraps(method)
    def write(self, *args, **kwargs):
        return method(self, *args, **kwargs) if self.writes else None

    return write


class Run:
    """A run's folder: its lock, its settings, its history and checkpoints.

    Args:
        folder: the run's folder.
        columns: names of the history's columns, `step` the first.
        writes: bool. Whether this process writes. Of several processes that
            train together, one does.

    Attributes:
        config: the content of `config.json`, a dict; empty for a new run.
    """

    def __init__(self, folder, columns, writes=True):
        self.folder = pathlib.Path(folder)
        self.checkpoints = Checkpoints(self.folder / "checkpoints")
        self.history = History(self.folder / "history.csv", columns)
        self.config_file = self.folder / "config.json"
        self.config = {}
        self.writes = writes

    @contextlib.contextmanager
    def held(self, create):
        """A context in which no other process can train in the folder.

        Args:
            create: whether to make the folder if it doesn't exist.
        """
        if create and self.writes:
            self.folder.mkdir(parents=True, exist_ok=True)
        if not self.writes or not self.folder.is_dir():
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(held(self.folder))
            except filelock.Timeout as error:
                raise TrainingError(
                    f"Another process is training in {self.folder}."
                ) from error
            yield

    def check_unused(self):
        """Refuse a folder that has a checkpoint: it is another run's."""
        if self.checkpoints.last_step() is not None:
            error = TrainingError(f"{self.folder} holds a run already.")
            raise hinted(error, "--resume goes on with it.")
        if self.writes:
            self.checkpoints.folder.mkdir(parents=True, exist_ok=True)
            self.history.path.unlink(missing_ok=True)

    def open(self, corpus, read_settings):
        """Read the settings of the run in the folder.

        Args:
            corpus: the `Corpus` that the run goes on with.
            read_settings: a function of the configuration, a dict.

        Returns:
            The value of `read_settings`.

        Raises:
            TrainingError: if there is no run, or it was on another corpus.
        """
        try:
            self.config = self._read_config()
            settings = read_settings(self.config)
            fingerprint = self.config["corpus"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            message = f"{self.folder} holds no run to go on with: {error}"
            hint = "Without --resume, the command begins one."
            raise hinted(TrainingError(message), hint) from error
        if corpus.fingerprint != fingerprint:
            error = TrainingError(
                "A run goes on with the corpus it began with, whose "
                f"fingerprint is {fingerprint}. Received: a corpus with the "
                f"fingerprint {corpus.fingerprint}"
            )
            raise hinted(error, "Give that corpus, or begin another run.")
        self._tell_backend()
        return settings

    def _read_config(self):
        """The content of `config.json`, or its copy in a checkpoint.

        Runs of older versions have no seal in their `config.json`.
        """
        try:
            text = self.config_file.read_bytes()
            config = json.loads(text)
            if isinstance(config, dict) and SEAL not in config:
                return config
            return unseal(text)
        except (OSError, ValueError):
            for _, state, _ in self.checkpoints.whole():
                return state["config"]
            raise

    def _tell_backend(self):
        """Warn if the run was made with another backend so far."""
        before = [self.config, *self.config.get("resumes", [])][-1]
        backend = keras.config.backend()
        if before.get("backend", backend) != backend:
            logger.warning(
                "The run in %s goes on with %s. It was made with %s so far, "
                "whose numbers differ in their last digits.",
                self.folder,
                backend,
                before["backend"],
            )

    def begin(self, model, resume):
        """The state that a run begins with or goes on from, a dict.

        Args:
            model: the compiled model; it gets the variables of the newest
                checkpoint if the run goes on.
            resume: whether it goes on.

        Raises:
            TrainingError: if the disk is too full, or there is no checkpoint
                to go on from.
        """
        self._check_room(model)
        if not resume:
            return {"step": 0, "seconds": 0.0}
        if self.writes:
            recover_folders(self.checkpoints.folder)
            recover_folders(self.folder)
        state = self.checkpoints.restore(model)
        self._cut_history(state["step"])
        return state

    @_by_the_writer
    def _check_room(self, model):
        """Refuse a disk that is too full for the files of a run.

        At most there are three checkpoints, one of them being written, and
        two presets, which are no larger.
        """
        size = sum(
            to_numpy(variable).nbytes for variable in variables_of(model)
        )
        there = len(self.checkpoints.paths())
        there += (self.folder / "preset").exists()
        missing = max(1, 5 - there) * size
        free = shutil.disk_usage(self.folder).free
        if free < missing:
            raise TrainingError(
                f"{self.folder} must have room for checkpoints and presets, "
                f"{missing / 1e6:,.0f} MB. Received: {free / 1e6:,.0f} MB"
            )

    @_by_the_writer
    def _cut_history(self, step):
        """Remove rows after the checkpoint: their steps are trained again."""
        with self.writing("The history"):
            self.history.cut(step)

    def write_config(self, corpus, state, **settings):
        """Write the settings, and the software that the run uses.

        The software of a run that goes on is added to the list `resumes`.
        """
        software = {
            "command": " ".join(sys.argv),
            "commit": _commit(),
            "versions": _versions(),
            "platform": platform.platform(),
            "backend": keras.config.backend(),
        }
        if self.config:
            resumes = self.config.get("resumes", [])
            resumes = [*resumes, {"step": state["step"], **software}]
            self.config |= settings | {"resumes": resumes}
        else:
            fingerprint = {"corpus": corpus.fingerprint}
            self.config = fingerprint | settings | software
        self._write_config()

    @_by_the_writer
    def _write_config(self):
        with (
            self.writing("The configuration"),
            whole(self.config_file) as part,
        ):
            part.write_bytes(seal(self.config))

    @_by_the_writer
    def append(self, *rows):
        """Add rows to the history, dicts of some of its columns."""
        with self.writing("The history"):
            self.history.append(*rows)

    @_by_the_writer
    def save(self, model, state):
        """Save a checkpoint: the model, the state, and the settings."""
        with self.writing(f"The checkpoint of step {state['step']}"):
            self.checkpoints.save(model, state | {"config": self.config})

    @_by_the_writer
    def save_preset(self, model, name="preset"):
        """Save a model as a preset in the run's folder."""
        partial = self.folder / f".{name}"
        shutil.rmtree(partial, ignore_errors=True)
        with self.writing(f"The preset {name!r}"):
            model.save_to_preset(str(partial))
            replace_folder(partial, self.folder / name)

    @contextlib.contextmanager
    def writing(self, subject):
        """A context that turns a disk's errors into a `TrainingError`."""
        try:
            yield
        except OSError as error:
            raise TrainingError(
                f"{subject} can't be written: {error}. "
                f"{self._last_checkpoint()}"
            ) from error

    def check_finite(self, model, step):
        """Refuse to go on with weights that aren't finite."""
        for variable in variables_of(model):
            if not np.isfinite(to_numpy(variable)).all():
                raise self.not_finite(step, "weights are not finite")

    def not_finite(self, step, what):
        """The error about a number that isn't finite.

        Args:
            step: the step in which it was found.
            what: a clause that names the number.
        """
        recipe = self.config.get("recipe", {})
        before = recipe.get("gradient_accumulation_steps", 1)
        error = TrainingError(
            f"A number stopped being finite: at step {step} the {what}, "
            "through that step or through the gradient of "
            f"{'the one' if before == 1 else f'the {before}'} before. "
            f"{self._last_checkpoint()}"
        )
        return hinted(error, "Begin again with a lower --learning-rate.")

    def _last_checkpoint(self):
        last = self.checkpoints.last_step()
        if last is None:
            return "There is no checkpoint yet."
        return f"The checkpoint of step {last} is whole."


def check_settings(own, given):
    """Refuse settings that differ from those of the run that goes on.

    Args:
        own: the run's settings, a dict.
        given: some of them again, a dict.

    Raises:
        TrainingError: with the names and both values of those that differ.
    """
    differing = [name for name in given if given[name] != own.get(name)]
    if differing:
        message = ". ".join(
            f"`{name}` of this run is {own.get(name)!r}. "
            f"Received: {given[name]!r}"
            for name in differing
        )
        raise hinted(
            TrainingError(message),
            "Leave it out to go on with the run. Other settings need a run of "
            "their own; --preset RUN/preset begins it from the weights of "
            "this one.",
        )


def _commit():
    """The commit of the package's repository, or `None` if it has none."""

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
        # An installed package can lie in the repository of another project.
        git("ls-files", "--error-unmatch", os.path.basename(__file__))
        return git("describe", "--always", "--abbrev=40", "--dirty")
    except (OSError, subprocess.SubprocessError):
        return None


def _versions():
    """The versions of Python and of the packages that a run rests on."""
    names = ["keras-pianogen", "keras", "keras-hub", "numpy"]
    names.append(keras.config.backend())
    versions = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
