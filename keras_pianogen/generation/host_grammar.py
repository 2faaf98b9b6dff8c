"""The grammar of a loop that runs in Python, as PyTorch's does.

It follows the same rules, `grammar.allowed`. A piece's sounding pitches lie in
a dictionary, so that one event of one piece costs 51 microseconds; with the
tensors of `CompiledGrammar` it would cost 366. (For sixteen pieces at once it
is 626 against 411. Measured with PyTorch on two CPU cores.)
"""

import numpy as np
from keras import ops

from keras_pianogen.events import PITCHES
from keras_pianogen.generation.grammar import BARRED
from keras_pianogen.generation.grammar import ENDING_RAMP
from keras_pianogen.generation.grammar import MEMORY
from keras_pianogen.generation.grammar import NEVER
from keras_pianogen.generation.grammar import Limits
from keras_pianogen.generation.grammar import State
from keras_pianogen.generation.grammar import allowed
from keras_pianogen.generation.lifetimes import TURNS
from keras_pianogen.generation.lifetimes import registers

# Fields of `Limits` that have a value for each piece.
OF_A_PIECE = ("until", "end_from", "end_by")
REGISTERS = registers(np.arange(PITCHES)).tolist()


class HostGrammar:
    """A grammar that changes in place, so that the loop carries nothing.

    It has the methods of a `CompiledGrammar`.

    Args:
        vocabulary: an `EventVocabulary`.
        size: int. The number of logits.
        state: the `State` in which the loop begins, of NumPy arrays or
            tensors. It is copied.
        limits: a `Limits`.
    """

    carried = ()

    def __init__(self, vocabulary, size, state, limits):
        self._state = State(*(np.array(ops.convert_to_numpy(x)) for x in state))
        count = len(self._state.clock)
        self._bias = np.empty((count, size), "float32")
        self._pieces = [
            _Piece(vocabulary, self._state, limits, row) for row in range(count)
        ]

    def bias(self, state, made):
        """See `CompiledGrammar.bias`."""
        for piece, row in zip(self._pieces, self._bias, strict=True):
            piece.write_bias(row, made)
        return self._bias

    def advance(self, state, events):
        """See `CompiledGrammar.advance`."""
        for piece, event in zip(self._pieces, events.tolist(), strict=True):
            piece.advance(event)
        return state

    def end(self, done, state):
        """See `CompiledGrammar.end`."""
        over = [piece.clock > piece.limits.until for piece in self._pieces]
        return done | np.array(over)

    def state(self, carried):
        """The `State` as it is now, in NumPy."""
        for row, piece in enumerate(self._pieces):
            piece.since[:] = -1
            for pitch, start in piece.sounding.items():
                piece.since[pitch] = start
            for name in ("clock", "after_velocity", "silent_since"):
                getattr(self._state, name)[row] = getattr(piece, name)
        return self._state


def _of_a_piece(limits, row):
    """The `Limits` of one piece in Python's numbers."""
    numbers = limits._asdict()
    lifetimes = np.asarray(numbers.pop("lifetimes"))
    for name, x in numbers.items():
        x = x[row] if name in OF_A_PIECE else x
        numbers[name] = np.asarray(x).item()
    return Limits(lifetimes=lifetimes, **numbers)


class _Piece:
    def __init__(self, vocabulary, state, limits, row):
        self.vocabulary = vocabulary
        # Views: `struck` and `heat` are kept up to date in the state itself.
        self.since, self.struck, self.heat = (
            array[row] for array in (state.since, state.struck, state.heat)
        )
        self.clock = int(state.clock[row])
        self.after_velocity = bool(state.after_velocity[row])
        self.silent_since = int(state.silent_since[row])
        self.limits = _of_a_piece(limits, row)
        # The start of each sounding pitch, and the end of its lifetime.
        self.sounding, self.due = {}, {}
        for pitch in np.flatnonzero(self.since >= 0).tolist():
            self._begin(pitch, int(self.since[pitch]))
        self.just_struck = set(
            np.flatnonzero(self.struck >= self.clock).tolist()
        )

    def _begin(self, pitch, tick):
        lifetime = self.limits.lifetimes[tick % TURNS, REGISTERS[pitch]]
        self.sounding[pitch] = tick
        self.due[pitch] = tick + int(lifetime)

    def advance(self, event):
        vocabulary = self.vocabulary
        self.after_velocity = event >= vocabulary.velocity_id
        if event < vocabulary.note_on_id or self.after_velocity:
            return
        if event >= vocabulary.shift_id:
            self.clock += event - vocabulary.shift_id + 1
            self.just_struck.clear()
            return
        pitch = (event - vocabulary.note_on_id) % PITCHES
        self.sounding.pop(pitch, None)
        self.due.pop(pitch, None)
        if event < vocabulary.note_off_id:
            self._begin(pitch, self.clock)
            self.struck[pitch] = self.clock
            self.just_struck.add(pitch)
            self.heat *= np.float32(MEMORY)
            self.heat[pitch] += 1
        elif not self.sounding:
            self.silent_since = self.clock

    def write_bias(self, bias, made):
        vocabulary, clock, limits = self.vocabulary, self.clock, self.limits
        may = allowed(
            len(self.sounding),
            min(self.due.values(), default=clock + NEVER) - clock,
            self,
            limits,
            limits.remaining - made,
        )
        bias[:] = BARRED
        if may.on:
            self._write_ons(bias)
        if may.off:
            for pitch, due in self.due.items():
                if not may.overdue_only or due <= clock:
                    bias[vocabulary.note_off_id + pitch] = 0
        if may.shift:
            ticks = may.ticks
            if may.is_silent:
                ticks = min(ticks, may.silent_ticks)
            ticks = max(0, min(ticks, vocabulary.max_shift))
            bias[vocabulary.shift_id : vocabulary.shift_id + ticks] = 0
        if may.velocity:
            if len(self.just_struck | self.sounding.keys()) < PITCHES:
                bias[vocabulary.velocity_id : len(vocabulary)] = 0
        if may.end:
            whole = max(limits.end_by - limits.end_from, 1)
            ramp = (clock - limits.end_from) / whole
            bias[vocabulary.end_id] = ENDING_RAMP * ramp

    def _write_ons(self, bias):
        first = self.vocabulary.note_on_id
        ons = bias[first : first + PITCHES]
        ons[:] = 0
        if self.limits.repeat_penalty:
            ons[:] = np.float32(-self.limits.repeat_penalty) * self.heat
        for pitches in (self.sounding, self.just_struck):
            for pitch in pitches:
                ons[pitch] = BARRED
