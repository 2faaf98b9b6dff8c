"""The Music Transformer without its output layer (Huang et al., 2018)."""

import keras
import keras_hub

from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers.ranges import Activation
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import Heads
from keras_pianogen.layers.ranges import Layers
from keras_pianogen.layers.ranges import Length
from keras_pianogen.layers.ranges import Share
from keras_pianogen.layers.ranges import Width
from keras_pianogen.models.embedding import event_embedding
from keras_pianogen.models.embedding import event_inputs
from keras_pianogen.models.presets import bundled_presets


def check_heads(num_heads, hidden_dim):
    """Refuses a width that the heads can't share out.

    Raises:
        ValueError: if `num_heads` doesn't divide `hidden_dim`.
    """
    if num_heads < 1 or hidden_dim % num_heads:
        raise ValueError(
            "`num_heads` must divide `hidden_dim`. Received: "
            f"num_heads={num_heads}, hidden_dim={hidden_dim}"
        )


class LowRankOnly:
    """Mixin of a backbone whose LoRA trains nothing but its own kernels."""

    def enable_lora(self, rank, target_layer_names=None):
        """Freeze the model, but for low-rank additions to some kernels.

        KerasHub's own also trains the biases of these layers, which
        `save_lora_weights` then leaves out. Here they are frozen too, so that
        its file and the preset together are the trained model.

        Args:
            rank: int. Rank of each addition.
            target_layer_names: list of the names of layers to add to, out of
                `query`, `key`, `value`, `attention_output`,
                `feedforward_intermediate_dense` and
                `feedforward_output_dense`. Defaults to `None`, query and
                value.

        Reference:
            - [Hu et al., LoRA, 2021](https://arxiv.org/abs/2106.09685)
        """
        super().enable_lora(rank, target_layer_names)
        for weight in self.trainable_weights:
            if not weight.name.startswith("lora_kernel"):
                weight.trainable = False


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerBackbone(LowRankOnly, keras_hub.models.Backbone):
    """A stack of relative-attention blocks over embedded event ids.

    Positions enter through relative attention alone, so nothing in the
    weights is tied to a place in the sequence.

    Args:
        vocabulary_size: int. Number of ids, the special ones included.
        num_layers: int. Number of blocks.
        num_heads: int. Attention heads of each block; must divide
            `hidden_dim`.
        hidden_dim: int. Width of embeddings and blocks.
        intermediate_dim: int. Width of the feed-forward networks' middle.
        dropout: float, 0 to 1. Dropout of embeddings and of every residual
            branch. Defaults to `0.1`.
        max_sequence_length: int. How many events back an event can attend
            to. Longer sequences are seen through a window that moves along.
            Defaults to `1024`.
        share_heads: bool. Whether heads share their relative embeddings.
            Defaults to `False`.
        activation: activation of the feed-forward networks. Defaults to
            `"relu"`.
        normalize_first: bool. Pre-norm (`True`) or the paper's post-norm.
            Defaults to `True`.
        layer_norm_epsilon: float. Defaults to `1e-5`.
        local_block_size: int. Makes attention local, to blocks of so many
            events, see `RelativeLocalAttention`. Defaults to `None`, global
            attention.
        attend_previous_block: bool. Whether local attention sees the block
            before as well. Needs `local_block_size`. Defaults to `False`.
        dtype: string or `keras.DTypePolicy`. Of computations and weights.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: dict of `token_ids`, int tensor of shape (batch, time), and
            `padding_mask`, bool tensor of the same shape, `False` on padding.

    Returns:
        Hidden states, a tensor of shape (batch, time, hidden_dim).

    Examples:
        >>> import numpy as np
        >>> backbone = MusicTransformerBackbone(
        ...     vocabulary_size=391,
        ...     num_layers=2,
        ...     num_heads=2,
        ...     hidden_dim=16,
        ...     intermediate_dim=32,
        ... )
        >>> inputs = {
        ...     "token_ids": np.ones((1, 12), "int32"),
        ...     "padding_mask": np.ones((1, 12), "bool"),
        ... }
        >>> tuple(backbone(inputs).shape)
        (1, 12, 16)

    Reference:
        - [Huang et al., Music Transformer, 2018](https://arxiv.org/abs/1809.04281)
    """

    def __init__(
        self,
        vocabulary_size: Width,
        num_layers: Layers,
        num_heads: Heads,
        hidden_dim: Width,
        intermediate_dim: Width,
        dropout: Share = 0.1,
        max_sequence_length: Width = 1024,
        share_heads: Flag = False,
        activation: Activation = "relu",
        normalize_first: Flag = True,
        layer_norm_epsilon: Share = 1e-5,
        local_block_size: Length | None = None,
        attend_previous_block: Flag = False,
        dtype=None,
        **kwargs,
    ):
        check_heads(num_heads, hidden_dim)
        # === Layers ===
        self.token_embedding = event_embedding(
            vocabulary_size, hidden_dim, dtype
        )
        self.embeddings_dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="embeddings_dropout"
        )
        self.transformer_layers = [
            DecoderBlock(
                intermediate_dim=intermediate_dim,
                num_heads=num_heads,
                max_distance=max_sequence_length,
                share_heads=share_heads,
                dropout=dropout,
                activation=activation,
                normalize_first=normalize_first,
                layer_norm_epsilon=layer_norm_epsilon,
                local_block_size=local_block_size,
                attend_previous_block=attend_previous_block,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(num_layers)
        ]
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=dtype, name="layer_norm"
        )

        # === Functional Model ===
        inputs = event_inputs()
        x = self.token_embedding(inputs["token_ids"])
        x = self.embeddings_dropout(x)
        for layer in self.transformer_layers:
            x = layer(x, padding_mask=inputs["padding_mask"])
        x = self.layer_norm(x)
        super().__init__(inputs=inputs, outputs=x, dtype=dtype, **kwargs)

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.share_heads = share_heads
        self.activation = activation
        self.normalize_first = normalize_first
        self.layer_norm_epsilon = layer_norm_epsilon
        self.local_block_size = local_block_size
        self.attend_previous_block = attend_previous_block

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
                "share_heads": self.share_heads,
                "activation": self.activation,
                "normalize_first": self.normalize_first,
                "layer_norm_epsilon": self.layer_norm_epsilon,
                "local_block_size": self.local_block_size,
                "attend_previous_block": self.attend_previous_block,
            }
        )
        return config
