"""The model in a thread of its own: it reads ahead, and answers.

Reading ahead means that the notes are prefilled while the player plays, so
that an answer begins at once. An answer interrupts reading ahead after the
call that it is in.
"""

import dataclasses
import queue
import threading

from keras_pianogen.generation import pieces
from keras_pianogen.generation.asking import Asked
from keras_pianogen.generation.draws import take
from keras_pianogen.generation.note_request import NoteRequest
from keras_pianogen.generation.notewise import NoteGrammar
from keras_pianogen.generation.prompt_cache import PromptCache

OVER = object()  # comes after the last note of an answer
# Longest silence within an answer, and longest note.
GRAMMAR = NoteGrammar(max_silence_seconds=1.5, max_note_seconds=8.0)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AnswerRequest(NoteRequest):
    """A `NoteRequest` that goes on until it is stopped.

    Nothing is asked of the prompt's notes, so that they can be read before it
    is known what will be asked of the answer.
    """

    def asked_on(self, prompt, asked):
        """See `NoteRequest.asked_on`: only the last row is given anything."""
        prompt = prompt.copy()
        prompt[-1, self.model.backbone.fields.asked] = asked.plan()[0]
        return prompt

    @property
    def _may_end(self):
        return False


@dataclasses.dataclass(eq=False)
class Answer:
    """An answer that is being written.

    Attributes:
        notes: a queue of notes, scalars of `NOTE_DTYPE`, and then `OVER`, or
            the exception that ended it.
        stop: an event that ends it.
    """

    notes: queue.Queue = dataclasses.field(default_factory=queue.Queue)
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)


class Partner:
    """Writes answers. Use it as a context.

    Args:
        model: a `NoteTransformerCausalLM`.
        sampler: a `keras_hub.samplers.Sampler`.
        seed: int.
    """

    def __init__(self, model, sampler, seed):
        self.model, self.sampler, self.seed = model, sampler, seed
        self._cache = PromptCache(size=2, shortest=1)
        self._answers = 0
        self._jobs, self._wake = [], threading.Condition()
        self._closed, self._failure = False, None
        self._thread = threading.Thread(
            target=self._run, name="partner", daemon=True
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with self._wake:
            self._closed = True
            self._jobs = []
            self._wake.notify()
        # The model must be free for others once this is over.
        self._thread.join()

    def warm_up(self, notes):
        """Compile everything, by an answer to some notes."""
        answer = self.answer(notes, float(notes["end"].max()) + 0.1, {})
        for _ in range(2):
            if isinstance(note := answer.notes.get(), Exception):
                raise note
        answer.stop.set()

    def read(self, notes):
        """Read notes ahead, in place of those that wait to be read."""
        with self._wake:
            if not any(is_answer for is_answer, _ in self._jobs):
                self._jobs = [(False, lambda: self._read(notes))]
                self._wake.notify()

    def answer(self, notes, begin, asked):
        """Begin an answer.

        Args:
            notes: array of `NOTE_DTYPE`, all notes so far.
            begin: float. When the answer begins at the earliest.
            asked: dict of what is asked of it, see `asking.Asked`.

        Returns:
            An `Answer`.
        """
        answer, number = Answer(), self._answers
        self._answers += 1

        def write():
            self._write(answer, notes, begin, asked, self.seed + number)

        with self._wake:
            self._jobs = [(True, write)]
            self._wake.notify()
        return answer

    def _run(self):
        while True:
            with self._wake:
                while not self._jobs and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                _, job = self._jobs.pop(0)
            try:
                job()
            except Exception as error:  # The next answer tells of it.
                self._failure = error

    def _read(self, notes):
        request = self._request(notes, float(notes["end"].max(initial=0)), {})
        for _ in pieces.prefill(request, self._cache):
            with self._wake:
                if self._jobs or self._closed:  # What is read stays read.
                    return

    def _write(self, answer, notes, begin, asked, seed):
        try:
            if self._failure is not None:
                raise self._failure
            request = self._request(notes, begin, asked, seed)
            draws = take(self.sampler, seed)
            tokens = pieces.new_tokens(request, draws, self._cache)
            for note in request.streamed(tokens):
                if answer.stop.is_set() or self._closed:
                    break
                answer.notes.put(note)
        except Exception as error:  # The duet raises it.
            answer.notes.put(error)
        answer.notes.put(OVER)

    def _request(self, notes, begin, asked, seed=0):
        model = self.model
        (rows,), _, _ = NoteRequest.prompts_of(model, [notes])
        known = {x: v for x, v in asked.items() if x in model.controls.names}
        return AnswerRequest(
            model=model,
            prompts=[rows],
            prompt_seconds=begin,
            sampler=self.sampler,
            grammar=GRAMMAR,
            asked=Asked(model.controls, known),
            seed=seed,
            is_endless=True,
        )
