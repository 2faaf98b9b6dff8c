"""A corpus as batches of event windows: random to train, plain to evaluate.

Every batch is `(x, y, sample_weight)`, as Keras takes it:

- `x["token_ids"]`: int32, (batch, sequence_length).
- `x["padding_mask"]`: bool, (batch, sequence_length): False on padding.
- `y`: int32, (batch, sequence_length): the id after each of `x`'s.
- `sample_weight`: float32, (batch, sequence_length): 0 where no id follows.

Notes are augmented and become events as they are asked for, a whole batch
with one sort. Nothing here knows of models, layers or backends.
"""

from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_pianogen.corpus import UNITS
from keras_pianogen.corpus import Corpus
from keras_pianogen.corpus import packed_ends
from keras_pianogen.events import MAX_VELOCITY
from keras_pianogen.events import EventVocabulary

# The piano's lowest and highest key: transposition never leaves them.
LOWEST_PITCH = 21
HIGHEST_PITCH = 108
# A first guess, which nothing but speed rests on: MAESTRO has 4.1.
EVENTS_PER_NOTE = 4

Batch = tuple[
    dict[str, NDArray[Any]], NDArray[np.int32], NDArray[np.float32]
]  # fmt: skip


class Draw(NamedTuple):
    """Where the windows of one batch begin, and how each is augmented.

    Args:
        pieces: index of each window's piece in the corpus, (batch,).
        notes: index of a note in that piece, (batch,): the window begins
            between its note-on and the next. -1: where the piece begins.
        places: where in between, from 0 to 1, (batch,).
        semitones: transposition, before it is held within the piano.
        stretches: factor on all times, above 1 is slower.
        velocities: added to MIDI velocities, then held within 1 to 127.
    """

    pieces: NDArray[np.int64]
    notes: NDArray[np.int64]
    places: NDArray[np.float64]
    semitones: NDArray[np.int64]
    stretches: NDArray[np.float64]
    velocities: NDArray[np.int64]


