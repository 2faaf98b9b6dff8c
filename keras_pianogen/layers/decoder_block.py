"""One block of the Music Transformer: attention and a feed-forward network."""

import keras

from keras_pianogen.layers.building import apply
from keras_pianogen.layers.building import clone
from keras_pianogen.layers.building import output_spec
from keras_pianogen.layers.layer_normalization import LayerNormalization
from keras_pianogen.layers.local_attention import RelativeLocalAttention
from keras_pianogen.layers.relative_attention import RelativeGlobalAttention


@keras.saving.register_keras_serializable(package="keras_pianogen")
class DecoderBlock(keras.layers.Layer):
    """Relative self-attention and a position-wise feed-forward network.

    Each part is a residual branch that ends with dropout. With
    `normalize_first=True` a branch begins with layer normalization, which
    trains well at any depth. With `False`, the paper's own order, the sum is
    normalized.

    The block either makes its relative attention from `num_heads`,
    `max_distance`, `share_heads`, `local_block_size`, `attend_previous_block`,
    `causal` and `num_phases`; or is given another layer as its `attention`, and
    uses none of these seven.

    Args:
        intermediate_dim: int. Width of the feed-forward network's middle.
        num_heads: int. Number of attention heads; must divide the inputs'
            last dimension.
        max_distance: int. Number of events that an event can attend to,
            itself included. Defaults to `1024`.
        share_heads: bool. Whether heads share their relative embeddings.
            Defaults to `False`.
        dropout: float, 0 to 1. Share of each branch's output that is dropped
            while training. Defaults to `0.1`, the paper's best.
        activation: activation between the two linear layers. Defaults to
            `"relu"`, the paper's.
        normalize_first: bool. Pre-norm (`True`) or the paper's post-norm
            (`False`). Defaults to `True`.
        layer_norm_epsilon: float. Defaults to `1e-5`.
        kernel_initializer: initializer of all kernels. Defaults to
            `"glorot_uniform"`.
        local_block_size: int. Number of events in a block of local attention,
            see `RelativeLocalAttention`; `max_distance` is not used then.
            Defaults to `None`, global attention.
        attend_previous_block: bool. Whether local attention also sees the
            block before. Needs `local_block_size`. Defaults to `False`.
        causal: bool. Whether events see only those before them. `False` is
            for global attention only. Defaults to `True`.
        attention: a self-attention layer with the call arguments of
            `RelativeGlobalAttention`. Defaults to `None`, relative attention.
        num_phases: int. See `RelativeGlobalAttention`; for global attention
            only. Defaults to `0`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, time, hidden_dim).
        padding_mask: optional bool tensor of shape (batch, time).
        cache, cache_update_index, phases: see `RelativeGlobalAttention`.

    Returns:
        A tensor of the shape of `inputs`; with a cache, a pair of this tensor
        and the updated cache.

    Raises:
        ValueError: if `num_heads` does not divide the inputs' last dimension;
            if both `num_heads` and `attention` are given, or neither; if
            `attend_previous_block` comes without `local_block_size`, or
            `local_block_size` with `causal=False` or `num_phases`.

    Examples:
        >>> import numpy as np
        >>> block = DecoderBlock(intermediate_dim=32, num_heads=2)
        >>> tuple(block(np.zeros((1, 5, 16), "float32")).shape)
        (1, 5, 16)
    """

    def __init__(
        self,
        intermediate_dim,
        num_heads=None,
        max_distance=1024,
        share_heads=False,
        dropout=0.1,
        activation="relu",
        normalize_first=True,
        layer_norm_epsilon=1e-5,
        kernel_initializer="glorot_uniform",
        local_block_size=None,
        attend_previous_block=False,
        causal=True,
        attention=None,
        num_phases=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if (num_heads is None) == (attention is None):
            raise ValueError(
                "A block needs either `num_heads` or `attention`. Received: "
                f"num_heads={num_heads}, attention={attention}"
            )
        if not causal and local_block_size is not None:
            raise ValueError(
                "Local attention is causal. Received: causal=False, "
                f"local_block_size={local_block_size}"
            )
        if num_phases and local_block_size is not None:
            raise ValueError(
                "Local attention has no phases. Received: "
                f"num_phases={num_phases}, local_block_size={local_block_size}"
            )
        if attend_previous_block and local_block_size is None:
            raise ValueError(
                "`attend_previous_block` needs `local_block_size`. Received: "
                "attend_previous_block=True, local_block_size=None"
            )
        self.causal = causal
        self.num_phases = num_phases
        self.local_block_size = local_block_size
        self.attend_previous_block = attend_previous_block
        self.intermediate_dim = intermediate_dim
        self.num_heads = num_heads
        self.max_distance = max_distance
        self.share_heads = share_heads
        self.dropout = dropout
        self.activation = keras.activations.get(activation)
        self.normalize_first = normalize_first
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        if isinstance(attention, dict):
            attention = keras.saving.deserialize_keras_object(attention)
        self.self_attention = attention
        self.supports_masking = True

    def build(self, input_shape):
        hidden_dim = input_shape[-1]
        if self.num_heads is not None:
            self.self_attention = self._relative_attention(input_shape)
        self.self_attention_layer_norm = self._layer_norm(
            "self_attention_layer_norm"
        )
        self.self_attention_dropout = self._dropout("self_attention_dropout")
        self.feedforward_intermediate_dense = keras.layers.Dense(
            self.intermediate_dim,
            activation=self.activation,
            kernel_initializer=clone(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="feedforward_intermediate_dense",
        )
        self.feedforward_output_dense = keras.layers.Dense(
            hidden_dim,
            kernel_initializer=clone(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="feedforward_output_dense",
        )
        self.feedforward_layer_norm = self._layer_norm("feedforward_layer_norm")
        self.feedforward_dropout = self._dropout("feedforward_dropout")
        shape = (None, None, hidden_dim)
        for layer in (
            self.self_attention,
            self.self_attention_layer_norm,
            self.feedforward_intermediate_dense,
            self.feedforward_layer_norm,
        ):
            if not layer.built:
                layer.build(shape)
        self.feedforward_output_dense.build((None, None, self.intermediate_dim))
        self.built = True

    def _relative_attention(self, input_shape):
        if self.num_heads < 1 or input_shape[-1] % self.num_heads:
            raise ValueError(
                "`num_heads` must divide the inputs' last dimension. "
                f"Received: num_heads={self.num_heads}, "
                f"inputs.shape={tuple(input_shape)}"
            )
        settings = {
            "num_heads": self.num_heads,
            "key_dim": input_shape[-1] // self.num_heads,
            "share_heads": self.share_heads,
            "kernel_initializer": clone(self.kernel_initializer),
            "dtype": self.dtype_policy,
            "name": "self_attention",
        }
        if self.local_block_size is None:
            return RelativeGlobalAttention(
                max_distance=self.max_distance,
                causal=self.causal,
                num_phases=self.num_phases,
                **settings,
            )
        return RelativeLocalAttention(
            local_block_size=self.local_block_size,
            attend_previous_block=self.attend_previous_block,
            **settings,
        )

    def _layer_norm(self, name):
        return LayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def _dropout(self, name):
        return keras.layers.Dropout(
            self.dropout, dtype=self.dtype_policy, name=name
        )

    def call(
        self,
        inputs,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        phases=None,
        training=None,
    ):
        more = {} if phases is None else {"phases": phases}

        def attend(x):
            nonlocal cache
            x = apply(
                self.self_attention,
                x,
                padding_mask=padding_mask,
                cache=cache,
                cache_update_index=cache_update_index,
                **more,
            )
            if cache is not None:
                x, cache = x
            return self.self_attention_dropout(x, training=training)

        def feed_forward(x):
            x = apply(self.feedforward_intermediate_dense, x)
            x = apply(self.feedforward_output_dense, x)
            return self.feedforward_dropout(x, training=training)

        x = self._branch(attend, self.self_attention_layer_norm, inputs)
        x = self._branch(feed_forward, self.feedforward_layer_norm, x)
        return x if cache is None else (x, cache)

    def _branch(self, function, layer_norm, x):
        if self.normalize_first:
            return x + function(apply(layer_norm, x))
        return apply(layer_norm, x + function(x))

    def compute_output_spec(
        self,
        inputs,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        phases=None,
        training=None,
    ):
        return output_spec(self, inputs, cache)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        attention = None
        if self.num_heads is None:
            attention = keras.saving.serialize_keras_object(self.self_attention)
        config.update(
            {
                "intermediate_dim": self.intermediate_dim,
                "num_heads": self.num_heads,
                "max_distance": self.max_distance,
                "share_heads": self.share_heads,
                "dropout": self.dropout,
                "activation": keras.activations.serialize(self.activation),
                "normalize_first": self.normalize_first,
                "layer_norm_epsilon": self.layer_norm_epsilon,
                "local_block_size": self.local_block_size,
                "attend_previous_block": self.attend_previous_block,
                "causal": self.causal,
                "num_phases": self.num_phases,
                "attention": attention,
                "kernel_initializer": keras.initializers.serialize(
                    self.kernel_initializer
                ),
            }
        )
        return config
