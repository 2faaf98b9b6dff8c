"""Intervals of numbers, to check what is given. They import no Keras."""

import dataclasses
import numbers


@dataclasses.dataclass(frozen=True)
class Whole:
    """The whole numbers from `least` to `most`."""

    least: float
    most: float

    def __contains__(self, value):
        return (
            isinstance(value, numbers.Integral)
            and not isinstance(value, bool)
            and self.least <= value <= self.most
        )

    def __str__(self):
        return f"a whole number from {self.least:,} to {self.most:,}"


@dataclasses.dataclass(frozen=True)
class Real:
    """The numbers from `least` to `most`; with `above`, without `least`."""

    least: float
    most: float
    above: bool = False

    def __contains__(self, value):
        return (
            isinstance(value, numbers.Real)
            and not isinstance(value, bool)
            and self.least <= value <= self.most
            and not (self.above and value == self.least)
        )

    def __str__(self):
        begin = "above" if self.above else "from"
        return f"a number {begin} {self.least:g} to {self.most:g}"
