"""Random windows of a corpus, augmented, to train on.

An example: a piece of nine notes, 0.4 s apart. Note 0 sounds for 1.7 s, each
of the others for 0.2 s. These are its ids in the vocabulary "pno-ai", and the
windows of `sequence_length=20` into which one pass cuts them:

    ids       Sv0_v1_1_v2_2_v3_3_v4_0_4_v5_5_v6_6_v7_7_v8_8EP
    window 0  -##########----------
    window 1           --#################--
    window 2                            --##################-

    S, E, P  start, end, padding
    v, _     velocity, time shift
    0 to 8   note-on of that note; where it comes again, its note-off
    #        target of the window
    -        id that is in the window, but no target: its weight is 0

This pass cuts the piece at the note-ons of notes 2 and 5. Each window follows
from three of the numbers in `cutting.Draw`. -1 stands for the beginning of the
piece; 9, its number of notes, stands for its end.

| window | from note-on `notes` | targets after `first` | up to `until` |
| --- | --- | --- | --- |
| 0 | -1 | -1 | 2 |
| 1 | 1 | 2 | 5 |
| 2 | 4 | 5 | 9 |

- Every event is a target once. The next pass cuts the piece at other notes.
- Window 1 begins at a random event between the note-ons of notes 1 and 2, so
  that models learn to begin at any event. Note 0 still sounds there, and its
  note-off is a target. So notes are encoded from note 0 on.
- Window 0 has room for more events than its targets. These are targets of
  window 1.
- With `whole`, a window that holds S, E or P would be drawn again.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.augmentation import NO_AUGMENTATION
from keras_pianogen.data.augmentation import Augmentation
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.cutting import Cutter
from keras_pianogen.data.cutting import Draw
from keras_pianogen.data.read_ahead import ReadAhead
from keras_pianogen.data.tiling import Anywhere
from keras_pianogen.data.tiling import Passes
from keras_pianogen.data.tiling import Tiling
from keras_pianogen.data.windows import Batch
from keras_pianogen.data.windows import Windows
from keras_pianogen.data.windows import as_batch
from keras_pianogen.data.windows import check_index
from keras_pianogen.data.windows import check_least
from keras_pianogen.events import EventVocabulary

# To build a model, Keras takes no more batches than this from an epoch.
MOST_TO_BUILD = 3
# How often a window is drawn until it lies within its piece.
MOST_ATTEMPTS = 100


class TrainingWindows(Windows):
    """Batches that follow from their step alone, and move on with each epoch.

    A subclass has a method `batch(step)`, and the number of `steps` of an
    epoch.

    Args:
        first_step: step of the first batch.
        workers: threads that prepare the next batches, or 0 for none.
        max_queue_size: most batches prepared ahead.
    """

    moves_on = True
    steps: int

    def __init__(self, first_step: int, workers: int, max_queue_size: int):
        super().__init__()
        check_least(0, first_step=first_step, workers=workers)
        self.first_step = first_step
        # Keras's own queue would give batches twice after an interrupted epoch.
        self._ahead = ReadAhead(self.batch, workers, max_queue_size)
        # Batches given in this epoch, or None between epochs.
        self._given: int | None = None

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, counted from 0 at training's start."""
        raise NotImplementedError

    def from_step(self, first_step: int) -> Windows:
        """Returns the same batches from a step on, without end.

        Give it to `fit` with `steps_per_epoch`: each epoch goes on where the
        one before stopped. These windows are not changed by it. To go on after
        an interruption, call `from_step` again.

        Args:
            first_step: step of the first batch, 0 or more.
        """
        check_least(0, first_step=first_step)
        return _EndlessWindows(self, first_step)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        check_index(index, self.steps)
        if self._given is not None:
            # Keras may have shuffled the epoch, but steps go in order.
            index = self._given
            self._given += 1
        return self._ahead.get(self.first_step + index)

    def on_epoch_begin(self) -> None:
        self._given = 0

    def on_epoch_end(self) -> None:
        # Keras also begins an epoch to build a model from a few batches, which
        # must be given again, and ends epochs that it did not begin.
        given = self._given or 0
        if given >= min(self.steps, MOST_TO_BUILD + 1):
            self.first_step += given
        self._given = None


