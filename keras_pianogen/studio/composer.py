"""The models of the studio, which write the candidates. Times are in seconds.

Keras is imported when the first model is loaded, so that the page answers
before. A `Composer` is used by one thread, see `jobs.Worker`.
"""

import numpy as np

from keras_pianogen.events import PITCHES
from keras_pianogen.generation.prompts import prompts_of
from keras_pianogen.studio.messages import Wish
from keras_pianogen.studio.messages import to_rows

# As all that the page asks for, it sets the sampler.
WARM_UP = {"seconds": 0.1, "temperature": 1.0}


class Composer:
    """Loads the models of presets, and generates music with them.

    Args:
        presets: list of names or folders that `from_preset` takes. The first
            is loaded and compiled before a page asks for it.

    Attributes:
        state: `"loading"`, `"warming"` (it compiles), `"ready"` or `"failed"`.
        failure: the reason why the first preset can't be loaded, a sentence;
            or `None`.
    """

    def __init__(self, presets):
        self.presets = list(presets)
        self.state = "loading"
        self.failure = None
        self._models = {}
        self._prompt_caches = {}

    @property
    def preparations(self):
        """Functions to call, in this order, while there is no job."""
        return [self._load_first, self._warm_up, self._warm_up_reading]

    def write(self, wish, job):
        """Write a wish's candidates, one after the other.

        For each candidate the job reports three kinds of dicts:

        - `{"candidate", "seed", "start"}`: `start` is the time at which the
          new music begins.
        - `{"candidate", "events", "until"}`, again and again: `events` are
          rows of time, pitch and velocity, which is 0 for a note's end.
          `until` is the time up to which the music is known.
        - `{"candidate", "notes"}`: rows of all notes, the prompt's included.

        Args:
            wish: a `messages.Wish`.
            job: the `jobs.Job` that this is done for.
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
        """Prefill a wish's prompt, so that writing begins at once.

        Args:
            wish: a `messages.Wish` with a preset and a prompt.
            job: the `jobs.Job` that this is done for. If it is stopped, the
                part that was prefilled is kept.
        """
        model = self._model(wish.preset)
        job.check()
        model.read(
            wish.notes,
            self._prompt_caches[wish.preset],
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
        """Compile the functions that a new piece needs."""
        if self.state == "warming":
            self._compile_for(0)
            self.state = "ready"

    def _warm_up_reading(self):
        """Compile the functions that a prompt needs."""
        if self.state == "ready":
            self._compile_for(100)

    def _compile_for(self, length):
        """Compile by continuing a prompt of this number of events."""
        wish = Wish(self.presets[0], None, settings=WARM_UP)
        vocabulary = self._model(wish.preset).preprocessor.tokenizer.vocabulary
        note = [vocabulary.note_on_id + 60, vocabulary.shift_id]
        note += [vocabulary.note_off_id + 60, vocabulary.shift_id]
        prompt = np.resize(np.array(note, "int32"), length)
        self._generate(wish, prompt, 0, lambda pieces: None, keep=False)

    def _generate(self, wish, prompt, seed, on_events, keep=True):
        """Generate a candidate, as `pianogen generate` does."""
        return self._model(wish.preset).generate(
            prompt,
            **wish.settings,
            seed=seed,
            prompt_cache=self._prompt_caches[wish.preset] if keep else None,
            on_events=on_events,
        )


class _Feed:
    """Reports one candidate's new events to a job as they come.

    Args:
        vocabulary: an `EventVocabulary`.
        given: int. Number of events of the prompt, which aren't reported.
        candidate: int. Index of the candidate.
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
        """Pitch and velocity of a note-on; a note-off's velocity is 0."""
        code = int(ids[at]) - self._vocabulary.note_on_id
        if code >= PITCHES:
            return code - PITCHES, 0
        said = ids[:at][ids[:at] >= self._vocabulary.velocity_id]
        notes = self._vocabulary.decode(np.append(said[-1:], ids[at]))
        return code, int(notes["velocity"][0])
