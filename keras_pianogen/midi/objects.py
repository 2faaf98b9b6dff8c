"""Objects of miditoolkit and symusic as movements of keys and pedals.

These objects hold notes and controllers, but neither channels nor the order of
events within a tick. Parts of one program share their pedals, and within a tick
controllers move before keys do, as in MAESTRO's files. Both libraries pair
note-ons with note-offs by themselves and forget the controllers of a track
without notes: a path gives more than its object.
"""

import collections
import typing

import miditoolkit
import numpy as np

from keras_pianogen.midi.controllers import end_keys
from keras_pianogen.midi.controllers import pedals_of
from keras_pianogen.midi.controllers import settings_of
from keras_pianogen.midi.movements import MAX_TICK
from keras_pianogen.midi.movements import PLACE_BITS
from keras_pianogen.midi.movements import VOICE
from keras_pianogen.midi.movements import Movements
from keras_pianogen.midi.movements import error


def from_symusic(score: typing.Any) -> Movements:
    """The movements of a `symusic.Score` in ticks."""
    parts = [part for part in score.tracks if not part.is_drum]
    keys, controls = [np.empty((5, 0), np.int64)], [np.empty((4, 0), np.int64)]
    for index, part in enumerate(parts):
        notes, moves = part.notes.numpy(), part.controls.numpy()
        start = notes["time"].astype(np.int64)
        rows = start, start + notes["duration"], notes["pitch"]
        voice = np.full(len(start), index)
        keys.append(np.stack((*rows, notes["velocity"], voice)))
        rows = moves["time"], moves["number"], moves["value"]
        voice = np.full(len(moves["time"]), index)
        controls.append(np.stack((*rows, voice)).astype(np.int64))
    tempos = score.tempos.numpy()
    rows = tempos["time"], np.zeros(len(score.tempos)), tempos["mspq"]
    return _movements(
        score.ticks_per_quarter,
        [part.program for part in parts],
        np.concatenate(keys, axis=1),
        np.concatenate(controls, axis=1),
        np.stack(rows).astype(np.int64),
        sum(len(part.notes) for part in score.tracks if part.is_drum),
    )


def from_miditoolkit(name: str, file: miditoolkit.MidiFile) -> Movements:
    """The movements of a `miditoolkit.MidiFile`."""
    parts = [part for part in file.instruments if not part.is_drum]
    keys = [
        (note.start, note.end, note.pitch, note.velocity, index)
        for index, part in enumerate(parts)
        for note in part.notes
    ]
    controls = [
        (control.time, control.number, control.value, index)
        for index, part in enumerate(parts)
        for control in part.control_changes
    ]
    tempos = [
        (change.time, 0, 60e6 / change.tempo if change.tempo else 0)
        for change in file.tempo_changes
    ]
    programs = _rows(name, [part.program for part in parts], 1)
    return _movements(
        file.ticks_per_beat,
        programs[0].tolist(),
        _rows(name, keys, 5),
        _rows(name, controls, 4),
        _rows(name, tempos, 3),
        sum(len(part.notes) for part in file.instruments if part.is_drum),
    )


def _movements(
    ticks_per_beat: int,
    programs: list[int],
    keys: np.ndarray,
    controls: np.ndarray,
    tempos: np.ndarray,
    drum_notes: int,
) -> Movements:
    """Movements of parts, whose numbers are voices and times ticks so far.

    Controllers move first in each tick. They release the keys of their part;
    pedals act on all parts of a program.
    """
    keys[:2] = (keys[:2] << PLACE_BITS) + 1
    controls[0] <<= PLACE_BITS
    end_keys(keys, controls)
    program_of = np.array(programs, np.int64)
    keys[VOICE] = program_of[keys[VOICE]]
    controls[3] = program_of[controls[3]]
    return Movements(
        ticks_per_beat,
        np.concatenate([keys, keys[VOICE:]]),
        pedals_of(controls),
        settings_of(controls),
        tempos,
        drum_notes,
        collections.Counter(),
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
