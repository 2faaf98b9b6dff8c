"""Training runs: from a corpus and a recipe to a preset, and their record.

A run is a folder:

    config.json     what was asked for and with what: corpus, recipe, command,
                    commit, versions
    history.csv     a row every step: loss, validation, speed, memory
    curves.png      the same as a picture
    samples/        pieces written as training went on, MIDI and pictures
    checkpoints/    the last two, each enough to go on exactly
    preset/         the weights best on validation, for `from_preset`; the
                    last ones where the corpus has no validation split

Losses are in nats per event; times in seconds.
"""

import contextlib
import dataclasses
import math
import os
import time

import keras
import numpy as np
import psutil

from keras_pianogen import devices
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.rendering.saving import save
from keras_pianogen.training.curves import plot_training_curves
from keras_pianogen.training.data_parallel import DataParallel
from keras_pianogen.training.recipe import Recipe
from keras_pianogen.training.run import Run
from keras_pianogen.training.run import TrainingError
from keras_pianogen.training.run import seed_step
from keras_pianogen.training.run import stop_on_interrupt

COLUMNS = (
    "step",
    "events",
    "seconds",
    "events_per_second",
    "memory_bytes",
    "learning_rate",
    "loss",
    "accuracy",
    "val_nats_per_event",
    "best_val_nats_per_event",
)

# Validation and samples come at most after every so many steps; in a run
# shorter than 40 times as many, after a fortieth of it. A run by the clock sets
# its learning rate as often, and at least so many times.
FEWEST_STEPS_A_ROW, STEPS_A_ROW = 2, 50
ROWS_BY_THE_CLOCK = 200
SECONDS_A_CHECKPOINT = 60

# How often a run is looked at, unless it is told otherwise.
LOOKS = {"validation_events": 50_000, "validations": 20, "samples": 4}
SECONDS_A_SAMPLE = 20


def train(
    corpus,
    out,
    recipe=None,
    *,
    steps=None,
    minutes=None,
    resume=False,
    preset=None,
    validation_events=None,
    validations=None,
    samples=None,
    data_parallel=False,
    callbacks=(),
    workers=1,
    progress=None,
):
    """Train a model on a prepared corpus.

    Ctrl-C ends the run after the step it is in, with a checkpoint; the same
    call with `resume=True` goes on from the last one.

    Args:
        corpus: a `keras_pianogen.Corpus` or its folder.
        out: folder of the run.
        recipe: a `Recipe`. Defaults to `Recipe()`.
        steps: int. Length of the run in optimizer steps.
        minutes: float. Length of the run by the clock, in place of `steps`.
            With `resume`, both may be left out: the run's own length.
        resume: bool. Whether to go on with the run in `out`.
        preset: a preset's name or folder to begin from, in place of new
            weights. The model's shape, its vocabulary and the length of
            windows are then the preset's, not the recipe's. A run that goes
            on doesn't need it any more.
        validation_events: int. Validation events read each time, taken
            evenly from the split. Defaults to 50,000; this and the next two,
            with `resume`, to what the run began with.
        validations: int. How many times validation is read in a run.
            Defaults to 20.
        samples: int. How many times a piece of 20 seconds is written in a
            run; baselines write none. Defaults to 4.
        data_parallel: bool. Whether to spread each batch over all devices,
            and all processes, see `DataParallel`. JAX only.
        callbacks: `keras.callbacks.Callback` objects. An epoch of theirs is a
            row of the progress, of steps that may be fewer at first; its
            logs hold `val_nats_per_event` where validation was read.
        workers: int. Threads that prepare batches.
        progress: a function called with a row of the history, a dict, and
            the share of the run that is done, after each step.

    Returns:
        The last row of the history, a dict.

    Raises:
        TrainingError: if `out` holds a run already, or none to resume, or
            has no room, or another process trains there; or if the loss or a
            weight stops being finite.
        ValueError: if not exactly one of `steps` and `minutes` is given.
    """
    _check_length(steps, minutes, resume)
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus)
    parallel = DataParallel() if data_parallel else None
    run = Run(out, COLUMNS, writes=parallel is None or parallel.leads)
    looks = {
        "validation_events": validation_events,
        "validations": validations,
        "samples": samples,
    }
    with run.held(create=not resume):
        if resume:
            recipe, steps, minutes = _began_with(
                run, corpus, recipe, steps, minutes
            )
        else:
            recipe = (recipe or Recipe()).on_device()
            run.check_unused()
        for name, value in looks.items():
            if value is None:
                looks[name] = run.config.get(name, LOOKS[name])
        if parallel is not None:
            parallel.check(recipe.batch_size, minutes)
        with parallel.scope() if parallel else contextlib.nullcontext():
            # The checkpoint has what a preset brought; its place may be empty.
            model, recipe = _model(
                recipe, None if resume else preset, run.config.get("backbone")
            )
            recipe.compile(model, steps)
            state = run.begin(model, resume)
            if resume:
                preset = run.config["preset"]
            run.write_config(
                corpus,
                state,
                recipe=dataclasses.asdict(recipe),
                steps=steps,
                minutes=minutes,
                preset=None if preset is None else os.fspath(preset),
                backbone=None
                if preset is None
                else model.backbone.get_config(),
                **looks,
            )
            recorder = _Recorder(
                run,
                corpus,
                recipe,
                state,
                replica=_replica(recipe, run.config["backbone"], parallel),
                alone=parallel is None or parallel.part[1] == 1,
                steps=steps,
                minutes=minutes,
                progress=progress,
                **looks,
            )
            windows = EventWindows(
                corpus,
                "train",
                vocabulary=model.preprocessor.tokenizer.vocabulary,
                sequence_length=recipe.sequence_length,
                batch_size=recipe.batch_size,
                seed=recipe.seed,
                part=parallel.part if parallel else None,
                workers=workers,
            )
            with stop_on_interrupt(recorder):
                _fit(model, windows, recorder, callbacks if run.writes else ())
    return recorder.row


