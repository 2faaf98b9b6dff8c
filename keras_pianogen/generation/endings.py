"""Endings as those of real pieces: slower, and with a last chord that rings.

A model that is made to end within seconds stops in mid-air. In MAESTRO's train
split, half of the pieces sound on for 2.4 s after their last note began; their
last two seconds before it have 0.55 times as many notes as the music before,
and the two seconds before these 0.81 times. So the music of a piece with
`ending` slows down to half its speed over its last three seconds, and its last
chord rings. Times in seconds, or in ticks where it says so.
"""

import typing

import numpy as np

from keras_pianogen.events import PITCHES

# A piece with an ending may end between these shares of the length asked for.
EARLIEST_ENDING = 0.85
LATEST_ENDING = 1.1
SLOWING = 3.0  # of music as the model made it
GAIN = 0.5  # of its length, from full speed to half of it
RING = 2.4
CHORD = 0.25  # before the last onset: notes that begin within it ring too
# Shorter pieces have endings that are shorter in proportion.
WHOLE_FROM = 20.0


class Ending(typing.NamedTuple):
    """The ending of a piece of some length.

    Attributes:
        slowing: how much of the music slows down.
        ring: how long the last chord rings.
    """

    slowing: float
    ring: float

    @classmethod
    def of(cls, seconds):
        """The ending of a piece of a given length in seconds."""
        share = min(1.0, seconds / WHOLE_FROM)
        return cls(share * SLOWING, share * RING)

    @property
    def added(self):
        """Seconds that the piece becomes longer."""
        return GAIN * self.slowing + self.ring

    def slow(self, ticks, last, time_step):
        """When what happened at some ticks happens, in ticks.

        Args:
            ticks: int array.
            last: int. The tick at which the last note begins.
            time_step: float. Seconds of a tick.
        """
        whole = self.slowing / time_step
        into = np.clip(ticks - (last - whole), 0, whole)
        return np.round(ticks + GAIN * into**2 / whole).astype("int64")


def model_end(share, seconds):
    """When the model's part of a piece ends that ends at a share of its length.

    Args:
        share: float, such as `LATEST_ENDING`.
        seconds: float. The length that was asked for.
    """
    return share * seconds - Ending.of(seconds).added


def round_off(vocabulary, ids, prompt, seconds):
    """A piece of events with an ending; notes that sound are left sounding.

    Args:
        vocabulary: an `EventVocabulary`.
        ids: 1-D array of ids.
        prompt: int. Number of ids that stay as they are.
        seconds: float. The length that was asked for.

    Returns:
        A 1-D int32 array of ids.
    """
    ending, step = Ending.of(seconds), vocabulary.time_step
    ticks = np.round(vocabulary.times(ids) / step).astype("int64")
    ons = (ids >= vocabulary.note_on_id) & (ids < vocabulary.note_off_id)
    if not ons.any():
        return ids
    last = ticks[ons].max()
    slowed = ending.slow(ticks, last, step)
    chord = np.unique(ids[ons & (ticks >= last - round(CHORD / step))])
    kept = _without_last_offs(ids, chord)
    kept &= (ids < vocabulary.shift_id) | (ids >= vocabulary.velocity_id)
    made, now = ids[:prompt].tolist(), slowed[prompt - 1]
    for at in range(prompt, len(ids)):
        made += shifts(vocabulary, slowed[at] - now)
        made += [int(ids[at])] * int(kept[at])
        now = slowed[at]
    made += shifts(vocabulary, round(ending.ring / step))
    return np.array(made, "int32")


def round_off_rows(rows, prompt, seconds, time_step):
    """The same of a piece of notes, rows of shift, pitch, velocity, duration.

    Args:
        rows: int array of shape (notes, 4).
        prompt: int. Number of rows that stay as they are.
        seconds: float. The length that was asked for.
        time_step: float. Seconds of a tick.
    """
    if len(rows) <= prompt:
        return rows
    ending, rows = Ending.of(seconds), rows.copy()
    ticks = np.cumsum(np.maximum(rows[:, 0], 0))
    slowed = ending.slow(ticks, ticks[-1], time_step)
    rows[prompt:, 0] = np.diff(slowed, prepend=0)[prompt:]
    rings = ticks >= ticks[-1] - round(CHORD / time_step)
    rings[:prompt] = False
    end = slowed[-1] + round(ending.ring / time_step)
    rows[rings, 3] = np.maximum(rows[:, 3], end - slowed)[rings]
    return rows


def _without_last_offs(ids, chord):
    """Which events are not the ends of the last notes of some note-ons."""
    kept = np.ones(len(ids), bool)
    for on in chord:
        at = np.flatnonzero(ids == on)[-1]
        kept[at:] &= ids[at:] != on + PITCHES
    return kept


def shifts(vocabulary, ticks):
    """Time shifts of some ticks together."""
    longest, rest = divmod(int(ticks), vocabulary.max_shift)
    lengths = [vocabulary.max_shift] * longest + [rest] * (rest > 0)
    return [vocabulary.shift_id - 1 + length for length in lengths]
