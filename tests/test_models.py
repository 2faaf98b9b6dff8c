"""The model as its users meet it: fit, generate, save, load."""

import hashlib
import http.server
import io
import os
import random
import shutil
import subprocess
import sys
import threading

import keras
import keras_hub
import miditoolkit
import numpy as np
import pytest

from keras_pianogen.events import EventVocabulary
from keras_pianogen.layers import DecoderBlock
from keras_pianogen.midi import NOTE_DTYPE
from keras_pianogen.midi import MidiError
from keras_pianogen.midi import read_notes
from keras_pianogen.midi import write_midi
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.models import PromptCache
from keras_pianogen.models import presets
from keras_pianogen.samplers import MinPSampler
from keras_pianogen.samplers import build_sampler

CONTEXT = 48


def build_model(seed=0, context=CONTEXT, **kwargs):
    keras.utils.set_random_seed(seed)
    vocabulary = EventVocabulary.named("magenta")
    backbone = MusicTransformerBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=context,
        **kwargs,
    )
    # Large weights, so that the likeliest event is never a near tie.
    backbone.set_weights([w * 2 for w in backbone.get_weights()])
    preprocessor = MusicTransformerCausalLMPreprocessor(
        PerformanceTokenizer.from_vocabulary(vocabulary),
        sequence_length=context,
    )
    return MusicTransformerCausalLM(backbone, preprocessor)


@pytest.fixture(scope="module")
def model():
    return build_model()


def random_notes(count=40, seed=0):
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.sort(rng.uniform(0, count / 8, count)).round(2)
    notes["end"] = notes["start"] + 0.2
    notes["pitch"] = 40 + np.arange(count) % 40
    notes["velocity"] = rng.integers(30, 100, count)
    return notes


def random_ids(count, seed=0):
    return np.random.default_rng(seed).integers(3, 391, count).astype("int32")


def logits_of(model, ids):
    """Logits by a full forward over the start id and `ids`."""
    vocabulary = model.preprocessor.tokenizer.vocabulary
    ids = np.concatenate([[vocabulary.start_id], ids])[None]
    x = {"token_ids": ids, "padding_mask": np.ones(ids.shape, bool)}
    return model.predict(x, verbose=0)[0]


# === Tokenizer and preprocessor ===


def test_every_form_of_a_performance_gives_the_same_ids(tmp_path):
    # On the vocabulary's own grid of 10 ms, where nothing is rounded.
    vocabulary = EventVocabulary.named("magenta")
    tokenizer = PerformanceTokenizer.from_vocabulary(vocabulary)
    notes = random_notes()
    path = tmp_path / "a.mid"
    midi = write_midi(notes, path)
    ids = tokenizer(read_notes(path))
    for source in (path, str(path), path.read_bytes(), midi, ids, list(ids)):
        np.testing.assert_array_equal(tokenizer(source), ids)
    for batch in ([path, str(path)], [notes, notes], [midi], [ids, ids]):
        for row in tokenizer(batch):
            np.testing.assert_array_equal(row, ids)


def test_an_id_outside_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="below 416.*999"):
        PerformanceTokenizer()([5, 999])


def test_windows_hold_every_event_as_a_target_once(model):
    preprocessor = model.preprocessor
    pieces = [random_ids(100, 1), random_ids(48, 2), random_ids(3, 3)]
    _, y, weight = preprocessor.windows(pieces, sequence_length=16)
    end = preprocessor.tokenizer.end_token_id
    expected = np.concatenate([np.append(p, end) for p in pieces])
    np.testing.assert_array_equal(y[weight > 0], expected)


def test_a_prompt_s_notes_come_back(model):
    notes = random_notes()
    prompt = model.preprocessor.generate_preprocess(notes)
    (back,) = model.preprocessor.generate_postprocess(prompt)
    np.testing.assert_array_equal(back["pitch"], notes["pitch"])
    np.testing.assert_allclose(back["start"], notes["start"], atol=0.005)


# === Training ===


def batches(model, count=3):
    return model.preprocessor.windows(
        [random_ids(CONTEXT * 2 - 1, seed) for seed in range(count)]
    )


