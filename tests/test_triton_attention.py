"""The fused kernels against a slow twin, on the CPU, in Triton's interpreter.

Compiling them for a GPU needs none: the last tests do so.
"""

import importlib.util
import os
import subprocess
import sys

import pytest

if os.environ.get("KERAS_BACKEND") != "torch":
    pytest.skip("needs KERAS_BACKEND=torch", allow_module_level=True)
torch = pytest.importorskip("torch")
if importlib.util.find_spec("triton") is None:
    pytest.skip("needs triton", allow_module_level=True)

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED:
    import triton.language as tl

MODULE = "keras_pianogen.kernels.triton_attention"
TOLERANCES = {
    torch.float32: 1e-5,
    torch.float16: 1e-2,
    torch.bfloat16: 6e-2,
}
# batch, heads, relative heads, time, key_dim, max_distance, tile, masked
CASES = {
    "one tile, not full": (2, 2, 2, 13, 16, 16, 16, False),
    "several tiles, shared heads": (1, 2, 1, 45, 32, 45, 16, False),
    "window far shorter than time": (2, 1, 1, 53, 16, 7, 16, False),
    "window a tile and one": (1, 1, 1, 50, 16, 17, 16, True),
    "window a tile and two": (1, 1, 1, 50, 16, 18, 16, True),
    "window of one event": (1, 2, 2, 20, 16, 1, 16, False),
    "window longer than time": (1, 2, 2, 33, 16, 80, 16, True),
    "holes, key_dim 24": (3, 2, 2, 40, 24, 21, 16, True),
    "key_dim 64, tile 32": (1, 1, 1, 70, 64, 40, 32, True),
}


@pytest.fixture(scope="module")
def kernels():
    """The module, its kernels interpreted: see `test_the_interpreted_tests`."""
    if not INTERPRETED:
        pytest.skip("runs in a process of its own")
    from keras_pianogen.kernels import triton_attention

    with pytest.MonkeyPatch.context() as patch:
        dot = triton_attention.triton.jit(float32_dot)
        patch.setattr(triton_attention, "_dot", dot)
        yield triton_attention


def float32_dot(x, y):
    """Exact products of bfloat16.

    Triton 3.7's interpreter keeps bfloat16 as integers of 16 bits, and its
    `dot` multiplies those.
    """
    x, y = x.to(tl.float32), y.to(tl.float32)
    return tl.dot(x, y, input_precision="ieee")


def slow_attention(query, key, value, relative, padding_mask=None, scale=None):
    """Equation 3 as it stands, in float64, every matrix written out."""
    query, key, value, relative = (
        x.double() for x in (query, key, value, relative)
    )
    _, heads, time, key_dim = query.shape
    max_distance = relative.shape[0]
    distance = torch.arange(time)[:, None] - torch.arange(time)[None]
    visible = ((distance >= 0) & (distance < max_distance))[None, None]
    if padding_mask is not None:
        visible = visible & padding_mask[:, None, None]
    rows = (max_distance - 1 - distance).clamp(0, max_distance - 1)
    rows = relative[rows].expand(-1, -1, heads, -1)  # (time, time, heads, dim)
    logits = torch.einsum("bhid,bhjd->bhij", query, key)
    logits = logits + torch.einsum("bhid,ijhd->bhij", query, rows)
    logits = logits * (key_dim**-0.5 if scale is None else scale)
    weights = torch.softmax(logits.masked_fill(~visible, -1e30), -1)
    return (weights * visible) @ value


def draw(case, dtype=torch.float32, seed=0):
    """Query, key, value, relative; and a mask with holes, its first row empty.

    A batch of one keeps its first two events instead.
    """
    batch, heads, relative_heads, time, key_dim, max_distance, _, masked = case
    generator = torch.Generator().manual_seed(seed)
    shapes = [(batch, heads, time, key_dim)] * 3
    shapes.append((max_distance, relative_heads, key_dim))
    inputs = [
        torch.randn(x, generator=generator).to(dtype).requires_grad_()
        for x in shapes
    ]
    if not masked:
        return inputs, None
    padding_mask = torch.rand((batch, time), generator=generator) > 0.3
    padding_mask[0] = False
    if batch == 1:
        padding_mask = torch.rand((1, time), generator=generator) > 0.3
    return inputs, padding_mask


def with_gradients(attend, inputs, *args, **kwargs):
    """Outputs, and gradients of all inputs for fixed random ones of outputs."""
    outputs = attend(*inputs, *args, **kwargs)
    generator = torch.Generator().manual_seed(1)
    d_outputs = torch.randn(outputs.shape, generator=generator)
    gradients = torch.autograd.grad(
        outputs, inputs, d_outputs.to(outputs.dtype)
    )
    return (outputs.detach(), *gradients)


