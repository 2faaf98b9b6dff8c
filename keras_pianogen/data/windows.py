"""A corpus as batches of windows, and every event of a split to evaluate.

A window is a cut of the events of a piece. Every batch is
`(x, y, sample_weight)`, as Keras takes it:

- `x["token_ids"]`: int32, (batch, sequence_length).
- `x["padding_mask"]`: bool, (batch, sequence_length), False on padding.
- `y`: int32, (batch, sequence_length): the id that follows each id of `x`.
- `sample_weight`: float32, (batch, sequence_length): 0 where no id follows,
  and where a target counts in another window.

Windows know nothing of models, layers or backends.
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

    A piece is its start id, its events and its end id. Each of them but the
    start id is a target once. All weights of a piece's first window are 1. A
    later window begins with `sequence_length - stride` ids of the window
    before, as context, and the weights of those targets are 0. So all weights
    add up to `num_events`.

    Read the result from a metric in Keras's `weighted_metrics`: Keras's `loss`
    is a mean over all positions, including those whose weight is 0.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: ids in a row of `x`, 1 or more.
        stride: new targets in each later window, 1 to `sequence_length`. A
            shorter stride leaves more context. Defaults to half of
            `sequence_length`.
        batch_size: rows in a batch, 1 or more. The last batch is filled with
            rows whose weights are 0.
        pieces: indices in `corpus.pieces` of the pieces to evaluate on.
            Defaults to all pieces of the split.

    Attributes:
        indices: indices in `corpus.pieces` of the pieces.
        num_events: number of targets: the events, and an end id a piece.
        num_notes: number of notes.
        seconds: length of all pieces together.

    Examples:
        ```python
        windows = EvaluationWindows(corpus, "test", vocabulary=vocabulary)
        sum(weight.sum() for _, _, weight in windows) == windows.num_events
        ```
    """

    unit = "event"  # what is predicted at a position

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
        check_least(1, sequence_length=sequence_length, batch_size=batch_size)
        self.corpus = corpus
        self.split = split
        self.vocabulary = vocabulary
        self.sequence_length = sequence_length
        self.stride = check_stride(stride, sequence_length)
        self.batch_size = batch_size
        self.indices = chosen_pieces(corpus, split, pieces)
        chosen = [corpus.pieces[i] for i in self.indices]
        self.num_notes = sum(piece.num_notes for piece in chosen)
        self.seconds = sum(piece.seconds for piece in chosen)

    @cached_property
    def _pieces(self) -> list[NDArray[np.unsignedinteger[Any]]]:
        """All ids of each piece, in the smallest type that holds them."""
        vocabulary = self.vocabulary
        dtype = np.min_scalar_type(len(vocabulary))
        pieces = []
        for index in self.indices:
            events = vocabulary.encode(self.corpus.notes(index))
            ids = np.pad(events.astype(dtype), 1)
            ids[0], ids[-1] = vocabulary.start_id, vocabulary.end_id
            pieces.append(ids)
        return pieces

    @cached_property
    def _windows(self) -> NDArray[np.int64]:
        """Piece and first id of each window, (windows, 2)."""
        counts = [len(ids) - 1 for ids in self._pieces]
        return window_begins(counts, self.sequence_length, self.stride)

    @property
    def num_events(self) -> int:
        return sum(len(ids) - 1 for ids in self._pieces)

    def __len__(self) -> int:
        return -(-len(self._windows) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        check_index(index, len(self))
        width = self.sequence_length + 1
        pad_id = self.vocabulary.pad_id
        rows = np.full((self.batch_size, width), pad_id, np.int32)
        windows = self._windows[index * self.batch_size :][: self.batch_size]
        for row, (piece, begin) in enumerate(windows):
            ids = self._pieces[piece][begin : begin + width]
            rows[row, : len(ids)] = ids
        x, y, sample_weight = as_batch(rows, pad_id)
        later = np.flatnonzero(windows[:, 1])
        sample_weight[later, : self.sequence_length - self.stride] = 0
        return x, y, sample_weight

    def transposed(self, batch: Batch, semitones: int) -> Batch:
        """A batch of these windows, its pitches moved by semitones."""
        x, y, sample_weight = batch
        ids = self.vocabulary.transpose(x["token_ids"], semitones)
        y = self.vocabulary.transpose(y, semitones)
        return x | {"token_ids": ids}, y, sample_weight


def whole_windows(
    corpus: Corpus,
    split: str,
    *,
    vocabulary: EventVocabulary,
    sequence_length: int,
    count: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Returns windows without special ids, taken evenly from all of a split.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: events in each window. Windows don't overlap.
        count: number of windows. If the split has fewer, all are returned.

    Returns:
        Ids, an array of shape (windows, sequence_length), and the index in
        `corpus.pieces` of each window's piece, (windows,).
    """
    check_least(1, sequence_length=sequence_length, count=count)
    begins: list[tuple[int, int]] = []  # piece, first event
    encoded = {}
    for index in pieces_of(corpus, split):
        encoded[index] = vocabulary.encode(corpus.notes(index))
        fitting = len(encoded[index]) // sequence_length
        begins += [(index, i * sequence_length) for i in range(fitting)]
    count = min(count, len(begins))
    rows = np.empty((count, sequence_length), np.int32)
    pieces = np.empty(count, np.int64)
    for row in range(count):
        pieces[row], begin = begins[row * len(begins) // count]
        rows[row] = encoded[pieces[row]][begin : begin + sequence_length]
    return rows, pieces


def as_batch(rows: NDArray[np.int32], pad_id: int) -> Batch:
    """Rows of ids, (batch, sequence_length + 1), as Keras takes them."""
    token_ids = np.ascontiguousarray(rows[:, :-1])
    y = np.ascontiguousarray(rows[:, 1:])
    x = {"token_ids": token_ids, "padding_mask": token_ids != pad_id}
    return x, y, (y != pad_id).astype(np.float32)


def pieces_of(corpus: Corpus, split: str) -> NDArray[np.int64]:
    """Indices of the pieces of a split, which must have some."""
    pieces = corpus.split(split)
    if not len(pieces):
        raise ValueError(
            f"`corpus` must have pieces in the split {split!r}. "
            f"Received: {corpus.folder}, without any"
        )
    return pieces


def chosen_pieces(
    corpus: Corpus, split: str, pieces: ArrayLike | None
) -> NDArray[np.int64]:
    """Indices of those pieces of a split that are among `pieces`, or of all."""
    indices = pieces_of(corpus, split)
    return indices if pieces is None else indices[np.isin(indices, pieces)]


def window_begins(
    counts: list[int], sequence_length: int, stride: int
) -> NDArray[np.int64]:
    """Windows that cover pieces of `counts` targets each.

    Returns:
        Index of the piece and first target of each window, (windows, 2).
    """
    windows = []
    for piece, count in enumerate(counts):
        left = max(count - sequence_length, 0)
        begins = np.arange(1 + -(-left // stride)) * stride
        windows.append(np.stack([np.full_like(begins, piece), begins], 1))
    return np.concatenate(windows)


def check_stride(stride: int | None, sequence_length: int) -> int:
    """The stride, or half of `sequence_length` if it is `None`."""
    if stride is None:
        return max(sequence_length // 2, 1)
    if not 1 <= stride <= sequence_length:
        raise ValueError(
            "`stride` must be 1 to `sequence_length`. Received: "
            f"stride={stride}, sequence_length={sequence_length}"
        )
    return stride


def check_index(index: int, length: int) -> None:
    if not 0 <= index < length:
        raise IndexError(
            f"`index` must be 0 to {length - 1}. Received: index={index}"
        )


def check_least(least: int, **arguments: int) -> None:
    for name, value in arguments.items():
        if value < least:
            raise ValueError(
                f"`{name}` must be {least} or more. Received: {name}={value}"
            )
