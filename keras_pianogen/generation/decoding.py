"""The loop that samples token by token, and the functions compiled of it.

A token is an event's id, or the row of a note, see `notewise`. A `Decoder`
holds the compiled functions of a model. `pieces.calls` makes the pieces of a
request by calling them; `roll_out` runs the loop inside a step that is
compiled already. Lengths and positions count tokens. What may come next is the
business of `NextEvent` and `notewise.NextNote`.
"""

import functools
import threading
import typing

import keras
import keras_hub
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.attention.ring import KeyValueCache
from keras_pianogen.generation.draws import Draws
from keras_pianogen.generation.draws import HostDraws
from keras_pianogen.generation.grammar import CompiledGrammar
from keras_pianogen.generation.grammar import NoGrammar
from keras_pianogen.generation.host_grammar import HostGrammar
from keras_pianogen.generation.samplers import structure

host_ops = dispatch.host_ops()

# Structures of samplers whose compiled functions a model keeps.
STRUCTURES_KEPT = 4

# === The cached step: one event after those that the cache has seen ===


class RingStep:
    """The model's own layers; new keys and values stay beside the ring.

    Args:
        model: a `MusicTransformerCausalLM`.
        rings: tuple of each block's ring, see `attention.ring`.
        seen: int, or int tensor: how many events the rings have seen.
        room: int. The most events that come.

    Attributes:
        carried: what the loop carries at first, in any structure of tensors.
    """

    def __init__(self, model, rings, seen, room):
        self.model, self.rings, self.seen = model, rings, seen
        caches = self._caches([None] * len(rings), 0)
        self.carried = tuple(cache.with_room(room).recent for cache in caches)

    def __call__(self, last, carried, made):
        """Logits (batch, vocabulary_size) after one more event.

        Args:
            last: int tensor (batch, 1), the event.
            carried: what the loop carries.
            made: int, or int tensor: events since the loop began.

        Returns:
            A pair of the logits and what the loop carries then.
        """
        last, caches = ops.convert_to_tensor(last), self._caches(carried, made)
        logits, _, caches = self.model.call_with_cache(last, caches)
        return logits[:, -1], tuple(cache.recent for cache in caches)

    def merge(self, carried, made):
        """The rings after the loop, with its events written to them."""
        return tuple(cache.merge() for cache in self._caches(carried, made))

    def _caches(self, carried, made):
        return tuple(
            KeyValueCache(ring, self.seen, recent, made)
            for ring, recent in zip(self.rings, carried, strict=True)
        )


class InPlaceStep:
    """A function that writes to the ring. It has the methods of `RingStep`.

    Args:
        function: see `attention.dispatch.cached_step`.
        rings: see `RingStep`.
        seen: see there.
    """

    def __init__(self, function, rings, seen):
        self.function, self.carried, self.seen = function, rings, seen

    def __call__(self, last, carried, made):
        """See `RingStep`."""
        return self.function(last, carried, self.seen + made)

    def merge(self, carried, made):
        """See `RingStep.merge`."""
        return carried


def cached_step(model, rings, seen, room):
    """The fastest step of a model on this backend; arguments as `RingStep`."""
    function = dispatch.cached_step(model.backbone)
    if function is None:
        return RingStep(model, rings, seen, room)
    return InPlaceStep(function, rings, seen)


# === The loop ===


class Sampled(typing.NamedTuple):
    """What a loop has made, and the state for another loop to go on from."""

    token_ids: object  # int (batch, 1 + events)
    length: object  # int, how many of these columns are made
    done: object  # bool (batch,): whether a piece has ended
    cache: object  # tuple of each block's ring
    state: object  # a `grammar.State`, or () without a grammar
    draws: object  # values of the sampler's variables


class NextEvent:
    """Chooses the next event of each piece from its logits.

    Args:
        draws: a `Draws` or a `GivenNoise`.
        rules: a `CompiledGrammar`, a `HostGrammar` or a `NoGrammar`.
        bias: float tensor (vocabulary_size,), added to all logits.
        stops: tuple of ids that end a piece.

    Attributes:
        carried: what the loop carries of the rules, and of the draws.
    """

    def __init__(self, draws, rules, bias=0.0, stops=()):
        self.draws, self.rules = draws, rules
        self.added, self.stops = bias, stops
        self.carried = rules.carried, draws.carried

    def draw(self, logits, state, random, made):
        """Draw events.

        Args:
            logits: tensor of shape (batch, vocabulary_size).
            state: what the loop carries of the rules.
            random: what the loop carries of the draws.
            made: int, or int tensor: events since the loop began.

        Returns:
            A pair of ids, int32 (batch,), and what is carried of the draws.
        """
        logits = host_ops.cast(logits, "float32") + self.added
        logits = logits + self.rules.bias(state, made)
        return self.draws.draw(logits, random, made)

    def follow(self, new, is_given, state, done):
        """What is known after an event of each piece.

        Args:
            new: int32 tensor (batch,), the events.
            is_given: bool tensor (batch,): whether they are a prompt's.
            state: what the loop carries of the rules.
            done: bool tensor (batch,): whether a piece has ended before.

        Returns:
            A pair of `state` and `done` after the events.
        """
        for stop in self.stops:
            ends = new == stop
            ends = host_ops.logical_and(ends, host_ops.logical_not(is_given))
            done = host_ops.logical_or(done, ends)
        state = self.rules.advance(state, new)
        return state, self.rules.end(done, state)

    def state(self, carried):
        """The `grammar.State` that another loop goes on from."""
        return self.rules.state(carried)


