"""What is the same on all three backends; runs once, each in a process."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from gan_models import LENGTH
from gan_models import SIZE
from gan_models import build_gan
from gan_models import weights_of
from gan_models import with_noise
from small_models import build_model
from small_models import random_ids

from keras_pianogen.models import MusicTransformerCausalLM

HERE = keras.config.backend()

pytestmark = pytest.mark.one_backend


THERE = """
import sys
sys.path.insert(0, sys.argv[2])
import test_backends
if test_backends.HERE == "tensorflow":
    test_backends.count_compilations(sys.argv[1])
test_backends.write_both(sys.argv[1])
"""


def count_compilations(folder):
    """Write how much XLA had compiled after each of four pieces."""
    model, counts = build_model(context=200), []
    for prompt in (70, 200, 400, 0):
        length = prompt + 200
        model.generate(random_ids(prompt), max_length=length, seed=prompt)
        dumped = pathlib.Path(folder, "xla").glob("*before_optimizations.txt")
        counts.append(len(list(dumped)))
    pathlib.Path(folder, "compilations").write_text(str(counts))


def write_both(folder):
    """Write logits and weights of the models saved in a folder."""
    model = MusicTransformerCausalLM.from_preset(f"{folder}/preset")
    gan = keras.models.load_model(f"{folder}/gan.keras")
    name = f"{folder}/{keras.config.backend()}.npz"
    np.savez(name, logits=logits(model), weights=after_two_rounds(gan))


def logits(model):
    ids = np.random.default_rng(0).integers(3, 391, (2, 60))
    mask = np.ones(ids.shape, bool)
    mask[1, 50:] = False
    return model.predict({"token_ids": ids, "padding_mask": mask}, verbose=0)


def after_two_rounds(gan):
    """All weights in one line."""
    for seed in (0, 1):
        ids = np.random.default_rng(seed).integers(3, SIZE, (8, LENGTH))
        gan.train_on_batch(with_noise(ids.astype("int32")))
    return np.concatenate([w.ravel() for w in weights_of(gan)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `write_both` leaves of the same models, by name of the backend."""
    folder = tmp_path_factory.mktemp("backends")
    build_model().save_to_preset(str(folder / "preset"))
    gan = build_gan()
    # SGD: Adam makes the sign of a gradient of rounding errors a step.
    gan.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        keras.optimizers.SGD(0.5, momentum=0.9),
        loss="wasserstein",
    )
    gan.save(folder / "gan.keras")
    write_both(folder)
    arguments = folder, os.path.dirname(__file__)
    for backend in sorted({"tensorflow", "jax", "torch"} - {HERE}):
        pytest.importorskip(backend)
        flags = "--xla_backend_optimization_level=0"
        flags += " --xla_cpu_use_fusion_emitters=false"
        if backend == "tensorflow":
            flags += f" --xla_dump_to={folder}/xla --xla_dump_hlo_as_text"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", THERE, *arguments],
            env=os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": flags},
            check=True,
        )
    return folder


@pytest.mark.parametrize("name", ["logits", "weights"])
def test_the_backends_agree(folder, name):
    """On a model's logits, and on a GAN's weights after two rounds."""
    paths = sorted(folder.glob("*.npz"))
    assert len(paths) == 3
    ours, *others = (np.load(path)[name] for path in paths)
    for theirs in others:
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_two_rounds_change_the_weights(folder):
    gan = keras.models.load_model(folder / "gan.keras")
    before = np.concatenate([w.ravel() for w in weights_of(gan)])
    after = np.load(folder / f"{HERE}.npz")["weights"]
    assert np.abs(after - before).max() > 1e-3


def test_tensorflow_compiles_once_whatever_the_position(folder):
    if HERE == "tensorflow":
        pytest.skip("is about a process that compiles nothing else before")
    # The prefill and the loop, and for the other pieces nothing.
    assert (folder / "compilations").read_text() == "[2, 2, 2, 2]"
