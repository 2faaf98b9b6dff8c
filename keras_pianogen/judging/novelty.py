"""The longest passage that a piece shares with a corpus, a sign of copying.

A passage is a run of notes, each described by its step from the note before:
the interval in semitones, and the time since that note as a multiple of the
time before it, or that both are struck together. So a copy is found even if it
is transposed or played faster. Real music that is not in the corpus shares
passages with it too, above all scales. The length of those is the yardstick.
NumPy alone.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.notes import TOGETHER

# The ratio of two times is rounded to a power of 2, from -3 to 3.
LONGEST_POWER = 3
# Lower than every step, and than what separates pieces.
_NO_STEP = np.iinfo(np.int64).min


@dataclasses.dataclass(frozen=True)
class Match:
    """The longest passage that a piece shares with a corpus.

    Args:
        notes: number of notes in the passage; 0 if not even two notes match.
        start: index of the note of the piece at which it begins.
        corpus_piece: index of the corpus's piece that has it, in the order
            that `Passages` got them; -1 without a match.
        corpus_start: index of the note of that piece at which it begins.
    """

    notes: int
    start: int
    corpus_piece: int
    corpus_start: int


def steps(notes: np.ndarray) -> NDArray[np.int64]:
    """Each note's step from the note before, as a number.

    Args:
        notes: a performance.

    Returns:
        An array of shape (notes - 1,), of numbers that are 0 or more.
    """
    order = np.lexsort((notes["pitch"], notes["start"]))
    start, pitch = notes["start"][order], notes["pitch"][order].astype(int)
    # Notes of a chord go from the bottom up, even if they start one by one.
    together = np.cumsum(np.diff(start, prepend=-np.inf) > TOGETHER)
    order = np.lexsort((pitch, together))
    pitch = pitch[order]
    first = np.flatnonzero(np.diff(together, prepend=0))
    waits = np.diff(start[first])
    powers = np.zeros(len(waits), int)
    if len(waits) > 1:
        ratio = np.log2(waits[1:] / waits[:-1])
        powers[1:] = np.clip(np.rint(ratio), -LONGEST_POWER, LONGEST_POWER)
    rhythm = np.zeros(len(pitch), int)  # 0: together with the note before
    rhythm[first[1:]] = powers + LONGEST_POWER + 1
    return (np.diff(pitch) + 128) * 16 + rhythm[1:]


class Passages:
    """All passages of a corpus, sorted, so that others are found among them.

    Args:
        pieces: performances.
    """

    def __init__(self, pieces: Iterable[np.ndarray]):
        nothing = np.empty(0, np.int64)
        found = [steps(notes) if len(notes) else nothing for notes in pieces]
        # A negative number, each time another, separates pieces.
        ended = [np.append(s, -1 - i) for i, s in enumerate([*found, nothing])]
        self.ends = np.cumsum([len(s) for s in ended[:-1]])
        self.steps = np.concatenate(ended)
        self._order = _suffix_order(self.steps)

    def longest(self, notes: np.ndarray) -> Match:
        """The longest passage of a performance that is in the corpus."""
        shared, places = self.shared(notes)
        if not shared.any():
            return Match(0, 0, -1, -1)
        start = int(shared.argmax())
        piece = int(np.searchsorted(self.ends, places[start], "right"))
        begin = places[start] - (self.ends[piece - 1] if piece else 0)
        return Match(int(shared[start]) + 1, start, piece, int(begin))

    def shared(
        self, notes: np.ndarray
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Number of steps that the corpus shares from each note of a piece on.

        In the sorted suffixes of the corpus, the one that shares most with a
        suffix of the piece is a neighbour of the place where that would stand.
        A binary search finds the places of all suffixes of the piece at once.

        Args:
            notes: a performance.

        Returns:
            Two arrays (notes - 1,): the number of steps that are shared from
            each note on, and the index of the first of them in `steps`.
        """
        ours = steps(notes) if len(notes) else np.empty(0, np.int64)
        starts = np.arange(len(ours))
        ours = np.append(ours, _NO_STEP)
        # The first suffixes begin with a separator, which is below every step.
        low, high = np.zeros_like(starts), np.full_like(starts, len(self.steps))
        low_shared, high_shared = np.zeros_like(starts), np.zeros_like(starts)
        for _ in range(len(self.steps).bit_length()):
            middle = (low + high) // 2
            there = self._order[middle]
            # A suffix shares at least what both ends of its range share.
            shared = np.minimum(low_shared, high_shared)
            alike = starts
            while len(alike):
                theirs = self.steps[there[alike] + shared[alike]]
                alike = alike[theirs == ours[alike + shared[alike]]]
                shared[alike] += 1
            below = self.steps[there + shared] < ours[starts + shared]
            low = np.where(below, middle, low)
            low_shared = np.where(below, shared, low_shared)
            high = np.where(below, high, middle)
            high_shared = np.where(below, high_shared, shared)
        nearest = np.where(low_shared >= high_shared, low, high)
        return np.maximum(low_shared, high_shared), self._order[nearest]


