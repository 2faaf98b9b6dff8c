"""The warm-up of a GAN's discriminator, which learns alone for some rounds.

Without it, a discriminator that knows nothing would lead a pretrained
generator astray.
"""

import math

import keras

from keras_pianogen.training.gan_building import compile_gan
from keras_pianogen.training.recorder import seed_step


def warm_up(gan, recipe, recorder, windows, progress=None):
    """Train the discriminator alone, before the first round.

    Args:
        gan: the `TransformerGAN` that `recipe` has built.
        recipe: a `GanRecipe`.
        recorder: the run's `Recorder`; its state counts the rounds, so that an
            interrupted warm-up goes on.
        windows: a function of the number of parts of a batch, which returns
            the batches.
        progress: see `train_gan`. Defaults to `None`.
    """
    rounds = min(recipe.warm_up, recorder.length.steps)
    done = recorder.state.setdefault("warm_up", 0)
    if recorder.step or done >= rounds:
        return
    recorder.set_model(gan)
    compile_gan(recipe, gan, generator_steps=0, likelihood_steps=0)
    gan.fit(
        windows(recipe.discriminator_steps).from_step(done),
        steps_per_epoch=recorder.length.epoch_steps,
        initial_epoch=recorder.epoch,
        epochs=10**9,
        verbose=0,
        shuffle=False,
        callbacks=[_WarmUp(recorder, rounds, progress)],
    )
    compile_gan(recipe, gan)


class _WarmUp(keras.callbacks.Callback):
    """Counts the rounds of a warm-up, and saves checkpoints."""

    def __init__(self, recorder, rounds, progress):
        super().__init__()
        self.recorder, self.rounds = recorder, rounds
        self.progress = progress

    @property
    def stopping(self):
        done = self.recorder.state["warm_up"]
        return done >= self.rounds or self.recorder.interrupted

    def on_train_batch_begin(self, batch, logs=None):
        # Below 0: the rounds after the warm-up have seeds from 0 on.
        step = self.recorder.state["warm_up"] - self.rounds
        seed_step(self.recorder.seed, step)

    def on_train_batch_end(self, batch, logs=None):
        recorder = self.recorder
        recorder.state["warm_up"] += 1
        recorder.row = recorder.new_row()
        loss = float(logs["discriminator_loss"])
        if not math.isfinite(loss):
            raise recorder.run.not_finite(0, f"discriminator_loss is {loss}")
        if self.progress is not None:
            done = recorder.state["warm_up"]
            self.progress(
                recorder.row,
                0.0,
                f"The discriminator learns alone: round {done:,} of "
                f"{self.rounds:,}, its loss {loss:.3f}.",
            )
        if self.stopping:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self.stopping or self.recorder.late:
            self.recorder.run.check_finite(self.model, 0)
            self.recorder.save()
