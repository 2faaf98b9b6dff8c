"""Features of pieces that the field compares, each a histogram.

A feature counts how often each value occurs among the notes (among the
seconds, for the density), as shares that sum to 1, in fixed bins: after Yang
& Lerch, "On the evaluation of generative models in music" (2020). Times in
seconds, pitches and velocities are MIDI's. NumPy alone.

A note that the pedal holds ends in this package where the pedal is released.
So does a note of generated music, which has no pedal of its own. The pedal
therefore raises `duration`, `polyphony` and above all `overlap`, and so does a
legato touch. `PEDAL_FEATURES` describe the pedal itself, for files that have
one.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.notes import TOGETHER

WIDEST = 24  # semitones; wider intervals are counted in the outermost bins


@dataclasses.dataclass(frozen=True)
class Feature:
    """A histogram of one property of music.

    Args:
        name: the feature's name.
        unit: the unit of its values.
        edges: array (bins + 1,), the borders of its bins, rising. Values
            beyond them are counted in the outermost bins.
        values: a function of a performance, or of a result of
            `seconds_of_pedal`. It returns the values, an array.
        logarithmic: whether the bins are even on a logarithmic axis.
    """

    name: str
    unit: str
    edges: NDArray[np.float64]
    values: Callable[[np.ndarray], NDArray[np.float64]]
    logarithmic: bool = False

    def shares(self, music: np.ndarray) -> NDArray[np.float64]:
        """Share of the values in each bin, an array (bins,) that sums to 1.

        Args:
            music: the argument of `values`: a performance of two notes or
                more, or one second of pedal or more.
        """
        inside = self.values(music)
        inside = np.clip(inside, self.edges[0], self.edges[-1])
        counts, _ = np.histogram(inside, self.edges)
        return counts / max(counts.sum(), 1)


def _pitch(notes: np.ndarray) -> NDArray[np.float64]:
    return notes["pitch"].astype(float)


def _pitch_class(notes: np.ndarray) -> NDArray[np.float64]:
    """Semitones above C."""
    return _pitch(notes) % 12


def _interval(notes: np.ndarray) -> NDArray[np.float64]:
    """From each note to the next. A chord's notes go from the bottom up."""
    return np.diff(_pitch(notes))


def _chord(notes: np.ndarray) -> NDArray[np.float64]:
    """Intervals within chords, less their octaves; -1 for a single note.

    From each note to those of the ten notes before it that start within
    `TOGETHER` seconds of it.
    """
    start, pitch = notes["start"], _pitch(notes)
    found = []
    alone = np.ones(len(notes), bool)
    for lag in range(1, min(len(notes), 11)):
        together = start[lag:] - start[:-lag] <= TOGETHER
        found.append(np.abs(pitch[lag:] - pitch[:-lag])[together] % 12)
        alone[lag:] &= ~together
        alone[:-lag] &= ~together
    return np.concatenate([*found, np.full(alone.sum(), -1.0)])


def _inter_onset(notes: np.ndarray) -> NDArray[np.float64]:
    """From each note's start to the next one's; near 0 in a chord."""
    return np.diff(notes["start"])


def _duration(notes: np.ndarray) -> NDArray[np.float64]:
    return notes["end"] - notes["start"]


def _velocity(notes: np.ndarray) -> NDArray[np.float64]:
    return notes["velocity"].astype(float)


def _polyphony(notes: np.ndarray) -> NDArray[np.float64]:
    """Number of notes that sound when a note starts, itself among them."""
    start = notes["start"]
    begun = np.searchsorted(start, start, side="right")
    over = np.searchsorted(np.sort(notes["end"]), start, side="right")
    return np.maximum(begun - over, 1).astype(float)


def _density(notes: np.ndarray) -> NDArray[np.float64]:
    """Number of notes that start in each second from the first note on."""
    second = np.floor(notes["start"] - notes["start"][0]).astype(int)
    return np.bincount(second).astype(float)


def _held(notes: np.ndarray) -> NDArray[np.float64]:
    """How long the note that sounds longest has sounded, at each second.

    It is 0 where no note sounds. Only notes held for seconds matter here, as
    those that a model forgets to end.
    """
    first, last = notes["start"][0], notes["end"].max()
    seconds = np.arange(first, max(last, first + 1))[:, None]
    sounds = (notes["start"] <= seconds) & (notes["end"] > seconds)
    age = np.where(sounds, seconds - notes["start"], 0)
    return age.max(axis=1)


def _overlap(notes: np.ndarray) -> NDArray[np.float64]:
    """Share of each note's time after the next note's start, 0 to 1."""
    start, end = notes["start"], notes["end"]
    after = np.searchsorted(start, start + TOGETHER, side="right")
    later = np.append(start, np.inf)[after]
    length = np.maximum(end - start, 1e-9)
    return np.clip((end - later) / length, 0, 1)


FEATURES: tuple[Feature, ...] = (
    Feature("pitch", "MIDI number", np.arange(0.0, 129, 4), _pitch),
    Feature("pitch class", "semitones above C", np.arange(13.0), _pitch_class),
    Feature(
        "interval", "semitones", np.arange(-WIDEST - 0.5, WIDEST + 1), _interval
    ),
    Feature(
        "chord",
        "semitones, less octaves; -1: alone",
        np.arange(-1.5, 12),
        _chord,
    ),
    Feature(
        "inter-onset time",
        "s",
        np.append(0, np.geomspace(TOGETHER, 4, 22)),
        _inter_onset,
        logarithmic=True,
    ),
    Feature(
        "duration", "s", np.geomspace(0.02, 8, 25), _duration, logarithmic=True
    ),
    Feature("velocity", "MIDI velocity", np.arange(0.0, 129, 4), _velocity),
    Feature("polyphony", "notes", np.arange(0.5, 21), _polyphony),
    Feature("density", "notes a second", np.arange(-0.5, 41, 2), _density),
    Feature("overlap", "share of a note", np.linspace(0, 1, 21), _overlap),
    Feature(
        "held notes",
        "s",
        np.append(0, np.geomspace(0.5, 32, 13)),
        _held,
        logarithmic=True,
    ),
)