def _began_with(run, corpus, recipe, steps, minutes):
    """The recipe and the length of a run that goes on."""
    saved = run.open(corpus, lambda config: Recipe(**config["recipe"]))
    if recipe is not None and recipe.on_device() != saved.on_device():
        raise TrainingError(
            "A run goes on with the recipe it began with, "
            f"{saved}. Received: {recipe}"
        )
    if steps is None and minutes is None:
        steps, minutes = run.config["steps"], run.config["minutes"]
    return saved.on_device(), steps, minutes


def _fit(model, windows, recorder, callbacks):
    """Train to the end, in rows of steps that are an epoch each to Keras.

    Rows end at the same steps whether or not the run was stopped in between:
    the first one may be shorter, and then a `fit` of its own.
    """
    if recorder.finished:
        return
    # Keras would put averages in the weights' place whenever a `fit` ends.
    model.optimizer.finalize_variable_values = lambda variables: None
    others = _Throughout(callbacks)
    recorder.goes_on = True
    while recorder.goes_on and not others.stopped:
        length = recorder.steps_a_row
        if recorder.steps is not None:
            length -= recorder.step % length
        recorder.goes_on = False
        model.fit(
            windows.from_step(recorder.step),
            steps_per_epoch=length,
            initial_epoch=recorder.epoch,
            epochs=10**9,
            verbose=0,
            callbacks=[recorder, others],
        )
    if not recorder.ended:  # A callback has stopped the run.
        recorder.end()
    others.end()