class Batches(keras.utils.PyDataset):
    def __init__(self, arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return len(self.arrays[1])

    def __getitem__(self, index):
        x, y, weight = self.arrays
        row = slice(index, index + 1)
        return {k: v[row] for k, v in x.items()}, y[row], weight[row]


@pytest.mark.parametrize("form", ["arrays", "dataset", "tf.data", "midi"])
def test_fit_and_evaluate_take(form, tmp_path):
    model = build_model()
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    x, y, weight = batches(model)
    if form == "arrays":
        data = {"x": x, "y": y, "sample_weight": weight, "batch_size": 1}
    elif form == "dataset":
        data = {"x": Batches((x, y, weight))}
    elif form == "tf.data":
        tf = pytest.importorskip("tensorflow")
        dataset = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(1)
        data = {"x": dataset}
    else:
        paths = [tmp_path / f"{i}.mid" for i in range(2)]
        for i, path in enumerate(paths):
            write_midi(random_notes(seed=i), path)
        data = {"x": [str(path) for path in paths], "batch_size": 1}
    before = model.evaluate(**data, verbose=0, return_dict=True)
    history = model.fit(**data, epochs=3, verbose=0)
    after = model.evaluate(**data, verbose=0, return_dict=True)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert after["nats_per_event"] < before["nats_per_event"]


def test_validation_data_may_be_performances():
    model = build_model()
    history = model.fit(
        random_notes(), validation_data=[random_notes(seed=1)], verbose=0
    )
    assert np.isfinite(history.history["val_nats_per_event"]).all()


def test_padding_counts_for_nothing_in_the_loss():
    model = build_model(dropout=0.0)
    short = model.evaluate(random_ids(20), verbose=0, return_dict=True)
    x, y, weight = model.preprocessor.windows(random_ids(20))
    exact = keras.ops.convert_to_numpy(
        keras.losses.sparse_categorical_crossentropy(
            y[:, :21],
            model.predict(x, verbose=0)[:, :21],
            from_logits=True,
        )
    ).mean()
    np.testing.assert_allclose(short["loss"], exact, rtol=1e-4)
    np.testing.assert_allclose(short["nats_per_event"], exact, rtol=1e-4)


# === Sampling ===


def test_cached_logits_equal_a_full_forward_past_the_window():
    model = build_model(context=20)
    ids = random_ids(70)
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


@pytest.mark.parametrize(
    "settings",
    [{}, {"local_block_size": 5, "attend_previous_block": True}],
    ids=["global", "local"],
)
def test_prompts_read_part_by_part_equal_a_full_forward(settings):
    model = build_model(context=20, **settings)
    ids, start = random_ids(70), model.preprocessor.tokenizer.start_token_id
    prompt = np.concatenate([[start], ids])[None].astype("int32")
    cache = model.build_cache(1)
    for first, stop in ((0, 8), (8, 13), (13, 45), (45, 70)):
        new = np.zeros((1, 32), "int32")
        new[:, : stop - first] = prompt[:, first:stop]
        inputs = {"cache": cache, "position": first, "count": stop - first}
        cache = model.generate_step(inputs | {"prompt": new})["cache"]
    logits, _, _ = model.call_with_cache(prompt[:, 70:], cache, 70)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(logits)[0, 0],
        logits_of(model, ids)[-1],
        atol=1e-4,
    )


@pytest.mark.parametrize("context", [20, 200])
@pytest.mark.parametrize("prompt_length", [0, 40, 70, 140])
def test_greedy_sampling_takes_the_likeliest_event_of_a_full_forward(
    prompt_length, context
):
    model = build_model(context=context)
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
    model = build_model(context=200)
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
def test_another_length_or_prompt_compiles_nothing_anew():
    model = build_model(context=200)
    step, traced = model.generate_step, []

    def counted(inputs, stop_token_ids=None):
        traced.append("prompt" in inputs)
        return step(inputs, stop_token_ids)

    model.generate_step = counted
    model.generate(random_ids(70), seconds=2, seed=0)
    assert sorted(traced) == [False, True]  # The loop, the prompt's reading.
    model.generate(random_ids(300, 1), seconds=9, ending=False, seed=1)
    model.generate(random_ids(70, 2), max_length=300, stop_token_ids=None)
    model.generate(random_ids(30), seconds=3, repeat_penalty=0.2)
    assert len(traced) == 2


