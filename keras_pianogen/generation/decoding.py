"""The loop that samples, and the calls of it that make up a piece.

The compiled function behind `generate` takes a dict and returns one, see
`MusicTransformerCausalLM.generate_step`; what is here runs within it
(`sample_by_step`, `sample_whole`) or calls it (`calls`). Lengths and positions
count events; which events may come is the business of `grammar`.
"""

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_pianogen.generation import grammar
from keras_pianogen.generation.grammar import NEVER
from keras_pianogen.generation.grammar import CompiledGrammar
from keras_pianogen.generation.grammar import NoGrammar
from keras_pianogen.generation.host_grammar import HostGrammar
from keras_pianogen.generation.prompt_cache import Reading

# Events sampled by one call of the compiled loop. Longer calls save little;
# shorter ones report progress and stop more often.
EVENTS_A_CALL = 64
# Events of a prompt that are read at once.
EVENTS_A_READING = 128


def samples_by_step(sampler):
    """Whether each event depends on the last probabilities alone."""
    return type(sampler).__call__ is keras_hub.samplers.Sampler.__call__


# Within the compiled function.


def sample_by_step(model, inputs, stop_token_ids):
    """Sample until the room in `token_ids` is used up or all have ended."""
    token_ids = ops.cast(inputs["token_ids"], "int32")
    given = ops.cast(inputs["padding_mask"], "bool")
    position, fixed_bias = inputs["position"], inputs["logit_bias"]
    done = ops.cast(inputs["done"], "bool")
    in_python = keras.config.backend() == "torch"
    rules = NoGrammar()
    if "state" in inputs:
        rules = (HostGrammar if in_python else CompiledGrammar)(
            model.preprocessor.tokenizer.vocabulary,
            model.backbone.vocabulary_size,
            inputs["state"],
            inputs["limits"],
        )
    room = token_ids.shape[1] - 1
    step, cache, finish = model._cached_step(inputs["cache"], position, room)

    def cond(token_ids, cache, index, done, state):
        return ops.logical_not(ops.all(done))

    def body(token_ids, cache, index, done, state):
        if in_python:  # Slices at places that are tensors cost more.
            index = int(index)
        last = _column(token_ids, index - 1)
        logits, cache = step(last, cache, index - 1)
        logits = ops.cast(logits, "float32") + fixed_bias
        logits = logits + rules.bias(state, index - 1)
        probabilities = model.sampler.compute_probabilities(logits)
        new = ops.cast(model.sampler.get_next_token(probabilities), "int32")
        is_given = _column(given, index)[:, 0]
        new = ops.where(is_given, _column(token_ids, index)[:, 0], new)
        for stop in stop_token_ids or ():
            ends = ops.logical_and(new == stop, ops.logical_not(is_given))
            done = ops.logical_or(done, ends)
        state = rules.advance(state, new)
        done = ops.logical_or(done, rules.is_over(state))
        token_ids = ops.slice_update(token_ids, (0, index), new[:, None])
        return token_ids, cache, index + 1, done, state

    index = ops.cast(1, "int32")
    token_ids, cache, index, done, state = model.sampler.run_loop(
        cond,
        body,
        model=model,
        loop_vars=(token_ids, cache, index, done, rules.carried),
        maximum_iterations=room,
    )
    return {
        "token_ids": token_ids,
        "cache": finish(cache, index - 1),
        "done": done,
        "length": index,
        "state": rules.state(state),
    }


def sample_whole(model, inputs, stop_token_ids):
    """Samplers that compare whole sequences run their own loop."""

    def next(prompt, cache, index):
        last = _column(prompt, index - 1)
        logits, hidden_states, cache = model.call_with_cache(
            last, cache, index - 1
        )
        logits = ops.cast(logits[:, -1], "float32") + inputs["logit_bias"]
        return logits, hidden_states[:, -1], cache

    token_ids = model.sampler(
        next=next,
        prompt=ops.cast(inputs["token_ids"], "int32"),
        cache=inputs["cache"],
        index=inputs["position"],
        mask=inputs["padding_mask"],
        stop_token_ids=stop_token_ids,
        hidden_states=inputs["hidden_states"],
        model=model,
    )
    return {"token_ids": token_ids}


# Calls of the compiled function.


