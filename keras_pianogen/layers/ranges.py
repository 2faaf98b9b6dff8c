"""Kinds of arguments, and the ranges in which a constructor takes them.

A class states them as the hints of its own `__init__`, such as
`num_layers: Layers`. `checked` makes the constructor refuse all other values.
A preset's configuration is checked by the same hints, before anything is
built from it (see `keras_pianogen.models.configs`).
"""

import collections.abc
import dataclasses
import functools
import inspect
import reprlib
import types
import typing
from typing import Annotated

import keras
import numpy as np

from keras_pianogen.bounds import Real
from keras_pianogen.bounds import Whole

# The most weights that the sizes of one model may describe, roughly: the true
# number of a Transformer is at most four times the estimate.
MOST_WEIGHTS = 2**28

# Packages whose constructors state no ranges.
KERAS = ("builtins", "flax", "keras", "keras_hub", "tensorflow", "torch")
UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of some strings."""

    names: tuple

    def __contains__(self, value):
        return isinstance(value, str) and value in self.names

    def __str__(self):
        return " or ".join(map(repr, self.names))


class Flags:
    """`True` and `False`."""

    def __contains__(self, value):
        return isinstance(value, bool | np.bool_)

    def __str__(self):
        return "True or False"


class Activations:
    """Activations: functions, and the names of Keras's own."""

    def __contains__(self, value):
        if not isinstance(value, str):
            return callable(value)
        try:
            return callable(keras.activations.get(value))
        except (TypeError, ValueError):
            return False

    def __str__(self):
        return "an activation, such as 'relu'"


@dataclasses.dataclass(frozen=True)
class Several:
    """Lists of at most `most` values of one kind."""

    kind: object
    most: int

    def __contains__(self, value):
        return (
            isinstance(value, collections.abc.Sequence | np.ndarray)
            and not isinstance(value, str)
            and len(value) <= self.most
            and all(item in self.kind for item in value)
        )

    def __str__(self):
        return f"a list of at most {self.most:,}, each {self.kind}"


@dataclasses.dataclass(frozen=True)
class Words:
    """Strings of at most `most` characters."""

    most: int

    def __contains__(self, value):
        return isinstance(value, str) and len(value) <= self.most

    def __str__(self):
        return f"a string of at most {self.most:,} characters"


@dataclasses.dataclass(frozen=True)
class Named:
    """Dicts from at most `most` strings to values of one kind."""

    kind: object
    most: int

    def __contains__(self, value):
        return (
            isinstance(value, dict)
            and len(value) <= self.most
            and all(isinstance(name, str) for name in value)
            and all(item in self.kind for item in value.values())
        )

    def __str__(self):
        return f"a dict of at most {self.most:,} names, each with {self.kind}"


@dataclasses.dataclass(frozen=True, eq=False)
class SettingsOf:
    """Objects of a class with plain settings, and dicts of such settings.

    The class has a `get_config`; `hints` are those of its settings.
    """

    cls: type
    hints: dict

    def __contains__(self, value):
        if isinstance(value, self.cls):
            value = value.get_config()
        if not isinstance(value, dict):
            return False
        check(self.hints, value)
        return self.cls(**value) is not None

    def __str__(self):
        return f"a {self.cls.__name__}"


Layers = Annotated[int, Whole(1, 256)]
# A size of a weight: `Width` is also how `check` recognizes them.
Width = Annotated[int, Whole(1, 2**20)]
Heads = Annotated[int, Whole(1, 2**10)]
Length = Annotated[int, Whole(1, 2**20)]
Count = Annotated[int, Whole(0, 2**20)]
Share = Annotated[float, Real(0, 1)]
Seed = Annotated[int, Whole(0, 2**32 - 1)]
Flag = Annotated[bool, Flags()]
Activation = Annotated[str, Activations()]
# KerasHub saves a tokenizer and a preprocessor under the name that their
# `config_file` gives, wherever it leads.
TokenizerFile = Annotated[str, OneOf(("tokenizer.json",))]
PreprocessorFile = Annotated[str, OneOf(("preprocessor.json",))]
Ids = Annotated[list, Several(Whole(0, 2**20), most=2**16)]