def assert_close(results, expected, tolerance):
    for got, want in zip(results, expected, strict=True):
        torch.testing.assert_close(
            got.double(), want.double(), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_outputs_and_gradients_are_those_of_the_slow_twin(kernels, case):
    inputs, padding_mask = draw(case)
    results = with_gradients(
        kernels.relative_attention, inputs, padding_mask, tile=case[6]
    )
    expected = with_gradients(slow_attention, inputs, padding_mask)
    assert_close(results, expected, 1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_kept(kernels, dtype):
    case = CASES["holes, key_dim 24"]
    inputs, padding_mask = draw(case, dtype)
    results = with_gradients(
        kernels.relative_attention, inputs, padding_mask, tile=16
    )
    assert {x.dtype for x in results} == {dtype}
    expected = with_gradients(slow_attention, inputs, padding_mask)
    assert_close(results, expected, TOLERANCES[dtype])


def test_relative_embeddings_may_stay_in_float32(kernels):
    (query, key, value, relative), _ = draw(CASES["window of one event"])
    inputs = [
        x.detach().bfloat16().requires_grad_() for x in (query, key, value)
    ]
    results = with_gradients(kernels.relative_attention, [*inputs, relative])
    assert results[0].dtype == torch.bfloat16
    assert results[-1].dtype == torch.float32


def test_scale_multiplies_the_logits(kernels):
    inputs, _ = draw(CASES["one tile, not full"])
    results = with_gradients(kernels.relative_attention, inputs, scale=1)
    expected = with_gradients(slow_attention, inputs, scale=1)
    assert_close(results, expected, 1e-5)


def test_the_tile_never_changes_the_result(kernels):
    inputs, padding_mask = draw(CASES["window longer than time"])
    small, large = (
        with_gradients(
            kernels.relative_attention, inputs, padding_mask, tile=tile
        )
        for tile in (16, 32)
    )
    assert_close(small, large, 1e-5)


def test_strides_never_change_the_result(kernels):
    inputs, _ = draw(CASES["several tiles, shared heads"])
    expected = with_gradients(kernels.relative_attention, inputs)
    strided = [
        torch.stack([x, x], -1)[..., 0].detach().requires_grad_()
        for x in inputs
    ]
    assert strided[0].stride(-1) == 2
    results = with_gradients(kernels.relative_attention, strided)
    assert_close(results, expected, 0)


def test_a_query_without_keys_gives_zeros_and_zero_gradients(kernels):
    inputs, padding_mask = draw(CASES["holes, key_dim 24"])
    results = with_gradients(
        kernels.relative_attention, inputs, padding_mask, tile=16
    )
    assert not padding_mask[0].any()
    for x in results[:4]:
        assert not x[0].any()
        assert x[1:].any()
    padding_mask[1:] = False
    results = with_gradients(
        kernels.relative_attention, inputs, padding_mask, tile=16
    )
    assert not any(x.any() for x in results)


def test_no_events_give_no_outputs(kernels):
    inputs, _ = draw((2, 2, 2, 0, 16, 16, 16, False))
    assert kernels.relative_attention(*inputs).shape == (2, 2, 0, 16)


def test_nothing_of_size_time_by_time_is_saved(kernels):
    inputs, _ = draw((1, 1, 1, 70, 16, 70, 16, False))
    outputs = kernels.relative_attention(*inputs)
    saved = outputs.grad_fn.saved_tensors
    assert max(x.numel() for x in saved if x is not None) == 70 * 16


def test_the_layer_computes_the_same(kernels):
    from keras_pianogen.layers import RelativeGlobalAttention

    layer = RelativeGlobalAttention(2, 16, max_distance=20, block_size=8)
    x = torch.randn((2, 30, 12), generator=torch.Generator().manual_seed(0))
    x = x.to(layer(x).device)
    if x.device.type != "cpu":
        pytest.skip("the interpreter is for the CPU")
    heads = (
        projection(x).reshape(2, 30, 2, 16).transpose(1, 2)
        for projection in (layer.query, layer.key, layer.value)
    )
    relative = layer.relative_embeddings.value
    outputs = kernels.relative_attention(*heads, relative, tile=16)
    outputs = outputs.transpose(1, 2).reshape(2, 30, 32)
    assert_close([layer.attention_output(outputs)], [layer(x)], 1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(2, 5, 16)}, "`query` must have the shape"),
        ({"query": torch.zeros(1, 2, 5, 256)}, "`query` must have the shape"),
        ({"query": torch.zeros(1, 2, 5, 16).double()}, "`query` must be of"),
        ({"key": torch.zeros(1, 2, 6, 16)}, "`key` must have the shape"),
        ({"value": torch.zeros(1, 2, 5, 16).half()}, "`value` must have"),
        ({"relative": torch.zeros(8, 3, 16)}, "`relative` must have"),
        ({"padding_mask": torch.ones(1, 5)}, "`padding_mask` must be bool"),
        ({"tile": 24}, "`tile` must be a power of two"),
        ({"relative": torch.zeros(8, 1, 16, device="meta")}, "All tensors"),
    ],
)
def test_an_unfit_argument_is_named(kernels, change, message):
    arguments = {
        "query": torch.zeros(1, 2, 5, 16),
        "key": torch.zeros(1, 2, 5, 16),
        "value": torch.zeros(1, 2, 5, 16),
        "relative": torch.zeros(8, 1, 16),
    }
    with pytest.raises(ValueError, match=message):
        kernels.relative_attention(**arguments | change)


