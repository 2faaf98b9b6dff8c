"""Relative self-attention within blocks of a sequence.

It shares its projections and its cache with global relative attention.
"""

import keras
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.layers.building import check_sizes
from keras_pianogen.layers.relative_attention import RelativeAttention


@keras.saving.register_keras_serializable(package="keras_pianogen")
class RelativeLocalAttention(RelativeAttention):
    """Relative attention within blocks of a sequence.

    The sequence is cut into blocks of `local_block_size` events, and the last
    block may be shorter. An event attends to itself and to the events before
    it in its own block, as in figures 2 and 3 of the paper that this package
    implements ("they only attend themselves"). With
    `attend_previous_block=True` it also attends to the whole block before, as
    in section 3.4.1 of Huang et al. (2018). The equation is that of
    `RelativeGlobalAttention`. Time and memory grow linearly with the length.

    Args:
        num_heads: int. Number of attention heads.
        key_dim: int. Size of each head.
        local_block_size: int. Number of events in a block. Defaults to `128`.
        attend_previous_block: bool. Whether an event attends to the block
            before its own. Defaults to `False`.
        share_heads: see `RelativeGlobalAttention`.
        use_bias: see `RelativeGlobalAttention`.
        kernel_initializer: see `RelativeGlobalAttention`.
        relative_initializer: see `RelativeGlobalAttention`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, time, features).
        padding_mask: see `RelativeGlobalAttention`.
        cache: see `RelativeGlobalAttention`. Its capacity is one block, or
            two with `attend_previous_block`.
        cache_update_index: see `RelativeGlobalAttention`.

    Returns:
        A tensor of the shape of `inputs`; with a cache, a pair of this tensor
        and the updated cache.

    Raises:
        ValueError: see `RelativeGlobalAttention`.

    Examples:
        >>> import numpy as np
        >>> layer = RelativeLocalAttention(2, key_dim=8, local_block_size=4)
        >>> tuple(layer(np.zeros((1, 10, 16), "float32")).shape)
        (1, 10, 16)

    Reference:
        - [Huang et al., Music Transformer, 2018](https://arxiv.org/abs/1809.04281)
    """

    def __init__(
        self,
        num_heads,
        key_dim,
        local_block_size=128,
        attend_previous_block=False,
        share_heads=False,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        relative_initializer=None,
        **kwargs,
    ):
        check_sizes(local_block_size=local_block_size)
        super().__init__(
            num_heads,
            key_dim,
            local_block_size * (2 if attend_previous_block else 1),
            share_heads,
            use_bias,
            kernel_initializer,
            relative_initializer,
            **kwargs,
        )
        self.local_block_size = local_block_size
        self.attend_previous_block = attend_previous_block

    def _attend(self, query, key, value, relative, padding_mask):
        """Attention in which each block is a sequence of its own."""
        size, time = self.local_block_size, ops.shape(query)[2]
        if isinstance(time, int) and time <= size:
            return dispatch.attend(query, key, value, relative, padding_mask)
        behind = size if self.attend_previous_block else 0
        outputs = dispatch.attend(
            _blocks(query, size, 0),
            _blocks(key, size, behind),
            _blocks(value, size, behind),
            relative,
            self._visible(padding_mask, query, behind),
            offset=behind,
        )  # (batch * blocks, heads, size, key_dim)
        batch = ops.shape(query)[0]
        outputs = ops.reshape(
            outputs, (batch, -1, self.num_heads, size, self.key_dim)
        )
        outputs = ops.transpose(outputs, (0, 2, 1, 3, 4))
        outputs = ops.reshape(
            outputs, (batch, self.num_heads, -1, self.key_dim)
        )
        return outputs[:, :, :time]

    def _visible(self, padding_mask, query, behind):
        """The mask of each block's keys: the first block has none before it."""
        if padding_mask is None and not behind:
            return None
        if padding_mask is None:
            padding_mask = ops.ones_like(query[:, 0, :, 0], dtype="bool")
        mask = ops.cast(padding_mask, "int32")[:, None, :, None]
        mask = _blocks(mask, self.local_block_size, behind)
        return ops.cast(mask[:, 0, :, 0], "bool")

    def reach(self, index):
        behind = self.max_distance - self.local_block_size
        within = ops.mod(index, self.local_block_size)
        return ops.minimum(index, within + behind)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "local_block_size": self.local_block_size,
                "attend_previous_block": self.attend_previous_block,
            }
        )
        return config


def _blocks(x, size, behind):
    """(batch, heads, time, dim) to (batch * blocks, heads, behind + size, dim).

    If `behind` is 0, a block has its own events only. If it is `size`, a block
    begins with the events of the block before.
    """
    batch, heads, time, dim = ops.shape(x)
    count = -(-time // size)
    x = ops.pad(x, ((0, 0), (0, 0), (behind, count * size - time), (0, 0)))
    own = ops.reshape(x[:, :, behind:], (batch, heads, count, size, dim))
    if behind:
        before = x[:, :, : count * size]
        before = ops.reshape(before, (batch, heads, count, size, dim))
        own = ops.concatenate([before, own], axis=3)
    own = ops.transpose(own, (0, 2, 1, 3, 4))
    return ops.reshape(own, (batch * count, heads, behind + size, dim))