class _Throughout(keras.callbacks.Callback):
    """Callbacks for which a run of several `fit` calls is one training."""

    def __init__(self, callbacks):
        super().__init__()
        self.callbacks = callbacks
        self.began = self.stopped = False

    def set_params(self, params):
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model):
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs=None):
        if not self.began:
            self.began = True
            self._tell("on_train_begin", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._tell("on_epoch_begin", epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        self._tell("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._tell("on_train_batch_end", batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._tell("on_epoch_end", epoch, logs)

    def end(self):
        self._tell("on_train_end", None)

    def _tell(self, name, *arguments):
        """Tell all of them, and see whether one has stopped the run."""
        stopping, self.model.stop_training = self.model.stop_training, False
        for callback in self.callbacks:
            getattr(callback, name)(*arguments)
        self.stopped |= self.model.stop_training
        self.model.stop_training |= stopping


def _check_length(steps, minutes, resume):
    if (
        steps is not None
        and minutes is not None
        or (steps is None and minutes is None and not resume)
    ):
        raise ValueError(
            "Give exactly one of `steps` and `minutes`. "
            f"Received: steps={steps}, minutes={minutes}"
        )
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise ValueError(
                f"`{name}` must be above 0. Received: {name}={value}"
            )


def _model(recipe, preset, backbone):
    """The model that a run begins with, and the recipe in its shape."""
    if preset is None:
        return recipe.build_model(backbone), recipe
    keras.utils.set_random_seed(recipe.seed)
    model = MusicTransformerCausalLM.from_preset(preset, dtype=recipe.dtype)
    return model, recipe.with_shape_of(model)


def _replica(recipe, backbone, parallel):
    """The model once more, on one device of the process that leads.

    Its shapes are free; what is spread over devices must divide by them.
    """
    if parallel is None or not parallel.leads:
        return None
    with parallel.alone():
        return recipe.build_model(backbone)


class _Recorder(keras.callbacks.Callback):
    """Sets the learning rate, keeps the record, and ends the run."""

    def __init__(
        self,
        run,
        corpus,
        recipe,
        state,
        *,
        replica,
        alone,
        steps,
        minutes,
        validation_events,
        validations,
        samples,
        progress,
    ):
        super().__init__()
        self.run = run
        self.corpus = corpus
        self.recipe = recipe
        self.replica = replica
        self.alone = alone
        self.first_epoch = self.epoch = state.get("epoch", 0)
        self.step = state["step"]
        self.seconds_before = state["seconds"]
        self.best = state.get("best", math.inf)
        self.validated = state.get("validated", 0)
        self.sampled = state.get("sampled", 0)
        self.row = state.get("row", {})
        self.rows = []
        self.steps = steps
        self.minutes = minutes
        self.steps_a_row = FEWEST_STEPS_A_ROW
        if steps is not None:
            self.steps_a_row = _steps_a_row(steps / 40)
        self.validation_events = validation_events
        self.validations = validations
        self.samples = samples
        self.progress = progress
        self.interrupted = self.ended = self.goes_on = False
        self.began = time.monotonic()
        self.saved = time.monotonic()

    @property
    def seconds(self):
        return self.seconds_before + time.monotonic() - self.began

    @property
    def done(self):
        if self.steps is not None:
            return min(1.0, self.step / self.steps)
        return min(1.0, self.seconds / (60 * self.minutes))

    @property
    def finished(self):
        return self.done >= 1

    def on_train_begin(self, logs=None):
        if self.epoch == self.first_epoch:
            self.began = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        if self.minutes is not None:
            self.model.optimizer.learning_rate = self.recipe.learning_rate_at(
                max(self.done, 1e-4)
            )
        self.memory = _memory()
        self.epoch_seconds = self.seconds
        self.epoch_step = self.step
        self.sums = {"loss": 0.0, "accuracy": 0.0}

    def on_train_batch_begin(self, batch, logs=None):
        seed_step(self.recipe.seed, self.step)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        taken = self.step - self.epoch_step
        events = self.recipe.batch_size * self.recipe.sequence_length
        spent = self.seconds - self.epoch_seconds
        self.row = {
            "step": self.step,
            "events": self.step * events,
            "seconds": self.seconds,
            "events_per_second": taken * events / spent,
            "memory_bytes": self.memory,
            "learning_rate": "",
            "val_nats_per_event": "",
            "best_val_nats_per_event": self.best,
        }
        for name, before in self.sums.items():
            # Keras gives means of the epoch so far.
            self.sums[name] = float(logs[name]) * taken
            self.row[name] = self.sums[name] - before
        self.rows.append(self.row)
        if not math.isfinite(self.row["loss"]):
            self.run.append(*self.rows)
            raise TrainingError(
                self.run.not_finite(self.step, f"loss is {self.row['loss']}")
            )
        if self.progress is not None:
            self.progress(self.row | {"loss": float(logs["loss"])}, self.done)
        # Rows of slow steps end early, for a checkpoint; the next one is
        # shorter, to end where it would have.
        if (
            self.interrupted
            or self.finished
            or (self.alone and self.late)
            or (
                self.steps is not None
                and taken % self.steps_a_row
                and self.step % self.steps_a_row == 0
            )
        ):
            self.model.stop_training = True

    @property
    def late(self):
        return time.monotonic() - self.saved > SECONDS_A_CHECKPOINT

    def on_epoch_end(self, epoch, logs=None):
        self.epoch += 1
        self.row["learning_rate"] = float(self.model.optimizer.learning_rate)
        stopping = self.finished or self.interrupted
        # What was stopped is looked at where it would have been.
        whole = self.steps is None or self.step % self.steps_a_row == 0
        due = [
            self.finished or (whole and self.done * times >= so_far + 1)
            for times, so_far in (
                (self.validations, self.validated),
                (self.samples, self.sampled),
            )
        ]
        validating, sampling = due[0], due[1] and self.samples
        saving = validating or stopping or self.late
        if saving or sampling:
            self.run.check_finite(self.model, self.step)
        if validating:
            better = self._validate(logs)
        else:
            preset = self.run.folder / "preset"
            better = stopping and not preset.exists()
        if sampling:
            self._sample()
        self.run.append(*self.rows)
        self.rows = []
        if better:
            # Before the checkpoint: a run that goes on saves it again.
            self._save_preset()
        if saving:
            self._save()
        if validating or stopping:
            self._draw()
        if self.progress is not None:
            self.progress(self.row | {"loss": float(logs["loss"])}, self.done)
        taken = self.step - self.epoch_step
        if self.minutes is not None and self.epoch > self.first_epoch + 1:
            # The first row compiled.
            spent = (self.row["seconds"] - self.epoch_seconds) / taken
            seconds = 60 * self.minutes / ROWS_BY_THE_CLOCK
            self.steps_a_row = _steps_a_row(seconds / spent)
        self.ended = stopping
        if stopping or taken != self.steps_a_row:
            self.model.stop_training = True
        self.goes_on = self.model.stop_training and not stopping

    def end(self):
        """Keep what there is, where something else has stopped the run."""
        self.run.check_finite(self.model, self.step)
        if not (self.run.folder / "preset").exists():
            self._save_preset()
        self._save()
        self._draw()

    @contextlib.contextmanager
    def _judged(self):
        """The model as it is validated, heard and saved.

        With the average of its weights where the recipe has one. `None` in
        processes that don't lead.
        """
        if not self.run.writes:
            yield None
        elif self.replica is not None:
            # What is spread over processes is only read: an assignment to it
            # would wait for the others.
            with DataParallel.alone():
                _assign(self.replica.weights, _arrays(self.model.weights))
                _assign(self.replica.trainable_variables, self._averages())
                yield self.replica
        elif self.recipe.ema_momentum is None:
            yield self.model
        else:
            # Not `keras.callbacks.SwapEMAWeights`, which adds and subtracts
            # on TensorFlow, and leaves the weights changed by its rounding.
            weights = _arrays(self.model.trainable_variables)
            _assign(self.model.trainable_variables, self._averages())
            try:
                yield self.model
            finally:
                _assign(self.model.trainable_variables, weights)

    def _averages(self):
        """Averages of the weights, or the weights where there are none."""
        if self.recipe.ema_momentum is None:
            return _arrays(self.model.trainable_variables)
        return _arrays(
            variable
            for variable in self.model.optimizer.variables
            if variable.name.endswith("_average")
        )

    def _validate(self, logs):
        """Read validation; whether these weights are the best so far."""
        self.validated = int(self.done * self.validations)
        if not len(self.corpus.split("validation")):
            return True
        with self._judged() as model:
            if model is None:
                return False
            figures = evaluate(
                model,
                self.corpus,
                "validation",
                batch_size=self.recipe.batch_size,
                sequence_length=self.recipe.sequence_length,
                max_events=self.validation_events,
            )
        better = figures.nats_per_event < self.best
        self.best = min(self.best, figures.nats_per_event)
        self.row["val_nats_per_event"] = figures.nats_per_event
        self.row["best_val_nats_per_event"] = self.best
        logs["val_nats_per_event"] = figures.nats_per_event
        return better

    def _sample(self):
        """Write a piece, and draw it."""
        self.sampled = int(self.done * self.samples)
        with self._judged() as model:
            if not hasattr(model, "generate"):
                return
            notes = model.generate(
                seconds=SECONDS_A_SAMPLE, seed=self.recipe.seed
            )
        folder = self.run.folder / "samples"
        path = folder / f"step-{self.step:09d}.mid"
        with self.run.writing("A sample"):
            folder.mkdir(exist_ok=True)
            save(notes, path, picture=len(notes) > 0)

    def _save_preset(self):
        with self._judged() as model:
            self.run.save_preset(model)

    def _draw(self):
        folder = self.run.folder
        if self.run.writes and self.run.history.exists():
            with self.run.writing("The curves"):
                plot_training_curves(
                    {folder.name: folder}, folder / "curves.png"
                )

    def _save(self):
        self.run.save(
            self.model,
            {
                "step": self.step,
                "epoch": self.epoch,
                "seconds": self.seconds,
                "best": self.best,
                "validated": self.validated,
                "sampled": self.sampled,
                "row": self.row,
            },
        )
        self.saved = time.monotonic()


def _steps_a_row(wanted):
    return max(FEWEST_STEPS_A_ROW, min(STEPS_A_ROW, round(wanted)))


def _arrays(variables):
    return [
        np.array(keras.ops.convert_to_numpy(variable.value))
        for variable in variables
    ]


def _assign(variables, arrays):
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _memory():
    """Bytes in use: the device's, where it has its own, or the process's."""
    return devices.device_memory() or psutil.Process().memory_info().rss
