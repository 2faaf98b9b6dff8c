"""The Transformer-GAN: generator, discriminator, adversarial training."""

from keras_pianogen.gan.discriminator import MusicTransformerDiscriminator
from keras_pianogen.gan.generator import MusicTransformerGenerator
from keras_pianogen.gan.transformer_gan import TransformerGAN

__all__ = [
    "MusicTransformerDiscriminator",
    "MusicTransformerGenerator",
    "TransformerGAN",
]
