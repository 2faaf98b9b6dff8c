"""Random windows of a corpus, augmented, for training."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import PACKED_DTYPE
from keras_pianogen.data.corpus import UNITS
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.corpus import packed_ends
from keras_pianogen.data.windows import Batch
from keras_pianogen.data.windows import Windows
from keras_pianogen.data.windows import _as_batch
from keras_pianogen.data.windows import _check_index
from keras_pianogen.data.windows import _check_least
from keras_pianogen.data.windows import _pieces_of
from keras_pianogen.events import MAX_VELOCITY
from keras_pianogen.events import EncodedRuns
from keras_pianogen.events import EventVocabulary

# The piano's lowest and highest keys: transposition never leaves them.
LOWEST_PITCH = 21
HIGHEST_PITCH = 108
# Fewer come of a note only where many begin and end at once.
LEAST_EVENTS_PER_NOTE = 3
# Keras looks at no more batches than this to build a model, without training.
MOST_LOOKED_AT = 3
# Times that are so many ticks apart, each counted whole, keep their order
# however they are stretched: by a half at most.
TICKS_APART = 3
# How often a row is drawn until it lies within its piece.
MOST_ATTEMPTS = 100


class Draw(NamedTuple):
    """Where the windows of a batch begin, and how each is augmented.

    Attributes:
        pieces: index of each window's piece in the corpus, (batch,).
        notes: index of a note in its piece, (batch,): the window begins at
            that note's note-on or later, before the next note-on. -1: the
            window begins with its piece.
        places: how far from the one to the other, 0 to 1, (batch,).
        first: index of a note in its piece, (batch,): events up to its
            note-on are no targets. -1: all are.
        until: index of a note in its piece, (batch,): the window's last
            target is at most its note-on. The piece's number of notes: its
            end.
        semitones: transposition, (batch,); held within the piano later.
        stretches: factor on all times, (batch,): above 1 is slower.
        velocities: added to MIDI velocities, (batch,); held within 1 to 127.
    """

    pieces: NDArray[np.int64]
    notes: NDArray[np.int64]
    places: NDArray[np.float64]
    first: NDArray[np.int64]
    until: NDArray[np.int64]
    semitones: NDArray[np.int64]
    stretches: NDArray[np.float64]
    velocities: NDArray[np.int64]


class EventWindows(Windows):
    """Random windows of a split's events, augmented, for training.

    A window is a cut of its piece's true events. In a pass over the split no
    event is a target twice, and nearly every one is once: pieces are cut into
    windows at random notes, other ones in each pass, which come in random
    order. A window holds a few events before its cut, so that it begins at
    any event, and what its length leaves room for after the next cut; their
    weights are 0. A window that begins with its piece starts with the start
    id; where the piece is over, the end id follows, then padding. (Where music
    is so dense that notes a few milliseconds apart must be cut, two windows
    that are stretched apart may both have an event beside the cut, or
    neither.)

    The same seed and step give the same batch, whatever was drawn before. An
    epoch has `steps` steps, and each epoch that Keras trains on moves on to
    the next `steps`: no batch is seen twice. Keras trains on them in order,
    whether or not `fit` is told to shuffle.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        vocabulary: an `EventVocabulary`.
        sequence_length: ids in a row of `x`, 1 or more.
        batch_size: rows in a batch, 1 or more.
        steps: batches in an epoch. Defaults to one pass over the split, but
            for the windows that are left over from its last whole batch.
        seed: whole number, 0 or more.
        first_step: step of the first batch, 0 or more: a run that was stopped
            after `n` steps goes on with `first_step=n`.
        augment: whether to augment.
        transpose: semitones up or down, at most; fewer where a note of the
            window would leave the piano (21 to 108).
        stretch: times are multiplied by `1 - stretch` to `1 + stretch`; 0 to
            0.5.
        velocity: added to or taken from MIDI velocities, at most.
        whole: whether all windows lie within their pieces, so that none holds
            a start, an end or padding. Each then begins anywhere, whatever
            was drawn before, and all its events are targets.
        part: a pair, the index of a part of each batch, and the number of
            parts: the other rows are some other process's. All of them by
            default.
        workers: threads that prepare the next batches; 0 for none.
        max_queue_size: batches prepared ahead, at most.

    Attributes:
        first_step: step of the batch at index 0, which moves on from epoch
            to epoch and may be set.

    Examples:
        ```python
        windows = EventWindows(corpus, vocabulary=vocabulary, steps=100)
        model.fit(windows, epochs=10)
        x, y, sample_weight = windows.batch(step=1000)
        ```
    """

    moves_on = True

    def __init__(
        self,
        corpus: Corpus,
        split: str = "train",
        *,
        vocabulary: EventVocabulary,
        sequence_length: int = 1024,
        batch_size: int = 16,
        steps: int | None = None,
        seed: int = 0,
        first_step: int = 0,
        augment: bool = True,
        transpose: int = 3,
        stretch: float = 0.05,
        velocity: int = 6,
        whole: bool = False,
        part: tuple[int, int] | None = None,
        workers: int = 1,
        max_queue_size: int = 4,
    ):
        # Keras's own queue gives batches twice after an epoch that it broke
        # off, so threads of ours work ahead, by step.
        super().__init__()
        _check_least(1, sequence_length=sequence_length, batch_size=batch_size)
        _check_least(0, seed=seed, first_step=first_step, workers=workers)
        _check_least(0, transpose=transpose, velocity=velocity)
        if not 0 <= stretch <= 0.5:
            raise ValueError(
                f"`stretch` must be 0 to 0.5. Received: stretch={stretch}"
            )
        index, parts = part or (0, 1)
        if not 0 <= index < parts or batch_size % parts:
            raise ValueError(
                "`part` must be an index and a number of parts that divides "
                f"`batch_size`. Received: part={part}, batch_size={batch_size}"
            )
        self.corpus = corpus
        self.split = split
        self.vocabulary = vocabulary
        self.sequence_length = sequence_length
        self.batch_size = batch_size
        self.part = part
        self.seed = seed
        self.first_step = first_step
        self.augment = augment
        self.transpose = transpose
        self.stretch = stretch
        self.velocity = velocity
        self.whole = whole
        self._notes = _SplitNotes(corpus, split, vocabulary.time_step)
        self._passes: dict[int, NDArray[np.int64]] = {}
        self.steps = self._steps_a_pass if steps is None else steps
        _check_least(1, steps=self.steps)
        self._ahead = _Ahead(self.batch, workers, max_queue_size)
        self._in_epoch = False
        self._given = 0

    @cached_property
    def _tiles(self) -> "_Tiles":
        return _Tiles(
            self.corpus, self.split, self.vocabulary, self.sequence_length
        )

    @property
    def _steps_a_pass(self) -> int:
        return max(1, len(self._tiles) // self.batch_size)

    def from_step(self, first_step: int) -> "_Onwards":
        """The same batches from a step on, without end, for a run of one's own.

        A data set for `fit` with `steps_per_epoch`, whose epochs don't begin
        anew. It isn't changed by being read: what was broken off goes on with
        another one, from its own step.

        Args:
            first_step: step of the first batch, 0 or more.
        """
        _check_least(0, first_step=first_step)
        if not self.whole:
            _ = self._tiles  # Made once, not by several threads.
        return _Onwards(self, first_step)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        _check_index(index, self.steps)
        if self._in_epoch:
            # Whatever order Keras shuffled the epoch into, steps go in order.
            index = self._given
            self._given += 1
        return self._ahead.get(self.first_step + index)

    def on_epoch_begin(self) -> None:
        self._in_epoch = True
        self._given = 0

    def on_epoch_end(self) -> None:
        # Keras also begins an epoch to build a model on a batch or two, which
        # must be given again, and it ends epochs that it did not begin.
        if self._in_epoch and self._given >= min(
            self.steps, MOST_LOOKED_AT + 1
        ):
            self.first_step += self._given
        self._in_epoch = False

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0 at the start of training."""
        batch = self.cut(self.draw(step))
        return self._mend(batch, step) if self.whole else batch

    def _mend(self, batch: Batch, step: int) -> Batch:
        """The batch, its rows that leave their piece drawn again."""
        rows = _as_rows(batch)
        special = self.vocabulary.note_on_id  # All that are below it.
        for attempt in range(1, MOST_ATTEMPTS):
            bad = np.flatnonzero((rows < special).any(axis=1))
            if not len(bad):
                return _as_batch(rows, self.vocabulary.pad_id)
            again = _as_rows(self.cut(self.draw(step, attempt)))
            rows[bad] = again[bad]
        raise ValueError(
            f"The pieces of the split {self.split!r} are too short: hardly any "
            f"window of {self.sequence_length} events lies within one."
        )

    def draw(self, step: int, attempt: int = 0) -> Draw:
        """Draws the windows of a step, from the seed and the step alone.

        Another `attempt` is another draw, as `whole` needs it.
        """
        entropy = (self.seed, step, attempt) if attempt else (self.seed, step)
        rng = np.random.default_rng(entropy)
        size = self.batch_size
        rows = self._notes.draw(rng, size) if self.whole else self._next(step)
        pieces, notes, first, until = rows.T
        plain = Draw(
            pieces=pieces,
            notes=notes,
            places=rng.random(size),
            first=first,
            until=until,
            semitones=np.zeros(size, np.int64),
            stretches=np.ones(size),
            velocities=np.zeros(size, np.int64),
        )
        if not self.augment:
            return self._own(plain)
        semitones, velocity = self.transpose, self.velocity
        return self._own(
            plain._replace(
                semitones=rng.integers(-semitones, semitones + 1, size),
                stretches=1 + self.stretch * rng.uniform(-1, 1, size),
                velocities=rng.integers(-velocity, velocity + 1, size),
            )
        )

    def _next(self, step: int) -> NDArray[np.int64]:
        """Pieces, notes, first and until of a step's windows, (batch, 4)."""
        index, place = divmod(step, self._steps_a_pass)
        rows = self._passes.get(index)
        if rows is None:
            # Zeros at the end would be those of another step.
            rng = np.random.default_rng((self.seed, index, 0, 1))
            size = self._steps_a_pass * self.batch_size
            rows = self._tiles.draw(rng)
            while len(rows) < size:  # A batch holds more than all of them.
                rows = np.concatenate([rows, self._tiles.draw(rng)])
            known = {i: r for i, r in self._passes.items() if i == index - 1}
            self._passes = known | {index: rows}
        return rows[place * self.batch_size :][: self.batch_size]

    def _own(self, draw: Draw) -> Draw:
        """The rows of this part, out of the whole batch."""
        index, parts = self.part or (0, 1)
        size = self.batch_size // parts
        rows = slice(index * size, (index + 1) * size)
        return Draw._make(field[rows] for field in draw)

    def cut(self, draw: Draw) -> Batch:
        """The batch that holds the drawn windows."""
        reach = self.sequence_length // LEAST_EVENTS_PER_NOTE + 16
        rows, targets, short = self._rows(draw, reach)
        while short.any():
            reach *= 2
            again = np.flatnonzero(short)
            some = Draw._make(field[again] for field in draw)
            rows[again], targets[again], short[again] = self._rows(some, reach)
        x, y, sample_weight = _as_batch(rows, self.vocabulary.pad_id)
        return x, y, sample_weight * targets

    def _rows(
        self, draw: Draw, reach: int
    ) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Rows of ids, which of their targets count, and which are too short.

        Too short with `reach` notes each, that is.
        """
        width = self.sequence_length + 1
        runs = self._notes.runs(draw, reach)
        events = self._encode(runs, draw)
        begins = _begin(events, runs, draw)
        sure = _sure(events, runs, self.vocabulary.time_step)
        places = begins[:, None] + np.arange(width)  # (batch, width)
        rows = events.ids.take(places, mode="clip")
        rows[draw.notes < 0, 0] = self.vocabulary.start_id
        stops = np.where(runs.whole, events.bounds[1:], begins + width)
        for row in np.flatnonzero(stops < begins + width):
            over = stops[row] - begins[row]
            rows[row, over] = self.vocabulary.end_id
            rows[row, over + 1 :] = self.vocabulary.pad_id
        inner = places[:, 1:]
        targets = inner > _places_of(draw.first, events, runs, draw, -1)
        targets &= inner <= _places_of(draw.until, events, runs, draw, 2**62)
        return rows, targets, ~runs.whole & (sure < begins + width)

    def _encode(self, runs: "_Runs", draw: Draw) -> EncodedRuns:
        """The events of augmented runs of notes.

        The clock of a piece's beginning starts at 0, that of any other run at
        its first note.
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


