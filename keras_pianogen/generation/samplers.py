"""Samplers that draw one event from probabilities.

They follow KerasHub's protocol and know nothing of notes, only of ids.
"""

import keras
import keras_hub
from keras import ops

from keras_pianogen.generation.arguments import check_arguments

PITCH_MIN_P = 0.02  # of models of notes


@keras.saving.register_keras_serializable(package="keras_pianogen")
class AdjustableSampler(keras_hub.samplers.Sampler):
    """Draws an id after dropping the unlikely ones by min-p, top-p or top-k.

    `temperature`, `min_p` and `top_p` are scalar variables (a `top_p` of 0
    stands for min-p). A model that has compiled its sampling loop with one
    such sampler samples with any other values of these three without
    compiling again. It compiles once for each `top_k`, because this is the
    shape of a tensor.

    Args:
        temperature: float, 0.001 to 1,000. Divides the logits: below 1, likely
            ids become more likely; above 1, less.
        min_p: float, 0 to 1. Drops each id less likely than this share of the
            most likely one. Defaults to `0.005` if neither `top_p` nor
            `top_k` is given.
        top_p: float, above 0 to 1. Keeps the most likely ids, up to the first
            one at which their probabilities add up to more than this share.
        top_k: int, 1 or more. Keeps this number of the most likely ids, or
            all if there are fewer.
        seed: int. Seed of the random numbers. Defaults to `None`, a new seed
            for each sampler.

    Raises:
        ValueError: if an argument is out of its range, or more than one of
            `min_p`, `top_p` and `top_k` are given.

    Examples:
        >>> import numpy as np
        >>> sampler = AdjustableSampler(min_p=0.5, seed=0)
        >>> probabilities = np.array([[0.05, 0.9, 0.05]], "float32")
        >>> int(sampler.get_next_token(probabilities)[0])
        1
        >>> sampler.min_p.assign(0.01) is not None
        True

    Reference:
        - [Nguyen et al., min-p sampling, 2024](https://arxiv.org/abs/2407.01082)
        - [Holtzman et al., top-p sampling, 2019](https://arxiv.org/abs/1904.09751)
    """

    def __init__(
        self, temperature=1.0, *, min_p=None, top_p=None, top_k=None, seed=None
    ):
        cuts = {"min_p": min_p, "top_p": top_p, "top_k": top_k}
        check_arguments({"temperature": temperature, **cuts})
        super().__init__(temperature=_setting(temperature, "temperature"))
        if min_p is None:
            min_p = 0.005 if top_p is top_k is None else 0.0
        self.min_p = _setting(min_p, "min_p")
        self.top_p = _setting(top_p or 0.0, "top_p")  # 0 stands for no top-p.
        self.top_k = top_k
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    @property
    def variables(self):
        settings = [self.temperature, self.min_p, self.top_p]
        return [*super().variables, *settings]

    def get_next_token(self, probabilities):
        probabilities = ops.convert_to_tensor(probabilities)
        if self.top_k is not None:
            count = min(self.top_k, probabilities.shape[-1])
            kept, ids = ops.top_k(probabilities, count, sorted=False)
            return self._draw(kept, ids)
        is_top_p = self.top_p.value > 0
        if keras.config.backend() == "torch" and not is_top_p:
            # Python can choose here. `ops.cond` would cost 0.1 ms per event.
            return self._draw(self._keep_min_p(probabilities))
        ids = ops.arange(ops.shape(probabilities)[1], dtype="int32")
        ids = ops.broadcast_to(ids, ops.shape(probabilities))
        kept, ids = ops.cond(
            is_top_p,
            lambda: self._keep_top_p(probabilities),
            lambda: (self._keep_min_p(probabilities), ids),
        )
        return self._draw(kept, ids)

    def _keep_top_p(self, probabilities):
        """Probabilities (batch, size), descending or 0, and their ids."""
        size = ops.shape(probabilities)[1]
        ranked, ids = ops.top_k(probabilities, size, sorted=True)
        kept = ops.cumsum(ranked, axis=-1) <= self.top_p.value
        # The id at which the sum exceeds `top_p` is kept as well.
        kept = ops.concatenate(
            [ops.ones_like(kept[:, :1]), kept[:, :-1]], axis=-1
        )
        return ops.where(kept, ranked, 0.0), ops.cast(ids, "int32")

    def _keep_min_p(self, probabilities):
        """Probabilities (batch, size), or 0 for the ids that are dropped."""
        most = ops.max(probabilities, axis=-1, keepdims=True)
        kept = probabilities >= self.min_p.value * most
        return ops.where(kept, probabilities, 0.0)

    def _draw(self, kept, ids=None):
        """An id (batch,) by its probability, of `ids` if they aren't all."""
        drawn = keras.random.categorical(
            ops.log(kept), 1, seed=self.seed_generator, dtype="int32"
        )
        if ids is not None:
            drawn = ops.take_along_axis(ids, drawn, axis=-1)
        return drawn[:, 0]

    def get_config(self):
        if self.top_k is not None:
            cut = {"top_k": self.top_k}
        elif _value(self.top_p):
            cut = {"top_p": _value(self.top_p)}
        else:
            cut = {"min_p": _value(self.min_p)}
        config = {"temperature": _value(self.temperature), "seed": self.seed}
        return config | cut


@keras.saving.register_keras_serializable(package="keras_pianogen")
class MinPSampler(AdjustableSampler):
    """An `AdjustableSampler` with min-p, whose first argument is `min_p`.

    Args:
        min_p: see `AdjustableSampler`. Defaults to `0.005`.
        temperature: see there.
        seed: see there.
    """

    def __init__(self, min_p=0.005, temperature=1.0, seed=None):
        super().__init__(temperature, min_p=min_p, seed=seed)


