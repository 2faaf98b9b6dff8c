"""Checkpoints of a training run, each enough to go on exactly.

A checkpoint is a folder with `variables.npz`, the weights and the state of the
optimizer, and `state.json`, the numbers of the run and a hash of both files.
It is on disk whole under its name, or not at all, whenever the process ends.
"""

import hashlib
import io
import json
import pathlib
import shutil

import keras
import numpy as np

from keras_pianogen.files import sync
from keras_pianogen.notices.hints import hinted


class TrainingError(ValueError):
    """Says why a run can't begin or go on."""


class Checkpoints:
    """The folder with a run's checkpoints, of which the last two are kept.

    Args:
        folder: its path.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def paths(self):
        """The folders of the checkpoints, the oldest first."""
        found = self.folder.glob("step-*")
        return sorted(path for path in found if path.name[5:].isdecimal())

    def last_step(self):
        """The step of the newest checkpoint, or `None` if there is none."""
        paths = self.paths()
        return int(paths[-1].name.split("-")[1]) if paths else None

    def save(self, model, state):
        """Save a checkpoint, and remove all but the last two.

        Args:
            model: a compiled model.
            state: a dict for JSON, with the `step`.
        """
        content = io.BytesIO()
        np.savez(content, *map(to_numpy, variables_of(model)))
        content = content.getvalue()
        state = state | {"sha256": _sha256(state, content)}
        partial = self.folder / ".partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / "variables.npz").write_bytes(content)
        (partial / "state.json").write_text(json.dumps(state, indent=2))
        replace_folder(partial, self.folder / f"step-{state['step']:09d}")
        for path in self.paths()[:-2]:
            shutil.rmtree(path)

    def whole(self):
        """Yields whole checkpoints, the newest first.

        Of each its folder, its state, a dict, and the bytes of its variables.
        """
        for path in reversed(self.paths()):
            try:
                state = json.loads((path / "state.json").read_text())
                content = (path / "variables.npz").read_bytes()
            except (OSError, ValueError):
                continue
            is_state = isinstance(state, dict)
            if is_state and state.pop("sha256", "") == _sha256(state, content):
                yield path, state, content

    def restore(self, model):
        """Read the newest checkpoint that is whole.

        Args:
            model: a compiled model, which gets the variables.

        Returns:
            The state, a dict.

        Raises:
            TrainingError: if no checkpoint is whole, or it is of a model with
                other variables.
        """
        for path, state, content in self.whole():
            _assign(model, np.load(io.BytesIO(content)), path)
            return state
        error = TrainingError(f"{self.folder} holds no whole checkpoint.")
        raise hinted(error, "Begin again in another folder.")


def variables_of(model):
    """All variables that a step changes.

    They are the model's, the seeds of its dropout among them, and the
    optimizer's.
    """
    moments = [
        variable
        for variable in model.optimizer.variables
        if variable.name != "learning_rate"  # A run sets it as it goes on.
    ]
    return [*model.variables, *moments]


def to_numpy(variable):
    return keras.ops.convert_to_numpy(variable.value)


def _assign(model, arrays, path):
    variables = variables_of(model)
    if len(arrays.files) != len(variables):
        raise TrainingError(
            f"{path} must have the model's {len(variables)} variables. "
            f"Received: {len(arrays.files)}"
        )
    for i, variable in enumerate(variables):
        variable.assign(arrays[f"arr_{i}"])


def _sha256(state, content):
    text = json.dumps(state, sort_keys=True).encode()
    return hashlib.sha256(text + content).hexdigest()


def replace_folder(partial, target):
    """Move a folder to a place where another one may be.

    Its files are on disk before it has its new name. At every moment there is
    either folder: `recover_folders` finds the old one.
    """
    for path in (*partial.rglob("*"), partial):
        sync(path)
    old = target.with_name(f".old-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover_folders(parent):
    """Bring back the folders whose replacement was cut short."""
    for old in parent.glob(".old-*"):
        target = parent / old.name.removeprefix(".old-")
        if target.exists():
            shutil.rmtree(old)
        else:
            old.rename(target)
