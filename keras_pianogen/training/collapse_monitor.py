"""A callback for Keras's `fit` that watches a GAN's samples for collapse."""

import json

import keras
import numpy as np

from keras_pianogen.judging.collapse import FIGURES
from keras_pianogen.training.curves import plot_gan_curves
from keras_pianogen.training.history import History
from keras_pianogen.training.looks import Collapse

# The logs of a round of `TransformerGAN`. Only a language model has the last.
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
    """Generates the same samples every few rounds, and measures them.

    The samples are made of the same noise each time, or continue the same
    real sequences. Their distance from real music and the share of their
    commonest event go to the progress bar and the training's `History`.

    Args:
        vocabulary: an `EventVocabulary`.
        real: ids of real music, an int array of shape (sequences, time), as
            long as the sequences that the model is trained on.
        folder: where to write `history.csv`, a row for each round with the
            figures measured last; `real.json`, the figures of real music;
            and at the end `curves.png`. Defaults to `None`: nothing is
            written.
        samples: int. How many samples. Defaults to `64`.
        every: int. Number of rounds from one measurement to the next.
            Defaults to `50`.
        seed: int. Seed of the choice of noise, or of sequences to continue.

    Attributes:
        figures: the figures measured last, a dict; see `CollapseFigures`.
        sentence: what they say.

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
        self.settings = vocabulary, real, samples, seed
        self.history = None
        if folder is not None:
            self.history = History(f"{folder}/history.csv", COLUMNS)
        self.every = every
        self.round = 0

    @property
    def figures(self):
        return self.collapse.figures

    @property
    def sentence(self):
        return self.collapse.sentence

    def set_model(self, model):
        """Choose what the samples are made of."""
        super().set_model(model)
        self.collapse = Collapse(model, *self.settings)

    def on_train_begin(self, logs=None):
        self.collapse.measure(self.round, {})
        if self.history is not None:
            folder = self.history.path.parent
            folder.mkdir(parents=True, exist_ok=True)
            self.history.path.unlink(missing_ok=True)
            write_real(self.collapse, folder)

    def on_train_batch_end(self, batch, logs=None):
        self.round += 1
        if self.round % self.every == 0:
            if keras.config.backend() == "jax":
                self.model.jax_state_sync()
            self.collapse.measure(self.round, logs)
        if self.history is not None:
            row = {name: float(logs[name]) for name in LOGS if name in logs}
            self.history.append({"step": self.round} | row | self.figures)
        logs |= {name: self.figures[name] for name in SHOWN}

    def on_epoch_end(self, epoch, logs=None):
        logs |= {name: self.figures[name] for name in SHOWN}

    def on_train_end(self, logs=None):
        if self.history is not None and self.round:
            folder = self.history.path.parent
            plot_gan_curves({self.model.name: folder}, folder / "curves.png")


def write_real(collapse, folder):
    """Write `real.json`, the figures of real music that curves need.

    Args:
        collapse: a `Collapse`.
        folder: folder of the run.
    """
    text = json.dumps(collapse.of_real, indent=2)
    (folder / "real.json").write_text(text)
