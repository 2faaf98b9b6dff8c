"""Hostile presets: each differs from a sound one in one way.

A `Hostile` names the sound preset, changes a copy of it, and says what the
refusal must name. The sums of the copy are written again, as an attacker
would.
"""

import dataclasses
import json
import os
from collections.abc import Callable

import h5py
import numpy as np

from keras_pianogen.models.sums import SUMS
from keras_pianogen.models.sums import write_sums

BACKBONE = ("config.json", "config")
TASK = ("task.json", "config", "backbone", "config")
TOKENIZERS = (
    ("tokenizer.json", "config"),
    ("preprocessor.json", "config", "tokenizer", "config"),
    ("task.json", "config", "preprocessor", "config", "tokenizer", "config"),
)
PREPROCESSORS = (
    ("preprocessor.json", "config"),
    ("task.json", "config", "preprocessor", "config"),
)
BACKBONES = (BACKBONE, TASK)
GAN = ("config.json", "config")
GENERATOR = (*GAN, "generator", "config", "backbone", "config")
DISCRIMINATOR = (*GAN, "discriminator", "config")
SAMPLING = (*GAN, "sampling", "config")
MISSING = object()  # a value that stands for no such key


@dataclasses.dataclass
class Hostile:
    kind: str  # of the sound preset
    change: Callable  # of the copy's folder
    named: str  # what the error names
    sums: str = "again"  # how its sums are written: "again", "kept" or "none"
    # If only models are refused, because the rest is sound: how many loaders
    # of models there are.
    models_only: int = 0

    def make(self, folder):
        self.change(folder)
        if self.sums != "kept":
            (folder / SUMS).unlink()
        if self.sums == "again":
            write_sums(folder)


def setting(places, name, value):
    """A change of one setting, in every place that describes the object."""

    def change(folder):
        for file, *keys in places:
            content = json.loads((folder / file).read_text())
            target = content
            for key in keys:
                target = target[key]
            if value is MISSING:
                del target[name]
            else:
                target[name] = value
            (folder / file).write_text(json.dumps(content))

    return change


def text(file, content):
    return lambda folder: (folder / file).write_bytes(content)


def weights(alter):
    def change(folder):
        with h5py.File(folder / "model.weights.h5", "a") as file:
            alter(file, "layers/layer_normalization/vars/0")

    return change


def replaced(make):
    """A change that makes the first weights anew, by `make(file, name)`."""

    def alter(file, name):
        del file[name]
        make(file, name)

    return weights(alter)


DEEP = "[" * 100_000 + "]" * 100_000
HUGE = "x" * 100_000
PATHS = (
    "/tmp/overwritten.json",
    "../overwritten.json",
    "assets/../../overwritten.json",
    "~/.bashrc",
    "config.json",
    "task.json",
    "model.weights.h5",
    "SHA256SUMS",
    "C:\\overwritten.json",
    "tokenizer.json\x00.txt",
    "./tokenizer.json",
    "",
    None,
    7,
    ["tokenizer.json"],
)
SIZES = (
    "vocabulary_size",
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "max_sequence_length",
)
NO_SIZES = (10**9, 0, -1, "16", 2.5, None, True, [16], 10**400)
OBJECTS = {
    "module": ("os", "builtins", "keras_hub.models", 1, None),
    "class_name": ("system", "Lambda", "Functional", "function", None, {}),
    "registered_name": (
        "keras_pianogen>LSTMBackbone",
        "keras_pianogen>DecoderBlock",
        "keras_hub>GPT2Backbone",
        "Functional",
        "Custom>Lambda",
        None,
        [],
    ),
    "config": (None, [], "x"),
}
LAMBDA = {
    "module": "builtins",
    "class_name": "__lambda__",
    "config": {"value": "4wEAAAA=", "defaults": None, "closure": None},
    "registered_name": "function",
}
GADGET = {
    "module": "os",
    "class_name": "system",
    "config": {"command": "touch /tmp/overwritten.json"},
    "registered_name": None,
}
SETTINGS = {
    "dropout": (-0.1, 1.5, "0.1", True, 10**30),
    "share_heads": (1, "yes", None),
    "activation": ("eval", "os.system", LAMBDA, GADGET, None, 5),
    "normalize_first": (0,),
    "layer_norm_epsilon": (-1e-5, "small", 2),
    "local_block_size": (0, -5, 10**12, "all"),
    "attend_previous_block": ("no",),
    "name": ("a/b", HUGE, 5, "", "a\nb"),
    "trainable": ("yes", None),
    "dtype": (
        "complex64",
        "string",
        "no_such_dtype",
        7,
        LAMBDA,
        GADGET,
        {"module": "keras", "class_name": "DTypePolicy", "config": {}},
    ),
    "compile_config": ({"optimizer": GADGET},),
    "build_config": ({"input_shape": [10**9]},),
    "no_such_argument": (1,),
}
WEIGHTS = {
    "nan": weights(lambda f, x: f[x].write_direct(np.full(16, np.nan, "f4"))),
    "infinite": weights(
        lambda f, x: f[x].write_direct(np.full(16, np.inf, "f4"))
    ),
    "text": replaced(lambda f, x: f.create_dataset(x, data="weights")),
    "complex": replaced(
        lambda f, x: f.create_dataset(x, data=np.ones(16, "c8"))
    ),
    "bomb": replaced(
        lambda f, x: f.create_dataset(
            x, (2**40,), "f4", chunks=(2**20,), compression="gzip"
        )
    ),
    "unwritten": replaced(lambda f, x: f.create_dataset(x, (2**40,), "f4")),
    "external data": replaced(
        lambda f, x: f.create_dataset(
            x, (16,), "f4", external=[("/etc/hostname", 0, 64)]
        )
    ),
    "external link": replaced(
        lambda f, x: f.__setitem__(x, h5py.ExternalLink("/etc/hostname", "/x"))
    ),
    "soft link": replaced(
        lambda f, x: f.__setitem__(x, h5py.SoftLink("/layers"))
    ),
    "empty": text("model.weights.h5", b""),
    "no HDF5": text("model.weights.h5", b"PK\x03\x04" * 1000),
}
SHAPES = {
    "missing": (weights(lambda f, x: f.__delitem__(x)), "layer_norm"),
    "more": (
        weights(lambda f, x: f.create_dataset("more", data=np.ones(9))),
        "config.json must describe the 12,281 weights",
    ),
    "wrong shape": (
        replaced(lambda f, x: f.create_dataset(x, data=np.ones(17))),
        "layer_norm",
    ),
    "group": (replaced(lambda f, x: f.create_group(x)), "layer_norm"),
}


