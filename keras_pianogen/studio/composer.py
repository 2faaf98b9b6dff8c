"""The models of the studio, which write the candidates. Times are in seconds.

Keras is imported when the first model is loaded, so that the page answers
before. A `Composer` is used by one thread, see `jobs.Worker`.
"""

import contextlib
import importlib
import pathlib

import numpy as np

from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import to_rows
from keras_pianogen.notices.chatter import import_keras_alone
from keras_pianogen.studio import duets
from keras_pianogen.studio.messages import Wish

# What is done before the first answer, and the share of the time that has
# passed when it begins.
IMPORT = "The libraries are loading …", 0.0
LOAD = "The model is loading …", 0.5
COMPILE = "The model is being compiled …", 0.6
BUSY = ("loading", "warming")

# As all that the page asks for, it sets the sampler.
WARM_UP = {"seconds": 0.1, "temperature": 1.0}


class Composer:
    """Loads the models of presets, and generates music with them.

    Args:
        presets: list of names or folders that `from_preset` takes. The first
            is loaded and compiled before a page asks for it.

    Attributes:
        state: `"loading"`, `"warming"` (it compiles), `"ready"` or `"failed"`.
        step: what it does until it is ready, a sentence, and the share of the
            time that has passed, 0 to 1. A job whose preset is yet to be
            loaded, or compiled for work of its kind, shows it as well.
        failure: the reason why the first preset can't be loaded or compiled, a
            sentence; or `None`.
    """

    def __init__(self, presets):
        self.presets = list(presets)
        self.state, self.step = "loading", IMPORT
        self.failure = None
        self._models = {}
        # Pairs of a preset and a kind of work. The server's thread reads them
        # meanwhile, so that the set is replaced and never changed.
        self._has_done = frozenset()
        self._prompt_caches = {}

    @property
    def preparations(self):
        """Functions to call, in this order, while there is no job."""
        return [self._load_first, self._warm_up, self._warm_up_reading]

    @property
    def loaded(self):
        """The presets that have made music, a list."""
        return sorted({x for x, kind in self._has_done if kind != "load"})

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
        with self._at_work(wish.preset, "write") as (model, tell_ready):
            (prompt,), (own,), _ = model.request_class.prompts_of(
                model, wish.notes, wish.prompt_seconds
            )
            start = 0.0 if own is None else own.cut
            for candidate, seed in enumerate(wish.seeds):
                job.check()
                about = {"candidate": candidate, "seed": seed}
                form = model.preprocessor.form
                feed = _Feed(form, prompt, candidate, job, tell_ready)
                job.report(about | {"start": start})
                notes = self._generate(wish, wish.notes, seed, feed)
                tell_ready()
                job.report(about | {"notes": to_rows(notes)})

    def fill(self, gap, job):
        """Write a part of a piece anew, once for each seed.

        For each candidate the job reports three kinds of dicts:

        - `{"candidate", "seed", "start"}`: where the part begins.
        - `{"candidate", "until"}`, again and again: the time up to which it
          is written.
        - `{"candidate", "notes"}`: rows of all notes of the piece.

        Args:
            gap: a `messages.Gap`.
            job: the `jobs.Job` that this is done for.
        """
        with self._at_work(gap.preset, "fill") as (model, tell_ready):
            _check_is_of_notes(model, gap.preset)
            for candidate, seed in enumerate(gap.seeds):
                job.check()
                about = {"candidate": candidate, "seed": seed}
                job.report(about | {"start": gap.start})

                def progress(_, seconds, candidate=candidate):
                    job.check()
                    tell_ready()
                    until = round(min(gap.end, gap.start + seconds), 2)
                    job.report({"candidate": candidate, "until": until})

                notes = model.infill(
                    gap.notes,
                    gap.start,
                    gap.end,
                    keep_melody=gap.keep_melody,
                    **gap.settings,
                    seed=seed,
                    progress=progress,
                )
                job.report(about | {"notes": to_rows(notes)})

    def duet(self, preset, takeover, keys, job):
        """Play a duet with the page, see `duets.play`."""
        with self._at_work(preset, "duet") as (model, tell_ready):
            _check_is_of_notes(model, preset)
            duets.play(model, takeover, keys, job, on_tuned=tell_ready)

    def read(self, wish, job):
        """Prefill a wish's prompt, so that writing begins at once.

        Args:
            wish: a `messages.Wish` with a preset and a prompt.
            job: the `jobs.Job` that this is done for. If it is stopped, the
                part that was prefilled is kept.
        """
        with self._at_work(wish.preset, "load") as (model, _):
            job.check()
        model.read(
            wish.notes,
            self._prompt_caches[wish.preset],
            prompt_seconds=wish.prompt_seconds,
            on_events=lambda pieces: job.check(),
        )

    @contextlib.contextmanager
    def _at_work(self, preset, kind):
        """Shows what is loaded and compiled for work of a kind.

        Yields the model, and a function to call once it is ready.
        """
        before = self.state, self.step
        is_new = (preset, kind) not in self._has_done
        name = "/".join(pathlib.PurePath(preset).parts[-2:])

        def tell_ready():
            self.state = "ready"
            self._has_done |= {(preset, kind)}

        try:
            if is_new:
                self.state, self.step = "loading", (f"{name} is loading …", 0.0)
            model = self._model(preset)
            if is_new:
                compiling = f"{name} is being compiled …"
                self.state, self.step = "warming", (compiling, 0.3)
            yield model, tell_ready
        finally:
            if self.state in BUSY:
                self.state, self.step = before

    def _model(self, preset):
        if preset not in self._models:
            from keras_pianogen.models import MusicTransformerCausalLM
            from keras_pianogen.models import PromptCache

            model = MusicTransformerCausalLM.from_preset(preset)
            self._prompt_caches[preset] = PromptCache()
            self._models[preset] = model
            self._has_done |= {(preset, "load")}
        return self._models[preset]

    @contextlib.contextmanager
    def _failing(self):
        """Keep the reason of an error, for the page."""
        try:
            yield
        except Exception as error:
            self.state = "failed"
            self.failure = str(error) or type(error).__name__
            raise

    def _load_first(self):
        with self._failing():
            import_keras_alone()
            importlib.import_module("keras_pianogen.models")
            self.step = LOAD
            self._model(self.presets[0])
        if self.state == "loading":  # Or else a job has made it ready.
            self.state, self.step = "warming", COMPILE

    def _warm_up(self):
        """Compile the functions that a new piece needs."""
        if self.state == "warming":
            with self._failing():
                self._compile_for(0)
            self.state = "ready"
            self._has_done |= {(self.presets[0], "write")}

    def _warm_up_reading(self):
        """Compile the functions that a prompt needs."""
        if self.state == "ready":
            self._compile_for(100)

    def _compile_for(self, length):
        """Compile by continuing a prompt of this number of notes."""
        wish = Wish(self.presets[0], None, settings=WARM_UP)
        prompt = np.zeros(length, NOTE_DTYPE)
        prompt["start"] = 0.1 * np.arange(length)
        prompt["end"] = prompt["start"] + 0.1
        prompt["pitch"], prompt["velocity"] = 60, 64
        prompt = prompt if length else None
        self._generate(wish, prompt, 0, lambda pieces: None, keep=False)

    def _generate(self, wish, prompt, seed, on_events, keep=True):
        """Generate a candidate, as `pianogen generate` does."""
        return self._model(wish.preset).generate(
            prompt,
            **wish.settings,
            prompt_seconds=wish.prompt_seconds,
            seed=seed,
            prompt_cache=self._prompt_caches[wish.preset] if keep else None,
            on_events=on_events,
        )


def _check_is_of_notes(model, preset):
    if not hasattr(model, "infill"):
        raise ValueError(
            "The preset must be one of notes, such as "
            f"note_transformer_maestro. Received: {preset}"
        )


class _Feed:
    """Reports one candidate's new note-ons and note-offs as they come.

    Args:
        form: the form of the model's music, see `data.forms`.
        prompt: tokens of the prompt, whose events aren't reported.
        candidate: int. Index of the candidate.
        job: a `jobs.Job`.
        tell_ready: a function that is called when events come.
    """

    def __init__(self, form, prompt, candidate, job, tell_ready):
        self._form, self._candidate, self._job = form, candidate, job
        self._tell_ready = tell_ready
        strokes, self._until = form.strokes(prompt)
        self._told = len(strokes)

    def __call__(self, pieces):
        self._job.check()
        self._tell_ready()
        new, until = self._form.strokes(pieces[0], self._told)
        if not new and until <= self._until:
            return
        self._told, self._until = self._told + len(new), until
        self._job.report(
            {
                "candidate": self._candidate,
                "events": [[round(time, 4), *key] for time, *key in new],
                "until": round(until, 4),
            }
        )
