"""The fused kernel against plain sums, and its way to CUDA without a GPU.

Pallas's interpreter runs the kernels here; how fast they are only a GPU can
tell.
"""

import functools
import os

import numpy as np
import pytest

jax = pytest.importorskip("jax")
if os.environ.get("KERAS_BACKEND") != "jax":
    pytest.skip("needs KERAS_BACKEND=jax", allow_module_level=True)

import jax.numpy as jnp  # noqa: E402

from keras_pianogen.kernels import pallas_attention  # noqa: E402

relative_attention = pallas_attention.relative_attention

QUICK = {"xla_backend_optimization_level": 0}
ARGUMENTS = ("query", "key", "value", "relative")


def dense_attention(query, key, value, relative, padding_mask=None, scale=None):
    """Equation 3 as it is written, (time, time) and all, in float32."""
    time, key_dim = query.shape[2:]
    max_distance = relative.shape[0]
    distance = jnp.arange(time)[:, None] - jnp.arange(time)[None]
    rows = jnp.clip(max_distance - 1 - distance, 0, max_distance - 1)
    rows = jnp.broadcast_to(
        relative[rows], (time, time, query.shape[1], key_dim)
    )  # (queries, keys, heads, key_dim)
    with jax.default_matmul_precision("highest"):
        logits = jnp.einsum("bhid,bhjd->bhij", query, key)
        logits = logits + jnp.einsum("bhid,ijhd->bhij", query, rows)
        logits = logits * (key_dim**-0.5 if scale is None else scale)
        seen = ((distance >= 0) & (distance < max_distance))[None, None]
        if padding_mask is not None:
            seen = seen & padding_mask[:, None, None, :]
        weights = jnp.where(seen, jax.nn.softmax(logits, where=seen), 0.0)
        return jnp.einsum("bhij,bhjd->bhid", weights, value)


def make_arrays(shape, max_distance, relative_heads, dtype="float32"):
    """Query, key, value, relative and a gradient of the outputs."""
    rng = np.random.default_rng(0)
    shapes = [shape] * 3 + [(max_distance, relative_heads, shape[3]), shape]
    return [jnp.asarray(rng.normal(size=s)).astype(dtype) for s in shapes]


def make_mask(batch, time):
    """Holes, no key for the first three queries, and none for the last."""
    mask = np.random.default_rng(1).random((batch, time)) < 0.7
    mask[0, :3] = False
    mask[-1] = False
    return jnp.asarray(mask)


def run(attention, arrays, **options):
    """Outputs and the gradients of `ARGUMENTS`, as float32."""

    # Compiling is nearly all that these tests do.
    @functools.partial(jax.jit, compiler_options=QUICK)
    def outputs_and_gradients(gradient, *inputs):
        outputs, pull = jax.vjp(lambda *x: attention(*x, **options), *inputs)
        return outputs, *pull(gradient)

    *inputs, gradient = arrays
    results = outputs_and_gradients(gradient, *inputs)
    return [np.asarray(x.astype("float32")) for x in results]


def run_fused(arrays, **options):
    options = {"block_size": 16, "interpret": True, **options}
    return run(relative_attention, arrays, **options)


def run_dense(arrays, **options):
    return run(
        dense_attention, [x.astype("float32") for x in arrays], **options
    )


def check_same(fused, dense, atol):
    for name, ours, theirs in zip(
        ("outputs", *ARGUMENTS), fused, dense, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=atol, err_msg=name)


@pytest.mark.parametrize(
    "time, max_distance, key_dim, shared, masked",
    [
        (48, 48, 16, False, False),  # whole tiles, the paper's case
        (45, 64, 32, True, True),  # fewer events than distances
        (70, 20, 24, False, True),  # a window that moves along
        (37, 17, 64, True, False),  # one distance more than a tile
        (150, 16, 8, False, True),  # several programs for a head's queries
        (20, 1, 16, False, True),  # nothing but its own place
        (1, 5, 16, True, False),
    ],
)
def test_outputs_and_gradients_are_those_of_plain_sums(
    time, max_distance, key_dim, shared, masked
):
    shape = (2, 2, time, key_dim)
    arrays = make_arrays(shape, max_distance, 1 if shared else 2)
    mask = make_mask(2, time) if masked else None
    fused = run_fused(arrays, padding_mask=mask)
    check_same(fused, run_dense(arrays, padding_mask=mask), atol=1e-5)


@pytest.mark.parametrize("dtype, atol", [("bfloat16", 0.06), ("float16", 6e-3)])
def test_16_bit_numbers_stay_near_the_sums_in_float32(dtype, atol):
    arrays = make_arrays((2, 2, 40, 24), 30, 2, dtype)
    mask = make_mask(2, 40)
    fused = run_fused(arrays, padding_mask=mask)
    check_same(fused, run_dense(arrays, padding_mask=mask), atol)


