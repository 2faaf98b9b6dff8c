"""Looks at a model as it is trained: validation, samples, collapse.

Each is an object that a `Recorder` is given, with

- `is_due(recorder)`, whether it looks at the end of this epoch;
- `look(recorder)`, which looks, and returns the figures of this step, a dict;
- `figures`, a dict of those that the rows of later steps have too;
- `columns`, the names of both in the history;
- `is_kept`, whether the run saves its results and a checkpoint afterwards.
"""

import contextlib
import math
import time

import numpy as np

from keras_pianogen.judging.collapse import FIGURES
from keras_pianogen.judging.collapse import CollapseFigures

# Validation takes at most a tenth of a run, and so do samples. `SHARE` is
# planned, because the last look is never left out. `FIRST_SHARE` is the part of
# it for a preset's own figure, before the first step.
SHARE, FIRST_SHARE = 0.08, 0.04
# Validating on an event takes as long as training on so many: it is read twice,
# and only the loss is computed, a third of the work.
EVENTS_TRAINED = 2 / 3
# A validation reads at least so many events, where a run is long enough for so
# many validations; and each run has one.
FEWEST_EVENTS, FEWEST_VALIDATIONS = 2_000, 5


def validation_size(
    trained, most, events=None, validations=None, most_events=math.inf
):
    """How many events a validation reads, and how many a run has.

    Args:
        trained: number of events that the run trains on.
        most: dict of the largest `validation_events` and `validations`.
        events: number of events, if it is given.
        validations: number of validations, if it is given.
        most_events: number of events that there is time for, if none is
            given. Defaults to any number.

    Returns:
        Both numbers. One that isn't given is such that all validations
        together take at most a tenth of the run, unless that leaves none.
    """
    room = SHARE * trained / EVENTS_TRAINED
    if events is None:
        events = round(room / (validations or FEWEST_VALIDATIONS))
        most_events = min(most["validation_events"], most_events)
        events = min(max(events, FEWEST_EVENTS), most_events)
    if validations is None:
        validations = min(max(int(room / events), 1), most["validations"])
    return events, validations


class Evenly:
    """Is due a number of times in a run, evenly, and at its end.

    Between two of these times nothing is due. An interrupted run goes on with
    the times of one that was not.

    Args:
        times: int. How many times, or `None`: at the end alone.
        state: dict of the run's numbers, which keeps the count.
        name: key of the count in `state`.
        share: float. Largest share of the time of the run that what is due may
            take; it is left out where it would take more. Defaults to `None`,
            any share.
        likely: float. How many seconds the first one takes, roughly.
    """

    def __init__(self, times, state, name, share=None, likely=0.0):
        self.times = times
        self.state = state
        self.name = name
        self.share = share
        state.setdefault(name, 0)
        # The seconds of all so far, and of the last one.
        state.setdefault(f"{name}_seconds", [0.0, likely])

    def is_due(self, recorder):
        if recorder.finished or self.times is None:
            return recorder.finished
        return (
            recorder.length.is_end_of_epoch(recorder.step)
            and recorder.done * self.times >= self.state[self.name] + 1
            and self._has_time(recorder)
        )

    def _has_time(self, recorder):
        if self.share is None:
            return True
        spent, last = self.state[f"{self.name}_seconds"]
        return spent + last <= self.share * recorder.seconds

    def spend(self, spent, last):
        """Count seconds, and those of the last one."""
        before, _ = self.state[f"{self.name}_seconds"]
        self.state[f"{self.name}_seconds"] = [before + spent, last]

    @contextlib.contextmanager
    def counted(self, recorder):
        """A context that does what is due."""
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        self.spend(seconds, seconds)
        self.state[self.name] = int(recorder.done * (self.times or 1))


class AtBothEnds:
    """Is due before the first step, and when training ends."""

    def is_due(self, recorder):
        return recorder.step == 0 or recorder.stopping

    def counted(self, recorder):
        return contextlib.nullcontext()


