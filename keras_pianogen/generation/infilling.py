"""Gaps in performances, filled with new notes. Times in seconds.

What stands outside the gap stays as it is. New notes begin in the gap; they
may ring on after it, but no longer than until their key is struck.
"""

import dataclasses
import functools
import numbers
import typing

import numpy as np
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.data.gaps import MOST_AFTER
from keras_pianogen.data.gaps import Gap
from keras_pianogen.data.gaps import check_span
from keras_pianogen.data.gaps import rows_around
from keras_pianogen.events import PITCHES
from keras_pianogen.generation import emptiness
from keras_pianogen.generation import notewise
from keras_pianogen.generation.arguments import KINDS
from keras_pianogen.generation.asking import PITCH_CLASSES
from keras_pianogen.generation.asking import STEPS
from keras_pianogen.generation.asking import Asked
from keras_pianogen.generation.draws import is_random
from keras_pianogen.generation.draws import seeds_from
from keras_pianogen.generation.note_request import NoteRequest
from keras_pianogen.generation.notewise import START
from keras_pianogen.generation.pieces import draw
from keras_pianogen.generation.steering import CLASSES
from keras_pianogen.generation.steering import Steering
from keras_pianogen.generation.steering import no_strengths
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import rows_of
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import cut_overlaps

host_ops = dispatch.host_ops()

MOMENT = 0.05  # notes this close begin together
LEADS = 1.0  # the longest that a key keeps lower ones from being a melody
# The music beside a gap is measured over `AROUND` seconds. It counts as unknown
# if fewer than `LEAST_AROUND` seconds or `LEAST_NOTES` notes are there.
AROUND, LEAST_AROUND, LEAST_NOTES = 6.0, 2.0, 3
# A gap may stay empty if no more notes than this are expected in it.
FEW_EXPECTED = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class InfillRequest(NoteRequest):
    """A `NoteRequest` whose prompts are what stands around a gap.

    Args:
        gap: a `Gap`, in ticks since the first token after `START`.
        begin: where the gap begins, in the same ticks.
        below: int. New notes have lower pitches.
        asked_between: when what is asked begins to change and when it ends, in
            the same ticks. Defaults to `None`: the gap.
        **others: see `NoteRequest`.
    """

    gap: Gap
    begin: int
    below: int = PITCHES
    asked_between: tuple | None = None

    draws_scales = False  # They are those of the music around the gap.

    @functools.cached_property
    def limits(self):
        """See `NoteRequest.limits`."""
        return super().limits._replace(
            gap_end=np.int32(self.gap.end), below=np.int32(self.below)
        )

    @property
    def can_be_drawn_again(self):
        """See `Request.can_be_drawn_again`: parts of a gap may stay empty."""
        return is_random(self.sampler) and self.asked_between is None

    @property
    def fewest_notes(self):
        """See `Request.fewest_notes`: a tenth of those that are asked for."""
        ends = self.asked.values.get("density") if self.asked else None
        seconds = (self.gap.end - self.begin) * self.time_step
        usual = np.mean(ends) * seconds if ends else 0.0
        return emptiness.SHARE * usual * (usual > FEW_EXPECTED)

    def _begin_of(self, prompt):
        return self.begin

    def _asked_from(self, prompt):
        return self._asked_between[0]

    def _asked_ticks(self):
        begin, end = self._asked_between
        return end - begin

    @property
    def _asked_between(self):
        return self.asked_between or (self.begin, self.gap.end)

    def initial_state(self, pieces):
        """See `EventRequest.initial_state`: notes after the gap don't count."""
        pieces = [_from_start(p) for p in pieces]
        state = notewise.initial_state(pieces)
        strengths, chord = self._steered(pieces, state.chord)
        return state._replace(strengths=strengths, chord=chord)

    def _steered(self, pieces, chord):
        """How new notes are steered, after those kept in the gap.

        Args:
            pieces: list of equal arrays of rows.
            chord: array (pieces, 2), see `Steering.chord_after`.

        Returns:
            A pair of the strengths and the last onset's notes.
        """
        strengths, targets = no_strengths(len(pieces)), self.limits.targets
        if isinstance(targets, tuple) or np.isnan(targets).all():
            return strengths, chord
        steering, (begin, end) = Steering(self.form), self._asked_between
        clock = np.cumsum(np.maximum(pieces[0][:, 0], 0))
        # The first row is `START`, and no note.
        for i in 1 + np.flatnonzero(clock[1:] >= begin):
            step = (clock[i] - begin) * STEPS // max(end - begin, 1)
            target = targets[:, min(step, STEPS - 1)]
            new = np.stack([piece[i] for piece in pieces])
            given = strengths, target, new, chord
            given = tuple(map(host_ops.convert_to_tensor, given))
            strengths = steering.follow(*given)
            chord = steering.chord_after(given[3], given[2])
        return tuple(map(ops.convert_to_numpy, (strengths, chord)))


