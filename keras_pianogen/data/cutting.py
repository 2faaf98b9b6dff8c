"""Windows cut out of the events of augmented notes.

Notes are augmented first and encoded as events then, with one sort for a
whole batch. A window's events follow from the notes around it alone: from the
earliest that still sounds where it begins to some notes past its last event.

Times are in seconds, pitches in semitones.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.packing import PACKED_DTYPE
from keras_pianogen.data.packing import UNITS
from keras_pianogen.data.packing import packed_ends
from keras_pianogen.data.windows import pieces_of
from keras_pianogen.events import MAX_VELOCITY
from keras_pianogen.events import EncodedRuns
from keras_pianogen.events import EventVocabulary

# The piano's lowest and highest keys: transposition never leaves them.
LOWEST_PITCH = 21
HIGHEST_PITCH = 108
# A note has fewer events only where many notes begin and end at once.
LEAST_EVENTS_PER_NOTE = 3


class Draw(NamedTuple):
    """Where the windows of a batch begin, and how each is augmented.

    Attributes:
        pieces: index of each window's piece in the corpus, (batch,).
        notes: index of a note in its piece, (batch,): the window begins at
            that note's note-on or later, before the next note-on. -1: the
            window begins with its piece.
        first: index of a note in its piece, (batch,): events up to its
            note-on are no targets. -1: all are.
        until: index of a note in its piece, (batch,): the window's last
            target is at most its note-on. The piece's number of notes: its
            end.
        fractions: where between two note-ons the window begins, 0 to 1,
            (batch,).
        semitones: transposition, (batch,); reduced later where a note would
            leave the piano.
        stretches: factor on all times, (batch,): above 1 is slower.
        velocities: added to MIDI velocities, (batch,); the sums are limited
            to 1 to 127.
    """

    pieces: NDArray[np.int64]
    notes: NDArray[np.int64]
    first: NDArray[np.int64]
    until: NDArray[np.int64]
    fractions: NDArray[np.float64]
    semitones: NDArray[np.int64]
    stretches: NDArray[np.float64]
    velocities: NDArray[np.int64]

    def rows(self, index: slice | NDArray[np.int64]) -> "Draw":
        """Returns some rows of the batch."""
        return Draw._make(field[index] for field in self)


class _Runs(NamedTuple):
    """The notes that windows are cut from, one run after the other.

    Attributes:
        notes: array of `PACKED_DTYPE`, (notes,).
        starts: start of each note in seconds, (notes,).
        of_note: the run of each note, (notes,).
        counts: number of notes in each run, (runs,).
        firsts: index in `notes` of each run's first note, (runs,).
        heads: index in `notes` of the note at which each window begins,
            (runs,).
        is_rest: whether a run reaches the end of its piece, (runs,).
    """

    notes: NDArray[np.void]
    starts: NDArray[np.float64]
    of_note: NDArray[np.int64]
    counts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    heads: NDArray[np.int64]
    is_rest: NDArray[np.bool_]


class Cutter:
    """Cuts windows out of the pieces of a split.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: targets in a window; it has one id more.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        vocabulary: EventVocabulary,
        sequence_length: int,
    ):
        self.vocabulary = vocabulary
        self.sequence_length = sequence_length
        # NumPy joins plain bytes faster than structures.
        self.bytes = np.asarray(corpus.packed).view(
            np.dtype((np.void, PACKED_DTYPE.itemsize))
        )
        self.first_notes = np.array([p.first_note for p in corpus.pieces])
        self.num_notes = np.array([p.num_notes for p in corpus.pieces])
        # A note that ended this long ago has no event left to come.
        margin = int(np.ceil(4 * vocabulary.time_step * UNITS))
        self.lookback = {
            piece: _lookback(corpus.packed_notes(piece), margin)
            for piece in pieces_of(corpus, split)
        }

    def cut(self, draw: Draw) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Cuts the drawn windows.

        Returns:
            Ids, (batch, sequence_length + 1), and whether each but the first
            is a target, (batch, sequence_length).
        """
        lookahead = self.sequence_length // LEAST_EVENTS_PER_NOTE + 16
        rows, is_target, is_short = self._cut(draw, lookahead)
        while is_short.any():
            lookahead *= 2
            again = np.flatnonzero(is_short)
            rows[again], is_target[again], is_short[again] = self._cut(
                draw.rows(again), lookahead
            )
        return rows, is_target

    def _cut(
        self, draw: Draw, lookahead: int
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
        """As `cut`, and which windows need a longer lookahead, (batch,)."""
        width = self.sequence_length + 1
        runs = self._runs(draw, lookahead)
        events = self._encode(runs, draw)
        begins = _begins(events, runs, draw)
        positions = begins[:, None] + np.arange(width)  # (batch, width)
        rows = events.ids.take(positions, mode="clip")
        rows[draw.notes < 0, 0] = self.vocabulary.start_id
        lengths = np.where(runs.is_rest, events.bounds[1:] - begins, width)
        for row in np.flatnonzero(lengths < width):
            rows[row, lengths[row]] = self.vocabulary.end_id
            rows[row, lengths[row] + 1 :] = self.vocabulary.pad_id
        after = _position_of(draw.first, events, runs, draw, -1)
        until = _position_of(draw.until, events, runs, draw, 2**62)
        is_target = (positions[:, 1:] > after) & (positions[:, 1:] <= until)
        final = _final_until(events, runs, self.vocabulary.time_step)
        return rows, is_target, ~runs.is_rest & (final < begins + width)

    def _runs(self, draw: Draw, lookahead: int) -> _Runs:
        """Collects the notes that each window needs.

        A run begins with the earliest note that still sounds where the window
        begins, and ends `lookahead` notes after the note at which the window
        begins, or with its piece.
        """
        pieces, notes = draw.pieces, np.maximum(draw.notes, 0)
        lookback = np.array(
            [self.lookback[p][n] for p, n in zip(pieces, notes, strict=True)]
        )
        stops = np.minimum(notes + lookahead + 1, self.num_notes[pieces])
        counts = lookback + stops - notes
        begins = self.first_notes[pieces] + notes - lookback
        packed = np.concatenate(
            [
                self.bytes[begin : begin + count]
                for begin, count in zip(begins, counts, strict=True)
            ]
        ).view(PACKED_DTYPE)
        firsts = np.cumsum(counts) - counts
        return _Runs(
            notes=packed,
            starts=packed["start"] / UNITS,
            of_note=np.repeat(np.arange(len(counts)), counts),
            counts=counts,
            firsts=firsts,
            heads=firsts + lookback,
            is_rest=stops == self.num_notes[pieces],
        )

    def _encode(self, runs: _Runs, draw: Draw) -> EncodedRuns:
        """Augments notes and encodes them.

        A piece's clock starts at 0, that of a later run at its first note.
        """
        stretches = draw.stretches[runs.of_note]
        starts = runs.starts * stretches
        pitches = runs.notes["pitch"].astype(np.int64)
        pitches += _within_piano(pitches, runs, draw.semitones)[runs.of_note]
        velocities = runs.notes["velocity"].astype(np.int64)
        velocities += draw.velocities[runs.of_note]
        origins = self.vocabulary.to_ticks(starts[runs.firsts])
        origins[draw.notes < 0] = 0
        return self.vocabulary.encode_runs(
            starts,
            packed_ends(runs.notes) / UNITS * stretches,
            pitches,
            np.clip(velocities, 1, MAX_VELOCITY),
            runs.counts,
            origins,
        )


def _lookback(notes: NDArray[np.void], margin: int) -> NDArray[np.int32]:
    """Number of notes from the earliest that still sounds to each note.

    Args:
        notes: array of `PACKED_DTYPE`, (notes,).
        margin: how long a note counts as sounding after its end, in units of
            10 microseconds.

    Returns:
        An array, 0 or more, (notes,).
    """
    latest_ends = np.maximum.accumulate(packed_ends(notes))
    since = notes["start"].astype(np.int64) - margin
    indices = np.arange(len(notes))
    earliest = np.searchsorted(latest_ends, since)
    return (indices - np.minimum(earliest, indices)).astype(np.int32)


def _begins(events: EncodedRuns, runs: _Runs, draw: Draw) -> NDArray[np.int64]:
    """Where each window begins in `events.ids`, (batch,).

    The start id of a piece lies one before the piece's first event.
    """
    ons = events.ons[runs.heads]
    in_order = np.append(np.sort(events.ons), len(events.ids))
    next_ons = in_order[np.searchsorted(in_order, ons, "right")]
    gaps = np.minimum(next_ons, events.bounds[1:]) - ons
    begins = ons + (draw.fractions * gaps).astype(np.int64)
    return np.where(draw.notes < 0, events.bounds[:-1] - 1, begins)


def _position_of(
    notes: NDArray[np.int64],
    events: EncodedRuns,
    runs: _Runs,
    draw: Draw,
    otherwise: int,
) -> NDArray[np.int64]:
    """Where the note-on of a note of each window is in `events.ids`.

    Returns:
        Positions, (batch, 1): `otherwise` for notes outside their run.
    """
    indices = runs.heads + notes - np.maximum(draw.notes, 0)
    is_inside = (notes >= 0) & (indices < runs.firsts + runs.counts)
    positions = events.ons.take(indices, mode="clip")
    return np.where(is_inside, positions, otherwise)[:, None]


def _final_until(
    events: EncodedRuns, runs: _Runs, time_step: float
) -> NDArray[np.int64]:
    """Where in `events.ids` the ids of each run stop being final, (batch,).

    Ids are final that cannot change when more notes of the piece are encoded.
    Those notes begin no earlier than the run's last note, so that all ids up
    to the last note-on of an earlier tick are final.
    """
    lasts = runs.firsts + runs.counts - 1
    # After stretching, 4 ticks are 2 or more: certainly an earlier tick.
    limits = runs.starts[lasts] - 4 * time_step
    is_early = runs.starts < limits[runs.of_note]
    num_early = np.add.reduceat(is_early, runs.firsts, dtype=np.int64)
    final = events.ons[runs.firsts + np.maximum(num_early - 1, 0)] + 1
    return np.where(num_early > 0, final, 0)


def _within_piano(
    pitches: NDArray[np.int64], runs: _Runs, semitones: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Transpositions, reduced where a note of the run would leave the piano.

    A run that lies outside already is not moved further out.
    """
    down = LOWEST_PITCH - np.minimum.reduceat(pitches, runs.firsts)
    up = HIGHEST_PITCH - np.maximum.reduceat(pitches, runs.firsts)
    return np.clip(semitones, np.minimum(down, 0), np.maximum(up, 0))