def watch_readings(model):
    """A list that grows by the prompts' rows and events of each reading."""
    make, found = model.make_generate_function, []

    def make_watched():
        step = make()

        def generate_function(inputs, **kwargs):
            if "count" in inputs:
                found.append((len(inputs["prompt"]), int(inputs["count"])))
            return step(inputs, **kwargs)

        return generate_function

    model.make_generate_function = make_watched
    return found


def test_a_prompt_cache_changes_nothing_but_what_is_read():
    model = build_model(context=100)
    readings = watch_readings(model)
    long, cache = random_ids(420), PromptCache()
    settings = {"max_length": 500, "seed": 0, "output": "ids"}
    expected = {n: model.generate(long[:n], **settings) for n in (250, 420)}
    readings.clear()

    def piece(length):
        return model.generate(long[:length], prompt_cache=cache, **settings)

    # Both blocks together reach 200 events back.
    np.testing.assert_array_equal(piece(250), expected[250])
    assert readings == [(1, 128), (1, 71)]
    np.testing.assert_array_equal(piece(250), expected[250])
    assert readings == [(1, 128), (1, 71)]
    np.testing.assert_array_equal(piece(420), expected[420])
    assert readings == [(1, 128), (1, 71), (1, 128), (1, 42)]
    np.testing.assert_array_equal(piece(250), expected[250])
    assert len(readings) == 4
    # Other weights, and another model.
    embeddings = model.backbone.token_embedding.embeddings
    embeddings.assign(embeddings * 1.1)
    changed = piece(250)
    assert readings[4:] == [(1, 128), (1, 71)]
    np.testing.assert_array_equal(
        changed, model.generate(long[:250], **settings)
    )
    other = build_model(context=100, seed=1)
    np.testing.assert_array_equal(
        other.generate(long[:250], prompt_cache=cache, **settings),
        other.generate(long[:250], **settings),
    )


def test_a_prompt_cache_keeps_the_latest():
    model = build_model(context=200)
    readings, cache = watch_readings(model), PromptCache(size=2)
    first, second, third = (random_ids(100, seed) for seed in range(3))
    for prompt in (first, second, first, third, first):
        model.read(prompt, cache)
    assert len(readings) == 3
    model.read(second, cache)
    assert len(readings) == 4


def test_reading_that_was_stopped_goes_on_where_it_was():
    model = build_model(context=400)
    readings, cache = watch_readings(model), PromptCache()
    prompt, seen = random_ids(300), []

    def stop(pieces):
        seen.append(len(pieces[0]))
        if len(seen) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        model.read(prompt, cache, on_events=stop)
    assert seen == [128, 256]
    model.read(prompt, cache)
    assert readings == [(1, 128), (1, 128), (1, 44)]


def test_what_was_read_for_a_longer_prompt_may_begin_too_late():
    model = build_model(context=200)  # Both blocks reach 400 events back.
    readings, cache = watch_readings(model), PromptCache()
    prompt = random_ids(1000)

    def stop(pieces):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        model.read(prompt, cache, on_events=stop)
    assert readings == [(1, 128)]  # From 601 to 728.
    settings = {"max_length": 800, "seed": 0, "output": "ids"}
    np.testing.assert_array_equal(
        model.generate(prompt[:740], prompt_cache=cache, **settings),
        model.generate(prompt[:740], **settings),
    )
    assert sum(count for _, count in readings[1:]) == 2 * 399


def test_a_reading_that_is_finished_takes_one_place():
    model = build_model(context=400)
    readings, cache = watch_readings(model), PromptCache(size=2)
    first, second = random_ids(300, 1), random_ids(300, 2)

    def stop(pieces):
        raise InterruptedError

    model.read(first, cache)
    for _ in range(2):
        with pytest.raises(InterruptedError):
            model.read(second, cache, on_events=stop)
    model.read(second, cache)
    count = len(readings)
    model.read(first, cache)
    model.read(second, cache)
    assert len(readings) == count


