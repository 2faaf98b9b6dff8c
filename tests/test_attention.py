"""Attention's kernels against plain sums in float64, gradients and all."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_pianogen.attention import blocks
from keras_pianogen.attention import dispatch
from keras_pianogen.attention import whole

BACKEND = keras.config.backend()
NAMES = ("outputs", "query", "key", "value", "relative")


def only_on(backend):
    return pytest.mark.skipif(BACKEND != backend, reason=f"is about {backend}")


def once(*values):
    """A case that one backend is enough for: the others try its parts."""
    return pytest.param(*values, marks=pytest.mark.one_backend)


# === Twins ===


def twin(upstream, query, key, value, relative, padding_mask=None, offset=0):
    """Outputs and the four gradients of equation 3, term by term."""
    max_distance, relative_heads, key_dim = relative.shape
    scale = key_dim**-0.5
    distance = offset + np.subtract.outer(
        np.arange(query.shape[2]), np.arange(key.shape[2])
    )  # (time, keys)
    seen = (distance >= 0) & (distance < max_distance)
    if padding_mask is not None:
        seen = seen & padding_mask[:, None, None]
    rows = np.clip(max_distance - 1 - distance, 0, max_distance - 1)
    relative = np.broadcast_to(
        relative.astype("float64"), (max_distance, query.shape[1], key_dim)
    )
    near = relative[rows]  # (time, keys, heads, key_dim)

    logits = np.einsum("bhid,bhjd->bhij", query, key, dtype="float64")
    logits = (logits + np.einsum("bhid,ijhd->bhij", query, near)) * scale
    weights = np.where(seen, np.exp(logits - logits.max()), 0)
    total = weights.sum(axis=-1, keepdims=True)
    weights = weights / np.where(total > 0, total, 1)
    outputs = np.einsum("bhij,bhjd->bhid", weights, value)

    pulled = np.einsum("bhid,bhjd->bhij", upstream, value, dtype="float64")
    mean = (weights * pulled).sum(axis=-1, keepdims=True)
    pulled = weights * (pulled - mean) * scale  # Gradients of the logits.
    by_row = np.zeros(relative.shape)
    np.add.at(by_row, rows, np.einsum("bhij,bhid->ijhd", pulled, query))
    return (
        outputs,
        np.einsum("bhij,bhjd->bhid", pulled, key)
        + np.einsum("bhij,ijhd->bhid", pulled, near),
        np.einsum("bhij,bhid->bhjd", pulled, query),
        np.einsum("bhij,bhid->bhjd", weights, upstream),
        by_row.sum(axis=1, keepdims=True) if relative_heads == 1 else by_row,
    )


def run(attend, arrays, padding_mask=None, **options):
    """Outputs and the four gradients on the backend that runs, float32."""
    if padding_mask is not None:
        options["padding_mask"] = ops.convert_to_tensor(padding_mask)
    run_on = {"jax": run_jax, "tensorflow": run_tensorflow, "torch": run_torch}
    found = run_on[BACKEND](
        lambda *inputs: attend(*inputs, **options),
        *(ops.convert_to_tensor(x) for x in arrays),
    )
    return [ops.convert_to_numpy(ops.cast(x, "float32")) for x in found]


def run_jax(attend, *arrays):
    import jax

    # Compiling is nearly all that these tests do.
    quick = {"xla_backend_optimization_level": 0}

    @functools.partial(jax.jit, compiler_options=quick)
    def outputs_and_gradients(upstream, *inputs):
        outputs, pull = jax.vjp(attend, *inputs)
        return outputs, *pull(upstream)

    return outputs_and_gradients(*arrays)


def run_tensorflow(attend, *arrays):
    import tensorflow as tf

    @tf.function
    def outputs_and_gradients(upstream, *inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = attend(*inputs)
        return outputs, *tape.gradient(outputs, inputs, upstream)

    return outputs_and_gradients(*arrays)


def run_torch(attend, *arrays):
    import torch

    upstream, *inputs = (x.clone() for x in arrays)
    for x in inputs:
        x.requires_grad_()
    outputs = attend(*inputs)
    return outputs, *torch.autograd.grad(outputs, inputs, upstream)


def random_arrays(
    time, max_distance, offset=0, batch=2, heads=2, key_dim=4, share_heads=False
):
    """A gradient of the outputs; query, key, value and relative embeddings."""
    rng = np.random.default_rng(time + max_distance)
    shapes = (
        *[(batch, heads, time, key_dim)] * 2,
        *[(batch, heads, offset + time, key_dim)] * 2,
        (max_distance, 1 if share_heads else heads, key_dim),
    )
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def random_mask(batch, keys):
    """Holes; of the first sequence, no key for the queries up to place 5."""
    mask = np.random.default_rng(0).random((batch, keys)) < 0.7
    mask[0, :6] = False
    return mask


def assert_near(found, expected, tolerance=1e-5):
    """Near, as a share of each array's largest number, at least of 1."""
    for name, ours, theirs in zip(NAMES, found, expected, strict=True):
        scale = max(1, np.abs(theirs).max())
        np.testing.assert_allclose(
            ours, theirs, rtol=0, atol=tolerance * scale, err_msg=name
        )


