"""What a training step costs, in time and memory, by length and attention.

    KERAS_BACKEND=jax python tests/lengths.py > lengths.csv

prints a line for each length and attention: batch 1, seconds of the best round
and of the median one, MiB of the peak over what there was before the step.
`docs/records/plot_lengths.py` draws them.
"""

import contextlib
import ctypes
import gc
import os
import pathlib
import statistics
import subprocess
import sys
import time
import warnings

import conftest  # noqa: F401
import keras
import numpy as np
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM

SHAPE = {
    "num_layers": 6,
    "num_heads": 8,
    "hidden_dim": 256,
    "intermediate_dim": 1024,
    "dropout": 0.0,
}
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
LONGEST_TEXTBOOK = 4096
ROUNDS, SECONDS = 5, 20  # Rounds of a length, fewer if these are over.


# Attention: the whole model, with another attention in its place.


@contextlib.contextmanager
def attention(function):
    """Models attend by another function, in place of `dispatch.attend`."""
    ours = dispatch.attend
    dispatch.attend = function or ours
    try:
        yield
    finally:
        dispatch.attend = ours


def textbook(query, key, value, relative, padding_mask=None, **_):
    """Section 3.4.1 of Huang et al. on the whole (time, time) matrix."""
    time, key_dim = query.shape[2:]
    columns = ops.transpose(relative[-time:], (1, 2, 0))
    skewed = ops.matmul(query, columns)
    skewed = ops.pad(skewed, ((0, 0), (0, 0), (0, 0), (1, 0)))
    skewed = ops.reshape(skewed, (-1, query.shape[1], time + 1, time))
    logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    logits = (logits + skewed[:, :, 1:]) * key_dim**-0.5
    logits = ops.where(np.tri(time, dtype="bool"), logits, -1e9)
    return ops.matmul(ops.softmax(logits), value)


def plain(query, key, value, relative, padding_mask=None, **_):
    """Without relative positions, by the backend's own attention."""
    query, key, value = (
        ops.transpose(x, (0, 2, 1, 3)) for x in (query, key, value)
    )
    outputs = ops.dot_product_attention(query, key, value, is_causal=True)
    return ops.transpose(outputs, (0, 2, 1, 3))


ATTENTIONS = {"ours": None, "textbook": textbook, "plain": plain}


def training_step(name, length, batch=1, **shape):
    """A function that trains a model with that attention for one step."""
    function = ATTENTIONS[name]
    keras.utils.set_random_seed(0)
    backbone = MusicTransformerBackbone(
        vocabulary_size=391, max_sequence_length=length, **(SHAPE | shape)
    )
    model = MusicTransformerCausalLM(backbone)
    ids = np.random.default_rng(0).integers(3, 391, (batch, length), "int32")
    x = {"token_ids": ids, "padding_mask": np.ones(ids.shape, "bool")}
    y, weight = np.roll(ids, -1, 1), np.ones(ids.shape, "float32")

    def step():
        with attention(function), warnings.catch_warnings():
            # Without relative positions their embeddings have no gradient.
            warnings.filterwarnings("ignore", ".*[Gg]radients.*")
            return model.train_on_batch(x, y, weight)

    return step


# Memory.


def peak_memory(name, length, **shape):
    """MiB that one training step takes over what there was before it.

    In a process of its own, whose step has been compiled and run before: the
    compiler's memory is not the step's.
    """
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import lengths\n"
        f"step = lengths.training_step({name!r}, {length}, **{shape})\n"
        "print(lengths.peak_of(step))"
    )
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=pathlib.Path(__file__).parents[1],
        # TensorFlow's own allocator keeps what a step has freed for the next.
        env=os.environ | {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"},
        capture_output=True,
        text=True,
    )
    if output.returncode:  # Killed, most likely: there was no more memory.
        return float("nan")
    return float(output.stdout.split()[-1])


def peak_of(step):
    """MiB at a step's highest over what there was before it (Linux)."""
    step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # What was freed is the system's again.
    before = _memory("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # Resets VmHWM.
    step()
    return (_memory("VmHWM") - before) / 1024


def _memory(name):
    """KiB, from what Linux tells of this process."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0])


# Time.


def times_in_turns(steps, rounds=ROUNDS, seconds=SECONDS):
    """Seconds of each step's rounds; steps take turns. They have run before."""
    spent, began = [[] for _ in steps], time.perf_counter()
    for done in range(rounds):
        if done > 1 and time.perf_counter() - began > seconds:
            break
        for step, times in zip(steps, spent, strict=True):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    return spent


def main():
    print("backend,attention,events,best_seconds,median_seconds,peak_mib")
    for length in LENGTHS:
        names = ["ours", "textbook"][: 1 + (length <= LONGEST_TEXTBOOK)]
        steps = [training_step(name, length) for name in names]
        for step in steps:
            step()
        for name, times in zip(names, times_in_turns(steps), strict=True):
            row = (
                keras.config.backend(),
                name,
                length,
                f"{min(times):.4f}",
                f"{statistics.median(times):.4f}",
                f"{peak_memory(name, length):.0f}",
            )
            print(*row, sep=",", flush=True)


if __name__ == "__main__":
    main()