def calls(
    model,
    prompts,
    max_length,
    stop_token_ids,
    limits,
    events_a_call,
    prompt_cache=None,
):
    """Call the compiled function again and again.

    Args:
        model: a `MusicTransformerCausalLM`.
        prompts: list of 1-D arrays of ids, none of them empty.
        max_length: int. Events of a piece, the prompt's included, or `None`
            to go on until all pieces have ended.
        stop_token_ids: tuple of the ids that end a piece.
        limits: see `grammar.bias`, without `remaining`; `None` for no grammar.
        events_a_call: int. New events of one call.
        prompt_cache: a `PromptCache`, or `None`.

    Yields:
        For each call, where its events begin in the pieces, and the events,
        an array of shape (batch, events). The first one was there before.
    """
    bias = _logit_bias(model, stop_token_ids)
    if not samples_by_step(model.sampler):
        pieces, given = stack(prompts, max_length)
        length = min(map(len, prompts))
        _generate_whole(model, pieces, given, length, bias, stop_token_ids)
        yield 0, pieces
        return
    generate_function = model.make_generate_function()
    first, position, cache = yield from read(model, prompts, prompt_cache)
    inputs = {"logit_bias": bias, "done": np.zeros(len(prompts), "bool")}
    if limits is not None:
        inputs["state"] = grammar.initial_state(
            model.preprocessor.tokenizer.vocabulary,
            [prompt[: position + 1] for prompt in prompts],
        )
    room, last = events_a_call + 1, None
    while max_length is None or position + 1 < max_length:
        rest = [prompt[position : position + room] for prompt in prompts]
        token_ids, mask = stack(rest, room)
        if limits is not None:
            left = NEVER if max_length is None else (
                max_length - position - 1
            )  # fmt: skip
            inputs["limits"] = limits._replace(remaining=np.int32(left))
        if not mask[:, 0].all():  # Past the prompts: what was sampled last.
            token_ids[:, 0] = np.where(mask[:, 0], token_ids[:, 0], last)
            mask[:, 0] = True
        outputs = generate_function(
            inputs
            | {
                "token_ids": token_ids,
                "padding_mask": mask,
                "cache": cache,
                "position": np.int32(position - first),
            },
            stop_token_ids=stop_token_ids,
        )
        cache, inputs["done"] = outputs["cache"], outputs["done"]
        if limits is not None:
            inputs["state"] = outputs["state"]
        new = ops.convert_to_numpy(outputs["token_ids"])
        count = int(ops.convert_to_numpy(outputs["length"]))
        if max_length is not None:
            count = min(count, max_length - position)
        yield position, new[:, :count]
        if count < room:
            return
        last, position = new[:, -1], position + count - 1


def read(model, prompts, prompt_cache=None):
    """Read the prompts, as far as the shortest goes, but for its last event.

    They are read by `EVENTS_A_READING`, so that one length is compiled; what
    is shorter than a call of the loop is left to it. Prompts that are equal
    are read once. What lies further back than all blocks together reach is
    left out.

    Args:
        model: see `calls`, as the others.
        prompts: see there.
        prompt_cache: see there.

    Yields:
        See `calls`: events that were read, which are the prompts' own.

    Returns:
        The first event that the cache has seen, the first one that it
        hasn't, and the cache.
    """
    unread = min(map(len, prompts)) - 1
    first = max(0, unread + 1 - _reach(model))
    if model.backbone.local_block_size:  # Blocks begin where they did.
        first -= first % model.backbone.local_block_size
    if unread - first < EVENTS_A_CALL:
        return first, first, model.build_cache(len(prompts))
    rows, places = _distinct([prompt[:unread] for prompt in prompts])
    store, known = prompt_cache if len(rows) == 1 else None, None
    if store is not None:
        store.open(model)
        known = store.find(rows[0], first)
    if known is None:
        position, cache = first, model.build_cache(len(rows))
    else:
        first, position, cache = known.first, len(known.ids), known.cache
        store.keep(known, instead_of=known)  # The latest to be used.
    mine = None if known is None or known.whole else known
    generate_function = model.make_generate_function()
    while position < unread:
        new = rows[:, position : min(unread, position + EVENTS_A_READING)]
        inputs = {
            "prompt": stack(new, EVENTS_A_READING)[0],
            "count": np.int32(new.shape[1]),
            "position": np.int32(position - first),
            "cache": cache,
        }
        cache = generate_function(inputs)["cache"]
        at, position = position, position + new.shape[1]
        if store is not None:
            ids, whole = rows[0, :position], position == unread
            reading = Reading(first, ids, cache, whole)
            store.keep(reading, instead_of=mine)
            mine = reading
        yield at, new[places]
    # Copies: PyTorch's loop writes to what it is given.
    copies = keras.tree.map_structure(
        lambda x: ops.take(x, places, axis=0), cache
    )
    return first, unread, copies


def _distinct(rows):
    """Each row once, as an array, and where the rows are in it."""
    numbers = {}
    places = [numbers.setdefault(r.tobytes(), len(numbers)) for r in rows]
    return np.stack([rows[places.index(i)] for i in numbers.values()]), places


def _reach(model):
    """How many events back all blocks together look."""
    return model.backbone.num_layers * model.backbone.max_sequence_length


def _logit_bias(model, stop_token_ids):
    """Bars the special ids, but for those that end a piece."""
    tokenizer = model.preprocessor.tokenizer
    bias = np.zeros(model.backbone.vocabulary_size, "float32")
    bias[len(tokenizer.vocabulary) :] = -1e9
    bias[
        [i for i in tokenizer.special_token_ids if i not in stop_token_ids]
    ] = -1e9
    return bias


def _generate_whole(model, pieces, given, length, bias, stop_token_ids):
    generate_function = model.make_generate_function()
    outputs = generate_function({"prompt": pieces})
    outputs = generate_function(
        {
            "token_ids": pieces,
            "padding_mask": given,
            "cache": outputs["cache"],
            "hidden_states": outputs["hidden_states"],
            "position": np.int32(length),
            "logit_bias": bias,
        },
        stop_token_ids=stop_token_ids or None,
    )
    pieces[:] = ops.convert_to_numpy(outputs["token_ids"])


def stack(rows, length):
    """Rows of ids as one array, padded with 0, and where they are given."""
    ids = np.zeros((len(rows), length), "int32")
    given = np.zeros(ids.shape, "bool")
    for i, row in enumerate(rows):
        row = row[:length]
        ids[i, : len(row)], given[i, : len(row)] = row, True
    return ids, given


def _column(x, index):
    """Column `index` of a (batch, time) tensor, as (batch, 1)."""
    return ops.slice(x, (0, index), (ops.shape(x)[0], 1))
