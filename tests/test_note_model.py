"""The model of note tuples: what it sees, and what its likelihood counts."""

import keras
import numpy as np
import pytest
from note_models import FORM
from note_models import build_note_model
from random_pieces import random_notes

from keras_pianogen.layers.note_heads import split_fields
from keras_pianogen.layers.sounding import EndCopying
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.models.losses import NoteCrossentropy
from keras_pianogen.models.losses import field_nats
from keras_pianogen.note_tuples import TickCode


@pytest.fixture(scope="module")
def model():
    return build_note_model()


@pytest.fixture(scope="module")
def batch(model):
    notes = random_notes(np.random.default_rng(0), 40)
    return model.preprocessor.windows([notes])


def numpy_logits(model, x):
    logits = keras.ops.convert_to_numpy(model.predict_on_batch(x))
    return [keras.ops.convert_to_numpy(z) for z in split_fields(FORM, logits)]


def test_windows_of_a_performance_hold_its_notes_and_its_end(batch):
    x, y, sample_weight = batch
    assert sample_weight.sum() == 41
    assert y.shape == (2, 24, 4)
    assert (y[..., 0] == FORM.end_class).sum() == 1


def test_a_field_is_given_those_before_it_and_no_other(model, batch):
    x, _, _ = batch
    before = numpy_logits(model, x)
    position = 7
    for field in range(4):
        changed = x["next_notes"].copy()
        changed[0, position, field] = (changed[0, position, field] + 5) % 30
        after = numpy_logits(model, x | {"next_notes": changed})
        for other in range(4):
            there = np.abs(after[other] - before[other]).max(-1)
            assert (there[0, position] > 1e-7) == (field < other)
            there[0, position] = 0
            assert there.max() < 1e-6  # Other notes don't see it here.


def test_no_prediction_depends_on_later_notes(model, batch):
    x, _, _ = batch
    before = numpy_logits(model, x)
    changed = {name: array.copy() for name, array in x.items()}
    changed["notes"][:, 10:] = 3
    changed["sounding"][:, 10:] += 1
    after = numpy_logits(model, changed)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one[:, :10], other[:, :10], atol=1e-5)
        assert np.abs(one[:, 10:] - other[:, 10:]).max() > 1e-3


def test_keys_that_sound_and_keys_out_of_order_have_no_probability(
    model, batch
):
    x, y, _ = batch
    pitches = numpy_logits(model, x)[1]
    left = np.maximum(x["sounding"] - x["elapsed"][..., None], 0)
    lower = np.arange(128) < x["notes"][..., 1:2]
    barred = (left > 0) | (lower & (x["elapsed"] == 0)[..., None])
    assert barred.any()
    np.testing.assert_array_equal(pitches < -1e8, barred)
    b, t = np.nonzero(y[..., 1] >= 0)
    assert not barred[b, t, y[b, t, 1]].any()


def test_the_loss_is_minus_the_logarithm_of_the_probability_of_the_notes(
    model, batch
):
    x, y, sample_weight = batch
    logits = numpy_logits(model, x)
    nats = np.zeros(y.shape)
    for i, (name, z) in enumerate(zip(FORM.num_classes, logits, strict=True)):
        z = z.astype("float64")
        log_p = (
            z - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1))[..., None]
        )
        log_p -= z.max(-1, keepdims=True)
        label = np.maximum(y[..., i], 0)
        cost = -np.take_along_axis(log_p, label[..., None], -1)[..., 0]
        cost += FORM.remainder_nats[name][label]
        nats[..., i] = np.where(y[..., i] >= 0, cost, 0)
    side_by_side = np.concatenate(logits, -1)
    found = [
        keras.ops.convert_to_numpy(n)
        for n in field_nats(FORM, y, keras.ops.convert_to_tensor(side_by_side))
    ]
    np.testing.assert_allclose(np.stack(found, -1), nats, rtol=1e-4, atol=1e-4)
    loss = NoteCrossentropy(FORM)(y, side_by_side, sample_weight)
    expected = (nats.sum(-1) * sample_weight).sum() / sample_weight.sum()
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    measured = model.evaluate(
        x, y, sample_weight=sample_weight, return_dict=True, verbose=0
    )
    assert measured["nats_per_note"] == pytest.approx(expected, rel=1e-4)


def test_ends_of_sounding_notes_get_a_share_of_the_mass():
    code = TickCode(direct=8, most=40)
    layer = EndCopying(code, key_dim=3, reach=1)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, code.num_classes + 1)).astype("float32")
    hidden = rng.normal(size=(2, 3, 4)).astype("float32")
    left = np.zeros((2, 3, 128), "int32")
    left[0, 1, [60, 64, 67]] = [3, 3, 20]
    left[1, 2, 50] = 40
    found = keras.ops.convert_to_numpy(layer(logits, hidden, left))
    query = hidden @ layer.query.get_weights()[0]
    keys = keras.ops.convert_to_numpy(layer.pitch_keys)
    window = np.exp(keras.ops.convert_to_numpy(layer.window))
    expected = np.exp(logits.astype("float64"))
    for b, t, pitch in zip(*np.nonzero(left), strict=True):
        late = np.log1p(left[b, t, pitch] / 100)
        score = query[b, t, 3:] @ keys[pitch]
        score += query[b, t, :3] @ [1, late, late**2]
        here = int(code.encode(left[b, t, pitch])[0])
        for k in (-1, 0, 1):
            if 0 <= here + k < logits.shape[-1]:
                expected[b, t, here + k] += window[k + 1] * np.exp(score)
    np.testing.assert_allclose(found, np.log(expected), rtol=1e-4, atol=1e-5)


def test_a_saved_model_gives_the_same_logits(model, batch, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    again = NoteTransformerCausalLM.from_preset(tmp_path / "preset")
    assert again.preprocessor.tokenizer.note_tuples == FORM
    for one, other in zip(
        numpy_logits(model, batch[0]),
        numpy_logits(again, batch[0]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.one_backend
def test_fit_on_notes_learns_them():
    model = build_note_model()
    model.compile(optimizer=keras.optimizers.Adam(0.01))
    notes = random_notes(np.random.default_rng(0), 40)
    history = model.fit([notes], batch_size=2, epochs=12, verbose=0).history
    assert history["nats_per_note"][-1] < history["nats_per_note"][0] - 4