def test_results_have_the_dtypes_of_what_they_belong_to():
    arrays = make_arrays((1, 2, 10, 16), 8, 1, "bfloat16")
    arrays[3] = arrays[3].astype("float32")
    *inputs, gradient = arrays

    def outputs_and_gradients(*inputs):
        outputs, pull = jax.vjp(relative_attention, *inputs)
        return outputs, *pull(gradient)

    results = jax.eval_shape(outputs_and_gradients, *inputs)
    for ours, given in zip(results, (gradient, *inputs), strict=True):
        assert (ours.shape, ours.dtype) == (given.shape, given.dtype)


def test_a_query_without_keys_gives_zeros_and_takes_no_gradient():
    arrays = make_arrays((2, 1, 20, 16), 12, 1)
    mask = make_mask(2, 20)
    outputs, d_query, d_key, d_value, d_relative = run_fused(
        arrays, padding_mask=mask
    )
    for x in (outputs, d_query):
        assert not x[0, :, :3].any()
        assert x[0, :, 19].any()
    for x in (outputs, d_query, d_key, d_value):
        assert not x[1].any()  # the item that is all padding
    assert np.isfinite(d_relative).all()


def test_neither_the_future_nor_what_left_the_window_changes_a_query():
    query, key, value, relative, _ = make_arrays((1, 1, 60, 16), 20, 1)
    far = jnp.zeros((60,), "bool").at[jnp.asarray([*range(21), *range(41, 60)])]
    far = far.set(True)[None, None, :, None]  # of query 40
    options = {"interpret": True, "block_size": 16}
    before = relative_attention(query, key, value, relative, **options)
    key, value = jnp.where(far, 50.0, key), jnp.where(far, 50.0, value)
    after = relative_attention(query, key, value, relative, **options)
    np.testing.assert_array_equal(before[:, :, 40], after[:, :, 40])


def test_the_tiles_and_the_scale_given_are_the_ones_used():
    arrays = make_arrays((1, 1, 40, 16), 24, 1)
    dense = run_dense(arrays, scale=0.5)
    for block_size in (None, 32):
        fused = run_fused(arrays, scale=0.5, block_size=block_size)
        check_same(fused, dense, atol=1e-5)


def test_no_events_give_no_events():
    *inputs, _ = make_arrays((1, 2, 0, 16), 8, 2)
    assert relative_attention(*inputs).shape == (1, 2, 0, 16)


@pytest.mark.parametrize(
    "name, shape, dtype",
    [
        ("query", (2, 8, 16), "float32"),
        ("query", (1, 2, 8, 200), "float32"),
        ("query", (1, 2, 8, 16), "int32"),
        ("key", (1, 2, 9, 16), "float32"),
        ("value", (1, 2, 8, 16), "float16"),
        ("relative", (4, 3, 16), "float32"),
        ("relative", (0, 2, 16), "float32"),
        ("padding_mask", (1, 9), "bool"),
    ],
)
def test_a_wrong_array_is_named(name, shape, dtype):
    arrays = dict(
        zip(ARGUMENTS, make_arrays((1, 2, 8, 16), 4, 2), strict=False)
    )
    arrays[name] = jnp.zeros(shape, dtype)
    with pytest.raises(ValueError, match=f"`{name}` must .* Received: {name}"):
        relative_attention(**arrays, interpret=True)


def test_a_wrong_block_size_is_named():
    *inputs, _ = make_arrays((1, 2, 8, 16), 4, 2)
    for block_size in (8, 48):
        with pytest.raises(ValueError, match="`block_size` must .* Received:"):
            relative_attention(*inputs, block_size=block_size)


def lower_for_cuda(dtype, key_dim, relative_heads):
    """The text of outputs and all gradients, lowered for a GPU."""
    query = jax.ShapeDtypeStruct((2, 2, 300, key_dim), dtype)
    relative = jax.ShapeDtypeStruct((100, relative_heads, key_dim), "float32")
    mask = jax.ShapeDtypeStruct((2, 300), "bool")

    @jax.jit
    def outputs_and_gradients(mask, gradient, *inputs):
        outputs, pull = jax.vjp(
            lambda *x: relative_attention(*x, padding_mask=mask), *inputs
        )
        return outputs, *pull(gradient)

    inputs = (query, query, query, relative)
    traced = outputs_and_gradients.trace(mask, query, *inputs)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.fixture
def named_gpu():
    """From JAX 0.11 on, Triton's lowering asks which GPU it is for."""
    if not hasattr(jax.sharding, "AbstractDevice"):
        yield
        return
    device = jax.sharding.AbstractDevice(
        device_kind="NVIDIA H100", num_cores=132, platform="gpu"
    )
    mesh = jax.sharding.AbstractMesh((1,), ("x",), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        yield


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.parametrize(
    "dtype, key_dim, relative_heads",
    [("float32", 64, 2), ("bfloat16", 24, 1), ("float16", 128, 2)],
)
def test_every_kernel_lowers_for_cuda_without_a_gpu(
    named_gpu, dtype, key_dim, relative_heads
):
    text = lower_for_cuda(dtype, key_dim, relative_heads)
    for kernel in ("forward", "backward_keys", "backward_queries"):
        assert f"{kernel}_kernel" in text
    assert "300x300" not in text and "320x320" not in text
