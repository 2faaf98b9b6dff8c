"""The key-value cache of one attention layer, and attention over it.

    cache = KeyValueCache(ring, seen)      # `ring`: a pair of tensors
    cache = cache.write(keys, values)      # new events lie beside the ring
    outputs = cache.attend(query, relative, reach)  # of these new events
    ring = cache.merge()                   # the ring holds them as well

A ring is a pair of keys (batch, heads, capacity, key_dim) and values (batch,
heads, capacity, value_dim); keys that carry phases are wider than values. Event
`i` lies in place `i % capacity` and is overwritten by event `i + capacity`, so
nothing is ever moved. A key says nothing about its place in the order: only
distances count, and they follow from the places.

The new events of a compiled loop stay beside the ring, because XLA would copy
a ring that is written to, at each event. Only tensors cross the border of a
loop: the ring stays outside, and the loop carries `cache.recent`, a pair of
tensors, and its own counter.

    recent = KeyValueCache(ring, seen).with_room(room).recent
    cache = KeyValueCache(ring, seen, recent, count)  # in the loop's body
    ring = KeyValueCache(ring, seen, recent, count).merge()  # after the loop

`build_cache` of an attention layer makes an empty ring. The layer's `cache`
argument takes a `KeyValueCache`, which it returns with the new events written;
or a ring, with `cache_update_index` for `seen`, which it returns merged.
"""

import numbers

from keras import ops

from keras_pianogen.attention import whole
from keras_pianogen.attention.whole import HIDDEN