def sample(step, chooser, token_ids, given, done):
    """Sample tokens until the room for them is used up or all pieces end.

    Args:
        step: a `RingStep` or an `InPlaceStep`.
        chooser: a `NextEvent` or a `notewise.NextNote`.
        token_ids: int tensor (batch, 1 + tokens, ...): the last token before,
            and room for new ones.
        given: bool tensor (batch, 1 + tokens): whether a token is there
            already, because it is a prompt's.
        done: bool tensor (batch,): whether a piece has ended.

    Returns:
        A `Sampled`.
    """
    in_python = keras.config.backend() == "torch"
    token_ids, given, done = map(
        host_ops.convert_to_tensor, (token_ids, given, done)
    )

    def cond(token_ids, index, done, cache, state, random):
        return host_ops.logical_not(host_ops.all(done))

    def body(token_ids, index, done, cache, state, random):
        if in_python:  # Slices at places that are tensors cost more.
            index = int(index)
        made = index - 1
        outputs, cache = step(_column(token_ids, made), cache, made)
        new, random = chooser.draw(outputs, state, random, made)
        new = host_ops.convert_to_tensor(new)
        is_given = _column(given, index)[:, 0]
        there = _column(token_ids, index)[:, 0]
        choice = is_given if len(new.shape) == 1 else is_given[:, None]
        new = host_ops.where(choice, there, new)
        state, done = chooser.follow(new, is_given, state, done)
        start = (0, index, *[0] * (len(token_ids.shape) - 2))
        token_ids = host_ops.slice_update(token_ids, start, new[:, None])
        return token_ids, index + 1, done, cache, state, random

    carried = step.carried, *chooser.carried
    token_ids, index, done, cache, state, random = host_ops.while_loop(
        cond,
        body,
        loop_vars=(token_ids, host_ops.cast(1, "int32"), done, *carried),
        maximum_iterations=token_ids.shape[1] - 1,
    )
    cache, state = step.merge(cache, index - 1), chooser.state(state)
    random = chooser.draws.values(random)
    return Sampled(token_ids, index, done, cache, state, random)


def _column(x, index):
    """Column `index` of a (batch, time, ...) tensor, as (batch, 1, ...)."""
    if isinstance(index, int):
        return x[:, index : index + 1]
    rest = x.shape[2:]
    start = (0, index, *[0] * len(rest))
    return ops.slice(x, start, (ops.shape(x)[0], 1, *rest))


def roll_out(request):
    """New events of a request, inside a step that is compiled already.

    Args:
        request: a `Request` whose prompts are a tensor and whose sampler is a
            `GivenNoise`. It goes without grammar and stop ids.

    Returns:
        An int32 tensor (batch, new events), without a gradient.
    """
    model, prompts = request.model, ops.cast(request.prompts, "int32")
    batch, seen = ops.shape(prompts)[0], prompts.shape[1] - 1
    cache = model.build_cache(batch, request.length)
    if seen:
        cache = model.call_with_cache(prompts[:, :-1], cache, 0)[2]
        cache = keras.tree.map_structure(ops.stop_gradient, cache)
    room = request.length - seen - 1
    blank = ops.zeros((batch, room), "int32")
    made = sample(
        cached_step(model, cache, seen, room),
        NextEvent(request.sampler, NoGrammar()),
        ops.concatenate([prompts[:, -1:], blank], axis=1),
        given=ops.zeros((batch, 1 + room), "bool"),
        done=ops.zeros(batch, "bool"),
    )
    new = ops.convert_to_tensor(made.token_ids[:, 1:])
    return ops.stop_gradient(new)


# === The functions that are compiled ===


class Prompt(typing.NamedTuple):
    """Events that a cache is to see."""

    token_ids: object  # int (batch, time)
    count: object  # int, how many of these columns, the first ones
    cache: object  # tuple of each block's ring
    position: object  # int, how many events the cache has seen


class Sampling(typing.NamedTuple):
    """Where a loop begins, see `sample` and `Sampled`."""

    token_ids: object
    given: object
    done: object
    cache: object
    position: object  # int, how many events the cache has seen
    state: object
    limits: object  # `grammar.Limits`, or () without a grammar
    bias: object
    draws: object


class Whole(typing.NamedTuple):
    """Prompts for a sampler that makes whole sequences."""

    token_ids: object  # int (batch, time), prompts and room
    given: object  # bool (batch, time)
    length: object  # int, events of the shortest prompt
    bias: object


def prefill(model, inputs, stop_token_ids=None):
    """The cache, once it has seen the events of a `Prompt` as well."""
    # A tensor, so that position 0 is summed as every other.
    seen = ops.convert_to_tensor(inputs.position)
    cache = tuple(KeyValueCache(ring, seen) for ring in inputs.cache)
    _, _, cache = model.call_with_cache(inputs.token_ids, cache)
    return tuple(layer.merge(inputs.count) for layer in cache)


