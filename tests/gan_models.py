"""Small GANs and language models with random weights, and their batches."""

import keras
import numpy as np
from keras import ops

from keras_pianogen.gan import MusicTransformerDiscriminator
from keras_pianogen.gan import MusicTransformerGenerator
from keras_pianogen.gan import TransformerGAN
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM

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
