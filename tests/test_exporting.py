"""Models as SavedModels, which give the same logits without Keras."""

import keras
import numpy as np
import pytest
from small_models import build_model
from small_models import random_ids

BACKEND = keras.config.backend()


def signature(*shape):
    dtypes = {"token_ids": "int32", "padding_mask": "bool"}
    return [
        {
            name: keras.InputSpec(shape=shape, dtype=dtype, name=name)
            for name, dtype in dtypes.items()
        }
    ]


@pytest.mark.skipif(BACKEND == "torch", reason="exports nothing")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_saved_model_gives_the_same_logits(tmp_path):
    import tensorflow as tf

    model = build_model()
    # Any size on TensorFlow, one on JAX.
    sizes = {"input_signature": signature(2, 19)} if BACKEND == "jax" else {}
    model.export(tmp_path / "exported", verbose=False, **sizes)
    exported = tf.saved_model.load(tmp_path / "exported")
    inputs = {
        "token_ids": random_ids(38).reshape(2, 19),
        "padding_mask": np.arange(19) < [[19], [12]],
    }
    logits = exported.serve({x: tf.constant(y) for x, y in inputs.items()})
    expected = keras.ops.convert_to_numpy(model(inputs))
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.skipif(BACKEND != "torch", reason="is about PyTorch")
def test_pytorch_says_where_to_export(tmp_path):
    with pytest.raises(ValueError, match="TensorFlow or JAX.*PyTorch"):
        build_model().export(tmp_path / "exported")


@pytest.mark.skipif(BACKEND != "jax", reason="is about JAX")
@pytest.mark.parametrize("sizes", [None, (None, 19), (1, None)])
def test_jax_asks_for_fixed_sizes(sizes, tmp_path):
    asked = sizes and signature(*sizes)
    with pytest.raises(ValueError, match="must fix the batch size and the len"):
        build_model().export(tmp_path / "exported", input_signature=asked)