def _suffix_order(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The indices at which the suffixes begin, in the order of the suffixes.

    Each round sorts the suffixes that are still equal by twice as many values
    as the round before (Larsson & Sadakane, 2007).

    Args:
        values: array (time,), whose last value occurs only once.
    """
    order = np.argsort(values, kind="stable")
    keys, places = values[order], np.arange(len(values))
    ranks, length = np.empty_like(order), 1
    while len(places):
        new = np.append(True, keys[1:] != keys[:-1])
        # Equal suffixes have the rank of the first of them.
        ranks[order[places]] = places[new][np.cumsum(new) - 1]
        places = places[~(new & np.append(new[1:], True))]
        alike = order[places]
        keys = ranks[alike] * len(values) + ranks[alike + length]
        by = np.argsort(keys, kind="stable")
        order[places], keys = alike[by], keys[by]
        length *= 2
    return order


@dataclasses.dataclass(frozen=True)
class Novelty:
    """The longest shared passages of generated pieces, and of real music.

    Args:
        matches: the `Match` of each generated piece.
        real: for each generated piece, the number of notes in the longest
            shared passage of each real excerpt. The excerpts have as many
            notes as the piece, because longer ones share longer passages by
            chance.
    """

    matches: tuple[Match, ...]
    real: tuple[tuple[int, ...], ...]

    @property
    def usual(self) -> tuple[float, ...]:
        """The 99th percentile of each piece's real excerpts, in notes."""
        return tuple(float(np.quantile(notes, 0.99)) for notes in self.real)

    @property
    def suspects(self) -> tuple[int, ...]:
        """Indices of the generated pieces whose passages are longer."""
        return tuple(
            i
            for i, (match, usual) in enumerate(zip(self.matches, self.usual))
            if match.notes > usual
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
    """Finds the longest passages that pieces share with the training data.

    Args:
        pieces: generated performances.
        training: performances that the model was trained on.
        unrelated: real performances of other pieces, such as those of the
            validation split. Excerpts with as many notes as each generated
            piece are cut from them.
        excerpts: number of excerpts of each length.
        seed: seed of the excerpts.
        progress: a function called with (pieces and excerpts done, pieces and
            excerpts in all).

    Returns:
        A `Novelty`.

    Raises:
        ValueError: if there are no pieces of one kind.
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
    matches, shared = [], []
    total = len(pieces) + excerpts
    for i in range(total):
        if i < len(pieces):
            matches.append(passages.longest(pieces[i]))
        else:
            notes = others[rng.integers(len(others))]
            begin = rng.integers(max(len(notes) - max(sizes), 0) + 1)
            cut = notes[begin : begin + max(sizes)]
            shared.append(passages.shared(cut)[0])
        if progress is not None:
            progress(i + 1, total)
    real = {
        size: tuple(_longest(found[: max(size - 1, 0)]) for found in shared)
        for size in set(sizes)
    }
    return Novelty(tuple(matches), tuple(real[size] for size in sizes))


def _longest(shared: NDArray[np.int64]) -> int:
    """Notes in the longest passage, if the piece ends after these steps."""
    left = np.arange(len(shared), 0, -1)
    most = int(np.minimum(shared, left).max(initial=0))
    return most + 1 if most else 0
