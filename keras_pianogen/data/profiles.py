"""Profiles: how the music of a label's value differs from other music.

A profile says how the scales of `scales` are distributed over excerpts of 20
seconds: by a normal distribution, in which density and polyphony stand for
their logarithms. It also says how much more frequent each interval between
successive notes is than in all music.
"""

import dataclasses
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.scales import overall

# The scales of a profile; pace and legato mostly follow from them.
PROFILED = ("density", "loudness", "register", "polyphony")
SECONDS = 20.0  # of an excerpt
LEAST_NOTES = 10  # of an excerpt that is measured
LEAST_EXCERPTS = 16  # of a profile
WIDEST = 24  # semitones; wider intervals are counted as these
# A count that is added to each interval, so that none is impossible.
ADDED = 20
IS_LOGARITHM = np.array([name in ("density", "polyphony") for name in PROFILED])

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Profile:
    """The scales and the intervals of the music of one value of a label.

    Args:
        means: numbers (scales,), in the order of `PROFILED`.
        covariance: numbers (scales, scales).
        intervals: numbers (2 * WIDEST + 1,), from `WIDEST` semitones downwards
            to as many upwards: the logarithm of how many times as frequent
            the interval is as in all music.

    Raises:
        ValueError: if they have other shapes, or the covariance is that of no
            numbers.
    """

    means: Sequence[float]
    covariance: Sequence[Sequence[float]]
    intervals: Sequence[float]

    def __post_init__(self) -> None:
        size = len(PROFILED)
        shapes = {
            "means": (size,),
            "covariance": (size, size),
            "intervals": (2 * WIDEST + 1,),
        }
        for name, shape in shapes.items():
            found = np.asarray(getattr(self, name), float)
            if found.shape != shape or not np.isfinite(found).all():
                raise ValueError(
                    f"`{name}` of a profile must be numbers of shape {shape}. "
                    f"Received: shape {found.shape}"
                )
        spread = np.asarray(self.covariance, float)
        if np.abs(spread - spread.T).max() > 1e-6 or (
            np.linalg.eigvalsh(spread).min() < 0
        ):
            raise ValueError(
                "`covariance` of a profile must be symmetric, without negative "
                f"eigenvalues. Received: {self.covariance}"
            )

    @classmethod
    def of(
        cls, music: Iterable[NDArray[np.void]], usual: NDArray[np.int64]
    ) -> "Profile | None":
        """The profile of some performances.

        Args:
            music: arrays of `NOTE_DTYPE`, sorted by start.
            usual: how often each interval occurs in all music, see
                `count_intervals`.

        Returns:
            A `Profile`, or `None` if they have too few excerpts for one.
        """
        music = list(music)
        rows = np.concatenate([_excerpts(notes) for notes in music])
        if len(rows) < LEAST_EXCERPTS:
            return None
        found = np.sum([count_intervals(notes) for notes in music], 0)
        shares = [(x + ADDED) / (x + ADDED).sum() for x in (found, usual)]
        return cls(
            rows.mean(axis=0).round(3).tolist(),
            # A little more of each scale's own, against the rounding.
            (np.cov(rows.T) + 1e-3 * np.eye(len(PROFILED))).round(4).tolist(),
            np.log(shares[0] / shares[1]).round(2).tolist(),
        )

    def get_config(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def draw(
        self, known: Mapping[str, float], rng: np.random.Generator
    ) -> dict[str, float]:
        """Values of the scales, as an excerpt of this music could have them.

        Args:
            known: dict of values of some scales. The others are drawn as they
                are beside these values.
            rng: a NumPy generator.

        Returns:
            A dict of the values of all scales.
        """
        means, spread = np.array(self.means), np.array(self.covariance)
        is_known = np.array([name in known for name in PROFILED])
        values = np.array([known.get(name, 1.0) for name in PROFILED])
        values = np.where(IS_LOGARITHM, np.log(values), values)
        free = ~is_known
        if not free.any():
            return dict(known)
        if is_known.any():  # The normal distribution given some of its numbers.
            slope = spread[np.ix_(free, is_known)] @ np.linalg.pinv(
                spread[np.ix_(is_known, is_known)]
            )
            centre = means[free] + slope @ (values - means)[is_known]
            spread = (
                spread[np.ix_(free, free)]
                - slope @ spread[np.ix_(is_known, free)]
            )
        else:
            centre = means
        values[free] = rng.multivariate_normal(centre, spread)
        values = np.where(IS_LOGARITHM, np.exp(values), values)
        return dict(zip(PROFILED, values.tolist(), strict=True))


def count_intervals(notes: NDArray[np.void]) -> NDArray[np.int64]:
    """How often each interval between successive notes occurs.

    Notes of one moment come from the lowest to the highest.

    Args:
        notes: array of `NOTE_DTYPE`, sorted by start, then pitch.

    Returns:
        An array (2 * WIDEST + 1,), from `WIDEST` semitones downwards to as
        many upwards.
    """
    steps = np.diff(notes["pitch"].astype(np.int64)).clip(-WIDEST, WIDEST)
    return np.bincount(steps + WIDEST, minlength=2 * WIDEST + 1)


def _excerpts(notes: NDArray[np.void]) -> Array:
    """The scales of each excerpt of a performance, (excerpts, scales)."""
    number = (notes["start"] // SECONDS).astype(int)
    rows = []
    for i in np.unique(number)[:-1]:  # The last one isn't whole.
        excerpt = notes[number == i].copy()
        if len(excerpt) >= LEAST_NOTES:
            for field in "start", "end":
                excerpt[field] -= i * SECONDS
            found = overall(excerpt, SECONDS)
            rows.append([found[name] for name in PROFILED])
    values = np.array(rows, float).reshape(-1, len(PROFILED))
    return np.where(IS_LOGARITHM, np.log(values.clip(1e-3)), values)
