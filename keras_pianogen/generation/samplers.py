"""Samplers, with what KerasHub lacks. They see logits only, never notes."""

import keras
import keras_hub
from keras import ops


@keras.saving.register_keras_serializable(package="keras_pianogen")
class MinPSampler(keras_hub.samplers.Sampler):
    """Samples among ids at least `min_p` times as likely as the likeliest.

    Where the model is sure, few ids pass; where many are about as likely,
    all of them do. Ids below the bar keep no probability; the others keep
    their proportions.

    Args:
        min_p: float, 0 to 1. The bar, as a share of the highest probability.
            Defaults to `0.005`.
        temperature: float above 0. Divides the logits. Defaults to `1.0`.
        seed: int. Seed of the draws. Defaults to `None`, a new one each time.

    Examples:
        >>> import numpy as np
        >>> sampler = MinPSampler(min_p=0.5, seed=0)
        >>> probabilities = np.array([[0.05, 0.9, 0.05]], "float32")
        >>> int(sampler.get_next_token(probabilities)[0])
        1

    Reference:
        - [Nguyen et al., 2024](https://arxiv.org/abs/2407.01082)
    """

    def __init__(self, min_p=0.005, temperature=1.0, seed=None):
        if not 0 <= min_p <= 1:
            raise ValueError(
                f"`min_p` must be from 0 to 1. Received: min_p={min_p}"
            )
        if not temperature > 0:
            raise ValueError(
                "`temperature` must be above 0. "
                f"Received: temperature={temperature}"
            )
        super().__init__(temperature=temperature)
        self.min_p = min_p
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_next_token(self, probabilities):
        probabilities = ops.convert_to_tensor(probabilities)
        bar = self.min_p * ops.max(probabilities, axis=-1, keepdims=True)
        logits = ops.where(
            probabilities >= bar, ops.log(probabilities), float("-inf")
        )
        next_token = keras.random.categorical(
            logits, 1, seed=self.seed_generator, dtype="int32"
        )
        return ops.squeeze(next_token, axis=-1)

    def get_config(self):
        config = super().get_config()
        config.update({"min_p": self.min_p, "seed": self.seed})
        return config


class AdjustableSampler(keras_hub.samplers.Sampler):
    """What `build_sampler` gives, with numbers that may change at no cost.

    They are a variable and no part of the configuration. So a model that
    samples with one, then with another of other numbers, compiles once, and
    draws what `MinPSampler` or KerasHub's `TopPSampler` would draw.

    Args:
        temperature: float above 0. Divides the logits. Defaults to `1.0`.
        min_p: float, 0 to 1; see `MinPSampler`. Defaults to `0.005`, where
            `top_p` isn't given.
        top_p: float, above 0 to 1. The share of probability kept, in place
            of `min_p`.

    Examples:
        >>> sampler = AdjustableSampler(min_p=0.5)
        >>> sampler.get_config()
        {}
    """

    def __init__(self, temperature=1.0, *, min_p=None, top_p=None):
        # It checks the numbers, and knows the defaults.
        twin = build_sampler(temperature, min_p=min_p, top_p=top_p)
        super().__init__()
        numbers = [temperature, getattr(twin, "min_p", 0.0), top_p or 0.0]
        self.numbers = keras.Variable(
            numbers, dtype="float32", trainable=False, name="numbers"
        )
        self.seed_generator = keras.random.SeedGenerator()

    @property
    def variables(self):
        return [*super().variables, self.numbers]

    def compute_probabilities(self, logits):
        logits = ops.cast(logits, "float32")
        return keras.activations.softmax(logits / self.numbers[0])

    def get_next_token(self, probabilities):
        min_p, top_p = self.numbers[1], self.numbers[2]
        size = ops.shape(probabilities)[1]
        ranked, ids = ops.top_k(probabilities, k=size, sorted=True)
        kept = ops.cumsum(ranked, axis=-1) <= top_p
        # The one that crosses the bar is kept too.
        kept = ops.concatenate(
            [ops.ones_like(kept[:, :1]), kept[:, :-1]], axis=-1
        )
        ranked = ops.where(kept, ranked, ops.zeros_like(ranked))
        passed = probabilities >= min_p * ranked[:, :1]
        by_id = ops.where(passed, probabilities, ops.zeros_like(probabilities))
        # A top-p sampler draws a rank, a min-p sampler draws an id.
        chosen = ops.where(top_p > 0, ranked, by_id)
        drawn = keras.random.categorical(
            ops.log(chosen), 1, seed=self.seed_generator, dtype="int32"
        )
        ids = ops.cast(ops.take_along_axis(ids, drawn, axis=-1), "int32")
        return ops.squeeze(ops.where(top_p > 0, ids, drawn), axis=-1)

    def get_config(self):
        return {}


def get_sampler(identifier):
    """A sampler from itself or its name.

    Args:
        identifier: a `keras_hub.samplers.Sampler`, `"min_p"`, or the name of
            one of KerasHub's: `"greedy"`, `"random"`, `"top_k"`, `"top_p"`,
            `"beam"` or `"contrastive"`.

    Returns:
        A sampler.

    Raises:
        ValueError: if there is no such sampler.

    Examples:
        >>> get_sampler("min_p").min_p
        0.005
    """
    if identifier == "min_p":
        return MinPSampler()
    sampler = keras_hub.samplers.get(identifier)
    if not isinstance(sampler, keras_hub.samplers.Sampler):
        raise ValueError(
            "A sampler must be a `keras_hub.samplers.Sampler` or the name of "
            f"one, such as 'min_p' or 'top_k'. Received: {identifier!r}"
        )
    return sampler


def build_sampler(
    temperature=1.0, *, min_p=None, top_p=None, top_k=None, seed=None
):
    """The sampler of a temperature and at most one way of cutting the tail.

    Args:
        temperature: float above 0. Below 1 is safer, above 1 wilder.
        min_p: float, 0 to 1, for a `MinPSampler`. It is also what comes
            where none of the three is given.
        top_p: float, above 0 to 1, for KerasHub's `TopPSampler`.
        top_k: int, 1 or more, for KerasHub's `TopKSampler`.
        seed: int. Seed of the draws.

    Returns:
        A sampler.

    Raises:
        ValueError: if a number is out of its range, or several of `min_p`,
            `top_p` and `top_k` are given.

    Examples:
        >>> build_sampler(top_k=8).k
        8
    """
    given = {"min_p": min_p, "top_p": top_p, "top_k": top_k}
    given = {k: v for k, v in given.items() if v is not None}
    if len(given) > 1:
        raise ValueError(
            "Give at most one of `min_p`, `top_p` and `top_k`. "
            f"Received: {given}"
        )
    if not temperature > 0:
        raise ValueError(
            f"`temperature` must be above 0. Received: {temperature}"
        )
    settings = {"temperature": temperature, "seed": seed}
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(
                f"`top_p` must be above 0 and at most 1. Received: {top_p}"
            )
        return keras_hub.samplers.TopPSampler(p=top_p, **settings)
    if top_k is not None:
        if top_k < 1:
            raise ValueError(f"`top_k` must be 1 or more. Received: {top_k}")
        return keras_hub.samplers.TopKSampler(k=top_k, **settings)
    return MinPSampler(**given, **settings)
