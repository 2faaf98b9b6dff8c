"""Attention weights for pictures, compared with the layers' outputs."""

import pathlib

import keras
import numpy as np
import pytest

from keras_pianogen.judging.attention_maps import attention_weights
from keras_pianogen.judging.attention_maps import plot_attention
from keras_pianogen.judging.attention_maps import plot_heads
from keras_pianogen.judging.attention_maps import share_by_distance
from keras_pianogen.judging.attention_maps import weights_of_layer
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.layers import RelativeLocalAttention
from keras_pianogen.training.recipe import Recipe

pytestmark = pytest.mark.one_backend

PIECE = pathlib.Path(__file__).parent / "data" / "scarlatti_k_525.midi"


@pytest.fixture(scope="module")
def model():
    recipe = Recipe(
        num_layers=2, num_heads=2, hidden_dim=16, sequence_length=64
    )
    return recipe.build_model()


@pytest.mark.parametrize("share_heads", [False, True])
def test_weights_times_values_are_the_layer_s_output(share_heads):
    layer = RelativeGlobalAttention(
        num_heads=3,
        key_dim=8,
        max_distance=10,  # Shorter than the sequence.
        share_heads=share_heads,
        relative_initializer=keras.initializers.RandomNormal(stddev=0.5),
    )
    x = np.random.default_rng(0).normal(size=(2, 25, 12)).astype("float32")
    expected = keras.ops.convert_to_numpy(layer(x))
    weights = weights_of_layer(layer, x)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    values = keras.ops.convert_to_numpy(layer.value(x)).reshape(2, 25, 3, 8)
    outputs = np.einsum("bhqk,bkhd->bqhd", weights, values).reshape(2, 25, 24)
    found = keras.ops.convert_to_numpy(
        layer.attention_output(outputs.astype("float32"))
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_piece_s_weights_look_back_only_and_add_up(model):
    ids, weights = attention_weights(model, str(PIECE), max_events=50)
    assert ids.shape == (50,) and weights.shape == (2, 2, 50, 50)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert np.triu(weights, 1).max() == 0
    firsts, shares = share_by_distance(weights)
    assert firsts[0] == 0 and firsts[-1] < 25
    np.testing.assert_allclose(shares.sum(-1), 1, rtol=1e-5)


def test_a_head_that_looks_three_back_is_found():
    weights = np.zeros((1, 2, 40, 40))
    for query in range(40):
        weights[0, 0, query, query] = 1
        weights[0, 1, query, max(0, query - 3)] = 1
    firsts, shares = share_by_distance(weights)
    assert shares[0, 0].argmax() == 0
    assert firsts[shares[0, 1].argmax()] == 3
    assert shares.max(-1).min() == 1


def test_the_picture_is_drawn_and_its_head_checked(model, tmp_path):
    ids, weights = attention_weights(model, str(PIECE), max_events=60)
    vocabulary = model.preprocessor.tokenizer.vocabulary
    path = tmp_path / "attention.png"
    plot_attention(ids, weights, vocabulary, path)
    assert path.stat().st_size > 20_000
    with pytest.raises(ValueError, match=r"layer from 0 to 1.*\(2, 0\)"):
        plot_attention(ids, weights, vocabulary, path, head=(2, 0))


def test_every_head_has_a_map_of_the_last_events(monkeypatch):
    figures = []
    monkeypatch.setattr(
        "keras_pianogen.judging.attention_maps.save_figure",
        lambda figure, path, dpi: figures.append(figure),
    )
    weights = np.random.default_rng(0).random((2, 3, 30, 30))
    plot_heads(weights, "heads.png", events=20)
    maps = [axis.images[0] for axis in figures[0].axes]
    assert len(maps) == 6
    for shown, head in zip(maps, weights.reshape(6, 30, 30), strict=True):
        np.testing.assert_array_equal(shown.get_array(), head[10:, 10:])
        assert shown.get_extent() == [9.5, 29.5, 29.5, 9.5]


def test_local_attention_and_silence_are_refused(model):
    layer = RelativeLocalAttention(num_heads=1, key_dim=4, local_block_size=4)
    with pytest.raises(ValueError, match="RelativeLocalAttention"):
        weights_of_layer(layer, np.zeros((1, 8, 4), "float32"))
    with pytest.raises(ValueError, match="must have events"):
        attention_weights(model, np.zeros(0, "int32"))