def test_a_prompt_is_read_for_samplers_that_draw_event_by_event(model):
    with pytest.raises(ValueError, match="event by event.*BeamSampler"):
        model.read(random_ids(10), PromptCache(), sampler="beam")
    with pytest.raises(ValueError, match="prompt_seconds=-1"):
        model.read(random_ids(10), PromptCache(), prompt_seconds=-1)


def test_equal_prompts_are_read_once():
    model = build_model(context=200)
    prompts = [random_ids(100, seed) for seed in (1, 0, 1)]
    settings = {
        "max_length": 120,
        "sampler": "greedy",
        "output": "ids",
        "stop_token_ids": None,
    }
    expected = [model.generate(prompt, **settings) for prompt in prompts]
    readings = watch_readings(model)
    together = model.generate(prompts, **settings)
    assert readings == [(2, 100)]
    for piece, alone in zip(together, expected, strict=True):
        np.testing.assert_array_equal(piece, alone)


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


def test_without_a_start_token_a_piece_still_begins():
    model = build_model()
    model.preprocessor.add_start_token = False
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
        "greedy",
        "random",
        keras_hub.samplers.TopKSampler(k=4, seed=0),
        keras_hub.samplers.TopPSampler(p=0.5, seed=0),
        keras_hub.samplers.BeamSampler(num_beams=3),
        keras_hub.samplers.ContrastiveSampler(k=3, alpha=0.5),
        MinPSampler(0.1, temperature=0.9, seed=0),
    ],
)
def test_each_sampler_runs(model, sampler):
    ids = model.generate(
        random_ids(6), max_length=20, sampler=sampler, output="ids",
        stop_token_ids=None,
    )  # fmt: skip
    assert len(ids) == 19
    assert ids.min() >= 3  # No special id is ever sampled.


def test_a_stop_id_ends_a_piece():
    model = build_model()
    settings = {"sampler": "greedy", "output": "ids", "grammar": False}
    free = model.generate(max_length=40, **settings)
    stop = int(free[10])
    ids = model.generate(max_length=40, stop_token_ids=[stop], **settings)
    first = int(np.argmax(free == stop))
    np.testing.assert_array_equal(ids, free[:first])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"output": "wav"}, "'notes', 'midi' or 'ids'.*'wav'"),
        ({"seconds": -1}, "above 0.*-1"),
        ({"inputs": [5, 6, 7], "max_length": 3}, "4 events.*max_length=3"),
        ({"inputs": [5, 1000]}, "^Event ids.*below 391.*1000"),
        ({"seconds": 1e9}, "at most 7200"),
        ({"stop_token_ids": [5000]}, "below 391.*5000"),
        ({"max_length": 20.5}, "integer above.*20.5"),
        ({"sampler": "beam", "max_length": 100}, "at most 48.*100"),
    ],
)
def test_generate_names_a_bad_argument(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)


def test_a_broken_prompt_raises_midi_error(model):
    with pytest.raises(MidiError):
        model.generate(b"MThd, but nothing more")
    with pytest.raises(FileNotFoundError, match="no_such_file.mid"):
        model.generate("no_such_file.mid")


def test_a_tokenizer_must_fit_its_backbone():
    model = build_model()
    preprocessor = MusicTransformerCausalLMPreprocessor(PerformanceTokenizer())
    with pytest.raises(ValueError, match="416.*vocabulary_size=391"):
        MusicTransformerCausalLM(model.backbone, preprocessor)


@pytest.mark.parametrize("build", [build_model, DecoderBlock])
def test_the_previous_block_needs_blocks(build):
    sizes = {"intermediate_dim": 8, "num_heads": 2}
    settings = sizes if build is DecoderBlock else {}
    with pytest.raises(ValueError, match="needs `local_block_size`.*True"):
        build(attend_previous_block=True, **settings)


def test_nothing_to_train_on_is_an_error(model):
    with pytest.raises(ValueError, match="at least one performance"):
        model.fit([])


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


# === Saving ===


