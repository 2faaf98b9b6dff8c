"""A corpus as batches of event windows: random to train, plain to evaluate.

Every batch is `(x, y, sample_weight)`, as Keras takes it:

- `x["token_ids"]`: int32, (batch, sequence_length).
- `x["padding_mask"]`: bool, (batch, sequence_length), False on padding.
- `y`: int32, (batch, sequence_length): the id that follows each of `x`'s.
- `sample_weight`: float32, (batch, sequence_length), 0 where none follows.

Notes are augmented and become events when a batch is asked for, with one sort
for the whole batch. Times are in seconds, pitches in semitones. Nothing here
knows of models, layers or backends.
"""

from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.events import EventVocabulary

Batch = tuple[dict[str, NDArray[Any]], NDArray[np.int32], NDArray[np.float32]]


class Windows(keras.utils.PyDataset):
    """A data set whose batches all have one shape.

    Keras starts no threads for it: subclasses that work ahead have their own.

    Attributes:
        moves_on: whether each epoch takes up where the one before stopped, in
            order, whether or not Keras is told to shuffle.
    """

    moves_on = False

    def __init__(self) -> None:
        super().__init__(workers=1)


class EvaluationWindows(Windows):
    """Windows that cover every event of a split exactly once, unaugmented.

    A piece is its start id, its events and its end id; all but the start id
    are targets, once. A piece's first window has weights of 1; each later one
    overlaps the one before by `sequence_length - stride` ids of context,
    whose targets weigh 0. So all weights add up to `num_events`. Read the
    result from a metric in Keras's `weighted_metrics`: its `loss` divides by
    all positions, those that weigh 0 among them.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: ids in a row of `x`, 1 or more.
        stride: new targets in each later window, 1 to `sequence_length`:
            fewer leave more context. Defaults to half of `sequence_length`.
        batch_size: rows in a batch, 1 or more; the last batch is filled with
            rows that weigh 0.
        pieces: indices in `corpus.pieces` of those to read. Defaults to all
            of the split.

    Attributes:
        num_events: targets in the split: its events, and an end id a piece.
        num_notes: notes in the split.
        seconds: length of the split's pieces together.

    Examples:
        ```python
        windows = EvaluationWindows(corpus, "test", vocabulary=vocabulary)
        sum(weight.sum() for _, _, weight in windows) == windows.num_events
        ```
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
        pieces: ArrayLike | None = None,
    ):
        super().__init__()
        _check_least(1, sequence_length=sequence_length, batch_size=batch_size)
        if stride is None:
            stride = max(sequence_length // 2, 1)
        if not 1 <= stride <= sequence_length:
            raise ValueError(
                "`stride` must be 1 to `sequence_length`. Received: "
                f"stride={stride}, sequence_length={sequence_length}"
            )
        self.corpus = corpus
        self.split = split
        self.vocabulary = vocabulary
        self.sequence_length = sequence_length
        self.stride = stride
        self.batch_size = batch_size
        self._indices = _pieces_of(corpus, split)
        if pieces is not None:
            self._indices = self._indices[np.isin(self._indices, pieces)]
        chosen = [corpus.pieces[i] for i in self._indices]
        self.num_notes = sum(piece.num_notes for piece in chosen)
        self.seconds = sum(piece.seconds for piece in chosen)

    @cached_property
    def _pieces(self) -> list[NDArray[np.unsignedinteger[Any]]]:
        """All ids of each piece, in the smallest type that holds them."""
        vocabulary = self.vocabulary
        dtype = np.min_scalar_type(len(vocabulary))
        pieces = []
        for index in self._indices:
            events = vocabulary.encode(self.corpus.notes(index))
            ids = np.pad(events.astype(dtype), 1)
            ids[0], ids[-1] = vocabulary.start_id, vocabulary.end_id
            pieces.append(ids)
        return pieces

    @cached_property
    def _windows(self) -> NDArray[np.int64]:
        """Piece and first id of each window, (windows, 2)."""
        windows = []
        for piece, ids in enumerate(self._pieces):
            left = max(len(ids) - 1 - self.sequence_length, 0)
            begins = np.arange(1 + -(-left // self.stride)) * self.stride
            windows.append(np.stack([np.full_like(begins, piece), begins], 1))
        return np.concatenate(windows)

    @property
    def num_events(self) -> int:
        return sum(len(ids) - 1 for ids in self._pieces)

    def __len__(self) -> int:
        return -(-len(self._windows) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        _check_index(index, len(self))
        width = self.sequence_length + 1
        pad_id = self.vocabulary.pad_id
        rows = np.full((self.batch_size, width), pad_id, np.int32)
        windows = self._windows[index * self.batch_size :][: self.batch_size]
        for row, (piece, begin) in enumerate(windows):
            ids = self._pieces[piece][begin : begin + width]
            rows[row, : len(ids)] = ids
        x, y, sample_weight = _as_batch(rows, pad_id)
        later = np.flatnonzero(windows[:, 1])
        sample_weight[later, : self.sequence_length - self.stride] = 0
        return x, y, sample_weight


def whole_windows(
    corpus: Corpus,
    split: str,
    *,
    vocabulary: EventVocabulary,
    sequence_length: int,
    count: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Windows that lie whole within a piece, evenly from all of a split.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: events of each window; they don't overlap.
        count: how many windows, if the split has so many.

    Returns:
        Ids, an array of shape (windows, sequence_length) without special
        ones, and the index in `corpus.pieces` of each window's piece.
    """
    _check_least(1, sequence_length=sequence_length, count=count)
    indices = _pieces_of(corpus, split)
    places: list[tuple[int, int]] = []
    encoded = {}
    for index in indices:
        encoded[index] = vocabulary.encode(corpus.notes(index))
        whole = len(encoded[index]) // sequence_length
        places += [(index, i * sequence_length) for i in range(whole)]
    chosen = np.arange(min(count, len(places))) * len(places)
    chosen //= max(min(count, len(places)), 1)
    rows = np.empty((len(chosen), sequence_length), np.int32)
    pieces = np.empty(len(chosen), np.int64)
    for row, place in enumerate(chosen):
        pieces[row], begin = places[place]
        rows[row] = encoded[pieces[row]][begin : begin + sequence_length]
    return rows, pieces


def _as_batch(rows: NDArray[np.int32], pad_id: int) -> Batch:
    """Rows of ids, (batch, sequence_length + 1), as Keras takes them."""
    token_ids = np.ascontiguousarray(rows[:, :-1])
    y = np.ascontiguousarray(rows[:, 1:])
    x = {"token_ids": token_ids, "padding_mask": token_ids != pad_id}
    return x, y, (y != pad_id).astype(np.float32)


def _pieces_of(corpus: Corpus, split: str) -> NDArray[np.int64]:
    pieces = corpus.split(split)
    if not len(pieces):
        raise ValueError(
            f"`corpus` must have pieces in the split {split!r}. "
            f"Received: {corpus.folder}, without any"
        )
    return pieces


def _check_index(index: int, length: int) -> None:
    if not 0 <= index < length:
        raise IndexError(
            f"`index` must be 0 to {length - 1}. Received: index={index}"
        )


def _check_least(least: int, **arguments: int) -> None:
    for name, value in arguments.items():
        if value < least:
            raise ValueError(
                f"`{name}` must be {least} or more. Received: {name}={value}"
            )
