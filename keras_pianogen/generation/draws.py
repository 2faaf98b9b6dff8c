"""How a loop draws events: by a sampler, or with noise that it is given."""

import keras
import numpy as np
from keras import ops


class Draws:
    """Events drawn by a sampler whose variables' values a loop carries.

    The sampler itself doesn't change, so that several loops may draw from it
    at the same time.

    Args:
        sampler: a `keras_hub.samplers.Sampler`.
        values: list of tensors, values of `sampler.variables`.
    """

    def __init__(self, sampler, values):
        self.sampler, self.carried = sampler, tuple(values)

    def draw(self, logits, carried, made):
        """Draw an event of each piece.

        Args:
            logits: float32 tensor of shape (batch, vocabulary_size).
            carried: tuple of tensors, what the loop carries.
            made: int, or int tensor: events drawn since the loop began.

        Returns:
            A pair of ids, an int32 tensor (batch,), and what the loop carries
            then.
        """
        scope, variables = keras.StatelessScope(), self.sampler.variables
        for update in zip(variables, carried, strict=True):
            scope.add_update(update)
        with scope:
            probabilities = self.sampler.compute_probabilities(logits)
            ids = self.sampler.get_next_token(probabilities)
        carried = tuple(scope.get_current_value(v) for v in variables)
        return ops.cast(ids, "int32"), carried


class GivenNoise:
    """Draws the events with the largest sums of logit and noise.

    With Gumbel noise these are draws from the softmax of the logits. It has
    the methods of `Draws`.

    Args:
        noise: float tensor of shape (batch, events, vocabulary_size).
    """

    carried = ()

    def __init__(self, noise):
        self.noise = noise

    def draw(self, logits, carried, made):
        """See `Draws.draw`."""
        batch, _, size = ops.shape(self.noise)
        noise = ops.slice(self.noise, (0, made, 0), (batch, 1, size))[:, 0]
        return ops.cast(ops.argmax(logits + noise, axis=-1), "int32"), carried


def seeded_values(sampler, seed):
    """Values of `sampler.variables`, with the random numbers of a seed.

    Args:
        sampler: a `keras_hub.samplers.Sampler`.
        seed: int, or `None` to go on with the sampler's own random numbers.
    """
    values = [ops.convert_to_tensor(v) for v in sampler.variables]
    if seed is None:
        return values
    # On PyTorch, Keras counts up from the seed: without the hash, draws of
    # one seed would also be those of the next ones.
    first = np.random.SeedSequence(seed % 2**32).generate_state(1)[0]
    state = np.array([first, 0], "uint32")
    return [
        # The state of a seed generator is a pair, and a setting a number.
        ops.convert_to_tensor(state, v.dtype) if tuple(v.shape) == (2,) else x
        for v, x in zip(sampler.variables, values, strict=True)
    ]