class EventWindows(keras.utils.PyDataset):
    """Random windows of a split's events, augmented, for training.

    A window is a cut of a piece's true events. It begins at a random event:
    each note of the split is equally likely to be the one it begins at.
    Where it begins with its piece, it starts with the start id; where the
    piece is over, it goes on with the end id, then padding. Pieces are begun
    so often that their first event is seen as often as any other.

    The same seed and step give the same batch, whatever was drawn before.
    An epoch has `steps` steps; each epoch that Keras runs to its last batch
    moves on to the next `steps`, so no batch is ever seen twice.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: ids in a row of `x`, 1 or more.
        batch_size: rows in a batch.
        steps: batches in an epoch; if None, about one pass over the split.
        seed: integer of 0 or more.
        first_step: step of the first batch: a run that stopped after `n`
            steps goes on with `first_step=n`.
        augment: whether to augment at all.
        transpose: semitones up or down, at most; less where a note would
            leave the piano (21 to 108).
        stretch: tempo changes by a factor from `1 - stretch` to
            `1 + stretch`, 0 to 0.5.
        velocity: added to all velocities of a window, up or down, at most.
        workers: threads that prepare the next batches; 0: none.
        max_queue_size: batches prepared ahead, at most.

    Call arguments:
        index: a batch of this epoch, 0 to `steps` - 1.

    Examples:
        >>> windows = EventWindows(corpus, vocabulary=vocabulary)  # doctest: +SKIP
        >>> model.fit(windows, epochs=10)  # doctest: +SKIP
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str = "train",
        *,
        vocabulary: EventVocabulary,
        sequence_length: int = 1024,
        batch_size: int = 16,
        steps: int | None = None,
        seed: int = 0,
        first_step: int = 0,
        augment: bool = True,
        transpose: int = 3,
        stretch: float = 0.05,
        velocity: int = 6,
        workers: int = 1,
        max_queue_size: int = 4,
    ):
        # Keras's own queue repeats batches after a broken epoch, so it is
        # not used: threads of ours work ahead, by step.
        super().__init__(workers=1)
        _check_sizes(sequence_length=sequence_length, batch_size=batch_size)
        if not 0 <= stretch <= 0.5:
            raise ValueError(
                f"`stretch` must be 0 to 0.5. Received: stretch={stretch}"
            )
        self.corpus = corpus
        self.split = split
        self.vocabulary = vocabulary
        self.sequence_length = sequence_length
        self.batch_size = batch_size
        self.seed = seed
        self.first_step = first_step
        self.augment = augment
        self.transpose = transpose
        self.stretch = stretch
        self.velocity = velocity
        self._notes = _SplitNotes(corpus, split, vocabulary.time_step)
        self.steps = steps or self._notes.steps(sequence_length * batch_size)
        self._ahead = _Ahead(self.batch, workers, max_queue_size)
        self._in_epoch = False
        self._saw_last = False

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.steps:
            raise IndexError(
                f"`index` must be 0 to {self.steps - 1}. "
                f"Received: index={index}"
            )
        batch = self._ahead.get(self.first_step + index)
        self._saw_last |= index == self.steps - 1
        return batch

    def on_epoch_begin(self) -> None:
        self._in_epoch = True
        self._saw_last = False

    def on_epoch_end(self) -> None:
        # Keras also ends epochs that it did not begin, or that it broke off
        # after one batch, to build a model. They don't count.
        if self._in_epoch and self._saw_last:
            self.first_step += self.steps
        self._in_epoch = False

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from the start of training."""
        return self.cut(self.draw(step))

    def draw(self, step: int) -> Draw:
        """Draws the windows of a step, from the seed and the step alone."""
        rng = np.random.default_rng((self.seed, step))
        size = self.batch_size
        pieces, notes = self._notes.draw(rng, size, self.sequence_length)
        places = rng.random(size)
        if not self.augment:
            zeros = np.zeros(size, np.int64)
            return Draw(pieces, notes, places, zeros, np.ones(size), zeros)
        return Draw(
            pieces,
            notes,
            places,
            rng.integers(-self.transpose, self.transpose + 1, size),
            1 + self.stretch * rng.uniform(-1, 1, size),
            rng.integers(-self.velocity, self.velocity + 1, size),
        )

    def cut(self, draw: Draw) -> Batch:
        """The batch that holds the drawn windows."""
        first = draw.notes + (draw.notes < 0)
        reach = np.full(len(first), self.sequence_length // EVENTS_PER_NOTE + 8)
        while True:
            rows, short = self._cut(draw, first, reach)
            if not short.any():
                return as_batch(rows, self.vocabulary.pad_id)
            reach[short] *= 2

    def _cut(
        self,
        draw: Draw,
        first: NDArray[np.int64],
        reach: NDArray[np.int64],
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Rows of ids, and which of them would need more notes.

        Each run of notes: those that sound where the window begins, then
        `reach` notes from note `first` on, and one more, the sentinel. What
        comes before the sentinel's step in the events is what the whole
        piece would give.
        """
        notes, counts, heads, whole = self._notes.runs(
            draw.pieces, first, reach
        )
        begins = draw.notes < 0
        run = np.repeat(np.arange(len(counts)), counts)
        heads_of_runs = np.cumsum(counts) - counts
        tails = np.cumsum(counts) - 1
        starts = notes["start"] / UNITS * draw.stretches[run]
        ends = packed_ends(notes) / UNITS * draw.stretches[run]
        pitches = notes["pitch"] + _within_piano(
            notes["pitch"], draw.semitones, heads_of_runs
        )[run].astype(np.int64)
        velocities = np.clip(
            notes["velocity"] + draw.velocities[run], 1, MAX_VELOCITY
        )
        to_steps = self.vocabulary.to_steps
        origins = np.where(begins, 0, to_steps(starts[heads_of_runs]))
        ids, bounds, ons = self.vocabulary.encode_runs(
            starts, ends, pitches, velocities, counts, origins
        )
        # Where each window begins in `ids`: between two note-ons.
        on = ons[heads_of_runs + heads]
        sorted_ons = np.append(np.sort(ons), len(ids))
        next_on = sorted_ons[np.searchsorted(sorted_ons, on, "right")]
        next_on = np.minimum(next_on, bounds[1:])
        begin = on + (draw.places * (next_on - on)).astype(np.int64)
        begin = np.where(begins, bounds[:-1] - 1, begin)
        # Up to where `ids` are the piece's own.
        step = self.vocabulary.time_step
        early = starts < starts[tails][run] - 2 * step
        num_early = np.add.reduceat(early, heads_of_runs)
        last = ons[heads_of_runs + np.maximum(num_early - 1, 0)] + 1
        sure = np.where(num_early > 0, last, 0)
        short = ~whole & (sure < begin + self.sequence_length + 1)
        stop = np.where(whole, bounds[1:], len(ids) + 2)
        return self._rows(ids, begin, stop, begins), short

    def _rows(
        self,
        ids: NDArray[np.int32],
        begin: NDArray[np.int64],
        stop: NDArray[np.int64],
        begins: NDArray[np.bool_],
    ) -> NDArray[np.int32]:
        """Cuts windows from `ids`; a piece ends at `stop`."""
        width = self.sequence_length + 1
        place = begin[:, None] + np.arange(width)  # (batch, width)
        rows = ids.take(place, mode="clip")
        rows[begins, 0] = self.vocabulary.start_id
        over = np.flatnonzero(stop < begin + width)
        beyond = place[over] - stop[over, None]
        rows[over] = np.where(
            beyond < 0,
            rows[over],
            np.where(beyond, self.vocabulary.pad_id, self.vocabulary.end_id),
        )
        return rows


class EvaluationWindows(keras.utils.PyDataset):
    """Windows that cover every event of a split exactly once, unaugmented.

    Each piece is its start id, its events and its end id; all but the start
    id are targets once. A piece's first window has weights of 1 throughout;
    each later one overlaps the one before by `sequence_length - stride` ids
    of context, which weigh 0. The sum of all weights is `num_events`.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: ids in a row of `x`, 1 or more.
        stride: new targets in each later window, 1 to `sequence_length`;
            half of `sequence_length` if None. Smaller gives more context.
        batch_size: rows in a batch; the last batch is filled with rows that
            weigh 0.

    Attributes:
        num_events: targets in the split: its events, and an end id a piece.
        num_notes: notes in the split.
        seconds: length of the split's pieces together.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str = "validation",
        *,
        vocabulary: EventVocabulary,
        sequence_length: int = 1024,
        stride: int | None = None,
        batch_size: int = 16,
    ):
        super().__init__(workers=1)
        _check_sizes(sequence_length=sequence_length, batch_size=batch_size)
        if stride is None:
            stride = max(sequence_length // 2, 1)
        if not 1 <= stride <= sequence_length:
            raise ValueError(
                f"`stride` must be 1 to {sequence_length}, "
                f"`sequence_length`. Received: stride={stride}"
            )
        self.corpus = corpus
        self.split = split
        self.vocabulary = vocabulary
        self.sequence_length = sequence_length
        self.stride = stride
        self.batch_size = batch_size
        self.pieces = _pieces_of(corpus, split)
        self.num_notes = sum(corpus.pieces[i].num_notes for i in self.pieces)
        self.seconds = sum(corpus.pieces[i].seconds for i in self.pieces)

    @cached_property
    def _events(self) -> list[NDArray[np.unsignedinteger]]:
        """Start id, events and end id of each piece, compactly."""
        v = self.vocabulary
        dtype = np.min_scalar_type(len(v))
        return [
            np.concatenate(
                [[v.start_id], v.encode(self.corpus.notes(i)), [v.end_id]]
            ).astype(dtype)
            for i in self.pieces
        ]

    @cached_property
    def _windows(self) -> NDArray[np.int64]:
        """Piece and first id of each window, (windows, 2)."""
        windows = []
        for piece, events in enumerate(self._events):
            left = max(len(events) - 1 - self.sequence_length, 0)
            count = 1 + -(-left // self.stride)
            begins = np.arange(count) * self.stride
            windows.append(
                np.stack([np.full(count, piece), begins], axis=1)
            )
        return np.concatenate(windows)

    @property
    def num_events(self) -> int:
        return sum(len(events) - 1 for events in self._events)

    def __len__(self) -> int:
        return -(-len(self._windows) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(
                f"`index` must be 0 to {len(self) - 1}. Received: index={index}"
            )
        width = self.sequence_length + 1
        rows = np.full(
            (self.batch_size, width), self.vocabulary.pad_id, np.int32
        )
        first = index * self.batch_size
        windows = self._windows[first : first + self.batch_size]
        for row, (piece, begin) in zip(rows, windows, strict=False):
            events = self._events[piece][begin : begin + width]
            row[: len(events)] = events
        x, y, weight = as_batch(rows, self.vocabulary.pad_id)
        later = np.flatnonzero(windows[:, 1] > 0)
        weight[later, : self.sequence_length - self.stride] = 0
        return x, y, weight


def as_batch(rows: NDArray[np.int32], pad_id: int) -> Batch:
    """Rows of ids, (batch, sequence_length + 1), as Keras's triple."""
    token_ids = np.ascontiguousarray(rows[:, :-1])
    y = np.ascontiguousarray(rows[:, 1:])
    x = {"token_ids": token_ids, "padding_mask": token_ids != pad_id}
    return x, y, (y != pad_id).astype(np.float32)


class _SplitNotes:
    """The notes of a split, and which of them sound at each onset."""

    def __init__(self, corpus: Corpus, split: str, time_step: float):
        self.pieces = _pieces_of(corpus, split)
        self.packed = corpus.packed
        table = [corpus.pieces[i] for i in self.pieces]
        self.first = np.array([piece.first_note for piece in table])
        self.count = np.array([piece.num_notes for piece in table])
        # Pieces are asked for by their index in the corpus.
        self.rank = np.full(len(corpus), -1)
        self.rank[self.pieces] = np.arange(len(table))
        # A note that ended this long ago has no event left to come.
        self.margin = int(np.ceil(4 * time_step * UNITS))
        self.held_first = np.cumsum(self.count) - self.count
        self.held = np.concatenate([self._held(i) for i in self.pieces_range])

    @property
    def pieces_range(self) -> range:
        return range(len(self.pieces))

    def _held(self, piece: int) -> NDArray[np.int32]:
        """How far before each note the earliest that still sounds lies."""
        first = self.first[piece]
        notes = self.packed[first : first + self.count[piece]]
        latest_end = np.maximum.accumulate(packed_ends(notes))
        since = notes["start"].astype(np.int64) - self.margin
        earliest = np.searchsorted(latest_end, since)
        index = np.arange(len(notes))
        return (index - np.minimum(earliest, index)).astype(np.int32)

    def steps(self, events_per_step: int) -> int:
        """Steps in about one pass."""
        events = int(self.count.sum()) * EVENTS_PER_NOTE
        return max(-(-events // events_per_step), 1)

    def draw(
        self, rng: np.random.Generator, size: int, sequence_length: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draws pieces and notes; note -1 stands for a piece's beginning.

        A piece begins with the chance of about `sequence_length` events, so
        that its first event lies in as many windows as any other does.
        """
        lead = np.minimum(self.count, 1 + sequence_length // EVENTS_PER_NOTE)
        chances = np.cumsum(self.count + lead)
        ticket = rng.integers(chances[-1], size=size)
        piece = np.searchsorted(chances, ticket, "right")
        note = ticket - chances[piece] + self.count[piece]
        return self.pieces[piece], np.maximum(note, -1)

    def runs(
        self,
        pieces: NDArray[np.int64],
        notes: NDArray[np.int64],
        reach: NDArray[np.int64],
    ) -> tuple[
        NDArray[np.void],
        NDArray[np.int64],
        NDArray[np.int64],
        NDArray[np.bool_],
    ]:
        """For each window the notes that sound at `notes`, and what follows.

        Returns:
            The notes of all windows, packed; how many each window has; the
            place of `notes` among them; and whether the piece ends there.
        """
        piece = self.rank[pieces]
        held = self.held[self.held_first[piece] + notes]
        stop = np.minimum(notes + reach + 1, self.count[piece])
        counts = held + stop - notes
        begin = self.first[piece] + notes - held
        packed = np.concatenate(
            [
                self.packed[b : b + n]
                for b, n in zip(begin.tolist(), counts.tolist(), strict=True)
            ]
        )
        return packed, counts, held, stop == self.count[piece]


class _Ahead:
    """Computes `function(step)`, and the steps after it in threads."""

    def __init__(self, function: Any, workers: int, ahead: int):
        self.function = function
        self.workers = workers
        self.ahead = ahead
        self.pool: ThreadPoolExecutor | None = None
        self.futures: dict[int, Future[Any]] = {}

    def get(self, step: int) -> Any:
        if not self.workers:
            return self.function(step)
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.workers)
        wanted = range(step, step + self.ahead + 1)
        futures = {
            s: self.futures.get(s) or self.pool.submit(self.function, s)
            for s in wanted
        }
        for s, future in self.futures.items():
            if s not in futures:
                future.cancel()
        self.futures = futures
        return futures[step].result()


def _within_piano(
    pitches: NDArray[np.uint8],
    semitones: NDArray[np.int64],
    heads: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Transpositions cut down, run by run, so that no note leaves the piano.

    Runs that already lie outside it are not moved further out.
    """
    lowest = np.minimum.reduceat(pitches, heads).astype(np.int64)
    highest = np.maximum.reduceat(pitches, heads).astype(np.int64)
    down = np.minimum(LOWEST_PITCH - lowest, 0)
    up = np.maximum(HIGHEST_PITCH - highest, 0)
    return np.clip(semitones, down, up)


def _pieces_of(corpus: Corpus, split: str) -> NDArray[np.int64]:
    pieces = corpus.split(split)
    if not len(pieces):
        raise ValueError(
            f"`corpus` has no piece in the split {split!r}. "
            f"Received: {corpus.folder}"
        )
    return pieces


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"`{name}` must be 1 or more. Received: {size}")


__all__: Sequence[str] = ("EventWindows", "EvaluationWindows", "as_batch")
