"""The Transformer-GAN's generator: from noise to logits of events."""

import keras
import keras_hub

from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers import NoiseProjectionEmbedding
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import Heads
from keras_pianogen.layers.ranges import Layers
from keras_pianogen.layers.ranges import Share
from keras_pianogen.layers.ranges import Width
from keras_pianogen.models.arguments import arguments_of
from keras_pianogen.models.presets import verified_presets


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerGenerator(keras_hub.models.Backbone):
    """The Music Transformer with noise in place of events.

    A `NoiseProjectionEmbedding` replaces the token embedding. The blocks are
    the Music Transformer's, with the same settings. A dense layer then gives
    logits of `vocabulary_size` events (N) at each of the `sequence_length`
    positions (S): the paper's S x N.

    Args:
        vocabulary_size: int. Number of ids, the special ones included.
        num_layers: int. Number of blocks.
        num_heads: int. Attention heads of each block; must divide
            `hidden_dim`.
        hidden_dim: int. Width of the blocks.
        intermediate_dim: int. Width of the hidden layer of each feed-forward
            network.
        dropout: float, 0 to 1. Defaults to `0.1`.
        sequence_length: int. Number of events of a sequence (S), all of which
            attention reaches. Defaults to `128`.
        noise_dim: int. Size of a noise vector (Z). Defaults to `50`.
        noise_per_event: bool. Whether each position has its own noise vector;
            otherwise the whole sequence has one. Defaults to `True`.
        causal: bool. Whether positions attend only to those before them.
            Defaults to `True`, as in the Music Transformer.
        dtype: string or `keras.DTypePolicy`. Of computations and weights.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, sequence_length, noise_dim), or
            (batch, noise_dim) without `noise_per_event`.

    Returns:
        Logits, a float32 tensor of shape (batch, sequence_length,
        vocabulary_size).

    Examples:
        >>> import numpy as np
        >>> generator = MusicTransformerGenerator(
        ...     vocabulary_size=391,
        ...     num_layers=1,
        ...     num_heads=2,
        ...     hidden_dim=16,
        ...     intermediate_dim=32,
        ...     sequence_length=12,
        ... )
        >>> tuple(generator(np.zeros((1, 12, 50), "float32")).shape)
        (1, 12, 391)
    """

    def __init__(
        self,
        vocabulary_size: Width,
        num_layers: Layers,
        num_heads: Heads,
        hidden_dim: Width,
        intermediate_dim: Width,
        dropout: Share = 0.1,
        sequence_length: Width = 128,
        noise_dim: Width = 50,
        noise_per_event: Flag = True,
        causal: Flag = True,
        dtype=None,
        **kwargs,
    ):
        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.sequence_length = sequence_length
        self.noise_dim = noise_dim
        self.noise_per_event = noise_per_event
        self.causal = causal
        # === Layers ===
        self._add_layers(dtype)
        # === Functional Model ===
        places = (sequence_length,) if noise_per_event else ()
        noise = keras.Input((*places, noise_dim), name="noise")
        x = self.embeddings_dropout(self.noise_projection(noise))
        for layer in self.transformer_layers:
            x = layer(x)
        outputs = self.logits(self.layer_norm(x))
        super().__init__(inputs=noise, outputs=outputs, dtype=dtype, **kwargs)

    def _add_layers(self, dtype):
        self.noise_projection = NoiseProjectionEmbedding(
            self.hidden_dim,
            sequence_length=self.sequence_length,
            dtype=dtype,
            name="noise_projection",
        )
        self.embeddings_dropout = keras.layers.Dropout(
            self.dropout, dtype=dtype, name="embeddings_dropout"
        )
        self.transformer_layers = [
            DecoderBlock(
                intermediate_dim=self.intermediate_dim,
                num_heads=self.num_heads,
                max_distance=self.sequence_length,
                dropout=self.dropout,
                causal=self.causal,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(self.num_layers)
        ]
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="layer_norm"
        )
        self.logits = keras.layers.Dense(
            self.vocabulary_size, dtype="float32", name="logits"
        )

    def get_config(self):
        return super().get_config() | arguments_of(self)
