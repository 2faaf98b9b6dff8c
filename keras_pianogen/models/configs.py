"""The JSON files of a preset, checked before anything is made of them.

Every object in them is one of this package's classes. Its settings are the
arguments of the class's constructor, in the ranges that the constructor
states (see `keras_pianogen.layers.ranges`). Where two files describe the same
object, they must agree.
"""

import json
import reprlib

import keras
import keras_hub

from keras_pianogen.layers.ranges import check
from keras_pianogen.layers.ranges import hints_of
from keras_pianogen.layers.ranges import required_of
from keras_pianogen.models.keras_settings import OBJECT
from keras_pianogen.models.keras_settings import Schedule
from keras_pianogen.models.keras_settings import hints_of_keras
from keras_pianogen.models.keras_settings import is_schedule

# The files, and what each describes.
KINDS = {
    "config.json": keras_hub.models.Backbone,
    "task.json": keras_hub.models.Task,
    "preprocessor.json": keras_hub.models.Preprocessor,
    "tokenizer.json": keras_hub.tokenizers.Tokenizer,
}
# Two descriptions of the same object: a part of a file, and another file.
SAME = (
    ("task.json", "backbone", "config.json"),
    ("task.json", "preprocessor", "preprocessor.json"),
    ("preprocessor.json", "tokenizer", "tokenizer.json"),
)
MOST_BYTES = 2**20


def check_configs(folder):
    """Check the JSON files of a preset.

    Args:
        folder: path of the preset.

    Raises:
        ValueError: that names the file, what was expected and what came.
    """
    configs = {}
    for file, kind in KINDS.items():
        if file == "config.json" or (folder / file).exists():
            configs[file] = _check_config(folder / file, kind)
    for file, part, other in SAME:
        described = configs.get(file, {}).get("config", {}).get(part)
        if described is not None and described != configs.get(other, described):
            raise ValueError(
                f"`{part}` in {file} must be what {other} describes, and isn't"
            )


def _check_config(path, kind):
    try:
        config = read_json(path)
        check_object(config, (kind,))
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path.name} is wrong: {error}") from error
    return config


def read_json(path):
    """The content of a small JSON file with finite numbers.

    Raises:
        OSError: if there is no such file.
        ValueError: if it holds something else.
    """
    size = path.stat().st_size
    if not path.is_file() or size > MOST_BYTES:
        raise ValueError(
            f"It must be a regular file of at most {MOST_BYTES:,} bytes. "
            f"Received: {size:,} bytes"
        )
    return json.loads(
        path.read_text(encoding="utf-8"),
        object_pairs_hook=_unique,
        parse_constant=_refuse_constant,
    )


def _unique(pairs):
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(
            f"Names in an object must differ. Received: {reprlib.repr(names)}"
        )
    return content


def _refuse_constant(name):
    raise ValueError(f"Numbers must be finite. Received: {name}")


def check_object(config, classes):
    """Check the configuration of one object, and of the parts in it.

    Args:
        config: a value from a JSON file.
        classes: tuple of classes, of which the object must be one.

    Returns:
        `True`.

    Raises:
        ValueError: that names what is wrong.
    """
    if not isinstance(config, dict) or set(config) != set(OBJECT):
        raise ValueError(
            f"An object must have the names {', '.join(OBJECT)}. "
            f"Received: {reprlib.repr(config)}"
        )
    if issubclass(Schedule, classes) and is_schedule(config):
        return True
    cls, settings = _class_of(config), config["config"]
    if cls is None or not issubclass(cls, classes):
        raise ValueError(
            f"A {' or '.join(x.__name__ for x in classes)} must be of one of "
            "the package's classes. Received: "
            + ", ".join(
                f"{x}={reprlib.repr(config[x])}"
                for x in ("module", "class_name", "registered_name")
            )
        )
    if not isinstance(settings, dict):
        raise ValueError(
            f"`config` must be an object. Received: {reprlib.repr(settings)}"
        )
    missing = required_of(cls) - set(settings)
    if missing:
        raise ValueError(f"`{min(missing)}` of {cls.__name__} is missing.")
    check(hints_of(cls) | hints_of_keras(cls), settings, _is_part)
    return True


def _is_part(value, classes):
    return isinstance(value, dict) and check_object(value, classes)


def _class_of(config):
    """The registered class that a configuration names, or `None`.

    A module may have moved since the preset was saved, but not out of its
    package.
    """
    module, registered = config["module"], config["registered_name"]
    if not isinstance(module, str) or not isinstance(registered, str):
        return None
    cls = keras.saving.get_registered_object(registered)
    if not isinstance(cls, type) or cls.__name__ != config["class_name"]:
        return None
    package = cls.__module__.split(".")[0]
    if package in ("keras", "keras_hub") or module.split(".")[0] != package:
        return None
    return cls