PEDAL_FEATURES: tuple[Feature, ...] = (
    Feature(
        "pedal down",
        "share of a second",
        np.linspace(0, 1, 11),
        lambda seconds: seconds["down"],
    ),
    Feature(
        "pedal presses",
        "in a second",
        np.arange(-0.5, 6),
        lambda seconds: seconds["presses"],
    ),
)


def measure(
    notes: np.ndarray, pedal: np.ndarray | None = None
) -> dict[str, NDArray[np.float64]]:
    """Each feature of a performance, by its name.

    Args:
        notes: a performance of two notes or more.
        pedal: a result of `seconds_of_pedal`, one second or more. Without it
            there are no `PEDAL_FEATURES`.

    Returns:
        A dict of arrays (bins,), shares that sum to 1.

    Raises:
        ValueError: if there are fewer notes.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> measure(notes)["pitch class"].tolist()[:8]
        [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5]
    """
    if len(notes) < 2:
        raise ValueError(
            f"`notes` must hold two notes or more. Received: {len(notes)}"
        )
    notes = notes[np.lexsort((notes["pitch"], notes["start"]))]
    shares = {feature.name: feature.shares(notes) for feature in FEATURES}
    if pedal is not None:
        shares |= {f.name: f.shares(pedal) for f in PEDAL_FEATURES}
    return shares


def seconds_of_pedal(
    pedal: np.ndarray, begin: float, seconds: float
) -> np.ndarray:
    """How the pedal is used in each second of a stretch of time.

    Args:
        pedal: spans, as `read_pedal` returns them.
        begin: start of the stretch in seconds.
        seconds: length of the stretch; a part of a second counts as a whole
            one.

    Returns:
        A structured array (seconds,): `down`, the share of the second that
        the pedal is down, 0 to 1, and `presses`, the number of times that it
        goes down.

    Examples:
        >>> from keras_pianogen.notes import PEDAL_DTYPE
        >>> pedal = np.array([(0.5, 2.25)], PEDAL_DTYPE)
        >>> seconds_of_pedal(pedal, 0, 3).tolist()
        [(0.5, 1), (1.0, 0), (0.25, 0)]
    """
    edges = begin + np.arange(max(1, math.ceil(seconds)) + 1)
    # Seconds that the pedal is down in all, from the first press to each edge.
    corners = np.stack([pedal["start"], pedal["end"]], axis=1).reshape(-1)
    held = np.cumsum(pedal["end"] - pedal["start"])
    total = np.stack([np.append(0, held)[:-1], held], axis=1).reshape(-1)
    until = np.interp(edges, corners, total) if len(pedal) else 0 * edges
    found = np.empty(len(edges) - 1, [("down", "f8"), ("presses", "i8")])
    found["down"] = np.diff(until).clip(0, 1)
    found["presses"] = np.diff(np.searchsorted(pedal["start"], edges))
    return found


def cut(notes: np.ndarray, begin: float, seconds: float) -> np.ndarray:
    """The notes that start in a stretch of time, moved so that it begins at 0.

    Args:
        notes: a performance.
        begin: start of the stretch in seconds.
        seconds: length of the stretch. A note that sounds longer ends with it.

    Returns:
        A performance, a copy.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 4, 67, 96)], NOTE_DTYPE)
        >>> cut(notes, 1, 2).tolist()
        [(0.0, 2.0, 67, 96)]
    """
    inside = (notes["start"] >= begin) & (notes["start"] < begin + seconds)
    kept = notes[inside].copy()
    kept["end"] = np.minimum(kept["end"] - begin, seconds)
    kept["start"] -= begin
    return kept


def draw_begin(notes: np.ndarray, seconds: float, seed: int) -> float:
    """Draws the note at which an excerpt of a performance begins.

    Args:
        notes: a performance of a note or more.
        seconds: length of the excerpt, more than 0. The excerpt of a shorter
            performance begins at its first note.
        seed: the same seed and performance give the same excerpt.

    Returns:
        The note's start in seconds. If any stretch of this length has two
        notes or more, so has the one from there.
    """
    start = np.sort(notes["start"])
    first, past = np.searchsorted(start, [start, start + seconds])
    fits = start[(start <= notes["end"].max() - seconds) & (past - first > 1)]
    rng = np.random.default_rng(seed)
    return float(rng.choice(fits) if len(fits) else start[0])


def shuffle_pitches(notes: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same notes with their pitches shuffled, which is no music any more.

    Rhythm, velocities and the number of notes of each pitch stay the same;
    melody and harmony are lost. Any useful measure must tell this anchor from
    music.

    Args:
        notes: a performance.
        seed: seed of the new order.

    Returns:
        A performance, sorted by start, then pitch.
    """
    shuffled = notes.copy()
    rng = np.random.default_rng(seed)
    shuffled["pitch"] = rng.permutation(notes["pitch"])
    return shuffled[np.lexsort((shuffled["pitch"], shuffled["start"]))]
