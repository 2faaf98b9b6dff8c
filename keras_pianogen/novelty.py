"""Is it copied? The longest passage that music shares with a corpus.

A passage is a run of notes, each told by its step from the note before: the
interval in semitones, and whether it comes with that note or after how many
times the wait before. So transposing a passage, or playing it faster, hides
nothing. Real music that the corpus doesn't hold shares passages with it too,
scales above all: what it shares is the measure of what is much. NumPy alone.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Notes nearer than this in seconds are struck together.
TOGETHER = 0.03
# Waits are told apart by powers of 2, up to this one, longer and shorter.
LONGEST_POWER = 3
# A number of 64 bits for each step; odd, so that products lose nothing.
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True)
class Match:
    """The longest passage that a piece shares with a corpus.

    Args:
        notes: its notes; 0 where not even two are alike.
        start: the note of the piece at which it begins.
        corpus_piece: the corpus's piece that has it, its place in what
            `Passages` was given; -1 without a match.
        corpus_start: the note at which it begins there.
    """

    notes: int
    start: int
    corpus_piece: int
    corpus_start: int


def steps(notes: np.ndarray) -> NDArray[np.int64]:
    """Each note's step from the one before, as a number.

    Args:
        notes: a performance.

    Returns:
        An array of shape (notes - 1,), of 0 or more.
    """
    order = np.lexsort((notes["pitch"], notes["start"]))
    start, pitch = notes["start"][order], notes["pitch"][order].astype(int)
    # Chords from the bottom up, however they are broken within `TOGETHER`.
    together = np.cumsum(np.diff(start, prepend=-np.inf) > TOGETHER)
    order = np.lexsort((pitch, together))
    pitch = pitch[order]
    first = np.flatnonzero(np.diff(together, prepend=0))
    waits = np.diff(start[first])
    powers = np.zeros(len(waits), int)
    if len(waits) > 1:
        ratio = np.log2(waits[1:] / waits[:-1])
        powers[1:] = np.clip(np.rint(ratio), -LONGEST_POWER, LONGEST_POWER)
    rhythm = np.zeros(len(pitch), int)  # Struck with the note before.
    rhythm[first[1:]] = powers + LONGEST_POWER + 1
    return (np.diff(pitch) + 128) * 16 + rhythm[1:]


class Passages:
    """All passages of a corpus, to look others up in.

    Args:
        pieces: performances.
    """

    def __init__(self, pieces: Iterable[np.ndarray]):
        nothing = np.empty(0, np.int64)
        found = [steps(notes) if len(notes) else nothing for notes in pieces]
        # A step that no piece has parts them, each another.
        parted = [np.append(s, -1 - i) for i, s in enumerate(found)]
        self.ends = np.cumsum([len(s) for s in parted])
        self.steps = np.concatenate([*parted, np.empty(0)]).astype(np.int64)
        self._sorted: dict[int, tuple[NDArray[np.uint64], NDArray[np.int64]]]
        self._sorted = {}

    def longest(self, notes: np.ndarray) -> Match:
        """The longest passage of a performance that is in the corpus."""
        ours = steps(notes) if len(notes) else np.empty(0, np.int64)
        best = Match(0, 0, -1, -1)
        # A passage of n steps holds those of fewer: search by halves.
        low, high = 0, len(ours)
        while low < high:
            length = (low + high + 1) // 2
            found = self._find(ours, length)
            if found is None:
                high = length - 1
            else:
                low, best = length, found
        return best

    def _find(self, ours: NDArray[np.int64], length: int) -> Match | None:
        """A passage of `length` steps that both have."""
        if length not in self._sorted:
            hashes = _hashes(self.steps, length)
            order = np.argsort(hashes, kind="stable")
            self._sorted[length] = hashes[order], order
        keys, order = self._sorted[length]
        if not len(keys):
            return None
        hashes = _hashes(ours, length)
        places = np.minimum(np.searchsorted(keys, hashes), len(keys) - 1)
        for start in np.flatnonzero(keys[places] == hashes):
            there = int(order[places[start]])
            passage = self.steps[there : there + length]
            if (passage == ours[start : start + length]).all():
                piece = int(np.searchsorted(self.ends, there, "right"))
                begin = there - (self.ends[piece - 1] if piece else 0)
                return Match(length + 1, int(start), piece, int(begin))
        return None


def _hashes(values: NDArray[np.int64], length: int) -> NDArray[np.uint64]:
    """A hash of every `length` values in a row, by doubling."""
    if length > len(values):
        return np.empty(0, np.uint64)
    power, size = _mixed(values.astype(np.uint64)), 1
    result, done = np.zeros(len(values), np.uint64), 0
    # The binary digits of `length`: parts of 1, 2, 4, … values are joined.
    while size <= length:
        if length & size:
            result = _joined(result, power[done:], done)
            done += size
        power = _joined(power, power[size:], size)
        size *= 2
    return result[: len(values) - length + 1]


def _joined(
    first: NDArray[np.uint64], second: NDArray[np.uint64], length: int
) -> NDArray[np.uint64]:
    count = min(len(first), len(second))
    shift = np.uint64(2 * length + 1)
    return _mixed(first[:count] * _FACTOR + second[:count] * shift)


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele et al. (2014), the finalizer of SplitMix64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclasses.dataclass(frozen=True)
class Novelty:
    """How long passages are shared, and how long unrelated music shares them.

    Args:
        matches: of each generated piece.
        real: notes of the longest shared passage of each real excerpt.
    """

    matches: tuple[Match, ...]
    real: tuple[int, ...]

    @property
    def usual(self) -> float:
        """What 99 % of the real excerpts stay at or below, in notes."""
        return float(np.quantile(self.real, 0.99))

    @property
    def suspects(self) -> tuple[int, ...]:
        """The places of the generated pieces that share more."""
        return tuple(
            i for i, m in enumerate(self.matches) if m.notes > self.usual
        )


def measure_novelty(
    pieces: Sequence[np.ndarray],
    training: Iterable[np.ndarray],
    unrelated: Iterable[np.ndarray],
    *,
    excerpts: int = 500,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Novelty:
    """Compares what pieces share with training to what real music shares.

    Args:
        pieces: generated performances.
        training: performances that the model was trained on.
        unrelated: real performances of other pieces, such as those of the
            validation split; excerpts of as many notes as the generated
            pieces have are cut from them.
        excerpts: how many of them.
        seed: of the excerpts.
        progress: a function called with (pieces and excerpts looked up, all
            of them).

    Returns:
        A `Novelty`.

    Raises:
        ValueError: if there is nothing to compare.
    """
    passages = Passages(training)
    others = [notes for notes in unrelated if len(notes) > 1]
    if not len(pieces) or not others or not len(passages.ends):
        raise ValueError(
            "There must be generated, training and unrelated pieces. "
            f"Received: {len(pieces)}, {len(passages.ends)} and {len(others)}"
        )
    rng = np.random.default_rng(seed)
    sizes = [len(notes) for notes in pieces]
    cut = []
    for i in range(excerpts):
        size = sizes[i % len(sizes)]
        notes = others[rng.integers(len(others))]
        begin = rng.integers(max(len(notes) - size, 0) + 1)
        cut.append(notes[begin : begin + size])
    found = []
    for i, notes in enumerate([*pieces, *cut]):
        found.append(passages.longest(notes))
        if progress is not None:
            progress(i + 1, len(pieces) + len(cut))
    return Novelty(
        matches=tuple(found[: len(pieces)]),
        real=tuple(match.notes for match in found[len(pieces) :]),
    )
