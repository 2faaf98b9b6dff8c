"""The arguments of `generate`: their types and ranges, checked by name.

It knows nothing of models or tensors, so that a command can check what it was
given before it loads a model. What depends on a model is checked in `request`.
"""

import dataclasses
import numbers
from collections.abc import Mapping

from keras_pianogen.events import PITCHES
from keras_pianogen.midi.movements import MAX_SECONDS


@dataclasses.dataclass(frozen=True)
class Number:
    """A number, or `None`.

    Args:
        least: the least that it may be.
        most: the most that it may be.
        above: whether it has to be above `least`.
        is_whole: whether it has to be an integer.
        expected: the range in words, after "must be".
    """

    least: float
    most: float
    expected: str
    above: bool = False
    is_whole: bool = False

    def check(self, name, value):
        if value is None:
            return
        kind, expected = numbers.Real, f"a number ({self.expected})"
        if self.is_whole:
            kind, expected = numbers.Integral, self.expected
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise _wrong(TypeError, name, expected, value)
        is_in_range = self.least <= value <= self.most
        is_least = self.above and value == self.least
        if not isinstance(value, kind) or not is_in_range or is_least:
            raise _wrong(ValueError, name, self.expected, value)


@dataclasses.dataclass(frozen=True)
class OverTime:
    """A number, or two for a change from the first to the second, or `None`.

    Args:
        number: a `Number`.
        words: dict of words for numbers.
    """

    number: Number
    words: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def check(self, name, value):
        if value is not None:
            self.ends(name, value)

    def nearest(self, value):
        """The number from the least to the most that is nearest to another."""
        return float(min(max(value, self.number.least), self.number.most))

    def ends(self, name, value):
        """The numbers where music begins and where it ends, a pair.

        Args:
            name: the argument's name.
            value: a number, a word, or two of them: a pair, or a string with
                a colon between them, such as "2:12".

        Raises:
            TypeError: if the value has the wrong type.
            ValueError: if a number is out of its range, or a word unknown.
        """
        parts = value.split(":") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            parts = [parts]
        if not 1 <= len(parts) <= 2:
            raise _wrong(ValueError, name, "one number, or two", value)
        ends = [self._number(name, part) for part in parts]
        return ends[0], ends[-1]

    def _number(self, name, part):
        if isinstance(part, str):
            try:
                part = float(self.words.get(part, part))
            except ValueError:
                words = ", ".join(self.words)
                expected = f"a number ({self.number.expected})" + (
                    f", or one of {words}" if words else ""
                )
                raise _wrong(ValueError, name, expected, part) from None
        if part is None:
            raise _wrong(TypeError, name, "a number", part)
        self.number.check(name, part)
        return float(part)


class Bool:
    """`True` or `False`, NumPy's included."""

    def check(self, name, value):
        if not isinstance(value, bool) and type(value).__name__ != "bool":
            raise _wrong(TypeError, name, "True or False", value)


class Function:
    """A function, or `None`."""

    def check(self, name, value):
        if value is not None and not callable(value):
            raise _wrong(TypeError, name, "a function or None", value)


class Output:
    """The name of a form in which pieces are returned.

    Models of events return no rows, and models of notes no ids, see `request`.
    """

    def check(self, name, value):
        if value not in ("notes", "midi", "ids", "rows"):
            expected = "'notes', 'midi', 'ids' or 'rows'"
            raise _wrong(ValueError, name, expected, value)


ENDLESS = float("inf")
UP_TO_THE_LONGEST = f"above 0 and at most {MAX_SECONDS}"
KINDS = {
    "seconds": Number(0, MAX_SECONDS, UP_TO_THE_LONGEST, above=True),
    "prompt_seconds": Number(0, ENDLESS, "0 or above"),
    "variations": Number(
        1, 1000, "a positive integer, at most 1,000", is_whole=True
    ),
    "seed": Number(-ENDLESS, ENDLESS, "an integer", is_whole=True),
    # In these ranges, logits in float32 stay finite, and those of barred events
    # stay far below the others.
    "repeat_penalty": Number(0, 1000, "0 or above, at most 1,000"),
    "temperature": Number(
        0.001, 1000, "above 0, at least 0.001 and at most 1,000"
    ),
    "min_p": Number(0, 1, "from 0 to 1"),
    "top_p": Number(0, 1, "above 0, at most 1", above=True),
    "top_k": Number(1, ENDLESS, "a positive integer", is_whole=True),
    "max_notes": Number(
        1, PITCHES, f"an integer from 1 to {PITCHES}", is_whole=True
    ),
    "max_note_seconds": Number(0, MAX_SECONDS, UP_TO_THE_LONGEST, above=True),
    "max_silence_seconds": Number(
        0, MAX_SECONDS, f"{UP_TO_THE_LONGEST}, or None", above=True
    ),
    "keep": Number(0, 1, "from 0 to 1"),
    "amount": Number(0, 1, "from 0 to 1"),
    "density": OverTime(Number(0, 60, "above 0, at most 60", above=True)),
    "loudness": OverTime(
        Number(1, 127, "from 1 to 127"),
        {
            "pp": 36,
            "p": 46,
            "soft": 46,
            "mp": 55,
            "mf": 64,
            "f": 74,
            "loud": 74,
            "ff": 84,
        },
    ),
    "register": OverTime(
        Number(21, 108, "a pitch of the piano, 21 to 108"),
        {"low": 54, "middle": 63, "high": 72},
    ),
    "polyphony": OverTime(
        Number(0, PITCHES, f"above 0, at most {PITCHES}", above=True)
    ),
    "guidance": Number(0, 20, "from 0 to 20"),
    "ending": Bool(),
    "keep_melody": Bool(),
    "strip_prompt": Bool(),
    "output": Output(),
    "progress": Function(),
    "on_events": Function(),
}


def check_arguments(arguments, spell=str):
    """Check each argument's type and range, and what can't be joined.

    Args:
        arguments: dict, some of the arguments of
            `MusicTransformerCausalLM.generate`. Those that are not in `KINDS`
            are not checked.
        spell: a function of an argument's name, which returns the name that
            the user knows. Defaults to `str`, the name itself.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is out of its range, or more than one of
            `min_p`, `top_p` and `top_k` are given.

    Examples:
        >>> check_arguments({"seconds": 30, "top_k": 8})
    """
    for name, value in arguments.items():
        if name in KINDS:
            KINDS[name].check(spell(name), value)
    cuts = {name: arguments.get(name) for name in ("min_p", "top_p", "top_k")}
    given = {name: value for name, value in cuts.items() if value is not None}
    if len(given) > 1:
        names = "`{}`, `{}` and `{}`".format(*map(spell, cuts))
        raise ValueError(f"Give at most one of {names}. Received: {given}")


def _wrong(error, name, expected, value):
    return error(f"`{name}` must be {expected}. Received: {name}={value!r}")
