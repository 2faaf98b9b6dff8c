"""A duet in real time: the player's turn, the partner's turn. In seconds."""

import dataclasses
import gc
import heapq
import itertools
import queue
import time

import mido
import numpy as np

from keras_pianogen.data.scales import overall
from keras_pianogen.duet.keyboard import Keyboard
from keras_pianogen.duet.partner import OVER
from keras_pianogen.duet.partner import Partner
from keras_pianogen.duet.turns import AtSilence
from keras_pianogen.duet.turns import check_answers
from keras_pianogen.generation.arguments import KINDS
from keras_pianogen.generation.samplers import get_sampler
from keras_pianogen.notes import NOTE_DTYPE

LATE = 0.01  # a note that is sent so long after it was due is late
READ_AGAIN = 0.25  # between two times of reading ahead
LAST_RING = 1.5  # the last notes of an answer end at the latest
# What is asked of an answer: as the phrase has it.
CHARACTER = ("density", "loudness", "register")
SPARSEST = 0.5  # notes a second
WARM_UP = np.array([(0, 0.4, 60, 64), (0.5, 0.9, 64, 64)], NOTE_DTYPE)


@dataclasses.dataclass
class Report:
    """What happened in a duet.

    Attributes:
        answers: number of answers.
        notes: number of notes that the partner played.
        late: how many of them were sent over 10 ms late.
        first_notes: for each answer, the seconds from the decision to take
            over to its first note.
        stops: for each answer that the player stopped, the seconds from the
            key to silence.
    """

    answers: int = 0
    notes: int = 0
    late: int = 0
    first_notes: list = dataclasses.field(default_factory=list)
    stops: list = dataclasses.field(default_factory=list)


class Duet:
    """A model that plays along with a pianist, taking turns.

    The model reads ahead while the player plays. Its turn comes by a rule; its
    answer is as long as the player's phrase, and in its character: density,
    loudness and register are asked for, if the model has these controls. When
    the player strikes a key, the answer stops at once. All notes are released
    at the end, whatever ended the duet.

    Args:
        model: a `NoteTransformerCausalLM`, such as
            `from_preset("note_transformer_maestro")`.
        takeover: an `AtSilence`, the default, an `AtPedal` or an `AtKey`.
        shortest: float above 0. Shortest answer.
        longest: float, `shortest` or above. Longest answer.
        latency: float, 0 or above. How long after a message the instrument
            sounds; it is sent so much earlier.
        sampler: a `keras_hub.samplers.Sampler`, or its name. Defaults to
            `None`, the model's own.
        seed: int, 0 or above. Seed of the answers.

    Raises:
        TypeError: if the model is none of notes.
        ValueError: if an argument is out of its range.

    Examples:
        ```python
        import mido

        duet = Duet(keras_pianogen.from_preset("note_transformer_maestro"))
        with mido.open_input() as keys, mido.open_output() as piano:
            duet.play(keys, piano, seconds=600)
        ```
    """

    def __init__(
        self,
        model,
        takeover=None,
        *,
        shortest=2.0,
        longest=12.0,
        latency=0.0,
        sampler=None,
        seed=0,
    ):
        if not hasattr(model, "infill"):
            raise TypeError(
                "`model` must be a model of notes, such as the preset "
                f"note_transformer_maestro. Received: a {type(model).__name__}"
            )
        check_answers(shortest, longest, latency, seed)
        self.model = model
        self.takeover = AtSilence() if takeover is None else takeover
        self.shortest, self.longest = shortest, longest
        self.latency, self.seed = latency, seed
        self.sampler = (
            model.sampler if sampler is None else get_sampler(sampler)
        )

    def play(self, source, sink, seconds=None, tell=None, heard=None):
        """Play, until the time is over or the source has ended.

        Args:
            source: an input port of mido, or an object with its method
                `iter_pending`, and an attribute `closed`.
            sink: an output port of mido, or an object with its method `send`.
                If it has a method `begin`, as a `FileRecorder` has, that is
                called when the model has warmed up.
            seconds: float. How long. Defaults to `None`: until the source is
                closed, or Ctrl-C.
            tell: a function called with a sentence whenever a turn begins or
                ends.
            heard: a function called with each message of the source, such as
                the method `hear` of a `FileRecorder`.

        Returns:
            A `Report`.
        """
        with Partner(self.model, self.sampler, self.seed) as partner:
            partner.warm_up(WARM_UP)
            if isinstance(source, mido.ports.BaseInput):
                for _ in source.iter_pending():  # Played to no one.
                    pass
            if hasattr(sink, "begin"):
                sink.begin()
            session = _Session(self, source, sink, partner, tell, heard)
            # What was there before is not looked through for garbage: with a
            # deep learning library, that would take longer than a note.
            gc.freeze()
            try:
                session.run(seconds)
            finally:
                session.silence()
                gc.unfreeze()
        return session.report


