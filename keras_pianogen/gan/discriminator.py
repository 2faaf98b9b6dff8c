"""Events to one logit, real or generated: the Transformer-GAN's judge."""

import keras
import keras_hub
from keras import ops

from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers import EventEmbedding
from keras_pianogen.layers.building import check_sizes
from keras_pianogen.layers.layer_normalization import LayerNormalization
from keras_pianogen.models.presets import verified_presets


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerDiscriminator(keras_hub.models.Backbone):
    """The Music Transformer as a judge of sequences.

    As in the paper: embedding, Transformer, S x N (time by vocabulary),
    global average pooling to 1 x N, a feed-forward network, one logit. In
    place of event ids it takes distributions over events, through which
    gradients reach a generator.

    Args:
        vocabulary_size: int. Number of ids, the special ones included (N).
        num_layers: int. Number of blocks.
        num_heads: int. Attention heads of each block; must divide
            `hidden_dim`.
        hidden_dim: int. Width of the blocks and of the last network's
            middle.
        intermediate_dim: int. Width of the feed-forward networks' middle.
        dropout: float, 0 to 1. Defaults to `0.1`.
        max_sequence_length: int. How far events attend. Defaults to `128`.
        bidirectional: bool. Whether events also attend to those after them.
            Defaults to `False`.
        spectral_normalization: bool. Whether an optimizer step ends by
            scaling each kernel that was trained down to a largest singular
            value of 1 (after Miyato et al., 2018, who divide at each call).
            Defaults to `False`.
        minibatch_statistics: bool. Whether the last network also sees how
            much the sequences of its batch differ, the mean over features of
            their standard deviation (Karras et al., 2018, section 3).
            Defaults to `False`.
        frozen_layers: int. How many blocks, from the first on, are not
            trained, nor the embedding before them. Defaults to `0`.
        dtype: string or `keras.DTypePolicy`. Of computations and weights.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: int tensor of shape (batch, time), ids, or float tensor of
            shape (batch, time, vocabulary_size), distributions over them.

    Returns:
        Logits, a float32 tensor of shape (batch, 1): above 0 for real.

    Examples:
        >>> import numpy as np
        >>> discriminator = MusicTransformerDiscriminator(
        ...     vocabulary_size=391,
        ...     num_layers=1,
        ...     num_heads=2,
        ...     hidden_dim=16,
        ...     intermediate_dim=32,
        ... )
        >>> tuple(discriminator(np.ones((2, 12), "int32")).shape)
        (2, 1)
    """

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        dropout=0.1,
        max_sequence_length=128,
        bidirectional=False,
        spectral_normalization=False,
        minibatch_statistics=False,
        frozen_layers=0,
        dtype=None,
        **kwargs,
    ):
        if not 0 <= frozen_layers <= num_layers:
            raise ValueError(
                "`frozen_layers` must be 0 to `num_layers`. Received: "
                f"frozen_layers={frozen_layers}, num_layers={num_layers}"
            )
        # === Layers ===
        self.token_embedding = EventEmbedding(
            input_dim=vocabulary_size,
            output_dim=hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            reverse_dtype="float32",
            dtype=dtype,
            name="token_embedding",
        )
        self.embeddings_dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="embeddings_dropout"
        )
        self.transformer_layers = [
            DecoderBlock(
                intermediate_dim=intermediate_dim,
                num_heads=num_heads,
                max_distance=max_sequence_length,
                dropout=dropout,
                causal=not bidirectional,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]
        self.layer_norm = LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="layer_norm"
        )
        self.pooling = keras.layers.GlobalAveragePooling1D(
            dtype="float32", name="pooling"
        )
        self.intermediate_dense = keras.layers.Dense(
            hidden_dim,
            activation="leaky_relu",
            dtype="float32",
            name="intermediate_dense",
        )
        self.output_dense = keras.layers.Dense(
            1, dtype="float32", name="output_dense"
        )

        # === Functional Model ===
        events = keras.Input((None, vocabulary_size), name="events")
        x = self.token_embedding(events)
        x = self.embeddings_dropout(x)
        for layer in self.transformer_layers:
            x = layer(x)
        x = self.token_embedding(self.layer_norm(x), reverse=True)
        features = self.pooling(x)
        x = features
        if minibatch_statistics:
            x = MinibatchStatistics(dtype="float32", name="statistics")(x)
        outputs = self.output_dense(self.intermediate_dense(x))
        super().__init__(inputs=events, outputs=outputs, dtype=dtype, **kwargs)
        # Ids are of another rank than the distributions this graph takes.
        self.input_spec = None
        self._with_features = keras.Model(events, (outputs, features))

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.bidirectional = bidirectional
        self.spectral_normalization = spectral_normalization
        self.minibatch_statistics = minibatch_statistics
        self.frozen_layers = frozen_layers
        self.token_embedding.trainable = frozen_layers == 0
        for layer in self.transformer_layers[:frozen_layers]:
            layer.trainable = False
        for layer in self._flatten_layers():
            if isinstance(layer, LayerNormalization):
                layer.differentiable_twice = True
            if spectral_normalization and isinstance(layer, keras.layers.Dense):
                layer.kernel.constraint = SpectralNorm()

    def call(self, inputs, training=None, mask=None):
        return super().call(self._distributions(inputs), training=training)

    def with_features(self, inputs, training=None):
        """Logits, and what the last network judges by.

        Args:
            inputs: see the class.
            training: bool, or `None`.

        Returns:
            A pair of logits (batch, 1) and pooled features (batch,
            vocabulary_size).
        """
        return self._with_features(
            self._distributions(inputs), training=training
        )

    def _distributions(self, inputs):
        if len(inputs.shape) == 3:
            return inputs
        return ops.one_hot(ops.cast(inputs, "int32"), self.vocabulary_size)

    @classmethod
    def from_music_transformer(cls, backbone, num_layers=None, **kwargs):
        """A discriminator that begins with a Music Transformer's weights.

        Looking both ways, events see those after them as they see those
        before, at first.

        Args:
            backbone: a `MusicTransformerBackbone` with global attention.
            num_layers: int. How many of its blocks are taken, from the first
                on. Defaults to all.
            **kwargs: arguments of the class that have nothing to do with the
                weights' shapes, and `max_sequence_length`, at most the
                backbone's.

        Returns:
            A `MusicTransformerDiscriminator`.
        """
        num_layers = backbone.num_layers if num_layers is None else num_layers
        check_sizes(num_layers=num_layers)
        if num_layers > backbone.num_layers or backbone.local_block_size:
            raise ValueError(
                "`backbone` must have global attention and at least "
                f"`num_layers` blocks. Received: num_layers={num_layers}, a "
                f"backbone of {backbone.num_layers} blocks with "
                f"local_block_size={backbone.local_block_size}"
            )
        reach = backbone.max_sequence_length
        reach = min(kwargs.pop("max_sequence_length", reach), reach)
        model = cls(
            vocabulary_size=backbone.vocabulary_size,
            num_layers=num_layers,
            num_heads=backbone.num_heads,
            hidden_dim=backbone.hidden_dim,
            intermediate_dim=backbone.intermediate_dim,
            max_sequence_length=reach,
            **kwargs,
        )
        model._copy_weights(backbone)
        return model

    def _copy_weights(self, backbone):
        pairs = [
            (self.token_embedding, backbone.token_embedding),
            (self.layer_norm, backbone.layer_norm),
            *zip(self.transformer_layers, backbone.transformer_layers),
        ]
        for own, pretrained in pairs:
            for to, value in zip(own.weights, pretrained.weights, strict=True):
                value = ops.convert_to_numpy(value)
                if to.name == "relative_embeddings":
                    value = value[-self.max_sequence_length :]
                    if self.bidirectional:
                        value = ops.concatenate([value, value[-2::-1]])
                    if value.shape[1] != to.shape[1]:  # Shared by the heads.
                        value = ops.broadcast_to(value, to.shape)
                to.assign(value)

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
                "max_sequence_length": self.max_sequence_length,
                "bidirectional": self.bidirectional,
                "spectral_normalization": self.spectral_normalization,
                "minibatch_statistics": self.minibatch_statistics,
                "frozen_layers": self.frozen_layers,
            }
        )
        return config


