"""Evaluation covers every event of a split exactly once."""

import numpy as np
import pytest
from random_pieces import MAGENTA
from random_pieces import VOCABULARIES
from random_pieces import all_ids
from random_pieces import random_corpus

from keras_pianogen.data.windows import EvaluationWindows

pytestmark = pytest.mark.one_backend


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return random_corpus(tmp_path_factory.mktemp("pieces"))


def evaluation(corpus, vocabulary=MAGENTA, **options):
    options = {"sequence_length": 64, "batch_size": 4, **options}
    return EvaluationWindows(corpus, "train", vocabulary=vocabulary, **options)


@VOCABULARIES
@pytest.mark.parametrize(
    ("length", "stride"),
    [
        (64, None),
        (64, 64),
        (64, 1),
        (50, 13),
        (1, 1),
        (3000, 700),
        (3000, None),
    ],
)
def test_every_event_of_the_split_is_a_target_once_and_in_order(
    corpus, vocabulary, length, stride
):
    windows = evaluation(
        corpus,
        vocabulary,
        sequence_length=length,
        stride=stride,
        batch_size=4 if stride != 1 else 64,
    )
    targets = []
    for x, y, sample_weight in windows:
        assert y.shape == sample_weight.shape == (windows.batch_size, length)
        assert set(np.unique(sample_weight)) <= {0, 1}
        assert (y[sample_weight > 0] != 0).all()
        np.testing.assert_array_equal(x["token_ids"][:, 1:], y[:, :-1])
        np.testing.assert_array_equal(x["padding_mask"], x["token_ids"] != 0)
        targets.append(y[sample_weight > 0])
    targets = np.concatenate(targets)
    expected = [
        all_ids(corpus, vocabulary, i)[1:] for i in corpus.split("train")
    ]
    np.testing.assert_array_equal(targets, np.concatenate(expected))
    assert windows.num_events == len(targets)


def test_later_windows_see_the_events_before_their_first_target(corpus):
    windows = evaluation(corpus, sequence_length=64, stride=16)
    first = 0
    for x, _, sample_weight in windows:
        for ids, weights in zip(x["token_ids"], sample_weight, strict=True):
            if not weights.any():
                continue
            if ids[0] == MAGENTA.start_id:
                first += 1
                assert weights[0] == 1
            else:
                assert np.flatnonzero(weights)[0] == 48
                assert (ids[:48] != 0).all()
    assert first == len(corpus.split("train"))


def test_evaluation_knows_the_notes_and_seconds_of_its_split(corpus):
    windows = evaluation(corpus)
    pieces = [corpus.pieces[i] for i in corpus.split("train")]
    assert windows.num_notes == sum(piece.num_notes for piece in pieces)
    assert windows.seconds == pytest.approx(sum(p.seconds for p in pieces))


@pytest.mark.parametrize("stride", [0, 65])
def test_a_stride_out_of_range_is_named(corpus, stride):
    with pytest.raises(ValueError, match="`stride` must be 1 to"):
        evaluation(corpus, stride=stride)


def test_a_split_without_pieces_is_refused(corpus):
    with pytest.raises(
        ValueError, match="must have pieces in the split 'test'"
    ):
        EvaluationWindows(corpus, "test", vocabulary=MAGENTA)
    with pytest.raises(ValueError, match="`name` must be one of"):
        EvaluationWindows(corpus, "dev", vocabulary=MAGENTA)


def test_iteration_ends_with_the_split(corpus):
    windows = evaluation(corpus)
    assert sum(1 for _ in windows) == len(windows)
    for index in (-1, len(windows)):
        with pytest.raises(IndexError, match="`index` must be 0 to"):
            windows[index]
