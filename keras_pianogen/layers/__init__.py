"""Keras layers of the Music Transformer and of the Transformer-GAN."""

from keras_pianogen.layers.decoder_block import DecoderBlock
from keras_pianogen.layers.event_embedding import EventEmbedding
from keras_pianogen.layers.gumbel_softmax import GumbelSoftmax
from keras_pianogen.layers.local_attention import RelativeLocalAttention
from keras_pianogen.layers.noise_projection import NoiseProjectionEmbedding
from keras_pianogen.layers.relative_attention import RelativeGlobalAttention

__all__ = [
    "DecoderBlock",
    "EventEmbedding",
    "GumbelSoftmax",
    "NoiseProjectionEmbedding",
    "RelativeGlobalAttention",
    "RelativeLocalAttention",
]