@keras.saving.register_keras_serializable(package="keras_pianogen")
class FieldSamplers(keras_hub.samplers.Sampler):
    """A sampler for each field of a note, for models of note tuples.

    Args:
        shift: a sampler or its name, for the time since the last note.
        pitch: the same for the pitch.
        velocity: the same for the velocity.
        duration: the same for the duration.
        default: the same for all fields that are left out. Defaults to
            `"min_p"`.

    Examples:
        >>> bold = FieldSamplers(pitch=MinPSampler(temperature=1.2))
        >>> bold.samplers["pitch"].get_config()["temperature"]
        1.2
    """

    def __init__(
        self,
        shift=None,
        pitch=None,
        velocity=None,
        duration=None,
        default="min_p",
    ):
        super().__init__()
        given = {
            "shift": shift,
            "pitch": pitch,
            "velocity": velocity,
            "duration": duration,
        }
        self.samplers = {
            name: get_sampler(default if one is None else one)
            for name, one in given.items()
        }

    @property
    def variables(self):
        found = {}
        for sampler in self.samplers.values():
            found |= {id(v): v for v in sampler.variables}
        return list(found.values())

    def get_config(self):
        return {
            name: keras.saving.serialize_keras_object(sampler)
            for name, sampler in self.samplers.items()
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **{
                name: keras.saving.deserialize_keras_object(one)
                for name, one in config.items()
            }
        )


def get_sampler(identifier):
    """A sampler from itself or its name.

    Args:
        identifier: a `keras_hub.samplers.Sampler`, `"min_p"`, or the name of
            one of KerasHub's: `"greedy"`, `"random"`, `"top_k"`, `"top_p"`,
            `"beam"` or `"contrastive"`.

    Returns:
        A sampler.

    Raises:
        ValueError: if no sampler has this name.

    Examples:
        >>> get_sampler("min_p").get_config()["min_p"]
        0.005
    """
    if identifier == "min_p":
        return MinPSampler()
    sampler = None
    if isinstance(identifier, str | keras_hub.samplers.Sampler):
        sampler = keras_hub.samplers.get(identifier)
    if not isinstance(sampler, keras_hub.samplers.Sampler):
        raise ValueError(
            "`sampler` must be a `keras_hub.samplers.Sampler` or the name of "
            f"one, such as 'min_p' or 'top_k'. Received: {identifier!r}"
        )
    return sampler


def build_sampler(
    temperature=1.0, *, min_p=None, top_p=None, top_k=None, seed=None
):
    """An `AdjustableSampler`, which takes the same arguments.

    Args:
        temperature: see there.
        min_p: see there.
        top_p: see there.
        top_k: see there.
        seed: see there.

    Returns:
        A sampler.

    Raises:
        ValueError: see there.

    Examples:
        >>> build_sampler(top_k=8).top_k
        8
    """
    return AdjustableSampler(
        temperature, min_p=min_p, top_p=top_p, top_k=top_k, seed=seed
    )


def build_note_sampler(
    temperature=1.0, *, min_p=None, top_p=None, top_k=None, seed=None
):
    """A `FieldSamplers` of `AdjustableSampler` objects, for models of notes.

    The settings that leave out unlikely classes are those of pitches and
    velocities. Times are drawn from all classes: long ones are rare each, and
    many together. Without them the music would hurry.

    Args:
        temperature: see `AdjustableSampler`.
        min_p: see there. Defaults to 0.02 for pitches and 0.005 for
            velocities, without `top_p` and `top_k`.
        top_p: see there.
        top_k: see there.
        seed: see there.

    Returns:
        A sampler.

    Raises:
        ValueError: see there.

    Examples:
        >>> sampler = build_note_sampler(0.9)
        >>> sampler.samplers["pitch"].get_config()["min_p"]
        0.02
        >>> sampler.samplers["shift"].get_config()["min_p"]
        0.0
    """
    cuts = {"min_p": min_p, "top_p": top_p, "top_k": top_k}
    cuts = {name: x for name, x in cuts.items() if x is not None}
    settings = {
        "shift": {"min_p": 0.0},
        "pitch": cuts or {"min_p": PITCH_MIN_P},
        "velocity": cuts,
        "duration": {"min_p": 0.0},
    }
    return FieldSamplers(
        **{
            name: AdjustableSampler(temperature, **of_field, seed=seed)
            for name, of_field in settings.items()
        }
    )


def compares_sequences(sampler):
    """Whether a sampler runs a loop of its own, as beam search does.

    All others draw one event after another from its probabilities.
    """
    return isinstance(sampler, keras_hub.samplers.Sampler) and (
        type(sampler).__call__ is not keras_hub.samplers.Sampler.__call__
    )


def structure(sampler):
    """All of a sampler that a compiled function depends on.

    Samplers of equal structures differ in the values of their variables only.
    """
    if isinstance(sampler, AdjustableSampler):
        return AdjustableSampler, {"top_k": sampler.top_k}
    if isinstance(sampler, FieldSamplers):
        return [structure(one) for one in sampler.samplers.values()]
    return type(sampler), sampler.get_config()


def _setting(value, name):
    return keras.Variable(value, dtype="float32", trainable=False, name=name)


def _value(setting):
    """A setting as it was given: its shortest decimal, 0.9 for 0.89999998."""
    return float(str(ops.convert_to_numpy(setting)))
