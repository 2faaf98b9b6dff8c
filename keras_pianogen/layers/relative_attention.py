"""Relative self-attention with a key-value cache, after Huang et al. (2018).

Shapes are named (batch, time, heads, key_dim), and an "event" is one step in
time. This file knows nothing of notes or of vocabularies; the sums are in
`keras_pianogen.attention`.
"""

import keras
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.attention import whole
from keras_pianogen.attention.ring import KeyValueCache
from keras_pianogen.layers.building import apply
from keras_pianogen.layers.building import check_count
from keras_pianogen.layers.building import check_sizes
from keras_pianogen.layers.building import clone
from keras_pianogen.layers.building import output_spec


class RelativeAttention(keras.layers.Layer):
    """The projections and the cache that global and local attention share.

    A subclass defines `_attend`, attention over whole sequences, and `reach`,
    the number of events back that the event of an index can look.
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
        num_phases=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_sizes(
            num_heads=num_heads, key_dim=key_dim, max_distance=max_distance
        )
        check_count(num_phases=num_phases)
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.max_distance = max_distance
        self.share_heads = share_heads
        self.use_bias = use_bias
        self.num_phases = num_phases
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
        if self.num_phases:
            self.phase_embeddings = self.add_weight(
                name="phase_embeddings",
                shape=(
                    2 * self.num_phases,
                    1 if self.share_heads else self.num_heads,
                    self.key_dim,
                ),
                initializer=clone(self.relative_initializer),
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
        """An empty key-value cache for `batch_size` sequences.

        Args:
            batch_size: int. Number of sequences.
            capacity: int. Number of events that the cache keeps. Defaults to
                `max_distance`, which makes the cache exact for sequences of
                any length. A smaller cache is exact up to `capacity` events.

        Returns:
            A pair of zeros, keys (batch, num_heads, capacity, key_dim + 2 *
            num_phases) and values (batch, num_heads, capacity, key_dim).

        Raises:
            ValueError: if the layer is not causal.
        """
        if not self.causal:
            raise ValueError(
                "Attention in both directions has no cache, because each new "
                "event changes the outputs of those before it. "
                "Received: causal=False"
            )
        capacity = min(capacity or self.max_distance, self.max_distance)
        shape = (batch_size, self.num_heads, capacity)
        widths = self.key_dim + 2 * self.num_phases, self.key_dim
        return tuple(
            ops.zeros((*shape, width), dtype=self.compute_dtype)
            for width in widths
        )

    def __call__(self, inputs, *others, **kwargs):
        if others:
            raise TypeError(
                "This layer is self-attention: queries, keys and values come "
                "from `inputs`, its only positional argument. Received: "
                f"{1 + len(others)} positional arguments"
            )
        return super().__call__(inputs, **kwargs)

    def call(
        self,
        inputs,
        *,
        padding_mask=None,
        cache=None,
        cache_update_index=None,
        phases=None,
        training=None,
    ):
        query, key, value = (
            self._split_heads(apply(layer, inputs))
            for layer in (self.query, self.key, self.value)
        )  # (batch, heads, time, key_dim)
        relative = ops.cast(self.relative_embeddings, query.dtype)
        if self.num_phases:
            query, key, relative = self._with_phases(
                query, key, relative, phases
            )
        elif phases is not None:
            raise ValueError(
                "`phases` are for a layer that has `num_phases`. Received: "
                f"num_phases=0, phases of shape {tuple(phases.shape)}"
            )
        if cache is None:
            x = self._attend(query, key, value, relative, padding_mask)
        else:
            kept = KeyValueCache.of(cache, cache_update_index)
            is_prefill = kept.is_empty and query.shape[2] > 1
            kept = kept.write(key, value)
            if is_prefill:  # The new events see only each other.
                x = self._attend(query, key, value, relative, padding_mask)
            else:
                x = kept.attend(query, relative, self.reach)
            cache = kept if isinstance(cache, KeyValueCache) else kept.merge()
        x = apply(self.attention_output, self._join_heads(x))
        return x if cache is None else (x, cache)

    def _with_phases(self, query, key, relative, phases):
        """Queries and keys whose product has the terms of the phases too.

        A cos(p - q) + B sin(p - q), of the phases p of a query and q of a key,
        is cos(q) (A cos(p) + B sin(p)) + sin(q) (A sin(p) - B cos(p)).
        """
        if phases is None:
            raise ValueError(
                "`phases` must be given to a layer that has `num_phases`. "
                f"Received: num_phases={self.num_phases}, phases=None"
            )
        embeddings = ops.cast(self.phase_embeddings, query.dtype)
        embeddings = ops.transpose(embeddings, (1, 2, 0))
        cosine, sine = ops.split(ops.matmul(query, embeddings), 2, axis=-1)
        phases = ops.cast(phases, query.dtype)[:, None]
        cosines, sines = ops.split(phases, 2, axis=-1)
        turned = [cosine * cosines + sine * sines]
        turned += [cosine * sines - sine * cosines]
        query = ops.concatenate([query, *turned], axis=-1)
        phases = ops.broadcast_to(
            phases, (*ops.shape(key)[:3], 2 * self.num_phases)
        )
        key = ops.concatenate([key, phases], axis=-1)
        # The sums divide by the square root of the new width.
        scale = (query.shape[-1] / self.key_dim) ** 0.5
        relative = ops.pad(relative, ((0, 0), (0, 0), (0, 2 * self.num_phases)))
        return query * scale, key, relative

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
        phases=None,
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
class RelativeGlobalAttention(RelativeAttention):
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
    Up to `max_distance` events this is exactly the paper's layer. A longer
    sequence is seen through a window that moves along. The key-value cache is
    a ring of `max_distance` places and gives the same result, at a constant
    cost per event.

    Queries are handled in blocks whose keys end where the block ends, and the
    gradient computes each block's logits again. So memory grows linearly with
    time, and keys after a block cost nothing. The whole (time, time) matrix is
    built in two cases only: for lengths that are only known when a TensorFlow
    graph runs, and for second derivatives on PyTorch and TensorFlow.

    With `num_phases`, events that have places besides their order, such as the
    onset and the pitch of a note, are compared by these too. Event $i$ has the
    phases $p_i$, and to $S^{rel}_{ij}$ is added

    $$Q_i \cdot \sum_k A_k \cos(p_{ik} - p_{jk}) + B_k \sin(p_{ik} - p_{jk})$$

    | symbol | here | shape |
    | --- | --- | --- |
    | $A, B$ | `phase_embeddings` | (num_phases, heads or 1, key_dim) each |
    | $\cos p, \sin p$ | `phases` | (batch, time, 2 * num_phases) |

    The layer departs from the paper in three ways. It has the window above.
    `share_heads=True` keeps one row per distance for all heads, as Shaw et al.
    (2018) do. The paper adds learned embeddings of distances in time and in
    pitch (section 3.3); those of `num_phases` are sums of cosines and sines,
    see `NotePhases`.

    Args:
        num_heads: int. Number of attention heads.
        key_dim: int. Size of each head.
        max_distance: int. Number of events that an event can attend to,
            itself included. Defaults to `1024`.
        share_heads: bool. Whether all heads use the same relative
            embeddings. Defaults to `False`.
        block_size: int. Number of queries handled at once. It changes speed
            and memory, never the result. Defaults to `None`, the fastest that
            was measured.
        use_bias: bool. Whether the projections have biases. Defaults to
            `True`.
        kernel_initializer: initializer of the projections. Defaults to
            `"glorot_uniform"`.
        relative_initializer: initializer of the relative embeddings. Defaults
            to a normal distribution of standard deviation 0.02.
        causal: bool. With `False` an event also attends to those after it.
            The relative embeddings then have the shape (2 * max_distance - 1,
            heads or 1, key_dim), and their first `max_distance` rows are those
            of `True`; there is no cache, and memory grows with the square of
            time. Defaults to `True`.
        num_phases: int. Number of phases of an event by which it is compared
            with others besides their order, see `NotePhases`. Defaults to `0`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, time, features).
        padding_mask: optional bool tensor of shape (batch, time), `False`
            where a key must not be attended to. It is used without a cache,
            and for several events that fill an empty cache. An event that
            sees no key at all attends to nothing.
        cache: optional pair of tensors as made by `build_cache`: keys (batch,
            num_heads, capacity, key_dim + 2 * num_phases) and values (batch,
            num_heads, capacity, key_dim) of the last `capacity` events.
            `capacity` is at most `max_distance`. Or a
            `keras_pianogen.attention.ring.KeyValueCache`.
        cache_update_index: int, or scalar int tensor: number of events that
            the cache has seen. Not used with a `KeyValueCache`.
        phases: tensor of shape (batch, time, 2 * num_phases), the cosines and
            then the sines of each event's phases. With `num_phases` only.

    Returns:
        A tensor of the shape of `inputs`; with a cache, a pair of this tensor
        and the updated cache.

    Raises:
        ValueError: if `inputs` is not of rank 3, a pair of tensors is given as
            the `cache` without a `cache_update_index`, or `phases` are missing
            with `num_phases` or given without.

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
        num_phases=0,
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
            num_phases,
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
                "num_phases": self.num_phases,
            }
        )
        return config
