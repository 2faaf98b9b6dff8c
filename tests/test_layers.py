"""Layers against a slow NumPy twin, on the backend that runs."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_pianogen.attention.ring import KeyValueCache
from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.layers import RelativeLocalAttention


def once(*values):
    """A case that one backend is enough for: the others try its parts."""
    return pytest.param(*values, marks=pytest.mark.one_backend)


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def first_visible(layer, i):
    """The place of the first event that the event in place `i` attends to."""
    if isinstance(layer, RelativeGlobalAttention):
        return max(0, i - layer.max_distance + 1)
    block = i // layer.local_block_size
    if layer.attend_previous_block:
        block = max(0, block - 1)
    return block * layer.local_block_size


def attention_twin(layer, x, padding_mask=None):
    """Equation 3 of Huang et al. (2018), one pair of events at a time."""
    batch, time, _ = x.shape
    heads, size = layer.num_heads, layer.key_dim

    def project(dense):
        y = x.astype("float64") @ to_numpy(dense.kernel) + to_numpy(dense.bias)
        return y.reshape(batch, time, heads, size)

    query, key = project(layer.query), project(layer.key)
    value = project(layer.value)
    relative = np.broadcast_to(
        to_numpy(layer.relative_embeddings), (layer.max_distance, heads, size)
    )
    outputs = np.zeros((batch, time, heads, size))
    for b in range(batch):
        for i in range(time):
            for h in range(heads):
                logits = np.full(time, -np.inf)
                for j in range(first_visible(layer, i), i + 1):
                    if padding_mask is None or padding_mask[b, j]:
                        row = relative[layer.max_distance - 1 - (i - j), h]
                        logits[j] = (
                            query[b, i, h] @ (key[b, j, h] + row) / size**0.5
                        )
                if np.isinf(logits).all():
                    continue  # It attends to nothing.
                weights = np.exp(logits - logits.max())
                weights /= weights.sum()
                outputs[b, i, h] = weights @ value[b, :, h]
    outputs = outputs.reshape(batch, time, heads * size)
    dense = layer.attention_output
    return outputs @ to_numpy(dense.kernel) + to_numpy(dense.bias)


def build_attention(seed=0, features=16, **kwargs):
    keras.utils.set_random_seed(seed)
    settings = {"num_heads": 4, "key_dim": 4, "max_distance": 32} | kwargs
    layer = RelativeGlobalAttention(
        relative_initializer=keras.initializers.RandomNormal(stddev=1.0),
        **settings,
    )
    layer.build((None, None, features))
    return layer


def build_local(seed=0, features=16, dtype=None, **kwargs):
    keras.utils.set_random_seed(seed)
    settings = {"num_heads": 4, "key_dim": 4, "local_block_size": 8} | kwargs
    layer = RelativeLocalAttention(
        relative_initializer=keras.initializers.RandomNormal(stddev=1.0),
        dtype=dtype,
        **settings,
    )
    layer.build((None, None, features))
    return layer


def one_by_one(layer, x, prefill=0):
    """Outputs with a cache: `prefill` events at once, then each alone."""
    cache = layer.build_cache(x.shape[0])
    outputs = []
    if prefill > 0:
        y, cache = layer(x[:, :prefill], cache=cache, cache_update_index=0)
        outputs.append(y)
    for time in range(prefill, x.shape[1]):
        y, cache = layer(
            x[:, time : time + 1], cache=cache, cache_update_index=time
        )
        outputs.append(y)
    return np.concatenate(
        [to_numpy(ops.cast(y, "float32")) for y in outputs], axis=1
    )


def random_inputs(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# Of most inputs of whole sequences: JAX compiles each operation once a shape.
SHAPE = 2, 36, 16


@pytest.mark.parametrize("share_heads", [False, once(True)])
@pytest.mark.parametrize("block_size", [5, once(16), 256])
@pytest.mark.parametrize("time, max_distance", [(24, 32), (24, 7), (1, 4)])
def test_attention_equals_its_numpy_twin(
    time, max_distance, block_size, share_heads
):
    layer = build_attention(
        max_distance=max_distance,
        block_size=block_size,
        share_heads=share_heads,
    )
    x = random_inputs(1, 2, time, 16)
    np.testing.assert_allclose(
        to_numpy(layer(x)), attention_twin(layer, x), atol=1e-5
    )


def test_padded_keys_are_not_attended_to():
    layer = build_attention(block_size=8)
    x = random_inputs(2, *SHAPE)
    mask = np.ones(SHAPE[:2], bool)
    mask[0, 3:6] = mask[1, 15:] = False
    outputs = to_numpy(layer(x, padding_mask=mask))
    np.testing.assert_allclose(
        outputs, attention_twin(layer, x, mask), atol=1e-5
    )
    changed = x.copy()
    changed[~mask] += 1
    np.testing.assert_allclose(
        to_numpy(layer(changed, padding_mask=mask))[mask],
        outputs[mask],
        atol=1e-6,
    )


def test_a_later_event_changes_nothing_earlier():
    layer = build_attention(block_size=8)
    x = random_inputs(3, *SHAPE)
    before = to_numpy(layer(x))
    for time in (0, 7, 8, 35):
        changed = x.copy()
        changed[:, time] += 1
        after = to_numpy(layer(changed))
        np.testing.assert_array_equal(before[:, :time], after[:, :time])
        assert np.abs(before[:, time] - after[:, time]).max() > 1e-3


@pytest.mark.parametrize("prefill", [0, once(1), once(5), once(12), 29])
def test_cached_equals_full_past_the_ring_s_capacity(prefill):
    layer = build_attention(max_distance=12, block_size=8)
    x = random_inputs(4, *SHAPE)
    np.testing.assert_allclose(
        one_by_one(layer, x, prefill), to_numpy(layer(x)), atol=1e-5
    )


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("attend_previous_block", [False, True])
@pytest.mark.parametrize("time", [5, once(8), 16, 27])
def test_local_attention_equals_its_numpy_twin(
    time, attend_previous_block, padded
):
    layer = build_local(
        attend_previous_block=attend_previous_block, share_heads=padded
    )
    x = random_inputs(11, 2, time, 16)
    mask = None
    if padded:
        mask = np.random.default_rng(0).random((2, time)) < 0.7
        mask[0, :3] = mask[1, 16:19] = False  # Some see no event at all.
    np.testing.assert_allclose(
        to_numpy(layer(x, padding_mask=mask)),
        attention_twin(layer, x, mask),
        atol=1e-5,
    )


@pytest.mark.parametrize("attend_previous_block", [False, True])
def test_an_event_changes_its_block_and_the_next_at_most(
    attend_previous_block,
):
    layer = build_local(attend_previous_block=attend_previous_block)
    x = random_inputs(12, *SHAPE)
    before = to_numpy(layer(x))
    for time in (0, 7, 8, 20, 35):
        changed = x.copy()
        changed[:, time] += 1
        moved = np.abs(to_numpy(layer(changed)) - before).max(axis=(0, 2))
        end = (time // 8 + (2 if attend_previous_block else 1)) * 8
        np.testing.assert_array_equal(moved[:time], 0)
        assert (moved[time:end] > 1e-4).all()
        np.testing.assert_array_equal(moved[end:], 0)


@pytest.mark.parametrize("attend_previous_block", [False, True])
@pytest.mark.parametrize("prefill", [once(0), 1, once(8), once(16), 21])
def test_local_attention_cached_equals_full(prefill, attend_previous_block):
    layer = build_local(attend_previous_block=attend_previous_block)
    x = random_inputs(13, *SHAPE)
    np.testing.assert_allclose(
        one_by_one(layer, x, prefill), to_numpy(layer(x)), atol=1e-5
    )


@pytest.mark.parametrize("attend_previous_block", [False, True])
def test_local_attention_cached_is_near_full_in_bfloat16(
    attend_previous_block,
):
    settings = {"attend_previous_block": attend_previous_block}
    exact = build_local(**settings)
    rough = build_local(dtype="bfloat16", **settings)
    rough.set_weights(exact.get_weights())
    x = random_inputs(14, *SHAPE)
    full = to_numpy(exact(x))
    cached = one_by_one(rough, ops.cast(x, "bfloat16"), prefill=9)
    np.testing.assert_allclose(cached, full, atol=0.15)


@pytest.mark.parametrize(
    "layer",
    [
        build_attention(max_distance=12),
        build_local(),
        build_local(attend_previous_block=True),
    ],
    ids=["global", "local", "local, previous block"],
)
def test_events_cached_in_parts_of_any_length_equal_full(layer):
    x = random_inputs(5, *SHAPE)
    cache, outputs = layer.build_cache(2), []
    for start, stop in ((0, 5), (5, 6), (6, 11), (11, 34), (34, 36)):
        y, cache = layer(
            x[:, start:stop], cache=cache, cache_update_index=start
        )
        outputs.append(to_numpy(y))
    np.testing.assert_allclose(
        np.concatenate(outputs, axis=1), to_numpy(layer(x)), atol=1e-5
    )


@pytest.mark.parametrize(
    "layer",
    [build_attention(max_distance=12), build_local(attend_previous_block=True)],
    ids=["global", "local"],
)
def test_events_beside_a_ring_equal_those_merged_into_it(layer):
    x = random_inputs(15, *SHAPE)
    full = to_numpy(layer(x))
    _, ring = layer(x[:, :17], cache=layer.build_cache(2), cache_update_index=0)
    for start, stop in ((17, 21), (21, 36)):
        cache = KeyValueCache(ring, start).with_room(20)
        for i in range(start, stop):
            y, cache = layer(x[:, i : i + 1], cache=cache)
            np.testing.assert_allclose(to_numpy(y)[:, 0], full[:, i], atol=1e-5)
        ring = cache.merge()
    _, whole = layer(x, cache=layer.build_cache(2), cache_update_index=0)
    for found, expected in zip(ring, whole, strict=True):
        np.testing.assert_allclose(
            to_numpy(found), to_numpy(expected), atol=1e-5
        )


def test_a_ring_keeps_the_first_of_the_events_beside_it_only():
    layer = build_attention(max_distance=12)
    x = random_inputs(16, *SHAPE)
    _, ring = layer(x[:, :5], cache=layer.build_cache(2), cache_update_index=0)
    _, ring = layer(x[:, 5:10], cache=ring, cache_update_index=5)
    _, cache = layer(x[:, 10:15], cache=KeyValueCache(ring, 10))
    expected = ring
    for i in (10, 11, 12):
        _, expected = layer(
            x[:, i : i + 1], cache=expected, cache_update_index=i
        )
    for found, wanted in zip(cache.merge(3), expected, strict=True):
        np.testing.assert_allclose(to_numpy(found), to_numpy(wanted), atol=1e-6)
    for found, kept in zip(cache.merge(0), ring, strict=True):
        np.testing.assert_array_equal(to_numpy(found), to_numpy(kept))


def test_several_events_join_no_others_beside_a_ring():
    layer = build_attention()
    cache = KeyValueCache(layer.build_cache(1), 0).with_room(8)
    with pytest.raises(ValueError, match="time=2, room=8"):
        layer(random_inputs(5, 1, 2, 16), cache=cache)


def test_a_ring_needs_the_number_of_events_it_has_seen():
    layer = build_attention()
    with pytest.raises(ValueError, match="cache_update_index=None"):
        layer(random_inputs(5, 1, 1, 16), cache=layer.build_cache(1))


@pytest.mark.parametrize("name", ["num_heads", "key_dim", "max_distance"])
def test_sizes_must_be_positive(name):
    settings = {"num_heads": 2, "key_dim": 4, name: 0}
    with pytest.raises(ValueError, match=f"{name}=0"):
        RelativeGlobalAttention(**settings)


def test_a_local_block_must_hold_an_event():
    with pytest.raises(ValueError, match="local_block_size=0"):
        RelativeLocalAttention(2, key_dim=4, local_block_size=0)


@pytest.mark.parametrize(
    "layer, distances",
    [
        (build_attention(), 10),
        (build_local(), 8),
        (build_local(attend_previous_block=True), 10),
    ],
)
def test_relative_embeddings_are_trained(layer, distances):
    inputs = keras.Input((None, 16))
    model = keras.Model(inputs, layer(inputs))
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    before = to_numpy(layer.relative_embeddings).copy()
    x = random_inputs(6, 4, 10, 16)
    model.fit(x, x, verbose=0)
    moved = np.abs(to_numpy(layer.relative_embeddings) - before)
    moved = moved.max(axis=(1, 2))
    # The last row is distance 0; ten events have distances 0 to 9.
    assert (moved[-distances:] > 0).all()
    np.testing.assert_array_equal(moved[:-distances], 0)


def block_twin(block, x):
    """A pre-norm or post-norm block, in NumPy."""

    def normalize(layer, y):
        mean = y.mean(axis=-1, keepdims=True)
        scale = np.sqrt(y.var(axis=-1, keepdims=True) + layer.epsilon)
        return (y - mean) / scale * to_numpy(layer.gamma) + to_numpy(layer.beta)

    def feed_forward(y):
        for layer, activation in (
            (block.feedforward_intermediate_dense, lambda z: np.maximum(z, 0)),
            (block.feedforward_output_dense, lambda z: z),
        ):
            y = activation(y @ to_numpy(layer.kernel) + to_numpy(layer.bias))
        return y

    for part, norm in (
        (
            lambda y: attention_twin(block.self_attention, y),
            block.self_attention_layer_norm,
        ),
        (feed_forward, block.feedforward_layer_norm),
    ):
        if block.normalize_first:
            x = x + part(normalize(norm, x))
        else:
            x = normalize(norm, x + part(x))
    return x


@pytest.mark.parametrize(
    "settings",
    [
        {"normalize_first": True},
        {"normalize_first": False},
        {"local_block_size": 5},
        {"local_block_size": 5, "attend_previous_block": True},
    ],
)
def test_decoder_block_equals_its_numpy_twin(settings):
    keras.utils.set_random_seed(0)
    block = DecoderBlock(
        intermediate_dim=24, num_heads=4, max_distance=16, **settings
    )
    x = random_inputs(7, 2, 12, 16)
    np.testing.assert_allclose(
        to_numpy(block(x)), block_twin(block, x), atol=1e-5
    )


def test_dropout_acts_in_training_only():
    keras.utils.set_random_seed(0)
    block = DecoderBlock(intermediate_dim=24, num_heads=4, dropout=0.5)
    x = random_inputs(8, 2, 12, 16)
    still = to_numpy(block(x))
    np.testing.assert_array_equal(still, to_numpy(block(x, training=False)))
    assert np.abs(still - to_numpy(block(x, training=True))).max() > 0.1


def test_a_block_computes_the_same_with_the_attention_that_it_is_given():
    settings = {"intermediate_dim": 24, "dropout": 0.0}
    made = DecoderBlock(num_heads=4, local_block_size=5, **settings)
    given = DecoderBlock(
        attention=RelativeLocalAttention(4, key_dim=4, local_block_size=5),
        **settings,
    )
    x = random_inputs(7, 2, 12, 16)
    for block in (made, given):
        block.build(x.shape)
    given.set_weights(made.get_weights())
    np.testing.assert_array_equal(to_numpy(given(x)), to_numpy(made(x)))


@pytest.mark.parametrize("attention", [None, RelativeGlobalAttention(2, 8)])
def test_a_block_needs_heads_or_an_attention(attention):
    num_heads = None if attention is None else 2
    with pytest.raises(ValueError, match=f"num_heads={num_heads}"):
        DecoderBlock(8, num_heads, attention=attention)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="num_heads=3"):
        DecoderBlock(intermediate_dim=8, num_heads=3)(
            random_inputs(9, 1, 2, 16)
        )


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "bfloat16"])
def test_bfloat16_is_near_float32(dtype):
    keras.utils.set_random_seed(0)
    exact = DecoderBlock(intermediate_dim=24, num_heads=4, max_distance=16)
    rough = DecoderBlock(
        intermediate_dim=24, num_heads=4, max_distance=16, dtype=dtype
    )
    x = random_inputs(10, 2, 12, 16)
    exact.build(x.shape)
    rough.build(x.shape)
    rough.set_weights(exact.get_weights())
    y = rough(x)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    y = to_numpy(ops.cast(y, "float32"))
    np.testing.assert_allclose(y, to_numpy(exact(x)), atol=0.1)


@pytest.mark.parametrize(
    "layer",
    [
        RelativeGlobalAttention(2, 8, max_distance=9, share_heads=True),
        RelativeLocalAttention(2, 8, 9, attend_previous_block=True),
        DecoderBlock(32, 2, local_block_size=9, attend_previous_block=True),
        DecoderBlock(32, 2, max_distance=9, activation="gelu", dropout=0.2),
        DecoderBlock(32, attention=RelativeGlobalAttention(2, 8)),
    ],
)
def test_a_layer_comes_back_from_its_config(layer):
    config = keras.saving.serialize_keras_object(layer)
    copy = keras.saving.deserialize_keras_object(config)
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("layer", [build_attention(), build_local()])
def test_no_events_at_all_give_no_outputs(layer):
    assert tuple(layer(np.zeros((2, 0, 16), "float32")).shape) == (2, 0, 16)


@pytest.mark.parametrize(
    "layer",
    [
        RelativeGlobalAttention(num_heads=2, key_dim=4, max_distance=8),
        RelativeLocalAttention(num_heads=2, key_dim=4, local_block_size=4),
    ],
    ids=["global", "local"],
)
def test_self_attention_refuses_a_value_of_its_own(layer):
    x = np.zeros((1, 5, 8), "float32")
    with pytest.raises(TypeError, match="self-attention.*Received: 2 posit"):
        layer(x, x)
    assert layer(x, padding_mask=np.ones((1, 5), "bool")).shape == x.shape
