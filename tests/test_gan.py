"""The Transformer-GAN: its rounds, draws and saved files, on each backend."""

import functools
import types

import keras
import numpy as np
import pytest
from gan_models import LENGTH
from gan_models import SHAPE
from gan_models import SIZE
from gan_models import assert_same
from gan_models import build_gan
from gan_models import build_language_model
from gan_models import real_ids
from gan_models import to_numpy
from gan_models import weights_of
from keras import ops

from keras_pianogen.gan import MusicTransformerDiscriminator
from keras_pianogen.gan import MusicTransformerGenerator
from keras_pianogen.gan import TransformerGAN
from keras_pianogen.gan.continuation import continue_events
from keras_pianogen.gan.continuation import event_logits
from keras_pianogen.gan.continuation import relax
from keras_pianogen.gradients import value_and_grad
from keras_pianogen.layers.gumbel_softmax import straight_through

# === Rounds ===

ROUNDS = {
    "non_saturating": {
        "label_smoothing": 0.1,
        "averaging": 0.75,
        "feature_matching": 1.0,
    },
    "hinge": {"discriminator_steps": 2, "generator_steps": 2},
    "wasserstein": {},
    "relativistic": {},
}


@pytest.fixture(scope="module")
def trained():
    """A function of a loss that returns a GAN after its first round.

    Each GAN is compiled once. What it was after that round is kept beside it.
    """

    @functools.cache
    def train(loss):
        gan = build_gan(
            dropout=0.1,
            minibatch_statistics=True,
            spectral_normalization=loss == "non_saturating",
        )
        kernel = gan.discriminator.intermediate_dense.kernel
        kernel.assign(5 * to_numpy(kernel))
        gan.compile(
            keras.optimizers.Adam(0.1),
            keras.optimizers.Adam(0.1),
            loss=loss,
            **ROUNDS[loss],
        )
        pair = gan.generator, gan.discriminator
        before = [weights_of(model) for model in pair]
        history = go_on(gan).history
        average = gan.averaged_generator
        return types.SimpleNamespace(
            gan=gan,
            before=before,
            after=[weights_of(model) for model in pair],
            average=average and weights_of(average),
            history=history,
            norm=np.linalg.norm(to_numpy(kernel), 2),
        )

    return train


def go_on(gan):
    """Train a GAN for one more round, always on the same batch."""
    return gan.fit(real_ids(8), batch_size=8, verbose=0, shuffle=False)


@pytest.mark.parametrize(
    "loss",
    [
        "non_saturating",
        "wasserstein",
        # Their formulas are tested on each backend in `test_gan_parts.py`.
        pytest.param("hinge", marks=pytest.mark.one_backend),
        pytest.param("relativistic", marks=pytest.mark.one_backend),
    ],
)
def test_a_round_trains_both(trained, loss):
    result = trained(loss)
    assert result.history["generator_gradient_norm"][0] > 0
    assert all(np.isfinite(v).all() for v in result.history.values())
    for old, new in zip(result.before, result.after, strict=True):
        moved = [np.abs(a - b).max() > 0 for a, b in zip(old, new, strict=True)]
        assert np.mean(moved) > 0.9
    assert result.gan.generate(16).shape == (16, LENGTH)


def test_spectral_normalization_holds_after_a_round(trained):
    assert trained("non_saturating").norm < 1.1
    assert trained("wasserstein").norm > 2


def test_the_average_follows_the_generator(trained):
    result = trained("non_saturating")
    for old, new, average in zip(
        result.before[0], result.after[0], result.average, strict=True
    ):
        np.testing.assert_allclose(average, 0.75 * old + 0.25 * new, atol=1e-6)


def test_evaluation_changes_no_weight(trained):
    gan = trained("wasserstein").gan
    before = weights_of(gan)
    logs = gan.evaluate(real_ids(8), batch_size=8, verbose=0, return_dict=True)
    assert {"discriminator_loss", "generator_loss"} < set(logs)
    assert 0 <= logs["real_accuracy"] <= 1
    assert 0 <= logs["fake_accuracy"] <= 1
    assert_same(before, weights_of(gan), rtol=0)


def test_with_an_argmax_no_gradient_reaches_the_generator():
    gan = build_gan("argmax")
    gan.compile(loss="non_saturating")
    before = weights_of(gan.generator)
    for _ in range(2):
        logs = gan.train_on_batch(real_ids(), return_dict=True)
        assert float(logs["generator_gradient_norm"]) == 0
    assert_same(before, weights_of(gan.generator), rtol=0)


# === Draws ===


@pytest.fixture(scope="module")
def gan():
    """A GAN that is not trained, and not to be changed."""
    return build_gan(barred_ids=[7, 0, 1, 2])


def test_barred_ids_are_never_drawn(gan):
    assert gan.barred_ids == [0, 1, 2, 7]
    drawn = np.concatenate([gan.generate(16) for _ in range(4)])
    assert not np.isin(drawn, gan.barred_ids).any()
    assert len(np.unique(drawn)) > 5


