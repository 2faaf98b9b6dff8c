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
from keras_pianogen.generation.deviations import Chords
from keras_pianogen.generation.deviations import bounds_of_rhythms
from keras_pianogen.generation.deviations import bounds_of_shifts
from keras_pianogen.generation.deviations import touches
from keras_pianogen.generation.draws import is_random
from keras_pianogen.generation.draws import next_seed
from keras_pianogen.generation.draws import seeds_from
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
# Notes of a score count as this long at least, in seconds.
SHORTEST = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PerformRequest(NoteRequest):
    """A `NoteRequest` whose new notes are those of a score.

    Args:
        score: int array (notes, 3), see `scores.score_classes`.
        onsets: int array (notes,), when each note of the score begins, in
            ticks.
        bounds: int array (notes, 2), see `deviations.bounds_of_shifts`.
        touches: float array (notes, 3), see `deviations.touches`.
        **others: see `NoteRequest`.
    """

    score: np.ndarray
    onsets: np.ndarray
    bounds: np.ndarray
    touches: np.ndarray

    draws_scales = False  # The score has its own.

    @functools.cached_property
    def limits(self):
        """See `NoteRequest.limits`."""
        size = -(-(len(self.score) + 1) // NOTES_A_SIZE) * NOTES_A_SIZE
        limits = super().limits
        return limits._replace(
            score=_filled(self.score.astype("int32"), size, -1),
            score_bounds=_filled(self.bounds, size, 0),
            score_touches=_filled(self.touches, size, 0),
            score_notes=np.int32(len(self.score)),
            end_from=np.full_like(limits.end_from, NEVER),
        )

    @property
    def can_be_drawn_again(self):
        return False

    def _asked_ticks(self):
        return int(self.onsets[-1] - self.onsets[0])


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
    seed = _seed_of(seed, settings["sampler"])
    prompt = fields.widened(np.array([START], "int32"))
    prompt[0, fields.score] = score[0]
    request = PerformRequest(
        model=model,
        prompts=[prompt] * variations,
        score=score,
        onsets=onsets,
        bounds=bounds_of_shifts(form, onsets),
        touches=touches(onsets, lasts),
        max_length=1 + len(score),
        seed=seed,
        **settings,
    )
    made = draw(request, progress=progress)
    seeds = seeds_from(seed, variations)
    return [
        _performed(notes, amount, *_placed(form, onsets, piece[1:], of_piece))
        for piece, of_piece in zip(made, seeds, strict=True)
    ]


def _seed_of(seed, sampler):
    """The seed of a performance; `None` if nothing is drawn at random."""
    if not is_random(sampler):
        return None
    return next_seed(sampler) if seed is None else seed


def _filled(array, size, value):
    """An array with rows of a value added, until it has `size` rows."""
    rows = [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1)
    return np.pad(array, rows, constant_values=value)


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


def _placed(form, onsets, rows, seed):
    """When performed notes begin, in seconds, how long they last, velocities.

    Ticks and bins stand for all times and velocities that are rounded to them.
    Onsets, durations and velocities are drawn among these, so that no grid is
    heard. A lower note is a tick later than the highest one of its chord, or
    more, because notes of one tick rise: here it may be as early.

    Args:
        form: a `NoteTuples`.
        onsets: int array (notes,), those of the score, in ticks.
        rows: int array (notes, fields), the rows of the performance.
        seed: int, or `None`: each has the middle.
    """
    rows = rows_of(rows)
    parts = np.full((3, len(rows)), 0.5)
    if seed is not None:
        parts = np.random.default_rng(seed).random(parts.shape)
    starts = np.cumsum(rows["shift"], dtype="int64")
    chords = Chords(onsets)
    begins = _within(
        starts[chords.first], parts[0][chords.first], bounds_of_rhythms(onsets)
    )
    later = starts - chords.of_notes(starts[chords.first])
    later = np.where(later > 0, later - parts[0], 0.0)
    starts = (chords.of_notes(begins) + later - begins[0]) * form.time_step
    lasts = np.maximum(rows["duration"] + parts[1] - 0.5, 1) * form.time_step
    lowest, highest = form.velocity_range(rows["velocity"])
    return starts, lasts, lowest + np.floor(parts[2] * (highest + 1 - lowest))


def _within(ticks, parts, bounds):
    """When chords begin: within half a tick of `ticks`, and within bounds.

    The times of a score are rounded too: bounds are wider by half a tick.

    Args:
        ticks: int array (chords,).
        parts: array (chords,), 0 to 1: from half a tick before to one after.
        bounds: see `deviations.bounds_of_rhythms`.
    """
    begins = ticks + parts - 0.5
    for i, (least, most) in enumerate(bounds, 1):
        around = begins[i - 1] + np.array([least - 0.5, most + 0.5])
        around = np.clip(around, ticks[i] - 0.5, ticks[i] + 0.5)
        begins[i] = np.clip(begins[i], *around)
    return begins


def _performed(notes, amount, starts, lasts, velocities):
    """A score, with as much of a performance of it as is asked for."""
    made = notes.copy()
    starts = starts + notes["start"][0]
    made["start"] = (1 - amount) * notes["start"] + amount * starts
    own = np.maximum(notes["end"] - notes["start"], SHORTEST)
    made["end"] = made["start"] + own ** (1 - amount) * lasts**amount
    velocity = (1 - amount) * notes["velocity"] + amount * velocities
    made["velocity"] = np.clip(np.rint(velocity), 1, 127)
    made = check_notes(made)
    made["end"] = cut_overlaps(made)
    return made