def infill(
    model,
    notes,
    start,
    end,
    *,
    keep_melody=False,
    variations=1,
    seed=None,
    progress=None,
    asked=None,
    **settings,
):
    """Fill a gap; the arguments are those of `NoteTransformerCausalLM.infill`.

    Args:
        model: a `NoteTransformerCausalLM`.
        notes: array of `NOTE_DTYPE`, the whole piece.
        start: where the gap begins.
        end: where it ends.
        keep_melody: bool. Whether the highest line in the gap stays.
        variations: int. How many pieces are made at the same time.
        seed: int, or `None`.
        progress: see `Generates.generate`.
        asked: an `Asked`, or `None`. A model that has the control of density
            is held to the pitch classes of the music around the gap, and to
            its density if no other is asked for. Both change evenly from
            those before to those after.
        **settings: `sampler`, `grammar` and `repeat_penalty`.

    Returns:
        A list of arrays of `NOTE_DTYPE`, the whole piece with each filling.
    """
    check_gap(model, notes, start, end)
    in_gap = (notes["start"] >= start) & (notes["start"] < end)
    outside = notes[~in_gap]
    asked = _like_the_sides(model, outside, start, end, asked)
    fill = functools.partial(_fill, model, asked=asked, **settings)
    if not keep_melody:
        step = model.backbone.form.time_step
        place = _Place(
            first=int((outside["start"] < start).sum()),
            begin=int(np.ceil(start / step - 1e-6)),
            end=round(end / step),
        )
        return fill(outside, place, variations, seed=seed, progress=progress)
    melody = notes[in_gap & is_melody(notes)]
    seeds = seeds_from(seed, variations)
    return [
        _fill_under(
            fill, model, outside, melody, (start, end), asked, seed, progress
        )
        for seed in seeds
    ]


def _like_the_sides(model, outside, start, end, asked):
    """What is asked of a gap: the density and pitch classes around it, too."""
    asked, controls = asked or Asked(model.controls), model.controls
    if "density" not in controls.names:
        return asked
    last = outside["start"][-1] if len(outside) else 0.0
    sides = (max(start - AROUND, 0.0), start), (end, min(end + AROUND, last))
    known = [_between(outside, *side) for side in sides]
    known = [
        (notes, seconds)
        for notes, seconds in known
        if len(notes) >= LEAST_NOTES and seconds >= LEAST_AROUND
    ]
    if not known:
        return asked
    ends = known[0], known[-1]
    if "density" not in asked.values:
        found = tuple(_density(*side) for side in ends)
        asked = asked.beside("density", found)
    return asked.also(
        PITCH_CLASSES, tuple(_shares_of_classes(notes) for notes, _ in ends)
    )


def _between(notes, begin, end):
    """The notes between two moments, and the seconds."""
    starts = notes["start"]
    return notes[(starts >= begin) & (starts < end)], end - begin


def _density(notes, seconds):
    return KINDS["density"].nearest(len(notes) / seconds)


def density_between(notes, begin, end):
    """The notes a second between two moments, as a model can be asked for."""
    return _density(*_between(notes, begin, end))


def _shares_of_classes(notes):
    """The share of each pitch class, (12,)."""
    return np.bincount(notes["pitch"] % CLASSES, minlength=CLASSES) / len(notes)


class _Place(typing.NamedTuple):
    """A gap among the notes of a piece, in ticks of the form."""

    first: int  # index of the first note after the gap
    begin: int  # new notes begin here at the earliest
    end: int  # and before this
    below: int = PITCHES  # and have lower pitches
    whole: tuple | None = None  # begin and end of the gap that it is a part of


