"""Pieces, made by calling the compiled functions of a model again and again.

`write` makes the pieces of a request, `stream` their events as they come.
`prefill` has the model see prompts. Lengths and positions count tokens, which
are the events or the notes of a piece.
"""

import functools

import keras
import numpy as np
from keras import ops

from keras_pianogen.generation import decoding
from keras_pianogen.generation import emptiness
from keras_pianogen.generation.draws import lent
from keras_pianogen.generation.draws import take
from keras_pianogen.generation.grammar import NEVER
from keras_pianogen.generation.prompt_cache import Prefilled
from keras_pianogen.generation.prompt_cache import PromptCache
from keras_pianogen.generation.samplers import compares_sequences

# Events of one call of the loop. Longer calls would save little time; shorter
# ones report progress, and stop, more often.
EVENTS_A_CALL = 64
# Events of a prompt that one call of `prefill` sees.
EVENTS_A_PREFILL = 128


def write(request, prompt_cache=None, progress=None, on_events=None):
    """Make the pieces of a request.

    Args:
        request: a `Request`.
        prompt_cache: see `MusicTransformerCausalLM.generate`.
        progress: see there.
        on_events: see there.

    Returns:
        A list of pieces in the form that the request asks for, or one piece.
    """
    made = draw(request, prompt_cache, progress, on_events)
    # Those who were given the events as they came have heard the piece.
    if on_events is None and request.can_be_drawn_again:
        again = functools.partial(draw, progress=progress)
        made = emptiness.fill(made, request, again)
    if request.ending:
        made = list(map(request.rounded_off, made, request.prompts))
    made = request.outputs_of(made)
    return made if request.is_list else made[0]


def draw(request, prompt_cache=None, progress=None, on_events=None):
    """The tokens of the pieces of a request; arguments as `write`."""
    prompts = request.prompts
    pieces = stack(prompts, request.length)[0]
    stops = [request.length] * len(prompts)
    room = EVENTS_A_CALL if on_events is None else request.tokens_of_a_stream
    draws = take(request.sampler, request.seed)
    for at, events in calls(request, draws, room, prompt_cache):
        reached = at + events.shape[1]
        pieces[:, at:reached] = events[: len(pieces)]
        stops = [
            request.stop_of(piece[:reached], prompt)
            for piece, prompt in zip(pieces, prompts, strict=True)
        ]
        if progress is not None:
            _report(progress, request, pieces, stops)
        if on_events is not None:
            on_events([p[:stop] for p, stop in zip(pieces, stops, strict=True)])
        if all(stop < reached for stop in stops):
            break
    return [piece[:stop] for piece, stop in zip(pieces, stops, strict=True)]


def _report(progress, request, pieces, stops):
    """Call `progress` with the number of new tokens and their seconds."""
    new = [
        piece[len(prompt) : stop]
        for piece, prompt, stop in zip(
            pieces, request.prompts, stops, strict=True
        )
    ]
    seconds = min(map(request.duration_of, new))
    progress(sum(map(len, new)), seconds)


def stream(request):
    """New music of a request without end, one piece after another.

    Args:
        request: a `Request` for one prompt.

    Returns:
        A generator of what `request.streamed` yields.
    """
    return _stream(request, take(request.sampler, request.seed))


def _stream(request, draws):
    while True:
        yield from request.streamed(new_tokens(request, draws))
        request = request.from_nothing()


def new_tokens(request, draws, prompt_cache=None):
    """The tokens of one new piece, as each call of the loop makes them.

    Args:
        request: a `Request` for one prompt.
        draws: see `calls`.
        prompt_cache: see `calls`.

    Yields:
        An array of tokens.
    """
    prompt = request.prompts[0]
    room = request.tokens_of_a_stream
    for at, tokens in calls(request, draws, room, prompt_cache):
        # The first of them was there before.
        yield tokens[0, max(1, len(prompt) - at) :]


def calls(request, draws, events_a_call, prompt_cache=None):
    """Call the compiled functions until all pieces have ended.

    Args:
        request: a `Request`.
        draws: list of values of the sampler's variables, which is kept up to
            date.
        events_a_call: int. New events of one call of the loop.
        prompt_cache: a `PromptCache`, or `None`.

    Yields:
        For each call, the position in the pieces at which its events begin,
        and the events, an int array (batch, events). The first of them was
        there before.
    """
    check_weights(request.model)
    if compares_sequences(request.sampler):
        yield 0, _whole(request, draws)
        return
    length = request.length
    function = request.model.decoder.sampling(request.sampler)
    first, position, cache = yield from prefill(request, prompt_cache)
    made = _begin(request, position, cache, draws)
    while length is None or position + 1 < length:
        inputs = _inputs(request, made, first, position, events_a_call + 1)
        made = function(inputs, stop_token_ids=request.stops)
        draws[:] = made.draws
        new = ops.convert_to_numpy(made.token_ids)
        count = int(ops.convert_to_numpy(made.length))
        if length is not None:
            count = min(count, length - position)
        yield position, new[:, :count]
        if count <= events_a_call:
            return
        position += count - 1


def check_weights(model):
    """Refuse a model whose weights are not finite.

    It would give any event, and backends differ in which.

    Raises:
        ValueError: that names the weight.
    """
    for variable in model.weights:
        # The sum is finite only if all numbers are, and needs no memory.
        value = ops.convert_to_numpy(variable.value)
        if not np.isfinite(value.sum(dtype="float32")):
            raise ValueError(
                "A model's weights must be finite numbers. Received: "
                f"{variable.path} with numbers that are not"
            )


