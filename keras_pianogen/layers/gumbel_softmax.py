"""Samples of events that gradients pass through, and a choice that stops them.

The layer sees logits only; it knows nothing of notes.
"""

import typing

import keras
from keras import ops

from keras_pianogen.bounds import Real
from keras_pianogen.bounds import Whole
from keras_pianogen.layers.ranges import OneOf
from keras_pianogen.layers.ranges import Seed
from keras_pianogen.layers.ranges import checked

MODES = ("straight_through", "soft", "argmax")
Mode = typing.Annotated[str, OneOf(MODES)]
Temperature = typing.Annotated[float, Real(1e-6, 1e6)]
Steps = typing.Annotated[int, Whole(1, 2**40)]
Schedule = keras.optimizers.schedules.LearningRateSchedule


@checked
@keras.saving.register_keras_serializable(package="keras_pianogen")
class GumbelSoftmax(keras.layers.Layer):
    r"""Samples from a categorical distribution, with a gradient.

    With Gumbel noise $g$ and temperature $\tau$ (Jang et al., 2017, equation
    2),

    $$y = \mathrm{softmax}\left(\frac{\ell + g}{\tau}\right)$$

    - `"soft"` gives $y$.
    - `"straight_through"` gives the one-hot vector of $y$'s largest element,
      which is a true sample from softmax$(\ell)$, and the gradient of $y$.
    - `"argmax"` gives the one-hot vector of $\ell$'s largest element without
      noise, and no gradient. The paper connects its generator and
      discriminator like this; here it serves as a control.

    Args:
        mode: one of the three above. Defaults to `"straight_through"`.
        temperature: float, 1e-6 to 1e6, or a
            `keras.optimizers.schedules.LearningRateSchedule` of the `step`
            that `call` is given, for example
            `GumbelSoftmax.annealing(steps)`. Defaults to `1.0`.
        seed: int, or `None`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (..., num_events), logits.
        noise: optional tensor of the same shape, Gumbel noise that was drawn
            before. Defaults to `None`, new noise.
        step: int or int tensor, the optimizer step whose temperature is used
            if `temperature` is a schedule. Defaults to `0`.

    Returns:
        A distribution over events, a tensor of the shape of `inputs`.

    Examples:
        >>> import numpy as np
        >>> layer = GumbelSoftmax(seed=0)
        >>> y = layer(np.zeros((2, 3, 5), "float32"))
        >>> float(keras.ops.sum(y))
        6.0

    Reference:
        - [Jang et al., 2017](https://arxiv.org/abs/1611.01144)
    """

    def __init__(
        self,
        mode: Mode = "straight_through",
        temperature: Temperature | Schedule = 1.0,
        seed: Seed | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.mode = mode
        self.temperature = temperature
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    @staticmethod
    def annealing(steps, start=1.0, end=0.01):
        """Temperatures that fall from `start` to `end` exponentially.

        The defaults give `100 ** (-step / steps)`, the schedule of Muhamed et
        al. (2021). From step `steps` on the temperature stays at `end`.

        Args:
            steps: int. Number of optimizer steps of the training.
            start: float, 1e-6 to 1e6.
            end: float, 1e-6 to 1e6.

        Returns:
            A `keras.optimizers.schedules.LearningRateSchedule`.
        """
        return Annealing(steps, start, end)

    def temperature_at(self, step):
        """The temperature of an optimizer step."""
        if callable(self.temperature):
            return self.temperature(step)
        return self.temperature

    def draw_noise(self, shape):
        """Gumbel noise, a float32 tensor of the given shape."""
        tiny = 1e-7
        uniform = keras.random.uniform(
            shape, tiny, 1 - tiny, dtype="float32", seed=self.seed_generator
        )
        return -ops.log(-ops.log(uniform))

    def call(self, inputs, noise=None, step=0):
        logits = ops.cast(inputs, "float32")
        if self.mode == "argmax":
            return ops.stop_gradient(
                ops.one_hot(ops.argmax(logits, axis=-1), logits.shape[-1])
            )
        if noise is None:
            noise = self.draw_noise(ops.shape(logits))
        noisy = logits + ops.convert_to_tensor(noise)
        soft = ops.softmax(noisy / self.temperature_at(step), axis=-1)
        if self.mode == "soft":
            return soft
        hard = ops.one_hot(ops.argmax(noisy, axis=-1), noisy.shape[-1])
        return straight_through(hard, soft)

    def compute_output_spec(self, inputs, noise=None, step=0):
        return keras.KerasTensor(inputs.shape, dtype="float32")

    def get_config(self):
        config = super().get_config()
        temperature = self.temperature
        if callable(temperature):
            temperature = keras.saving.serialize_keras_object(temperature)
        config.update(
            {"mode": self.mode, "temperature": temperature, "seed": self.seed}
        )
        return config

    @classmethod
    def from_config(cls, config):
        temperature = config.get("temperature", 1.0)
        if isinstance(temperature, dict):
            temperature = keras.saving.deserialize_keras_object(temperature)
        return cls(**config | {"temperature": temperature})


@checked
@keras.saving.register_keras_serializable(package="keras_pianogen")
class Annealing(Schedule):
    """See `GumbelSoftmax.annealing`."""

    def __init__(
        self, steps: Steps, start: Temperature = 1.0, end: Temperature = 0.01
    ):
        self.steps = steps
        self.start = start
        self.end = end

    def __call__(self, step):
        done = ops.minimum(ops.cast(step, "float32") / self.steps, 1.0)
        return self.start * ops.power(self.end / self.start, done)

    def get_config(self):
        return {"steps": self.steps, "start": self.start, "end": self.end}


def straight_through(hard, soft):
    """The value of `hard` with the gradient of `soft`.

    `soft` minus itself is exactly zero, so adding it to `hard` rounds nothing.
    """
    return ops.stop_gradient(hard) + (soft - ops.stop_gradient(soft))