def test_the_twin_s_gradients_are_those_of_its_outputs():
    settings = {"offset": 2, "padding_mask": random_mask(2, 9)}
    arrays = [
        x.astype("float64")
        for x in random_arrays(7, 5, offset=2, share_heads=True)
    ]
    upstream, *inputs = arrays
    gradients = twin(*arrays, **settings)[1:]
    rng = np.random.default_rng(0)
    for i, gradient in enumerate(gradients):
        way = rng.normal(size=gradient.shape)
        sums = []
        for step in (1e-5, -1e-5):
            moved = [*inputs]
            moved[i] = moved[i] + step * way
            sums.append(
                (upstream * twin(upstream, *moved, **settings)[0]).sum()
            )
        slope = (sums[0] - sums[1]) / 2e-5
        np.testing.assert_allclose((gradient * way).sum(), slope, rtol=1e-6)


# === Every path equals the twin ===


@pytest.mark.parametrize(
    "time, block_size, max_distance, offset, share_heads, padded",
    [
        (1, None, 4, 0, False, False),
        once(1, None, 4, 0, False, True),
        once(20, None, 32, 0, False, False),
        (20, None, 32, 0, False, True),
        (20, 8, 7, 0, True, False),
        once(20, 8, 7, 0, True, True),
        once(21, 5, 32, 3, True, False),
        (21, 5, 32, 3, True, True),
        once(21, 8, 6, 9, False, False),
        (21, 8, 6, 9, False, True),
    ],
)
def test_attention_equals_its_twin(
    time, block_size, max_distance, offset, share_heads, padded
):
    arrays = random_arrays(time, max_distance, offset, share_heads=share_heads)
    settings = {"offset": offset}
    if padded:
        settings["padding_mask"] = random_mask(2, offset + time)
    found = run(dispatch.attend, arrays, block_size=block_size, **settings)
    assert_near(found, twin(*arrays, **settings))


@pytest.mark.parametrize(
    "time, block_size, max_distance, offset, share_heads, padded, rows",
    [
        once(24, 4, 32, 0, True, False, None),
        (24, 4, 32, 0, True, False, 1),
        once(24, 4, 32, 0, True, False, 2),
        once(23, 4, 32, 0, False, True, None),
        once(23, 4, 32, 0, False, True, 1),
        (23, 4, 32, 0, False, True, 2),
        (23, 4, 7, 6, True, True, None),
        once(23, 4, 7, 6, True, True, 1),
        once(23, 4, 7, 6, True, True, 2),
        (3, 8, 2, 4, False, False, None),
        once(3, 8, 2, 4, False, False, 1),
        (3, 8, 2, 4, False, False, 2),
    ],
)
def test_blocks_equal_their_twin(
    time, block_size, max_distance, offset, share_heads, padded, rows,
    monkeypatch,
):  # fmt: skip
    monkeypatch.setattr(blocks, "STAIRS", 2)  # So that short ones loop.
    arrays = random_arrays(
        time, max_distance, offset, heads=4, share_heads=share_heads
    )
    settings = {"offset": offset}
    if padded:
        settings["padding_mask"] = random_mask(2, offset + time)
    found = run(
        blocks.attend, arrays, block_size=block_size, rows=rows, **settings
    )
    assert_near(found, twin(*arrays, **settings))


