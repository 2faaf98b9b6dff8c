"""What models of events generate: lengths, seeds, prompts and samplers."""

import itertools

import keras
import keras_hub
import miditoolkit
import numpy as np
import pytest
from small_models import CONTEXT
from small_models import build_model
from small_models import logits_of
from small_models import random_ids
from small_models import random_notes
from small_models import the_model

from keras_pianogen.generation import decoding
from keras_pianogen.generation.draws import Draws
from keras_pianogen.generation.draws import HostDraws
from keras_pianogen.generation.draws import take
from keras_pianogen.generation.samplers import FieldSamplers
from keras_pianogen.generation.samplers import MinPSampler
from keras_pianogen.generation.samplers import build_sampler
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.notes import NOTE_DTYPE


@pytest.fixture(scope="module")
def model():
    return the_model()


def once(case):
    """A case that one backend is enough for: others show it on each backend."""
    return pytest.param(case, marks=pytest.mark.one_backend)


# === Sampling ===


def test_cached_logits_equal_a_full_forward_past_the_window():
    model = the_model(context=20, num_layers=2)
    ids = random_ids(45)
    full = logits_of(model, ids)
    cache = model.build_cache(1)
    start = model.preprocessor.tokenizer.start_token_id
    prompt = np.concatenate([[start], ids])[None].astype("int32")
    logits, _, cache = model.call_with_cache(prompt[:, :9], cache, 0)
    rows = [keras.ops.convert_to_numpy(logits)[0]]
    for i in range(9, prompt.shape[1]):
        logits, _, cache = model.call_with_cache(prompt[:, i : i + 1], cache, i)
        rows.append(keras.ops.convert_to_numpy(logits)[0])
    np.testing.assert_allclose(np.concatenate(rows), full, atol=1e-4)


@pytest.mark.parametrize("context", [20, 200])
@pytest.mark.parametrize("prompt_length", [0, 40, 70, 140])
def test_greedy_sampling_takes_the_likeliest_event_of_a_full_forward(
    prompt_length, context
):
    model = the_model(context=context, num_layers=2)
    prompt = random_ids(prompt_length)
    ids = model.generate(
        prompt, max_length=150, sampler="greedy", output="ids",
        stop_token_ids=None, grammar=False,
    )  # fmt: skip
    assert len(ids) == 149  # The start id is not returned.
    np.testing.assert_array_equal(ids[:prompt_length], prompt)
    likeliest = logits_of(model, ids)[:, 3:].argmax(axis=-1) + 3
    np.testing.assert_array_equal(
        ids[prompt_length:], likeliest[prompt_length:-1]
    )


def test_prompts_of_any_lengths_are_continued_together():
    model = the_model(context=200)
    prompts = [random_ids(3, 1), random_ids(90, 2), []]
    settings = {
        "max_length": 120,
        "sampler": "greedy",
        "output": "ids",
        "stop_token_ids": None,
    }
    together = model.generate(prompts, **settings)
    for prompt, piece in zip(prompts, together, strict=True):
        np.testing.assert_array_equal(model.generate(prompt, **settings), piece)


@pytest.mark.skipif(
    keras.config.backend() == "torch", reason="nothing is compiled"
)
def test_another_length_or_prompt_compiles_nothing_anew(monkeypatch):
    model, traced = build_model(context=200), []

    def count(name):
        function = getattr(decoding, name)

        def counted(*args, **kwargs):
            traced.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(decoding, name, counted)

    count("prefill")
    count("sample_by_step")
    model.generate(random_ids(70), seconds=2, seed=0)
    assert sorted(traced) == ["prefill", "sample_by_step"]
    model.generate(random_ids(300, 1), seconds=9, ending=False, seed=1)
    model.generate(random_ids(70, 2), max_length=300, stop_token_ids=None)
    model.generate(random_ids(30), seconds=3, repeat_penalty=0.2)
    assert len(traced) == 2
    # Nor do other values of the sampler's settings.
    for settings in ({"min_p": 0.2}, {"top_p": 0.5, "temperature": 0.9}):
        model.generate(seconds=1, sampler=build_sampler(**settings))
    assert len(traced) == 2


