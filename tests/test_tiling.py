"""In a pass over a split, nearly every event is a target once."""

import numpy as np
import pytest
from random_pieces import PNO_AI
from random_pieces import VOCABULARIES
from random_pieces import all_ids
from random_pieces import find
from random_pieces import prepare_pieces
from random_pieces import random_corpus
from random_pieces import rows_of
from random_pieces import small

from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return random_corpus(tmp_path_factory.mktemp("pieces"))


def seen(windows, index):
    """How often each id of the pieces is a target in a pass, by piece."""
    ids = {
        piece: all_ids(windows.corpus, windows.vocabulary, piece)
        for piece in windows.corpus.split("train")
    }
    counts = {piece: np.zeros(len(row), int) for piece, row in ids.items()}
    for step in range(index * len(windows), (index + 1) * len(windows)):
        batch = windows.batch(step)
        draw = windows.draw(step)
        for row, piece, weights in zip(
            rows_of(batch), draw.pieces, batch[2], strict=True
        ):
            places = find(row, ids[piece]) + 1 + np.flatnonzero(weights)
            counts[piece][places] += 1
    return counts


@VOCABULARIES
@pytest.mark.parametrize("length, least", [(8, 0.4), (64, 0.9), (3000, 0.99)])
def test_a_pass_has_no_event_twice_and_most_once(
    corpus, vocabulary, length, least
):
    windows = small(
        corpus, vocabulary, sequence_length=length, batch_size=1, augment=False
    )
    found = [seen(windows, i) for i in range(3)]
    passes = [np.concatenate([*counts.values()]) for counts in found]
    for counts in passes:
        assert counts.max() == 1
        assert counts.mean() > least
    if length < 3000:
        assert (passes[0] != passes[1]).any()
        # Beginnings are seen like all else.
        for piece in found[0]:
            counts = sum(counts[piece] for counts in found)
            assert counts[0] == 0 and counts[1] == 3


def test_ends_are_seen_like_all_else(corpus):
    windows = small(corpus, batch_size=1, augment=False)
    found = [seen(windows, i) for i in range(3)]
    for piece in found[0]:
        assert sum(counts[piece][-1] for counts in found) > 0


def test_windows_stretched_apart_share_no_note(tmp_path):
    # Each note has a pitch and a velocity of its own; many a one begins or
    # ends within a tick of another.
    rng = np.random.default_rng(0)
    notes = np.zeros(88 * 30, NOTE_DTYPE)
    gaps = rng.choice([0.002, 0.004, 0.2], len(notes), p=[0.2, 0.2, 0.6])
    notes["start"] = np.cumsum(gaps)
    notes["end"] = notes["start"] + rng.choice([0.1, 0.204], len(notes))
    order = rng.permutation(len(notes))
    notes["pitch"] = 21 + order % 88
    notes["velocity"] = 3 + 4 * (order // 88)
    windows = small(
        prepare_pieces([notes], tmp_path, ticks_per_beat=5000),
        PNO_AI,
        sequence_length=400,
        batch_size=1,
        transpose=0,
        velocity=0,
        stretch=0.5,
    )
    ons, offs = {}, {}
    for step in range(len(windows)):
        x, y, weights = windows.batch(step)
        velocity, sounding = None, {}
        row = np.append(x["token_ids"][0, :1], y[0])
        for event, weight in zip(row, np.append(0, weights[0]), strict=True):
            if event >= PNO_AI.velocity_id:
                velocity = event
            elif 3 <= event < 3 + 128 and velocity is not None:
                note = sounding[event] = (event, velocity)
                ons[note] = ons.get(note, 0) + weight
            elif 3 + 128 <= event < 3 + 256 and event - 128 in sounding:
                note = sounding.pop(event - 128)
                offs[note] = offs.get(note, 0) + weight
    assert len(ons) > 2000
    assert max(ons.values()) == max(offs.values()) == 1


def test_windows_of_a_pass_follow_each_other(corpus):
    windows = small(corpus, batch_size=1)
    for index in (0, 1):
        steps = range(index * len(windows), (index + 1) * len(windows))
        draws = [windows.draw(step) for step in steps]
        for piece in corpus.split("train"):
            ours = [
                (d.first[0], d.until[0]) for d in draws if d.pieces == piece
            ]
            firsts, untils = zip(*sorted(ours), strict=True)
            assert firsts == (-1, *untils[:-1])
            assert untils[-1] == corpus.pieces[piece].num_notes
    pieces = [windows.draw(step).pieces[0] for step in steps]
    assert pieces != sorted(pieces)


def test_what_a_last_batch_leaves_out_is_chance(corpus):
    alone = small(corpus, batch_size=1)
    windows = small(corpus, batch_size=len(alone) - 3)
    assert len(windows) == 1
    left = []
    for step in range(2):
        draw = windows.draw(step)
        rows = set(zip(draw.pieces, draw.first, strict=True))
        assert len(rows) == len(alone) - 3
        left.append(rows)
    assert left[0] != left[1]


def test_a_batch_may_hold_more_than_the_split(corpus):
    windows = small(corpus, batch_size=1000, augment=False)
    assert len(windows) == 1
    assert (windows.draw(0).first == -1).sum() > 20
