"""Windows of note tuples hold every note once, and what sounds before it."""

import numpy as np
import pytest
from random_pieces import random_corpus

from keras_pianogen.data.note_windows import NoteEvaluationWindows
from keras_pianogen.data.note_windows import NoteWindows
from keras_pianogen.note_tuples import NO_NOTE
from keras_pianogen.note_tuples import NoteTuples

pytestmark = pytest.mark.one_backend
FORM = NoteTuples()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return random_corpus(tmp_path_factory.mktemp("pieces"))


def rows_of(corpus, index):
    return FORM.encode(corpus.notes(index))


@pytest.mark.parametrize(
    ("length", "stride"), [(64, None), (64, 64), (50, 13), (1, 1), (3000, 700)]
)
def test_every_note_and_end_of_a_split_is_a_target_once_and_in_order(
    corpus, length, stride
):
    windows = NoteEvaluationWindows(
        corpus, "train", form=FORM, sequence_length=length, stride=stride
    )
    targets = [y[weight > 0] for _, y, weight in windows]
    expected = []
    for index in corpus.split("train"):
        expected += [FORM.classes(rows_of(corpus, index))]
        expected += [[[FORM.end_class, NO_NOTE, NO_NOTE, NO_NOTE]]]
    np.testing.assert_array_equal(
        np.concatenate(targets), np.concatenate(expected)
    )
    assert len(np.concatenate(targets)) == windows.num_events


def test_each_target_follows_the_note_before_it(corpus):
    windows = NoteEvaluationWindows(
        corpus, "train", form=FORM, sequence_length=40, stride=30
    )
    for x, y, weight in windows:
        there = x["padding_mask"][:, 1:]
        np.testing.assert_array_equal(
            x["notes"][:, 1:][there], y[:, :-1][there]
        )
        np.testing.assert_array_equal(x["next_notes"], y)
        assert (x["padding_mask"] >= (weight > 0)).all()


def sounding_slowly(rows, position):
    """Ticks that each pitch sounds after note `position` has begun."""
    starts = np.cumsum(rows["shift"].astype(int))
    left = np.zeros(128, int)
    for row, start in zip(rows[: position + 1], starts, strict=False):
        end = start + row["duration"]
        left[row["pitch"]] = max(end - starts[position], 0)
    return left


def test_what_sounds_is_known_from_the_whole_piece(corpus):
    index = max(corpus.split("train"), key=lambda i: corpus.pieces[i].num_notes)
    rows = rows_of(corpus, index)
    windows = NoteEvaluationWindows(
        corpus, "train", form=FORM, sequence_length=16, stride=16, pieces=index
    )
    position, held_from_before = -1, 0
    for x, _, weight in windows:
        for b, t in zip(*np.nonzero(weight), strict=True):
            expected = np.zeros(128)
            if position >= 0:
                expected = sounding_slowly(rows, position)
            np.testing.assert_array_equal(x["sounding"][b, t], expected)
            held_from_before += t == 0 and (expected > 0).sum() > 1
            position += 1
    assert position == len(rows)
    assert held_from_before  # Notes of an earlier window still sounded.


def test_a_key_that_sounds_is_never_struck_even_when_notes_are_stretched(
    corpus,
):
    windows = NoteWindows(
        corpus, form=FORM, sequence_length=64, stretch=0.3, workers=0
    )
    sounding = 0
    for step in range(windows.steps):
        x, y, _ = windows.batch(step)
        left = np.maximum(x["sounding"] - x["elapsed"][..., None], 0)
        b, t = np.nonzero(y[..., 1] != NO_NOTE)
        assert not left[b, t, y[b, t, 1]].any()
        sounding += (left > 0).sum()
    assert sounding


def test_a_pass_has_no_note_twice_and_leaves_out_less_than_a_window_a_piece(
    corpus,
):
    length = 32
    windows = NoteWindows(
        corpus,
        form=FORM,
        sequence_length=length,
        batch_size=1,
        augment=False,
        workers=0,
    )
    seen = {}
    for number in (0, 1):
        counts = {i: np.zeros(10_000, int) for i in corpus.split("train")}
        for step in range(number * windows.steps, (number + 1) * windows.steps):
            [(piece, begin)] = windows._chosen(step)
            counts[piece][begin : begin + length] += 1
        for piece, count in counts.items():
            targets = corpus.pieces[piece].num_notes + 1
            assert count.max() == 1
            assert 0 <= targets - count[:targets].sum() < length
        seen[number] = counts
    assert any((seen[0][i] != seen[1][i]).any() for i in seen[0])


def test_the_same_seed_and_step_give_the_same_batch_in_whatever_order(corpus):
    def windows(**options):
        return NoteWindows(corpus, form=FORM, sequence_length=32, **options)

    ahead, plain = windows(workers=2), windows(workers=0)
    for step in (5, 0, 6):
        x, y, _ = ahead.from_step(step)[0]
        again = plain.batch(step)
        np.testing.assert_array_equal(y, again[1])
        np.testing.assert_array_equal(x["sounding"], again[0]["sounding"])
    assert (plain.batch(0)[1] != windows(seed=1, workers=0).batch(0)[1]).any()


def test_the_parts_of_a_batch_are_the_batch(corpus):
    def batch(part):
        return NoteWindows(
            corpus, form=FORM, sequence_length=16, part=part, workers=0
        ).batch(3)[1]

    parts = [batch((0, 2)), batch((1, 2))]
    np.testing.assert_array_equal(np.concatenate(parts), batch(None))
