"""Training runs of the Transformer-GAN: three set-ups by name, and the record.

A run is a folder, see `runs`, with

    history.csv     a row every round: losses, gradient norm, accuracies, and
                    collapse figures of the samples measured last
    real.json       the same figures of real music
    curves.png      the history, drawn
    samples/        what the same noise, or the same few bars, became
    gan/            the whole model, for `TransformerGAN.from_preset`
    preset/         a fine-tuned language model, for `from_preset`
"""

import dataclasses
import math
import os
import time

import keras

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import whole_windows
from keras_pianogen.events import EventVocabulary
from keras_pianogen.judging.collapse import FIGURES
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerDiscriminator
from keras_pianogen.models import MusicTransformerGenerator
from keras_pianogen.models import TransformerGAN
from keras_pianogen.training.collapse_monitor import LOGS
from keras_pianogen.training.collapse_monitor import CollapseMonitor
from keras_pianogen.training.gan_curves import plot_gan_curves
from keras_pianogen.training.run import Run
from keras_pianogen.training.run import TrainingError
from keras_pianogen.training.run import seed_step
from keras_pianogen.training.run import stop_on_interrupt

COLUMNS = (
    "step",
    "seconds",
    *LOGS,
    "temperature",
    "figures_step",
    *FIGURES,
    "val_nats_per_event",
)

# Sequences that are looked at for collapse, and those written as MIDI.
SAMPLES = 64
# Those of real music that they are compared with.
REAL_SEQUENCES = 6400
SAVED_SAMPLES = 4
# Rounds between two looks; in a short run a twentieth of it.
ROUNDS_A_LOOK = 50
# Looks between two checkpoints come at least so many seconds apart.
SECONDS_A_CHECKPOINT = 60