def _begin(request, position, cache, draws):
    """A `decoding.Sampled` of which nothing is sampled yet."""
    prompts = request.batch
    state = request.initial_state([p[: position + 1] for p in prompts])
    return decoding.Sampled(
        token_ids=np.array([[prompt[position]] for prompt in prompts], "int32"),
        length=1,
        done=np.zeros(len(prompts), "bool"),
        cache=cache,
        state=state,
        draws=tuple(draws),
    )


def _inputs(request, made, first, position, room):
    """A `decoding.Sampling` that goes on from a `decoding.Sampled`."""
    rest = [prompt[position : position + room] for prompt in request.batch]
    token_ids, given = stack(rest, room)
    # Past a prompt, the last event is the one that was sampled last.
    last = ops.convert_to_numpy(made.token_ids)[:, -1]
    made_here = ~given[:, 0]
    token_ids[made_here, 0] = last[made_here]
    given[:, 0] = True
    left = NEVER
    if request.length is not None:
        left = request.length - position - 1
    limits = request.limits or ()
    if limits:
        limits = limits._replace(remaining=np.int32(left))
    return decoding.Sampling(
        token_ids=token_ids,
        given=given,
        done=made.done,
        cache=made.cache,
        position=np.int32(position - first),
        state=made.state,
        limits=limits,
        bias=request.logit_bias,
        draws=made.draws,
    )


def _whole(request, draws):
    """Pieces by a sampler that compares whole sequences."""
    function = request.model.decoder.whole(request.sampler)
    token_ids, given = stack(request.prompts, request.length)
    inputs = decoding.Whole(
        token_ids=token_ids,
        given=given,
        length=np.int32(min(map(len, request.prompts))),
        bias=request.logit_bias,
    )
    with lent(function.sampler, draws):
        made = function(inputs, stop_token_ids=request.stops or None)
    return ops.convert_to_numpy(made)


def prefill(request, prompt_cache=None):
    """Have the model see the prompts, as far as the shortest one goes.

    Its last event is left for the loop, and so are all events that are fewer
    than a call of the loop makes, unless the cache keeps them. Calls of one
    length are compiled once. Equal prompts are seen once. Events further
    back than all blocks together look are left out.

    Args:
        request: a `Request`.
        prompt_cache: a `PromptCache`, or `None`. It is used if all prompts
            are equal.

    Yields:
        See `calls`; the events are the prompts' own.

    Returns:
        A triple: the first event that the cache has seen, the first after it
        that the cache hasn't seen, and the cache.
    """
    if not isinstance(prompt_cache, PromptCache | None):
        raise TypeError(
            "`prompt_cache` must be a `PromptCache` or None. "
            f"Received: prompt_cache={prompt_cache!r}"
        )
    model, prompts = request.model, request.batch
    stop = min(map(len, prompts)) - 1
    first = _first_in_reach(model, stop)
    least = EVENTS_A_CALL if prompt_cache is None else prompt_cache.shortest
    if stop - first < least:
        return first, first, model.build_cache(len(prompts))
    rows, of_prompt = _distinct([prompt[:stop] for prompt in prompts])
    store = done = None
    if prompt_cache is not None and len(rows) == 1:
        store = prompt_cache.of(model)
        done = store.find(rows[0], first)
    if done is None:
        empty = model.build_cache(len(rows))
        done = Prefilled(first, rows[0, :first], empty, is_whole=False)
    while len(done.ids) < stop:
        at = len(done.ids)
        new = rows[:, at : min(stop, at + EVENTS_A_PREFILL)]
        more = _prefill_more(model, done, rows[0, : at + new.shape[1]], new)
        more.is_whole = len(more.ids) == stop
        if store is not None:
            store.keep(more, instead_of=done)
        done = more
        yield at, new[of_prompt]
    # Copies, because PyTorch's loop writes to the cache that it is given.
    copies = keras.tree.map_structure(
        lambda x: ops.take(x, of_prompt, axis=0), done.cache
    )
    return done.first, stop, copies


def _prefill_more(model, done, ids, new):
    """A `Prefilled` of `ids`, the last of which are `new` (batch, events)."""
    inputs = decoding.Prompt(
        token_ids=stack(new, EVENTS_A_PREFILL)[0],
        count=np.int32(new.shape[1]),
        position=np.int32(len(done.ids) - done.first),
        cache=done.cache,
    )
    return Prefilled(done.first, ids, model.decoder.prefill(inputs))


def _first_in_reach(model, stop):
    """The first event that event `stop` can see through all blocks."""
    backbone = model.backbone
    reach = backbone.num_layers * backbone.max_sequence_length
    first = max(0, stop + 1 - reach)
    block = getattr(backbone, "local_block_size", None)
    if block:  # Local attention begins at a block.
        first -= first % block
    return first


def _distinct(rows):
    """The distinct rows, as an array, and the number of each row in it."""
    numbers = {}
    places = [numbers.setdefault(r.tobytes(), len(numbers)) for r in rows]
    return np.stack([rows[places.index(i)] for i in numbers.values()]), places


def stack(rows, length):
    """Rows of tokens as one array, padded with 0, and where they are given.

    Args:
        rows: list of arrays of shape (time, ...). They are cut at `length`.
        length: int.

    Returns:
        A pair: int32 tokens (rows, length, ...), and bools (rows, length).
    """
    ids = np.zeros((len(rows), length, *rows[0].shape[1:]), "int32")
    given = np.zeros((len(rows), length), "bool")
    for i, row in enumerate(rows):
        row = row[:length]
        ids[i, : len(row)], given[i, : len(row)] = row, True
    return ids, given
