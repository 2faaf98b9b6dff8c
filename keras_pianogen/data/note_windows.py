"""Windows of note tuples: random ones to train on, and all of a split.

A window has `sequence_length` targets, each a note or the end of its piece. Its
arrays are those of `note_runs`.
"""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from keras_pianogen.data.augmentation import NO_AUGMENTATION
from keras_pianogen.data.augmentation import Augmentation
from keras_pianogen.data.controls import NO_CONTROLS
from keras_pianogen.data.controls import NOT_ASKED
from keras_pianogen.data.controls import Controls
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.cutting import HIGHEST_PITCH
from keras_pianogen.data.cutting import LOWEST_PITCH
from keras_pianogen.data.fields import Fields
from keras_pianogen.data.note_runs import EMPTY
from keras_pianogen.data.note_runs import PLAIN
from keras_pianogen.data.note_runs import NoteBatch
from keras_pianogen.data.note_runs import Run
from keras_pianogen.data.note_runs import RunWithGap
from keras_pianogen.data.note_runs import batch_of
from keras_pianogen.data.note_runs import run_of
from keras_pianogen.data.packing import packed_ends
from keras_pianogen.data.packing import unpack
from keras_pianogen.data.training_windows import TrainingWindows
from keras_pianogen.data.training_windows import rows_of_part
from keras_pianogen.data.windows import Windows
from keras_pianogen.data.windows import check_index
from keras_pianogen.data.windows import check_least
from keras_pianogen.data.windows import check_stride
from keras_pianogen.data.windows import chosen_pieces
from keras_pianogen.data.windows import pieces_of
from keras_pianogen.data.windows import window_begins
from keras_pianogen.events import MAX_VELOCITY
from keras_pianogen.events import PITCHES
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import NoteTuples

# Notes after a window on which controls are measured: MAESTRO's densest six
# seconds have about as many.
MOST_LATER = 200