@pytest.mark.parametrize("rows, max_distance", [(1, 50), once(None, 256)])
def test_loops_over_many_blocks_equal_the_twin(rows, max_distance):
    shape = blocks.Staircase((1, 2, 203, 4), max_distance, 0, 8)
    counts = [count for _, count, *_ in shape.stairs()]
    assert max(counts) > 1 and len(counts) > 2  # Loops are what it is about.
    arrays = random_arrays(203, max_distance, batch=1)
    found = run(blocks.attend, arrays, block_size=8, rows=rows)
    assert_near(found, twin(*arrays))


def test_the_whole_matrix_equals_the_twin():
    arrays = random_arrays(13, 6, offset=4, share_heads=True)
    settings = {"offset": 4, "padding_mask": random_mask(2, 17)}
    found = run(whole.attend, arrays, **settings)
    assert_near(found, twin(*arrays, **settings))


@pytest.mark.parametrize(
    "attend", [dispatch.attend, blocks.attend, whole.attend]
)
def test_a_query_that_sees_no_key_gets_zeros_and_gives_none(attend):
    arrays = random_arrays(12, 4)
    mask = np.ones((2, 12), bool)
    mask[0] = mask[1, 3:8] = False
    outputs, query, key, value, relative = run(
        attend, arrays, padding_mask=mask
    )
    for found in (outputs, query, key, value):
        np.testing.assert_array_equal(found[0], 0)
    for found in (outputs, query):  # Queries 6 and 7 see 3 to 7 alone.
        np.testing.assert_array_equal(found[1, :, 6:8], 0)
        assert (np.abs(found[1, :, 9:]).max(axis=-1) > 0.01).all()
    for found in (key, value):
        np.testing.assert_array_equal(found[1, :, 3:8], 0)
    assert np.isfinite(relative).all()


@pytest.mark.parametrize("attend", [dispatch.attend, blocks.attend])
def test_bfloat16_is_near_the_twin(attend):
    arrays = random_arrays(21, 9, offset=3)
    rough = [ops.cast(x, "bfloat16") for x in arrays]
    settings = {"offset": 3, "padding_mask": random_mask(2, 24)}
    found = run(attend, rough, block_size=8, **settings)
    assert_near(found, twin(*arrays, **settings), tolerance=0.02)


# === Second derivatives, as a gradient penalty asks for ===


def of_a_penalty(attend, upstream, *inputs):
    """Gradients of the squares of the gradients of `attend`."""
    run_on = {
        "jax": penalty_jax,
        "tensorflow": penalty_tensorflow,
        "torch": penalty_torch,
    }
    return [
        ops.convert_to_numpy(x)
        for x in run_on[BACKEND](
            attend, *(ops.convert_to_tensor(x) for x in (upstream, *inputs))
        )
    ]


def penalty_jax(attend, upstream, *inputs):
    import jax

    def penalty(places):
        upstream, *inputs = places
        first = jax.vjp(attend, *inputs)[1](upstream)
        return sum((x**2).sum() for x in first)

    return jax.jit(jax.grad(penalty))((upstream, *inputs))


def penalty_tensorflow(attend, upstream, *inputs):
    import tensorflow as tf

    @tf.function
    def gradients(*places):
        upstream, *inputs = places
        with tf.GradientTape() as outer:
            outer.watch(places)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                outputs = attend(*inputs)
            first = inner.gradient(outputs, inputs, upstream)
            penalty = sum(tf.reduce_sum(x**2) for x in first)
        return outer.gradient(penalty, places)

    return gradients(upstream, *inputs)


def penalty_torch(attend, upstream, *inputs):
    import torch

    upstream, *inputs = places = [x.requires_grad_() for x in (
        upstream.clone(), *(x.clone() for x in inputs)
    )]  # fmt: skip
    first = torch.autograd.grad(
        attend(*inputs), inputs, upstream, create_graph=True
    )
    return torch.autograd.grad(sum((x**2).sum() for x in first), places)


