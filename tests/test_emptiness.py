"""Nearly empty pieces are drawn again."""

import numpy as np
import pytest
from small_models import the_model

from keras_pianogen.generation import emptiness


@pytest.fixture
def model():
    return the_model()


@pytest.mark.one_backend
def test_a_nearly_empty_piece_is_drawn_again_with_a_seed_that_is_told(
    model, monkeypatch, caplog
):
    settings = {"seconds": 8.0, "output": "ids"}
    plain = model.generate(seed=6, **settings)
    notes = (plain >= 3) & (plain < 131)
    monkeypatch.setattr(emptiness, "REDRAWS", 1)
    most = 10 * (notes.sum() + 0.5) / 8  # Just this piece has too few notes.
    monkeypatch.setattr(emptiness, "USUAL_NOTES_A_SECOND", most)
    counts = []
    again = model.generate(
        seed=6, progress=lambda count, _: counts.append(count), **settings
    )
    # The second drawing reports as well: its counts begin anew.
    assert counts != sorted(counts)
    said = caplog.records[0].getMessage()
    assert f"{notes.sum()} new notes with seed 6" in said
    told = int(said.rsplit("seed ", 1)[1])
    monkeypatch.setattr(emptiness, "USUAL_NOTES_A_SECOND", 0.0)
    assert not np.array_equal(again, plain)
    np.testing.assert_array_equal(again, model.generate(seed=told, **settings))
    count = len(caplog.records)
    np.testing.assert_array_equal(plain, model.generate(seed=6, **settings))
    assert len(caplog.records) == count
