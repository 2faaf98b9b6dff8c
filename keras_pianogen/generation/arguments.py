"""The arguments of `generate`: their types and ranges, checked by name.

It knows nothing of models or tensors, so that a command can check what it was
given before it loads a model. What depends on a model is checked in `request`.
"""

import dataclasses
import numbers
from collections.abc import Mapping

from keras_pianogen.bounds import Real
from keras_pianogen.bounds import Whole
from keras_pianogen.events import PITCHES
from keras_pianogen.midi.movements import MAX_SECONDS


@dataclasses.dataclass(frozen=True)
class Number:
    """A number, or `None`.

    Args:
        interval: the `Real` or `Whole` that it lies in.
        expected: the interval in words, after "must be".
    """

    interval: Real | Whole
    expected: str

    def check(self, name, value):
        if value is None or value in self.interval:
            return
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            raise _wrong(ValueError, name, self.expected, value)
        is_whole = isinstance(self.interval, Whole)
        expected = self.expected if is_whole else f"a number ({self.expected})"
        raise _wrong(TypeError, name, expected, value)


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
        interval = self.number.interval
        return float(min(max(value, interval.least), interval.most))

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
    "seconds": Number(Real(0, MAX_SECONDS, above=True), UP_TO_THE_LONGEST),
    "prompt_seconds": Number(Real(0, ENDLESS), "0 or above"),
    "variations": Number(Whole(1, 1000), "a positive integer, at most 1,000"),
    "seed": Number(Whole(-ENDLESS, ENDLESS), "an integer"),
    # In these ranges, logits in float32 stay finite, and those of barred events
    # stay far below the others.
    "repeat_penalty": Number(Real(0, 1000), "0 or above, at most 1,000"),
    "temperature": Number(
        Real(0.001, 1000), "above 0, at least 0.001 and at most 1,000"
    ),
    "min_p": Number(Real(0, 1), "from 0 to 1"),
    "top_p": Number(Real(0, 1, above=True), "above 0, at most 1"),
    "top_k": Number(Whole(1, ENDLESS), "a positive integer"),
    "max_notes": Number(Whole(1, PITCHES), f"an integer from 1 to {PITCHES}"),
    "max_note_seconds": Number(
        Real(0, MAX_SECONDS, above=True), UP_TO_THE_LONGEST
    ),
    "max_silence_seconds": Number(
        Real(0, MAX_SECONDS, above=True), f"{UP_TO_THE_LONGEST}, or None"
    ),
    "keep": Number(Real(0, 1), "from 0 to 1"),
    "amount": Number(Real(0, 1), "from 0 to 1"),
    "density": OverTime(Number(Real(0, 60, above=True), "above 0, at most 60")),
    "loudness": OverTime(
        Number(Real(1, 127), "from 1 to 127"),
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
        Number(Real(21, 108), "a pitch of the piano, 21 to 108"),
        {"low": 54, "middle": 63, "high": 72},
    ),
    "polyphony": OverTime(
        Number(Real(0, PITCHES, above=True), f"above 0, at most {PITCHES}")
    ),
    "pace": OverTime(Number(Real(0, 30, above=True), "above 0, at most 30")),
    "legato": OverTime(
        Number(Real(0.05, 20), "from 0.05 to 20"),
        {"staccato": 0.6, "portato": 1, "legato": 2, "pedalled": 4},
    ),
    "guidance": Number(Real(0, 20), "from 0 to 20"),
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
