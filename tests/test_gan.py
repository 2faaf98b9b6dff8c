"""The Transformer-GAN's parts, its step on the backend that runs."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_pianogen.gan.adversarial_losses import LOSSES
from keras_pianogen.gan.adversarial_steps import gradient_penalty
from keras_pianogen.gan.continuation import continue_events
from keras_pianogen.gan.continuation import event_logits
from keras_pianogen.gan.continuation import relax
from keras_pianogen.gan.discriminator import SpectralNorm
from keras_pianogen.gradients import input_gradient
from keras_pianogen.gradients import value_and_grad
from keras_pianogen.layers import EventEmbedding
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.layers import NoiseProjectionEmbedding
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.layers.gumbel_softmax import straight_through
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerDiscriminator
from keras_pianogen.models import MusicTransformerGenerator
from keras_pianogen.models import TransformerGAN

SIZE, LENGTH = 20, 12
SHAPE = {
    "vocabulary_size": SIZE,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 16,
}


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def build_gan(
    mode="straight_through", dropout=0.0, barred_ids=None, **settings
):
    keras.utils.set_random_seed(0)
    generator = MusicTransformerGenerator(
        sequence_length=LENGTH, noise_dim=5, dropout=dropout, **SHAPE
    )
    discriminator = MusicTransformerDiscriminator(
        max_sequence_length=LENGTH, dropout=dropout, **settings, **SHAPE
    )
    return TransformerGAN(
        generator,
        discriminator,
        GumbelSoftmax(mode, seed=1),
        barred_ids=barred_ids,
        seed=1,
    )


def build_language_model():
    """One whose logits are far apart, so that its draws are sure."""
    keras.utils.set_random_seed(0)
    backbone = MusicTransformerBackbone(
        **SHAPE, dropout=0.0, max_sequence_length=16
    )
    rng = np.random.default_rng(1)
    for weight in backbone.weights:
        noise = 0.3 * rng.normal(size=weight.shape)
        weight.assign(to_numpy(weight) + noise)
    return MusicTransformerCausalLM(backbone)


def real_ids(count=16, length=LENGTH):
    rng = np.random.default_rng(0)
    return rng.integers(3, SIZE, (count, length)).astype("int32")


def weights_of(model):
    return [to_numpy(weight).copy() for weight in model.weights]


def assert_same(ours, theirs, **kwargs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, **kwargs)


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


def test_spectral_normalization_holds_after_a_round():
    gan = build_gan(spectral_normalization=True)
    gan.compile("sgd", keras.optimizers.SGD(1.0), gradient_clipping=None)
    kernel = gan.discriminator.intermediate_dense.kernel
    kernel.assign(5 * to_numpy(kernel))
    gan.train_on_batch(real_ids())
    assert np.linalg.norm(to_numpy(kernel), 2) < 1.1


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


# === The round ===


def test_with_an_argmax_no_gradient_reaches_the_generator():
    gan = build_gan("argmax")
    gan.compile(loss="non_saturating")
    before = weights_of(gan.generator)
    for _ in range(2):
        logs = gan.train_on_batch(real_ids(), return_dict=True)
        assert float(logs["generator_gradient_norm"]) == 0
    assert_same(before, weights_of(gan.generator), rtol=0)


ROUNDS = [
    {"loss": "non_saturating", "label_smoothing": 0.1, "averaging": 0.5},
    {"loss": "hinge", "feature_matching": 1.0, "generator_steps": 2},
    {"loss": "wasserstein", "discriminator_steps": 2},
    {"loss": "relativistic", "gradient_penalty": 1.0},
]


@pytest.mark.parametrize("settings", ROUNDS, ids=lambda x: x["loss"])
def test_a_round_trains_both(settings):
    gan = build_gan(dropout=0.1, minibatch_statistics=True)
    gan.compile(
        keras.optimizers.Adam(0.1), keras.optimizers.Adam(0.1), **settings
    )
    before = [weights_of(m) for m in (gan.generator, gan.discriminator)]
    history = gan.fit(real_ids(), batch_size=8, epochs=1, verbose=0).history
    assert history["generator_gradient_norm"][0] > 0
    assert all(np.isfinite(v).all() for v in history.values())
    for model, old in zip((gan.generator, gan.discriminator), before):
        moved = [
            np.abs(a - b).max() > 0
            for a, b in zip(old, weights_of(model), strict=True)
        ]
        assert np.mean(moved) > 0.9
    logs = gan.evaluate(real_ids(), batch_size=8, verbose=0, return_dict=True)
    assert 0 <= logs["fake_accuracy"] <= 1
    assert gan.generate(3).shape == (3, LENGTH)


def test_the_average_follows_the_generator():
    gan = build_gan()
    gan.compile(keras.optimizers.SGD(1.0), averaging=0.75)
    first = weights_of(gan.generator)
    gan.train_on_batch(real_ids())
    for old, new, average in zip(
        first,
        weights_of(gan.generator),
        weights_of(gan.averaged_generator),
        strict=True,
    ):
        np.testing.assert_allclose(average, 0.75 * old + 0.25 * new, atol=1e-6)


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


def test_barred_ids_are_never_drawn():
    gan = build_gan(barred_ids=[7, 0, 1, 2])
    assert gan.barred_ids == [0, 1, 2, 7]
    drawn = gan.generate(64)
    assert not np.isin(drawn, gan.barred_ids).any()
    assert len(np.unique(drawn)) > 5


def test_a_seed_gives_the_same_events_and_changes_nothing():
    gan = build_gan()
    before = [to_numpy(v).copy() for v in gan.variables]
    first = gan.generate(4, seed=5)
    np.testing.assert_array_equal(first, gan.generate(4, seed=5))
    assert (first != gan.generate(4, seed=6)).any()
    assert_same(before, [to_numpy(v) for v in gan.variables], rtol=0)
    own = gan.generate(4)
    assert (own != gan.generate(4)).any()


def test_a_gan_is_saved_with_both_optimizers(tmp_path):
    gan = build_gan()
    gan.compile("adam", "sgd", loss="hinge", averaging=0.9, label_smoothing=0.1)
    gan.fit(real_ids(), batch_size=8, epochs=1, verbose=0)
    gan.save(tmp_path / "gan.keras")
    other = keras.models.load_model(tmp_path / "gan.keras")
    assert other.settings == gan.settings
    for part in ("generator", "discriminator", "averaged_generator"):
        ours, theirs = getattr(gan, part), getattr(other, part)
        assert_same(weights_of(ours), weights_of(theirs), rtol=0)
    assert len(gan.optimizer.variables) > 20
    assert_same(
        [to_numpy(v) for v in gan.optimizer.variables],
        [to_numpy(v) for v in other.optimizer.variables],
        rtol=0,
    )
    # Without dropout, and with the noise given, both go on alike.
    batch = with_noise(real_ids(8))
    for model in (gan, other):
        model.train_on_batch(batch)
    assert_same(weights_of(gan.generator), weights_of(other.generator), rtol=0)


def test_a_preset_keeps_what_is_frozen(tmp_path):
    model = build_language_model()
    judge = MusicTransformerDiscriminator.from_music_transformer(
        model.backbone, frozen_layers=1, max_sequence_length=LENGTH
    )
    gan = TransformerGAN(model, judge, context_length=4, barred_ids=(0, 1, 2))
    gan.save_to_preset(str(tmp_path / "preset"))
    other = TransformerGAN.from_preset(str(tmp_path / "preset"))
    assert other.barred_ids == [0, 1, 2]
    assert len(other.discriminator.trainable_variables) == 6
    assert_same(weights_of(gan.generator), weights_of(other.generator), rtol=0)
    assert_same(
        weights_of(gan.discriminator), weights_of(other.discriminator), rtol=0
    )


def test_a_flipped_bit_of_any_file_of_a_preset_is_refused(tmp_path):
    gan = build_gan()
    for part in (gan, gan.generator, gan.discriminator):
        folder = tmp_path / type(part).__name__
        part.save_to_preset(str(folder))
        files = [p for p in folder.iterdir() if p.suffix in (".json", ".h5")]
        assert {"config.json", "model.weights.h5"} <= {p.name for p in files}
        for path in files:
            content = path.read_bytes()
            place = len(content) // 2
            flipped = bytes([content[place] ^ 1])
            path.write_bytes(content[:place] + flipped + content[place + 1 :])
            with pytest.raises(ValueError, match=f"damaged: .*{path.name}"):
                type(part).from_preset(folder)
            path.write_bytes(content)
        type(part).from_preset(folder)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "l2"}, "`loss` must be one of"),
        ({"likelihood_steps": 1}, "has no likelihood"),
        ({"discriminator_steps": 0}, "`discriminator_steps` must be"),
        ({"averaging": 1.0}, "`averaging` must be"),
    ],
)
def test_compile_refuses(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_gan().compile(**wrong)


def test_vocabularies_must_be_the_same():
    generator = MusicTransformerGenerator(sequence_length=LENGTH, **SHAPE)
    judge = MusicTransformerDiscriminator(**SHAPE | {"vocabulary_size": 30})
    with pytest.raises(ValueError, match="Received: 20 and 30"):
        TransformerGAN(generator, judge)


def test_real_sequences_must_be_as_long_as_generated_ones():
    gan = build_gan()
    gan.compile()
    with pytest.raises(ValueError, match="12 events. Received: 9 events"):
        gan.train_on_batch(real_ids(length=9))


# === Backends ===


def with_noise(ids):
    """A batch that brings its random numbers."""
    rng = np.random.default_rng(2)
    count, length = ids.shape
    return {
        "token_ids": ids,
        "noise": rng.normal(size=(count, length, 5)).astype("float32"),
        "gumbel_noise": rng.gumbel(size=(count, length, SIZE)).astype(
            "float32"
        ),
        "mixing": rng.random(count).astype("float32"),
    }


# === Continuations ===


def draws(model, context, length):
    """Events by whole forward passes, one after the other, and the noise."""
    rng = np.random.default_rng(3)
    noise = rng.gumbel(size=(len(context), length, SIZE)).astype("float32")
    noise[:, :, :3] = -1e9
    ids = context
    for t in range(length):
        logits = to_numpy(event_logits(model, ops.convert_to_tensor(ids)))
        new = (logits[:, -1] + noise[:, t]).argmax(-1)
        ids = np.concatenate([ids, new[:, None].astype("int32")], axis=1)
    return ids, noise


def test_continuations_are_draws_from_whole_passes():
    model = build_language_model()
    context = real_ids(3, 5)
    ids, noise = draws(model, context, 6)
    new = continue_events(model, context, ops.convert_to_tensor(noise))
    np.testing.assert_array_equal(to_numpy(new), ids[:, 5:])


def test_the_gradient_is_that_of_the_whole_rollout():
    model = build_language_model()
    ids, noise = draws(model, real_ids(3, 5), 5)
    aims = np.random.default_rng(4).normal(size=(3, 5, SIZE)).astype("float32")
    ids, noise, aims = map(ops.convert_to_tensor, (ids, noise, aims))
    variables = model.trainable_variables
    others = [v for v in model.variables if not v.trainable]

    def step_by_step():
        events = ops.one_hot(ids[:, :5], SIZE)
        for t in range(5):
            logits = event_logits(model, events)[:, -1] + noise[:, t]
            hard = ops.one_hot(ids[:, 5 + t], SIZE)
            new = straight_through(hard, ops.softmax(logits / 0.7))
            events = ops.concatenate([events, new[:, None]], axis=1)
        return ops.sum(events[:, 5:] * aims), ()

    def at_once(feedback):
        events = relax(model, ids, noise, 0.7, feedback)
        return ops.sum(events[:, 5:] * aims), ()

    def gradients(function):
        found = value_and_grad(function, variables, others)[2]
        return np.concatenate([to_numpy(g).ravel() for g in found])

    expected = gradients(step_by_step)
    found = [gradients(lambda f=f: at_once(f)) for f in (0, 1, 4)]
    gaps = [np.abs(f - expected).max() for f in found]
    # Followed over all later draws it is exact, over some of them it isn't.
    assert gaps[2] < 1e-4 < 1e-3 < min(gaps[0], gaps[1])


def test_a_language_model_is_fine_tuned():
    model = build_language_model()
    judge = MusicTransformerDiscriminator.from_music_transformer(
        model.backbone, max_sequence_length=LENGTH
    )
    gan = TransformerGAN(model, judge, context_length=5, barred_ids=(0, 1, 2))
    gan.compile(likelihood_steps=2)
    before = weights_of(model)
    logs = gan.train_on_batch(real_ids(12), return_dict=True)
    assert float(logs["generator_gradient_norm"]) > 0
    assert float(logs["nats_per_event"]) > 0
    moved = [np.abs(a - b).max() for a, b in zip(before, weights_of(model))]
    assert np.mean(np.array(moved) > 0) > 0.9
    ids = gan.generate(real_ids(4))
    np.testing.assert_array_equal(ids[:, :5], real_ids(4)[:, :5])
    assert (ids >= 3).all()
