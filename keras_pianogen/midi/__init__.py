"""MIDI files to notes in seconds, and back."""

from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import MidiReport
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE

__all__ = [
    "NOTE_DTYPE",
    "PEDAL_DTYPE",
    "MidiError",
    "MidiReport",
    "read_notes",
    "read_pedal",
    "write_midi",
]
