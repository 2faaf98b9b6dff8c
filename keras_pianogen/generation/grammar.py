"""Which events may come next, so that what is sampled is always valid.

The grammar keeps, for each piece of a batch, what a player's hands would know:
which pitches sound and since when, the time, whether a velocity was said. From
that it bars events, inside the compiled sampling loop. Times are in ticks of
the vocabulary; arrays are (batch, 128), by pitch, or (batch,).
"""

import dataclasses

import numpy as np
from keras import ops

from keras_pianogen.events import PITCHES

BARRED = -1e9
# A time limit that no piece reaches, in ticks.
NEVER = 2**30
# How much of a pitch's recent strokes remains after one more note.
MEMORY = 0.95
# What `end` gains, in nats, from the beginning of its time to the end of it.
ENDING_RAMP = 20.0


@dataclasses.dataclass(frozen=True)
class EventGrammar:
    """The rules of valid performances.

    - A note-off is only for a pitch that sounds, a note-on only for one that
      is silent and that hasn't been struck in the same tick.
    - At most `max_notes` pitches sound; none sounds longer than
      `max_note_seconds`: time stands still until it is released.
    - After a velocity comes a note-on.
    - A piece that has a last event begins to close in time, so that all its
      notes are released by then.
    - After `max_silence_seconds` in which no note sounds, time stands still
      until one begins, or the piece ends.

    Args:
        max_notes: int, 1 to 128. Pitches that sound at once. Defaults to
            `64`: pedalled performances of MAESTRO reach 61.
        max_note_seconds: float. Seconds a note lasts at most. Defaults to
            `30.0`: nine in ten of MAESTRO's pieces have no note above 22.
        max_silence_seconds: float. Seconds at most in which no note sounds,
            or `None` for any. Defaults to `5.0`.

    Examples:
        >>> EventGrammar(max_notes=10).max_notes
        10
    """

    max_notes: int = 64
    max_note_seconds: float = 30.0
    max_silence_seconds: float | None = 5.0

    def __post_init__(self):
        if not 1 <= self.max_notes <= PITCHES:
            raise ValueError(
                f"`max_notes` must be from 1 to {PITCHES}. "
                f"Received: max_notes={self.max_notes}"
            )
        if not self.max_note_seconds > 0:
            raise ValueError(
                "`max_note_seconds` must be above 0. "
                f"Received: max_note_seconds={self.max_note_seconds}"
            )
        silence = self.max_silence_seconds
        if silence is not None and not silence > 0:
            raise ValueError(
                "`max_silence_seconds` must be above 0, or None. "
                f"Received: max_silence_seconds={silence}"
            )

    def max_ticks(self, vocabulary):
        return max(1, round(self.max_note_seconds / vocabulary.time_step))

    def max_silence(self, vocabulary):
        if self.max_silence_seconds is None:
            return NEVER
        ticks = self.max_silence_seconds / vocabulary.time_step
        return int(min(max(1, round(ticks)), NEVER))


def initial_state(vocabulary, pieces):
    """What is known after the events of each piece, in NumPy.

    Args:
        vocabulary: an `EventVocabulary`.
        pieces: list of 1-D arrays of ids.

    Returns:
        A dict: `since`, ticks of each sounding pitch's onset, `-1` where it
        is silent; `struck`, of each pitch's last onset, `-1` for none;
        `clock`, ticks of each piece; `after_velocity`, whether its last event
        was one; `heat`, how often each pitch was struck of late;
        `silent_since`, when the last note that sounded was released.
    """
    shape = len(pieces), PITCHES
    state = {
        "since": np.full(shape, -1, "int32"),
        "struck": np.full(shape, -1, "int32"),
        "clock": np.zeros(len(pieces), "int32"),
        "after_velocity": np.zeros(len(pieces), "bool"),
        "heat": np.zeros(shape, "float32"),
        "silent_since": np.zeros(len(pieces), "int32"),
    }
    for row, ids in enumerate(pieces):
        ticks = np.round(vocabulary.times(ids) / vocabulary.time_step)
        for event, tick in zip(ids, ticks.astype("int32")):
            pitch = (event - vocabulary.note_on_id) % PITCHES
            if vocabulary.note_on_id <= event < vocabulary.note_off_id:
                state["since"][row, pitch] = tick
                state["struck"][row, pitch] = tick
                state["heat"][row] *= MEMORY
                state["heat"][row, pitch] += 1
            elif vocabulary.note_off_id <= event < vocabulary.shift_id:
                state["since"][row, pitch] = -1
                if (state["since"][row] < 0).all():
                    state["silent_since"][row] = tick
        if len(ids):
            state["clock"][row] = ticks[-1]
            state["after_velocity"][row] = ids[-1] >= vocabulary.velocity_id
    return state


