"""Looks at a model as it is trained: validation, samples, collapse.

Each is an object that a `Recorder` is given, with

- `is_due(recorder)`, whether it looks at the end of this epoch;
- `look(recorder)`, which looks, and returns the figures of this step, a dict;
- `figures`, a dict of those that the rows of later steps have too;
- `columns`, the names of both in the history;
- `is_kept`, whether the run saves its results and a checkpoint afterwards.
"""

import math

import numpy as np

from keras_pianogen.judging.collapse import FIGURES
from keras_pianogen.judging.collapse import CollapseFigures


class Evenly:
    """Is due a number of times in a run, evenly, and at its end.

    Between two of these times nothing is due. An interrupted run goes on with
    the times of one that was not.

    Args:
        times: int. How many times.
        state: dict of the run's numbers, which keeps the count.
        name: key of the count in `state`.
    """

    def __init__(self, times, state, name):
        self.times = times
        self.state = state
        self.name = name
        state.setdefault(name, 0)

    def is_due(self, recorder):
        return recorder.finished or (
            recorder.length.is_end_of_epoch(recorder.step)
            and recorder.done * self.times >= self.state[self.name] + 1
        )

    def count(self, recorder):
        self.state[self.name] = int(recorder.done * self.times)


class AtBothEnds:
    """Is due before the first step, and when training ends."""

    def is_due(self, recorder):
        return recorder.step == 0 or recorder.stopping

    def count(self, recorder):
        """Does nothing."""


class Validation:
    """Measures the validation loss, and keeps the model if it is the best.

    Args:
        times: an `Evenly`.
        measure: a function that returns the loss in nats per event; or `None`
            if there is no music to validate on, and each model is kept.
        keep: a function that keeps the model.
        state: dict of the run's numbers, which has the lowest loss.
    """

    columns = ("val_nats_per_event", "best_val_nats_per_event")
    is_kept = True

    def __init__(self, times, measure, keep, state):
        self.times, self.measure, self.keep = times, measure, keep
        self.is_due = times.is_due
        self.state = state
        state.setdefault("best", math.inf)

    @property
    def figures(self):
        return {
            "val_nats_per_event": "",
            "best_val_nats_per_event": self.state["best"],
        }

    def look(self, recorder):
        self.times.count(recorder)
        loss = self.measure()
        if loss is None:
            self.keep()
            return {}
        if loss < self.state["best"]:
            self.state["best"] = loss
            self.keep()
        return {"val_nats_per_event": loss}


class Likelihood:
    """Measures the validation loss at the beginning and at the end of a run.

    Args:
        measure: a function that returns a dict of figures.
    """

    columns = ("val_nats_per_event",)
    is_kept = False

    def __init__(self, measure):
        self.measure = measure
        self.figures = {}

    def is_due(self, recorder):
        return True

    def look(self, recorder):
        """The loss, which stays in the rows until the next look."""
        at_an_end = recorder.step == 0 or recorder.finished
        self.figures = self.measure() if at_an_end else {}
        return self.figures


class Samples:
    """Writes music that the model generates, in the run's folder `samples`.

    Args:
        run: the `Run`.
        times: an `Evenly` or an `AtBothEnds`.
        generate: a function of the step that returns a dict of the names of
            files and the notes to write there.
        write: a function of notes and a path that writes a file.
    """

    columns = ()
    is_kept = False
    figures = {}

    def __init__(self, run, times, generate, write):
        self.run, self.times = run, times
        self.generate, self.write = generate, write
        self.is_due = times.is_due

    def look(self, recorder):
        self.times.count(recorder)
        folder = self.run.folder / "samples"
        for name, notes in self.generate(recorder.step).items():
            with self.run.writing("A sample"):
                folder.mkdir(exist_ok=True)
                self.write(notes, folder / name)
        return {}


class Collapse:
    """Draws the same samples of a GAN each time, and compares them with music.

    They are made of the same noise each time, or continue the same real
    sequences.

    Args:
        gan: a `TransformerGAN`.
        vocabulary: an `EventVocabulary`.
        real: ids of real music, an int array of shape (sequences, time), as
            long as the sequences that the model is trained on.
        samples: int. How many samples.
        seed: int. Seed of the choice of noise or of sequences.

    Attributes:
        of_real: figures of real music, a dict; see `CollapseFigures`.
        samples: ids of the last samples, an int array of shape (samples,
            time), without those that they continue.
        sentence: what the last figures say.
    """

    columns = ("figures_step", *FIGURES)
    is_kept = False

    def __init__(self, gan, vocabulary, real, samples=64, seed=0):
        self.gan, self.seed = gan, seed
        rng = np.random.default_rng(seed)
        self.inputs = gan.fakes.inputs(real, samples, rng)
        self.context_length = gan.fakes.context_length
        self.judge = CollapseFigures(
            vocabulary, real[:, self.context_length :], samples
        )
        self.of_real = self.judge.of_real
        self.figures, self.sentence, self.samples = {}, "", None

    def is_due(self, recorder):
        return True

    def look(self, recorder):
        return self.measure(recorder.step, recorder.row)

    def measure(self, step, logs):
        """Draw samples and measure them.

        Args:
            step: int. The number of rounds before.
            logs: dict of the last round's figures.

        Returns:
            The figures, a dict.
        """
        ids = self.gan.generate(self.inputs, seed=self.seed)
        self.samples = ids[:, self.context_length :]
        self.figures = {"figures_step": step, **self.judge.of(self.samples)}
        self.sentence = self.judge.describe(self.samples, logs)
        return self.figures
