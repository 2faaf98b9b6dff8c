"""How the next note is chosen, field by field, and what is known after it.

A token is the row of a note, an int32 vector: shift, pitch, velocity bin and
duration, times in ticks; see `note_tuples`. Some models have more, see
`data.fields`. A piece's first token begins with `START`, and its end with
`END`. Tensors, or NumPy arrays on PyTorch, see `dispatch.host_ops`.
"""

import dataclasses
import typing

import keras
import numpy as np

from keras_pianogen.attention import dispatch
from keras_pianogen.data.fields import NOTHING
from keras_pianogen.data.fields import SCORE_FIELDS
from keras_pianogen.data.fields import Fields
from keras_pianogen.data.gaps import NO_GAP
from keras_pianogen.events import PITCHES
from keras_pianogen.generation.deviations import Touch
from keras_pianogen.generation.draws import Guided
from keras_pianogen.generation.grammar import BARRED
from keras_pianogen.generation.grammar import ENDING_RAMP
from keras_pianogen.generation.grammar import MEMORY
from keras_pianogen.generation.grammar import NEVER
from keras_pianogen.generation.steering import Steering
from keras_pianogen.generation.steering import no_strengths

ops = dispatch.host_ops()

START = (-1, -1, -1, -1)
END = (-2, -1, -1, -1)
PLAIN = Fields()


@dataclasses.dataclass(frozen=True)
class NoteGrammar:
    """Settings of the rules of valid performances of note tuples.

    No key that sounds is struck, and notes of one moment come in the order of
    their pitches: the model itself gives all else no probability.

    Args:
        max_notes: int, 1 to 128. Most pitches that sound at once. While so
            many sound, no note begins. Defaults to `64`: pedalled
            performances of MAESTRO reach 61.
        max_note_seconds: float above 0. Longest duration of a note, in
            seconds, or `None` for no limit, the default.
        max_silence_seconds: float above 0. Longest time in which no note
            sounds, in seconds, or `None` for no limit. Defaults to `5.0`.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> NoteGrammar(max_notes=10).max_notes
        10
    """

    max_notes: int = 64
    max_note_seconds: float | None = None
    max_silence_seconds: float | None = 5.0

    def __post_init__(self):
        if not 1 <= self.max_notes <= PITCHES:
            raise ValueError(
                f"`max_notes` must be from 1 to {PITCHES}. "
                f"Received: max_notes={self.max_notes}"
            )
        for name in ("max_note_seconds", "max_silence_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(
                    f"`{name}` must be above 0, or None. "
                    f"Received: {name}={value}"
                )

    def ticks(self, name, time_step):
        """A setting in ticks; one that is `None` is `NEVER`."""
        seconds = getattr(self, name)
        if seconds is None:
            return np.int32(NEVER)
        return np.int32(min(max(1, round(seconds / time_step)), NEVER))


class NoteLimits(typing.NamedTuple):
    """The numbers in the rules, as NumPy arrays or as tensors.

    Those without a shape hold for all pieces of the batch. Times are in ticks.
    """

    max_notes: object  # int
    max_ticks: object  # int, longest duration of a note
    max_silence: object  # int, longest time without a sounding note
    repeat_penalty: object  # float, nats for each recent note of a pitch
    begin: object  # int (batch,): new notes begin here at the earliest
    until: object  # int (batch,): a piece is over once its time is later
    end_from: object  # int (batch,): from here on the end may come
    end_by: object  # int (batch,): from here on only the end may come
    remaining: object = NEVER  # int, how many notes may still come
    gap_end: object = NEVER  # int, no note begins from here on
    below: object = PITCHES  # int, notes have lower pitches
    # The score: classes, int (notes, 3), see `data.scores`, and rows of -1;
    # what `deviations` makes of it; how many notes it has. () without one.
    score: object = ()
    score_bounds: object = ()  # int (notes, 2)
    score_touches: object = ()  # float (notes, 3)
    score_notes: object = ()
    # What is asked of the music from `plan_begin` on, in ticks: the classes of
    # controls, int (batch, steps, controls), and the values of the scales,
    # float (batch, steps, steering.COLUMNS), NaN where nothing is, spread over
    # `plan_ticks`. Without controls these are ().
    plan: object = ()
    targets: object = ()
    plan_begin: object = ()  # int (batch,)
    plan_ticks: object = ()  # int
    guidance: object = ()  # float, see `draws.Guided`; () without
    # What is added to the logits of pitches, by their distance from the last
    # note's, float (batch, 2 * PITCHES - 1); () without controls.
    intervals: object = ()


