"""What facts of `behaviour.py` are made of, and names wherever they are."""

import contextlib
import csv
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import os
import pathlib
import pkgutil
import re
import shutil
import tomllib
import types

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
GANS = DATA / "gan"
BACH = DATA / "bach_bwv_885.midi"
SCARLATTI = DATA / "scarlatti_k_525.midi"
MAESTRO = ROOT.parent / "shared" / "data" / "maestro-v3.0.0"
BACKEND = os.environ.get("KERAS_BACKEND", "")
# Public modules where a name is looked for before all others.
PUBLIC = (
    "models",
    "layers",
    "samplers",
    "evaluation",
    "training",
    "gan_training",
)
SMALL = "music_transformer_small_maestro"
LARGE = "music_transformer_maestro"
# Columns of a history that are of the clock or of the machine.
TIMES = ("seconds", "events_per_second", "memory_bytes")


def find(name):
    """A public name of the package, or one that has moved."""
    package = importlib.import_module("keras_pianogen")
    places = [package.__name__]
    places += (f"{package.__name__}.{place}" for place in PUBLIC)
    # Commands have names of their own, that are not meant here.
    commands = tuple(f"{package.__name__}.{x}" for x in ("cli", "studio"))
    others = pkgutil.walk_packages(
        package.__path__, f"{package.__name__}.", onerror=lambda _: None
    )
    for place in itertools.chain(places, (info.name for info in others)):
        if place.startswith(commands) or place.endswith("__main__"):
            continue
        # A kernel's module may need what is not here.
        with contextlib.suppress(Exception):
            value = getattr(importlib.import_module(place), name)
            if not isinstance(value, types.ModuleType):
                return value
    raise ImportError(f"The package has no {name} any more.")


def pianogen(*arguments):
    """What the program prints, which must end well."""
    from typer.testing import CliRunner

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["pianogen"].partition(":")
    app = getattr(importlib.import_module(module), name)
    result = CliRunner().invoke(app, [os.fspath(a) for a in arguments])
    if result.exit_code:
        raise RuntimeError(result.output) from result.exception
    return result.stdout


def set_seed(seed=0):
    import keras

    keras.utils.set_random_seed(seed)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def of_file(path):
    return sha256(pathlib.Path(path).read_bytes())


def of_arrays(*arrays):
    """The sha256 of arrays, their types and their shapes."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype.descr} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def of_ids(*pieces):
    """How many events there are, the first few, and the sha256 of all."""
    pieces = [np.asarray(piece).astype("int64") for piece in pieces]
    return [
        [len(piece) for piece in pieces],
        pieces[0][:8].tolist(),
        of_arrays(*pieces),
    ]


def of_notes(*pieces):
    return [[len(piece) for piece in pieces], of_arrays(*pieces)]


def of_weights(model):
    """Of what a model has learned, without the states of random numbers."""
    weights = [np.asarray(w) for w in model.get_weights()]
    return of_arrays(*(w for w in weights if w.dtype.kind == "f"))


def of_batch(batch):
    x, y, weights = batch
    return of_arrays(*(x[name] for name in sorted(x)), y, weights)


def of_config(path):
    """Of a saved configuration, whatever modules its classes lie in.

    Nor do numbers count at the end of names: Keras gives them to objects
    without a name of their own, in the order in which they are made.
    """

    def plain(value, key=None):
        if isinstance(value, dict):
            return {
                name: plain(inner, name)
                for name, inner in value.items()
                if name != "module"
            }
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        if key == "name" and isinstance(value, str):
            return re.sub(r"_\d+$", "", value)
        return value

    config = plain(json.loads(pathlib.Path(path).read_text()))
    return sha256(json.dumps(config, sort_keys=True).encode())


def of_history(folder, shown):
    """A column of a run's history, and the sha256 of all that are no times."""
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [
        [f"{name}={value}" for name, value in row.items() if name not in TIMES]
        for row in rows
    ]
    return [
        [row[shown] for row in rows],
        sha256(json.dumps(kept).encode()),
    ]


def of_checkpoint(folder):
    """Of the newest checkpoint's arrays, in whatever order they lie."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    with np.load(newest / "variables.npz") as saved:
        arrays = sorted(of_arrays(saved[name]) for name in saved.files)
    return [newest.name, len(arrays), sha256(json.dumps(arrays).encode())]


def of_logs(logs):
    """All digits of a step's losses."""
    return {name: repr(float(value)) for name, value in sorted(logs.items())}


def corpora(folder):
    """A corpus of the tests' files, and of a few of MAESTRO's if it is here.

    MAESTRO's is `None` where there is no MAESTRO.
    """
    source = folder / "midi"
    source.mkdir()
    for path in sorted(DATA.glob("*.midi")):
        shutil.copy(path, source)
    (source / "broken.mid").write_bytes(b"This is no MIDI file.")
    own = find("prepare_corpus")(source, folder / "own")
    if not MAESTRO.is_dir():
        return own, None
    maestro = find("Maestro")(MAESTRO)
    pieces = [maestro.split(s)[:2] for s in ("train", "validation", "test")]
    some = types.SimpleNamespace(
        folder=maestro.folder, pieces=list(itertools.chain(*pieces))
    )
    return own, find("prepare_corpus")(some, folder / "some")
