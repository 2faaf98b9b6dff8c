"""Objects of miditoolkit and symusic as movements of keys and pedals.

These objects hold notes and controllers, but neither channels nor the order of
events within a tick. Parts of one program are one voice, and within a tick
pedals move before keys are released, as in MAESTRO's files. Both libraries
pair note-ons with note-offs by themselves and forget the controllers of a
track without notes: a path gives more than its object.
"""

import collections
import typing

import miditoolkit
import numpy as np

from keras_pianogen.midi.movements import MAX_TICK
from keras_pianogen.midi.movements import PLACE_BITS
from keras_pianogen.midi.movements import SUSTAIN
from keras_pianogen.midi.movements import Movements
from keras_pianogen.midi.movements import error
from keras_pianogen.midi.movements import is_setting


def from_symusic(score: typing.Any) -> Movements:
    """The movements of a `symusic.Score` in ticks."""
    keys, controls = [np.empty((6, 0), np.int64)], [np.empty((4, 0), np.int64)]
    for part in score.tracks:
        if part.is_drum:
            continue
        notes, moves = part.notes.numpy(), part.controls.numpy()
        start = notes["time"].astype(np.int64)
        rows = start, start + notes["duration"], notes["pitch"]
        voice = np.full(len(start), part.program)
        keys.append(np.stack((*rows, notes["velocity"], voice, voice)))
        rows = moves["time"], moves["number"], moves["value"]
        voice = np.full(len(moves["time"]), part.program)
        controls.append(np.stack((*rows, voice)).astype(np.int64))
    tempos = score.tempos.numpy()
    rows = tempos["time"], np.zeros(len(score.tempos)), tempos["mspq"]
    return _movements(
        score.ticks_per_quarter,
        np.concatenate(keys, axis=1),
        np.concatenate(controls, axis=1),
        np.stack(rows).astype(np.int64),
        sum(len(part.notes) for part in score.tracks if part.is_drum),
    )


def from_miditoolkit(name: str, file: miditoolkit.MidiFile) -> Movements:
    """The movements of a `miditoolkit.MidiFile`."""
    parts = [part for part in file.instruments if not part.is_drum]
    keys = [
        (note.start, note.end, note.pitch, note.velocity, *2 * (part.program,))
        for part in parts
        for note in part.notes
    ]
    controls = [
        (control.time, control.number, control.value, part.program)
        for part in parts
        for control in part.control_changes
    ]
    tempos = [
        (change.time, 0, 60e6 / change.tempo if change.tempo else 0)
        for change in file.tempo_changes
    ]
    return _movements(
        file.ticks_per_beat,
        _rows(name, keys, 6),
        _rows(name, controls, 4),
        _rows(name, tempos, 3),
        sum(len(part.notes) for part in file.instruments if part.is_drum),
    )


def _movements(
    ticks_per_beat: int,
    keys: np.ndarray,
    controls: np.ndarray,
    tempos: np.ndarray,
    drum_notes: int,
) -> Movements:
    """Movements whose times are ticks so far; pedals move first in each."""
    keys[:2] = (keys[:2] << PLACE_BITS) + 1
    controls[0] <<= PLACE_BITS
    number = controls[1]
    repairs: collections.Counter[str] = collections.Counter()
    return Movements(
        ticks_per_beat,
        keys,
        controls[:, number == SUSTAIN][[0, 2, 3]],
        controls[:, is_setting(number)],
        tempos,
        drum_notes,
        repairs,
    )


def _rows(name: str, values: list, width: int) -> np.ndarray:
    """Numbers that a user may have set to anything, rounded to integers."""
    try:
        rows = np.array(values, np.float64).reshape(-1, width).T
    except (TypeError, ValueError, OverflowError) as reason:
        raise error(name, "numbers", reason) from reason
    if not (np.abs(rows) <= MAX_TICK).all():
        raise error(name, f"numbers up to {MAX_TICK:,}", "one beyond")
    return np.rint(rows).astype(np.int64)
