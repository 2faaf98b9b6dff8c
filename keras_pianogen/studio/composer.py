"""The models behind the page: loaded, warmed up, writing. Times in seconds.

Keras is imported when the first model loads, not with this module, so that
the page is there at once. All of it is for one thread, see `jobs.Worker`.
"""

import numpy as np

from keras_pianogen.events import PITCHES
from keras_pianogen.generation.prompts import prompts_of
from keras_pianogen.studio.messages import Wish
from keras_pianogen.studio.messages import to_rows


class Composer:
    """Models by the names of their presets, and what they write.

    Args:
        presets: list of names that `MusicTransformerCausalLM.from_preset`
            takes, or folders. The first is warmed up.

    Attributes:
        state: `"loading"`, `"warming"`, `"ready"` or `"failed"`.
        failure: a sentence, where the first preset can't be loaded.
    """

    def __init__(self, presets):
        self.presets = list(presets)
        self.state = "loading"
        self.failure = None
        self._models = {}
        self._prompt_caches = {}

    @property
    def preparations(self):
        """Functions to call while nothing else is to be done."""
        return [self._load_first, self._warm_up, self._warm_up_reading]

    def write(self, wish, job):
        """Write a wish's candidates, one after the other.

        What is reported: `{"candidate", "seed", "start"}`, where its new
        music begins; `{"candidate", "events", "until"}` again and again, rows
        of time, pitch and velocity, 0 for a note's end, and the time up to
        which the music is known; `{"candidate", "notes"}`, rows of the whole
        piece, its prompt included.

        Args:
            wish: a `messages.Wish`.
            job: a `jobs.Job`, told of what is made, and asked whether to
                go on.
        """
        model = self._model(wish.preset)
        vocabulary = model.preprocessor.tokenizer.vocabulary
        (prompt,), _, _ = prompts_of(model, wish.notes)
        start = vocabulary.duration(prompt)
        for candidate, seed in enumerate(wish.seeds):
            job.check()
            feed = _Feed(vocabulary, len(prompt), candidate, job)
            job.report({"candidate": candidate, "seed": seed, "start": start})
            notes = self._generate(wish, wish.notes, seed, feed)
            rows = to_rows(notes)
            job.report({"candidate": candidate, "seed": seed, "notes": rows})
        self.state = "ready"

    def read(self, wish, job):
        """Read a wish's prompt, so that writing begins at once.

        Args:
            wish: a `messages.Wish`, whose `seconds` and `seeds` say nothing.
            job: a `jobs.Job`, asked whether to go on. What was read by then
                is kept.
        """
        model = self._model(wish.preset)
        job.check()
        model.read(
            wish.notes,
            self._prompt_caches[wish.preset],
            sampler=_sampler(wish),
            on_events=lambda pieces: job.check(),
        )

    def _model(self, preset):
        if preset not in self._models:
            from keras_pianogen.models import MusicTransformerCausalLM
            from keras_pianogen.models import PromptCache

            self._prompt_caches[preset] = PromptCache()
            self._models[preset] = MusicTransformerCausalLM.from_preset(preset)
        return self._models[preset]

    def _load_first(self):
        try:
            self._model(self.presets[0])
        except Exception as error:
            self.state, self.failure = "failed", str(error)
            raise
        self.state = "warming"

    def _warm_up(self):
        """Compile what a new piece needs."""
        if self.state == "warming":
            self._compile_for(0)
            self.state = "ready"

    def _warm_up_reading(self):
        """Compile what prompts need."""
        if self.state == "ready":
            self._compile_for(100)

    def _compile_for(self, length):
        """Continue a prompt of so many events."""
        wish = Wish(self.presets[0], None, 0.1, (0,))
        vocabulary = self._model(wish.preset).preprocessor.tokenizer.vocabulary
        note = [vocabulary.note_on_id + 60, vocabulary.shift_id]
        note += [vocabulary.note_off_id + 60, vocabulary.shift_id]
        prompt = np.resize(np.array(note, "int32"), length)
        self._generate(wish, prompt, 0, lambda pieces: None, keep=False)

    def _generate(self, wish, prompt, seed, on_events, keep=True):
        """Just what `pianogen generate` does with the same settings."""
        return self._model(wish.preset).generate(
            prompt,
            seconds=wish.seconds,
            sampler=_sampler(wish),
            grammar=_grammar(wish),
            seed=seed,
            prompt_cache=self._prompt_caches[wish.preset] if keep else None,
            on_events=on_events,
        )


def _sampler(wish):
    from keras_pianogen.generation.samplers import AdjustableSampler

    return AdjustableSampler(
        wish.temperature, min_p=wish.min_p, top_p=wish.top_p
    )


def _grammar(wish):
    from keras_pianogen.generation.grammar import EventGrammar

    if wish.max_note_seconds is None:
        return EventGrammar()
    return EventGrammar(max_note_seconds=wish.max_note_seconds)


class _Feed:
    """Tells a job of one candidate's new events as they come.

    Args:
        vocabulary: an `EventVocabulary`.
        given: int. Events that were there before.
        candidate: int. Its place among the candidates.
        job: a `jobs.Job`.
    """

    def __init__(self, vocabulary, given, candidate, job):
        self._vocabulary = vocabulary
        self._told = given
        self._candidate = candidate
        self._job = job

    def __call__(self, pieces):
        self._job.check()
        ids, vocabulary = pieces[0], self._vocabulary
        if len(ids) <= self._told:
            return
        times = vocabulary.times(ids)
        rows = [
            [round(float(times[at]), 4), *self._strike(ids, at)]
            for at in range(self._told, len(ids))
            if vocabulary.note_on_id <= ids[at] < vocabulary.shift_id
        ]
        self._told = len(ids)
        self._job.report(
            {
                "candidate": self._candidate,
                "events": rows,
                "until": round(float(times[-1]), 4),
            }
        )

    def _strike(self, ids, at):
        """Pitch and velocity of a note-on or a note-off, whose is 0."""
        code = int(ids[at]) - self._vocabulary.note_on_id
        if code >= PITCHES:
            return code - PITCHES, 0
        said = ids[:at][ids[:at] >= self._vocabulary.velocity_id]
        notes = self._vocabulary.decode(np.append(said[-1:], ids[at]))
        return code, int(notes["velocity"][0])
