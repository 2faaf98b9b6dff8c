"""The rules of valid performances, which bar events before one is drawn.

For each piece of a batch the grammar keeps a `State`: which pitches sound and
since when, the time, whether a velocity was just given. `allowed` holds the
rules. It is written for Python's numbers, arrays and tensors alike, so that
`CompiledGrammar` follows it inside a compiled loop and `HostGrammar` in a loop
that runs in Python. Times are in ticks, time steps of the vocabulary.
"""

import dataclasses
import typing

import keras
import numpy as np
from keras import ops

from keras_pianogen.events import PITCHES
from keras_pianogen.generation.arguments import check_arguments
from keras_pianogen.generation.lifetimes import TABLE
from keras_pianogen.generation.lifetimes import TURNS
from keras_pianogen.generation.lifetimes import lifetimes
from keras_pianogen.generation.lifetimes import registers

# Added to the logit of an event that may not come.
BARRED = -1e9
# A time limit that no piece reaches, in ticks.
NEVER = 2**30
# `State.heat` of all pitches is multiplied by this at each note-on.
MEMORY = 0.95
# Nats added to the end's logit at `Limits.end_by`; none at `end_from`.
ENDING_RAMP = 20.0


@dataclasses.dataclass(frozen=True)
class EventGrammar:
    """Settings of the rules of valid performances.

    - A note-off comes only for a pitch that sounds. A note-on comes only for
      a pitch that is silent and that hasn't been struck in the same tick.
    - At most `max_notes` pitches sound at once.
    - No note sounds longer than its share of MAESTRO's long notes, see
      `generation.lifetimes`, nor longer than `max_note_seconds`: time stands
      still until it is released.
    - A velocity is followed by a note-on.
    - If the number of events is limited, a piece begins to release its notes
      early enough to release all of them.
    - If no note has sounded for `max_silence_seconds`, time stands still
      until a note begins or the piece ends.

    Args:
        max_notes: int, 1 to 128. Most pitches that sound at once. Defaults to
            `64`: pedalled performances of MAESTRO reach 61.
        max_note_seconds: float, above 0 to 7200. Longest duration of a note, in
            seconds. Defaults to `21.0`: of 10,000 notes of MAESTRO, 9,999 are
            shorter.
        max_silence_seconds: float, above 0 to 7200. Longest time in which no
            note sounds, in seconds, or `None` for no limit. Defaults to `5.0`.

    Raises:
        ValueError: if an argument is out of its range.

    Examples:
        >>> EventGrammar(max_notes=10).max_notes
        10
    """

    max_notes: int = 64
    max_note_seconds: float = 21.0
    max_silence_seconds: float | None = 5.0

    def __post_init__(self):
        check_arguments(vars(self))

    def lifetimes(self, vocabulary):
        """Longest durations of notes in ticks, see `lifetimes.lifetimes`."""
        ticks = lifetimes(self.max_note_seconds) / vocabulary.time_step
        return np.clip(np.round(ticks), 1, NEVER).astype("int32")

    def max_silence(self, vocabulary):
        if self.max_silence_seconds is None:
            return NEVER
        ticks = self.max_silence_seconds / vocabulary.time_step
        return round(min(max(1, ticks), NEVER))


class Limits(typing.NamedTuple):
    """The numbers in the rules, as NumPy arrays or as tensors.

    Those without a shape hold for all pieces of the batch.
    """

    max_notes: object  # int
    # int (TURNS, registers), longest durations of notes: that of a note lies
    # in the row of the tick at which it starts, modulo `TURNS`
    lifetimes: object
    max_silence: object  # int, longest time without a sounding note
    repeat_penalty: object  # float, nats for each recent note-on of a pitch
    until: object  # int (batch,): a piece is over once its time is later
    end_from: object  # int (batch,): from here on the end may come
    end_by: object  # int (batch,): from here on only the end may come
    # int, how many events may still come, when a call of the loop begins
    remaining: object = NEVER


class State(typing.NamedTuple):
    """What the grammar knows of each piece, as NumPy arrays or tensors."""

    since: object  # int (batch, 128): start of each sounding note, or -1
    struck: object  # int (batch, 128): last note-on of each pitch, or -1
    clock: object  # int (batch,): time of the piece
    after_velocity: object  # bool (batch,): whether the last event was one
    heat: object  # float (batch, 128): how often each pitch was struck of late
    silent_since: object  # int (batch,): when the last sounding note ended


