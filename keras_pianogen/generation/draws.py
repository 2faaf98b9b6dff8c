"""How a loop draws events: by a sampler, or with noise that it is given.

The random numbers of a call are its own. It takes them from the sampler when it
begins and gives none back, so that calls on several threads don't mix them.

Tensors, or NumPy arrays on PyTorch, see `dispatch.host_ops`.
"""

import contextlib
import itertools
import threading

import keras
import numpy as np
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.generation.samplers import AdjustableSampler
from keras_pianogen.generation.samplers import MinPSampler

host_ops = dispatch.host_ops()


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
        self._places = {id(v): i for i, v in enumerate(sampler.variables)}

    def draw(self, logits, carried, made=None, field=None):
        """Draw an id of each piece.

        Args:
            logits: float32 tensor of shape (batch, classes).
            carried: tuple of tensors, what the loop carries.
            made: int, or int tensor: events drawn since the loop began. It
                makes no difference here.
            field: string. Which of `FieldSamplers` draws. Defaults to `None`:
                the sampler itself.

        Returns:
            A pair of ids, an int32 tensor (batch,), and what the loop carries
            then.
        """
        sampler = self._of(field)

        def draw():
            probabilities = sampler.compute_probabilities(logits)
            return ops.cast(sampler.get_next_token(probabilities), "int32")

        return self._with_variables(sampler, draw, carried)

    def uniform(self, count, carried):
        """Numbers from 0 to 1, (count,), and what the loop carries then.

        They are 0.5 if the sampler draws nothing at random.
        """
        sampler = self._of("shift")
        seed = getattr(sampler, "seed_generator", None)
        if seed is None:
            return ops.full((count,), 0.5), carried
        return self._with_variables(
            sampler,
            lambda: keras.random.uniform((count,), seed=seed),
            carried,
        )

    def values(self, carried):
        """Values of the sampler's variables after the loop."""
        return carried

    def _of(self, field):
        return getattr(self.sampler, "samplers", {}).get(field, self.sampler)

    def _with_variables(self, sampler, function, carried):
        """Call a function while the variables of one sampler are `carried`.

        On PyTorch each variable costs time with each draw: those of the other
        fields' samplers stay out.
        """
        scope, values = keras.StatelessScope(), list(carried)
        own = [(v, self._places[id(v)]) for v in sampler.variables]
        for variable, place in own:
            scope.add_update((variable, values[place]))
        with scope:
            result = function()
        for variable, place in own:
            values[place] = scope.get_current_value(variable)
        return result, tuple(values)


class HostDraws(Draws):
    """Draws for a loop that runs in Python, as PyTorch's does.

    They are those of `Draws`. Where nothing but min-p leaves out classes, they
    are made without the sampler, and the loop carries nothing.
    """

    def __init__(self, sampler, values):
        super().__init__(sampler, values)
        self._own = {}
        for one in _samplers_of(sampler):
            if self._draws_by_min_p(one) and id(one) not in self._own:
                self._own[id(one)] = dispatch.categorical_draws(
                    self._value(one.seed_generator.state),
                    self._value(one.temperature),
                    self._value(one.min_p),
                )

    def _draws_by_min_p(self, sampler):
        is_known = type(sampler) in (AdjustableSampler, MinPSampler)
        return (
            is_known
            and sampler.top_k is None
            and not self._value(sampler.top_p) > 0
        )

    def _value(self, variable):
        return self.carried[self._places[id(variable)]]

    def draw(self, logits, carried, made=None, field=None):
        """See `Draws.draw`; the ids are an array."""
        own = self._own.get(id(self._of(field)))
        if own is not None:
            return own.draw(logits), carried
        ids, carried = super().draw(logits, carried, made, field)
        return ops.convert_to_numpy(ids), carried

    def uniform(self, count, carried):
        """See `Draws.uniform`; the numbers are an array."""
        own = self._own.get(id(self._of("shift")))
        if own is not None:
            return own.uniform(count), carried
        numbers, carried = super().uniform(count, carried)
        return ops.convert_to_numpy(numbers), carried

    def values(self, carried):
        """See `Draws.values`."""
        values = list(carried)
        for sampler in _samplers_of(self.sampler):
            if id(sampler) in self._own:
                place = self._places[id(sampler.seed_generator.state)]
                values[place] = self._own[id(sampler)].state()
        return tuple(values)