def test_the_same_seed_gives_the_same_piece(model):
    first, again, other = (
        model.generate(max_length=100, seed=seed, output="ids")
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_neighbouring_seeds_draw_nothing_alike(model):
    pieces = [
        model.generate(max_length=100, seed=seed, output="ids")
        for seed in range(4)
    ]
    for i, piece in enumerate(pieces):
        for other in pieces[i + 1 :]:
            size = min(len(piece), len(other)) - 2
            # Not even where one runs a draw or two ahead of the other.
            for ahead in (0, 1, 2):
                assert (piece[ahead : ahead + size] != other[:size]).any()


def test_generation_goes_on_past_the_trained_length(model):
    ids = model.generate(
        max_length=6 * CONTEXT, seed=0, output="ids", stop_token_ids=None
    )
    assert len(ids) == 6 * CONTEXT - 1


def test_a_length_in_seconds_is_kept(model):
    vocabulary = model.preprocessor.tokenizer.vocabulary
    prompt = random_notes(8)
    prompt_ids = vocabulary.encode(prompt)
    ids = model.generate(prompt, seconds=2.5, seed=0, output="ids")
    new = vocabulary.duration(ids[len(prompt_ids) :])
    assert 2.5 - 1.0 < new <= 2.5
    stripped = model.generate(
        prompt, seconds=2.5, seed=0, output="ids", strip_prompt=True
    )
    np.testing.assert_array_equal(stripped, ids[len(prompt_ids) :])


def test_another_sampler_is_for_one_call(model):
    settings = {"max_length": 60, "output": "ids", "stop_token_ids": None}
    before = model.generate(seed=1, **settings)
    greedy = model.generate(sampler="greedy", **settings)
    np.testing.assert_array_equal(
        greedy, model.generate(sampler="greedy", **settings)
    )
    drawn = [
        model.generate(
            sampler=keras_hub.samplers.TopKSampler(k=5, seed=7), **settings
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*drawn)
    with pytest.raises(ValueError, match="no_such_sampler"):
        model.generate(sampler="no_such_sampler", **settings)
    np.testing.assert_array_equal(before, model.generate(seed=1, **settings))


def test_new_music_keeps_the_velocity_that_the_prompt_ended_with(model):
    prompt = random_notes(8)
    prompt["velocity"] = 100
    whole, new = (
        model.generate(prompt, seconds=4, seed=3, strip_prompt=strip)
        for strip in (False, True)
    )
    whole = whole[whole["start"] > prompt["end"].max() + 0.2]
    new = new[-len(whole) :]
    assert len(whole) > 0
    np.testing.assert_array_equal(new["pitch"], whole["pitch"])
    np.testing.assert_array_equal(new["velocity"], whole["velocity"])


def test_without_a_start_token_a_piece_still_begins(model, monkeypatch):
    monkeypatch.setattr(model.preprocessor, "add_start_token", False)
    for prompt in (None, [[5, 6], []]):
        assert len(model.generate(prompt, max_length=30, seed=0)) > 0


def test_the_output_is_what_was_asked_for(model):
    notes = model.generate(max_length=80, seed=0)
    assert notes.dtype == NOTE_DTYPE
    midi = model.generate(max_length=80, seed=0, output="midi")
    assert isinstance(midi, miditoolkit.MidiFile)
    assert len(midi.instruments[0].notes) == len(notes)
    assert len(model.generate([[], []], max_length=80, seed=0)) == 2


@pytest.mark.parametrize(
    "sampler",
    [
        *map(
            once,
            (
                "greedy",
                "random",
                keras_hub.samplers.TopKSampler(k=4, seed=0),
                keras_hub.samplers.TopPSampler(p=0.5, seed=0),
                MinPSampler(0.1, temperature=0.9, seed=0),
            ),
        ),
        # These make whole pieces.
        keras_hub.samplers.BeamSampler(num_beams=3),
        keras_hub.samplers.ContrastiveSampler(k=3, alpha=0.5),
    ],
)
def test_each_sampler_runs(model, sampler):
    ids = model.generate(
        random_ids(6), max_length=20, sampler=sampler, output="ids",
        stop_token_ids=None,
    )  # fmt: skip
    assert len(ids) == 19
    assert ids.min() >= 3  # No special id is ever sampled.


def test_a_stop_id_ends_a_piece(model):
    settings = {"sampler": "greedy", "output": "ids", "grammar": False}
    free = model.generate(max_length=40, **settings)
    stop = int(free[10])
    ids = model.generate(max_length=40, stop_token_ids=[stop], **settings)
    first = int(np.argmax(free == stop))
    np.testing.assert_array_equal(ids, free[:first])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"output": "wav"}, "'notes', 'midi', 'ids' or.*'wav'"),
        ({"seconds": -1}, "above 0.*-1"),
        ({"inputs": [5, 6, 7], "max_length": 3}, "length, 4,.*max_length=3"),
        ({"inputs": [5, 1000]}, "^Event ids.*below 391.*1000"),
        ({"seconds": 1e9}, "at most 7200"),
        ({"stop_token_ids": [5000]}, "below 391.*5000"),
        ({"max_length": 20.5}, "integer above.*20.5"),
        ({"max_length": 10**12}, "at most 10,000,000.*max_length=1000000"),
        ({"variations": 10**6}, "at most 1,000.*variations=1000000"),
        ({"temperature": 1e-45}, "at least 0.001.*1e-45"),
        ({"temperature": float("inf")}, "at most 1,000.*inf"),
        ({"repeat_penalty": 1e39}, "at most 1,000.*1e[+]39"),
        ({"sampler": "beam", "max_length": 100}, "at most 48.*100"),
        ({"sampler": 3}, "`sampler` must be.*3"),
        ({"stop_token_ids": "end"}, "`stop_token_ids` must be ids.*'end'"),
        ({"seed": 1.5}, "`seed` must be an integer.*1.5"),
        ({"top_k": 2.5}, "`top_k` must be a positive integer.*2.5"),
        ({"top_k": 2, "min_p": 0.1}, "at most one of.*'top_k': 2"),
        ({"top_k": 2, "sampler": "greedy"}, "`sampler` has its own `top_k`"),
    ],
)
def test_generate_names_a_bad_argument(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"inputs": 40}, "`inputs`.*by name: seconds=40"),
        ({"inputs": {}}, "`inputs` must be a performance.*dict"),
        ({"inputs": [object()]}, "`inputs` must be a performance.*object"),
        ({"seconds": "40"}, r"`seconds` must be a number.*'40'"),
        ({"seconds": True}, "`seconds`.*True"),
        ({"variations": "2"}, "`variations` must be a positive.*'2'"),
        ({"inputs": [5], "prompt_seconds": "1"}, "`prompt_seconds`.*'1'"),
        ({"seed": "a"}, "`seed` must be an integer.*'a'"),
        ({"repeat_penalty": "x"}, "`repeat_penalty` must be a number.*'x'"),
        ({"temperature": "hot"}, "`temperature` must be a number.*'hot'"),
        ({"ending": "yes", "seconds": 1}, "`ending` must be True or.*'yes'"),
        ({"strip_prompt": 1}, "`strip_prompt` must be True or False.*1"),
        ({"progress": 3}, "`progress` must be a function or None.*3"),
        ({"on_events": 3}, "`on_events` must be a function or None.*3"),
        ({"prompt_cache": 3}, "`prompt_cache` must be a `PromptCache`.*3"),
    ],
)
def test_generate_names_an_argument_of_the_wrong_type(
    model, arguments, message
):
    with pytest.raises(TypeError, match=message):
        model.generate(**arguments)