class _Onwards(Windows):
    """Batches of `EventWindows` from a step on, without end."""

    moves_on = True
    num_batches = None

    def __init__(self, windows: EventWindows, first_step: int):
        super().__init__()
        self.first_step = first_step
        self._ahead = _Ahead(
            windows.batch, windows._ahead.workers, windows._ahead.size
        )

    def __getitem__(self, index: int) -> Batch:
        return self._ahead.get(self.first_step + index)


class _Runs(NamedTuple):
    """The notes that windows are cut from, one run after the other.

    Attributes:
        notes: array of `PACKED_DTYPE`, (notes,).
        counts: how many belong to each run, (runs,).
        heads: the index in `notes` of the note drawn for each run, (runs,).
        whole: whether a run's piece ends with it, (runs,).
        of_note: the run of each note, (notes,).
        firsts: the index in `notes` of each run's first note, (runs,).
        starts: start of each note in seconds, (notes,).
    """

    notes: NDArray[np.void]
    counts: NDArray[np.int64]
    heads: NDArray[np.int64]
    whole: NDArray[np.bool_]
    of_note: NDArray[np.int64]
    firsts: NDArray[np.int64]
    starts: NDArray[np.float64]


class _SplitNotes:
    """The notes of a split, and how far back some still sound."""

    def __init__(self, corpus: Corpus, split: str, time_step: float):
        self.pieces = _pieces_of(corpus, split)
        # Plain bytes: NumPy joins them faster than structures.
        self.bytes = np.asarray(corpus.packed).view(
            np.dtype((np.void, PACKED_DTYPE.itemsize))
        )
        self.first = np.array([p.first_note for p in corpus.pieces])
        self.count = np.array([p.num_notes for p in corpus.pieces])
        # A note that ended this long ago has no event left to come.
        margin = int(np.ceil(4 * time_step * UNITS))
        self.held = [
            _held(corpus.packed_notes(i), margin)
            if p.split == split
            else np.empty(0, np.int32)
            for i, p in enumerate(corpus.pieces)
        ]

    def draw(self, rng: np.random.Generator, size: int) -> NDArray[np.int64]:
        """Windows that begin at any note of the split, and are all targets.

        Returns:
            Pieces, notes, first and until of each, as `Draw` has them,
            (size, 4).
        """
        ends = np.cumsum(self.count[self.pieces])
        tickets = rng.integers(ends[-1], size=size)
        chosen = np.searchsorted(ends, tickets, "right")
        pieces = self.pieces[chosen]
        notes = tickets - ends[chosen] + self.count[pieces]
        rest = np.full(size, -1), self.count[pieces]
        return np.stack([pieces, notes, *rest], axis=1)

    def runs(self, draw: Draw, reach: int) -> _Runs:
        """The notes that sound where each window begins, and what follows.

        The drawn note is followed by `reach` others, or by all that its
        piece has left.
        """
        pieces, notes = draw.pieces, np.maximum(draw.notes, 0)
        held = np.array(
            [self.held[p][n] for p, n in zip(pieces, notes, strict=True)]
        )
        stops = np.minimum(notes + reach + 1, self.count[pieces])
        counts = held + stops - notes
        begins = self.first[pieces] + notes - held
        packed = np.concatenate(
            [
                self.bytes[begin : begin + count]
                for begin, count in zip(begins, counts, strict=True)
            ]
        ).view(PACKED_DTYPE)
        firsts = np.cumsum(counts) - counts
        return _Runs(
            notes=packed,
            counts=counts,
            heads=firsts + held,
            whole=stops == self.count[pieces],
            of_note=np.repeat(np.arange(len(counts)), counts),
            firsts=firsts,
            starts=packed["start"] / UNITS,
        )


