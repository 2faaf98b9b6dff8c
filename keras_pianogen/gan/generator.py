"""Noise to logits of events: the Transformer-GAN's generator."""

import keras
import keras_hub

from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers import NoiseProjectionEmbedding
from keras_pianogen.models.presets import verified_presets


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerGenerator(keras_hub.models.Backbone):
    """The Music Transformer with noise in place of events.

    A `NoiseProjectionEmbedding` stands where the token embedding was; the
    blocks are the Music Transformer's, with the same settings; a dense layer
    gives logits of `vocabulary_size` events (N) at each of the
    `sequence_length` places (S): the paper's S x N.

    Args:
        vocabulary_size: int. Number of ids, the special ones included.
        num_layers: int. Number of blocks.
        num_heads: int. Attention heads of each block; must divide
            `hidden_dim`.
        hidden_dim: int. Width of the blocks.
        intermediate_dim: int. Width of the feed-forward networks' middle.
        dropout: float, 0 to 1. Defaults to `0.1`.
        sequence_length: int. Events of a sequence (S), and how far they
            attend. Defaults to `128`.
        noise_dim: int. Size of a noise vector (Z). Defaults to `50`.
        noise_per_event: bool. Whether each place has a noise vector of its
            own, or the whole sequence one. Defaults to `True`.
        causal: bool. Whether places attend only to those before them.
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
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        dropout=0.1,
        sequence_length=128,
        noise_dim=50,
        noise_per_event=True,
        causal=True,
        dtype=None,
        **kwargs,
    ):
        # === Layers ===
        self.noise_projection = NoiseProjectionEmbedding(
            hidden_dim,
            sequence_length=sequence_length,
            dtype=dtype,
            name="noise_projection",
        )
        self.embeddings_dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="embeddings_dropout"
        )
        self.transformer_layers = [
            DecoderBlock(
                intermediate_dim=intermediate_dim,
                num_heads=num_heads,
                max_distance=sequence_length,
                dropout=dropout,
                causal=causal,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="layer_norm"
        )
        self.logits = keras.layers.Dense(
            vocabulary_size, dtype="float32", name="logits"
        )

        # === Functional Model ===
        shape = (noise_dim,)
        if noise_per_event:
            shape = (sequence_length, noise_dim)
        noise = keras.Input(shape, name="noise")
        x = self.noise_projection(noise)
        x = self.embeddings_dropout(x)
        for layer in self.transformer_layers:
            x = layer(x)
        outputs = self.logits(self.layer_norm(x))
        super().__init__(inputs=noise, outputs=outputs, dtype=dtype, **kwargs)

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

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "vocabulary_size": self.vocabulary_size,
                "num_layers": self.num_layers,
                "num_heads": self.num_heads,
                "hidden_dim": self.hidden_dim,
                "intermediate_dim": self.intermediate_dim,
                "dropout": self.dropout,
                "sequence_length": self.sequence_length,
                "noise_dim": self.noise_dim,
                "noise_per_event": self.noise_per_event,
                "causal": self.causal,
            }
        )
        return config