def test_no_list_and_an_empty_list_are_no_prompt(model):
    settings = {"seconds": 1, "seed": 3}
    new = model.generate(**settings)
    for nothing in ([], (), np.zeros(0, "int32"), np.zeros(0, NOTE_DTYPE)):
        piece = model.generate(nothing, **settings)
        np.testing.assert_array_equal(piece, new)
    (alone,) = model.generate([[]], **settings)
    np.testing.assert_array_equal(alone, new)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7},
        {"min_p": 0.2},
        {"top_p": 0.6},
        once({"top_k": 3}),
    ],
)
def test_generate_takes_the_settings_of_a_sampler(model, settings):
    given = {"max_length": 40, "seed": 2, "output": "ids"}
    sampler = build_sampler(**settings)
    np.testing.assert_array_equal(
        model.generate(**settings, **given),
        model.generate(sampler=sampler, **given),
    )
    stream = model.stream(**settings, seed=2)
    expected = model.stream(sampler=sampler, seed=2)
    for event, other in itertools.islice(zip(stream, expected), 30):
        assert event == other


def test_a_broken_prompt_raises_midi_error(model):
    with pytest.raises(MidiError):
        model.generate(b"MThd, but nothing more")
    with pytest.raises(FileNotFoundError, match="no_such_file.mid"):
        model.generate("no_such_file.mid")