class NoteWindows(TrainingWindows):
    """Random windows of a split's notes, augmented, for training.

    In a pass over the split, each piece is cut into as many whole windows as
    it has room for. The first begins at the piece's beginning, or the last
    ends at its end, or neither; what is left over, less than a window, comes
    in other passes. So no note is a target twice in a pass. Windows come in
    random order. A piece shorter than a window is padded.

    The same seed and step give the same batch, whatever was drawn before. See
    `EventWindows` for epochs, and for arguments that are not told here.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        form: a `NoteTuples`.
        sequence_length: targets of a window, 1 or more.
        batch_size: windows in a batch, 1 or more.
        steps: batches in an epoch. Defaults to one pass over the split.
        seed: whole number, 0 or more.
        augment: whether to augment.
        transpose: see `EventWindows`.
        stretch: see there.
        velocity: see there.
        infilling: share of the windows in which a gap is to be filled, see
            `gaps`, 0 to 1. Above 0, notes have five fields in all windows.
        performing: share of the other windows in which a score is to be
            performed, see `scores`, 0 to 1. Above 0, notes have three more
            fields in all windows.
        controls: a `Controls`. Notes have a field for each of them; in each
            window it is drawn which of them are asked for.
        part: see there.
        workers: threads that prepare the next batches, or 0 for none.
        max_queue_size: most batches prepared ahead.

    Raises:
        ValueError: an argument is out of range, or the split has no pieces.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str = "train",
        *,
        form: NoteTuples,
        sequence_length: int = 512,
        batch_size: int = 4,
        steps: int | None = None,
        seed: int = 0,
        first_step: int = 0,
        augment: bool = True,
        transpose: int = 3,
        stretch: float = 0.05,
        velocity: int = 6,
        infilling: float = 0.0,
        performing: float = 0.0,
        controls: Controls = NO_CONTROLS,
        part: tuple[int, int] | None = None,
        workers: int = 1,
        max_queue_size: int = 4,
    ):
        super().__init__(first_step, workers, max_queue_size)
        check_least(1, sequence_length=sequence_length, batch_size=batch_size)
        check_least(0, seed=seed)
        augmentation = Augmentation(transpose, stretch, velocity)
        self._augmentation = augmentation if augment else NO_AUGMENTATION
        self.corpus, self.split, self.form = corpus, split, form
        self.sequence_length, self.batch_size = sequence_length, batch_size
        self.seed, self.controls = seed, controls
        self.infilling, self.performing = infilling, performing
        self._fields = Fields(infilling > 0, performing > 0, controls)
        self._pieces = pieces_of(corpus, split)
        # A piece's targets are its notes and its end.
        self._targets = np.array(
            [corpus.pieces[i].num_notes + 1 for i in self._pieces]
        )
        self._counts = np.maximum(self._targets // sequence_length, 1)
        per_pass = int(self._counts.sum()) // batch_size
        self._steps_a_pass = max(per_pass, 1)
        self.steps = self._steps_a_pass if steps is None else steps
        self._rows = rows_of_part(part, batch_size)

    def batch(self, step: int) -> NoteBatch:
        """Returns the batch of a step, counted from 0 at training's start."""
        rng = np.random.default_rng((self.seed, 1, step))
        changes = self._augmentation.draw(rng, self.batch_size)
        chosen = self._chosen(step)
        rows = range(*self._rows.indices(self.batch_size))
        runs = [
            self._with_task(
                self._asked(
                    self._run(*chosen[i], *(change[i] for change in changes)),
                    np.random.default_rng((self.seed, 3, step, i)),
                ),
                np.random.default_rng((self.seed, 2, step, i)),
            )
            for i in rows
        ]
        return batch_of(self.form, runs, self.sequence_length, self._fields)

    def _with_task(
        self, run: Run, rng: np.random.Generator
    ) -> Run | RunWithGap:
        """The run, with a gap or a score in as many of them as are asked."""
        number = rng.random()
        if number < self.infilling:
            return RunWithGap.draw(self.form, run, self.sequence_length, rng)
        if 1 - number < self.performing * (1 - self.infilling):
            return run.with_score(self.form, rng)
        return run

    def _asked(self, run: Run, rng: np.random.Generator) -> Run:
        """The run, in which some of its controls are asked for."""
        if run.asked is None:
            return run
        is_asked = self.controls.draw(rng)
        return run._replace(asked=np.where(is_asked, run.asked, NOT_ASKED))

    def _chosen(self, step: int) -> NDArray[np.int64]:
        """Piece and first target of each window of a step, (batch, 2)."""
        number, index = divmod(step, self._steps_a_pass)
        rng = np.random.default_rng((self.seed, 0, number))
        room = np.maximum(
            self._targets - self._counts * self.sequence_length, 0
        )
        kind = rng.integers(0, 3, len(room))  # at the beginning, end, between
        between = (rng.random(len(room)) * (room + 1)).astype(np.int64)
        first = np.choose(kind, [np.zeros_like(room), room, between])
        pieces = np.repeat(np.arange(len(room)), self._counts)
        of_piece = np.arange(len(pieces)) - np.repeat(
            np.cumsum(self._counts) - self._counts, self._counts
        )
        begins = first[pieces] + of_piece * self.sequence_length
        order = rng.permutation(len(pieces))
        places = np.arange(
            index * self.batch_size, (index + 1) * self.batch_size
        )
        order = order.take(places, mode="wrap")
        return np.stack([self._pieces[pieces[order]], begins[order]], axis=1)

    def _run(
        self,
        piece: int,
        begin: int,
        semitones: int,
        stretch: float,
        velocity: int,
    ) -> Run:
        packed = self.corpus.packed_notes(piece)
        first = max(begin - 1, 0)
        stop = begin + self.sequence_length
        # What is asked of the last notes is measured on those that follow.
        later = MOST_LATER if self.controls.inputs else 0
        notes = unpack(packed[first : stop + later])
        before = packed[:first]
        if len(notes):
            since = packed["start"][first]
            before = before[packed_ends(before) > since]
        notes, before = _augment(
            [notes, unpack(before)], semitones, stretch, velocity
        )
        asked = None
        if self.controls.inputs:
            asked = self.controls.classes(notes, self.corpus.pieces[piece])
            asked = asked[: stop - first]
        notes = notes[: stop - first]
        return Run(
            rows=self.form.encode(notes),
            begins=begin == 0,
            ends=stop > len(packed),
            sounding=self._still_sounding(before, notes),
            asked=asked,
        )

    def _still_sounding(
        self, before: NDArray[np.void], notes: NDArray[np.void]
    ) -> NDArray[np.int64]:
        sounding = np.zeros(PITCHES, np.int64)
        if len(notes):
            start = self.form.to_ticks(notes["start"][:1])
            ends = self.form.to_ticks(before["end"]) - start
            np.maximum.at(sounding, before["pitch"], ends)
        return sounding