def initial_state(vocabulary, pieces):
    """The `State` after the events of each piece, in NumPy.

    Args:
        vocabulary: an `EventVocabulary`.
        pieces: list of 1-D arrays of ids.
    """
    count, shape = len(pieces), (len(pieces), PITCHES)
    state = State(
        since=np.full(shape, -1, "int32"),
        struck=np.full(shape, -1, "int32"),
        clock=np.zeros(count, "int32"),
        after_velocity=np.zeros(count, "bool"),
        heat=np.zeros(shape, "float32"),
        silent_since=np.zeros(count, "int32"),
    )
    for row, ids in enumerate(pieces):
        if not len(ids):
            continue
        ticks = np.round(vocabulary.times(ids) / vocabulary.time_step)
        state.clock[row] = ticks[-1]
        state.after_velocity[row] = ids[-1] >= vocabulary.velocity_id
        first, off, stop = (
            vocabulary.note_on_id,
            vocabulary.note_off_id,
            vocabulary.shift_id,
        )
        is_key = (ids >= first) & (ids < stop)
        _press(
            state,
            row,
            (ids[is_key] - first) % PITCHES,
            ids[is_key] < off,
            ticks[is_key].astype("int32"),
        )
    return state


def _press(state, row, pitches, is_on, ticks):
    """Write the note-ons and note-offs of a piece to a state, in NumPy."""
    ons = pitches[is_on]
    # Of equal indices, the last one counts.
    state.struck[row, ons] = ticks[is_on]
    state.since[row, pitches] = np.where(is_on, ticks, -1)
    fresh = MEMORY ** np.arange(len(ons), dtype="float64")[::-1]
    state.heat[row] = np.bincount(ons, fresh, minlength=PITCHES)
    # Whether each event's key sounded before it, by the key's own last event.
    order = np.argsort(pitches, kind="stable")
    before = np.zeros(len(order), bool)
    same = pitches[order][1:] == pitches[order][:-1]
    before[order[1:]] = same & is_on[order][:-1]
    sounding = np.cumsum(is_on.astype(int) - before)
    silent = ~is_on & (sounding == 0)
    if silent.any():
        state.silent_since[row] = ticks[silent][-1]


class Allowed(typing.NamedTuple):
    """Which kinds of events may come next: bools, or an array for a batch."""

    on: object  # a note-on of a silent pitch that wasn't struck in this tick
    off: object  # a note-off of a sounding pitch
    overdue_only: object  # a note-off only of notes whose lifetime is over
    shift: object  # a time shift of at most `ticks`
    ticks: object
    # whether a time shift must also be at most `silent_ticks`
    is_silent: object
    silent_ticks: object
    velocity: object  # a velocity, if there is a note-on that may follow
    end: object


def allowed(sounding, ticks, state, limits, remaining):
    """The rules.

    Args:
        sounding: int, number of sounding pitches.
        ticks: int, until the first lifetime of a sounding note is over, or
            `NEVER`.
        state: an object with `clock`, `after_velocity` and `silent_since`.
        limits: a `Limits`.
        remaining: int, how many events may still come.
    """
    overdue, late = ticks <= 0, state.clock >= limits.end_by
    in_time = _not(overdue | late)
    after_velocity = state.after_velocity
    free = in_time & _not(after_velocity)
    # Each sounding note needs an event that releases it, a note two events.
    strike = (
        in_time & (sounding < limits.max_notes) & (sounding + 2 <= remaining)
    )
    return Allowed(
        on=strike | after_velocity,
        off=_not(after_velocity | late),
        overdue_only=overdue,
        shift=free & (sounding < remaining),
        ticks=ticks,
        # If no note may begin, time has to pass: some event must be possible.
        is_silent=strike & (sounding == 0),
        silent_ticks=limits.max_silence - (state.clock - state.silent_since),
        velocity=free & strike & (sounding + 3 <= remaining),
        end=_not(after_velocity) & (state.clock >= limits.end_from),
    )


def _not(x):
    """`not x`, of a Python bool, an array or a tensor."""
    return x ^ True