# The limits that have a number for each piece.
OF_A_PIECE = ("begin", "until", "end_from", "end_by", "plan_begin")


class NoteState(typing.NamedTuple):
    """What is known of each piece, as NumPy arrays or tensors."""

    sounding: object  # int (batch, 128): ticks each pitch sounds yet
    clock: object  # int (batch,): when the last note began
    last_pitch: object  # int (batch,), 0 before the first note
    heat: object  # float (batch, 128): how often each pitch was struck of late
    strengths: object  # float (batch, COLUMNS), see `steering.Steering`
    chord: object  # float (batch, 2), see `steering.Steering.chord_after`
    # Of a score: whether the next note begins a chord, bool (batch,), and how
    # many ticks the last note came after the first of its chord, int (batch,).
    opens: object
    spread: object


def initial_state(pieces):
    """The `NoteState` after the rows of each piece, in NumPy.

    Args:
        pieces: list of int arrays of shape (notes, fields), `START` first.
    """
    state = NoteState(
        sounding=np.zeros((len(pieces), PITCHES), "int32"),
        clock=np.zeros(len(pieces), "int32"),
        last_pitch=np.zeros(len(pieces), "int32"),
        heat=np.zeros((len(pieces), PITCHES), "float32"),
        strengths=no_strengths(len(pieces)),
        chord=np.zeros((len(pieces), 2), "float32"),
        opens=np.zeros(len(pieces), "bool"),
        spread=np.zeros(len(pieces), "int32"),
    )
    for i, rows in enumerate(pieces):
        rows = rows[1:]
        if not len(rows):
            continue
        starts = np.cumsum(rows[:, 0], dtype="int64")
        left = starts + rows[:, 3] - starts[-1]
        np.maximum.at(state.sounding[i], rows[:, 1], left)
        state.clock[i], state.last_pitch[i] = starts[-1], rows[-1, 1]
        fresh = MEMORY ** np.arange(len(rows))[::-1]
        np.add.at(state.heat[i], rows[:, 1], fresh)
    return state


