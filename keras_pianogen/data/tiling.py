"""Where training windows lie: in passes over a split, or anywhere.

Windows are described in rows of four whole numbers, as `Draw` has them:
`pieces`, `notes`, `first` and `until`.

In a pass, each piece is cut into windows at some of its note-ons, other ones
in each pass, so that every event is a target of one window. `training_windows`
shows an example.
"""

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.packing import UNITS
from keras_pianogen.data.packing import packed_ends
from keras_pianogen.data.windows import pieces_of
from keras_pianogen.events import EventVocabulary

# Two times that are this many ticks apart keep their order, after rounding,
# however they are stretched, because stretching halves a time at most.
TICKS_APART = 3


class Anywhere:
    """Windows that begin at any note of a split. All events are targets.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        batch_size: windows in a batch.
    """

    def __init__(self, corpus: Corpus, split: str, batch_size: int):
        self.batch_size = batch_size
        self.pieces = pieces_of(corpus, split)
        self.counts = np.array(
            [corpus.pieces[i].num_notes for i in self.pieces]
        )

    def rows(self, step: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draws the windows of any step with `rng`, (batch, 4)."""
        bounds = np.cumsum(self.counts)
        drawn = rng.integers(bounds[-1], size=self.batch_size)
        chosen = np.searchsorted(bounds, drawn, "right")
        counts = self.counts[chosen]
        notes = drawn - bounds[chosen] + counts
        return np.stack(
            [self.pieces[chosen], notes, np.full_like(notes, -1), counts],
            axis=1,
        )


class Passes:
    """Windows of pass after pass over a split, each cut anew.

    Args:
        tiling: a `Tiling` of the split.
        batch_size: windows in a batch.
        seed: a pass follows from the seed and its number alone.

    Attributes:
        steps: whole batches in a pass, or 1 if the split fills none.
    """

    def __init__(self, tiling: "Tiling", batch_size: int, seed: int):
        self.tiling = tiling
        self.batch_size = batch_size
        self.seed = seed
        self.steps = max(1, len(tiling) // batch_size)
        self.known: dict[int, NDArray[np.int64]] = {}

    def rows(self, step: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Returns the windows of a step, (batch, 4)."""
        number, step = divmod(step, self.steps)
        rows = self.known.get(number)
        if rows is None:
            rows = self._draw(number)
            # Threads may still ask for the pass before.
            known = {n: r for n, r in self.known.items() if n == number - 1}
            self.known = known | {number: rows}
        return rows[step * self.batch_size :][: self.batch_size]

    def _draw(self, number: int) -> NDArray[np.int64]:
        # The last number is not 0, because NumPy ignores zeros at the end, and
        # (seed, number) alone seeds the other draws of a step.
        rng = np.random.default_rng((self.seed, number, 0, 1))
        rows = self.tiling.draw(rng)
        while len(rows) < self.steps * self.batch_size:
            rows = np.concatenate([rows, self.tiling.draw(rng)])
        return rows


class Tiling:
    """A split's pieces, cut at note-ons into windows that share no event.

    A piece is cut at isolated notes, if there are any within an eighth of a
    window: no other note begins or ends just before or after them. The windows
    on both sides of such a cut agree on the events that come before it, even
    if they are stretched differently. Elsewhere a piece is cut at any note.

    `len` is the number of windows in a pass.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: most events of a window.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        vocabulary: EventVocabulary,
        sequence_length: int,
    ):
        self.pieces = pieces_of(corpus, split)
        self.size = sequence_length
        # Notes and events are counted through all pieces of the split.
        counts = np.array([corpus.pieces[i].num_notes for i in self.pieces])
        self.first_notes = np.append(0, np.cumsum(counts))  # (pieces + 1,)
        self.first_events = np.zeros_like(self.first_notes)
        # Number of events up to each note-on, (notes,).
        self.events = np.empty(self.first_notes[-1], np.int64)
        isolated = np.empty(self.first_notes[-1], np.bool_)
        for i, piece in enumerate(self.pieces):
            notes = slice(*self.first_notes[i : i + 2])
            ons, length, isolated[notes] = _measure(
                corpus.packed_notes(piece), vocabulary
            )
            self.events[notes] = self.first_events[i] + ons
            self.first_events[i + 1] = self.first_events[i] + length
        # The isolated note at or before each note, or note 0.
        indices = np.arange(len(isolated), dtype=np.int32)
        self.isolated = np.maximum.accumulate(np.where(isolated, indices, 0))
        self.num_events = np.diff(self.first_events)  # (pieces,)
        self.num_windows = -(-self.num_events // self.size)  # (pieces,)

    def __len__(self) -> int:
        return int(self.num_windows.sum())

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draws the windows of a pass, in random order, (windows, 4).

        Only the first and the last window of a piece are shorter than others.
        If many events lie between two note-ons, a short window may be empty.
        """
        cuts = self._cuts(rng)
        # Each cut ends one window and begins the next.
        stops = np.cumsum(self.num_windows)
        begins = np.delete(np.arange(len(self)), stops - self.num_windows)
        rows = np.empty((len(self), 4), np.int64)
        rows[:, 0] = np.repeat(self.pieces, self.num_windows)
        rows[:, 1:3] = -1
        rows[stops - 1, 3] = np.diff(self.first_notes)
        rows[begins, 1] = cuts - 1
        rows[begins, 2] = cuts
        rows[begins - 1, 3] = cuts
        return rng.permutation(rows)

    def _cuts(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draws the notes at which pieces are cut, counted in each piece."""
        # The size of a piece's first window is random, and with it all cuts.
        rest = self.num_events - (self.num_windows - 1) * self.size
        sizes = rest + rng.random(len(rest)) * (self.size - rest)
        piece = np.repeat(np.arange(len(rest)), self.num_windows - 1)
        number = np.arange(len(piece)) - np.searchsorted(piece, piece)
        wanted = self.first_events[piece] + sizes[piece] + number * self.size
        cuts = np.searchsorted(self.events, wanted)
        cuts = np.minimum(cuts, self.first_notes[piece + 1] - 1)
        first = self.first_notes[piece]
        before = np.where(number > 0, np.roll(cuts, 1), first)
        isolated = self.isolated[cuts]
        is_near = self.events[cuts] - self.events[isolated] <= self.size // 8
        return np.where(is_near & (isolated > before), isolated, cuts) - first


def _measure(
    notes: NDArray[np.void], vocabulary: EventVocabulary
) -> tuple[NDArray[np.int64], int, NDArray[np.bool_]]:
    """Measures a piece for its cuts.

    Returns:
        The number of events up to each note-on, (notes,); the number of all
        events, with the end id; and which notes are isolated, (notes,).
    """
    starts, ends = notes["start"] / UNITS, packed_ends(notes) / UNITS
    events = vocabulary.encode_runs(
        starts,
        ends,
        notes["pitch"].astype(np.int64),
        notes["velocity"],
        np.array([len(notes)]),
    )
    ons = np.maximum.accumulate(events.ons) + 1
    ticks = vocabulary.to_ticks(starts), vocabulary.to_ticks(ends)
    return ons, len(events.ids) + 1, _isolated(*ticks)


def _isolated(
    starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which starts have no other start and no end near them, (notes,).

    Args:
        starts: in ticks, sorted.
        ends: in ticks.
    """
    is_far = np.diff(starts) >= TICKS_APART
    isolated = np.append(True, is_far) & np.append(is_far, True)
    ends = np.sort(ends)
    before = np.searchsorted(ends, starts - TICKS_APART, "right")
    return isolated & (before == np.searchsorted(ends, starts + TICKS_APART))