@pytest.mark.parametrize(
    "max_distance, offset, share_heads, padded",
    [
        (64, 0, True, False),
        once(64, 0, True, True),
        once(5, 3, False, False),
        (5, 3, False, True),
    ],
)
def test_a_penalty_s_gradients_are_those_of_the_whole_matrix(
    max_distance, offset, share_heads, padded, monkeypatch
):
    monkeypatch.setattr(blocks, "STAIRS", 2)  # So that short ones loop.
    arrays = random_arrays(23, max_distance, offset, share_heads=share_heads)
    settings = {"offset": offset}
    if padded:
        mask = random_mask(2, offset + 23)
        settings["padding_mask"] = ops.convert_to_tensor(mask)
    ours, expected = (
        of_a_penalty(functools.partial(attend, **settings), *arrays)
        for attend in (
            functools.partial(dispatch.attend, block_size=4),
            whole.attend,
        )
    )
    for found, wanted in zip(ours, expected, strict=True):
        scale = max(1, np.abs(wanted).max())
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * scale)


# === What is about one backend ===


@only_on("torch")
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("frozen", [(), (3,), (0, 1)])
def test_second_derivatives_are_those_of_the_whole_matrix(frozen, padded):
    import torch

    upstream, *arrays = random_arrays(11, 5, offset=2)
    mask = torch.tensor(random_mask(2, 13)) if padded else None

    def second_derivatives(attend):
        inputs = [torch.tensor(x) for x in arrays]
        moving = [x for i, x in enumerate(inputs) if i not in frozen]
        for x in moving:
            x.requires_grad_()
        outputs = attend(*inputs, padding_mask=mask, offset=2)
        weight = torch.tensor(upstream, requires_grad=True)
        first = torch.autograd.grad(outputs, moving, weight, create_graph=True)
        penalty = sum((x**2).sum() for x in first)
        return torch.autograd.grad(penalty, [*moving, weight])

    ours = second_derivatives(functools.partial(dispatch.attend, block_size=4))
    for found, expected in zip(
        ours, second_derivatives(whole.attend), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@only_on("torch")
def test_derivatives_of_one_tensor_in_all_places_count_each_place_once():
    import torch

    upstream, array, *_, relative = (
        torch.tensor(x) for x in random_arrays(11, 5)
    )

    def both_derivatives(attend):
        x = array.clone().requires_grad_()
        outputs = attend(x, x, x * x, relative)
        (first,) = torch.autograd.grad(outputs, x, upstream, create_graph=True)
        (second,) = torch.autograd.grad((first**2).sum(), x)
        return first, second

    for found, expected in zip(
        both_derivatives(functools.partial(dispatch.attend, block_size=4)),
        both_derivatives(whole.attend),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@only_on("tensorflow")
def test_a_length_may_be_known_only_when_a_graph_runs():
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec([None, 2, None, 4])] * 4
        + [tf.TensorSpec([16, 2, 4])]
        + [tf.TensorSpec([None, None], "bool")]
    )
    def outputs_and_gradients(upstream, query, key, value, relative, mask):
        inputs = query, key, value, relative
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = dispatch.attend(*inputs, padding_mask=mask)
        return outputs, *tape.gradient(outputs, inputs, upstream)

    for time in (1, 7, 30):
        arrays, mask = random_arrays(time, 16), random_mask(2, time)
        found = outputs_and_gradients(*arrays, mask)
        expected = twin(*arrays, padding_mask=mask)
        assert_near([x.numpy() for x in found], expected)


@only_on("tensorflow")
def test_a_number_of_sequences_known_only_when_a_graph_runs_is_no_matter():
    import tensorflow as tf

    attend = tf.function(
        functools.partial(dispatch.attend, block_size=8),
        input_signature=[tf.TensorSpec([None, 2, 20, 4])] * 3
        + [tf.TensorSpec([9, 1, 4])],
    )
    for batch in (1, 3):
        _, *inputs = random_arrays(20, 9, batch=batch, share_heads=True)
        expected = twin(inputs[0], *inputs)[0]
        np.testing.assert_allclose(attend(*inputs), expected, atol=1e-5)


@only_on("jax")
def test_a_gradient_s_memory_grows_linearly_with_time():
    import jax

    def temporary_bytes(attend, time):
        shapes = [(1, 4, time, 8)] * 3 + [(time, 4, 8)]
        gradient = jax.grad(
            lambda *inputs: ops.sum(attend(*inputs) ** 2), argnums=(0, 1, 2, 3)
        )
        inputs = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
        program = jax.jit(gradient).lower(*inputs).compile()
        return program.memory_analysis().temp_size_in_bytes

    short, long = (temporary_bytes(dispatch.attend, t) for t in (1024, 2048))
    assert long < 2.6 * short
    assert long < temporary_bytes(whole.attend, 2048) / 5