def test_a_seed_gives_the_same_events_and_changes_nothing(gan):
    before = [to_numpy(v).copy() for v in gan.variables]
    first = gan.generate(16, seed=5)
    np.testing.assert_array_equal(first, gan.generate(16, seed=5))
    assert (first != gan.generate(16, seed=6)).any()
    assert_same(before, [to_numpy(v) for v in gan.variables], rtol=0)
    own = gan.generate(16)
    assert (own != gan.generate(16)).any()


# === Saving ===


def test_a_gan_is_saved_with_both_optimizers(trained, tmp_path):
    gan = trained("non_saturating").gan
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
    # Keras doesn't save the state of random numbers. With the same state, both
    # go on alike.
    for own, loaded in zip(gan.variables, other.variables, strict=True):
        if own.name == "seed_generator_state":
            loaded.assign(to_numpy(own))
    for model in (gan, other):
        keras.utils.set_random_seed(5)
        go_on(model)
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


# === Wrong arguments ===


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "l2"}, "`loss` must be one of"),
        ({"likelihood_steps": 1}, "has no likelihood"),
        ({"discriminator_steps": 0}, "`discriminator_steps` must be"),
        ({"averaging": 1.0}, "`averaging` must be"),
    ],
)
def test_compile_refuses(gan, wrong, message):
    with pytest.raises(ValueError, match=message):
        gan.compile(**wrong)


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


# === Continuations ===


@pytest.fixture(scope="module")
def rollout():
    """A language model, ids that it has continued from 5 to 8, and the noise.

    Each event is drawn from a pass over all of them. Zeros stand for those
    that are still to come, which a causal model does not see.
    """
    model = build_language_model()
    rng = np.random.default_rng(3)
    noise = rng.gumbel(size=(3, 3, SIZE)).astype("float32")
    noise[:, :, :3] = -1e9
    ids = np.pad(real_ids(3, 5), [(0, 0), (0, 3)])
    for t in range(5, 8):
        logits = to_numpy(event_logits(model, ops.convert_to_tensor(ids)))
        ids[:, t] = (logits[:, t - 1] + noise[:, t - 5]).argmax(-1)
    return model, ids, noise


def test_continuations_are_draws_from_whole_passes(rollout):
    model, ids, noise = rollout
    new = continue_events(model, ids[:, :5], ops.convert_to_tensor(noise))
    np.testing.assert_array_equal(to_numpy(new), ids[:, 5:])


def test_the_gradient_is_that_of_the_whole_rollout(rollout):
    model, ids, noise = rollout
    aims = np.random.default_rng(4).normal(size=noise.shape).astype("float32")
    ids, noise, aims = map(ops.convert_to_tensor, (ids, noise, aims))
    variables = model.trainable_variables
    others = [v for v in model.variables if not v.trainable]

    def step_by_step():
        hard = ops.one_hot(ids, SIZE)
        rows = [hard[:, t] for t in range(5)]
        for t in range(5, 8):
            zeros = [ops.zeros_like(rows[0])] * (8 - t)
            events = ops.stack(rows + zeros, axis=1)
            logits = event_logits(model, events)[:, t - 1] + noise[:, t - 5]
            soft = ops.softmax(logits / 0.7)
            rows.append(straight_through(hard[:, t], soft))
        return ops.sum(ops.stack(rows[5:], axis=1) * aims), ()

    def at_once(feedback):
        events = relax(model, ids, noise, 0.7, feedback)
        return ops.sum(events[:, 5:] * aims), ()

    def gradients(function):
        found = value_and_grad(function, variables, others)[2]
        return np.concatenate([to_numpy(g).ravel() for g in found])

    expected = gradients(step_by_step)
    some, every = (
        np.abs(gradients(lambda f=f: at_once(f)) - expected).max()
        for f in (1, 2)
    )
    # Followed over all later draws it is exact, over some of them it isn't.
    assert every < 1e-4 < 1e-3 < some


def test_a_language_model_is_fine_tuned():
    model = build_language_model()
    judge = MusicTransformerDiscriminator.from_music_transformer(
        model.backbone, max_sequence_length=LENGTH
    )
    gan = TransformerGAN(model, judge, context_length=5, barred_ids=(0, 1, 2))
    gan.compile(loss="non_saturating", likelihood_steps=1)
    before = weights_of(model)
    logs = gan.train_on_batch(real_ids(8), return_dict=True)
    assert float(logs["generator_gradient_norm"]) > 0
    assert float(logs["nats_per_event"]) > 0
    moved = [np.abs(a - b).max() for a, b in zip(before, weights_of(model))]
    assert np.mean(np.array(moved) > 0) > 0.9
    ids = gan.generate(real_ids(4))
    np.testing.assert_array_equal(ids[:, :5], real_ids(4)[:, :5])
    assert (ids >= 3).all()
