"""The Transformer-GAN's parts: layers, discriminator, losses, gradients."""

import keras
import numpy as np
import pytest
from gan_models import LENGTH
from gan_models import SHAPE
from gan_models import SIZE
from gan_models import build_language_model
from gan_models import real_ids
from gan_models import to_numpy
from keras import ops

from keras_pianogen.gan.adversarial_losses import LOSSES
from keras_pianogen.gan.adversarial_steps import gradient_penalty
from keras_pianogen.gan.discriminator import SpectralNorm
from keras_pianogen.gradients import input_gradient
from keras_pianogen.gradients import value_and_grad
from keras_pianogen.layers import EventEmbedding
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.layers import NoiseProjectionEmbedding
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.models import MusicTransformerDiscriminator

# === Layers ===


def test_a_one_hot_distribution_is_embedded_as_its_event():
    layer = EventEmbedding(SIZE, 8)
    ids = real_ids(2)
    mixed = 0.5 * np.eye(SIZE)[ids] + 0.5 * np.eye(SIZE)[ids[::-1]]
    expected = (to_numpy(layer(ids)) + to_numpy(layer(ids[::-1]))) / 2
    found = layer(mixed.astype("float32"))
    np.testing.assert_allclose(to_numpy(found), expected, atol=1e-6)


def test_noise_is_projected_by_two_layers():
    layer = NoiseProjectionEmbedding(8, intermediate_dim=6, sequence_length=4)
    noise = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    found = to_numpy(layer(noise))
    first, second = layer.intermediate_dense, layer.output_dense
    middle = noise @ to_numpy(first.kernel) + to_numpy(first.bias)
    middle = np.maximum(middle[:, None] + to_numpy(layer.places), 0)
    expected = middle @ to_numpy(second.kernel) + to_numpy(second.bias)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found[:, 0] - found[:, 1]).max() > 1e-3


def test_noise_for_each_event_has_any_length():
    layer = NoiseProjectionEmbedding(8)
    for time in (3, 7):
        assert layer(np.ones((2, time, 5), "float32")).shape == (2, time, 8)


def test_one_noise_vector_needs_a_length():
    with pytest.raises(ValueError, match="`sequence_length`. Received: seq"):
        NoiseProjectionEmbedding(8)(np.ones((2, 5), "float32"))


@pytest.mark.parametrize("max_distance", [4, 9, 30])
def test_attention_both_ways_equals_its_twin(max_distance):
    layer = RelativeGlobalAttention(2, 4, max_distance, causal=False)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 9, 6)).astype("float32")
    mask = np.ones((2, 9), bool)
    mask[1, 6:] = False
    layer.build(x.shape)
    relative = rng.normal(size=layer.relative_embeddings.shape)
    layer.relative_embeddings.assign(relative)
    found = to_numpy(layer(x, padding_mask=mask))

    def project(dense):
        y = x @ to_numpy(dense.kernel) + to_numpy(dense.bias)
        return y.reshape(2, 9, 2, 4)

    q, k, v = map(project, (layer.query, layer.key, layer.value))
    outputs = np.zeros((2, 9, 2, 4))
    for b, i, h in np.ndindex(2, 9, 2):
        logits = np.full(9, -np.inf)
        for j in range(9):
            if abs(i - j) < max_distance and mask[b, j]:
                row = relative[max_distance - 1 - (i - j), h]
                logits[j] = q[b, i, h] @ (k[b, j, h] + row) / 2
        weights = np.exp(logits - logits.max())
        outputs[b, i, h] = weights / weights.sum() @ v[b, :, h]
    dense = layer.attention_output
    expected = outputs.reshape(2, 9, 8) @ to_numpy(dense.kernel)
    np.testing.assert_allclose(
        found, expected + to_numpy(dense.bias), atol=1e-5
    )


def test_attention_both_ways_has_no_cache():
    layer = RelativeGlobalAttention(2, 4, causal=False)
    with pytest.raises(ValueError, match="no cache"):
        layer.build_cache(1)


def gradient(function, x):
    """Of a function of one tensor, by `input_gradient`."""
    return to_numpy(input_gradient(function, ops.convert_to_tensor(x), []))


def test_straight_through_is_one_hot_with_the_gradient_of_soft():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, SIZE)).astype("float32")
    noise = rng.gumbel(size=logits.shape).astype("float32")
    weights = rng.normal(size=logits.shape).astype("float32")
    weights = ops.convert_to_tensor(weights)
    gradients = {}
    for mode in ("straight_through", "soft", "argmax"):
        layer = GumbelSoftmax(mode, temperature=0.5)
        events = to_numpy(layer(logits, noise=noise))
        if mode != "soft":
            drawn = logits if mode == "argmax" else logits + noise
            np.testing.assert_array_equal(
                events, np.eye(SIZE)[drawn.argmax(-1)]
            )
        if mode != "argmax":
            gradients[mode] = gradient(
                lambda x, layer=layer: layer(x, noise=noise) * weights, logits
            )
    assert np.abs(gradients["soft"]).max() > 0.01
    np.testing.assert_allclose(*gradients.values(), atol=1e-6)


def test_draws_have_the_shares_of_softmax():
    logits = np.log(np.array([0.6, 0.3, 0.1], "float32"))
    layer = GumbelSoftmax(seed=0)
    events = to_numpy(layer(np.broadcast_to(logits, (1, 20_000, 3))))
    np.testing.assert_allclose(events.mean((0, 1)), [0.6, 0.3, 0.1], atol=0.02)


