"""Scores, performed: timing, touch and loudness for each note. In seconds.

The model says when each note of the score comes after the one before, how hard
its key is struck, and how long it sounds. Which notes there are, it doesn't
say: each is kept. See `data.scores` for what it learned from.
"""

import dataclasses
import functools

import numpy as np

from keras_pianogen.data.scores import chords
from keras_pianogen.data.scores import score_classes
from keras_pianogen.generation.grammar import NEVER
from keras_pianogen.generation.note_request import NoteRequest
from keras_pianogen.generation.notewise import START
from keras_pianogen.generation.pieces import draw
from keras_pianogen.note_tuples import rows_of
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import cut_overlaps

# Notes that begin this close in a score are one chord of it, in ticks.
ONE_CHORD = 2
# Lengths of the score that the loop is compiled for: multiples of this.
NOTES_A_SIZE = 512


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PerformRequest(NoteRequest):
    """A `NoteRequest` whose new notes are those of a score.

    Args:
        score: int array (notes, 3), see `scores.score_classes`.
        shifts: int array (notes,), from each onset of the score to the next, in
            ticks.
        **others: see `NoteRequest`.
    """

    score: np.ndarray
    shifts: np.ndarray

    draws_scales = False  # The score has its own.

    @functools.cached_property
    def limits(self):
        """See `NoteRequest.limits`."""
        size = -(-(len(self.score) + 1) // NOTES_A_SIZE) * NOTES_A_SIZE
        score = np.full((size, self.score.shape[1]), -1, "int32")
        score[: len(self.score)] = self.score
        shifts = np.zeros(size, "int32")
        shifts[: len(self.shifts)] = self.shifts
        limits = super().limits
        return limits._replace(
            score=score,
            score_shifts=shifts,
            score_notes=np.int32(len(self.score)),
            end_from=np.full_like(limits.end_from, NEVER),
        )

    @property
    def can_be_drawn_again(self):
        return False

    def _asked_ticks(self):
        return int(self.shifts.sum())


def perform(model, notes, *, amount=1.0, variations=1, seed=None, **settings):
    """Perform a score; see `NoteTransformerCausalLM.perform`.

    Args:
        model: a `NoteTransformerCausalLM` that performs scores.
        notes: array of `NOTE_DTYPE`, the score.
        amount: float, 0 to 1.
        variations: int. How many performances are made at the same time.
        seed: int, or `None`.
        **settings: of a `NoteRequest`, and `progress`.

    Returns:
        A list of arrays of `NOTE_DTYPE`.
    """
    if not model.backbone.performing:
        raise ValueError(
            "`perform` needs a model that was trained to perform scores, such "
            "as one of `pianogen train --performing 0.3`. Received: a "
            f"{type(model).__name__} with backbone.performing=False"
        )
    if not len(notes):
        raise ValueError("`score` must have notes. Received: none")
    form, fields = model.backbone.form, model.backbone.fields
    progress = settings.pop("progress", None)
    notes = check_notes(notes)
    if not amount:  # Nothing is performed.
        return [notes.copy() for _ in range(variations)]
    notes, onsets = _in_order(form, notes)
    lasts = np.maximum(form.to_ticks(notes["end"] - notes["start"]), 1)
    shifts = np.diff(onsets, prepend=onsets[:1])
    score = score_classes(form, shifts, notes["pitch"], lasts)
    prompt = fields.widened(np.array([START], "int32"))
    prompt[0, fields.score] = score[0]
    request = PerformRequest(
        model=model,
        prompts=[prompt] * variations,
        score=score,
        shifts=shifts,
        max_length=1 + len(score),
        seed=seed,
        **settings,
    )
    made = draw(request, progress=progress)
    return [_performed(form, notes, piece[1:], amount) for piece in made]


def _in_order(form, notes):
    """The notes in the order in which they are performed, and their onsets.

    The highest note of a chord comes first, as pianists let a melody lead, and
    the others from the lowest up. Onsets are in ticks.
    """
    starts = form.to_ticks(notes["start"])
    chord = chords(starts, ONE_CHORD)
    first = np.flatnonzero(np.diff(chord, prepend=-1))
    highest = np.maximum.reduceat(notes["pitch"], first)[chord]
    is_lower = notes["pitch"] < highest
    order = np.lexsort((notes["pitch"], is_lower, chord))
    return notes[order], starts[first][chord][order]


def _performed(form, notes, rows, amount):
    """A score, with as much of a performance of it as is asked for."""
    rows = rows_of(rows)
    starts = np.cumsum(rows["shift"], dtype="int64") * form.time_step
    starts = starts - starts[0] + notes["start"][0]
    lasts = np.maximum(rows["duration"], 1) * form.time_step
    loudness = form.to_velocities(rows["velocity"]).astype(float)
    made = notes.copy()
    made["start"] = (1 - amount) * notes["start"] + amount * starts
    own = np.maximum(notes["end"] - notes["start"], form.time_step)
    made["end"] = made["start"] + own ** (1 - amount) * lasts**amount
    velocity = (1 - amount) * notes["velocity"] + amount * loudness
    made["velocity"] = np.clip(np.rint(velocity), 1, 127)
    made = check_notes(made)
    made["end"] = cut_overlaps(made)
    return made