def _no_number_in_the_task(folder):
    with h5py.File(folder / "task.weights.h5", "a") as file:
        names = []
        file.visit(names.append)
        last = next(x for x in reversed(names) if x.endswith("vars/0"))
        file[last][...] = np.nan


def _links(folder):
    for file in ("task.json", "preprocessor.json"):
        (folder / file).unlink()
    (folder / "task.json").symlink_to("/dev/zero")


def _fifo(folder):
    (folder / "task.json").unlink()
    os.mkfifo(folder / "task.json")


def _folder(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").mkdir()


def _cut(folder):
    lines = (folder / "SHA256SUMS").read_text().splitlines(True)
    (folder / "SHA256SUMS").write_text("".join(lines[1:]))


def _sums(change):
    def write(folder):
        path = folder / "SHA256SUMS"
        path.write_text(change(path.read_text()))

    return write


def _shards(place):
    def change(folder):
        (folder / "model.weights.h5").unlink()
        content = {"metadata": {}, "weight_map": {"/layers": place}}
        (folder / "model.weights.json").write_text(json.dumps(content))

    return change


FILES = {
    "a link to /dev/zero": (_links, "task.json"),
    "a pipe": (_fifo, "task.json"),
    "a folder": (_folder, "tokenizer.json"),
    "deep": (text("task.json", DEEP.encode()), "task.json"),
    "large": (text("task.json", b" " * 2**21), "task.json"),
    "no text": (text("config.json", b"\xff\xfe\x00"), "config.json"),
    "no JSON": (text("config.json", b"import os"), "config.json"),
    "an empty file": (text("tokenizer.json", b""), "tokenizer.json"),
    "a list": (text("config.json", b"[]"), "config.json"),
    "NaN": (text("config.json", b'{"a": NaN}'), "config.json"),
    "two of a name": (text("config.json", b'{"a": 1, "a": 2}'), "config.json"),
    "of transformers": (
        text("config.json", b'{"model_type": "gpt2"}'), "config.json"
    ),
    "of timm": (text("config.json", b'{"architecture": "x"}'), "config.json"),
    "shards outside": (_shards("../secret.h5"), "model.weights.json"),
    "shards absolute": (_shards("/etc/passwd"), "model.weights.json"),
    "shards of no name": (_shards([1]), "model.weights.json"),
}  # fmt: skip
LISTS = {
    "cut": (_cut, "config.json"),
    "of other weights": (_sums(lambda x: "0" * 64 + x[64:]), "sha256"),
    "outside": (_sums(lambda x: x + "0" * 64 + "  ../x\n"), "SHA256SUMS"),
    "absolute": (_sums(lambda x: "0" * 64 + "  /etc/passwd\n"), "SHA256SUMS"),
    "empty": (_sums(lambda x: ""), "SHA256SUMS"),
    "large": (_sums(lambda x: x + "#" * 2**21), "SHA256SUMS"),
    "with one more file": (text("task.weights.h5", b"x"), "task.weights.h5"),
}
AGREEMENT = {
    "another backbone in the task": ((TASK,), "dropout", 0.3, "backbone"),
    "another tokenizer": (TOKENIZERS[:1], "velocity_bins", 8, "tokenizer"),
    "another preprocessor": (
        PREPROCESSORS[:1], "sequence_length", 9, "preprocessor"
    ),
    "sizes together": (BACKBONES, "hidden_dim", 2**14, "num_layers"),
    "no vocabulary_size": (
        BACKBONES, "vocabulary_size", MISSING, "vocabulary_size"
    ),
}  # fmt: skip
TOGETHER = {
    "too small a vocabulary": (
        TOKENIZERS, "max_shift", 5000, "vocabulary_size"
    ),
    "fewer layers than weights": (BACKBONES, "num_layers", 1, "weights"),
    "heads that don't divide": (BACKBONES, "num_heads", 3, "num_heads"),
}  # fmt: skip
GANS = (
    ((GENERATOR,), "num_layers", 3000),
    ((DISCRIMINATOR,), "hidden_dim", 10**9),
    ((DISCRIMINATOR,), "frozen_layers", -1),
    ((GAN,), "generator", GADGET),
    ((GAN,), "averaged_generator", LAMBDA),
    ((GAN,), "context_length", 10**9),
    ((GAN,), "feedback", -1),
    ((GAN,), "barred_ids", [10**9]),
    ((GAN,), "seed", "now"),
    ((SAMPLING,), "mode", "exec"),
    ((SAMPLING,), "temperature", 0),
    ((SAMPLING,), "temperature", GADGET),
    ((SAMPLING,), "temperature", {**GADGET, "module": "keras"}),
)

FORM = ((*BACKBONE, "form"), (*TASK, "form"))
NOTES = (
    (FORM, "direct_shifts", 10**9),
    (FORM, "time_step", 0),
    (FORM, "no_such_setting", 1),
    (BACKBONES, "form", None),
    (BACKBONES, "form", GADGET),
    (BACKBONES, "form", "NoteTuples"),
    (BACKBONES, "num_layers", 3000),
    (BACKBONES, "hidden_dim", 10**9),
    (BACKBONES, "activation", "exec"),
    (TOKENIZERS, "config_file", "/tmp/overwritten.json"),
    (PREPROCESSORS, "config_file", "../overwritten.json"),
    (TOKENIZERS, "velocity_bins", 0),
    (TOKENIZERS[:1], "time_step", 0.02),
)


def _all():
    """Pairs of a name and a `Hostile`."""
    for places, what in ((TOKENIZERS, "tokenizer"), (PREPROCESSORS, "other")):
        for path in PATHS:
            yield (
                f"{what} at {path!r}"[:60],
                Hostile(
                    "events",
                    setting(places, "config_file", path),
                    "config_file",
                ),
            )
    for name in SIZES:
        for value in NO_SIZES:
            yield (
                f"{name}={value!r}"[:60],
                Hostile("events", setting(BACKBONES, name, value), name),
            )
    for name, values in SETTINGS.items():
        for value in values:
            yield (
                f"{name}={value!r}"[:60],
                Hostile("events", setting(BACKBONES, name, value), name),
            )
    for name, values in OBJECTS.items():
        for value in values:
            yield (
                f"{name}={value!r}"[:60],
                Hostile(
                    "events",
                    setting((BACKBONE[:1], TASK[:-1]), name, value),
                    name,
                ),
            )
    for name, change in WEIGHTS.items():
        yield f"weights: {name}", Hostile("events", change, "weights")
    for name, (change, named) in SHAPES.items():
        yield (
            f"weights: {name}",
            Hostile("events", change, named, models_only=2),
        )
    for name, (change, named) in FILES.items():
        yield f"file: {name}", Hostile("events", change, named, "none")
    for name, (change, named) in LISTS.items():
        yield f"sums: {name}", Hostile("events", change, named, "kept")
    for name, (*change, named) in AGREEMENT.items():
        yield name, Hostile("events", setting(*change), named)
    yield (
        "notes: a task weight is not finite",
        Hostile("notes", _no_number_in_the_task, "task.weights.h5"),
    )
    for name, (*change, named) in TOGETHER.items():
        yield name, Hostile("events", setting(*change), named, models_only=2)
    for number, change in enumerate(NOTES):
        named = "tokenizer" if change[0] == TOKENIZERS[:1] else change[1]
        yield (
            f"notes {number}: {named}",
            Hostile("notes", setting(*change), named),
        )
    for number, change in enumerate(GANS):
        yield (
            f"GAN {number}: {change[1]}",
            Hostile("gan", setting(*change), change[1]),
        )


HOSTILE = dict(_all())
