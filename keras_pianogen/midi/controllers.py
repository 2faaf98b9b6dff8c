"""What the controllers of a source do to its keys and pedals.

Controllers are an int64 array of the rows moment, number, value and voice, see
`movements`: (4, changes).
"""

import numpy as np

from keras_pianogen.midi.movements import CUT
from keras_pianogen.midi.movements import PRESS
from keras_pianogen.midi.movements import RELEASE
from keras_pianogen.midi.movements import VOICE

# The damper pedal, and the controllers that end what sounds or is held; 124 to
# 127 release all keys, as 123 does.
SUSTAIN, SOUND_OFF, RESET, NOTES_OFF = 64, 120, 121, 123


def end_keys(keys: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Ends the strokes of a voice at all-notes-off and all-sound-off.

    Args:
        keys: the rows of `Movements.keys`, changed in place.
        controls: controllers, see above.

    Returns:
        The numbers of the strokes that end earlier by it.
    """
    number = controls[1]
    stops = controls[:, (number == SOUND_OFF) | (number >= NOTES_OFF)]
    ended = [np.empty(0, np.int64)]
    for voice in np.unique(stops[3]):
        moments = np.sort(stops[0, stops[3] == voice])
        mine = np.flatnonzero(keys[VOICE] == voice)
        place = np.searchsorted(moments, keys[PRESS, mine])
        stop = np.append(moments, np.iinfo(np.int64).max)[place]
        earlier = stop < keys[RELEASE, mine]
        keys[RELEASE, mine[earlier]] = stop[earlier]
        ended.append(mine[earlier])
    return np.concatenate(ended)


def pedals_of(controls: np.ndarray) -> np.ndarray:
    """The movements of pedals; a reset lifts them, all-sound-off cuts.

    Returns:
        The rows of `Movements.pedals`.
    """
    moment, number, value, voice = controls
    value = np.where(number == RESET, 0, value)
    value = np.where(number == SOUND_OFF, CUT, value)
    counts = np.isin(number, (SUSTAIN, RESET, SOUND_OFF))
    return np.stack([moment, value, voice])[:, counts]


def settings_of(controls: np.ndarray) -> np.ndarray:
    """The controllers that change no note as it is read."""
    number = controls[1]
    ends = (number == SOUND_OFF) | (number >= NOTES_OFF)
    return controls[:, (number != SUSTAIN) & ~ends]
