"""Parts of MIDI files as they are played: keys, and controllers as they move.

`read_notes` gives one performance, in which the pedal lengthens notes. A part
keeps both apart, so that a file can be written again as it was. Times in
seconds. A part is one channel, or one program where channels are not known.
"""

import dataclasses
import os
import pathlib
import typing

import miditoolkit
import numpy as np

from keras_pianogen.midi.controllers import SOUND_OFF
from keras_pianogen.midi.controllers import SUSTAIN
from keras_pianogen.midi.movements import CUT
from keras_pianogen.midi.movements import MOMENT
from keras_pianogen.midi.movements import PEDAL_VOICE
from keras_pianogen.midi.movements import PLACE_BITS
from keras_pianogen.midi.movements import PROGRAM
from keras_pianogen.midi.movements import RELEASE
from keras_pianogen.midi.movements import VALUE
from keras_pianogen.midi.movements import VOICE
from keras_pianogen.midi.movements import Movements
from keras_pianogen.midi.parsing import open_source
from keras_pianogen.midi.reading import PEDAL_DOWN
from keras_pianogen.midi.reading import one_note_at_a_time
from keras_pianogen.midi.reading import sustained_ends
from keras_pianogen.midi.writing import save
from keras_pianogen.midi.writing import write_midi

# A movement of a controller, such as a pedal.
MOVEMENT_DTYPE = np.dtype([("time", "f8"), ("number", "i2"), ("value", "i2")])


class Part(typing.NamedTuple):
    """What one channel plays.

    Attributes:
        keys: array of `NOTE_DTYPE`; a note ends where its key is released.
        ends: seconds at which these notes cease to sound, (notes,).
        moves: array of `MOVEMENT_DTYPE` in order of time, without those of
            controllers that release keys.
        program: General MIDI program, 0 to 127.
    """

    keys: np.ndarray
    ends: np.ndarray
    moves: np.ndarray
    program: int = 0

    @classmethod
    def of_notes(cls, notes: np.ndarray) -> "Part":
        """A part without controllers."""
        return cls(notes, notes["end"], np.empty(0, MOVEMENT_DTYPE))


def read_parts(source: object) -> list[Part]:
    """Reads the parts of a performance, by the rules of `read_notes`.

    Args:
        source: what `read_notes` takes.

    Raises:
        MidiError, OSError, TypeError: as `read_notes` does.
    """
    _, played = open_source(source)
    ends = played.seconds(sustained_ends(played))
    parts = []
    for voice in np.unique(played.keys[VOICE]):
        mine = played.keys[VOICE] == voice
        own = dataclasses.replace(played, keys=played.keys[:, mine])
        released = played.seconds(own.keys[RELEASE] >> PLACE_BITS)
        parts.append(
            Part(
                one_note_at_a_time(own, released),
                one_note_at_a_time(own, ends[mine])["end"],
                _moves(played, voice),
                int(own.keys[PROGRAM, 0]),
            )
        )
    return parts


def _moves(played: Movements, voice: int) -> np.ndarray:
    """How a voice's controllers move, an array of `MOVEMENT_DTYPE`."""
    pedals, settings = played.pedals, played.settings
    pedals = pedals[:, pedals[PEDAL_VOICE] == voice]
    settings = settings[:, settings[-1] == voice]
    cuts = pedals[VALUE] == CUT
    number = np.where(cuts, SOUND_OFF, SUSTAIN)
    rows = np.stack([pedals[MOMENT], number, np.where(cuts, 0, pedals[VALUE])])
    rows = np.concatenate([rows, settings[:3]], axis=1)
    moment, number, value = rows[:, np.argsort(rows[0], kind="stable")]
    moves = np.empty(len(moment), MOVEMENT_DTYPE)
    moves["time"] = played.seconds(moment >> PLACE_BITS)
    moves["number"], moves["value"] = number, value
    return moves


def write_parts(
    parts: list[Part], path: str | os.PathLike[str] | None = None
) -> miditoolkit.MidiFile:
    """Writes parts as MIDI, each as a track with a channel of its own.

    Args:
        parts: one or more parts.
        path: where to write the file; by default none is written.

    Returns:
        A `miditoolkit.MidiFile`.

    Raises:
        ValueError: if a time is beyond what `write_midi` writes.
    """
    files = [write_midi(part.keys, program=part.program) for part in parts]
    file = files[0]
    file.instruments = [other.instruments[0] for other in files]
    file.max_tick = max(other.max_tick for other in files)
    for part, instrument in zip(parts, file.instruments, strict=True):
        _add_moves(part, instrument, 2 * file.ticks_per_beat)
        last = [control.time + 1 for control in instrument.control_changes]
        file.max_tick = max([file.max_tick, *last])
    if path is not None:
        save(file, pathlib.Path(path))
    return file


def _add_moves(
    part: Part, instrument: miditoolkit.Instrument, ticks_per_second: int
) -> None:
    """Adds the movements, and keeps them from holding what they did not.

    A file has the pedal first on each tick. So a key that is released just
    before the pedal comes down is released a tick earlier.
    """
    moves = part.moves
    ticks = np.rint(moves["time"] * ticks_per_second).astype(int)
    columns = moves["number"], moves["value"], ticks
    instrument.control_changes = [
        miditoolkit.ControlChange(*move)
        for move in zip(*(column.tolist() for column in columns), strict=True)
    ]
    is_press = (moves["number"] == SUSTAIN) & (moves["value"] >= PEDAL_DOWN)
    presses = set(ticks[is_press].tolist())
    rings = part.ends > part.keys["end"]
    for note, ring in zip(instrument.notes, rings.tolist(), strict=True):
        if note.end in presses and not ring and note.end > note.start + 1:
            note.end -= 1