def test_a_preset_gives_the_same_logits_back(tmp_path):
    model = build_model()
    folder = str(tmp_path / "preset")
    model.save_to_preset(folder)
    ids = random_ids(60)
    expected = logits_of(model, ids)
    for cls in (MusicTransformerCausalLM, keras_hub.models.CausalLM):
        loaded = cls.from_preset(folder)
        assert type(loaded) is MusicTransformerCausalLM
        assert loaded.preprocessor.tokenizer.get_config()["max_shift"] == 100
        np.testing.assert_array_equal(logits_of(loaded, ids), expected)
    backbone = MusicTransformerBackbone.from_preset(folder)
    for ours, theirs in zip(
        backbone.get_weights(), model.backbone.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_half_precision_preset_loads_in_the_current_one(tmp_path):
    model = build_model()
    model.save_to_preset(str(tmp_path / "a"))
    half = MusicTransformerCausalLM.from_preset(tmp_path / "a", dtype="float16")
    half.save_to_preset(str(tmp_path / "b"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "b")
    assert loaded.backbone.token_embedding.embeddings.dtype == "float32"
    np.testing.assert_allclose(
        logits_of(loaded, random_ids(40)),
        logits_of(model, random_ids(40)),
        atol=0.05,
    )


@pytest.mark.parametrize("source", ["no_such_preset", "/no/such/folder"])
def test_an_unknown_preset_is_named(source):
    with pytest.raises(ValueError, match=source):
        MusicTransformerCausalLM.from_preset(source)


@pytest.fixture
def copied_preset(tmp_path, monkeypatch):
    """A copy of the bundled preset, which the package takes for its own."""
    name = "music_transformer_maestro"
    shutil.copytree(presets.FOLDER / name, tmp_path / name)
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    return tmp_path / name


def flip(path, rng):
    """Flip a random bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def test_a_hundred_flipped_bits_are_a_hundred_refusals(copied_preset, tmp_path):
    build_model().save_to_preset(str(tmp_path / "own"))
    rng = random.Random(0)
    for folder, name in (
        (copied_preset, copied_preset.name),
        (tmp_path / "own", tmp_path / "own"),
    ):
        files = [p for p in folder.iterdir() if p.suffix in (".json", ".h5")]
        assert len(files) >= 6
        for i in range(50):
            path = files[i % len(files)]
            content = path.read_bytes()
            flip(path, rng)
            with pytest.raises(ValueError, match=f"damaged: .*{path.name}"):
                MusicTransformerCausalLM.from_preset(name)
            path.write_bytes(content)
        presets.locate(name)


def test_truncated_and_missing_files_are_named(copied_preset, tmp_path):
    build_model().save_to_preset(str(tmp_path / "own"))
    for folder, name in (
        (copied_preset, copied_preset.name),
        (tmp_path / "own", tmp_path / "own"),
    ):
        weights = folder / "model.weights.h5"
        weights.write_bytes(weights.read_bytes()[:-1])
        with pytest.raises(ValueError, match="damaged: .*model.weights.h5"):
            MusicTransformerBackbone.from_preset(name)
        weights.unlink()
        with pytest.raises(ValueError, match="incomplete: .*model.weights.h5"):
            MusicTransformerCausalLM.from_preset(name)


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_sums_are_those_of_sha256sum(tmp_path):
    build_model().save_to_preset(str(tmp_path))
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", presets.SUMS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert "model.weights.h5: OK" in checked.stdout
    for damaged in ("nonsense\n", ""):
        (tmp_path / presets.SUMS).write_text(damaged)
        with pytest.raises(ValueError, match="lines of a sha256"):
            MusicTransformerCausalLM.from_preset(tmp_path)


def test_a_preset_without_sums_is_loaded_with_a_warning(tmp_path):
    build_model().save_to_preset(str(tmp_path))
    (tmp_path / presets.SUMS).unlink()
    with pytest.warns(UserWarning, match=f"{tmp_path} is loaded unchecked"):
        MusicTransformerCausalLM.from_preset(tmp_path)


def test_lora_trains_few_weights_and_changes_the_model():
    model = build_model()
    model.backbone.enable_lora(2)
    trainable = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert trainable < model.count_params() / 2
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    ids = random_ids(CONTEXT * 2)
    before = logits_of(model, ids)
    model.generate(max_length=10, sampler="greedy")
    model.fit(ids, batch_size=1, verbose=0)
    after = logits_of(model, ids)
    assert np.abs(after - before).max() > 1e-3
    # What sampling uses is what training changed.
    greedy = model.generate(
        max_length=30, sampler="greedy", output="ids", stop_token_ids=None,
        grammar=False,
    )  # fmt: skip
    likeliest = logits_of(model, greedy)[:, 3:].argmax(axis=-1) + 3
    np.testing.assert_array_equal(greedy, likeliest[:-1])


# Layers that take LoRA: KerasHub's choice, and all of them.
LORA_LAYERS = {
    "query and value": None,
    "all": [
        "query",
        "key",
        "value",
        "attention_output",
        "feedforward_intermediate_dense",
        "feedforward_output_dense",
    ],
}


def with_lora(names, seed=0):
    """A model whose LoRA weights have been trained, and change it a lot."""
    model = build_model(seed)
    model.backbone.enable_lora(2, target_layer_names=LORA_LAYERS[names])
    model.compile(optimizer=keras.optimizers.Adam(3e-2))
    model.fit(random_ids(CONTEXT * 2), batch_size=1, verbose=0)
    return model


@pytest.mark.parametrize("names", LORA_LAYERS)
def test_lora_weights_saved_alone_give_the_same_model_back(names, tmp_path):
    before = logits_of(build_model(), random_ids(CONTEXT))
    model = with_lora(names)
    weights = model.trainable_weights
    assert {weight.name for weight in weights} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    assert len(weights) == 2 * 2 * len(LORA_LAYERS[names] or "qv")
    logits = logits_of(model, random_ids(CONTEXT))
    assert np.abs(logits - before).max() > 0.1
    model.backbone.save_lora_weights(tmp_path / "my.lora.h5")
    loaded = build_model()
    if names == "all":
        loaded.backbone.enable_lora(2, target_layer_names=LORA_LAYERS[names])
    loaded.backbone.load_lora_weights(tmp_path / "my.lora.h5")
    again = logits_of(loaded, random_ids(CONTEXT))
    np.testing.assert_allclose(again, logits, atol=1e-5)


def test_a_preset_has_lora_in_its_kernels(tmp_path):
    model = with_lora("all")
    model.save_to_preset(str(tmp_path / "preset"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "preset")
    ids = random_ids(CONTEXT)
    logits = logits_of(loaded, ids)
    np.testing.assert_allclose(logits, logits_of(model, ids), atol=1e-5)
    assert len(loaded.weights) == len(build_model().weights)


@pytest.mark.filterwarnings(
    "ignore:.*`quantize` method implemented",
    "ignore:.*The use of `x.T`:UserWarning",
)
@pytest.mark.parametrize(
    "order",
    [
        "lora",
        "lora, int8",
        pytest.param("int8, lora", marks=pytest.mark.slow_to_trace),
    ],
)
def test_what_is_sampled_is_likeliest_in_a_full_forward_with_lora(order):
    if order == "int8, lora":
        model = build_model()
        model.quantize("int8")
        model.backbone.enable_lora(2, target_layer_names=LORA_LAYERS["all"])
        model.compile(optimizer=keras.optimizers.Adam(3e-2))
        before = logits_of(model, random_ids(CONTEXT))
        model.fit(random_ids(CONTEXT * 2), batch_size=1, verbose=0)
        after = logits_of(model, random_ids(CONTEXT))
        assert np.abs(after - before).max() > 0.1
    else:
        model = with_lora("all")
        before = logits_of(model, random_ids(CONTEXT))
        if order == "lora, int8":
            model.quantize("int8")
        after = logits_of(model, random_ids(CONTEXT))
        assert np.abs(after - before).mean() < 0.1 * before.std()
    greedy = model.generate(
        max_length=CONTEXT - 1, sampler="greedy", output="ids",
        stop_token_ids=None, grammar=False,
    )  # fmt: skip
    # Special ids are never sampled. int8 rounds the two ways' inputs apart.
    logits = logits_of(model, greedy)[:-1, 3:]
    gap = logits.max(-1) - logits[np.arange(len(greedy)), greedy - 3]
    assert gap.max() <= (1e-5 if order == "lora" else 0.05 * logits.std())


@pytest.mark.filterwarnings(
    "ignore:.*`quantize` method implemented",
    "ignore:.*The use of `x.T`:UserWarning",
)
def test_int8_stays_near_and_comes_back_from_a_preset(tmp_path):
    model = build_model()
    ids = random_ids(40)
    before = logits_of(model, ids)
    model.quantize("int8")
    after = logits_of(model, ids)
    # Compared with the spread of the logits themselves.
    assert np.abs(after - before).mean() < 0.1 * before.std()
    model.save_to_preset(str(tmp_path / "int8"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "int8")
    np.testing.assert_allclose(logits_of(loaded, ids), after, atol=1e-4)
    assert len(loaded.generate(max_length=30, seed=0, output="ids")) > 0


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_bfloat16_models_train_and_generate(dtype):
    model = build_model(dtype=dtype)
    data = model.preprocessor.windows(random_ids(100))
    history = model.fit(*data[:2], sample_weight=data[2], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    # Keras's accuracy compares ids in the logits' dtype.
    x, y, weight = data
    logits = model.predict(x, verbose=0)
    assert logits.dtype == "float32"
    expected = ((logits.argmax(-1) == y) * weight).sum() / weight.sum()
    figures = model.evaluate(x, y, weight, verbose=0, return_dict=True)
    np.testing.assert_allclose(figures["accuracy"], expected, atol=1e-6)
    for length in (0, 100):
        ids = model.generate(
            random_ids(length), max_length=length + 40, seed=0, output="ids",
            stop_token_ids=None,
        )  # fmt: skip
        assert len(ids) == length + 39


HUB = """
from keras_pianogen.models import MusicTransformerCausalLM
model = MusicTransformerCausalLM.from_preset("hf://someone/some-model")
print(sum(float(abs(w).sum()) for w in model.get_weights()))
try:
    MusicTransformerCausalLM.from_preset("hf://someone/damaged")
except ValueError as error:
    print(error)
"""


def test_a_preset_comes_from_a_hugging_face_handle_and_is_verified(tmp_path):
    model = build_model()
    for name in ("some-model", "damaged"):
        model.save_to_preset(str(tmp_path / name))
    flip(tmp_path / "damaged" / "model.weights.h5", random.Random(0))

    class Hub(http.server.SimpleHTTPRequestHandler):
        """The hub's file addresses: /USER/MODEL/resolve/main/FILE."""

        def send_head(self):
            name = self.path.replace("/resolve/main/", "/")
            path = tmp_path / name.removeprefix("/someone/")
            if not path.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return io.BytesIO(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        loaded = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", HUB],
            env=os.environ
            | {
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                "HF_HOME": str(tmp_path / "hub"),
                "HF_HUB_DISABLE_XET": "1",
            },
            capture_output=True,
            text=True,
        )
        server.shutdown()
    assert loaded.returncode == 0, loaded.stderr
    expected = sum(float(abs(w).sum()) for w in model.get_weights())
    printed, refused = loaded.stdout.splitlines()
    np.testing.assert_allclose(float(printed), expected, rtol=1e-6)
    assert "damaged is damaged" in refused and "model.weights.h5" in refused


def test_a_local_model_comes_back_from_a_preset_and_samples_as_it_sees(
    tmp_path,
):
    model = build_model(
        context=20, local_block_size=8, attend_previous_block=True
    )
    model.save_to_preset(str(tmp_path / "local"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "local")
    config = loaded.backbone.get_config()
    assert config["local_block_size"] == 8 and config["attend_previous_block"]
    prompt = random_ids(13)
    ids = loaded.generate(
        prompt, max_length=70, sampler="greedy", output="ids",
        stop_token_ids=None, grammar=False,
    )  # fmt: skip
    assert len(ids) == 69  # The start id is not returned.
    logits = logits_of(model, ids)
    np.testing.assert_array_equal(logits_of(loaded, ids), logits)
    likeliest = logits[:, 3:].argmax(axis=-1) + 3
    np.testing.assert_array_equal(ids[13:], likeliest[13:-1])