class CompiledGrammar:
    """The grammar of a compiled loop, which carries a `State` of tensors.

    Args:
        vocabulary: an `EventVocabulary`.
        size: int. The number of logits.
        state: the `State` in which the loop begins.
        limits: a `Limits`.
    """

    def __init__(self, vocabulary, size, state, limits):
        self.vocabulary, self.size = vocabulary, size
        self.carried, self.limits = keras.tree.map_structure(
            ops.convert_to_tensor, (state, limits)
        )
        self.registers = registers(np.arange(PITCHES, dtype="int32"))

    def bias(self, state, made):
        """What to add to the logits of each piece's next event.

        Args:
            state: the `State` that the loop carries.
            made: int tensor, the number of events since the loop began.

        Returns:
            A float32 tensor of shape (batch, size): 0, minus a penalty, what
            the end gains, or `BARRED`.
        """
        clock, limits = state.clock[:, None], self.limits
        sounds = state.since >= 0  # (batch, 128)
        left = ops.where(sounds, self._due(state.since) - clock, NEVER)
        may = allowed(
            ops.sum(ops.where(sounds, 1, 0), axis=-1),
            ops.min(left, axis=-1),
            state,
            limits,
            limits.remaining - made,
        )
        on = _not(sounds) & (state.struck < clock) & may.on[:, None]
        off = sounds & may.off[:, None]
        off = off & (_not(may.overdue_only)[:, None] | (left <= 0))
        velocity = may.velocity & ops.any(on, axis=-1)
        return self._logits(state, may, on, off, velocity)

    def _due(self, since):
        """When the lifetimes of notes are over that began at `since`."""
        places = since % TURNS * len(TABLE) + self.registers
        return since + ops.take(self.limits.lifetimes, places)

    def _logits(self, state, may, on, off, velocity):
        vocabulary, batch = self.vocabulary, ops.shape(state.clock)[0]
        ticks = ops.where(
            may.is_silent, ops.minimum(may.ticks, may.silent_ticks), may.ticks
        )
        steps = ops.arange(1, vocabulary.max_shift + 1, dtype="int32")
        shift = may.shift[:, None] & (steps <= ticks[:, None])
        velocity = ops.broadcast_to(
            velocity[:, None], (batch, vocabulary.velocity_bins)
        )
        penalty = self.limits.repeat_penalty * state.heat
        barred = ops.full((batch, 1), BARRED, "float32")
        parts = [
            barred,
            barred,
            self._end(state, may)[:, None],
            ops.where(on, -penalty, BARRED),
            *(ops.where(part, 0.0, BARRED) for part in (off, shift, velocity)),
        ]
        rest = self.size - len(vocabulary)
        if rest:
            parts.append(ops.broadcast_to(barred, (batch, rest)))
        return ops.cast(ops.concatenate(parts, axis=-1), "float32")

    def _end(self, state, may):
        limits = self.limits
        passed = ops.cast(state.clock - limits.end_from, "float32")
        whole = ops.maximum(limits.end_by - limits.end_from, 1)
        gain = ENDING_RAMP * (passed / ops.cast(whole, "float32"))
        return ops.where(may.end, gain, BARRED)

    def advance(self, state, events):
        """The `State` after one more event of each piece, (batch,) ids."""
        vocabulary, now = self.vocabulary, state.clock[:, None]
        is_velocity = events >= vocabulary.velocity_id
        is_shift = (events >= vocabulary.shift_id) & _not(is_velocity)
        is_on = (events >= vocabulary.note_on_id) & (
            events < vocabulary.note_off_id
        )
        is_off = (events >= vocabulary.note_off_id) & (
            events < vocabulary.shift_id
        )
        pitch = ops.mod(events - vocabulary.note_on_id, PITCHES)
        own = pitch[:, None] == ops.arange(PITCHES, dtype="int32")
        on, off = own & is_on[:, None], own & is_off[:, None]
        since = ops.where(off, -1, ops.where(on, now, state.since))
        falls_silent = (is_on | is_off) & ops.all(since < 0, axis=-1)
        heat = ops.where(is_on[:, None], state.heat * MEMORY, state.heat)
        ticks = ops.where(is_shift, events - (vocabulary.shift_id - 1), 0)
        return State(
            since=since,
            struck=ops.where(on, now, state.struck),
            clock=state.clock + ticks,
            after_velocity=is_velocity,
            heat=heat + ops.where(on, 1.0, 0.0),
            silent_since=ops.where(
                falls_silent, state.clock, state.silent_since
            ),
        )

    def end(self, done, state):
        """End the pieces whose time is up, in a bool tensor (batch,)."""
        return ops.logical_or(done, state.clock > self.limits.until)

    def state(self, carried):
        """The `State` after the loop, of what it carried last."""
        return carried


class NoGrammar:
    """Allows every event. It has the methods of a `CompiledGrammar`."""

    carried = ()

    def bias(self, state, made):
        return 0.0

    def advance(self, state, events):
        return state

    def end(self, done, state):
        return done

    def state(self, carried):
        return carried


def close(vocabulary, ids):
    """A piece's ids, and a note-off for every note that sounds at its end."""
    since = initial_state(vocabulary, [ids]).since[0]
    sounding = np.flatnonzero(since >= 0)
    return np.append(ids, vocabulary.note_off_id + sounding).astype("int32")
