"""Training runs of the Transformer-GAN, and their record.

A run is a folder, see `run.py`, with

    history.csv     a row for each round: losses, gradient norm, accuracies,
                    and the collapse figures of the last samples measured
    real.json       the same figures of real music
    curves.png      a picture of both
    samples/        the samples before the first round and at the end
    gan/            the whole model, for `TransformerGAN.from_preset`
    preset/         a fine-tuned language model, for `from_preset`
"""

import dataclasses
import functools

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import whole_windows
from keras_pianogen.events import EventVocabulary
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.training import looks
from keras_pianogen.training.checkpoints import TrainingError
from keras_pianogen.training.collapse_monitor import LOGS
from keras_pianogen.training.collapse_monitor import write_real
from keras_pianogen.training.curves import plot_gan_curves
from keras_pianogen.training.gan_building import networks_of
from keras_pianogen.training.gan_recipe import SETUPS
from keras_pianogen.training.gan_recipe import GanRecipe
from keras_pianogen.training.gan_recipe import stated_settings
from keras_pianogen.training.length import Steps
from keras_pianogen.training.recorder import Recorder
from keras_pianogen.training.recorder import fit
from keras_pianogen.training.recorder import stop_on_interrupt
from keras_pianogen.training.run import Run
from keras_pianogen.training.run import check_settings
from keras_pianogen.training.warm_up import warm_up

__all__ = ["SETUPS", "GanRecipe", "train_gan"]

# Samples that are measured, and real sequences that they are compared with.
SAMPLES, REAL_SEQUENCES = 64, 6400
# Samples that are written as MIDI files.
SAVED_SAMPLES = 4
# A run has about this many epochs; samples are measured after each.
EPOCHS = 20


def train_gan(
    corpus,
    out,
    recipe,
    *,
    steps=None,
    resume=False,
    validation_events=20_000,
    callbacks=(),
    progress=None,
):
    """Train a Transformer-GAN on a prepared corpus.

    Ctrl-C ends the run after the round it is in, with a checkpoint; the same
    call with `resume=True` goes on from the last checkpoint.

    Args:
        corpus: a `keras_pianogen.Corpus` or its folder.
        out: folder of the run.
        recipe: a `GanRecipe`, the name of a setup, or a dict of arguments of
            `GanRecipe.named`. With `resume` it can be `None`, and the
            settings that it states must be those of the run.
        steps: int. Length of the run in rounds. Defaults to ten passes over
            the training split, the paper's ten epochs; with `resume` to the
            run's own length.
        resume: bool. Whether to go on with the run in `out`.
        validation_events: int. Number of events of the validation split on
            which the loss of a language model is measured, at the beginning
            and at the end; a corpus without that split has no such figure.
        callbacks: `keras.callbacks.Callback` objects. An epoch ends when
            samples are measured; its logs hold the figures. They don't see
            the discriminator's warm-up.
        progress: a function called after each round with a row of the
            history, a dict; the share of the run that is done; and a sentence
            about the figures.

    Returns:
        The last row of the history, a dict.

    Raises:
        TrainingError: if `out` holds a run already, or none to resume, or
            one with other settings; if the disk is too full, or another
            process trains there; if a loss or a weight stops being finite.
    """
    if steps is not None and not steps > 0:
        raise ValueError(f"`steps` must be above 0. Received: steps={steps}")
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus)
    run = Run(out, COLUMNS)
    with run.held(create=not resume):
        if resume:
            recipe = _reopen(run, corpus, recipe)
            steps = steps or run.config["steps"]
        else:
            recipe = GanRecipe.of(recipe)
            run.check_unused()
            steps = steps or _ten_epochs(corpus, recipe)
        # The temperature falls over the length that was first asked for.
        annealing = run.config.get("annealing_steps", steps)
        gan = recipe.build(annealing)
        state = run.begin(gan, resume)
        run.write_config(
            corpus,
            state,
            recipe=dataclasses.asdict(recipe),
            steps=steps,
            annealing_steps=annealing,
        )
        recorder = _recorder(
            run, corpus, recipe, gan, state, validation_events, progress
        )
        if not recorder.finished:
            recorder.look(recorder.due_looks())
            windows = functools.partial(_windows, corpus, recipe, gan)
            with stop_on_interrupt(recorder):
                warm_up(gan, recipe, recorder, windows, progress)
                fit(gan, _batches(recipe, state, windows), recorder, callbacks)
    return recorder.row