@dataclasses.dataclass(frozen=True)
class GanRecipe:
    """What is trained against what, and how.

    `GanRecipe.named` has the three set-ups.

    Args:
        setup: its name.
        vocabulary: a named event vocabulary; a preset brings its own.
        preset: name or folder of the language model that is fine-tuned;
            `None` for a generator from noise.
        num_layers: Blocks of the generator from noise, and of the
            discriminator: of a preset's at most so many are taken.
        num_heads: Attention heads; a preset brings its own, as of the next
            two.
        hidden_dim: Width of the blocks.
        intermediate_dim: Width of the feed-forward networks' middle.
        dropout: 0 to 1, of a generator from noise.
        discriminator_dropout: 0 to 1.
        sequence_length: Events that the discriminator sees.
        context_length: Events of them that a language model is given.
        noise_dim: Z.
        mode: `GumbelSoftmax`'s.
        annealed: Whether its temperature falls from 1 to 0.01.
        feedback: see `TransformerGAN`.
        batch_size: Sequences of a step.
        generator_learning_rate: Adam's; beta_1 is 0.5.
        discriminator_learning_rate: the same.
        loss: see `TransformerGAN.compile`, as all up to `averaging`.
        discriminator_steps: see there.
        generator_steps: see there.
        likelihood_steps: see there.
        label_smoothing: see there.
        feature_matching: see there.
        gradient_clipping: see there.
        averaging: see there.
        warm_up: Rounds before the first one in which the discriminator alone
            learns, so that a pretrained generator isn't led by one that knows
            nothing; never more than the run has.
        bidirectional: see `MusicTransformerDiscriminator`, as the next three.
        spectral_normalization: see there.
        minibatch_statistics: see there.
        frozen_layers: see there.
        augment: Whether real windows are augmented.
        seed: Of weights, noise, windows.
    """

    setup: str
    vocabulary: str = "pno-ai"
    preset: str | None = None
    num_layers: int = 2
    num_heads: int = 8
    hidden_dim: int = 128
    intermediate_dim: int = 256
    dropout: float = 0.1
    discriminator_dropout: float = 0.1
    sequence_length: int = 128
    context_length: int = 32
    noise_dim: int = 50
    mode: str = "straight_through"
    annealed: bool = False
    feedback: int = 1
    batch_size: int = 16
    generator_learning_rate: float = 1e-4
    discriminator_learning_rate: float = 1e-4
    loss: str = "non_saturating"
    discriminator_steps: int = 1
    generator_steps: int = 1
    likelihood_steps: int = 0
    label_smoothing: float = 0.0
    feature_matching: float = 0.0
    gradient_clipping: float | None = None
    averaging: float | None = None
    warm_up: int = 0
    bidirectional: bool = False
    spectral_normalization: bool = False
    minibatch_statistics: bool = False
    frozen_layers: int = 0
    augment: bool = True
    seed: int = 0

    @classmethod
    def named(cls, setup, **changes):
        """A set-up by its name, with changes.

        Args:
            setup: `"paper"`, `"straight-through"` or `"fine-tune"`.
            **changes: arguments of `GanRecipe`.

        Returns:
            A `GanRecipe`.
        """
        if setup not in SETUPS:
            raise ValueError(
                f"`setup` must be one of {', '.join(map(repr, SETUPS))}. "
                f"Received: setup={setup!r}"
            )
        return cls(**{"setup": setup} | SETUPS[setup] | changes)

    def from_anywhere(self):
        """This recipe, its preset's folder found from other places too."""
        if self.preset is None or not os.path.isdir(self.preset):
            return self
        return dataclasses.replace(self, preset=os.path.abspath(self.preset))

    def build(self, steps):
        """A new model, compiled, its weights drawn by the seed."""
        keras.utils.set_random_seed(self.seed)
        generator = self._generator()
        gan = TransformerGAN(
            generator,
            self._discriminator(generator),
            sampling=GumbelSoftmax(
                self.mode,
                GumbelSoftmax.annealing(steps) if self.annealed else 1.0,
                seed=self.seed,
                name="sampling",
            ),
            context_length=self.context_length,
            feedback=self.feedback,
            barred_ids=self._barred_ids(),
            seed=self.seed,
        )
        gan.generator_optimizer = _adam(self.generator_learning_rate)
        gan.discriminator_optimizer = _adam(self.discriminator_learning_rate)
        self.compile(gan)
        return gan

    def compile(self, gan, **changes):
        """Compile a model that was built, with the optimizers it has."""
        settings = (
            "loss",
            "discriminator_steps",
            "generator_steps",
            "likelihood_steps",
            "label_smoothing",
            "feature_matching",
            "gradient_clipping",
            "averaging",
        )
        settings = {name: getattr(self, name) for name in settings} | changes
        gan.compile(
            gan.generator_optimizer, gan.discriminator_optimizer, **settings
        )

    def _barred_ids(self):
        if self.preset is not None:
            return None
        vocabulary = EventVocabulary.named(self.vocabulary)
        return (vocabulary.pad_id, vocabulary.start_id, vocabulary.end_id)

    def _generator(self):
        if self.preset is not None:
            return MusicTransformerCausalLM.from_preset(self.preset)
        return MusicTransformerGenerator(
            dropout=self.dropout,
            sequence_length=self.sequence_length,
            noise_dim=self.noise_dim,
            **self._shape(),
        )

    def _discriminator(self, generator):
        settings = {
            "dropout": self.discriminator_dropout,
            "max_sequence_length": self.sequence_length,
            "bidirectional": self.bidirectional,
            "spectral_normalization": self.spectral_normalization,
            "minibatch_statistics": self.minibatch_statistics,
            "frozen_layers": self.frozen_layers,
        }
        if self.preset is None:
            return MusicTransformerDiscriminator(**self._shape(), **settings)
        num_layers = min(self.num_layers, generator.backbone.num_layers)
        settings["frozen_layers"] = min(self.frozen_layers, num_layers)
        return MusicTransformerDiscriminator.from_music_transformer(
            generator.backbone, num_layers=num_layers, **settings
        )

    def _shape(self):
        return {
            "vocabulary_size": len(EventVocabulary.named(self.vocabulary)),
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
        }