class Validation:
    """Measures the validation loss, and keeps the model if it is the best.

    Args:
        size: a function of the number of events that the run trains on, and
            of `most_events`, see `validation_size`. It returns how many events
            a validation reads, and how many there are.
        trained: that number; or `None` if it depends on the speed, for a run
            by the clock.
        measure: a function of the number of events to read. It returns a
            `judging.likelihood.Likelihood`, or `None` if there is no music to
            validate on, and each model is kept.
        keep: a function that keeps the model.
        state: dict of the run's numbers, which has the lowest loss.
    """

    columns = ("val_nats_per_event", "best_val_nats_per_event")
    is_kept = True

    def __init__(self, size, trained, measure, keep, state):
        self.size, self.measure, self.keep = size, measure, keep
        self.state = state
        state.setdefault("best", math.inf)
        share = None if trained else SHARE
        self.times = Evenly(None, state, "validated", share)
        self.events = None
        # A run that goes on, for longer, too, reads the same events.
        trained = state.get("trained", trained)
        if trained is not None:
            self.choose(trained)

    @property
    def figures(self):
        return {
            "val_nats_per_event": "",
            "best_val_nats_per_event": self.state["best"],
        }

    def is_due(self, recorder):
        # The first epoch compiles: it tells nothing of the speed.
        if self.events is None and (recorder.epoch > 1 or recorder.stopping):
            left = max(0.0, recorder.length.seconds - recorder.seconds)
            row = recorder.row
            self.choose(row["events"] + row["events_per_second"] * left)
        return self.times.is_due(recorder)

    def choose(self, trained):
        """Choose how many events a validation reads, and how many there are."""
        self.state["trained"] = trained
        self.events, self.times.times = self._size(trained)

    def _size(self, trained):
        most = self.state.get("most_events", math.inf)
        return self.size(trained, most_events=most)

    def look(self, recorder):
        with self.times.counted(recorder):
            found = self.measure(self.events)
            if found is None:
                self.keep()
                return {}
            loss = found.nats_per_event
            if loss < self.state["best"]:
                self.state["best"] = loss
                self.keep()
        return {"val_nats_per_event": loss}

    def measure_first(self, length, events_per_step):
        """The loss before the first step, or `None` without music to validate.

        Args:
            length: the `Steps` or `Minutes` of the run. A run by the clock
                learns its pace from this measurement, if there is time.
            events_per_step: events that a step trains on.
        """
        if self.events is None:
            return self._measure_first_by_the_clock(length, events_per_step)
        found = self.measure(self.events)
        return None if found is None else found.nats_per_event

    def _measure_first_by_the_clock(self, length, events_per_step):
        limit, began = FIRST_SHARE * length.seconds, time.monotonic()
        if (found := self.measure(FEWEST_EVENTS)) is None:
            return None
        spent = took = time.monotonic() - began
        self.state["most_events"], trained = FEWEST_EVENTS, None
        if 2 * spent <= limit:
            # It has compiled, and now tells the speed.
            found = self.measure(FEWEST_EVENTS)
            took = time.monotonic() - began - spent
            pace = found.num_events / took
            most = int((limit - spent - took) * pace)
            self.state["most_events"] = max(most, FEWEST_EVENTS)
            trained = length.seconds * EVENTS_TRAINED * pace
            length.tell_pace(events_per_step / (EVENTS_TRAINED * pace))
            self.choose(trained)
        # All validations read the same events, so that they compare.
        events, _ = self._size(trained or 0)
        if events != FEWEST_EVENTS:
            before = time.monotonic()
            found = self.measure(events)
            took = time.monotonic() - before
        self.times.spend(time.monotonic() - began, took)
        return found.nats_per_event


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
        folder = self.run.folder / "samples"
        with self.times.counted(recorder):
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
        self.sentence = self.judge.describe(self.samples, logs, step)
        return self.figures