class Guided:
    """Draws for pieces by the difference that what is asked makes.

    In the second half of a batch are the same pieces, and nothing is asked of
    them. The logits are those of the second half, and `guidance` times the
    difference between both (classifier-free guidance, Ho and Salimans, 2022).
    Both halves get the same draws. It has the methods of `Draws`.

    Args:
        draws: a `Draws`.
        guidance: float. At 1 it makes no difference.

    References:
        - [Ho and Salimans (2022)](https://arxiv.org/abs/2207.12598)
    """

    def __init__(self, draws, guidance):
        self.draws, self.guidance = draws, guidance
        self.carried = draws.carried

    def draw(self, logits, carried, made=None, field=None):
        """See `Draws.draw`."""
        asked, free = host_ops.split(logits, 2, axis=0)
        logits = free + self.guidance * (asked - free)
        drawn, carried = self.draws.draw(logits, carried, made, field)
        return host_ops.concatenate([drawn, drawn]), carried

    def values(self, carried):
        """See `Draws.values`."""
        return self.draws.values(carried)

    def uniform(self, count, carried):
        """See `Draws.uniform`."""
        numbers, carried = self.draws.uniform(count // 2, carried)
        return host_ops.concatenate([numbers, numbers]), carried


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
        sums = ops.add(logits, noise)
        return ops.cast(ops.argmax(sums, axis=-1), "int32"), carried

    def values(self, carried):
        """See `Draws.values`."""
        return carried


def _samplers_of(sampler):
    """The samplers of the fields of a note, or the sampler of events."""
    return getattr(sampler, "samplers", {None: sampler}).values()


# Held while the variables of a sampler are read or changed.
_VARIABLES = threading.RLock()


def take(sampler, seed=None):
    """Values of `sampler.variables` for one call.

    Args:
        sampler: a `keras_hub.samplers.Sampler`.
        seed: int, whose random numbers the values have; or `None` for those
            of the sampler, which is then given new ones.

    Returns:
        A list of tensors.
    """
    with _VARIABLES:
        values = _values(sampler)
        if seed is None:
            for variable, value in zip(sampler.variables, values, strict=True):
                if _is_state(value):
                    variable.assign(_first_state(value.astype("uint32")))
        else:
            # Samplers of the fields of a note have a generator each.
            count = itertools.count()
            values = [
                _first_state(seed % 2**32, next(count)) if _is_state(x) else x
                for x in values
            ]
    return [
        ops.convert_to_tensor(x, v.dtype)
        for v, x in zip(sampler.variables, values, strict=True)
    ]


@contextlib.contextmanager
def lent(sampler, values):
    """A sampler that has other values for a while, for one thread at a time.

    Args:
        sampler: a `keras_hub.samplers.Sampler`.
        values: list of tensors, values of `sampler.variables`.
    """
    with _VARIABLES:
        own = _values(sampler)
        _assign(sampler, values)
        try:
            yield
        finally:
            _assign(sampler, own)


def is_random(sampler):
    """Whether a sampler draws with random numbers."""
    return any(map(_is_state, _values(sampler)))


def next_seed(sampler):
    """A seed made of the sampler's next random numbers."""
    values = [ops.convert_to_numpy(value) for value in take(sampler)]
    states = [value.astype("uint32") for value in values if _is_state(value)]
    return int(_first_state(np.concatenate(states))[0])


def _values(sampler):
    """Copies, because PyTorch changes a variable's tensor in place."""
    return [np.array(ops.convert_to_numpy(v)) for v in sampler.variables]


def _assign(sampler, values):
    for variable, value in zip(sampler.variables, values, strict=True):
        variable.assign(value)


def _is_state(value):
    """The state of a seed generator is a pair, and a setting a number."""
    return value.shape == (2,)


def _first_state(seed, number=0):
    """The state that the `number`th seed generator begins with.

    On PyTorch, Keras counts up from the seed: without the hash, draws of one
    seed would also be those of the next ones.
    """
    first = np.random.SeedSequence(seed).generate_state(number + 1)[number]
    return np.array([first, 0], "uint32")


def seeds_from(seed, count):
    """Seeds that follow from one; or `None` each."""
    if seed is None:
        return [None] * count
    state = np.random.SeedSequence(abs(int(seed))).generate_state(count)
    return [int(x) for x in state]
