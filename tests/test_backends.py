"""What is the same on all three backends; runs once, each in a process."""

import io
import os
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
from test_models import build_model

pytestmark = pytest.mark.one_backend


def on_other_backends(code, *arguments):
    """The array that `code` writes, on each backend but this one."""
    others = {"tensorflow", "jax", "torch"} - {keras.config.backend()}
    for backend in sorted(others):
        pytest.importorskip(backend)
        output = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *arguments],
            env=os.environ | {"KERAS_BACKEND": backend},
            capture_output=True,
            check=True,
        ).stdout
        yield np.load(io.BytesIO(output))


LOGITS = """
import sys
import numpy as np
from keras_pianogen.models import MusicTransformerCausalLM
model = MusicTransformerCausalLM.from_preset(sys.argv[1])
ids = np.random.default_rng(0).integers(3, 391, (2, 60))
mask = np.ones(ids.shape, bool)
mask[1, 50:] = False
x = {"token_ids": ids, "padding_mask": mask}
np.save(sys.stdout.buffer, model.predict(x, verbose=0))
"""


def test_the_backends_agree(tmp_path):
    model = build_model()
    model.save_to_preset(str(tmp_path / "preset"))
    ids = np.random.default_rng(0).integers(3, 391, (2, 60))
    mask = np.ones(ids.shape, bool)
    mask[1, 50:] = False
    ours = model.predict({"token_ids": ids, "padding_mask": mask}, verbose=0)
    for theirs in on_other_backends(LOGITS, tmp_path / "preset"):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


TWO_ROUNDS = """
import sys
import keras
import numpy as np
sys.path.insert(0, sys.argv[2])
import test_backends
gan = keras.models.load_model(sys.argv[1])
np.save(sys.stdout.buffer, test_backends.after_two_rounds(gan))
"""


def after_two_rounds(gan):
    """All weights in one line."""
    for seed in (0, 1):
        ids = np.random.default_rng(seed).integers(3, SIZE, (8, LENGTH))
        gan.train_on_batch(with_noise(ids.astype("int32")))
    return np.concatenate([w.ravel() for w in weights_of(gan)])


def test_two_rounds_are_the_same_on_every_backend(tmp_path):
    gan = build_gan()
    # SGD: Adam makes the sign of a gradient of rounding errors a step.
    gan.compile(
        keras.optimizers.SGD(0.5, momentum=0.9),
        keras.optimizers.SGD(0.5, momentum=0.9),
        loss="wasserstein",
    )
    gan.save(tmp_path / "gan.keras")
    before = np.concatenate([w.ravel() for w in weights_of(gan)])
    ours = after_two_rounds(gan)
    assert np.abs(ours - before).max() > 1e-3
    paths = tmp_path / "gan.keras", os.path.dirname(__file__)
    for theirs in on_other_backends(TWO_ROUNDS, *paths):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


ONE_PIECE_AFTER_ANOTHER = """
import pathlib
import sys
sys.path.insert(0, sys.argv[1])
from small_models import build_model
from small_models import random_ids
def compilations(name="*before_optimizations.txt"):
    return len(list(pathlib.Path(sys.argv[2]).glob(name)))
model = build_model(context=200)
counts = []
for prompt in (70, 200, 400, 0):
    model.generate(random_ids(prompt), max_length=prompt + 200, seed=prompt)
    counts.append(compilations())
print(counts)
"""


def test_tensorflow_compiles_once_whatever_the_position(tmp_path):
    flags = f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text"
    flags += " --xla_backend_optimization_level=0"
    printed = subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-c", ONE_PIECE_AFTER_ANOTHER),
            *(os.path.dirname(__file__), tmp_path),
        ],
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "XLA_FLAGS": flags},
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    # The prefill and the loop, and for the other pieces nothing.
    assert printed == "[2, 2, 2, 2]\n"
