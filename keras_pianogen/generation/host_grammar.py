"""The grammar of a sampling loop that runs in Python, as PyTorch's does.

The rules are those of `grammar.advance` and `grammar.bias`, which are for
compiled loops. Here each piece keeps its few sounding pitches in a dictionary,
so that an event costs microseconds. Times are in ticks of the vocabulary.
"""

import numpy as np

from keras_pianogen.events import PITCHES
from keras_pianogen.generation.grammar import BARRED
from keras_pianogen.generation.grammar import ENDING_RAMP
from keras_pianogen.generation.grammar import MEMORY
from keras_pianogen.generation.grammar import NEVER

BOUNDS = ("until", "end_from", "end_by")


class HostGrammar:
    """What is known of each piece, changed in place.

    Args:
        vocabulary: an `EventVocabulary`.
        state: arrays, see `grammar.initial_state`; they are copied.
        limits: see `grammar.bias`.
        size: int. The number of logits.
    """

    def __init__(self, vocabulary, state, limits, size):
        self._state = {key: np.array(value) for key, value in state.items()}
        count = len(self._state["clock"])
        self._bias = np.empty((count, size), "float32")
        self._remaining = int(limits["remaining"])
        self._pieces = [
            _Piece(vocabulary, self._state, limits, row) for row in range(count)
        ]

    def bias(self, made):
        """See `grammar.bias`; `made` events came since the beginning."""
        for piece, row in zip(self._pieces, self._bias, strict=True):
            piece.write_bias(row, self._remaining - made)
        return self._bias

    def advance(self, events):
        """Notes one more event of each piece, a list of ids."""
        for piece, event in zip(self._pieces, events, strict=True):
            piece.advance(event)

    def over(self):
        """Whether each piece's time is up."""
        return np.array([piece.clock > piece.until for piece in self._pieces])

    def state(self):
        """The arrays of `grammar.initial_state`, as they are now."""
        for row, piece in enumerate(self._pieces):
            piece.since[:] = -1
            for pitch, start in piece.sounding.items():
                piece.since[pitch] = start
            for key in ("clock", "after_velocity", "silent_since"):
                self._state[key][row] = getattr(piece, key)
        return self._state


class _Piece:
    def __init__(self, vocabulary, state, limits, row):
        self.vocabulary = vocabulary
        # Views: what is written to them is written to `state`.
        self.since, self.struck, self.heat = (
            state[key][row] for key in ("since", "struck", "heat")
        )
        self.clock = int(state["clock"][row])
        self.after_velocity = bool(state["after_velocity"][row])
        self.silent_since = int(state["silent_since"][row])
        # The pitch that has sounded longest comes first.
        oldest_first = np.argsort(self.since, kind="stable").tolist()
        self.sounding = {
            pitch: int(self.since[pitch])
            for pitch in oldest_first
            if self.since[pitch] >= 0
        }
        self.just_struck = set(
            np.flatnonzero(self.struck >= self.clock).tolist()
        )
        self.until, self.end_from, self.end_by = (
            int(limits[key][row]) for key in BOUNDS
        )
        self.max_notes = int(limits["max_notes"])
        self.max_ticks = int(limits["max_ticks"])
        self.max_silence = int(limits.get("max_silence", NEVER))
        self.repeat_penalty = float(limits["repeat_penalty"])

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
        if event < vocabulary.note_off_id:
            self.sounding[pitch] = self.struck[pitch] = self.clock
            self.just_struck.add(pitch)
            self.heat *= np.float32(MEMORY)
            self.heat[pitch] += 1
        elif not self.sounding:
            self.silent_since = self.clock

    def write_bias(self, bias, remaining):
        vocabulary, clock, count = (
            self.vocabulary, self.clock, len(self.sounding)
        )  # fmt: skip
        after_velocity = self.after_velocity
        oldest = next(iter(self.sounding.values()), clock + 1)
        room = self.max_ticks - (clock - oldest)
        overdue, late = room <= 0, clock >= self.end_by
        free = not (overdue or late or after_velocity)
        may_strike = (
            count < self.max_notes
            and count + 2 <= remaining
            and not (overdue or late)
        )
        bias[:] = BARRED
        if may_strike or after_velocity:
            self._write_ons(bias)
        if not (after_velocity or late):
            for pitch, start in self.sounding.items():
                if not overdue or clock - start >= self.max_ticks:
                    bias[vocabulary.note_off_id + pitch] = 0
        if free and count < remaining:
            if may_strike and not count:
                room = min(room, self.max_silence - clock + self.silent_since)
            steps = max(0, min(room, vocabulary.max_shift))
            bias[vocabulary.shift_id : vocabulary.shift_id + steps] = 0
        if free and may_strike and count + 3 <= remaining:
            if len(self.just_struck | self.sounding.keys()) < PITCHES:
                bias[vocabulary.velocity_id : len(vocabulary)] = 0
        if clock >= self.end_from and not after_velocity:
            ramp = (clock - self.end_from) / max(self.end_by - self.end_from, 1)
            bias[vocabulary.end_id] = ENDING_RAMP * ramp

    def _write_ons(self, bias):
        first = self.vocabulary.note_on_id
        ons = bias[first : first + PITCHES]
        ons[:] = 0
        if self.repeat_penalty:
            ons[:] = np.float32(-self.repeat_penalty) * self.heat
        for pitches in (self.sounding, self.just_struck):
            for pitch in pitches:
                ons[pitch] = BARRED
