"""Which backend a command runs on: the fastest for its work, if none is asked.

The speeds are in docs/guides/backends.md. Nothing here imports a backend or
Keras, because Keras reads the choice once, when it is imported.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import sys

from keras_pianogen.cli import compiled
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import stderr
from keras_pianogen.notices.hints import hinted
from keras_pianogen.notices.hints import pip_install
from keras_pianogen.notices.light_start import leave_tensorflow_out

VARIABLE = "KERAS_BACKEND"
NAMES = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


@dataclasses.dataclass(frozen=True)
class Work:
    """A kind of work, and the backends from the fastest on.

    Args:
        verb: what is done.
        fastest: names of backends. TensorFlow, always there, is the last.
        starts_light: whether a command begins without TensorFlow on another
            backend, and with what JAX compiled before. Defaults to `False`.
    """

    verb: str
    fastest: tuple[str, ...]
    starts_light: bool = False

    def best(self):
        """The fastest backend that is installed."""
        return next(name for name in self.fastest if _is_installed(name))


# JAX compiles the loop over events, and a forward pass is fastest there, too.
WRITING = Work("write music", ("jax", "tensorflow"), starts_light=True)
READING = Work("apply a model", ("jax", "tensorflow"))
# PyTorch has nothing to compile. On a GPU, training was tried with JAX alone.
TRAINING = Work("train", ("torch", "tensorflow"))
TRAINING_ON_A_GPU = Work("train on a GPU", ("jax", "torch", "tensorflow"))
TRAINING_ON_DEVICES = Work("train on several devices", ("jax", "tensorflow"))


def training_work(data_parallel=False):
    """The kind of a training: on several devices, on a GPU, or on a CPU."""
    if data_parallel:
        return TRAINING_ON_DEVICES
    return TRAINING_ON_A_GPU if _jax_has_gpu() else TRAINING


def choose_backend(work, of_run=None):
    """Choose the backend that Keras is about to load, and say which it is.

    The first of these decides: Keras, if it is loaded already; the environment
    variable; the run that goes on; Keras's own file; and the kind of work.

    Args:
        work: a `Work`.
        of_run: the backend of the run that goes on. Defaults to `None`.

    Raises:
        ValueError: if the variable names no backend.
        ModuleNotFoundError: if it names one that is not installed.
    """
    name, reason = _choose(work, of_run)
    os.environ[VARIABLE] = name
    if work.starts_light and _loaded() is None:
        _start_light(name)
    say(f"Backend: {NAMES[name]} ({reason})", to=stderr)


def _start_light(backend):
    leave_tensorflow_out(backend)
    if backend == "jax":
        compiled.keep()


def _choose(work, of_run):
    """A backend's name, and the reason for it."""
    asked, in_file = _asked(), _backend_in_file()
    loaded = _loaded()
    if loaded not in (None, asked):
        return loaded, "loaded already"
    if asked:
        return asked, f"by {VARIABLE}"
    if of_run in NAMES and _is_installed(of_run):
        return of_run, f"as the run before; {VARIABLE} chooses another"
    if in_file:
        return in_file, "by keras.json"
    best, fastest = work.best(), work.fastest[0]
    if best != fastest:
        return best, f"{NAMES[fastest]} would be faster: {pip_install(fastest)}"
    return best, f"the fastest here to {work.verb}; {VARIABLE} overrules"


def _loaded():
    """The backend that Keras has loaded, or `None`."""
    keras = sys.modules.get("keras")
    return None if keras is None else keras.config.backend()


def _asked():
    """The backend that the variable names, or `None`."""
    asked = os.environ.get(VARIABLE)
    if asked and asked not in NAMES:
        error = ValueError(
            f"`{VARIABLE}` must be one of {', '.join(NAMES)}. "
            f"Received: {asked!r}"
        )
        raise hinted(error, "Without it, the fastest backend is chosen.")
    if asked and not _is_installed(asked):
        raise ModuleNotFoundError(f"No module named {asked!r}", name=asked)
    return asked or None


def _backend_in_file():
    """The backend in `keras.json`, if somebody chose it; else `None`.

    Keras itself writes TensorFlow into the file, so that this is no choice.
    """
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    try:
        chosen = json.loads(pathlib.Path(home, "keras.json").read_text())
    except (OSError, ValueError):  # Keras goes on without the file, too.
        return None
    name = chosen.get("backend") if isinstance(chosen, dict) else None
    if name not in NAMES or name == "tensorflow" or not _is_installed(name):
        return None
    return name


def _is_installed(name):
    return importlib.util.find_spec(name) is not None


def _jax_has_gpu():
    """Whether JAX has a plug-in for GPUs, and the machine one of NVIDIA."""
    gpus = pathlib.Path("/dev").glob("nvidia[0-9]*")
    return _is_installed("jax_plugins") and any(gpus)
