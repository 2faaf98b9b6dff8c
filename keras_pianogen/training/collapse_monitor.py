"""A callback that looks at a generator's samples while it is trained."""

import json

import keras
import numpy as np

from keras_pianogen.judging.collapse import FIGURES
from keras_pianogen.judging.collapse import CollapseFigures
from keras_pianogen.training.gan_curves import plot_gan_curves
from keras_pianogen.training.run import Run

# What a round of `TransformerGAN` gives; the last of a language model alone.
LOGS = (
    "generator_loss",
    "discriminator_loss",
    "generator_gradient_norm",
    "real_accuracy",
    "fake_accuracy",
    "nats_per_event",
)
COLUMNS = ("step", *LOGS, "figures_step", *FIGURES)
# The figures that the progress bar shows.
SHOWN = ("event_divergence", "commonest_share")


class CollapseMonitor(keras.callbacks.Callback):
    """Draws the same samples every few rounds, and measures them.

    The samples are made of the same noise each time, or continue the same
    real sequences. Their distance from real music and the share of their
    commonest event go to the progress bar and the training's `History`.

    Args:
        vocabulary: an `EventVocabulary`.
        real: ids of real music, an int array of shape (sequences, time), as
            long as the sequences that the model is trained on.
        folder: where to write `history.csv`, a row for each round with the
            figures measured last, `real.json`, the figures of real music,
            and at the end `curves.png`. `None` for nowhere.
        samples: int. How many samples. Defaults to `64`.
        every: int. Rounds between two looks. Defaults to `50`.
        seed: int. Of the choice of noise, or of sequences to continue.

    Attributes:
        figures: what was measured last, a dict; see `CollapseFigures`.
        sentence: what it says.

    Examples:
        ```python
        monitor = CollapseMonitor(vocabulary, real, folder="runs/mine")
        gan.fit(windows, callbacks=[monitor])
        print(monitor.sentence)
        ```
    """

    def __init__(
        self, vocabulary, real, folder=None, samples=64, every=50, seed=0
    ):
        super().__init__()
        real = np.asarray(real)
        if real.ndim != 2 or not len(real) or every < 1 or samples < 1:
            raise ValueError(
                "`real` must be of shape (sequences, time), `samples` and "
                f"`every` positive. Received: real of shape {real.shape}, "
                f"samples={samples}, every={every}"
            )
        self.vocabulary = vocabulary
        self.real = real
        self.run = None if folder is None else Run(folder, COLUMNS)
        self.count = samples
        self.every = every
        self.seed = seed
        self.round = 0
        self.figures, self.sentence, self.samples = {}, "", None

    def set_model(self, model):
        """Choose what the samples are made of."""
        super().set_model(model)
        rng = np.random.default_rng(self.seed)
        self.skipped = model.context_length if model.continues else 0
        self.judge = CollapseFigures(
            self.vocabulary, self.real[:, self.skipped :], self.count
        )
        if model.continues:
            chosen = rng.permutation(len(self.real))[: self.count]
            self.inputs = self.real[chosen]
        else:
            shape = (self.count, *model.generator.input.shape[1:])
            self.inputs = rng.normal(size=shape).astype("float32")

    def look(self, logs=None):
        """Draw samples, measure them, and say what is seen.

        Args:
            logs: what a round gave, a dict.

        Returns:
            The figures, a dict.
        """
        drawn = self.model.generate(self.inputs, seed=self.seed)
        self.samples = drawn[:, self.skipped :]
        self.figures = {
            "figures_step": self.round,
            **self.judge.of(self.samples),
        }
        self.sentence = self.judge.describe(self.samples, logs or {})
        return self.figures

    def on_train_begin(self, logs=None):
        self.look()
        if self.run is not None:
            self.run.folder.mkdir(parents=True, exist_ok=True)
            self.run.history.unlink(missing_ok=True)
            self.write_real(self.run.folder)

    def write_real(self, folder):
        """Write `real.json`, the figures of real music."""
        path = folder / "real.json"
        path.write_text(json.dumps(self.judge.of_real, indent=2))

    def on_train_batch_end(self, batch, logs=None):
        self.round += 1
        if self.round % self.every == 0:
            if keras.config.backend() == "jax":
                self.model.jax_state_sync()
            self.look(logs)
        if self.run is not None:
            given = {name: float(logs[name]) for name in LOGS if name in logs}
            row = {"step": self.round} | given | self.figures
            self.run.append({name: row.get(name, "") for name in COLUMNS})
        logs |= {name: self.figures[name] for name in SHOWN}

    def on_epoch_end(self, epoch, logs=None):
        logs |= {name: self.figures[name] for name in SHOWN}

    def on_train_end(self, logs=None):
        if self.run is not None and self.round:
            folder = self.run.folder
            plot_gan_curves({self.model.name: folder}, folder / "curves.png")