def checked(cls):
    """Class decorator: the constructor checks its arguments by their hints."""
    init = cls.__init__
    signature = inspect.signature(init)
    hints_of(cls)  # A missing hint is found now.

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        values = given.arguments.items()
        hints = hints_of(type(self))
        check(hints, {name: x for name, x in values if name in hints})
        init(self, *args, **kwargs)

    __init__.__signature__ = signature  # Keras reads it without unwrapping.
    cls.__init__ = __init__
    return cls


@functools.cache
def hints_of(cls):
    """The hints of a constructor's arguments, those of parents included.

    An argument without a hint is a part, if the class names that part's class
    as KerasHub's do: `backbone` is a `backbone_cls`.

    Returns:
        A dict from names to hints, without Keras's own arguments.

    Raises:
        TypeError: if an argument has no hint.
    """
    return {name: _hint(cls, x) for name, x in _parameters(cls).items()}


def required_of(cls):
    """The names of a constructor's arguments that have no default, a set."""
    empty = inspect.Parameter.empty
    return {
        x for x, given in _parameters(cls).items() if given.default is empty
    }


def _parameters(cls):
    """Parameters of the constructors of a class and its parents, by name.

    Keras's and KerasHub's own constructors are left out.
    """
    parameters = {}
    for parent in reversed(cls.__mro__):
        package = parent.__module__.split(".")[0]
        if "__init__" in vars(parent) and package not in KERAS:
            _, *own = inspect.signature(parent.__init__).parameters.values()
            parameters |= {x.name: x for x in own if x.kind not in UNNAMED}
    parameters.pop("dtype", None)
    return parameters


def _hint(cls, parameter):
    if parameter.annotation is not inspect.Parameter.empty:
        return parameter.annotation
    part = getattr(cls, f"{parameter.name}_cls", None)
    if part is None:
        raise TypeError(
            f"The argument `{parameter.name}` of {cls.__name__} needs a hint "
            "that states its range, such as `keras_pianogen.layers.ranges."
            "Layers`: presets are checked by it."
        )
    return part | None if parameter.default is None else part


def check(hints, values, is_part=isinstance):
    """Refuse values that aren't what their hints say.

    Args:
        hints: dict from names to hints, see `hints_of`.
        values: dict from names to values.
        is_part: a function of a value and a tuple of classes, which says
            whether the value is, or describes, an object of one of them.

    Raises:
        ValueError: that names the argument.
    """
    for name, value in values.items():
        if name not in hints:
            raise ValueError(
                f"The arguments must be among {', '.join(hints)}. "
                f"Received: {reprlib.repr(name)}"
            )
        try:
            fits = _fits(hints[name], value, is_part)
        except ValueError as error:
            raise ValueError(f"In `{name}`: {error}") from error
        if not fits:
            raise ValueError(
                f"`{name}` must be {_describe(hints[name])}. "
                f"Received: {name}={reprlib.repr(value)}"
            )
    _check_weights(hints, values)


def _fits(hint, value, is_part):
    options = _options(hint)
    if value is None:
        return types.NoneType in options
    parts = tuple(x for x in options if isinstance(x, type))
    return any(value in _kind(x) for x in options if x not in parts) or (
        bool(parts) and is_part(value, parts)
    )


def _options(hint):
    """The alternatives of a hint: `int | None` has two."""
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _kind(option):
    """What an alternative states of its values."""
    return option.__metadata__[0]


def _describe(hint):
    return ", or ".join(
        "None"
        if option is types.NoneType
        else f"an object of `{option.__name__}`"
        if isinstance(option, type)
        else str(_kind(option))
        for option in _options(hint)
    )


def _check_weights(hints, values):
    """Refuse sizes that are in range one by one, and too large together."""
    widths = {x: values[x] for x, hint in hints.items() if hint is Width}
    weights = (
        values.get("num_layers", 1)
        * values.get("hidden_dim", 1)
        * sum(widths.values())
    )
    if weights > MOST_WEIGHTS:
        sizes = {"num_layers": values.get("num_layers", 1)} | widths
        received = ", ".join(f"{x}={size}" for x, size in sizes.items())
        raise ValueError(
            f"`num_layers` x `hidden_dim` x the sum of {', '.join(widths)} "
            f"must be at most {MOST_WEIGHTS:,}. Received: {received}"
        )
