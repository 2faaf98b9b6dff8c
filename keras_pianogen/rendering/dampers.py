"""Dampers, and how a half-pressed pedal holds them off the strings.

A key that is let go lowers its damper. The sustain pedal lifts all dampers:
from the value 64 on they touch no string, which is where `read_notes` counts a
pedal as down. Below, they press the less, the higher the value is: at 32 a tone
takes twice as long to be damped, and at 48 four times as long. This is
half-pedalling (Lehtonen, Askenfelt and Välimäki, "Analysis of the part-pedaling
effect in the piano", 2009), with a straight line for the felt's unknown law.
All-sound-off lowers every damper, under any pedal.

Times in seconds.
"""

import math

import numpy as np
import numpy.typing as npt

from keras_pianogen.midi.controllers import SOUND_OFF
from keras_pianogen.midi.controllers import SUSTAIN
from keras_pianogen.midi.parts import MOVEMENT_DTYPE

# Corners of a damper's way: seconds after a note's end, and the share of the
# way there, from 0 to 1.
Way = list[tuple[float, float]]

MAX_RELEASE = 0.4  # in which the lowest string is damped
FREE = 64  # the pedal's value at which dampers leave the strings
LONGEST = 3.0  # in which a damper comes down at last, wherever the pedal is
SAME = 0.001  # between two times that are meant as one


def damping_seconds(pitch: int) -> float:
    """Seconds in which a damper stops a string; a long one takes longer."""
    return MAX_RELEASE * (0.4 + 0.6 * 2 ** (-max(pitch - 21, 0) / 18))


def damping(way: npt.NDArray) -> npt.NDArray[np.float32]:
    """A tone's gain while its damper comes down.

    Args:
        way: share of the damper's way that it has gone, 0 to 1.
    """
    return (np.exp(-6 * way) * (1 - way)).astype(np.float32)


def at_once(least: float) -> Way:
    """The way of a damper under no pedal, in `least` seconds."""
    return [(0.0, 0.0), (least, 1.0)]


class Dampers:
    """The dampers under a pedal that moves.

    Args:
        moves: movements of controllers, an array of `MOVEMENT_DTYPE`. Defaults
            to none: the pedal is up.
    """

    def __init__(self, moves: np.ndarray | None = None) -> None:
        if moves is None:
            moves = np.empty(0, MOVEMENT_DTYPE)
        moves = moves[np.argsort(moves["time"], kind="stable")]
        sustain = moves[moves["number"] == SUSTAIN]
        self._times = np.append(sustain["time"], np.inf)
        self._pressures = np.append(1.0, (1 - sustain["value"] / FREE).clip(0))
        cuts = moves["time"][moves["number"] == SOUND_OFF]
        self._cuts = np.append(cuts, np.inf)

    def way(self, end: float, least: float) -> Way:
        """How a damper comes down where a note ends.

        Args:
            end: where the note ends.
            least: seconds of the whole way while the pedal is up.

        Returns:
            The corners of the way: seconds after `end`, and the share of the
            way there, from 0 to 1.
        """
        place = int(np.searchsorted(self._times, end + SAME, side="right"))
        cut = float(self._cuts[np.searchsorted(self._cuts, end - SAME)])
        if cut < end + SAME:
            return at_once(least)
        last, corners = min(LONGEST - least, cut - end), [(0.0, 0.0)]
        while corners[-1][1] < 1:
            now, way = corners[-1]
            pressure = self._pressures[place]
            down = now + (1 - way) * least / pressure if pressure else math.inf
            until = min(float(self._times[place]) - end, last)
            if down <= until:
                corners.append((down, 1.0))
                continue
            corners.append((until, way + (until - now) * pressure / least))
            place += 1
            if until == last:
                corners.append((last + least, 1.0))
        return corners


def release_along(corners: Way, sample_rate: int) -> npt.NDArray[np.float32]:
    """A tone's gain along a damper's way, (samples, 1).

    Args:
        corners: see `Dampers.way`.
        sample_rate: samples a second.
    """
    seconds, ways = zip(*corners, strict=True)
    count = int(seconds[-1] * sample_rate)
    times = np.arange(1, count + 1) / sample_rate
    return damping(np.interp(times, seconds, ways)[:, None])


def ways_of(
    notes: np.ndarray, dampers: Dampers, pedalled: npt.NDArray[np.bool_]
) -> list[Way]:
    """The way of the damper after each note, see `Dampers.way`.

    A note whose key is struck again at its end stops at once, under any pedal.

    Args:
        notes: notes of one pitch, in order of their starts.
        dampers: the dampers under the pedal.
        pedalled: which notes the pedal governs, (notes,).
    """
    least = damping_seconds(int(notes["pitch"][0]))
    following = np.append(notes["start"][1:], np.inf)
    is_struck = np.abs(following - notes["end"]) < SAME
    is_held = pedalled & ~is_struck
    return [
        dampers.way(end, least) if held else at_once(least)
        for held, end in zip(is_held, notes["end"].tolist(), strict=True)
    ]
