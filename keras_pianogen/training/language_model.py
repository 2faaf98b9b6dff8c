"""Training runs of language models: from a corpus and a recipe to a preset.

A run is a folder:

    config.json     the corpus, the recipe, the command, the commit, versions
    history.csv     a row for each step: loss, validation, speed, memory
    curves.png      a picture of the history
    samples/        pieces generated during the run, MIDI and pictures
    checkpoints/    the last two, each enough to go on exactly
    preset/         the weights that were best on validation, for
                    `from_preset`; the last ones if the corpus has no
                    validation split

Losses are in nats per event; times in seconds.
"""

import dataclasses
import functools
import logging
import os

import keras
import psutil

from keras_pianogen.data.controls import Controls
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.devices import device_memory
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models.extending import extended
from keras_pianogen.rendering.saving import save
from keras_pianogen.training import looks
from keras_pianogen.training.curves import plot_training_curves
from keras_pianogen.training.data_parallel import DataParallel
from keras_pianogen.training.data_parallel import OneDevice
from keras_pianogen.training.evaluated_model import evaluated_model
from keras_pianogen.training.length import LOOKS
from keras_pianogen.training.length import Minutes
from keras_pianogen.training.length import Steps
from keras_pianogen.training.length import check_steps
from keras_pianogen.training.optimizers import learning_rate_at
from keras_pianogen.training.recipe import SHAPE
from keras_pianogen.training.recipe import Recipe
from keras_pianogen.training.recipe import stated_settings
from keras_pianogen.training.recorder import Recorder
from keras_pianogen.training.recorder import fit
from keras_pianogen.training.recorder import stop_on_interrupt
from keras_pianogen.training.run import Run
from keras_pianogen.training.run import check_settings

logger = logging.getLogger(__name__)

