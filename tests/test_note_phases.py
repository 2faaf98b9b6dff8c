"""Attention that is told how far notes are apart in time and in pitch."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from note_models import FORM
from note_models import build_note_model
from random_pieces import random_notes
from test_attention import once
from test_attention import random_arrays
from test_attention import run
from test_attention import twin as slow_twin
from test_note_generation import FREE
from test_note_generation import lag

from keras_pianogen.attention import dispatch
from keras_pianogen.generation import decoding
from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.layers.note_phases import LONGEST
from keras_pianogen.layers.note_phases import RELATIONS
from keras_pianogen.layers.note_phases import NotePhases
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.models.configs import check_configs
from keras_pianogen.training.recipe import Recipe

BOTH = "onset,pitch"
TIME = 15


def strong(layer):
    """Embeddings of distances so large that each of them matters."""
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        if weight.name in ("relative_embeddings", "phase_embeddings"):
            weight.assign(rng.normal(size=weight.shape))
    return layer


@pytest.fixture(scope="module")
def model():
    return strong(build_note_model(relations=BOTH))


@pytest.fixture(scope="module")
def rows():
    """Rows of a piece of `TIME` notes, the start of the piece among them."""
    piece = FORM.encode(random_notes(np.random.default_rng(0), TIME - 1))
    piece["shift"][8] = 50_000  # A long rest.
    rows = np.full((2, TIME, 4), -1, "int32")
    for i, name in enumerate(piece.dtype.names):
        rows[0, 1:, i] = piece[name]
    rows[1] = np.roll(rows[0], 7, axis=0)  # The start is in the middle.
    return rows


def whole(model, rows):
    classes = ops.convert_to_numpy(model.backbone.row_classes(rows))
    mask = np.ones(rows.shape[:2], bool)
    hidden = model.backbone({"notes": classes, "padding_mask": mask})
    return ops.convert_to_numpy(hidden)


# === The terms ===


def twin(layer, x, onsets, pitches):
    """Outputs of a layer, with a term for each pair of notes, in float64."""
    weights = {w.name: ops.convert_to_numpy(w) for w in layer.weights}

    def project(dense, x):
        return x @ ops.convert_to_numpy(dense.kernel).astype("float64")

    query, key, value = (
        project(part, x).reshape(len(x), layer.num_heads, -1)
        for part in (layer.query, layer.key, layer.value)
    )
    shape = (-1, layer.num_heads, layer.key_dim)
    relative, phased = (
        np.broadcast_to(weights[name], (len(weights[name]), *shape[1:]))
        for name in ("relative_embeddings", "phase_embeddings")
    )
    cosine, sine = np.split(phased, 2)
    time, outputs = len(x), []
    for i in range(time):
        near = range(max(0, i - layer.max_distance + 1), i + 1)
        logits = []
        for j in near:
            angles = []
            for kind, places in (("onset", onsets), ("pitch", pitches)):
                distance = int(places[i]) - int(places[j])
                turns = np.array(RELATIONS[kind].turns)
                periods = np.array(RELATIONS[kind].periods)
                angles.append(2 * np.pi * distance * turns / periods)
            angles = np.concatenate(angles)[:, None, None]
            embedding = (cosine * np.cos(angles)).sum(0)
            embedding += (sine * np.sin(angles)).sum(0)
            embedding += relative[layer.max_distance - 1 - (i - j)]
            logits.append((query[i] * (key[j] + embedding)).sum(-1))
        share = np.exp(np.array(logits) / layer.key_dim**0.5)
        share /= share.sum(0)  # (keys, heads)
        outputs.append(np.einsum("jh,jhd->hd", share, value[list(near)]))
    joined = np.reshape(outputs, (time, -1))
    return project(layer.attention_output, joined)


@pytest.mark.parametrize("share_heads", [False, once(True)])
def test_each_pair_of_notes_has_the_terms_of_its_distances(share_heads):
    layer = RelativeGlobalAttention(
        2, 4, max_distance=6, num_phases=22, share_heads=share_heads,
        use_bias=False,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 9, 8)).astype("float32")
    # Onsets go back once, as after the notes that follow a gap.
    onsets = np.array([[900, 903, 903, 4000, 0, 7, 7, 70_000, 70_001]], "int32")
    pitches = rng.integers(0, 128, (1, 9)).astype("int32")
    phases = NotePhases(BOTH, range(9)).at(
        ops.convert_to_tensor(onsets), ops.convert_to_tensor(pitches)
    )
    layer(x, phases=phases)
    found = strong(layer)(x, phases=phases)
    expected = twin(layer, x[0], onsets[0], pitches[0])
    found = ops.convert_to_numpy(found)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_no_phases_lie_in_the_default_layers():
    layer = RelativeGlobalAttention(2, 4)
    layer.build((None, None, 8))
    assert [w.name for w in layer.weights].count("phase_embeddings") == 0
    assert [x.shape[-1] for x in layer.build_cache(1)] == [4, 4]


def test_phases_stay_exact_when_a_clock_passes_its_largest_number():
    layer = NotePhases("onset", first_shifts=FORM.shift_code.firsts)
    classes = np.array([[[0, 60], [7, 60], [99, 60], [-1, -1]]])
    since = np.array([2**31 - 50], "int32")
    found = ops.convert_to_numpy(layer(classes, ops.convert_to_tensor(since)))
    onsets = 2**31 - 50 + np.cumsum([0, 7, 99])
    angles = 2 * np.pi * onsets[:, None] / np.array(RELATIONS["onset"].periods)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], -1)
    np.testing.assert_allclose(found[0, :3], expected, atol=1e-5)
    assert not found[0, 3].any()  # A start has none.


# Attention whose values are narrower than its keys, as phases make it.
@pytest.mark.parametrize("share_heads", [False, once(True)])
def test_values_may_be_narrower_than_keys(share_heads):
    upstream, query, key, value, relative = random_arrays(
        13, 6, share_heads=share_heads
    )
    narrow = upstream[..., :2], query, key, value[..., :2], relative
    mask = np.ones((2, 13), bool)
    mask[1, :3] = False
    found = run(dispatch.attend, narrow, mask, block_size=5)
    expected = slow_twin(*narrow, mask)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


# === With the cache ===


def test_the_cache_gives_what_the_whole_piece_gives(rows):
    model = strong(build_note_model(10, relations=BOTH))
    expected = whole(model, rows)
    # A prompt whose last part is padded; then one note after the other.
    cache, seen = model.build_cache(2), 0
    for stop in (7, 12):
        chunk = np.zeros((2, 7, 4), "int32")
        chunk[:, : stop - seen] = rows[:, seen:stop]
        prompt = decoding.Prompt(chunk, stop - seen, cache, seen)
        cache, seen = decoding.prefill(model, prompt), stop
    step = decoding.cached_step(model, cache, seen, TIME - seen)
    carried = step.carried
    for i in range(seen, TIME):
        last = ops.convert_to_tensor(rows[:, i : i + 1])
        found, carried = step(last, carried, i - seen)
        found = ops.convert_to_numpy(found)
        np.testing.assert_allclose(found, expected[:, i], atol=1e-4)
    *_, (onsets, _) = step.merge(carried, TIME - seen)
    shifts = FORM.shift_code.encode(np.maximum(rows[..., 0], 0))[0]
    shifts = np.minimum(FORM.shift_code.firsts[shifts], LONGEST)
    found = ops.convert_to_numpy(onsets)[:, 0, 0, 0]
    np.testing.assert_array_equal(found, shifts.sum(1))


@pytest.mark.slow_to_trace
def test_notes_drawn_greedily_are_the_likeliest_of_the_whole_piece(model):
    prompt = FORM.encode(random_notes(np.random.default_rng(1), 12, longest=3))
    rows = model.generate(prompt, max_length=30, sampler="greedy", **FREE)
    assert lag(model, rows, begin=12).max() < 1e-3
    assert len(np.unique(rows[12:])) > 2


@pytest.mark.one_backend
def test_int8_keeps_the_terms_with_and_without_a_cache():
    layer = RelativeGlobalAttention(2, 8, max_distance=6, num_phases=3)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 5, 16)).astype("float32")
    phases = rng.normal(size=(1, 5, 6)).astype("float32")
    layer(x, phases=phases)
    before = ops.convert_to_numpy(strong(layer)(x, phases=phases))
    for part in (layer.query, layer.key, layer.value, layer.attention_output):
        part.quantize("int8")
    after = ops.convert_to_numpy(layer(x, phases=phases))
    assert 0 < np.abs(after - before).mean() < 0.1 * before.std()
    cached, _ = layer(
        x, phases=phases, cache=layer.build_cache(1), cache_update_index=0
    )
    np.testing.assert_allclose(ops.convert_to_numpy(cached), after, atol=1e-5)


@pytest.mark.one_backend
def test_lora_trains_no_embeddings_of_phases():
    model = build_note_model(relations=BOTH)
    model.backbone.enable_lora(2)
    names = {w.path.split("/")[-1] for w in model.backbone.trainable_weights}
    assert names == {"lora_kernel_a", "lora_kernel_b"}


# === As a setting ===


def test_a_saved_model_has_its_relations(model, rows, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    again = NoteTransformerCausalLM.from_preset(tmp_path / "preset")
    assert again.backbone.relations == BOTH
    np.testing.assert_array_equal(whole(again, rows), whole(model, rows))
    path = tmp_path / "preset" / "config.json"
    config = json.loads(path.read_text())
    for wrong in ("pitch,onset", "loudness", ["onset"], None, 1):
        config["config"]["relations"] = wrong
        path.write_text(json.dumps(config))
        with pytest.raises(ValueError, match="`relations` must be"):
            check_configs(tmp_path / "preset")


@pytest.mark.one_backend
def test_training_changes_the_embeddings_of_phases():
    model = build_note_model(relations=BOTH)
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    (layer,) = model.backbone.transformer_layers
    before = ops.convert_to_numpy(layer.self_attention.phase_embeddings)
    before = before.copy()
    notes = random_notes(np.random.default_rng(0), 40)
    model.fit([notes], batch_size=2, epochs=1, verbose=0)
    after = ops.convert_to_numpy(layer.self_attention.phase_embeddings)
    assert (after != before).mean() > 0.9


@pytest.mark.one_backend
def test_a_recipe_has_relations_for_notes_alone():
    settings = {
        "num_layers": 1,
        "hidden_dim": 16,
        "num_heads": 2,
        "sequence_length": 16,
    }
    notes = Recipe.sized(
        architecture="note_transformer", relations="pitch", **settings
    )
    model = notes.build_model()
    assert model.backbone.relations == "pitch"
    assert Recipe.sized().with_shape_of(model).relations == "pitch"
    with pytest.raises(ValueError, match="`relations` is for"):
        Recipe.sized(relations="pitch", **settings).build_model()


@pytest.mark.one_backend
def test_phases_are_refused_where_they_have_no_meaning():
    with pytest.raises(ValueError, match="Local attention has no phases"):
        DecoderBlock(8, num_heads=1, num_phases=2, local_block_size=4)
    layer = RelativeGlobalAttention(1, 4, num_phases=2)
    x = np.zeros((1, 3, 4), "float32")
    with pytest.raises(ValueError, match="`phases` must be given"):
        layer(x)
    with pytest.raises(ValueError, match="`phases` are for a layer that has"):
        RelativeGlobalAttention(1, 4)(x, phases=x)
    for wrong in (-1, 0.5, None):
        with pytest.raises(ValueError, match="`num_phases` must be an integer"):
            RelativeGlobalAttention(1, 4, num_phases=wrong)
    for wrong in ("", "loud", "pitch,onset,pitch", ["onset"]):
        with pytest.raises(ValueError, match="`relations` must be one of"):
            NotePhases(wrong, first_shifts=[0])