class _Tiles:
    """A split's pieces, cut at note-ons into windows that share no event.

    Cuts are made where no note begins or ends just before or after, so that
    windows stretched apart agree on what comes before it; where the music
    leaves no such place for an eighth of a window, at any note-on.
    """

    def __init__(
        self,
        corpus: Corpus,
        split: str,
        vocabulary: EventVocabulary,
        sequence_length: int,
    ):
        self.pieces = _pieces_of(corpus, split)
        self.size = sequence_length
        counts = np.array([corpus.pieces[i].num_notes for i in self.pieces])
        self.firsts = np.append(0, np.cumsum(counts))
        # Events up to each note-on, of all the pieces before it too.
        self.events = np.empty(self.firsts[-1], np.int64)
        self.begins = np.zeros(len(counts) + 1, np.int64)
        apart = np.empty(self.firsts[-1], np.bool_)
        for i, piece in enumerate(self.pieces):
            notes = corpus.packed_notes(piece)
            starts, ends = notes["start"] / UNITS, packed_ends(notes) / UNITS
            events = vocabulary.encode_runs(
                starts,
                ends,
                notes["pitch"].astype(np.int64),
                notes["velocity"],
                counts[i : i + 1],
            )
            here = slice(self.firsts[i], self.firsts[i + 1])
            self.events[here] = np.maximum.accumulate(events.ons) + 1
            self.events[here] += self.begins[i]
            self.begins[i + 1] = self.begins[i] + len(events.ids) + 1
            apart[here] = _alone(
                vocabulary.to_ticks(starts), vocabulary.to_ticks(ends)
            )
        indices = np.arange(len(apart), dtype=np.int32)
        self.snapped = np.maximum.accumulate(np.where(apart, indices, 0))
        self.sizes = np.diff(self.begins)  # With the end id.
        self.counts = -(-self.sizes // self.size)  # of windows, (pieces,)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """All of them, in random order, cut at random notes.

        Only the first and the last window of a piece are shorter than others.
        Where many events lie between two note-ons a short one may be empty.

        Returns:
            Pieces, notes, first and until of each, as `Draw` has them,
            (windows, 4).
        """
        rest = self.sizes - (self.counts - 1) * self.size
        head = rest + rng.random(len(rest)) * (self.size - rest)
        piece = np.repeat(np.arange(len(self.counts)), self.counts - 1)
        number = np.arange(len(piece)) - np.searchsorted(piece, piece)
        begin = self.firsts[piece]
        wanted = self.begins[piece] + head[piece] + number * self.size
        cuts = np.searchsorted(self.events, wanted)
        cuts = np.minimum(cuts, self.firsts[piece + 1] - 1)
        before = np.where(number > 0, np.roll(cuts, 1), begin)
        snapped = self.snapped[cuts]
        near = self.events[cuts] - self.events[snapped] <= self.size // 8
        cuts = np.where(near & (snapped > before), snapped, cuts) - begin
        # Each cut ends a window and begins another one.
        windows = np.cumsum(self.counts)
        begins = np.delete(np.arange(len(self)), windows - self.counts)
        rows = np.empty((len(self), 4), np.int64)
        rows[:, 0] = np.repeat(self.pieces, self.counts)
        rows[:, 1:3] = -1
        rows[windows - 1, 3] = np.diff(self.firsts)
        rows[begins, 1] = cuts - 1
        rows[begins, 2] = cuts
        rows[begins - 1, 3] = cuts
        return rng.permutation(rows)


def _alone(
    starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which starts have no other start and no end near them, (notes,).

    Args:
        starts: in ticks, sorted.
        ends: in ticks.
    """
    far = np.diff(starts) >= TICKS_APART
    alone = np.append(True, far) & np.append(far, True)
    ends = np.sort(ends)
    before = np.searchsorted(ends, starts - TICKS_APART, "right")
    return alone & (before == np.searchsorted(ends, starts + TICKS_APART))


def _held(notes: NDArray[np.void], margin: int) -> NDArray[np.int32]:
    """How many notes before each the earliest lies that still sounds then.

    Args:
        notes: array of `PACKED_DTYPE`.
        margin: how long a note counts as sounding after its end, in units of
            10 microseconds.
    """
    latest_ends = np.maximum.accumulate(packed_ends(notes))
    since = notes["start"].astype(np.int64) - margin
    indices = np.arange(len(notes))
    earliest = np.searchsorted(latest_ends, since)
    return (indices - np.minimum(earliest, indices)).astype(np.int32)


def _begin(events: EncodedRuns, runs: _Runs, draw: Draw) -> NDArray[np.int64]:
    """Where each window begins in `events.ids`, (batch,).

    The start id of a window that begins with its piece lies one before.
    """
    ons = events.ons[runs.heads]
    in_order = np.append(np.sort(events.ons), len(events.ids))
    next_ons = in_order[np.searchsorted(in_order, ons, "right")]
    gaps = np.minimum(next_ons, events.bounds[1:]) - ons
    begins = ons + (draw.places * gaps).astype(np.int64)
    return np.where(draw.notes < 0, events.bounds[:-1] - 1, begins)


def _places_of(
    notes: NDArray[np.int64],
    events: EncodedRuns,
    runs: _Runs,
    draw: Draw,
    otherwise: int,
) -> NDArray[np.int64]:
    """Where in `events.ids` note-ons of windows' notes are, (batch, 1).

    `otherwise` for those that the runs don't hold.
    """
    indices = runs.heads + notes - np.maximum(draw.notes, 0)
    held = (notes >= 0) & (indices < runs.firsts + runs.counts)
    places = events.ons.take(indices, mode="clip")
    return np.where(held, places, otherwise)[:, None]


def _sure(
    events: EncodedRuns, runs: _Runs, time_step: float
) -> NDArray[np.int64]:
    """How far `events.ids` are what the whole piece would give, (batch,).

    The notes left out begin no earlier than a run's last note: up to a
    note-on of an earlier tick than that, nothing is missing.
    """
    lasts = runs.firsts + runs.counts - 1
    # Four ticks of time are two or more after stretching: an earlier tick.
    early = runs.starts < (runs.starts[lasts] - 4 * time_step)[runs.of_note]
    num_early = np.add.reduceat(early, runs.firsts, dtype=np.int64)
    sure = events.ons[runs.firsts + np.maximum(num_early - 1, 0)] + 1
    return np.where(num_early > 0, sure, 0)


def _within_piano(
    pitches: NDArray[np.int64], runs: _Runs, semitones: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Transpositions, cut down where a note of the run would leave the piano.

    A run that lies outside already is not moved further out.
    """
    down = LOWEST_PITCH - np.minimum.reduceat(pitches, runs.firsts)
    up = HIGHEST_PITCH - np.maximum.reduceat(pitches, runs.firsts)
    return np.clip(semitones, np.minimum(down, 0), np.maximum(up, 0))


class _Ahead:
    """`function(step)`, with the steps that follow prepared in threads."""

    def __init__(
        self, function: Callable[[int], Batch], workers: int, size: int
    ):
        self.function = function
        self.workers = workers
        self.size = size
        self.pool: ThreadPoolExecutor | None = None
        self.futures: dict[int, Future[Batch]] = {}

    def get(self, step: int) -> Batch:
        if not self.workers:
            return self.function(step)
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.workers)
        known, futures = self.futures, {}
        for near in range(step, step + self.size + 1):
            futures[near] = known.get(near) or self.pool.submit(
                self.function, near
            )
        self.futures = futures
        return futures[step].result()


def _as_rows(batch: Batch) -> NDArray[np.int32]:
    """The way back."""
    x, y, _ = batch
    return np.concatenate([x["token_ids"], y[:, -1:]], axis=1)
