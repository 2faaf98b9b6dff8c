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
# Below all steps, and what parts pieces.
_NO_STEP = np.iinfo(np.int64).min


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
        parted = [np.append(s, -1 - i) for i, s in enumerate([*found, nothing])]
        self.ends = np.cumsum([len(s) for s in parted[:-1]])
        self.steps = np.concatenate(parted)
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
        """How far the corpus goes along with a performance, from each note on.

        The suffix of the corpus that shares most is one of the two between
        which ours belongs: a search by halves, for all of ours at once.

        Args:
            notes: a performance.

        Returns:
            Two arrays (notes - 1,): the steps that are shared from a note on,
            and where in `steps` they are.
        """
        ours = steps(notes) if len(notes) else np.empty(0, np.int64)
        starts = np.arange(len(ours))
        ours = np.append(ours, _NO_STEP)
        # The first suffixes begin with what parts pieces, below every step.
        low, high = np.zeros_like(starts), np.full_like(starts, len(self.steps))
        low_shared, high_shared = np.zeros_like(starts), np.zeros_like(starts)
        for _ in range(len(self.steps).bit_length()):
            middle = (low + high) // 2
            there = self._order[middle]
            # At least as much as with both ends, between which it is.
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
    """Where the suffixes begin, in their order.

    Those that are still alike are sorted by twice as many values each time
    (Larsson & Sadakane, 2007).

    Args:
        values: array (time,), whose last is like no other.
    """
    order = np.argsort(values, kind="stable")
    keys, places = values[order], np.arange(len(values))
    ranks, length = np.empty_like(order), 1
    while len(places):
        new = np.append(True, keys[1:] != keys[:-1])
        # Those alike have the rank of the first of them.
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
    """How long passages are shared, and how long unrelated music shares them.

    Args:
        matches: of each generated piece.
        real: of each generated piece, notes of the longest shared passage of
            every real excerpt that has as many notes as the piece: longer
            ones share longer passages by chance.
    """

    matches: tuple[Match, ...]
    real: tuple[tuple[int, ...], ...]

    @property
    def usual(self) -> tuple[float, ...]:
        """What 99 % of a piece's real excerpts stay at or below, in notes."""
        return tuple(float(np.quantile(notes, 0.99)) for notes in self.real)

    @property
    def suspects(self) -> tuple[int, ...]:
        """The places of the generated pieces that share more."""
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
    """Compares what pieces share with training to what real music shares.

    Args:
        pieces: generated performances.
        training: performances that the model was trained on.
        unrelated: real performances of other pieces, such as those of the
            validation split; excerpts of as many notes as each generated
            piece has are cut from them.
        excerpts: how many of each length.
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
    """Notes of the longest passage that is over where these steps are."""
    left = np.arange(len(shared), 0, -1)
    most = int(np.minimum(shared, left).max(initial=0))
    return most + 1 if most else 0