def test_weights_that_are_not_finite_are_named(model):
    broken = build_model()
    weights = broken.get_weights()
    weights[3][-1] = np.nan
    broken.set_weights(weights)
    for sampler in ("greedy", "beam"):
        with pytest.raises(ValueError, match="finite.*self_attention/query"):
            broken.generate(max_length=10, sampler=sampler)
    with pytest.raises(ValueError, match="finite.*self_attention/query"):
        next(broken.stream(seed=1))


def test_top_k_above_the_vocabulary_keeps_all(model):
    asked = {"max_length": 12, "seed": 1, "output": "ids"}
    made = [model.generate(top_k=k, **asked) for k in (391, 10**12)]
    np.testing.assert_array_equal(*made)


@pytest.mark.skipif(keras.config.backend() != "torch", reason="is about torch")
@pytest.mark.parametrize("temperature, min_p", [(1.0, 0.0), (0.7, 0.05)])
def test_draws_without_keras_are_those_of_the_sampler(temperature, min_p):
    settings = {"temperature": temperature, "min_p": min_p, "seed": 3}
    sampler = FieldSamplers(
        shift=build_sampler(**settings),
        pitch=build_sampler(top_k=5, seed=4),
        default=build_sampler(top_p=0.9, seed=5),
    )
    values, rng = take(sampler, seed=11), np.random.default_rng(0)
    slow, fast = (kind(sampler, values) for kind in (Draws, HostDraws))
    carried = [slow.carried, fast.carried]
    for field in ("shift", "pitch", "duration", None) * 5:
        logits = rng.normal(0, 3, (4, 90)).astype("float32")
        found = []
        for i, draws in enumerate((slow, fast)):
            if field is None:
                new, carried[i] = draws.uniform(7, carried[i])
            else:
                new, carried[i] = draws.draw(logits, carried[i], field=field)
            found.append(keras.ops.convert_to_numpy(new))
        np.testing.assert_array_equal(*found, strict=True)
    for one, other in zip(
        slow.values(carried[0]), fast.values(carried[1]), strict=True
    ):
        assert one.dtype == other.dtype
        assert one.tolist() == other.tolist()


def test_min_p_keeps_ids_near_the_likeliest():
    sampler = MinPSampler(min_p=0.25, seed=0)
    probabilities = np.tile([[0.5, 0.3, 0.12, 0.08]], (4000, 1))
    drawn = keras.ops.convert_to_numpy(
        sampler.get_next_token(probabilities.astype("float32"))
    )
    counts = np.bincount(drawn, minlength=4)
    # 0.12 is below a quarter of 0.5; 0.5 : 0.3 is kept.
    assert counts[2] == counts[3] == 0
    np.testing.assert_allclose(counts[0] / 4000, 0.625, atol=0.03)


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"min_p": 1.5},
        {"top_p": 0},
        {"top_k": 0},
        {"top_k": 4, "top_p": 0.5},
    ],
)
def test_a_sampler_s_settings_are_checked(settings):
    with pytest.raises(ValueError, match="Received"):
        build_sampler(**settings)
