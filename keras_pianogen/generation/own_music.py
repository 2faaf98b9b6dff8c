"""Music of the user's that is continued: it stays as it was. In seconds.

New music is appended to it, and nothing else changes: notes, velocities, times
and the movements of pedals and other controllers are those of the file,
although the model sees them rounded. This module knows nothing of events: it
serves every form of music.
"""

import dataclasses
import os

import miditoolkit
import numpy as np
import symusic

from keras_pianogen.midi.parts import MOVEMENT_DTYPE
from keras_pianogen.midi.parts import Part
from keras_pianogen.midi.parts import read_parts
from keras_pianogen.midi.parts import write_parts
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import cut_overlaps

# Without another wish, new music begins so long after the last note began, or
# when it ends, if that is earlier.
AFTER_LAST_NOTE = 0.5
PEDALS = (64, 66, 67)  # the controllers: sustain, sostenuto, soft
RELEASING = 120  # from here on, controllers end notes or reset the others
OBJECTS = (miditoolkit.MidiFile, symusic.core.ScoreTick)
SOURCES = (str, bytes, os.PathLike, *OBJECTS)


@dataclasses.dataclass(frozen=True, eq=False)
class OwnMusic:
    """A performance, and where new music begins.

    Attributes:
        notes: array of `NOTE_DTYPE`, as `read_notes` gives them.
        parts: list of `Part`; or empty, if it doesn't come from a file.
        pedal: array of `PEDAL_DTYPE`, as `read_pedal` gives it.
        cut: where new music begins.
        is_cut: whether music of the performance itself came after that.
    """

    notes: np.ndarray
    parts: list
    pedal: np.ndarray
    cut: float = 0.0
    is_cut: bool = False

    @classmethod
    def of(cls, source):
        """The music of a source that `read_notes` takes, or of notes.

        Raises:
            MidiError: if a file can't be read.
            ValueError: if the notes are none.
        """
        if isinstance(source, cls):
            return source
        if is_notes(source):
            return cls(check_notes(source), [], np.empty(0, PEDAL_DTYPE))
        return cls(read_notes(source), read_parts(source), read_pedal(source))

    def until(self, seconds=None):
        """This music, as far as it is continued.

        Args:
            seconds: where new music begins. Defaults to `None`, as any time
                after the last note: where music can go on, soon after the last
                note began. All notes are kept then, and a last chord rings on.
        """
        start, end = self.notes["start"], self.notes["end"].max(initial=0)
        if seconds is None or seconds >= end:
            last = start.max(initial=0)
            cut = min(last + AFTER_LAST_NOTE, end)
            return dataclasses.replace(self, cut=float(cut))
        pedal = self.pedal[self.pedal["start"] < seconds]
        pedal["end"] = pedal["end"].clip(max=seconds)
        return OwnMusic(
            self.notes[start < seconds],
            [_until(part, seconds) for part in self.parts],
            pedal,
            float(seconds),
            is_cut=True,
        )

    def kept_in(self, piece, start):
        """This music without the notes that a piece lacks.

        The pedal moves as it did.

        Args:
            piece: array of `NOTE_DTYPE`, notes of this music and new ones.
            start: where new music begins, in seconds.
        """
        kept = set(_keys(piece))

        def stays(notes):
            return np.array([key in kept for key in _keys(notes)], bool)

        parts = []
        for part in self.parts:
            there = stays(part.keys)
            parts.append(
                part._replace(keys=part.keys[there], ends=part.ends[there])
            )
        return dataclasses.replace(
            self,
            notes=self.notes[stays(self.notes)],
            parts=parts,
            cut=float(start),
        )

    def continued(self, new, released):
        """The notes of this music and of new music after it.

        Args:
            new: array of `NOTE_DTYPE`, notes that begin at `cut` or later.
            released: dict of pitches that sounded at `cut`, and when the new
                music ends them; or `None`, if it ends none.

        Returns:
            An array of `NOTE_DTYPE`. A note that sounds at `cut` ends where it
            did; where the rest of the music was cut away, with the new music.
        """
        notes = self.notes.copy()
        if self.is_cut and released is not None:
            for i in np.flatnonzero(notes["end"] > self.cut):
                end = released.get(int(notes["pitch"][i]), self.cut)
                notes["end"][i] = max(end, notes["start"][i])
        notes = check_notes(np.concatenate([notes, new.astype(NOTE_DTYPE)]))
        notes["end"] = cut_overlaps(notes)
        return notes

    def to_midi(self, piece, path=None):
        """Write a piece that continues this music, with its own pedal.

        Args:
            piece: array of `NOTE_DTYPE` that `continued` gave.
            path: see `write_midi`.

        Returns:
            A `miditoolkit.MidiFile`. New notes lie in the track of this music;
            or in one with a channel of its own, where a pedal or another
            controller would change them or there are several tracks.
        """
        ends = dict(zip(_keys(piece), piece["end"].tolist(), strict=True))
        before = dict(
            zip(_keys(self.notes), self.notes["end"].tolist(), strict=True)
        )
        is_new = np.array([key not in before for key in _keys(piece)], bool)
        new = piece[is_new]
        if not self.parts:
            return write_parts([Part.of_notes(piece)], path)
        parts = [_ended(part, before, ends) for part in self.parts]
        if len(parts) == 1 and _is_settled(parts[0], self.cut):
            parts = [_joined(parts[0], new)]
        elif len(new):
            alike = _at_first(parts[0])
            parts.append(Part(new, new["end"], alike, parts[0].program))
        return write_parts(parts, path)


