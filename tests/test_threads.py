"""Threads that share a model, and streams that take turns."""

import concurrent.futures
import itertools
import threading

import keras
import numpy as np
import pytest
from small_models import build_model
from small_models import random_ids
from small_models import the_model

from keras_pianogen.models import PromptCache

THREADS = 8


@pytest.fixture
def model():
    """A model of its own for each test: nothing of it is compiled yet."""
    return build_model()


def at_once(function):
    """Results of a function of 0 to 7, called on as many threads at once."""
    barrier = threading.Barrier(THREADS)

    def call(number):
        barrier.wait()
        return function(number)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(call, range(THREADS)))


def sampler_values(model):
    return [
        keras.ops.convert_to_numpy(x).tolist() for x in model.sampler.variables
    ]


def new(model, seed, cache):
    return model.generate(max_length=80, seed=seed, output="ids")


def free(model, seed, cache):
    return model.generate(max_length=80, seed=seed, output="ids", grammar=False)


def continued(model, seed, cache):
    return model.generate(
        random_ids(70, seed % 3), max_length=110, seed=seed, output="ids",
        prompt_cache=cache,
    )  # fmt: skip


def whole(model, seed, cache):
    prompt = random_ids(5, seed)
    return model.generate(prompt, max_length=20, sampler="beam", output="ids")


@pytest.mark.parametrize(
    "write",
    [
        new,
        pytest.param(free, marks=pytest.mark.slow_to_trace),
        continued,
        pytest.param(whole, marks=pytest.mark.slow_to_trace),
    ],
)
def test_each_of_eight_threads_gets_the_piece_of_its_seed(model, write):
    before, cache = sampler_values(model), PromptCache(size=2)
    pieces = at_once(lambda seed: write(model, seed, cache))
    assert len({piece.tobytes() for piece in pieces}) > THREADS // 2
    for seed, piece in enumerate(pieces):
        alone = write(model, seed, None)
        np.testing.assert_array_equal(piece, alone)
    assert sampler_values(model) == before


@pytest.mark.slow_to_trace
def test_pieces_without_a_seed_differ_on_all_threads(model):
    pieces = at_once(lambda _: model.generate(max_length=80, output="ids"))
    pieces.append(model.generate(max_length=80, output="ids"))
    assert len({piece.tobytes() for piece in pieces}) == THREADS + 1


def test_streams_that_take_turns_are_those_of_their_seeds():
    model = the_model()
    before = sampler_values(model)
    seeds = (None, 1, 2)
    streams = [model.stream(seed=seed) for seed in seeds]
    events = [[], [], []]
    for turn in range(60):
        for stream, own in zip(streams, events, strict=True):
            own += itertools.islice(stream, 1)
        if turn % 25 == 0:
            model.generate(max_length=20, seed=turn)
    for seed, own in zip(seeds[1:], events[1:], strict=True):
        alone = model.stream(seed=seed)
        assert own == list(itertools.islice(alone, 60))
    model.sampler.seed_generator.state.assign(before[0])
    assert events[0] == list(itertools.islice(model.stream(), 60))


@pytest.mark.slow_to_trace
def test_a_prompt_cache_gives_no_prefill_of_another_model():
    models, cache = [build_model(seed=seed) for seed in (0, 1)], PromptCache()
    pieces = at_once(lambda seed: continued(models[seed % 2], seed, cache))
    for seed, piece in enumerate(pieces):
        alone = continued(models[seed % 2], seed, None)
        np.testing.assert_array_equal(piece, alone)
