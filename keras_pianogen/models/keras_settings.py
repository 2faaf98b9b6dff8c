"""Kinds of the settings that Keras itself writes into a configuration.

These are a layer's name, whether it is trained, its dtype policy, and
learning rate schedules. Each may be only what Keras writes there.
"""

import dataclasses
import re
import typing

import keras
import keras_hub

from keras_pianogen.bounds import Real
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import Several

# The keys of a configuration of an object.
OBJECT = ("module", "class_name", "config", "registered_name")
FLOATS = ("float16", "bfloat16", "float32", "float64")
MOST_ITEMS = 10_000
MOST_CHARACTERS = 200

Number = Real(-1e15, 1e15)
Schedule = keras.optimizers.schedules.LearningRateSchedule


class Names:
    """Names of layers."""

    def __contains__(self, value):
        pattern = rf"[^/\x00-\x1f]{{1,{MOST_CHARACTERS}}}"
        return isinstance(value, str) and bool(re.fullmatch(pattern, value))

    def __str__(self):
        return f"a name of at most {MOST_CHARACTERS} characters"


@dataclasses.dataclass(frozen=True)
class Dtypes:
    """Dtype policies, or their configurations, by what they compute in."""

    names: tuple

    def __contains__(self, value):
        if value is None:
            return True
        if isinstance(value, dict):
            settings = _settings_of(value, keras.dtype_policies)
            if settings is None:
                return False
            if value["class_name"] == "DTypePolicyMap":
                return self._holds_map(**settings)
            if not is_plain(settings):
                return False
        try:
            policy = keras.dtype_policies.get(value)
        except (AttributeError, KeyError, TypeError, ValueError):
            return False
        return policy.compute_dtype in self.names

    def _holds_map(self, default_policy=None, policy_map=None, **others):
        return (
            not others
            and isinstance(policy_map, dict)
            and len(policy_map) <= MOST_ITEMS
            and default_policy in self
            and all(policy in self for policy in policy_map.values())
        )

    def __str__(self):
        return f"a dtype policy that computes in {' or '.join(self.names)}"


FloatDtype = typing.Annotated[str, Dtypes(FLOATS)]
AnyDtype = typing.Annotated[str, Dtypes((*FLOATS, "int32"))]
Name = typing.Annotated[str, Names()]


def hints_of_keras(cls):
    """The hints of the settings that Keras adds to a class's own, a dict."""
    if issubclass(cls, Schedule):
        return {}
    if issubclass(cls, keras_hub.models.Task):
        return {"name": Name}
    dtype = FloatDtype if issubclass(cls, keras.Model) else AnyDtype
    return {"name": Name, "trainable": Flag, "dtype": dtype}


def is_schedule(config):
    """Whether a configuration is that of one of Keras's own schedules."""
    settings = _settings_of(config, keras.optimizers.schedules)
    return settings is not None and is_plain(settings)


def is_plain(settings):
    """Whether a dict holds short strings, numbers, and lists of numbers."""
    return len(settings) <= MOST_ITEMS and all(
        value is None
        or isinstance(value, bool)
        or (isinstance(value, str) and len(value) <= MOST_CHARACTERS)
        or value in Number
        or value in Several(Number, MOST_ITEMS)
        for value in settings.values()
    )


def _settings_of(config, module):
    """Settings of an object of a Keras module's own class, else `None`."""
    if set(config) != set(OBJECT):
        return None
    name = config["class_name"]
    if (
        config["registered_name"] is not None
        or config["module"] not in ("keras", module.__name__)
        or not isinstance(name, str)
        or not isinstance(getattr(module, name, None), type)
        or not isinstance(config["config"], dict)
    ):
        return None
    return config["config"]