SECONDS_A_SAMPLE = 20
# A run by steps has about this many epochs.
EPOCHS = 40


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
    call with `resume=True` goes on from the last checkpoint.

    Args:
        corpus: a `keras_pianogen.Corpus` or its folder.
        out: folder of the run.
        recipe: a `Recipe`, or a dict of arguments of `Recipe.sized`. Defaults
            to `Recipe()`. With `preset`, a dict without a `learning_rate`, or
            `None`, means 0.0003. With `resume`, the settings that it states
            must be those of the run.
        steps: int. Length of the run in optimizer steps.
        minutes: float. Length of the run by the clock, in place of `steps`.
            With `resume`, both may be left out: the length stays. Another
            length makes the run longer or shorter.
        resume: bool. Whether to go on with the run in `out`.
        preset: name or folder of a preset to begin from, in place of new
            weights. The model's shape, its vocabulary and the length of
            windows are then those of the preset, not of the recipe. With
            `resume` the preset itself isn't needed any more.
        validation_events: int. Number of events that each validation reads,
            taken evenly from the split. Defaults to 50,000, or fewer in a
            short run, so that validation takes at most a tenth of it. With
            `resume`, this and the next two default to those of the run.
        validations: int. Number of validations in the run. Defaults to 20, or
            fewer in a short run.
        samples: int. Number of pieces of 20 seconds that are generated during
            the run; baselines generate none. Defaults to 4. A run by the
            clock leaves out those that would take more than a tenth of it.
        data_parallel: bool. Whether to spread each batch over all devices,
            and all processes, see `DataParallel`. JAX only.
        callbacks: `keras.callbacks.Callback` objects. An epoch is a few
            steps, at least 2 and at most 50. The logs of an epoch have
            `val_nats_per_event` if validation was read.
        workers: int. Threads that prepare batches.
        progress: a function called after each step with a row of the history,
            a dict, and the share of the run that is done. Where a run begins
            from a preset, it is called before the first step, too: the row has
            the `step` 0 and the preset's own `val_nats_per_event`.

    Returns:
        The last row of the history, a dict. Its `unit` is what is counted in
        it as events: "event" or "note". If the run began from a preset,
        `preset_val_nats_per_event` is the preset's own validation loss.

    Raises:
        TrainingError: if `out` holds a run already, or none to resume, or
            one with other settings; if the disk is too full, or another
            process trains there; if the loss or a weight stops being finite.
        ValueError: if not exactly one of `steps` and `minutes` is given.
    """
    _check_length(steps, minutes, resume)
    # First, because JAX joins processes only before it computes anything.
    devices = DataParallel() if data_parallel else OneDevice()
    if not resume:
        recipe = Recipe.of(recipe, fine_tuning=preset is not None)
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus)
    if not len(corpus.split("validation")):
        logger.warning(
            "%s has no pieces for validation: nothing will tell when a model "
            "learns the pieces by heart, and the last weights are kept.",
            corpus.folder,
        )
    run = Run(out, COLUMNS, writes=devices.leads)
    settings = {
        "steps": steps,
        "minutes": minutes,
        "preset": None if preset is None else os.fspath(preset),
        "validation_events": validation_events,
        "validations": validations,
        "samples": samples,
    }
    with run.held(create=not resume):
        if resume:
            recipe = _reopen(run, corpus, recipe, settings)
        else:
            run.check_unused()
        _fill_in(settings, run.config)
        check_steps(settings["steps"], recipe)
        devices.check(recipe.batch_size, settings["minutes"])
        with devices.scope():
            model, recipe, state = _begin(run, corpus, recipe, settings, resume)
            run.write_config(
                corpus, state, recipe=dataclasses.asdict(recipe), **settings
            )
            unit = {"unit": model.preprocessor.form.unit}
            report = progress and (lambda row, done: progress(row | unit, done))
            recorder = _recorder(
                run, corpus, model, recipe, devices, state, report
            )
            windows = _windows(corpus, model, recipe, devices.part, workers)
            with stop_on_interrupt(recorder):
                if preset is not None and not resume:
                    _measure_preset(recorder, recipe, report)
                callbacks = callbacks if run.writes else ()
                fit(model, windows.from_step, recorder, callbacks)
    row = recorder.row | unit
    if "preset" in state:
        row["preset_val_nats_per_event"] = state["preset"]
    return row


def _measure_preset(recorder, recipe, progress):
    """Measure the loss of a preset before it is trained, and report it."""
    validation, *_ = recorder.looks
    events = recipe.batch_size * recipe.sequence_length
    loss = validation.measure_first(recorder.length, events)
    if recorder.interrupted:  # There is nothing to save yet.
        raise KeyboardInterrupt
    if loss is not None:
        recorder.state["preset"] = loss
        if progress is not None:
            progress({"step": 0, "val_nats_per_event": loss}, 0.0)


def _check_length(steps, minutes, resume):
    given = {"steps": steps, "minutes": minutes}
    count = sum(value is not None for value in given.values())
    if count > 1 or (count == 0 and not resume):
        raise ValueError(
            "Give exactly one of `steps` and `minutes`. "
            f"Received: steps={steps}, minutes={minutes}"
        )
    for name, value in given.items():
        if value is not None and not value > 0:
            raise ValueError(
                f"`{name}` must be above 0. Received: {name}={value}"
            )


def _reopen(run, corpus, recipe, settings):
    """The recipe of a run that goes on; settings that differ are refused."""
    own = run.open(corpus, lambda config: Recipe(**config["recipe"]))
    own = own.on_device()
    stated = stated_settings(recipe, own.architecture)
    preset, given = run.config["preset"], settings["preset"]
    if preset is not None and isinstance(recipe, Recipe):
        # The shape is the preset's, whatever the recipe has.
        stated = {k: v for k, v in stated.items() if k not in SHAPE}
    if given is not None and not _is_same_path(given, preset):
        stated["preset"] = given
    check_settings(dataclasses.asdict(own) | {"preset": preset}, stated)
    return own


def _is_same_path(path, other):
    return other is not None and (
        os.path.abspath(path) == os.path.abspath(other)
    )


def _fill_in(settings, config):
    """Set the settings that are `None`: as the run has them, or by default."""
    missing = {name for name, value in settings.items() if value is None}
    length = {"steps", "minutes"}
    if not length <= missing:
        missing -= length
    for name in missing:
        settings[name] = config.get(name)
    if settings["samples"] is None:
        settings["samples"] = LOOKS["samples"]


def _begin(run, corpus, recipe, settings, resume):
    """The model of a run, its recipe in the model's shape, and its state."""
    preset, backbone = settings["preset"], run.config.get("backbone")
    if preset is None or resume:  # A checkpoint has what a preset brought.
        model = recipe.build_model(backbone)
    else:
        keras.utils.set_random_seed(recipe.seed)
        model = MusicTransformerCausalLM.from_preset(preset, dtype=recipe.dtype)
        if recipe.infilling or recipe.performing:
            model = extended(model, recipe.infilling, recipe.performing)
    if recipe.controls and not resume:
        model = _controlled(model, corpus, recipe.control_names)
    if preset is not None or recipe.controls:
        recipe = recipe.with_shape_of(model)
        backbone = model.backbone.get_config()
    settings["backbone"] = backbone
    recipe.compile(model, settings["steps"])
    return model, recipe, run.begin(model, resume)


def _controlled(model, corpus, names):
    """A model that reads controls, which the corpus says the meaning of."""
    own = model.backbone.controls
    kept = {control.name for control in own.inputs}
    new = Controls.of(corpus, [name for name in names if name not in kept])
    return extended(model, controls=own.joined(new))