def _fill(model, outside, place, variations, *, seed, progress, **settings):
    """Pieces with new notes in a gap, a list.

    Args:
        model: a `NoteTransformerCausalLM`.
        outside: array of `NOTE_DTYPE`, the notes outside the gap.
        place: a `_Place`.
        variations: int.
        seed: int, or `None`.
        progress: see `Generates.generate`.
        **settings: see `infill`.
    """
    form = model.backbone.form
    prompt, gap, origin = _prompt(model, form, outside, place)
    request = InfillRequest(
        model=model,
        prompts=[prompt] * variations,
        gap=gap,
        begin=place.begin - origin,
        below=place.below,
        asked_between=place.whole
        and (place.whole[0] - origin, place.whole[1] - origin),
        seed=seed,
        **settings,
    )
    draw_again = functools.partial(draw, progress=progress)
    pieces = draw_again(request)
    if request.can_be_drawn_again:
        pieces = emptiness.fill(pieces, request, draw_again)
    return [
        _filled(form, outside, piece[len(prompt) :], prompt, origin)
        for piece in pieces
    ]


def _fill_under(fill, model, outside, melody, gap, asked, seed, progress):
    """A piece with new notes under the melody of a gap.

    From one note of the melody to the next, the notes between are a gap of
    their own: the model reads how the melody goes on. Nothing is written where
    the gap has as many notes already as are asked for.
    """
    form = model.backbone.form
    piece = check_notes(np.concatenate([outside, melody]))
    begin, end = (round(t / form.time_step) for t in gap)
    whole = (begin, end)
    places = form.to_ticks(melody["start"]).tolist()
    pitches = melody["pitch"].tolist()
    seeds = seeds_from(seed, len(places) + 1)
    for i, stop in enumerate([*places, end]):
        # Notes of one moment come in the order of their pitches, so those
        # under a note of the melody come before it.
        stop = stop + (i < len(places))
        below = pitches[max(i - 1, 0)] if pitches else PITCHES
        if i < len(places):
            below = min(below, pitches[i])
        is_full = _is_full(asked, piece, gap, stop * form.time_step)
        if stop > begin and not is_full:
            starts = form.to_ticks(piece["start"])
            known = piece["start"] < gap[0] if not i else starts < begin
            place = _Place(int(known.sum()), begin, stop, below, whole)
            (piece,) = fill(piece, place, 1, seed=seeds[i], progress=progress)
        begin = max(begin, stop)
    return piece


def _is_full(asked, notes, gap, stop):
    """Whether a gap has the notes already that are asked for up to a moment.

    Args:
        asked: an `Asked`.
        notes: array of `NOTE_DTYPE`.
        gap: pair of floats, its begin and end.
        stop: float, the moment.
    """
    begin, end = gap
    if "density" not in asked.values or stop <= begin:
        return False
    first, last = asked.values["density"]
    share = (stop - begin) / (end - begin)
    wanted = (first + (last - first) * share / 2) * (stop - begin)
    starts = notes["start"]
    return ((starts >= begin) & (starts < stop)).sum() >= wanted


def is_melody(notes):
    """Which notes are of the highest line: no higher key sounds as they begin.

    Notes that begin within 50 ms of one another count as one moment. A higher
    key counts for a second at most, because a pedal may hold it for longer
    than it leads. Otherwise this is the skyline of Uitdenbogerd and Zobel
    (1999).

    Args:
        notes: array of `NOTE_DTYPE`, sorted by start.

    Returns:
        An array of bools.
    """
    starts, pitches = notes["start"], notes["pitch"]
    ends = np.minimum(notes["end"], starts + LEADS)
    found = np.zeros(len(notes), bool)
    for i in range(len(notes)):
        others = (starts <= starts[i] + MOMENT) & (
            (ends > starts[i] + MOMENT) | (np.abs(starts - starts[i]) <= MOMENT)
        )
        found[i] = not (pitches[others] > pitches[i]).any()
    return found


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
    check_span(notes, start, end, shortest=model.backbone.form.time_step)


def _prompt(model, form, outside, place):
    """What the model reads of the music around a gap.

    Returns:
        A triple: the rows, int32 (1 + notes, fields); the `Gap`, without
        notes, in ticks since the first row after `START`; and when that was,
        in ticks.
    """
    rows, first = form.encode(outside), place.first
    fields = np.stack([rows[f] for f in FIELDS], 1).astype("int64")
    starts = np.cumsum(fields[:, 0])
    window = model.backbone.max_sequence_length
    after = min(len(rows) - first, MOST_AFTER, window // 4)
    kept = min(first, window // 2 - after)
    # Ticks count from the row before the first that is read.
    origin = int(starts[first - kept] - fields[first - kept, 0]) if kept else 0
    gap = Gap(first, first, place.end - origin)
    prompt = rows_around(fields, starts - origin, gap, kept, after)
    return model.backbone.fields.widened(prompt), gap, origin


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
