"""Data parallel training on JAX: many devices and many processes, one loss."""

import csv
import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.events import EventVocabulary
from keras_pianogen.training.data_parallel import DataParallel

on_jax = pytest.mark.skipif(
    keras.config.backend() != "jax", reason="keras.distribution is JAX's alone"
)

# Trains in each folder, one after the other.
TRAIN = """
import json
import sys
from keras_pianogen.training import Recipe
from keras_pianogen.training import train

recipe = Recipe(
    num_layers=1,
    num_heads=2,
    hidden_dim=16,
    intermediate_dim=32,
    sequence_length=32,
    batch_size=8,
    ema_momentum=0.5,
)
for out, settings in json.loads(sys.argv[2]):
    train(
        sys.argv[1],
        out,
        None if "resume" in settings else recipe,
        validations=2,
        **settings,
    )
"""


def start(corpus, runs, devices=1, **environment):
    """A process that trains (folder, settings), on simulated devices."""
    runs = json.dumps([(os.fspath(out), settings) for out, settings in runs])
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(corpus.folder), runs],
        env=os.environ
        | {
            "KERAS_BACKEND": "jax",
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")
            + f" --xla_force_host_platform_device_count={devices}",
            **environment,
        },
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two(corpus, runs):
    addresses = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    return [
        start(
            corpus,
            runs,
            KERAS_DISTRIBUTION_JOB_ADDRESSES=addresses,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(i),
        )
        for i in range(2)
    ]


def curves(folder):
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return (
        [float(row["loss"]) for row in rows],
        [float(row["val_nats_per_event"] or "nan") for row in rows],
    )


@on_jax
def test_devices_and_processes_have_the_loss_of_one_device(
    small_corpus, tmp_path
):
    one, four, two = (tmp_path / name for name in ("one", "four", "two"))
    alone = {"steps": 12, "samples": 0}
    parallel = alone | {"data_parallel": True}
    sampled = parallel | {"samples": 1}
    longer = parallel | {"steps": 14, "resume": True}
    finish(start(small_corpus, [(one, alone), (four, parallel)], devices=4))
    finish(*start_two(small_corpus, [(two, sampled), (two, longer)]))
    assert list((two / "samples").glob("*.mid"))
    assert len(curves(two)[0]) == 14
    for folder in (four, two):
        for ours, theirs in zip(curves(folder), curves(one), strict=True):
            np.testing.assert_allclose(ours[:12], theirs, atol=1e-4)
    state = json.loads(
        max((two / "checkpoints").iterdir()).joinpath("state.json").read_text()
    )
    assert state["step"] == 14
    assert (two / "preset" / "model.weights.h5").exists()


def test_parts_of_a_batch_are_all_of_it(small_corpus):
    settings = {
        "vocabulary": EventVocabulary.named("magenta"),
        "sequence_length": 16,
        "batch_size": 6,
        "seed": 4,
        "workers": 0,
    }
    whole = EventWindows(small_corpus, **settings)
    parts = [
        EventWindows(small_corpus, part=(i, 3), **settings) for i in (0, 1, 2)
    ]
    for step in (0, 7):
        x, y, weights = whole.batch(step)
        batches = [part.batch(step) for part in parts]
        for name, array in x.items():
            np.testing.assert_array_equal(
                np.concatenate([b[0][name] for b in batches]), array
            )
        np.testing.assert_array_equal(
            np.concatenate([b[1] for b in batches]), y
        )
        np.testing.assert_array_equal(
            np.concatenate([b[2] for b in batches]), weights
        )
    with pytest.raises(ValueError, match="divides"):
        EventWindows(small_corpus, part=(0, 4), **settings)


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="of the other backends"
)
def test_another_backend_is_refused():
    with pytest.raises(ValueError, match="needs the backend JAX"):
        DataParallel()


@on_jax
def test_a_batch_must_be_shared_out_evenly():
    parallel = DataParallel()
    devices = parallel.num_devices
    parallel.check(2 * devices, minutes=3)
    parallel.num_devices = 4
    with pytest.raises(ValueError, match="number of devices, 4.*batch_size=6"):
        parallel.check(6)
    parallel.part = (1, 2)
    with pytest.raises(ValueError, match="several clocks"):
        parallel.check(8, minutes=3)
