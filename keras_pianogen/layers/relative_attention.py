"""Relative self-attention, global and local, with its cache.

After Huang et al. (2018). Shapes are named (batch, time, num_heads, key_dim);
one "event" is one step in time. Layers here know nothing of notes or of
vocabularies; how the sums are done on each backend is in `kernels`.
"""

import keras
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.attention import whole
from keras_pianogen.attention.ring import KeyValueCache
from keras_pianogen.layers.building import apply
from keras_pianogen.layers.building import check_sizes
from keras_pianogen.layers.building import clone
from keras_pianogen.layers.building import output_spec


class _RelativeAttention(keras.layers.Layer):
    """What global and local attention share: projections and the cache.

    A subclass gives `max_distance`, the number of relative embeddings;
    `_attend`, attention over whole sequences; and `reach`, how many events
    back the event of an index may look.
    """

    causal = True

    def __init__(
        self,
        num_heads,
        key_dim,
        max_distance,
        share_heads,
        use_bias,
        kernel_initializer,
        relative_initializer,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_sizes(
            num_heads=num_heads, key_dim=key_dim, max_distance=max_distance
        )
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.max_distance = max_distance
        self.share_heads = share_heads
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.relative_initializer = keras.initializers.get(
            relative_initializer or keras.initializers.RandomNormal(stddev=0.02)
        )
        self.supports_masking = True

    def build(self, input_shape):
        if len(input_shape) != 3:
            raise ValueError(
                "`inputs` must have the shape (batch, time, features). "
                f"Received: inputs.shape={tuple(input_shape)}"
            )
        features = input_shape[-1]
        width = self.num_heads * self.key_dim
        self.query = self._projection(width, "query")
        self.key = self._projection(width, "key")
        self.value = self._projection(width, "value")
        self.attention_output = self._projection(features, "attention_output")
        for layer in (self.query, self.key, self.value):
            layer.build((None, None, features))
        self.attention_output.build((None, None, width))
        self.relative_embeddings = self.add_weight(
            name="relative_embeddings",
            shape=(
                self.max_distance if self.causal else 2 * self.max_distance - 1,
                1 if self.share_heads else self.num_heads,
                self.key_dim,
            ),
            initializer=self.relative_initializer,
        )
        self.built = True

    def _projection(self, units, name):
        return keras.layers.Dense(
            units,
            use_bias=self.use_bias,
            kernel_initializer=clone(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def build_cache(self, batch_size, capacity=None):
        """An empty cache for `batch_size` sequences.

        Args:
            batch_size: int. Number of sequences.
            capacity: int. Number of events kept. Defaults to `max_distance`,
                with which the cache is exact for sequences of any length; a
                smaller one is exact up to `capacity` events.

        Returns:
            A pair of zeros of shape (batch, num_heads, capacity, key_dim).
        """
        if not self.causal:
            raise ValueError(
                "Attention that looks both ways has no cache: what an event "
                "sees changes with each one after it. Received: causal=False"
            )
        capacity = min(capacity or self.max_distance, self.max_distance)
        shape = (batch_size, self.num_heads, capacity, self.key_dim)
        return (
            ops.zeros(shape, dtype=self.compute_dtype),
            ops.zeros(shape, dtype=self.compute_dtype),
        )

    def call(
        self,
        inputs,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        training=None,
    ):
        query, key, value = (
            self._split_heads(apply(layer, inputs))
            for layer in (self.query, self.key, self.value)
        )  # (batch, heads, time, key_dim)
        relative = ops.cast(self.relative_embeddings, query.dtype)
        if cache is None:
            x = self._attend(query, key, value, relative, padding_mask)
        else:
            kept = _key_value_cache(cache, cache_update_index)
            is_prefill = kept.is_empty and query.shape[2] > 1
            kept = kept.write(key, value)
            if is_prefill:  # The new events have only each other.
                x = self._attend(query, key, value, relative, padding_mask)
            else:
                x = kept.attend(query, relative, self.reach)
            cache = kept if isinstance(cache, KeyValueCache) else kept.merge()
        x = apply(self.attention_output, self._join_heads(x))
        return x if cache is None else (x, cache)

    def _split_heads(self, x):
        shape = ops.shape(x)
        x = ops.reshape(x, (*shape[:2], self.num_heads, self.key_dim))
        return ops.transpose(x, (0, 2, 1, 3))  # (batch, heads, time, key_dim)

    def _join_heads(self, x):
        x = ops.transpose(x, (0, 2, 1, 3))  # (batch, time, heads, key_dim)
        width = self.num_heads * self.key_dim
        return ops.reshape(x, (*ops.shape(x)[:2], width))

    def compute_output_spec(
        self,
        inputs,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        training=None,
    ):
        return output_spec(self, inputs, cache)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "num_heads": self.num_heads,
                "key_dim": self.key_dim,
                "share_heads": self.share_heads,
                "use_bias": self.use_bias,
                "kernel_initializer": keras.initializers.serialize(
                    self.kernel_initializer
                ),
                "relative_initializer": keras.initializers.serialize(
                    self.relative_initializer
                ),
            }
        )
        return config


@keras.saving.register_keras_serializable(package="keras_pianogen")
class RelativeGlobalAttention(_RelativeAttention):
    r"""Multi-head self-attention with learned relative positions.

    Each head computes equation 3 of Huang et al. (2018),

    $$\mathrm{softmax}\left(\frac{Q K^\top + S^{rel}}{\sqrt{D_h}}\right) V,
    \qquad S^{rel}_{ij} = Q_i \cdot E^r_{j - i}$$

    | symbol | here | shape |
    | --- | --- | --- |
    | $Q, K, V$ | projections of the inputs | (batch, time, heads, key_dim) |
    | $E^r$ | `relative_embeddings` | (max_distance, heads or 1, key_dim) |
    | $D_h$ | `key_dim` | |

    The last row of $E^r$ is distance 0, the first one `max_distance - 1`.

    An event attends to itself and to the `max_distance - 1` events before it.
    Up to `max_distance` events this is the paper's layer exactly; a longer
    sequence is seen through a window that moves along, and the cache, a ring
    of `max_distance` places, gives the same result at a constant cost per
    event.

    Queries are handled in blocks whose keys end where the block ends, and the
    gradient computes each block's logits anew: memory grows linearly with
    time, and keys in the future of a block cost nothing. (Lengths that are
    only known when a TensorFlow graph runs, and second derivatives on
    PyTorch and TensorFlow, are done with the whole (time, time) matrix.)

    Departures from the paper: the window above; `share_heads=True` keeps one
    row per distance for all heads, as Shaw et al. (2018) do.

    Args:
        num_heads: int. Number of attention heads.
        key_dim: int. Size of each head.
        max_distance: int. How many events back, its own place included, an
            event can attend to. Defaults to `1024`.
        share_heads: bool. Whether all heads use the same relative
            embeddings. Defaults to `False`.
        block_size: int. Number of queries handled at once. Changes speed and
            memory, never the result. Defaults to `None`, what was measured
            to be fastest.
        use_bias: bool. Whether the projections have biases. Defaults to
            `True`.
        kernel_initializer: initializer of the projections. Defaults to
            `"glorot_uniform"`.
        relative_initializer: initializer of the relative embeddings. Defaults
            to a normal distribution of standard deviation 0.02.
        causal: bool. With `False` an event also attends to those after it,
            over relative embeddings of shape (2 * max_distance - 1, heads or
            1, key_dim), whose first `max_distance` rows are those of `True`;
            there is no cache then, and memory grows with time squared.
            Defaults to `True`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, time, features).
        padding_mask: optional bool tensor of shape (batch, time), `False`
            where a key must not be attended to. Not used for a single event
            with a cache. An event that sees no key at all attends to nothing.
        cache: optional pair of tensors of shape (batch, num_heads, capacity,
            key_dim), keys and values of the last `capacity` events, as made
            by `build_cache`. `capacity` is at most `max_distance`.
        cache_update_index: int, or scalar int tensor: how many events the
            cache has seen. With several events at once it must be `0`.

    Returns:
        A tensor of the shape of `inputs`; with a cache, a pair of it and the
        updated cache.

    Raises:
        ValueError: if `inputs` is not of rank 3, or several events meet a
            cache that has already been written to.

    Examples:
        >>> import numpy as np
        >>> layer = RelativeGlobalAttention(num_heads=2, key_dim=8)
        >>> tuple(layer(np.zeros((1, 5, 16), "float32")).shape)
        (1, 5, 16)

    Reference:
        - [Huang et al., Music Transformer, 2018](https://arxiv.org/abs/1809.04281)
        - [Shaw et al., 2018](https://arxiv.org/abs/1803.02155)
    """

    def __init__(
        self,
        num_heads,
        key_dim,
        max_distance=1024,
        share_heads=False,
        block_size=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        relative_initializer=None,
        causal=True,
        **kwargs,
    ):
        super().__init__(
            num_heads,
            key_dim,
            max_distance,
            share_heads,
            use_bias,
            kernel_initializer,
            relative_initializer,
            **kwargs,
        )
        if block_size is not None:
            check_sizes(block_size=block_size)
        self.block_size = block_size
        self.causal = causal

    def _attend(self, query, key, value, relative, padding_mask):
        if not self.causal:
            return whole.attend_both_ways(
                query, key, value, relative, padding_mask
            )
        return dispatch.attend(
            query,
            key,
            value,
            relative,
            padding_mask,
            block_size=self.block_size,
        )

    def reach(self, index):
        return index

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "max_distance": self.max_distance,
                "block_size": self.block_size,
                "causal": self.causal,
            }
        )
        return config