@keras.saving.register_keras_serializable(package="keras_pianogen")
class MinibatchStatistics(keras.layers.Layer):
    """One more feature: how much the rows of a batch differ.

    The mean over features of their standard deviation over the batch (Karras
    et al., 2018, section 3).

    Args:
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, features).

    Returns:
        A tensor of shape (batch, features + 1).
    """

    def call(self, inputs):
        # The root of exactly zero would have an infinite gradient.
        deviation = ops.sqrt(ops.var(inputs, axis=0) + 1e-8)
        statistic = ops.ones_like(inputs[:, :1]) * ops.mean(deviation)
        return ops.concatenate([inputs, statistic], axis=-1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] + 1)


@keras.saving.register_keras_serializable(package="keras_pianogen")
class SpectralNorm(keras.constraints.Constraint):
    """Scales a kernel down to a largest singular value of at most 1.

    The singular value is found by power iteration (Miyato et al., 2018,
    algorithm 1) from a fixed vector.

    Args:
        iterations: int. Steps of the power iteration. Defaults to `8`.
    """

    def __init__(self, iterations=8):
        self.iterations = iterations

    def __call__(self, value):
        kernel = ops.reshape(value, (-1, value.shape[-1]))
        vector = ops.ones((kernel.shape[1], 1), kernel.dtype)
        vector = vector + ops.cast(
            ops.sin(ops.arange(kernel.shape[1], dtype="float32")[:, None]),
            kernel.dtype,
        )
        for _ in range(self.iterations):
            other = _unit(ops.matmul(kernel, vector))
            vector = _unit(ops.matmul(ops.transpose(kernel), other))
        sigma = ops.sqrt(ops.sum(ops.square(ops.matmul(kernel, vector))))
        return value / ops.maximum(sigma, 1.0)

    def get_config(self):
        return {"iterations": self.iterations}


def _unit(vector):
    return vector / ops.sqrt(ops.sum(ops.square(vector)) + 1e-12)
