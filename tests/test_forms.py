"""Both forms tell what a model's tokens play, as they come."""

import numpy as np
import pytest
from random_pieces import MAGENTA
from random_pieces import random_notes

from keras_pianogen.data.forms import EventForm
from keras_pianogen.data.forms import NoteForm
from keras_pianogen.generation.notewise import START
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import NoteTuples

pytestmark = pytest.mark.one_backend


@pytest.fixture(scope="module")
def notes():
    return random_notes(np.random.default_rng(0), 60, longest=2)


def tokens_of(form, notes):
    if isinstance(form, EventForm):
        return form.vocabulary.encode(notes)
    rows = form.note_tuples.encode(notes)
    return np.array([START, *np.stack([rows[f] for f in FIELDS], 1).tolist()])


FORMS = pytest.mark.parametrize(
    "form", [EventForm(MAGENTA), NoteForm(NoteTuples())], ids=["event", "note"]
)


@FORMS
def test_strokes_are_the_notes_that_the_tokens_decode_to(form, notes):
    tokens = tokens_of(form, notes)
    strokes, until = form.strokes(tokens)
    if isinstance(form, EventForm):
        decoded = form.vocabulary.decode(tokens)
    else:
        decoded = form.note_tuples.decode(form.note_tuples.encode(notes))
    expected = [(n["start"], n["pitch"], n["velocity"]) for n in decoded]
    expected += [(n["end"], n["pitch"], 0) for n in decoded]
    known = {key for key in expected if key[0] < until}
    assert known <= set(strokes) <= set(expected)
    assert len(strokes) > 60
    assert [time for time, *_ in strokes] == sorted(x[0] for x in strokes)


@FORMS
def test_more_tokens_only_add_strokes_at_the_end(form, notes):
    tokens, before = tokens_of(form, notes), []
    for count in range(1, len(tokens) + 1):
        strokes, until = form.strokes(tokens[:count])
        assert strokes[: len(before)] == before
        before = strokes
    assert until >= strokes[-1][0]


@FORMS
def test_backbone_inputs_have_a_place_for_each_time(form, notes):
    (tokens,) = form.backbone_inputs(notes).values()
    assert len(tokens) == len(form.times(notes))
    assert form.times(notes)[-1] <= notes["end"].max() + 0.01
