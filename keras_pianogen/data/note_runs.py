"""Runs of note tuples: what a window shows a model, and batches of them.

Every batch is `(x, y, sample_weight)`, as Keras takes it:

- `x["notes"]`: int32, (batch, time, 4): the fields of the note before each
  target, as classes, see `NoteTuples.classes`. `NO_NOTE` where there is none.
  Further fields of the target are known for what a model can do, see `fields`.
- `x["next_notes"]`: int32, (batch, time, 4): the fields of the target.
- `x["elapsed"]`: int32, (batch, time): ticks from the note before to the
  target.
- `x["sounding"]`: int32, (batch, time, 128): for each pitch, how many ticks
  after the note before began it still sounds; 0 if it doesn't.
- `x["padding_mask"]`: bool, (batch, time), False on padding.
- `y`: int32, (batch, time, 4): as `x["next_notes"]`. `NO_NOTE` stands for all
  fields of padding, and for all but the shift of an end.
- `sample_weight`: float32, (batch, time): 0 on padding, and where a target
  counts in another window.

What sounds is computed from the whole piece, so that a note is known to sound
although it began long before its window.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.fields import Fields
from keras_pianogen.data.gaps import FIELDS_WITH_GAP
from keras_pianogen.data.gaps import MOST_AFTER
from keras_pianogen.data.gaps import Gap
from keras_pianogen.data.gaps import countdown
from keras_pianogen.data.gaps import gap_classes
from keras_pianogen.data.gaps import rows_around
from keras_pianogen.data.gaps import with_gap
from keras_pianogen.data.scores import deadpan
from keras_pianogen.data.scores import score_classes
from keras_pianogen.events import PITCHES
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import NO_NOTE
from keras_pianogen.note_tuples import NOTE_TUPLE_DTYPE
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.note_tuples import rows_of

PLAIN = Fields()
NoteBatch = tuple[dict[str, NDArray[Any]], NDArray[np.int32], NDArray[Any]]


class Run(NamedTuple):
    """Consecutive rows of a piece, and what came before them.

    Attributes:
        rows: array of `NOTE_TUPLE_DTYPE`. The first is the note before the
            window's first target, unless `begins`.
        begins: whether the window's first target is the piece's first note.
        ends: whether the end of the piece follows the last row.
        sounding: for each pitch, how many ticks after the first row begins it
            still sounds, that row's own note left out; (128,).
        asked: the class of each control at each row, (rows, controls), see
            `controls`; `None` if nothing is asked.
        score: the classes of the score of each row, (rows, 3), see `scores`;
            `None` if there is no score.
    """

    rows: NDArray[np.void]
    begins: bool
    ends: bool
    sounding: NDArray[np.int64]
    asked: NDArray[np.int64] | None = None
    score: NDArray[np.int64] | None = None

    def write(
        self, form: NoteTuples, x: dict[str, NDArray[Any]], fields: Fields
    ) -> None:
        """Write this run to the arrays of one window."""
        length = len(x["elapsed"])
        classes = form.classes(self.rows)
        before = int(not self.begins)  # rows that are no target
        targets = len(self.rows) - before
        reached = min(targets + self.ends, length)
        known = 1 - before  # positions without a note before
        last = min(known + len(classes), reached)
        x["notes"][known:last, :4] = classes[: last - known]
        x["next_notes"][:targets] = classes[before:]
        if self.ends and targets < length:
            x["next_notes"][targets, 0] = form.end_class
        x["elapsed"][:targets] = self.rows["shift"][before:]
        x["sounding"][known:last] = _sounding(self)[: last - known]
        x["padding_mask"][:reached] = True
        if self.asked is not None and len(self.rows):
            # Before the first note, what is asked of that note is asked.
            asked = np.concatenate([self.asked[:known], self.asked])
            x["notes"][:last, fields.asked] = asked[:last]
        if self.score is not None:
            x["notes"][:targets, fields.score] = self.score[before:]

    def with_score(self, form: NoteTuples, rng: np.random.Generator) -> "Run":
        """The run, with the score of its deadpan twin."""
        durations = self.rows["duration"].astype(np.int64)
        begins, lasts = deadpan(form, _starts(self), durations, rng)
        shifts = np.diff(begins, prepend=begins[:1])
        if self.begins:
            shifts[:1] = self.rows["shift"][:1]
        score = score_classes(form, shifts, self.rows["pitch"], lasts)
        return self._replace(score=score)


@dataclasses.dataclass(frozen=True)
class RunWithGap:
    """A `Run` in which a gap is to be filled, see `gaps`.

    Attributes:
        run: a `Run`.
        gap: the `Gap` in its rows.
        kept: how many rows before the gap are read.
        after: how many rows after the gap are read.
    """

    run: Run
    gap: Gap
    kept: int
    after: int

    @classmethod
    def draw(
        cls, form: NoteTuples, run: Run, length: int, rng: np.random.Generator
    ) -> "Run | RunWithGap":
        """A gap in a run, or the run itself where it has no room for one."""
        least = int(not run.begins)
        if len(run.rows) - least < 2 or length < 8:
            return run
        gap = Gap.draw(rng, _starts(run), least, length // 2, form.time_step)
        in_gap = gap.stop - gap.first
        following = len(run.rows) - gap.stop
        most = min(MOST_AFTER, length - in_gap - 2)
        after = min(following, int(rng.integers(1, max(most, 1) + 1)))
        kept = min(gap.first, length - in_gap - 1 - after)
        return cls(run, gap, kept, after)

    def write(
        self, form: NoteTuples, x: dict[str, NDArray[Any]], fields: Fields
    ) -> None:
        """Write this run to the arrays of one window."""
        run, gap, starts = self.run, self.gap, _starts(self.run)
        rows = np.stack([run.rows[f] for f in FIELDS], 1).astype(np.int64)
        context = rows_around(rows, starts, gap, self.kept, self.after)
        places = slice(gap.first, gap.stop)
        middle = with_gap(rows[places], countdown(gap.end, starts[places]))
        tokens = np.concatenate([context, middle])
        classes = _classes(form, tokens)
        targets = np.full((len(tokens), 4), NO_NOTE, np.int64)
        targets[:-1] = classes[1:, :4]
        targets[-1, 0] = form.end_class
        # The note after `START` is predicted only where a piece begins.
        if self.kept and not (run.begins and self.kept == gap.first):
            targets[self.after] = NO_NOTE
        size = len(tokens)
        x["notes"][:size, : len(FIELDS_WITH_GAP)] = classes
        if run.asked is not None:
            asked = run.asked[gap.first - self.kept : gap.stop]
            x["notes"][self.after, fields.asked] = asked[0]
            x["notes"][self.after + 1 : size, fields.asked] = asked
        x["next_notes"][:size] = targets
        x["elapsed"][: size - 1] = np.maximum(tokens[1:, 0], 0)
        x["sounding"][:size] = self._sounding()
        x["padding_mask"][:size] = True

    def _sounding(self) -> NDArray[np.int64]:
        """What sounds after each token; what follows the gap is on its own."""
        run, gap = self.run, self.gap
        following = run.rows[gap.stop : gap.stop + self.after]
        alone = Run(following, False, False, np.zeros(PITCHES, np.int64))
        known = run._replace(rows=run.rows[: gap.stop])
        first = gap.first - self.kept
        nothing = np.zeros((1, PITCHES), np.int64)
        return np.concatenate(
            [_sounding(alone), nothing, _sounding(known)[first:]]
        )


def _classes(form: NoteTuples, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each of the five fields of tokens, `START` among them."""
    fields = form.classes(rows_of(np.maximum(tokens, 0)))
    fields[tokens[:, 0] < 0] = NO_NOTE
    return with_gap(fields, gap_classes(form, tokens[:, -1]))