@keras.saving.register_keras_serializable(package="keras_pianogen")
class RelativeLocalAttention(_RelativeAttention):
    """Relative attention within blocks of a sequence.

    The sequence is cut into blocks of `local_block_size` events, the last one
    shorter. An event attends to its own block up to itself, as in figures 2
    and 3 of the paper this package implements ("they only attend
    themselves"); with `attend_previous_block=True` to all of the block before
    as well, as in section 3.4.1 of Huang et al. (2018). Equation 3 is that of
    `RelativeGlobalAttention`. Time and memory grow linearly with the length.

    Args:
        num_heads: int. Number of attention heads.
        key_dim: int. Size of each head.
        local_block_size: int. Events of a block. Defaults to `128`.
        attend_previous_block: bool. Whether an event sees the block before
            its own. Defaults to `False`.
        share_heads: see `RelativeGlobalAttention`.
        use_bias: see `RelativeGlobalAttention`.
        kernel_initializer: see `RelativeGlobalAttention`.
        relative_initializer: see `RelativeGlobalAttention`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, time, features).
        padding_mask: see `RelativeGlobalAttention`.
        cache: see `RelativeGlobalAttention`. Its capacity is one block, or
            two.
        cache_update_index: see `RelativeGlobalAttention`.

    Returns:
        A tensor of the shape of `inputs`; with a cache, a pair of it and the
        updated cache.

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
        """Blocks of the sequence as sequences of their own."""
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
        """The mask of each block's keys; the first has no block before it."""
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


def _key_value_cache(cache, cache_update_index):
    if isinstance(cache, KeyValueCache):
        return cache
    if cache_update_index is None:
        raise ValueError(
            "A `cache` needs a `cache_update_index`, the number of events it "
            "has seen. Received: cache_update_index=None"
        )
    return KeyValueCache(cache, cache_update_index)


def _blocks(x, size, behind):
    """(batch, heads, time, dim) to (batch * blocks, heads, behind + size, dim).

    `behind` is 0, or `size` to begin each block with the one before it.
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
