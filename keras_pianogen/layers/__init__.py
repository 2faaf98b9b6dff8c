"""Keras layers of the Music Transformer."""

from keras_pianogen.layers.decoder_block import DecoderBlock
from keras_pianogen.layers.relative_attention import RelativeGlobalAttention

__all__ = ["DecoderBlock", "RelativeGlobalAttention"]