class EventWindows(TrainingWindows):
    """Random windows of a split's events, augmented, for training.

    A window is a cut of its piece's true events. In a pass over the split no
    event is a target twice, and nearly every one is a target once: pieces are
    cut at random notes, which differ from pass to pass, and windows come in
    random order. A window begins at any event, a few events before its cut,
    and holds as many events after its next cut as its length leaves room for.
    The weights of both are 0.

    A window that begins with its piece starts with the start id. After the
    end of a piece comes the end id, then padding. (In music so dense that
    notes a few milliseconds apart must be cut, an event beside the cut may be
    a target of both windows or of neither, if they are stretched differently.)

    The same seed and step give the same batch, whatever was drawn before. An
    epoch has `steps` steps, and each epoch of training moves on to the next
    `steps`, so that no batch is used twice. Steps are trained on in order,
    whether or not `fit` is told to shuffle.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: ids in a row of `x`, 1 or more.
        batch_size: rows in a batch, 1 or more.
        steps: batches in an epoch, 1 or more. Defaults to one pass over the
            split, without the windows that its last batch would lack.
        seed: whole number, 0 or more.
        first_step: step of the first batch, 0 or more. A run that was stopped
            after `n` steps goes on with `first_step=n`.
        augment: whether to augment.
        transpose: most semitones up or down, 0 or more; fewer where a note of
            the window would leave the piano (21 to 108).
        stretch: times are multiplied by `1 - stretch` to `1 + stretch`; 0 to
            0.5.
        velocity: most that is added to or taken from MIDI velocities, 0 or
            more.
        whole: whether all windows lie within their pieces, so that none holds
            a start id, an end id or padding. Each of them then begins
            anywhere, whatever was drawn before, and all its events are
            targets.
        part: a pair, the index of a part of each batch, and the number of
            parts. The other parts belong to other processes. Defaults to the
            whole batch.
        workers: threads that prepare the next batches, or 0 for none.
        max_queue_size: most batches prepared ahead.

    Attributes:
        first_step: step of the batch at index 0. It moves on from epoch to
            epoch and may be set.

    Raises:
        ValueError: an argument is out of range, or the split has no pieces.

    Examples:
        ```python
        windows = EventWindows(corpus, vocabulary=vocabulary, steps=100)
        model.fit(windows, epochs=10)
        x, y, sample_weight = windows.batch(step=1000)
        ```
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
        whole: bool = False,
        part: tuple[int, int] | None = None,
        workers: int = 1,
        max_queue_size: int = 4,
    ):
        super().__init__(first_step, workers, max_queue_size)
        check_least(1, sequence_length=sequence_length, batch_size=batch_size)
        check_least(0, seed=seed)
        augmentation = Augmentation(transpose, stretch, velocity)
        self.corpus = corpus
        self.split = split
        self.vocabulary = vocabulary
        self.sequence_length = sequence_length
        self.batch_size = batch_size
        self.seed = seed
        self.whole = whole
        if steps is not None:
            check_least(1, steps=steps)
            self.steps = steps
        self._augmentation = augmentation if augment else NO_AUGMENTATION
        self._rows = rows_of_part(part, batch_size)
        self._cutter = Cutter(corpus, split, vocabulary, sequence_length)
        self._layout: Anywhere | Passes = (
            Anywhere(corpus, split, batch_size) if whole else self._passes
        )

    @cached_property
    def steps(self) -> int:  # type: ignore[override]
        return self._passes.steps

    @cached_property
    def _passes(self) -> Passes:
        tiling = Tiling(
            self.corpus, self.split, self.vocabulary, self.sequence_length
        )
        return Passes(tiling, self.batch_size, self.seed)

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, counted from 0 at training's start."""
        if self.whole:
            return as_batch(self._whole_rows(step), self.vocabulary.pad_id)
        return self.cut(self.draw(step))

    def cut(self, draw: Draw) -> Batch:
        """Returns the batch that holds the drawn windows."""
        rows, is_target = self._cutter.cut(draw)
        x, y, sample_weight = as_batch(rows, self.vocabulary.pad_id)
        return x, y, sample_weight * is_target

    def _whole_rows(self, step: int) -> NDArray[np.int32]:
        """Cuts windows, and draws those again that leave their piece."""
        rows, _ = self._cutter.cut(self.draw(step))
        for attempt in range(1, MOST_ATTEMPTS):
            # Special ids come before all others.
            is_special = rows < self.vocabulary.note_on_id
            bad = np.flatnonzero(is_special.any(axis=1))
            if not len(bad):
                return rows
            again, _ = self._cutter.cut(self.draw(step, attempt))
            rows[bad] = again[bad]
        raise ValueError(
            f"The pieces of the split {self.split!r} are too short: hardly any "
            f"window of {self.sequence_length} events lies within one."
        )

    def draw(self, step: int, attempt: int = 0) -> Draw:
        """Draws the windows of a step, from the seed and the step alone.

        Args:
            step: counted from 0 at the start of training.
            attempt: another attempt draws other windows for the same step.
        """
        entropy = (self.seed, step, attempt) if attempt else (self.seed, step)
        rng = np.random.default_rng(entropy)
        size = self.batch_size
        pieces, notes, first, until = self._layout.rows(step, rng).T
        fractions = rng.random(size)
        changes = self._augmentation.draw(rng, size)
        draw = Draw(pieces, notes, first, until, fractions, *changes)
        return draw.rows(self._rows)


class _EndlessWindows(Windows):
    """Batches of `TrainingWindows` from a step on, without end."""

    moves_on = True
    num_batches = None

    def __init__(self, windows: TrainingWindows, first_step: int):
        super().__init__()
        self.first_step = first_step
        self._ahead = ReadAhead(
            windows.batch, windows._ahead.workers, windows._ahead.size
        )

    def __getitem__(self, index: int) -> Batch:
        return self._ahead.get(self.first_step + index)


def rows_of_part(part: tuple[int, int] | None, batch_size: int) -> slice:
    """Which rows of a batch belong to a part of it."""
    index, parts = part or (0, 1)
    if not 0 <= index < parts or batch_size % parts:
        raise ValueError(
            "`part` must be an index and a number of parts that divides "
            f"`batch_size`. Received: part={part}, batch_size={batch_size}"
        )
    size = batch_size // parts
    return slice(index * size, (index + 1) * size)
