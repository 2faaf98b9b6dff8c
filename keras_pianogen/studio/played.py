"""A piece of the page as it is played: its notes, and its file's pedals.

Notes that a user's file has keep the moments at which their keys are released;
all other notes have none, and end where they end. Times in seconds.
"""

import dataclasses
import io

import numpy as np

from keras_pianogen.generation.own_music import OwnMusic
from keras_pianogen.midi.parts import Part
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.studio.sharing import piece_page


@dataclasses.dataclass(frozen=True, eq=False)
class Played:
    """A piece, and what its file says of keys and controllers.

    Attributes:
        new: array of `NOTE_DTYPE`, the notes that are of no file.
        own: those of the file.
        keys: the same notes as `own`, each until its key is released.
        moves: array of `MOVEMENT_DTYPE`, of the controllers of the file.
    """

    new: np.ndarray
    own: np.ndarray
    keys: np.ndarray
    moves: np.ndarray

    @property
    def notes(self):
        """All notes as they sound, an array of `NOTE_DTYPE`."""
        return check_notes(np.concatenate([self.own, self.new]))

    @property
    def is_own(self):
        """Which of `notes` are the file's, (notes,) booleans."""
        both = np.concatenate([self.own, self.new])
        return np.lexsort((both["pitch"], both["start"])) < len(self.own)

    def to_midi(self):
        """A `miditoolkit.MidiFile`, as `OwnMusic.to_midi` writes it."""
        notes, parts = self.notes, []
        if len(self.own) or len(self.moves):
            parts = [Part(self.keys, self.own["end"], self.moves)]
        cut = float(self.new["start"].min(initial=notes["end"].max()))
        spans = np.empty(0, PEDAL_DTYPE)
        return OwnMusic(self.own, parts, spans, cut).to_midi(notes)

    def to_bytes(self):
        """The bytes of a MIDI file."""
        file = io.BytesIO()
        self.to_midi().dump(file=file)
        return file.getvalue()

    @property
    def spans(self):
        """When the pedal is down, as `read_pedal` returns it."""
        return read_pedal(self.to_midi())

    def to_page(self, **about):
        """The text of a web page, see `sharing.piece_page`."""
        return piece_page(
            self.notes, pedal=self.spans, midi=self.to_bytes(), **about
        )
