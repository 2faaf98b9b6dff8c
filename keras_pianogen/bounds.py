"""Bounds of numbers, to check what is given. They import no Keras."""

import dataclasses
import numbers


@dataclasses.dataclass(frozen=True)
class Whole:
    """The whole numbers from `least` to `most`."""

    least: float
    most: float

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, numbers.Integral)
            and not isinstance(value, bool)
            and self.least <= int(value) <= self.most
        )

    def __str__(self) -> str:
        return f"a whole number from {self.least:,} to {self.most:,}"


@dataclasses.dataclass(frozen=True)
class Real:
    """The numbers from `least` to `most`; with `above`, without `least`."""

    least: float
    most: float
    above: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, numbers.Real)
            and not isinstance(value, bool)
            and not value < self.least
            and value <= self.most
            and not (self.above and value == self.least)
        )

    def __str__(self) -> str:
        begin = "above" if self.above else "from"
        return f"a number {begin} {self.least:g} to {self.most:g}"
