"""The Transformer-GAN: generator, discriminator, adversarial training."""

import keras_pianogen.notices.quiet_keras  # noqa: F401
from keras_pianogen.gan.discriminator import MusicTransformerDiscriminator
from keras_pianogen.gan.generator import MusicTransformerGenerator
from keras_pianogen.gan.transformer_gan import TransformerGAN

__all__ = [
    "MusicTransformerDiscriminator",
    "MusicTransformerGenerator",
    "TransformerGAN",
]