def is_music(source):
    """Whether `OwnMusic.of` takes a source; other prompts are a model's ids."""
    return is_notes(source) or isinstance(source, (*SOURCES, OwnMusic))


def is_notes(source):
    names = getattr(getattr(source, "dtype", None), "names", None) or ()
    return set(NOTE_DTYPE.names) <= set(names)


def _keys(notes):
    """What tells the notes of a performance apart: start and pitch."""
    return zip(notes["start"].tolist(), notes["pitch"].tolist(), strict=True)


def _until(part, seconds):
    """A part up to a time, at which its pedals are lifted."""
    kept = part.keys["start"] < seconds
    moves = part.moves[part.moves["time"] < seconds]
    lifts = [(seconds, pedal, 0) for pedal in _pedals_in_use(moves)]
    return part._replace(
        keys=part.keys[kept],
        ends=part.ends[kept],
        moves=np.concatenate([moves, np.array(lifts, MOVEMENT_DTYPE)]),
    )


def _ended(part, before, after):
    """A part whose notes end later or earlier, where the piece says so.

    Args:
        part: a `Part`.
        before: dict of ends by start and pitch, of the music as it was.
        after: the same of the piece.
    """
    keys, ends = part.keys.copy(), part.ends.copy()
    for i, key in enumerate(_keys(keys)):
        if after.get(key, before[key]) != before[key]:
            keys["end"][i] = ends[i] = after[key]
    return part._replace(keys=keys, ends=ends)


def _joined(part, new):
    keys = np.concatenate([part.keys, new])
    ends = np.concatenate([part.ends, new["end"]])
    order = np.lexsort((keys["pitch"], keys["start"]))
    return part._replace(keys=keys[order], ends=ends[order])


def _pedals_in_use(moves):
    """The controller numbers of the pedals that do not rest after all moves.

    Some instruments follow a pedal's whole way, so one that is half pressed
    counts, although it sustains no note of `read_notes`.
    """
    return [
        pedal
        for pedal in PEDALS
        if moves["value"][moves["number"] == pedal][-1:].any()
    ]


def _is_settled(part, seconds):
    """Whether no controller changes notes from a time on.

    All pedals rest then, none moves later, and the others, such as volume,
    have stayed as they were at the first note: after a fade-out, new notes
    would be silent.
    """
    moves = part.moves
    if (moves["time"] > seconds).any() or _pedals_in_use(moves):
        return False
    first = _at_first(part)
    at_first = dict(zip(first["number"], first["value"], strict=True))
    later = moves[_is_setting(moves) & (moves["time"] > _first(part))]
    return all(at_first.get(n) == value for _, n, value in later.tolist())


def _at_first(part):
    """How controllers such as the volume are set at the first note."""
    moves = part.moves[_is_setting(part.moves)]
    moves = moves[moves["time"] <= _first(part)]
    # The last movement of each controller, in their order.
    _, last = np.unique(moves["number"][::-1], return_index=True)
    return moves[np.sort(len(moves) - 1 - last)]


def _first(part):
    return part.keys["start"].min() if len(part.keys) else 0.0


def _is_setting(moves):
    """Which movements are of controllers that no foot moves."""
    numbers = moves["number"]
    return (numbers < RELEASING) & ~np.isin(numbers, PEDALS)
