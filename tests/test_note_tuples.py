"""Facts about note tuples: what they say, and that nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from performances import notes_of
from performances import random_notes

from keras_pianogen.events import EventVocabulary
from keras_pianogen.midi import read_notes
from keras_pianogen.note_tuples import NOTE_TUPLE_DTYPE
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.note_tuples import TickCode

pytestmark = pytest.mark.one_backend

FORM = NoteTuples()
EVENTS = EventVocabulary.named("magenta")
WHOLE = st.integers(-(2**31), 2**31 - 1)


def rows_of(*rows):
    return np.array(list(rows), NOTE_TUPLE_DTYPE)


def assert_the_same_music_as_events(notes):
    rows = FORM.encode(notes)
    found = FORM.decode(rows)
    assert len(rows) == len(notes)
    np.testing.assert_array_equal(found, EVENTS.decode(EVENTS.encode(notes)))
    np.testing.assert_array_equal(FORM.encode(found), rows)
    assert np.abs(np.sort(found["start"]) - notes["start"]).max() <= 0.005001


def test_a_row_says_how_long_after_the_last_onset_and_for_how_long():
    rows = FORM.encode(notes_of((0.5, 2, 60, 80), (0.754, 1.2, 64, 1)))
    assert rows.tolist() == [(50, 60, 19, 150), (25, 64, 0, 45)]


@pytest.mark.parametrize("seed", range(20))
def test_both_forms_write_the_same_quantised_notes(seed):
    notes = random_notes(400, seconds=4 + 4 * seed, seed=seed)
    notes["end"] += np.random.default_rng(seed).exponential(2, 400)
    assert_the_same_music_as_events(notes)


@pytest.mark.parametrize(
    "notes",
    [
        notes_of((0, 1, 60, 64), (0.001, 1, 60, 70), (0.002, 0.5, 60, 90)),
        notes_of((0, 5, 60, 64), (1, 2, 60, 64)),
        notes_of((0, 1, 60, 64), (1, 2, 60, 64)),
        notes_of((7200, 86_400, 21, 127)),
    ],
    ids=["three in a tick", "struck again", "repeated", "very long"],
)
def test_notes_on_edges_are_the_same_in_both_forms(notes):
    assert_the_same_music_as_events(notes)


def test_maestro_is_the_same_music_in_both_forms(maestro_folder):
    files = sorted(maestro_folder.glob("*/*.midi"))[7::61]
    assert len(files) == 21
    for path in files:
        notes = read_notes(path)
        rows = FORM.encode(notes)
        np.testing.assert_array_equal(
            FORM.decode(rows), EVENTS.decode(EVENTS.encode(notes))
        )


def test_no_notes_are_no_rows_and_back():
    assert len(FORM.encode(notes_of())) == len(FORM.decode(rows_of())) == 0


@given(st.lists(st.tuples(WHOLE, WHOLE, WHOLE, WHOLE), max_size=30))
def test_rows_of_any_whole_numbers_are_some_performance(rows):
    wild = np.array(rows, [(name, "i8") for name in NOTE_TUPLE_DTYPE.names])
    notes = FORM.decode(wild)
    assert len(notes) == len(rows)
    np.testing.assert_array_equal(FORM.decode(FORM.encode(notes)), notes)


@pytest.mark.parametrize(
    "rows", [[(1, 60, 3, 4)], np.zeros(3), np.zeros((2, 2), NOTE_TUPLE_DTYPE)]
)
def test_rows_of_another_kind_are_refused(rows):
    with pytest.raises(ValueError, match="shift, pitch, velocity, duration"):
        FORM.decode(rows)


def test_a_longer_performance_is_refused():
    with pytest.raises(ValueError, match="within 86400 seconds"):
        FORM.encode(notes_of((0, 86_401, 60, 64)))


def test_the_form_prints_its_fields_and_classes():
    lines = str(FORM).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["field", "classes"],
        ["shift", str(FORM.shift_code.num_classes)],
        ["pitch", "128"],
        ["velocity", "32"],
        ["duration", str(FORM.duration_code.num_classes)],
    ]


def test_a_config_gives_the_form_back():
    form = NoteTuples(time_step=0.02, direct_shifts=50)
    assert NoteTuples(**form.get_config()) == form


@given(st.integers(4, 2000), st.lists(st.integers(0, 5_000_000), min_size=1))
def test_a_code_of_ticks_loses_nothing(direct, ticks):
    code = TickCode(direct, 5_000_000)
    classes, remainders = code.encode(ticks)
    assert code.decode(classes, remainders).tolist() == ticks
    assert (remainders < code.widths[classes]).all()
    assert classes.max() < code.num_classes


def test_the_classes_of_a_code_share_out_all_numbers():
    code = TickCode(100, 10_000)
    assert code.widths.sum() == 10_001
    assert (code.widths[:100] == 1).all()
    wide = code.widths[100:-1] / code.firsts[100:-1]
    np.testing.assert_allclose(wide, 2**0.25 - 1, atol=0.01)


def test_numbers_beyond_a_code_are_refused():
    with pytest.raises(ValueError, match="from 0 to 10. Received: 3 to 11"):
        TickCode(4, 10).encode([3, 11])
