"""The player's keys and pedal, and the notes of both players so far.

Times are in seconds since the duet began.
"""

import bisect

import numpy as np

from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import cut_overlaps

SUSTAIN = 64
DOWN = 64  # from this value on, a pedal is down
ALL_OFF = (120, 123)
# A note that began so long ago has no neighbour of its chord still to come.
SETTLED = 0.1
SHORTEST = 0.01
# A note that is held for longer counts as ended, so that what follows it can be
# read ahead.
LONGEST = 8.0


class Keyboard:
    """What the player does, as notes.

    A note ends when its key is up and the pedal too, or when its key is struck
    again.

    Attributes:
        down: set of the pitches whose keys are down.
        onsets: list of when the player's keys were struck since `new_phrase`.
        up_since: when the last key was released.
    """

    def __init__(self):
        # Lists of start, end or None, pitch and velocity, in order.
        self._notes = []
        self._own = []  # those of the player since `new_phrase`
        self._open = {}  # by pitch, the player's notes that sound
        self._pedal = False
        self.down, self.onsets, self.up_since = set(), [], 0.0

    def new_phrase(self):
        """Begin a new phrase: what was played before is part of no answer."""
        self.onsets, self._own = [], []

    def take(self, message, now):
        """Follow a MIDI message of the player.

        Args:
            message: a `mido.Message`.
            now: when it came.
        """
        if message.type == "note_on" and message.velocity > 0:
            self._strike(message.note, message.velocity, now)
        elif message.type in ("note_on", "note_off"):
            self._release(message.note, now)
        elif message.type == "control_change":
            if message.control == SUSTAIN:
                self._move_pedal(message.value >= DOWN, now)
            elif message.control in ALL_OFF:
                for pitch in tuple(self.down):
                    self._release(pitch, now)

    def _strike(self, pitch, velocity, now):
        self._end(pitch, now)
        note = [now, None, pitch, velocity]
        self._own.append(note)
        bisect.insort(self._notes, note, key=lambda x: x[0])
        self._open[pitch] = note
        self.down.add(pitch)
        self.onsets.append(now)

    def _release(self, pitch, now):
        if pitch in self.down:
            self.down.discard(pitch)
            self.up_since = now
        if not self._pedal:
            self._end(pitch, now)

    def _move_pedal(self, is_down, now):
        self._pedal = is_down
        if not is_down:
            for pitch in set(self._open) - self.down:
                self._end(pitch, now)

    def _end(self, pitch, now):
        note = self._open.pop(pitch, None)
        if note is not None:
            note[1] = max(now, note[0] + SHORTEST)

    def add(self, notes):
        """Add notes of the partner, `(start, end, pitch, velocity)` each."""
        self._notes.extend(map(list, notes))
        self._notes.sort(key=lambda note: note[0])

    def settled(self, now):
        """The notes that will stay as they are, up to the first that may not.

        Returns:
            An array of `NOTE_DTYPE`.
        """
        for pitch, note in tuple(self._open.items()):
            if now - note[0] > LONGEST:
                self._end(pitch, note[0] + LONGEST)
        stop = bisect.bisect_left(
            self._notes, now - SETTLED, key=lambda note: note[0]
        )
        open_ones = (
            i for i, note in enumerate(self._notes[:stop]) if note[1] is None
        )
        return _array(self._notes[: next(open_ones, stop)])

    def all(self, now):
        """All notes; those that still sound end now.

        Returns:
            An array of `NOTE_DTYPE`.
        """
        return _array(self._notes, now)

    def phrase(self, now):
        """The player's notes since `new_phrase`, an array of `NOTE_DTYPE`."""
        return _array(self._own, now)


def _array(notes, now=0.0):
    """Notes as an array; those that still sound end now."""
    if not notes:
        return np.empty(0, NOTE_DTYPE)
    rows = [
        (start, max(now, start + SHORTEST) if end is None else end, *x)
        for start, end, *x in notes
    ]
    found = check_notes(np.array(rows, NOTE_DTYPE))
    found["end"] = cut_overlaps(found)
    return found
