"""Keras layers of the Music Transformer."""

from keras_pianogen.layers.decoder_block import DecoderBlock
from keras_pianogen.layers.relative_attention import RelativeGlobalAttention
from keras_pianogen.layers.relative_attention import RelativeLocalAttention

__all__ = ["DecoderBlock", "RelativeGlobalAttention", "RelativeLocalAttention"]