def advance(vocabulary, state, events):
    """The state after one more event of each piece, (batch,) ids."""
    pitch = ops.mod(events - vocabulary.note_on_id, PITCHES)
    own = pitch[:, None] == ops.arange(PITCHES, dtype="int32")
    is_note = (events >= vocabulary.note_on_id) & (events < vocabulary.shift_id)
    is_on = is_note & (events < vocabulary.note_off_id)
    on = own & is_on[:, None]
    off = own & (is_note & ops.logical_not(is_on))[:, None]
    is_velocity = events >= vocabulary.velocity_id
    is_shift = (events >= vocabulary.shift_id) & ops.logical_not(is_velocity)
    ticks = ops.where(is_shift, events - (vocabulary.shift_id - 1), 0)
    now = state["clock"][:, None]
    cooled = ops.where(is_on[:, None], state["heat"] * MEMORY, state["heat"])
    since = ops.where(off, -1, ops.where(on, now, state["since"]))
    falls_silent = is_note & ops.all(since < 0, axis=-1)
    return {
        "since": since,
        "struck": ops.where(on, now, state["struck"]),
        "clock": state["clock"] + ticks,
        "after_velocity": is_velocity,
        "heat": cooled + ops.where(on, 1.0, 0.0),
        "silent_since": ops.where(
            falls_silent, state["clock"], state["silent_since"]
        ),
    }


def bias(vocabulary, state, limits, size):
    """What to add to the logits of each piece's next event.

    Args:
        vocabulary: an `EventVocabulary`.
        state: see `initial_state`.
        limits: a dict: `max_notes` and `max_ticks`, int; `max_silence`,
            ticks, or no such key for any; `remaining`, the
            number of events that may still come, this one included;
            `end_from` and `end_by`, (batch,), ticks between which `end` may
            come, the second of which it must not miss; `repeat_penalty`,
            nats for each recent stroke of a pitch.
        size: int. The number of logits.

    Returns:
        A float tensor of shape (batch, size): 0, a penalty, or a bar.
    """
    since, clock = state["since"], state["clock"]
    batch = ops.shape(clock)[0]
    sounding = since >= 0
    count = ops.sum(ops.where(sounding, 1, 0), axis=-1)
    age = ops.where(sounding, clock[:, None] - since, -1)
    room = limits["max_ticks"] - ops.max(age, axis=-1)
    overdue = room <= 0
    after_velocity = state["after_velocity"]
    remaining = limits["remaining"]
    late = clock >= limits["end_by"]
    free = ops.logical_not(overdue | after_velocity | late)
    may_strike = (
        (count < limits["max_notes"])
        & (count + 1 <= remaining - 1)
        & ops.logical_not(overdue | late)
    )
    on = (
        ops.logical_not(sounding)
        & (state["struck"] < clock[:, None])
        & (may_strike | after_velocity)[:, None]
    )
    off = (
        sounding
        & ops.logical_not(after_velocity | late)[:, None]
        & (ops.logical_not(overdue)[:, None] | (age >= limits["max_ticks"]))
    )
    # What may not strike a note may wait: something must come.
    silent_room = limits.get("max_silence", NEVER) - (
        clock - state["silent_since"]
    )
    room = ops.where(
        (count == 0) & may_strike, ops.minimum(room, silent_room), room
    )
    steps = ops.arange(1, vocabulary.max_shift + 1, dtype="int32")
    shift = (free & (count <= remaining - 1))[:, None] & (
        steps <= room[:, None]
    )
    velocity = free & may_strike & (count + 1 <= remaining - 2)
    velocity = velocity & ops.any(on, axis=-1)
    velocity = ops.broadcast_to(
        velocity[:, None], (batch, vocabulary.velocity_bins)
    )
    on_penalty = limits["repeat_penalty"] * state["heat"]
    ending_time = ops.maximum(limits["end_by"] - limits["end_from"], 1)
    ramp = ops.cast(clock - limits["end_from"], "float32") / ops.cast(
        ending_time, "float32"
    )
    may_end = (clock >= limits["end_from"]) & ops.logical_not(after_velocity)
    end = ops.where(may_end, ENDING_RAMP * ramp, BARRED)[:, None]
    barred = ops.full((batch, 1), BARRED, "float32")
    parts = [
        barred,
        barred,
        end,
        ops.where(on, -on_penalty, BARRED),
        *(ops.where(part, 0.0, BARRED) for part in (off, shift, velocity)),
    ]
    if size > len(vocabulary):
        parts.append(ops.broadcast_to(
            barred, (batch, size - len(vocabulary))
        ))  # fmt: skip
    return ops.concatenate(parts, axis=-1)


def close(vocabulary, ids):
    """A piece's ids, and a note-off for every note that sounds at its end."""
    state = initial_state(vocabulary, [ids])
    sounding = np.flatnonzero(state["since"][0] >= 0)
    return np.append(ids, vocabulary.note_off_id + sounding).astype("int32")