class NoteEvaluationWindows(Windows):
    """Windows that cover every note of a split exactly once, unaugmented.

    The targets of a piece are its notes and its end. All weights of a piece's
    first window are 1. A later window begins with `sequence_length - stride`
    targets of the window before, as context, whose weights are 0.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        form: a `NoteTuples`.
        sequence_length: targets of a window, 1 or more.
        stride: new targets in each later window, 1 to `sequence_length`.
            Defaults to half of `sequence_length`.
        batch_size: windows in a batch, 1 or more. The last batch is filled
            with windows whose weights are 0.
        fields: the `Fields` of the notes. There are no gaps and no scores
            here, and nothing is asked for. Defaults to the four of a note.
        pieces: indices in `corpus.pieces` of the pieces to evaluate on.
            Defaults to all pieces of the split.

    Attributes:
        indices: indices in `corpus.pieces` of the pieces.
        num_events: number of targets: the notes, and an end a piece.
        num_notes: number of notes.
        seconds: length of all pieces together.
    """

    unit = "note"  # what is predicted at a position

    def __init__(
        self,
        corpus: Corpus,
        split: str = "validation",
        *,
        form: NoteTuples,
        sequence_length: int = 512,
        stride: int | None = None,
        batch_size: int = 4,
        fields: Fields = PLAIN,
        pieces: ArrayLike | None = None,
    ):
        super().__init__()
        self.stride = check_stride(stride, sequence_length)
        check_least(1, sequence_length=sequence_length, batch_size=batch_size)
        self.corpus, self.split, self.form = corpus, split, form
        self.sequence_length, self.batch_size = sequence_length, batch_size
        self._fields = fields
        self.indices = chosen_pieces(corpus, split, pieces)
        chosen = [corpus.pieces[i] for i in self.indices]
        self.num_notes = sum(piece.num_notes for piece in chosen)
        self.num_events = self.num_notes + len(chosen)
        self.seconds = sum(piece.seconds for piece in chosen)

    @cached_property
    def _pieces(self) -> list[NDArray[np.void]]:
        return [self.form.encode(self.corpus.notes(i)) for i in self.indices]

    @cached_property
    def _windows(self) -> NDArray[np.int64]:
        """Piece and first target of each window, (windows, 2)."""
        counts = [len(rows) + 1 for rows in self._pieces]
        return window_begins(counts, self.sequence_length, self.stride)

    def __len__(self) -> int:
        return -(-len(self._windows) // self.batch_size)

    def __getitem__(self, index: int) -> NoteBatch:
        check_index(index, len(self))
        windows = self._windows[index * self.batch_size :][: self.batch_size]
        runs = [
            run_of(self._pieces[piece], begin, self.sequence_length)
            for piece, begin in windows
        ]
        runs += [EMPTY] * (self.batch_size - len(runs))
        x, y, sample_weight = batch_of(
            self.form, runs, self.sequence_length, self._fields
        )
        later = np.flatnonzero(windows[:, 1])
        sample_weight[later, : self.sequence_length - self.stride] = 0
        return x, y, sample_weight

    def transposed(self, batch: NoteBatch, semitones: int) -> NoteBatch:
        """A batch of these windows, its pitches moved by semitones."""
        x, _, sample_weight = batch
        moved = {name: x[name].copy() for name in ("notes", "next_notes")}
        for rows in moved.values():
            pitches = rows[..., FIELDS.index("pitch")]
            pitches[pitches >= 0] += semitones
        sounding = np.roll(x["sounding"], semitones, axis=-1)
        x = x | moved | {"sounding": sounding}
        return x, x["next_notes"], sample_weight


def _augment(
    groups: list[NDArray[np.void]],
    semitones: int,
    stretch: float,
    velocity: int,
) -> list[NDArray[np.void]]:
    """Changes groups of notes alike; none leaves the piano."""
    pitches = np.concatenate([notes["pitch"] for notes in groups]).astype(int)
    down = min(LOWEST_PITCH - pitches.min(initial=PITCHES), 0)
    up = max(HIGHEST_PITCH - pitches.max(initial=0), 0)
    semitones = int(np.clip(semitones, down, up))
    for notes in groups:
        notes["start"] *= stretch
        notes["end"] *= stretch
        notes["pitch"] += np.uint8(semitones % 256)
        velocities = notes["velocity"].astype(int) + velocity
        notes["velocity"] = np.clip(velocities, 1, MAX_VELOCITY)
    return groups