def _reopen(run, corpus, recipe):
    """The recipe of a run that goes on; settings that differ are refused."""
    own = run.open(corpus, lambda config: GanRecipe(**config["recipe"]))
    if recipe is not None:
        check_settings(dataclasses.asdict(own), stated_settings(recipe))
    return own


def _ten_epochs(corpus, recipe):
    windows = EventWindows(
        corpus,
        vocabulary=EventVocabulary.named(recipe.vocabulary),
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size
        * (recipe.discriminator_steps + recipe.likelihood_steps),
    )
    return 10 * windows.steps


def _windows(corpus, recipe, gan, parts):
    """Batches of real music: a batch has so many parts of `batch_size`."""
    return EventWindows(
        corpus,
        "train",
        vocabulary=networks_of(recipe).vocabulary(gan),
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size * parts,
        seed=recipe.seed,
        augment=recipe.augment,
        whole=True,
    )


def _batches(recipe, state, windows):
    """A function of a round, see `fit`; the warm-up has the first batches."""
    main = windows(recipe.discriminator_steps + recipe.likelihood_steps)
    return lambda step: main.from_step(state["warm_up"] + step)


def _recorder(run, corpus, recipe, gan, state, validation_events, progress):
    """The recorder of a run whose configuration is written."""
    steps, networks = run.config["steps"], networks_of(recipe)
    vocabulary = networks.vocabulary(gan)
    real = _real_sequences(corpus, vocabulary, recipe.sequence_length)
    collapse = looks.Collapse(gan, vocabulary, real, SAMPLES, recipe.seed)
    write_real(collapse, run.folder)
    return Recorder(
        run,
        Steps(steps, steps // EPOCHS, first_step=state["step"]),
        RoundFigures(gan),
        [
            collapse,
            looks.Likelihood(
                functools.partial(
                    _likelihood, corpus, networks, gan, validation_events
                )
            ),
            _samples(run, collapse, vocabulary),
        ],
        functools.partial(_save_results, run, networks, gan, recipe.setup),
        state,
        seed=recipe.seed,
        breaks_epochs=False,
        progress=progress
        and (lambda row, done: progress(row, done, collapse.sentence)),
    )


def _real_sequences(corpus, vocabulary, length):
    """Whole windows of validation, or of training if there is none."""
    split = "validation" if len(corpus.split("validation")) else "train"
    rows, _ = whole_windows(
        corpus,
        split,
        vocabulary=vocabulary,
        sequence_length=length,
        count=REAL_SEQUENCES,
    )
    if not len(rows):
        raise TrainingError(
            f"The pieces of the split {split!r} are too short: none has a "
            f"window of {length} events."
        )
    return rows


def _likelihood(corpus, networks, gan, validation_events):
    """The validation loss of the language model that the GAN has, if any."""
    figures = {}
    if len(corpus.split("validation")):
        for model in networks.language_models(gan):
            figures["val_nats_per_event"] = evaluate(
                model, corpus, "validation", max_events=validation_events
            ).nats_per_event
    return figures


def _samples(run, collapse, vocabulary):
    def generate(step):
        return {
            f"step-{step:06}-{number}.mid": vocabulary.decode(ids)
            for number, ids in enumerate(collapse.samples[:SAVED_SAMPLES], 1)
        }

    return looks.Samples(run, looks.AtBothEnds(), generate, write_midi)


def _save_results(run, networks, gan, setup):
    run.save_preset(gan, "gan")
    for model in networks.language_models(gan):
        run.save_preset(model)
    with run.writing("The curves"):
        plot_gan_curves({setup: run.folder}, run.folder / "curves.png")


class RoundFigures:
    """The figures of each round of a GAN.

    Args:
        gan: a `TransformerGAN`.
    """

    columns = ("step", "seconds", *LOGS, "temperature")
    losses = LOGS

    def __init__(self, gan):
        self.gan = gan

    def begin_epoch(self, recorder):
        """Does nothing: a round's figures are its own."""

    def of_step(self, recorder, logs):
        """The row of a round."""
        temperature = self.gan.sampling.temperature_at(recorder.step - 1)
        row = {name: float(logs[name]) for name in LOGS if name in logs}
        return row | {"temperature": float(temperature)}

    def of_epoch(self, recorder):
        """Nothing: the last row of an epoch has no more."""
        return {}


COLUMNS = (
    *RoundFigures.columns,
    *looks.Collapse.columns,
    *looks.Likelihood.columns,
)
