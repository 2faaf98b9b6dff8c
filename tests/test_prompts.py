"""Prompts: prefilled part by part, kept, and used again."""

import keras
import numpy as np
import pytest
from small_models import build_model
from small_models import logits_of
from small_models import random_ids
from small_models import the_model

from keras_pianogen.generation import decoding
from keras_pianogen.models import PromptCache


@pytest.fixture(scope="module")
def model():
    return the_model()


@pytest.mark.parametrize(
    "settings",
    [{}, {"local_block_size": 5, "attend_previous_block": True}],
    ids=["global", "local"],
)
def test_a_prefill_in_parts_equals_a_full_forward(settings):
    sizes = {"context": 20, "num_layers": 2}
    model = build_model(**sizes, **settings) if settings else the_model(**sizes)
    ids, start = random_ids(70), model.preprocessor.tokenizer.start_token_id
    prompt = np.concatenate([[start], ids])[None].astype("int32")
    cache = model.build_cache(1)
    for first, stop in ((0, 8), (8, 13), (13, 45), (45, 70)):
        new = np.zeros((1, 32), "int32")
        new[:, : stop - first] = prompt[:, first:stop]
        inputs = decoding.Prompt(new, stop - first, cache, position=first)
        cache = decoding.prefill(model, inputs)
    logits, _, _ = model.call_with_cache(prompt[:, 70:], cache, 70)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(logits)[0, 0],
        logits_of(model, ids)[-1],
        atol=1e-4,
    )


@pytest.fixture
def watch_prefills(monkeypatch):
    """A function of a model: a list of each prefill's rows and events."""

    def watch(model):
        prefill, found = model.decoder.prefill, []

        def watched(inputs):
            found.append((len(inputs.token_ids), int(inputs.count)))
            return prefill(inputs)

        monkeypatch.setattr(model.decoder, "prefill", watched)
        return found

    return watch


def test_a_prompt_cache_changes_nothing_but_the_prefills(watch_prefills):
    model = build_model(context=100, num_layers=2)
    prefills = watch_prefills(model)
    long, cache = random_ids(420), PromptCache()
    settings = {"max_length": 500, "seed": 0, "output": "ids"}
    expected = {n: model.generate(long[:n], **settings) for n in (250, 420)}
    prefills.clear()

    def piece(length):
        return model.generate(long[:length], prompt_cache=cache, **settings)

    # Both blocks together look 200 events back.
    np.testing.assert_array_equal(piece(250), expected[250])
    assert prefills == [(1, 128), (1, 71)]
    np.testing.assert_array_equal(piece(250), expected[250])
    assert prefills == [(1, 128), (1, 71)]
    np.testing.assert_array_equal(piece(420), expected[420])
    assert prefills == [(1, 128), (1, 71), (1, 128), (1, 42)]
    np.testing.assert_array_equal(piece(250), expected[250])
    assert len(prefills) == 4
    # Other weights, and another model.
    embeddings = model.backbone.token_embedding.embeddings
    embeddings.assign(embeddings * 1.1)
    changed = piece(250)
    assert prefills[4:] == [(1, 128), (1, 71)]
    np.testing.assert_array_equal(
        changed, model.generate(long[:250], **settings)
    )
    other = build_model(context=100, num_layers=2, seed=1)
    np.testing.assert_array_equal(
        other.generate(long[:250], prompt_cache=cache, **settings),
        other.generate(long[:250], **settings),
    )


def test_a_prompt_cache_keeps_the_latest(watch_prefills):
    model = the_model(context=200)
    prefills, cache = watch_prefills(model), PromptCache(size=2)
    first, second, third = (random_ids(100, seed) for seed in range(3))
    for prompt in (first, second, first, third, first):
        model.read(prompt, cache)
    assert len(prefills) == 3
    model.read(second, cache)
    assert len(prefills) == 4


def test_a_prefill_that_was_stopped_goes_on_where_it_was(watch_prefills):
    model = the_model(context=400)
    prefills, cache = watch_prefills(model), PromptCache()
    prompt, seen = random_ids(300), []

    def stop(pieces):
        seen.append(len(pieces[0]))
        if len(seen) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        model.read(prompt, cache, on_events=stop)
    assert seen == [128, 256]
    model.read(prompt, cache)
    assert prefills == [(1, 128), (1, 128), (1, 44)]


def test_the_prefill_of_a_longer_prompt_may_begin_too_late(watch_prefills):
    # Both blocks together look 400 events back.
    model = the_model(context=200, num_layers=2)
    prefills, cache = watch_prefills(model), PromptCache()
    prompt = random_ids(1000)

    def stop(pieces):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        model.read(prompt, cache, on_events=stop)
    assert prefills == [(1, 128)]  # From 601 to 728.
    settings = {"max_length": 800, "seed": 0, "output": "ids"}
    np.testing.assert_array_equal(
        model.generate(prompt[:740], prompt_cache=cache, **settings),
        model.generate(prompt[:740], **settings),
    )
    assert sum(count for _, count in prefills[1:]) == 2 * 399


def test_a_prefill_that_is_finished_takes_one_place(watch_prefills):
    model = the_model(context=400)
    prefills, cache = watch_prefills(model), PromptCache(size=2)
    first, second = random_ids(300, 1), random_ids(300, 2)

    def stop(pieces):
        raise InterruptedError

    model.read(first, cache)
    for _ in range(2):
        with pytest.raises(InterruptedError):
            model.read(second, cache, on_events=stop)
    model.read(second, cache)
    count = len(prefills)
    model.read(first, cache)
    model.read(second, cache)
    assert len(prefills) == count


def test_a_prefill_is_for_samplers_that_draw_event_by_event(model):
    with pytest.raises(ValueError, match="event by event.*BeamSampler"):
        model.read(random_ids(10), PromptCache(), sampler="beam")
    with pytest.raises(ValueError, match="prompt_seconds=-1"):
        model.read(random_ids(10), PromptCache(), prompt_seconds=-1)


def test_equal_prompts_are_prefilled_once(watch_prefills):
    model = the_model(context=200)
    prompts = [random_ids(100, seed) for seed in (1, 0, 1)]
    settings = {
        "max_length": 120,
        "sampler": "greedy",
        "output": "ids",
        "stop_token_ids": None,
    }
    expected = [model.generate(prompt, **settings) for prompt in prompts]
    prefills = watch_prefills(model)
    together = model.generate(prompts, **settings)
    assert prefills == [(2, 100)]
    for piece, alone in zip(together, expected, strict=True):
        np.testing.assert_array_equal(piece, alone)