class KeyValueCache:
    """Keys and values of the events before, in a ring and beside it.

    Args:
        ring: pair of tensors, keys (batch, heads, capacity, key_dim) and
            values (batch, heads, capacity, value_dim) of the events before
            event `seen`.
        seen: int, or scalar int tensor: how many events the ring has seen.
        recent: pair of tensors, keys (batch, heads, room, key_dim) and values
            (batch, heads, room, value_dim) of the events from event `seen` on.
            Defaults to `None`, no such events and no room for them.
        count: int, or scalar int tensor: how many events `recent` holds.
    """

    def __init__(self, ring, seen, recent=None, count=0):
        self.ring, self.recent = ring, recent
        self.seen, self.count = _number(seen), _number(count)

    @classmethod
    def of(cls, cache, seen):
        """A cache as an object, whether it is one or a ring.

        Args:
            cache: a `KeyValueCache`, or a ring.
            seen: see above; not used with a `KeyValueCache`.
        """
        if isinstance(cache, cls):
            return cache
        if seen is None:
            raise ValueError(
                "A `cache` needs a `cache_update_index`, the number of events "
                "that it has seen. Received: cache_update_index=None"
            )
        return cls(cache, seen)

    @property
    def capacity(self):
        return self.ring[0].shape[2]

    @property
    def is_empty(self):
        """Whether there is no event, as far as Python's numbers tell."""
        return isinstance(self.seen, int) and self.seen == 0 and (
            self.recent is None
        )  # fmt: skip

    def with_room(self, room):
        """This cache with room for `room` new events beside its ring."""
        recent = tuple(
            ops.zeros((ops.shape(x)[0], x.shape[1], room, x.shape[3]), x.dtype)
            for x in self.ring
        )
        return KeyValueCache(self.ring, self.seen, recent)

    def write(self, keys, values):
        """This cache with new events, which have to be attended from next.

        Args:
            keys: tensor of shape (batch, heads, time, key_dim).
            values: tensor of shape (batch, heads, time, value_dim).
        """
        new = tuple(
            ops.cast(x, kept.dtype)
            for x, kept in zip((keys, values), self.ring, strict=True)
        )
        if self.recent is not None:
            new = tuple(
                ops.slice_update(kept, (0, 0, self.count, 0), x)
                for x, kept in zip(new, self.recent, strict=True)
            )
        count = self.count + keys.shape[2]
        return KeyValueCache(self.ring, self.seen, new, count)

    def newest(self):
        """Key and value of the newest event, or zeros without an event.

        Returns:
            A pair of tensors, (batch, heads, key_dim) and (batch, heads,
            value_dim).
        """
        ring = tuple(
            ops.take(x, (self.seen - 1) % self.capacity, axis=2)
            for x in self.ring
        )
        if self.recent is None:
            return ring
        last = ops.maximum(self.count - 1, 0)
        return tuple(
            ops.where(self.count > 0, ops.take(new, last, axis=2), kept)
            for new, kept in zip(self.recent, ring, strict=True)
        )

    def attend(self, query, relative, reach):
        """Causal attention of the newest events to all that are in the cache.

        Args:
            query: tensor of shape (batch, heads, time, key_dim), queries of
                the events that were written last. Several events have to be
                all that lies beside the ring.
            relative: tensor of shape (max_distance, heads or 1, key_dim),
                relative embeddings, that of distance 0 last.
            reach: function that tells how many events back an event can look.
                It is given the event's index, an int or a tensor, which is
                also the most that it may return.

        Returns:
            A tensor of shape (batch, heads, time, value_dim).
        """
        relative = relative[-self.capacity :]
        if query.shape[2] == 1:
            return self._attend_from_one(query, relative, reach)
        if query.shape[2] != self.recent[0].shape[2]:
            raise ValueError(
                "Several new events must be all that lies beside the ring. "
                f"Received: time={query.shape[2]}, "
                f"room={self.recent[0].shape[2]}"
            )
        return self._attend_from_several(query, relative, reach)

    def _attend_from_one(self, query, relative, reach):
        """The ring and the recent events are never joined: it would cost a
        copy of the ring for each event."""
        (ring_keys, ring_values), (keys, values) = self.ring, self.recent
        capacity, room = ring_keys.shape[2], keys.shape[2]
        most = ops.minimum(reach(self.seen + self.count - 1), capacity - 1)
        # Distances from the new event to each place of the ring and beside it.
        place = ops.arange(capacity, dtype="int32")
        far = self.count + (self.seen - 1 - place) % capacity
        near = self.count - 1 - ops.arange(room, dtype="int32")
        visible = ops.concatenate([far <= most, (near >= 0) & (near <= most)])
        by_distance = _by_distance(query[:, :, 0], relative)
        # A roll, because TensorFlow's XLA compiles a slice anew for each
        # `seen`.
        by_place = ops.roll(by_distance, self.seen + self.count, axis=-1)
        beside = ops.slice(
            ops.pad(by_distance, ((0, 0), (0, 0), (room, room))),
            (0, 0, room + capacity - self.count),
            (*ops.shape(by_distance)[:2], room),
        )
        column = ops.transpose(query, (0, 1, 3, 2))
        logits = ops.concatenate(
            [
                ops.matmul(ring_keys, column)[..., 0] + by_place,
                ops.matmul(keys, column)[..., 0] + beside,
            ],
            axis=-1,
        )  # (batch, heads, capacity + room)
        logits = ops.cast(logits, "float32") * query.shape[-1] ** -0.5
        logits = ops.where(visible, logits, HIDDEN)
        weights = ops.cast(ops.softmax(logits, axis=-1), values.dtype)
        weights = weights[:, :, None]
        return ops.matmul(weights[..., :capacity], ring_values) + ops.matmul(
            weights[..., capacity:], values
        )

    def _attend_from_several(self, query, relative, reach):
        capacity, time = self.capacity, query.shape[2]
        keys, values = (
            ops.concatenate([self._in_order(ring), new], axis=2)
            for ring, new in zip(self.ring, self.recent, strict=True)
        )  # (batch, heads, capacity + time, key_dim or value_dim)
        later = ops.arange(time, dtype="int32")[:, None]
        distance = later + capacity - ops.arange(capacity + time, dtype="int32")
        visible = distance <= reach(self.seen + later)
        return whole.attend(
            query, keys, values, relative, visible[None], offset=capacity
        )

    def _in_order(self, ring):
        """The tensor of a ring from its oldest event to its latest."""
        return ops.roll(ring, -self.seen, axis=2)

    def merge(self, count=None):
        """The ring with the events beside it written to it.

        Args:
            count: int, or int tensor: how many of these events, from the
                oldest on. Defaults to `None`, all of them.

        Returns:
            A pair of tensors of the shapes of `ring`.
        """
        count = self.count if count is None else _number(count)
        room = self.recent[0].shape[2]
        if room == 1 and isinstance(count, int) and count == 1:
            start = (0, 0, self.seen % self.capacity, 0)
            return tuple(
                ops.slice_update(kept, start, new)
                for kept, new in zip(self.ring, self.recent, strict=True)
            )
        last = self.seen + count - 1
        place = ops.arange(self.capacity, dtype="int32")
        # The event of each place, counted from the first one beside the ring.
        recent = last - (last - place) % self.capacity - self.seen
        is_new = (recent >= 0)[:, None]
        recent = ops.clip(recent, 0, room - 1)
        return tuple(
            ops.where(is_new, ops.take(new, recent, axis=2), kept)
            for kept, new in zip(self.ring, self.recent, strict=True)
        )


def _number(x):
    """Python's own numbers make faster work of places, and tensors none."""
    return int(x) if isinstance(x, numbers.Integral) else x


def _by_distance(query, relative):
    """Queries (batch, heads, key_dim) times every relative embedding."""
    distances, relative_heads, key_dim = relative.shape
    columns = ops.transpose(relative, (1, 2, 0))
    if relative_heads == 1:
        products = ops.matmul(ops.reshape(query, (-1, key_dim)), columns[0])
        return ops.reshape(products, (-1, query.shape[1], distances))
    products = ops.matmul(ops.transpose(query, (1, 0, 2)), columns)
    return ops.transpose(products, (1, 0, 2))  # (batch, heads, distances)
