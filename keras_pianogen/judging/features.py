"""Features of pieces that the field compares: how often each value occurs.

A feature is a histogram over notes (over seconds, for the density), as shares
that sum to 1, on bins that never change: after Yang & Lerch, "On the
evaluation of generative models in music" (2020). Times in seconds, pitches
and velocities as MIDI's. NumPy alone.

In this package's notes a note that the pedal holds ends where the pedal is
released, as in generated music, which has no pedal apart. What the pedal does
is seen in `duration`, `polyphony` and above all in `overlap`, which a legato
touch raises too. `PEDAL_FEATURES` are of the pedal itself, for files that have
one.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Onsets nearer than this in seconds are struck together (as in novelty.py).
TOGETHER = 0.03
WIDEST = 24  # semitones; wider intervals fall into the outermost bins


@dataclasses.dataclass(frozen=True)
class Feature:
    """One thing that is counted.

    Args:
        name: what it is called.
        unit: of its values.
        edges: array (bins + 1,), the borders of its bins, rising. Values
            beyond them fall into the outermost bins.
        values: function of a performance, or of `seconds_of_pedal`, its
            values, an array.
        logarithmic: whether the bins are even on a logarithmic axis.
    """

    name: str
    unit: str
    edges: NDArray[np.float64]
    values: Callable[[np.ndarray], NDArray[np.float64]]
    logarithmic: bool = False

    def shares(self, music: np.ndarray) -> NDArray[np.float64]:
        """Share of the values in each bin, an array (bins,) of sum 1.

        Args:
            music: what `values` takes: a performance of two notes or more, or
                a second of pedal or more.
        """
        inside = self.values(music)
        inside = np.clip(inside, self.edges[0], self.edges[-1])
        counts, _ = np.histogram(inside, self.edges)
        return counts / max(counts.sum(), 1)


def _pitch(notes: np.ndarray) -> NDArray[np.float64]:
    return notes["pitch"].astype(float)


def _pitch_class(notes: np.ndarray) -> NDArray[np.float64]:
    """0 is C."""
    return _pitch(notes) % 12


def _interval(notes: np.ndarray) -> NDArray[np.float64]:
    """From each note to the next; in a chord, from the bottom up."""
    return np.diff(_pitch(notes))


def _chord(notes: np.ndarray) -> NDArray[np.float64]:
    """Intervals, less their octaves, within chords; -1 for a note alone.

    From each note to those just before it, up to ten, that are struck with
    it, however a chord is broken within `TOGETHER`.
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
    """From each note to the next; near 0 in a chord."""
    return np.diff(notes["start"])


def _duration(notes: np.ndarray) -> NDArray[np.float64]:
    return notes["end"] - notes["start"]


def _velocity(notes: np.ndarray) -> NDArray[np.float64]:
    return notes["velocity"].astype(float)


def _polyphony(notes: np.ndarray) -> NDArray[np.float64]:
    """Notes that sound as each one begins, itself among them."""
    start = notes["start"]
    begun = np.searchsorted(start, start, side="right")
    over = np.searchsorted(np.sort(notes["end"]), start, side="right")
    return np.maximum(begun - over, 1).astype(float)


def _density(notes: np.ndarray) -> NDArray[np.float64]:
    """Notes that begin in each second from the first one."""
    second = np.floor(notes["start"] - notes["start"][0]).astype(int)
    return np.bincount(second).astype(float)


def _overlap(notes: np.ndarray) -> NDArray[np.float64]:
    """Share of each note's time that lies after the next onset, 0 to 1."""
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
        pedal: an array from `seconds_of_pedal`, one second or more. Without
            it there are no `PEDAL_FEATURES`.

    Returns:
        A dict of arrays (bins,), shares that sum to 1.

    Raises:
        ValueError: there are fewer notes.

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
    """What the pedal does in each second of a stretch of time.

    Args:
        pedal: spans, as `read_pedal` returns them.
        begin: start of the stretch in seconds.
        seconds: its length; a part of a second counts as a whole one.

    Returns:
        A structured array (seconds,): `down`, the share of the second that
        the pedal is down, 0 to 1, and `presses`, how often it goes down.

    Examples:
        >>> from keras_pianogen.notes import PEDAL_DTYPE
        >>> pedal = np.array([(0.5, 2.25)], PEDAL_DTYPE)
        >>> seconds_of_pedal(pedal, 0, 3).tolist()
        [(0.5, 1), (1.0, 0), (0.25, 0)]
    """
    edges = begin + np.arange(max(1, math.ceil(seconds)) + 1)
    # Time with the pedal down, from the first press until each edge.
    corners = np.stack([pedal["start"], pedal["end"]], axis=1).reshape(-1)
    held = np.cumsum(pedal["end"] - pedal["start"])
    total = np.stack([np.append(0, held)[:-1], held], axis=1).reshape(-1)
    until = np.interp(edges, corners, total) if len(pedal) else 0 * edges
    found = np.empty(len(edges) - 1, [("down", "f8"), ("presses", "i8")])
    found["down"] = np.diff(until).clip(0, 1)
    found["presses"] = np.diff(np.searchsorted(pedal["start"], edges))
    return found


def cut(notes: np.ndarray, begin: float, seconds: float) -> np.ndarray:
    """The notes that start in a stretch of time, moved to its beginning.

    Args:
        notes: a performance.
        begin: start of the stretch in seconds.
        seconds: its length; notes that sound on end with it.

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
    """Where an excerpt of a performance begins: at a note drawn by seed.

    Args:
        notes: a performance of a note or more.
        seconds: length of the excerpt, more than 0. A shorter performance is
            taken from its first note.
        seed: the same seed and performance give the same excerpt.

    Returns:
        Seconds; `cut` gives two notes or more from there, where a stretch of
        this length has them.
    """
    start = np.sort(notes["start"])
    first, past = np.searchsorted(start, [start, start + seconds])
    fits = start[(start <= notes["end"].max() - seconds) & (past - first > 1)]
    rng = np.random.default_rng(seed)
    return float(rng.choice(fits) if len(fits) else start[0])


def shuffle_pitches(notes: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same notes with their pitches dealt out anew: music no longer.

    Rhythm, touch and how often each pitch occurs stay as they were; melody
    and harmony are gone. It is the anchor that any measure must tell.

    Args:
        notes: a performance.
        seed: of the order.

    Returns:
        A performance, sorted by start, then pitch.
    """
    shuffled = notes.copy()
    rng = np.random.default_rng(seed)
    shuffled["pitch"] = rng.permutation(notes["pitch"])
    return shuffled[np.lexsort((shuffled["pitch"], shuffled["start"]))]