def sample_by_step(next_of, model, sampler, inputs, stop_token_ids=()):
    """Sample with the loop, from a `Sampling` to a `Sampled`.

    Args:
        next_of: a function as `next_event`.
        model: a causal language model of this package.
        sampler: a `keras_hub.samplers.Sampler`.
        inputs: a `Sampling`.
        stop_token_ids: tuple of tokens that end a piece.
    """
    room = inputs.token_ids.shape[1] - 1
    # PyTorch's loop runs in Python.
    in_python = keras.config.backend() == "torch"
    draws = (HostDraws if in_python else Draws)(sampler, inputs.draws)
    return sample(
        cached_step(model, inputs.cache, inputs.position, room),
        next_of(model, draws, inputs, stop_token_ids),
        host_ops.cast(inputs.token_ids, "int32"),
        host_ops.cast(inputs.given, "bool"),
        host_ops.cast(inputs.done, "bool"),
    )


def next_event(model, draws, inputs, stops):
    """The `NextEvent` of a model of events."""
    return NextEvent(draws, _rules(model, inputs), inputs.bias, stops)


def _rules(model, inputs):
    if not inputs.limits:
        return NoGrammar()
    # PyTorch's loop runs in Python, and so does its grammar.
    in_python = keras.config.backend() == "torch"
    rules = HostGrammar if in_python else CompiledGrammar
    vocabulary = model.preprocessor.tokenizer.vocabulary
    size = model.backbone.vocabulary_size
    return rules(vocabulary, size, inputs.state, inputs.limits)


def sample_whole(model, sampler, inputs, stop_token_ids=None):
    """Sample with the sampler's own loop, from a `Whole` to ids."""
    cache = model.build_cache(ops.shape(inputs.token_ids)[0])
    _, hidden_states, cache = model.call_with_cache(inputs.token_ids, cache, 0)

    def next(prompt, cache, index):
        last = _column(prompt, index - 1)
        logits, hidden_states, cache = model.call_with_cache(
            last, cache, index - 1
        )
        logits = ops.cast(logits[:, -1], "float32") + inputs.bias
        return logits, hidden_states[:, -1], cache

    return sampler(
        next=next,
        prompt=ops.cast(inputs.token_ids, "int32"),
        cache=cache,
        index=inputs.length,
        mask=inputs.given,
        stop_token_ids=stop_token_ids,
        hidden_states=hidden_states,
        model=model,
    )


class Compiled:
    """A function, compiled as KerasHub compiles a model's `generate_step`.

    It stands for a model before `CausalLM.make_generate_function`.

    Args:
        model: a `MusicTransformerCausalLM`, whose variables it may use.
        function: a function of a named tuple of tensors and `stop_token_ids`.
        sampler: a sampler whose variables it changes, if any.
        jit_compile: bool, whether XLA compiles it on TensorFlow. Defaults to
            `True`, whatever compiles training: most of an event's time there
            would go to the calls of small operations.
    """

    def __init__(self, model, function, sampler=None, jit_compile=True):
        self.model, self.generate_step = model, function
        self.sampler = keras_hub.samplers.GreedySampler()
        if sampler is not None:
            self.sampler = sampler
        self.jit_compile = jit_compile
        self.generate_function = None
        self._making = threading.Lock()

    def __getattr__(self, name):
        return getattr(self.model, name)

    def __call__(self, inputs, stop_token_ids=None):
        with self._making:
            function = keras_hub.models.CausalLM.make_generate_function(self)
        return function(inputs, stop_token_ids=stop_token_ids)


class Decoder:
    """The compiled functions of a model, each made when it is first called.

    Args:
        model: a causal language model of this package.
        next_of: a function as `next_event`, which is the default.

    Attributes:
        prefill: see `prefill`.
    """

    def __init__(self, model, next_of=next_event):
        self.model, self._variables = model, [id(v) for v in model.variables]
        self._next_of = next_of
        self.prefill = Compiled(model, functools.partial(prefill, model))
        self._samplings, self._adding = [], threading.Lock()

    def serves(self, model):
        """Whether the variables are still those of the model.

        LoRA and int8 replace some.
        """
        return self._variables == [id(v) for v in model.variables]

    def sampling(self, sampler):
        """`sample_by_step` for samplers of this one's structure."""
        function = functools.partial(sample_by_step, self._next_of)
        return self._find(sampler, function)

    def whole(self, sampler):
        """`sample_whole` for samplers of this one's structure."""
        jit_compile = self.model.jit_compile
        return self._find(sampler, sample_whole, sampler, jit_compile)

    def _find(self, sampler, function, *settings):
        wanted = structure(sampler)
        with self._adding:
            for known, compiled in self._samplings:
                if known == wanted:
                    return compiled
            function = functools.partial(function, self.model, sampler)
            compiled = Compiled(self.model, function, *settings)
            newest = [(wanted, compiled), *self._samplings]
            self._samplings = newest[:STRUCTURES_KEPT]
            return compiled