class _Turn:
    """The partner's turn: an answer, and what of it is to be sent.

    Args:
        answer: an `Answer`.
        decided: when the takeover was decided.
        length: of the answer, in seconds.
    """

    def __init__(self, answer, decided, length):
        self.answer, self.decided, self.length = answer, decided, length
        self.is_written = False
        self.offset = None  # from the model's time to that of the duet
        self.due = []  # a heap of (time, number, message)
        self.played = []  # [start, end, pitch, velocity], as it sounds
        self.sounding = {}  # by pitch, the note in `played`


class _Session:
    """A duet that is being played.

    Args:
        duet: a `Duet`.
        source: see `Duet.play`.
        sink: see there.
        partner: a `Partner`.
        tell: see `Duet.play`.
        heard: see there.
    """

    def __init__(self, duet, source, sink, partner, tell, heard):
        self.duet, self.partner = duet, partner
        self.source, self.sink = source, sink
        self.tell = tell or (lambda sentence: None)
        self.heard = heard or (lambda message: None)
        self.report, self.keyboard = Report(), Keyboard()
        self.turn, self.read_at, self.seen = None, 0.0, 0
        self._numbers, self._signal = itertools.count(), False
        self._began = time.monotonic()

    def now(self):
        return time.monotonic() - self._began

    def run(self, seconds):
        self.tell("The partner listens.")
        while seconds is None or self.now() < seconds:
            for message in self.source.iter_pending():
                self.heard(message)
                self._take(message)
            if self.turn is None:
                self._listen()
            if self.turn is not None:
                self._go_on()
            if self.source.closed and self._is_over():
                return
            time.sleep(self._pause())

    def _is_over(self):
        """Whether no turn comes if nothing more is played."""
        is_waiting = self.duet.takeover.due(self.keyboard) is not None
        return self.turn is None and not (self.keyboard.onsets and is_waiting)

    def silence(self):
        """Release every note, and stop the answer that is being written."""
        pitches = []
        if self.turn is not None:
            self.turn.answer.stop.set()
            pitches = list(self.turn.sounding)
        messages = [mido.Message("note_off", note=pitch) for pitch in pitches]
        messages += [
            mido.Message("control_change", control=control, value=0)
            for control in (64, 123)
        ]
        failures = []
        for message in messages:
            try:
                self.sink.send(message)
            except Exception as error:  # The others are to be released.
                failures.append(error)
        if failures:
            raise failures[0]

    def _pause(self):
        """How long nothing happens, at most a few milliseconds."""
        if self.turn is not None and self.turn.due:
            until = self.turn.due[0][0] - self.now()
            return min(max(until, 0.0), 0.002)
        return 0.002

    # The player's turn.

    def _take(self, message):
        now = self.now()
        if self.duet.takeover.takes(message):
            # Some pedals send many values on their way down.
            before, self._signal = (
                self._signal,
                self.duet.takeover.signals(message),
            )
            if self._signal and not before and self.turn is None:
                self._take_over()
            return
        is_key = message.type == "note_on" and message.velocity > 0
        if is_key and self.turn is not None:
            self._stop(now)
        self.keyboard.take(message, now)

    def _listen(self):
        now = self.now()
        due = self.duet.takeover.due(self.keyboard)
        if self.keyboard.onsets and due is not None and now >= due:
            self._take_over()
            return
        if now - self.read_at >= READ_AGAIN:
            self.read_at = now
            notes = self.keyboard.settled(now)
            if len(notes) > self.seen:
                self.seen = len(notes)
                self.partner.read(notes)

    def _take_over(self):
        now = self.now()
        phrase = self.keyboard.phrase(now)
        if not len(phrase):
            return
        begin = self.keyboard.onsets[0]
        end = now if self.keyboard.down else self.keyboard.up_since
        length = max(end - begin, 0.0)
        asked = {}
        if len(phrase) > 3:
            cut = phrase.copy()
            for field in ("start", "end"):
                cut[field] -= begin
            found = overall(cut, max(length, 0.5))
            found["density"] = max(found["density"], SPARSEST)
            asked = {x: KINDS[x].nearest(found[x]) for x in CHARACTER}
        length = float(np.clip(length, self.duet.shortest, self.duet.longest))
        answer = self.partner.answer(self.keyboard.all(now), now, asked)
        self.turn = _Turn(answer, now, length)
        self.report.answers += 1
        self.tell(f"The partner answers, for {length:.1f} s.")

    # The partner's turn.

    def _go_on(self):
        self._fetch()
        turn = self.turn
        while turn.due and turn.due[0][0] <= self.now():
            due, _, message, note = heapq.heappop(turn.due)
            self._send(due, message, note)
        if turn.is_written and not turn.due:
            self._end_turn()

    def _fetch(self):
        """Plan the notes that have been written."""
        turn = self.turn
        while not turn.is_written:
            try:
                note = turn.answer.notes.get_nowait()
            except queue.Empty:
                return
            if isinstance(note, Exception):
                raise note
            if note is OVER:
                turn.is_written = True
                return
            self._plan(note)

    def _plan(self, note):
        turn, latency = self.turn, self.duet.latency
        start, end, pitch, velocity = note.item()
        if turn.offset is None:  # The first note sounds as soon as it can.
            turn.offset = self.now() + latency - start
            turn.first = start
        if start > turn.first + turn.length:
            turn.is_written = True
            turn.answer.stop.set()
            return
        end = min(end, turn.first + turn.length + LAST_RING)
        lateness = self.now() + latency - start - turn.offset
        if lateness > LATE:  # The rest comes later too, and keeps its pace.
            turn.offset += lateness
            self.report.late += 1
        sounds = [start + turn.offset, end + turn.offset, pitch, velocity]
        on = mido.Message("note_on", note=pitch, velocity=velocity)
        off = mido.Message("note_off", note=pitch)
        for at, message in ((sounds[0], on), (sounds[1], off)):
            entry = (at - latency, next(self._numbers), message, sounds)
            heapq.heappush(turn.due, entry)

    def _send(self, due, message, note):
        turn = self.turn
        pitch, now = message.note, self.now()
        if message.type == "note_off":
            if turn.sounding.get(pitch) is note:
                self.sink.send(message)
                del turn.sounding[pitch]
            return
        if pitch in turn.sounding:  # Its key is struck again.
            self.sink.send(mido.Message("note_off", note=pitch))
            turn.sounding[pitch][1] = now + self.duet.latency
        turn.sounding[pitch] = note  # A signal may end the duet inside `send`.
        self.sink.send(message)
        if not turn.played:
            self.report.first_notes.append(now - turn.decided)
        self.report.notes += 1
        self.report.late += now - due > LATE
        turn.played.append(note)

    def _stop(self, began):
        """The player has struck a key: the answer ends."""
        turn, latency = self.turn, self.duet.latency
        turn.answer.stop.set()
        for pitch, note in turn.sounding.items():
            self.sink.send(mido.Message("note_off", note=pitch))
            note[1] = max(note[0], min(note[1], self.now() + latency))
        self.report.stops.append(self.now() - began)
        self._end_turn()

    def _end_turn(self):
        self.keyboard.add(self.turn.played)
        self.keyboard.new_phrase()
        self.turn = None
        self.tell("The partner listens.")
