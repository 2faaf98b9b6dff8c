"""Relative self-attention with its cache, after Huang et al. (2018).

Shapes are named (batch, time, num_heads, key_dim); one "event" is one step
in time. Layers here know nothing of notes or of vocabularies.
"""

import numbers

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="keras_pianogen")
class RelativeGlobalAttention(keras.layers.Layer):
    r"""Causal multi-head self-attention with learned relative positions.

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

    The relative term is made by skewing (pad, flatten, drop, reshape;
    section 3.4.1), on blocks of `block_size` queries whose keys end where
    the block ends. The whole (time, time) matrix is never built, and keys in
    the future of a block cost nothing. (A length that is only known when a
    TensorFlow graph runs is taken as one block.)

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
            memory, never the result. Defaults to `256`.
        use_bias: bool. Whether the projections have biases. Defaults to
            `True`.
        kernel_initializer: initializer of the projections. Defaults to
            `"glorot_uniform"`.
        relative_initializer: initializer of the relative embeddings. Defaults
            to a normal distribution of standard deviation 0.02.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, time, features).
        padding_mask: optional bool tensor of shape (batch, time), `False`
            where a key must not be attended to. Not used for a single event
            with a cache.
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
        block_size=256,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        relative_initializer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (
            ("num_heads", num_heads),
            ("key_dim", key_dim),
            ("max_distance", max_distance),
            ("block_size", block_size),
        ):
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(
                    f"`{name}` must be a positive integer. "
                    f"Received: {name}={value!r}"
                )
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.max_distance = max_distance
        self.share_heads = share_heads
        self.block_size = block_size
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
                self.max_distance,
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
        query = self._split_heads(apply(self.query, inputs))
        key = self._split_heads(apply(self.key, inputs))
        value = self._split_heads(apply(self.value, inputs))
        relative = ops.cast(self.relative_embeddings, query.dtype)
        if cache is not None:
            if cache_update_index is None:
                raise ValueError(
                    "A `cache` needs a `cache_update_index`, the number of "
                    "events it has seen. Received: cache_update_index=None"
                )
            update = _write if inputs.shape[1] == 1 else _fill
            cache = tuple(
                update(kept, new, cache_update_index)
                for kept, new in zip(cache, (key, value), strict=True)
            )
        if cache is not None and inputs.shape[1] == 1:
            outputs = self._attend_cache(
                query, cache, relative, cache_update_index
            )
        else:
            outputs = self._attend(query, key, value, relative, padding_mask)
        outputs = ops.reshape(
            outputs, (*ops.shape(inputs)[:2], self.num_heads * self.key_dim)
        )
        outputs = apply(self.attention_output, outputs)
        return outputs if cache is None else (outputs, cache)

    def _split_heads(self, x):
        shape = ops.shape(x)
        return ops.reshape(
            x, (shape[0], shape[1], self.num_heads, self.key_dim)
        )  # (batch, time, heads, key_dim)

    def _attend(self, query, key, value, relative, padding_mask):
        """Attention over whole sequences, a block of queries at a time."""
        time = query.shape[1]
        if time == 0:
            return query
        if time is None:  # A length only known when the graph runs.
            return self._attend_block(
                query, key, value, relative, padding_mask, 0, 0
            )
        outputs = []
        for start in range(0, time, self.block_size):
            stop = min(start + self.block_size, time)
            first = max(0, start - self.max_distance + 1)
            mask = None if padding_mask is None else padding_mask[:, first:stop]
            block = self._attend_block(
                query[:, start:stop],
                key[:, first:stop],
                value[:, first:stop],
                relative,
                mask,
                start,
                first,
            )
            outputs.append(block)
        return ops.concatenate(outputs, axis=1)

    def _attend_block(
        self, query, key, value, relative, padding_mask, start, first
    ):
        """Queries from `start` on, over keys from `first` to the last query."""
        num_queries, num_keys = ops.shape(query)[1], ops.shape(key)[1]
        logits = ops.matmul(
            ops.transpose(query, (0, 2, 1, 3)),
            ops.transpose(key, (0, 2, 3, 1)),
        )  # (batch, heads, queries, keys)
        logits = logits + self._relative_logits(query, relative, num_keys)
        logits = ops.cast(logits, "float32") * self.key_dim**-0.5
        distance = (
            _arange(num_queries)[:, None]
            + (start - first)
            - _arange(num_keys)[None]
        )
        mask = (distance >= 0) & (distance < self.max_distance)
        if padding_mask is not None:
            mask = ops.logical_and(
                mask, ops.cast(padding_mask, "bool")[:, None, None, :]
            )
        logits = ops.where(mask, logits, -1e9)
        weights = ops.cast(_softmax(logits), query.dtype)
        outputs = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))
        return ops.transpose(outputs, (0, 2, 1, 3))

    def _relative_logits(self, query, relative, num_keys):
        """Skewing: column c of the product is the distance num_keys - 1 - c."""
        relative = _last_rows(relative, num_keys)  # (keys, heads or 1, key_dim)
        logits = ops.matmul(
            ops.transpose(query, (0, 2, 1, 3)),
            ops.transpose(relative, (1, 2, 0)),
        )  # (batch, heads, queries, keys)
        shape = ops.shape(query)
        batch, queries, heads = shape[0], shape[1], shape[2]
        logits = ops.pad(logits, ((0, 0), (0, 0), (0, 0), (1, 0)))
        logits = ops.reshape(logits, (batch, heads, queries * (num_keys + 1)))
        return ops.reshape(
            logits[:, :, queries:], (batch, heads, queries, num_keys)
        )

    def _attend_cache(self, query, cache, relative, index):
        """Attention of one new event over the ring, its own place included."""
        key, value = cache  # (batch, heads, capacity, key_dim)
        capacity = key.shape[2]
        query = query[:, 0]  # (batch, heads, key_dim)
        logits = ops.matmul(key, query[..., None])[..., 0]
        relative = relative[self.max_distance - capacity :]
        slot = ops.mod(index, capacity)
        # Place k holds the event of distance (slot - k) mod capacity: the
        # distances from capacity - 1 to 0, turned so that 0 falls on `slot`.
        by_distance = ops.matmul(
            ops.transpose(query, (1, 0, 2)), ops.transpose(relative, (1, 2, 0))
        )  # (heads, batch, distances)
        by_distance = ops.transpose(by_distance, (1, 0, 2))
        turned = ops.slice(
            ops.concatenate([by_distance, by_distance], axis=-1),
            (0, 0, capacity - 1 - slot),
            ops.shape(logits),
        )
        distance = ops.mod(slot - ops.arange(capacity, dtype="int32"), capacity)
        logits = ops.cast(logits + turned, "float32") * self.key_dim**-0.5
        logits = ops.where(distance <= index, logits, -1e9)
        weights = ops.cast(_softmax(logits), value.dtype)
        outputs = ops.matmul(weights[:, :, None], value)
        return ops.transpose(outputs, (0, 2, 1, 3))

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
                "max_distance": self.max_distance,
                "share_heads": self.share_heads,
                "block_size": self.block_size,
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


def apply(layer, inputs, **kwargs):
    """Call a built layer that needs nothing of `Layer.__call__`'s own work.

    One event's arithmetic is so small that Keras's bookkeeping around each
    call (mask and scope handling, some 100 microseconds) would cost more
    than it. Casting and quantization need that bookkeeping.
    """
    if (
        layer.quantization_mode is not None
        or layer.compute_dtype != layer.variable_dtype
    ):
        return layer(inputs, **kwargs)
    return layer.call(inputs, **kwargs)


def output_spec(layer, inputs, cache):
    """What a layer that keeps its inputs' shape returns, cache included."""
    outputs = keras.KerasTensor(inputs.shape, dtype=layer.compute_dtype)
    if cache is None:
        return outputs
    return outputs, keras.tree.map_structure(
        lambda x: keras.KerasTensor(x.shape, dtype=x.dtype), cache
    )