# Every kernel as it is launched, with a mask and without one, at shapes where
# all sizes are 1 too: Triton makes a 1 a constant. Prints one line a kernel.
COMPILE = f"""
import re, torch, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import {MODULE} as kernels

FLOATS = ("log_sums", "deltas", "parts")

def compile(kernel, target, dtype, sizes, masked):
    sizes = dict(sizes, num_batches=sizes["heads"])
    options = {{x: sizes.pop(x) for x in ("num_warps", "num_stages")}}
    signature, constants = {{}}, {{}}
    for name in kernel.arg_names:
        signature[name] = "*fp32" if name in FLOATS else "*" + dtype
        if name == "padding_mask":
            signature[name] = "*u8" if masked else "constexpr"
            constants |= {{}} if masked else {{name: None}}
        elif name == "scale":
            signature[name] = "fp32"
        elif name in sizes:
            constant = name.isupper() or sizes[name] == 1
            signature[name] = "constexpr" if constant else "i32"
            constants |= {{name: sizes[name]}} if constant else {{}}
    source = ASTSource(kernel, signature, constants)
    return triton.compile(source, target=target, options=options)

for arch, dtype, name, shape, window in (
    (80, torch.bfloat16, "bf16", (2, 8, 2048, 64), 1024),
    (90, torch.bfloat16, "bf16", (2, 8, 2048, 64), 1024),
    (90, torch.float32, "fp32", (1, 1, 1, 24), 1),
):
    query = torch.empty(shape, dtype=dtype, device="meta")
    rows = torch.empty((window, shape[1], shape[3]), device="meta")
    sizes = kernels._sizes(query, rows, 0.1, kernels._default_tile(query))
    for kernel in [y for x, y in vars(kernels).items() if "_kernel" in x]:
        compiled = compile(
            kernel, GPUTarget("cuda", arch, 32), name, sizes, window > 1
        )
        ptx = compiled.asm["ptx"]
        print(
            kernel.__name__,
            f".target sm_{{arch}}" in ptx,
            len(compiled.asm["cubin"]) > 0,
            bool(re.search(r"\\b(atom|red)\\.", ptx)),
            compiled.metadata.shared,
        )
"""


def run_alone(*arguments, **environment):
    """A Python process, in which Triton is imported for the first time."""
    if INTERPRETED:
        pytest.skip("is for the process that is not interpreted")
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_the_interpreted_tests():
    """Triton decides at its import, once a process: so they have their own."""
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", __file__)
    run = run_alone(*command, TRITON_INTERPRET="1")
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout


def test_all_kernels_compile_for_gpus(tmp_path):
    run = run_alone("-c", COMPILE, TRITON_CACHE_DIR=str(tmp_path))
    assert run.returncode == 0, run.stderr
    lines = [line.split() for line in run.stdout.splitlines()]
    assert len(lines) == 3 * 4
    for _, targeted, assembled, atomic, shared in lines:
        assert (targeted, assembled, atomic) == ("True", "True", "False")
        assert int(shared) <= 99 * 1024  # What the smallest sm_8x offers.


def test_compiled_kernels_turn_the_cpu_away():
    script = (
        f"import torch; from {MODULE} import relative_attention as attend\n"
        "x = torch.zeros(1, 1, 4, 16); attend(x, x, x, x[0, :, :1])"
    )
    run = run_alone("-c", script)
    assert "ValueError: `query` must be on a GPU" in run.stderr