def _windows(corpus, model, recipe, part, workers):
    return model.preprocessor.form.training_windows(
        corpus,
        "train",
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        part=part,
        workers=workers,
    )


def _recorder(run, corpus, model, recipe, devices, state, progress):
    """The recorder of a run whose configuration is written."""
    config, figures = run.config, StepFigures(recipe)
    evaluated = evaluated_model(model, recipe, devices, config["backbone"])
    keep = functools.partial(_save_preset, run, evaluated)
    # After a `fit`, Keras would put the averages in place of the weights.
    model.optimizer.finalize_variable_values = lambda variables: None
    return Recorder(
        run,
        _length(config, recipe),
        figures,
        [
            _validation(config, corpus, recipe, evaluated, keep, state),
            *_samples(run, recipe, evaluated, state),
        ],
        functools.partial(_save_results, run, keep),
        state,
        seed=recipe.seed,
        breaks_epochs=devices.num_processes == 1,
        progress=progress and figures.shown_by(progress),
    )


def _length(config, recipe):
    if config["steps"] is None:
        return Minutes(
            config["minutes"], functools.partial(learning_rate_at, recipe)
        )
    return Steps(config["steps"], config["steps"] / EPOCHS)


def _validation(config, corpus, recipe, evaluated, keep, state):
    def measure(max_events):
        if not len(corpus.split("validation")):
            return None
        with evaluated() as model:
            if model is None:
                return None
            return evaluate(
                model,
                corpus,
                "validation",
                batch_size=recipe.batch_size,
                sequence_length=recipe.sequence_length,
                max_events=max_events,
            )

    size = functools.partial(
        looks.validation_size,
        most=LOOKS,
        events=config["validation_events"],
        validations=config["validations"],
    )
    trained = (
        (config["steps"] or 0) * recipe.batch_size * recipe.sequence_length
    )
    return looks.Validation(size, trained or None, measure, keep, state)


def _samples(run, recipe, evaluated, state):
    if not run.config["samples"]:
        return []

    def generate(step):
        with evaluated() as model:
            if not hasattr(model, "generate"):  # A baseline, or no model.
                return {}
            notes = model.generate(seconds=SECONDS_A_SAMPLE, seed=recipe.seed)
        return {f"step-{step:09d}.mid": notes}

    def write(notes, path):
        save(notes, path, picture=len(notes) > 0)

    share = None if run.config["steps"] else looks.SHARE
    times = looks.Evenly(
        run.config["samples"], state, "sampled", share, SECONDS_A_SAMPLE
    )
    return [looks.Samples(run, times, generate, write)]


def _save_preset(run, evaluated):
    with evaluated() as model:
        run.save_preset(model)


def _save_results(run, keep):
    """Draw the curves; save the last weights if none were validated yet."""
    if not (run.folder / "preset").exists():
        keep()
    if run.writes and run.history.path.exists():
        with run.writing("The curves"):
            plot_training_curves(
                {run.folder.name: run.folder}, run.folder / "curves.png"
            )


class StepFigures:
    """The figures of each step of a language model.

    Args:
        recipe: its `Recipe`.
    """

    columns = (
        "step",
        "events",
        "seconds",
        "events_per_second",
        "memory_bytes",
        "learning_rate",
        "loss",
        "accuracy",
    )
    losses = ("loss",)

    def __init__(self, recipe):
        self.events = recipe.batch_size * recipe.sequence_length

    def begin_epoch(self, recorder):
        self.memory = device_memory() or psutil.Process().memory_info().rss
        self.sums = {"loss": 0.0, "accuracy": 0.0}

    def of_step(self, recorder, logs):
        """The row of a step.

        Args:
            recorder: the run's `Recorder`.
            logs: dict of Keras's means over the steps of the epoch.
        """
        step, seconds = recorder.epoch_began
        taken, spent = recorder.step - step, recorder.seconds - seconds
        row = {
            "events": recorder.step * self.events,
            "events_per_second": taken * self.events / spent,
            "memory_bytes": self.memory,
            "learning_rate": "",
        }
        for name, before in self.sums.items():
            self.sums[name] = float(logs[name]) * taken
            row[name] = self.sums[name] - before
        self.mean_loss = float(logs["loss"])
        return row

    def of_epoch(self, recorder):
        """What the last row of an epoch has besides."""
        return {"learning_rate": float(recorder.model.optimizer.learning_rate)}

    def shown_by(self, progress):
        """A function of a row that shows the epoch's mean loss in it."""
        return lambda row, done: progress(row | {"loss": self.mean_loss}, done)


COLUMNS = (*StepFigures.columns, *looks.Validation.columns)