def test_the_temperature_falls_as_muhamed_et_al_have_it():
    layer = GumbelSoftmax(temperature=GumbelSoftmax.annealing(200))
    layer = GumbelSoftmax.from_config(layer.get_config())
    found = [float(layer.temperature_at(step)) for step in (0, 50, 200, 300)]
    expected = [1.0, 100**-0.25, 0.01, 0.01]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("wrong", [{"mode": "hard"}, {"temperature": 0}])
def test_gumbel_softmax_refuses(wrong):
    with pytest.raises(ValueError, match="Received"):
        GumbelSoftmax(**wrong)


# === Discriminator ===


@pytest.mark.parametrize("bidirectional", [False, True])
def test_ids_are_judged_as_their_one_hot_vectors(bidirectional):
    model = MusicTransformerDiscriminator(
        bidirectional=bidirectional, minibatch_statistics=True, **SHAPE
    )
    ids = real_ids(3)
    one_hot = np.eye(SIZE, dtype="float32")[ids]
    logits, features = model.with_features(one_hot)
    assert (logits.shape, features.shape) == ((3, 1), (3, SIZE))
    np.testing.assert_allclose(to_numpy(model(ids)), to_numpy(logits), 1e-5)


def test_what_comes_later_is_seen_only_both_ways():
    for bidirectional in (False, True):
        model = MusicTransformerDiscriminator(
            bidirectional=bidirectional, **SHAPE
        )
        block = model.transformer_layers[0]
        x, other = np.random.default_rng(0).normal(size=(2, 1, 6, 8))
        other[:, :-1] = x[:, :-1]
        gap = np.abs(to_numpy(block(x)) - to_numpy(block(other)))[0, :-1]
        assert (gap.max() > 1e-6) == bidirectional


def test_a_discriminator_begins_with_a_music_transformer():
    backbone = build_language_model().backbone
    ids = real_ids(2)
    mask = np.ones(ids.shape, bool)
    hidden = backbone({"token_ids": ids, "padding_mask": mask})
    logits = backbone.token_embedding(hidden, reverse=True)
    for settings in ({}, {"max_sequence_length": LENGTH}):
        model = MusicTransformerDiscriminator.from_music_transformer(
            backbone, frozen_layers=1, **settings
        )
        features = model.with_features(ids)[1]
        expected = to_numpy(logits).mean(1)
        np.testing.assert_allclose(to_numpy(features), expected, atol=1e-4)
        # The last norm, and the two dense layers after pooling.
        assert len(model.trainable_variables) == 6


def test_a_kernel_is_scaled_to_a_singular_value_of_one():
    rng = np.random.default_rng(0)
    kernel = 3 * rng.normal(size=(6, 10)).astype("float32")
    scaled = to_numpy(SpectralNorm(50)(ops.convert_to_tensor(kernel)))
    assert np.linalg.norm(scaled, 2) == pytest.approx(1, rel=1e-3)
    small = ops.convert_to_tensor(kernel / 100)
    np.testing.assert_allclose(to_numpy(SpectralNorm()(small)), small, 1e-6)


# === Losses ===


def test_losses_are_their_formulas():
    real = np.array([[0.5], [2.0]], "float32")
    fake = np.array([[-1.0], [0.3]], "float32")

    def softplus(x):
        return np.log1p(np.exp(x))

    expected = {
        "non_saturating": (
            (softplus(-real) + 0.1 * real).mean() + softplus(fake).mean(),
            softplus(-fake).mean(),
        ),
        "hinge": (
            np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(),
            -fake.mean(),
        ),
        "wasserstein": (fake.mean() - real.mean(), -fake.mean()),
        "relativistic": (
            (softplus(fake - real) + 0.1 * (real - fake)).mean(),
            softplus(real - fake).mean(),
        ),
    }
    tensors = ops.convert_to_tensor(real), ops.convert_to_tensor(fake)
    assert set(expected) == set(LOSSES)
    for loss, (judge, maker) in expected.items():
        found = LOSSES[loss].discriminator_loss(*tensors, 0.1)
        assert float(found) == pytest.approx(judge, abs=1e-6), loss
        found = LOSSES[loss].generator_loss(*tensors)
        assert float(found) == pytest.approx(maker, abs=1e-6), loss


def test_gradients_are_by_the_variables_asked_for():
    x, y = keras.Variable(2.0), keras.Variable(3.0)
    count = keras.Variable(0.0, trainable=False)

    def function():
        count.assign(count.value + 1)
        return x.value * x.value * y.value, (y.value,)

    value, kept, gradients = value_and_grad(function, [x], [y, count])
    assert (float(value), float(kept[0]), float(count)) == (12, 3, 1)
    assert [float(g) for g in gradients] == [12]
    unused = value_and_grad(lambda: (y.value * 1, ()), [x], [y, count])[2]
    assert [float(g) for g in unused] == [0]


# === Gradient penalty ===


def test_the_penalty_is_zero_where_the_slope_is_one():
    x = np.random.default_rng(0).random((4, LENGTH, SIZE)).astype("float32")

    def penalty(slope):
        return float(
            gradient_penalty(
                lambda x, training: slope * x[:, 0, :1],
                ops.convert_to_tensor(x),
                [],
            )
        )

    assert penalty(1) == pytest.approx(0, abs=1e-5)
    assert penalty(2) == pytest.approx(1, abs=1e-5)  # (2 - 1) squared
