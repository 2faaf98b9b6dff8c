"""The Transformer-GAN's discriminator: from events to one logit."""

import keras
import keras_hub
from keras import ops

from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers import EventEmbedding
from keras_pianogen.layers.building import check_sizes
from keras_pianogen.layers.layer_normalization import LayerNormalization
from keras_pianogen.layers.ranges import Count
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import Heads
from keras_pianogen.layers.ranges import Layers
from keras_pianogen.layers.ranges import Share
from keras_pianogen.layers.ranges import Width
from keras_pianogen.models.arguments import arguments_of
from keras_pianogen.models.presets import verified_presets


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerDiscriminator(keras_hub.models.Backbone):
    """The Music Transformer as a classifier of real and generated sequences.

    Its parts are those of the paper: embedding, Transformer, S x N (time by
    vocabulary), global average pooling to 1 x N, a feed-forward network, one
    logit. It also takes distributions over events in place of event ids, so
    that gradients reach a generator.

    Args:
        vocabulary_size: int. Number of ids, the special ones included (N).
        num_layers: int. Number of blocks.
        num_heads: int. Attention heads of each block; must divide
            `hidden_dim`.
        hidden_dim: int. Width of the blocks, and of the hidden layer of the
            last network.
        intermediate_dim: int. Width of the hidden layer of each block's
            feed-forward network.
        dropout: float, 0 to 1. Defaults to `0.1`.
        max_sequence_length: int. Number of events that an event can attend
            to, itself included. Defaults to `128`.
        bidirectional: bool. Whether events also attend to those after them.
            Defaults to `False`.
        spectral_normalization: bool. Whether an optimizer step ends by
            scaling each trained kernel down to a largest singular value of 1
            (after Miyato et al., 2018, who divide at each call).
            Defaults to `False`.
        minibatch_statistics: bool. Whether the last network also receives
            one number that says how much the sequences of a batch differ, see
            `MinibatchStatistics`. Defaults to `False`.
        frozen_layers: int. Number of blocks, from the first on, that are not
            trained. With 1 or more, the embedding isn't trained either.
            Defaults to `0`.
        dtype: string or `keras.DTypePolicy`. Of computations and weights.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: ids, an int tensor of shape (batch, time), or distributions
            over them, a float tensor of shape (batch, time, vocabulary_size).

    Returns:
        Logits, a float32 tensor of shape (batch, 1). A logit above 0 means
        real.

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
        vocabulary_size: Width,
        num_layers: Layers,
        num_heads: Heads,
        hidden_dim: Width,
        intermediate_dim: Width,
        dropout: Share = 0.1,
        max_sequence_length: Width = 128,
        bidirectional: Flag = False,
        spectral_normalization: Flag = False,
        minibatch_statistics: Flag = False,
        frozen_layers: Count = 0,
        dtype=None,
        **kwargs,
    ):
        _check_frozen_layers(frozen_layers, num_layers)
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
        # === Layers ===
        self._add_layers(dtype)
        # === Functional Model ===
        events = keras.Input((None, vocabulary_size), name="events")
        features, outputs = self._judge(events)
        super().__init__(inputs=events, outputs=outputs, dtype=dtype, **kwargs)
        # The graph takes distributions; ids have another rank.
        self.input_spec = None
        self._with_features = keras.Model(events, (outputs, features))
        self._prepare_for_training()

    def _add_layers(self, dtype):
        self.token_embedding = EventEmbedding(
            input_dim=self.vocabulary_size,
            output_dim=self.hidden_dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
            reverse_dtype="float32",
            dtype=dtype,
            name="token_embedding",
        )
        self.embeddings_dropout = keras.layers.Dropout(
            self.dropout, dtype=dtype, name="embeddings_dropout"
        )
        self.transformer_layers = self._blocks(dtype)
        self.layer_norm = LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="layer_norm"
        )
        self.pooling = keras.layers.GlobalAveragePooling1D(
            dtype="float32", name="pooling"
        )
        self.intermediate_dense = keras.layers.Dense(
            self.hidden_dim,
            activation="leaky_relu",
            dtype="float32",
            name="intermediate_dense",
        )
        self.output_dense = keras.layers.Dense(
            1, dtype="float32", name="output_dense"
        )

    def _blocks(self, dtype):
        return [
            DecoderBlock(
                intermediate_dim=self.intermediate_dim,
                num_heads=self.num_heads,
                max_distance=self.max_sequence_length,
                dropout=self.dropout,
                causal=not self.bidirectional,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(self.num_layers)
        ]

    def _judge(self, events):
        """Pooled features (batch, N) of symbolic events, and their logits."""
        x = self.embeddings_dropout(self.token_embedding(events))
        for layer in self.transformer_layers:
            x = layer(x)
        x = self.token_embedding(self.layer_norm(x), reverse=True)
        features = x = self.pooling(x)
        if self.minibatch_statistics:
            x = MinibatchStatistics(dtype="float32", name="statistics")(x)
        return features, self.output_dense(self.intermediate_dense(x))

    def _prepare_for_training(self):
        """Freeze layers, constrain kernels, allow second derivatives."""
        self.token_embedding.trainable = self.frozen_layers == 0
        for layer in self.transformer_layers[: self.frozen_layers]:
            layer.trainable = False
        if self.spectral_normalization:
            for weight in self.weights:
                if weight.name == "kernel":
                    weight.constraint = SpectralNorm()
        self.layer_norm.differentiable_twice = True
        for layer in self.transformer_layers:
            layer.self_attention_layer_norm.differentiable_twice = True
            layer.feedforward_layer_norm.differentiable_twice = True

    def call(self, inputs, training=None, mask=None):
        return super().call(self._distributions(inputs), training=training)

    def with_features(self, inputs, training=None):
        """Logits, and the features that the last network computes them from.

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
        """A discriminator that starts with the weights of a Music Transformer.

        If it is bidirectional, later events start with the relative
        embeddings of earlier events at the same distance.

        Args:
            backbone: a `MusicTransformerBackbone` with global attention.
            num_layers: int. Number of blocks that are copied, from the first
                on. Defaults to `None`, all.
            **kwargs: arguments of the class that don't change the shape of a
                weight, and `max_sequence_length`, which is at most the
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
        return super().get_config() | arguments_of(self)


@keras.saving.register_keras_serializable(package="keras_pianogen")
class MinibatchStatistics(keras.layers.Layer):
    """Adds a feature that says how much the sequences of a batch differ.

    It is the standard deviation over the batch, averaged over the features
    (Karras et al., 2018, section 3), and the same for each sequence.

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
        iterations: int. Number of power iterations. Defaults to `8`.
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


def _check_frozen_layers(frozen_layers, num_layers):
    if not 0 <= frozen_layers <= num_layers:
        raise ValueError(
            "`frozen_layers` must be 0 to `num_layers`. Received: "
            f"frozen_layers={frozen_layers}, num_layers={num_layers}"
        )


def _unit(vector):
    return vector / ops.sqrt(ops.sum(ops.square(vector)) + 1e-12)