def clone(initializer):
    """A fresh copy, so that two weights never share a seed."""
    return initializer.__class__.from_config(initializer.get_config())


def _arange(size):
    if isinstance(size, int):
        return np.arange(size, dtype="int32")
    return ops.arange(size, dtype="int32")


def _softmax(logits):
    if logits.shape[-1] == 1:  # Keras warns of a softmax over one place.
        return ops.ones_like(logits)
    return ops.softmax(logits, axis=-1)


def _last_rows(relative, count):
    """The last `count` rows; rows before the first one are zeros."""
    rows = relative.shape[0]
    if not isinstance(count, int):
        missing = ops.maximum(count - rows, 0)
        relative = ops.pad(relative, ((missing, 0), (0, 0), (0, 0)))
        return relative[ops.shape(relative)[0] - count :]
    if count <= rows:
        return relative[rows - count :]
    return ops.pad(relative, ((count - rows, 0), (0, 0), (0, 0)))


def _write(cache, new, index):
    """The cache with one event put in place `index` modulo its capacity."""
    slot = ops.mod(index, cache.shape[2])
    new = ops.cast(ops.transpose(new, (0, 2, 1, 3)), cache.dtype)
    return ops.slice_update(cache, (0, 0, slot, 0), new)


def _fill(cache, new, index):
    """An empty cache with the last events of whole sequences put in."""
    if not isinstance(index, numbers.Integral) or index != 0:
        raise ValueError(
            "Several events at once can only fill an empty cache: "
            "`cache_update_index` must be 0. "
            f"Received: cache_update_index={index}, time={new.shape[1]}"
        )
    time, capacity = new.shape[1], cache.shape[2]
    new = ops.cast(ops.transpose(new, (0, 2, 1, 3)), cache.dtype)
    if time <= capacity:
        return ops.slice_update(cache, (0, 0, 0, 0), new)
    # Place k holds the last event whose index is k modulo the capacity.
    first = time - time % capacity
    return ops.concatenate(
        [new[:, :, first:], new[:, :, time - capacity : first]], axis=2
    )