class NextNote:
    """Chooses the next note of each piece from its hidden state.

    It has the methods of a `decoding.NextEvent`.

    Args:
        heads: a `NoteHeads`.
        draws: a `Draws`.
        state: the `NoteState` in which the loop begins.
        limits: a `NoteLimits`.
        fields: the `Fields` of rows. Defaults to the four of a note.

    Attributes:
        carried: what the loop carries of the state, and of the draws.
    """

    def __init__(self, heads, draws, state, limits, fields=PLAIN):
        self.form = heads.form
        self.fields = fields
        self.heads = dispatch.stepwise_heads(heads)
        self.limits = keras.tree.map_structure(ops.convert_to_tensor, limits)
        if not isinstance(self.limits.guidance, tuple):
            draws = Guided(draws, self.limits.guidance)
        self.draws = draws
        state = NoteState(*map(ops.convert_to_tensor, state))
        self.carried = state, draws.carried
        code = self.form.shift_code
        self.first_shifts = _int32(code.firsts)
        self.last_shifts = _int32(code.firsts + code.widths - 1)
        durations = _int32(self.form.duration_code.firsts)
        # A note that begins and ends in one tick would be silent.
        self.barred_durations = ops.logical_or(
            durations < 1, durations > self.limits.max_ticks
        )
        self.end, self.pitches = _int32(END), _int32(np.arange(PITCHES))
        self.no_score = _int32(np.full(len(SCORE_FIELDS), NOTHING))
        self.steering = Steering(self.form) if self._is_asked() else None
        no_score = isinstance(self.limits.score, tuple)
        self.touch = None if no_score else Touch(self.form)

    def _is_asked(self):
        """Whether anything may be asked of the music; if so, it is steered.

        Compiled functions serve requests that ask and those that don't.
        """
        targets = self.limits.targets
        if isinstance(targets, tuple):
            return False
        in_python = keras.config.backend() == "torch"
        return not in_python or not bool(ops.all(ops.isnan(targets)))

    def draw(self, hidden, state, random, made):
        """Draw notes, see `decoding.NextEvent.draw`.

        Args:
            hidden: tensor of shape (batch, hidden_dim).
            state: a `NoteState`.
            random: what the loop carries of the draws.
            made: int, or int tensor: notes since the loop began.

        Returns:
            A pair of rows, int32 (batch, fields), and what is carried of the
            draws.
        """
        note = self._of_score(self.limits.score, made)
        bounds = self._of_score(self.limits.score_bounds, made)
        if note is not None:  # Its key is released before it is struck.
            free = ops.where(self.pitches == note[1], 0, state.sounding)
            state = state._replace(sounding=free)
        hidden, sounding = hidden[:, None], state.sounding[:, None]
        ends, ticks, shift, random = self._shift(
            hidden, state, note, bounds, random
        )
        left = ops.maximum(sounding - ticks[:, None, None], 0)
        x = self.heads.with_shift(hidden, shift[:, None], left)
        if note is None:
            pitch, random = self._pitch(x, left, ticks, state, random)
        else:
            pitch = ops.zeros_like(ticks) + note[1]
        x = self.heads.with_pitch(x, pitch[:, None])
        logits = _one(self.heads.velocity(x)) + self._tilt("velocity", state)
        velocity, random = self.draws.draw(logits, random, field="velocity")
        x = self.heads.with_velocity(x, velocity[:, None])
        duration, random = self._duration(x, left, state, made, random)
        row = ops.stack([ticks, pitch, velocity, duration], axis=-1)
        parts = [ops.where(ends[:, None], self.end, row)]
        clock = state.clock + ticks
        if self.fields.infilling:
            parts.append(self._countdown(clock)[:, None])
        if self.fields.performing:
            following = self._of_score(self.limits.score, made + 1)
            if following is None:
                following = self.no_score
            parts.append(ops.zeros_like(ticks)[:, None] + following)
        if self.fields.controls.inputs:
            parts.append(self._asked(self.limits.plan, clock))
        return ops.concatenate(parts, axis=-1), random

    def _asked(self, plan, clock):
        """The rows of a plan (batch, steps, ...) at a time, (batch, ...)."""
        limits = self.limits
        steps, columns = plan.shape[1:]
        step = (clock - limits.plan_begin) * steps // limits.plan_ticks
        step = ops.clip(step, 0, steps - 1)
        first = ops.arange(ops.shape(clock)[0], dtype="int32") * steps
        return ops.take(ops.reshape(plan, (-1, columns)), first + step, axis=0)

    def _tilt(self, field, state):
        """What is added to the logits of a field, see `steering`."""
        if self.steering is None:
            return 0.0
        return self.steering.tilt(field, state.strengths)

    def _tilt_of_intervals(self, state):
        """What is added to the logits of pitches, by the last note's."""
        intervals = self.limits.intervals
        if isinstance(intervals, tuple):
            return 0.0
        steps = self.pitches - state.last_pitch[:, None] + PITCHES - 1
        return ops.take_along_axis(intervals, steps, axis=1)

    def _tilt_of_shifts(self, state):
        """What is added to the logits of shifts, see `steering`."""
        if self.steering is None:
            return 0.0
        targets = self._asked(self.limits.targets, state.clock)
        # The end of a gap's music is a wait until the gap's end.
        gap_end = self.limits.gap_end
        left = ops.where(gap_end < NEVER, gap_end - state.clock, 0)
        left = ops.maximum(left, 0)
        return self.steering.tilt_of_shifts(state.strengths, targets, left)

    def _of_score(self, rows, made):
        """The row of a note of the score, or `None` without one.

        Args:
            rows: tensor, a row for each note; or ().
            made: int, or int tensor: notes since the loop began.
        """
        if isinstance(rows, tuple):
            return None
        place = self.limits.score_notes - self.limits.remaining + made
        return ops.take(rows, ops.clip(place, 0, rows.shape[0] - 1), axis=0)

    def _countdown(self, clock):
        """The fifth field of notes that begin at `clock`, see `data.gaps`."""
        end = self.limits.gap_end
        left = 1 + ops.maximum(end - clock, 0)
        return ops.where(end < NEVER, left, NO_GAP)

    def _shift(self, hidden, state, note, bounds, random):
        """Whether a piece ends, the shift in ticks, and its class."""
        logits = _one(self.heads.shift(hidden, state.sounding[:, None]))
        earliest, latest = self._earliest(state), NEVER
        if note is not None:
            # At the same moment, notes come in the order of their pitches.
            earliest = ops.where(note[1] > state.last_pitch, 0, 1)
            earliest = ops.maximum(earliest, bounds[0] - state.spread)
            latest = ops.maximum(earliest, bounds[1] - state.spread)
        else:  # A score has its own density.
            logits = logits + self._tilt_of_shifts(state)
        logits = logits + self._shift_bias(state, earliest, latest)
        shift, random = self.draws.draw(logits, random, field="shift")
        ends = ops.equal(shift, self.form.end_class)
        shift = ops.minimum(shift, self.form.end_class - 1)
        ticks, random = self._ticks(self.form.shift_code, shift, random)
        ticks = ops.minimum(ops.maximum(ticks, earliest), latest)
        return ends, ticks, shift, random

    def _earliest(self, state):
        """The fewest ticks until the next note may begin, (batch,)."""
        in_order = ops.sort(state.sounding, axis=-1)
        earliest = ops.take(in_order, PITCHES - self.limits.max_notes, axis=-1)
        earliest = ops.maximum(earliest, self.limits.begin - state.clock)
        # At the same moment a note needs a free key that is no lower.
        free = ops.equal(state.sounding, 0)
        above = ops.logical_and(
            self.pitches >= state.last_pitch[:, None],
            self.pitches < self.limits.below,
        )
        at_once = ops.any(ops.logical_and(free, above), axis=-1)
        return ops.maximum(earliest, ops.where(at_once, 0, 1))

    def _shift_bias(self, state, earliest, last=NEVER):
        """What is added to the logits of shifts, (batch, classes)."""
        limits, clock = self.limits, state.clock
        latest = ops.max(state.sounding, axis=-1) + limits.max_silence
        latest = ops.maximum(latest, earliest)
        latest = ops.minimum(latest, limits.gap_end - 1 - clock)
        latest = ops.minimum(latest, last)[:, None]
        barred = ops.logical_or(
            self.last_shifts < earliest[:, None], self.first_shifts > latest
        )
        over = (clock >= limits.end_by)[:, None]
        shifts = ops.where(ops.logical_or(barred, over), BARRED, 0.0)
        whole = ops.maximum(limits.end_by - limits.end_from, 1)
        late = ops.cast(clock - limits.end_from, "float32")
        ramp = ENDING_RAMP * late / ops.cast(whole, "float32")
        end = ops.where(clock >= limits.end_from, ramp, BARRED)
        return ops.concatenate([shifts, end[:, None]], axis=-1)

    def _pitch(self, x, left, ticks, state, random):
        elapsed, last_pitch = ticks[:, None], state.last_pitch[:, None]
        logits = _one(self.heads.pitch(x, left, elapsed, last_pitch))
        logits = logits + self._tilt("pitch", state)
        logits = logits + self._tilt_of_intervals(state)
        logits = logits - self.limits.repeat_penalty * state.heat
        logits = ops.where(self.pitches < self.limits.below, logits, BARRED)
        return self.draws.draw(logits, random, field="pitch")

    def _duration(self, x, left, state, made, random):
        """The duration in ticks."""
        logits = _one(self.heads.duration(x, left))
        logits = logits + self._tilt("duration", state)
        if self.touch is not None:
            row = self._of_score(self.limits.score_touches, made)
            logits = logits + self.touch.tilt(row)
        logits = ops.where(self.barred_durations, BARRED, logits)
        duration, random = self.draws.draw(logits, random, field="duration")
        ticks, random = self._ticks(self.form.duration_code, duration, random)
        return ops.minimum(ticks, self.limits.max_ticks), random

    def _ticks(self, code, classes, random):
        """Any of the numbers of ticks that a class stands for, (batch,)."""
        in_python = keras.config.backend() == "torch"
        if in_python and int(ops.max(classes)) < code.direct:
            return classes, random
        numbers, random = self.draws.uniform(ops.shape(classes)[0], random)
        widths = ops.take(_int32(code.widths), classes)
        more = ops.cast(numbers * ops.cast(widths, "float32"), "int32")
        more = ops.minimum(more, widths - 1)
        return ops.take(_int32(code.firsts), classes) + more, random

    def follow(self, new, is_given, state, done):
        """What is known after a note of each piece.

        Args:
            new: int32 tensor (batch, fields), the rows of the notes.
            is_given: bool tensor (batch,): whether they are a prompt's.
            state: a `NoteState`.
            done: bool tensor (batch,): whether a piece has ended before.

        Returns:
            A pair of `state` and `done` after the notes.
        """
        ends = ops.logical_and(new[:, 0] == END[0], ops.logical_not(is_given))
        done = ops.logical_or(done, ends)
        begins = ops.logical_and(new[:, 0] == START[0], is_given)
        state = _unless(begins, state)
        fields = ops.unstack(ops.maximum(new, 0), axis=-1)
        shift, pitch, duration = fields[0], fields[1], fields[3]
        struck = ops.equal(self.pitches, pitch[:, None])
        struck = ops.logical_and(struck, ops.logical_not(begins)[:, None])
        clock = state.clock + shift
        left = ops.maximum(state.sounding - shift[:, None], 0)
        strengths, chord = self._followed(new, is_given, state, clock)
        opens, spread = self._place_in_chord(new, state, shift)
        state = NoteState(
            sounding=ops.where(struck, duration[:, None], left),
            clock=clock,
            last_pitch=pitch,
            heat=state.heat * MEMORY + ops.cast(struck, "float32"),
            strengths=strengths,
            chord=chord,
            opens=opens,
            spread=spread,
        )
        return state, ops.logical_or(done, clock > self.limits.until)

    def _place_in_chord(self, new, state, shift):
        """`NoteState.opens` and `NoteState.spread` after a note."""
        if self.touch is None:
            return state.opens, state.spread
        opens = new[:, self.fields.score][:, 0] > 0
        return opens, ops.where(state.opens, 0, state.spread + shift)

    def _followed(self, new, is_given, state, clock):
        """How strongly the next note is steered, and the last onset's notes.

        No note of a prompt makes the steering stronger or weaker.
        """
        if self.steering is None:
            return state.strengths, state.chord
        targets = self._asked(self.limits.targets, clock)
        found = self.steering.follow(state.strengths, targets, new, state.chord)
        chord = self.steering.chord_after(state.chord, new)
        is_given = is_given[:, None]
        return (
            ops.where(is_given, state.strengths, found),
            ops.where(is_given, state.chord, chord),
        )

    def state(self, carried):
        """The `NoteState` that another loop goes on from."""
        return carried


def next_note(model, draws, inputs, stops):
    """The `NextNote` of a model of notes, see `decoding.next_event`."""
    return NextNote(
        model.heads,
        draws,
        inputs.state,
        inputs.limits,
        model.backbone.fields,
    )


def _unless(begins, state):
    """The state, but nothing is known of pieces that begin, (batch,)."""
    goes_on = ops.logical_not(begins)
    return NoteState(
        sounding=ops.where(goes_on[:, None], state.sounding, 0),
        clock=ops.where(goes_on, state.clock, 0),
        last_pitch=ops.where(goes_on, state.last_pitch, 0),
        heat=ops.where(goes_on[:, None], state.heat, 0.0),
        strengths=ops.where(goes_on[:, None], state.strengths, 0.0),
        chord=ops.where(goes_on[:, None], state.chord, 0.0),
        opens=ops.logical_and(goes_on, state.opens),
        spread=ops.where(goes_on, state.spread, 0),
    )


def _one(logits):  # (batch, 1, classes) to (batch, classes)
    return ops.convert_to_tensor(logits[:, 0])


def _int32(numbers):
    return ops.convert_to_tensor(np.asarray(numbers, "int32"))