# `paper` is the paper's own; what a set-up leaves out is `GanRecipe`'s.
SETUPS = {
    "paper": {"mode": "argmax", "augment": False},
    "straight-through": {
        "loss": "wasserstein",
        "discriminator_steps": 2,
        "discriminator_dropout": 0.0,
        "generator_learning_rate": 3e-4,
        "discriminator_learning_rate": 3e-4,
        "averaging": 0.99,
    },
    "fine-tune": {
        "preset": "music_transformer_maestro",
        "num_layers": 6,
        "frozen_layers": 2,
        "discriminator_dropout": 0.0,
        "batch_size": 8,
        "generator_learning_rate": 3e-5,
        "discriminator_learning_rate": 2e-4,
        "likelihood_steps": 5,
        "gradient_clipping": 1.0,
        "averaging": 0.99,
        "warm_up": 1000,
    },
}


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
    call with `resume=True` goes on from the last one.

    Args:
        corpus: a `keras_pianogen.Corpus` or its folder.
        out: folder of the run.
        recipe: a `GanRecipe`, or the name of a set-up; not used with
            `resume`.
        steps: int. Length of the run in rounds. Defaults to ten passes over
            the training split, the paper's ten epochs; with `resume` to the
            run's own length.
        resume: bool. Whether to go on with the run in `out`.
        validation_events: int. Validation events that the likelihood of a
            language model is measured on, at the beginning and at the end; a
            corpus without that split has no such figure.
        callbacks: `keras.callbacks.Callback` objects. An epoch of theirs is
            what lies between two looks at samples; its logs hold the figures
            of the second. They don't see the discriminator's warm-up.
        progress: a function called with each row of the history, a dict, the
            share of the run that is done, and what the figures say.

    Returns:
        The last row of the history, a dict.

    Raises:
        TrainingError: if `out` holds a run already, or none to resume, or
            has no room, or another process trains there; or if a loss or a
            weight stops being finite.
    """
    if steps is not None and not steps > 0:
        raise ValueError(f"`steps` must be above 0. Received: steps={steps}")
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus)
    run = Run(out, COLUMNS)
    with run.held(create=not resume):
        if resume:
            recipe = run.open(
                corpus, lambda config: GanRecipe(**config["recipe"])
            )
            steps = steps or run.config["steps"]
        else:
            if isinstance(recipe, str):
                recipe = GanRecipe.named(recipe)
            recipe = recipe.from_anywhere()
            run.check_unused()
            steps = steps or _ten_epochs(corpus, recipe)
        # An annealed temperature is that of the run as it was first asked for.
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
        recorder = _Recorder(
            run, corpus, recipe, gan, state, steps, validation_events, progress
        )
        if not recorder.finished:
            recorder.look()
            with stop_on_interrupt(recorder):
                _warm_up(recorder)
                if not recorder.interrupted:
                    others = [recorder, *callbacks]
                    _fit(recorder, recorder.windows(), others)
                    if not recorder.ended:  # A callback has stopped the run.
                        recorder.end()
    return recorder.row


def _warm_up(recorder):
    """Let the discriminator learn alone for a while."""
    recipe, gan = recorder.recipe, recorder.gan
    if recorder.step or recorder.warmed >= recorder.warm_up:
        return
    recipe.compile(gan, generator_steps=0, likelihood_steps=0)
    _fit(recorder, recorder.windows(warm_up=True), [_WarmUp(recorder)])
    recipe.compile(gan)


def _fit(recorder, windows, callbacks):
    recorder.gan.fit(
        windows.from_step(recorder.warmed + recorder.step),
        steps_per_epoch=recorder.rounds_a_look,
        initial_epoch=recorder.epoch,
        epochs=10**9,
        verbose=0,
        callbacks=callbacks,
        shuffle=False,
    )


def _ten_epochs(corpus, recipe):
    windows = EventWindows(
        corpus,
        vocabulary=EventVocabulary.named(recipe.vocabulary),
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size
        * (recipe.discriminator_steps + recipe.likelihood_steps),
    )
    return 10 * windows.steps


class _Recorder(keras.callbacks.Callback):
    """Looks at samples as training goes on, and keeps the record."""

    def __init__(
        self,
        run,
        corpus,
        recipe,
        gan,
        state,
        steps,
        validation_events,
        progress,
    ):
        super().__init__()
        self.run, self.corpus, self.recipe = run, corpus, recipe
        self.gan, self.steps, self.progress = gan, steps, progress
        self.validation_events = validation_events
        self.step = state["step"]
        self.epoch = state.get("epoch", 0)
        self.seconds_before = state["seconds"]
        self.row = state.get("row") or {"step": 0}
        self.warmed = state.get("warm_up", 0)
        self.warm_up = min(recipe.warm_up, steps)
        self.rounds_a_look = min(ROUNDS_A_LOOK, max(2, steps // 20))
        self.rows, self.sentence, self.figures = [], "", {}
        self.interrupted = self.ended = False
        self.began = self.saved = time.monotonic()
        self.vocabulary = EventVocabulary.named(recipe.vocabulary)
        if gan.continues:
            self.vocabulary = gan.generator.preprocessor.tokenizer.vocabulary
        self.monitor = CollapseMonitor(
            self.vocabulary,
            _real_sequences(corpus, self.vocabulary, recipe.sequence_length),
            samples=SAMPLES,
            seed=recipe.seed,
        )
        self.monitor.set_model(gan)
        self.monitor.write_real(self.run.folder)

    def windows(self, warm_up=False):
        """What the model is trained on: real music."""
        recipe, parts = self.recipe, self.recipe.discriminator_steps
        return EventWindows(
            self.corpus,
            "train",
            vocabulary=self.vocabulary,
            sequence_length=recipe.sequence_length,
            batch_size=recipe.batch_size
            * (parts if warm_up else parts + recipe.likelihood_steps),
            seed=recipe.seed,
            augment=recipe.augment,
            whole=True,
        )

    @property
    def done(self):
        return min(1.0, self.step / self.steps)

    @property
    def finished(self):
        return self.step >= self.steps

    @property
    def seconds(self):
        return self.seconds_before + time.monotonic() - self.began

    def on_train_batch_begin(self, batch, logs=None):
        seed_step(self.recipe.seed, self.step)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        temperature = self.gan.sampling.temperature_at(self.step - 1)
        self.row = {
            "step": self.step,
            "seconds": self.seconds,
            **{name: float(logs[name]) for name in LOGS if name in logs},
            "temperature": float(temperature),
            **self.figures,
        }
        self.rows.append(self.row)
        for name in LOGS:
            value = self.row.get(name, 0.0)
            if not math.isfinite(value):
                self._write_rows()
                raise TrainingError(
                    self.run.not_finite(self.step, f"{name} is {value}")
                )
        if self.progress is not None:
            self.progress(self.row, self.done, self.sentence)
        if self.interrupted or self.finished:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.epoch += 1
        self.look()
        self.row |= self.figures
        logs |= self.figures
        self._write_rows()
        if self.finished or self.interrupted:
            self.end()
            self.model.stop_training = True
        elif time.monotonic() - self.saved > SECONDS_A_CHECKPOINT:
            self.run.check_finite(self.gan, self.step)
            self.save()
        if self.progress is not None:
            self.progress(self.row, self.done, self.sentence)

    def end(self):
        """Keep what there is."""
        self.run.check_finite(self.gan, self.step)
        # Before the checkpoint: a run that goes on saves them again.
        self._save_results()
        self.save()
        self.ended = True

    def _write_rows(self):
        self.run.append(
            *(
                {name: row.get(name, "") for name in COLUMNS}
                for row in self.rows
            )
        )
        self.rows = []

    def look(self):
        """Draw samples and measure them."""
        self.monitor.round = self.step
        self.figures = dict(self.monitor.look(self.row))
        if (
            self.gan.continues
            and (self.step == 0 or self.finished)
            and len(self.corpus.split("validation"))
        ):
            self.figures["val_nats_per_event"] = self._validate()
        self.sentence = self.monitor.sentence
        if self.step == 0 or self.finished or self.interrupted:
            self._save_samples(self.monitor.samples)

    def _validate(self):
        return evaluate(
            self.gan.trained_generator(),
            self.corpus,
            "validation",
            max_events=self.validation_events,
        ).nats_per_event

    def _save_samples(self, samples):
        folder = self.run.folder / "samples"
        with self.run.writing("A sample"):
            folder.mkdir(parents=True, exist_ok=True)
            for i, sample in enumerate(samples[:SAVED_SAMPLES]):
                notes = self.vocabulary.decode(sample)
                write_midi(notes, folder / f"step-{self.step:06}-{i + 1}.mid")

    def save(self):
        """A checkpoint."""
        self.run.save(
            self.gan,
            {
                "step": self.step,
                "epoch": self.epoch,
                "warm_up": self.warmed,
                "seconds": self.seconds,
                "row": self.row,
            },
        )
        self.saved = time.monotonic()

    def _save_results(self):
        self.run.save_preset(self.gan, "gan")
        if self.gan.continues:
            self.run.save_preset(self.gan.trained_generator())
        with self.run.writing("The curves"):
            plot_gan_curves(
                {self.recipe.setup: self.run.folder},
                self.run.folder / "curves.png",
            )


class _WarmUp(keras.callbacks.Callback):
    """Counts the rounds before the first one, and keeps what they made."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def on_train_batch_begin(self, batch, logs=None):
        recorder = self.recorder
        left = recorder.warm_up - recorder.warmed
        seed_step(recorder.recipe.seed, -left)

    def on_train_batch_end(self, batch, logs=None):
        recorder = self.recorder
        recorder.warmed += 1
        loss = float(logs["discriminator_loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                recorder.run.not_finite(0, f"discriminator_loss is {loss}")
            )
        ended = recorder.warmed >= recorder.warm_up
        recorder.row = recorder.figures | {
            "step": 0,
            "seconds": recorder.seconds,
        }
        if recorder.progress is not None:
            recorder.progress(
                recorder.row,
                0.0,
                "The discriminator learns alone: round "
                f"{recorder.warmed:,} of {recorder.warm_up:,}, "
                f"its loss {loss:.3f}.",
            )
        if ended or recorder.interrupted:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        recorder = self.recorder
        ended = recorder.warmed >= recorder.warm_up
        late = time.monotonic() - recorder.saved > SECONDS_A_CHECKPOINT
        if ended or recorder.interrupted or late:
            recorder.run.check_finite(recorder.gan, 0)
            recorder.save()


def _real_sequences(corpus, vocabulary, length):
    """Whole windows of validation, or of training where there is none."""
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
            f"The pieces of the split {split!r} are too short: no window of "
            f"{length} events lies within one."
        )
    return rows


def _adam(learning_rate):
    return keras.optimizers.Adam(learning_rate, beta_1=0.5, beta_2=0.99)
