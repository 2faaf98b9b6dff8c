"""Pieces that come to an end: slower, and with a last chord that rings."""

import numpy as np
import pytest

from keras_pianogen.events import EventVocabulary
from keras_pianogen.generation.endings import Ending
from keras_pianogen.generation.endings import round_off
from keras_pianogen.generation.endings import round_off_rows
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

MAGENTA = EventVocabulary.named("magenta")


@pytest.fixture
def notes():
    """Ten notes a second for twenty seconds, over a bass that is held."""
    notes = np.zeros(201, NOTE_DTYPE)
    notes["start"][1:] = 0.1 * np.arange(200)
    notes["end"] = notes["start"] + 0.08
    notes["pitch"][1:] = 60 + np.arange(200) % 24
    notes["velocity"] = 61
    notes[0] = (0.0, 19.98, 36, 61)
    return notes


def ended(notes, prompt=1, seconds=20.0):
    """The notes after their events were rounded off."""
    ids = round_off(MAGENTA, MAGENTA.encode(notes), prompt, seconds)
    return MAGENTA.decode(ids)


def test_an_ending_slows_down_and_its_last_chord_rings(notes):
    found, ending = ended(notes), Ending.of(20.0)
    assert len(found) == len(notes)
    np.testing.assert_array_equal(found["pitch"], notes["pitch"])
    early = notes["start"] < 16.9
    np.testing.assert_allclose(found["start"][early], notes["start"][early])
    assert found["end"].max() == pytest.approx(19.98 + ending.added, abs=0.03)
    # Half the speed at the end, and no jump before.
    gaps = np.diff(found["start"][1:])
    assert gaps[-1] == pytest.approx(0.2, abs=0.02)
    assert (np.diff(gaps[160:]) > -0.02).all() and gaps.min() > 0.09
    # The last chord rings, what came before doesn't.
    last = found["start"].max()
    rings = found["end"] > last + 2
    assert rings[-3:].all() and rings.sum() == 3
    assert 2.3 < found["end"].max() - last < 2.7
    assert (found["start"] > found["end"].max() - 3).sum() <= 4


def test_both_forms_of_music_end_alike(notes):
    form = NoteTuples()
    rows = np.stack([form.encode(notes)[f] for f in FIELDS], 1).astype("int32")
    rows = round_off_rows(rows, 1, 20.0, form.time_step)
    again = form.encode(notes)
    for i, name in enumerate(FIELDS):
        again[name] = rows[:, i]
    ours, theirs = ended(notes), form.decode(again)
    np.testing.assert_allclose(ours["start"], theirs["start"], atol=0.011)
    rings = theirs["end"] > theirs["start"].max() + 2
    np.testing.assert_array_equal(rings[1:], (ours["end"] > 21.3)[1:])


def test_short_pieces_have_short_endings_and_prompts_stay(notes):
    assert Ending.of(4.0).added == pytest.approx(Ending.of(40.0).added / 5)
    ids = MAGENTA.encode(notes)
    prompt = int(np.searchsorted(MAGENTA.times(ids), 19.0, side="right"))
    made = round_off(MAGENTA, ids, prompt, 20.0)
    np.testing.assert_array_equal(made[:prompt], ids[:prompt])
