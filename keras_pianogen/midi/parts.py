"""Parts of MIDI files as they are played: keys, and the pedal as it moves.

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

from keras_pianogen.midi.movements import CUT
from keras_pianogen.midi.movements import MOMENT
from keras_pianogen.midi.movements import PEDAL_VOICE
from keras_pianogen.midi.movements import PLACE_BITS
from keras_pianogen.midi.movements import PROGRAM
from keras_pianogen.midi.movements import RELEASE
from keras_pianogen.midi.movements import SUSTAIN
from keras_pianogen.midi.movements import VALUE
from keras_pianogen.midi.movements import VOICE
from keras_pianogen.midi.parsing import SOUND_OFF
from keras_pianogen.midi.parsing import open_source
from keras_pianogen.midi.reading import PEDAL_DOWN
from keras_pianogen.midi.reading import one_note_at_a_time
from keras_pianogen.midi.reading import sustained_ends
from keras_pianogen.midi.writing import save
from keras_pianogen.midi.writing import write_midi

# A movement of the pedal, or `CUT` where all that rings ends.
MOVEMENT_DTYPE = np.dtype([("time", "f8"), ("value", "i2")])


class Part(typing.NamedTuple):
    """What one channel plays.

    Attributes:
        keys: array of `NOTE_DTYPE`; a note ends where its key is released.
        ends: seconds at which these notes cease to sound, (notes,).
        pedal: array of `MOVEMENT_DTYPE` in order of time.
        program: General MIDI program, 0 to 127.
    """

    keys: np.ndarray
    ends: np.ndarray
    pedal: np.ndarray
    program: int = 0

    @classmethod
    def of_notes(cls, notes: np.ndarray) -> "Part":
        """A part without a pedal."""
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
        moves = played.pedals[:, played.pedals[PEDAL_VOICE] == voice]
        moves = moves[:, np.argsort(moves[MOMENT], kind="stable")]
        pedal = np.empty(moves.shape[1], MOVEMENT_DTYPE)
        pedal["time"] = played.seconds(moves[MOMENT] >> PLACE_BITS)
        pedal["value"] = moves[VALUE]
        parts.append(
            Part(
                one_note_at_a_time(own, released),
                one_note_at_a_time(own, ends[mine])["end"],
                pedal,
                int(own.keys[PROGRAM, 0]),
            )
        )
    return parts


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
        _add_pedal(part, instrument, 2 * file.ticks_per_beat)
        last = [control.time + 1 for control in instrument.control_changes]
        file.max_tick = max([file.max_tick, *last])
    if path is not None:
        save(file, pathlib.Path(path))
    return file


def _add_pedal(
    part: Part, instrument: miditoolkit.Instrument, ticks_per_second: int
) -> None:
    """Adds the movements, and keeps them from holding what they did not.

    A file has the pedal first on each tick. So a key that is released just
    before the pedal comes down is released a tick earlier.
    """
    ticks = np.rint(part.pedal["time"] * ticks_per_second).astype(int).tolist()
    values = part.pedal["value"].tolist()
    instrument.control_changes = [
        miditoolkit.ControlChange(SOUND_OFF, 0, tick)
        if value == CUT
        else miditoolkit.ControlChange(SUSTAIN, value, tick)
        for tick, value in zip(ticks, values, strict=True)
    ]
    presses = {
        tick
        for tick, value in zip(ticks, values, strict=True)
        if value >= PEDAL_DOWN
    }
    rings = part.ends > part.keys["end"]
    for note, ring in zip(instrument.notes, rings.tolist(), strict=True):
        if note.end in presses and not ring and note.end > note.start + 1:
            note.end -= 1