def batch_of(
    form: NoteTuples,
    runs: Sequence[Run | RunWithGap],
    length: int,
    fields: Fields = PLAIN,
) -> NoteBatch:
    """The batch whose windows are `runs`, padded to `length` targets."""
    size = len(runs)
    x: dict[str, NDArray[Any]] = {
        "notes": np.full((size, length, len(fields)), NO_NOTE, np.int32),
        "next_notes": np.full((size, length, 4), NO_NOTE, np.int32),
        "elapsed": np.zeros((size, length), np.int32),
        "sounding": np.zeros((size, length, PITCHES), np.int32),
        "padding_mask": np.zeros((size, length), bool),
    }
    for i, run in enumerate(runs):
        run.write(form, {name: array[i] for name, array in x.items()}, fields)
    # Where the first field is no target, none is.
    is_target = x["next_notes"][..., 0] != NO_NOTE
    return x, x["next_notes"], is_target.astype(np.float32)


def _starts(run: Run) -> NDArray[np.int64]:
    """When each row begins: in ticks since the piece, or the first row, did."""
    shifts = run.rows["shift"].astype(np.int64)
    if len(shifts) and not run.begins:
        shifts[0] = 0
    return np.cumsum(shifts)


def _sounding(run: Run) -> NDArray[np.int64]:
    """Ticks that each pitch still sounds after each row began, (rows, 128)."""
    rows = run.rows
    starts = _starts(run)
    ends = np.zeros((len(rows), PITCHES), np.int64)
    ends[np.arange(len(rows)), rows["pitch"]] = starts + rows["duration"]
    if len(rows):
        ends[0] = np.maximum(ends[0], starts[0] + run.sounding)
    # The ends of a pitch never fall: no note outlasts its key's next stroke.
    return np.maximum(np.maximum.accumulate(ends) - starts[:, None], 0)


EMPTY = Run(np.empty(0, NOTE_TUPLE_DTYPE), True, False, np.zeros(PITCHES, int))


def run_of(rows: NDArray[np.void], begin: int, length: int) -> Run:
    """The run of a window: `length` targets of a piece, from `begin` on."""
    first, stop = max(begin - 1, 0), begin + length
    return Run(
        rows=rows[first:stop],
        begins=begin == 0,
        ends=stop > len(rows),
        sounding=_sounding_before(rows, first),
    )


def _sounding_before(rows: NDArray[np.void], first: int) -> NDArray[np.int64]:
    """How long notes before row `first` still sound when it begins, (128,)."""
    sounding = np.zeros(PITCHES, np.int64)
    starts = np.cumsum(rows["shift"][: first + 1], dtype=np.int64)
    ends = starts[:first] + rows["duration"][:first]
    np.maximum.at(sounding, rows["pitch"][:first], ends - starts[-1:])
    return sounding
