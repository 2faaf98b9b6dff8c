"""Gaps in performances, filled with new notes. Times in seconds.

What stands outside the gap stays as it is. New notes begin in the gap; they
may ring on after it, but no longer than until their key is struck.
"""

import dataclasses
import functools
import numbers

import numpy as np

from keras_pianogen.data.gaps import MOST_AFTER
from keras_pianogen.data.gaps import Gap
from keras_pianogen.data.gaps import rows_around
from keras_pianogen.generation import notewise
from keras_pianogen.generation.note_request import NoteRequest
from keras_pianogen.generation.notewise import START
from keras_pianogen.generation.pieces import draw
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import rows_of
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import cut_overlaps

LONGEST_GAP = 30.0  # as in training, see `data.gaps`


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class InfillRequest(NoteRequest):
    """A `NoteRequest` whose prompts are what stands around a gap.

    Args:
        gap: a `Gap`, in ticks since the first token after `START`.
        begin: where the gap begins, in the same ticks.
        **others: see `NoteRequest`.
    """

    gap: Gap
    begin: int

    @functools.cached_property
    def limits(self):
        """See `NoteRequest.limits`."""
        return super().limits._replace(gap_end=np.int32(self.gap.end))

    @property
    def can_be_drawn_again(self):
        return False

    def _begin_of(self, prompt):
        return self.begin

    def initial_state(self, pieces):
        """See `Request.initial_state`: notes after the gap don't count."""
        return notewise.initial_state([_from_start(p) for p in pieces])


def infill(
    model, notes, start, end, *, variations=1, progress=None, **settings
):
    """Fill a gap; the arguments are those of `NoteTransformerCausalLM.infill`.

    Args:
        model: a `NoteTransformerCausalLM`.
        notes: array of `NOTE_DTYPE`, the whole piece.
        start: where the gap begins.
        end: where it ends.
        variations: int. How many pieces are made at the same time.
        progress: see `Generates.generate`.
        **settings: `sampler`, `grammar`, `repeat_penalty` and `seed`.

    Returns:
        A list of arrays of `NOTE_DTYPE`, the whole piece with each filling.
    """
    check_gap(model, notes, start, end)
    form = model.preprocessor.tokenizer.note_tuples
    before = notes[notes["start"] < start]
    after = notes[notes["start"] >= end]
    outside = np.concatenate([before, after])
    prompt, gap, origin = _prompt(model, form, outside, len(before), end)
    begin = int(np.ceil(start / form.time_step - 1e-6)) - origin
    request = InfillRequest(
        model=model,
        prompts=[prompt] * variations,
        gap=gap,
        begin=begin,
        **settings,
    )
    return [
        _filled(form, outside, piece[len(prompt) :], prompt, origin)
        for piece in draw(request, progress=progress)
    ]


def check_gap(model, notes, start, end):
    """Check that a model can fill a gap.

    Raises:
        TypeError: if `start` or `end` is no number.
        ValueError: if the model fills no gaps, or the gap is not in the piece,
            is shorter than a tick or longer than 30 seconds.
    """
    if not model.backbone.infilling:
        raise ValueError(
            "`infill` needs a model that was trained to fill gaps, such as "
            "one of `pianogen train --infilling 0.5`. Received: a "
            f"{type(model).__name__} with backbone.infilling=False"
        )
    for name, value in {"start": start, "end": end}.items():
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise TypeError(
                f"`{name}` must be a number of seconds. "
                f"Received: {name}={value!r}"
            )
    if not len(notes):
        raise ValueError("`piece` must have notes. Received: none")
    length = float(notes["end"].max())
    if not 0 <= start < end <= length:
        raise ValueError(
            "`start` and `end` must lie in the piece, from 0 to "
            f"{length:.2f} s, `start` before `end`. "
            f"Received: start={start}, end={end}"
        )
    shortest = model.preprocessor.tokenizer.note_tuples.time_step
    if not shortest <= end - start <= LONGEST_GAP:
        raise ValueError(
            f"A gap must be from {shortest} to {LONGEST_GAP:g} seconds long. "
            f"Received: start={start}, end={end}"
        )


def _prompt(model, form, outside, first, end):
    """What the model reads of the music around a gap.

    Args:
        model: a `NoteTransformerCausalLM`.
        form: its `NoteTuples`.
        outside: array of `NOTE_DTYPE`, the notes outside the gap.
        first: how many of them are before it.
        end: where the gap ends, in seconds.

    Returns:
        A triple: the rows, int32 (1 + notes, 5); the `Gap`, without notes, in
        ticks since the first row after `START`; and when that was, in ticks.
    """
    rows = form.encode(outside)
    fields = np.stack([rows[f] for f in FIELDS], 1).astype("int64")
    starts = np.cumsum(fields[:, 0])
    window = model.backbone.max_sequence_length
    after = min(len(rows) - first, MOST_AFTER, window // 4)
    kept = min(first, window // 2 - after)
    # Ticks count from the row before the first that is read.
    origin = int(starts[first - kept] - fields[first - kept, 0]) if kept else 0
    gap = Gap(first, first, round(end / form.time_step) - origin)
    prompt = rows_around(fields, starts - origin, gap, kept, after)
    return prompt.astype("int32"), gap, origin


def _filled(form, outside, new, prompt, origin):
    """The whole piece with new rows in its gap."""
    new = new[new[:, 0] >= 0].copy()
    if not len(new):
        return outside
    before = _from_start(prompt)
    new[0, 0] += origin + np.maximum(before[:, 0], 0).sum()
    made = form.decode(rows_of(new))
    rings = _rings(outside, made)
    return _joined(outside, made[~rings])


def _rings(outside, made):
    """Which new notes would strike a key that still sounds from before."""
    rings = np.zeros(len(made), bool)
    for note in outside:
        rings |= (
            (made["pitch"] == note["pitch"])
            & (made["start"] >= note["start"])
            & (made["start"] < note["end"])
        )
    return rings


def _joined(outside, made):
    """Two groups of notes as one; only the new ones may be cut."""
    notes = check_notes(np.concatenate([outside, made.astype(NOTE_DTYPE)]))
    ends = cut_overlaps(notes)
    is_new = ~np.isin(notes, outside)
    notes["end"] = np.where(is_new, ends, notes["end"])
    return notes


def _from_start(rows):
    """The rows from `START` on, which stands after those after the gap."""
    return rows[int(np.argmax(rows[:, 0] == START[0])) :]
