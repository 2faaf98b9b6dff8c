"""Random changes of a piece that leave it music: key, tempo and loudness."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.windows import check_least


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How far windows are moved at most.

    Args:
        transpose: semitones up or down, 0 or more.
        stretch: times are multiplied by `1 - stretch` to `1 + stretch`; 0 to
            0.5.
        velocity: added to or taken from MIDI velocities, 0 or more.
    """

    transpose: int
    stretch: float
    velocity: int

    def __post_init__(self) -> None:
        check_least(0, transpose=self.transpose, velocity=self.velocity)
        if not 0 <= self.stretch <= 0.5:
            raise ValueError(
                f"`stretch` must be 0 to 0.5. Received: stretch={self.stretch}"
            )

    def draw(
        self, rng: np.random.Generator, size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """Draws semitones, factors on times and velocities, each (size,)."""
        semitones, velocity = self.transpose, self.velocity
        return (
            rng.integers(-semitones, semitones + 1, size),
            1 + self.stretch * rng.uniform(-1, 1, size),
            rng.integers(-velocity, velocity + 1, size),
        )


NO_AUGMENTATION = Augmentation(0, 0, 0)
