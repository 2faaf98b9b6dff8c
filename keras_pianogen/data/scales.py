"""Scales: numbers that music has at every moment, such as notes a second.

The values of a scale are told apart in classes: the music that a model is
trained on spends the same time in each. A note's class is measured over the six
seconds that begin with it, so that it says what is to come. Times in seconds.

Pace is the rate of onsets, and legato is articulation as performance research
measures it: the duration of a note over the time to the next onset, which is 1
more than Bresin and Battel's key overlap ratio.

References:
    - [Goebl (2001)](https://doi.org/10.1121/1.1376133)
    - [Bresin and Battel (2000)](https://doi.org/10.1076/jnmr.29.3.211.3092)
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.notes import TOGETHER

SECONDS = 6.0  # over which a scale is measured
LEAST_SECONDS = 3.0  # of what is known; the last notes take the value before
SHORTEST = 0.01  # Times are counted as at least this, before their logarithm.

# The scales, and what they count.
SCALES = {
    "density": "notes a second",
    "loudness": "mean MIDI velocity",
    "register": "mean MIDI pitch",
    "polyphony": "mean number of notes that sound, of those that begin then",
    "pace": "onsets a second; the notes of a chord are one onset",
    "legato": "how long notes last, over the time to the next onset; a "
    "geometric mean, at 1 notes end as the next ones begin",
}


def measured(notes: NDArray[np.void]) -> dict[str, NDArray[np.float64]]:
    """The value of each scale at each note.

    Args:
        notes: array of `NOTE_DTYPE`, sorted by start.

    Returns:
        A dict of arrays (notes,), by the names of `SCALES`.
    """
    if not len(notes):
        return {name: np.empty(0) for name in SCALES}
    starts = notes["start"].astype(np.float64)
    last = starts[-1]
    # Where too little of what follows is known, the value before stays.
    known = np.searchsorted(starts, last - LEAST_SECONDS, side="right") - 1
    first = np.minimum(np.arange(len(notes)), max(known, 0))
    stop = np.searchsorted(starts, starts[first] + SECONDS, side="left")
    count = stop - first
    # The seconds end with the last note that is known.
    span = np.clip(last - starts[first], 1.0, SECONDS)
    is_onset = _is_onset(starts)
    ratios = _overlaps(notes, is_onset)
    is_followed = ~np.isnan(ratios)

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
        return sums[stop] - sums[first]

    return {
        "density": count / span,
        "loudness": total(notes["velocity"]) / count,
        "register": total(notes["pitch"]) / count,
        "polyphony": total(notes["end"] - starts) / span,
        "pace": total(is_onset) / span,
        "legato": np.exp(
            total(np.where(is_followed, ratios, 0.0))
            / np.maximum(total(is_followed), 1)
        ),
    }


def overall(notes: NDArray[np.void], seconds: float) -> dict[str, float]:
    """The value of each scale of a whole excerpt.

    Args:
        notes: array of `NOTE_DTYPE`, which begin at 0 or later.
        seconds: the excerpt's length. What rings on after it doesn't count.
    """
    if not len(notes):
        return dict.fromkeys(SCALES, 0.0)
    rings = np.minimum(notes["end"], seconds) - notes["start"]
    is_onset = _is_onset(notes["start"])
    ratios = _overlaps(notes, is_onset)
    ratios = ratios[~np.isnan(ratios)]
    return {
        "density": len(notes) / seconds,
        "loudness": float(notes["velocity"].mean()),
        "register": float(notes["pitch"].mean()),
        "polyphony": float(rings.sum() / seconds),
        "pace": float(is_onset.sum() / seconds),
        "legato": float(np.exp(ratios.sum() / max(len(ratios), 1))),
    }


def _is_onset(starts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each note begins an onset, (notes,)."""
    # Rounding must not part notes that are `TOGETHER` apart on a time grid.
    return np.diff(starts, prepend=-np.inf) > TOGETHER + 1e-6


def _overlaps(
    notes: NDArray[np.void], is_onset: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Logarithms of durations over the times to the next onset, (notes,).

    They are NaN for notes that no onset follows.
    """
    onsets = np.append(notes["start"][is_onset].astype(np.float64), np.nan)
    following = onsets[np.cumsum(is_onset)]
    times = np.stack([notes["end"], following]) - notes["start"]
    lasts, waits = np.log(np.maximum(times, SHORTEST))
    return lasts - waits


@dataclasses.dataclass(frozen=True)
class Scale:
    """A scale, and where one of its classes ends and the next begins.

    Args:
        name: one of `SCALES`.
        edges: numbers that rise, one fewer than there are classes.

    Raises:
        ValueError: if there is no such scale, or `edges` don't rise.
    """

    name: str
    edges: Sequence[float]

    def __post_init__(self) -> None:
        if self.name not in SCALES:
            raise ValueError(
                f"A scale must be one of {', '.join(SCALES)}. "
                f"Received: {self.name!r}"
            )
        object.__setattr__(self, "edges", tuple(map(float, self.edges)))
        # Equal edges are of music whose quantiles are equal.
        if not self.edges or not (np.diff(self.edges) >= 0).all():
            raise ValueError(
                f"The edges of {self.name} must be numbers that rise. "
                f"Received: {self.edges}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.edges) + 1

    def classes(self, values: Any) -> NDArray[np.int64]:
        """The class of each number."""
        return np.searchsorted(self.edges, values, side="right")
