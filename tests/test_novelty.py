"""Shared passages, against a slow search."""

import numpy as np
import pytest

from keras_pianogen.judging.novelty import Passages
from keras_pianogen.judging.novelty import measure_novelty
from keras_pianogen.judging.novelty import steps
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend


def performance(pitches, waits):
    """Notes, each after a wait in seconds."""
    notes = np.zeros(len(pitches), NOTE_DTYPE)
    notes["pitch"] = pitches
    notes["start"] = np.cumsum(waits)
    notes["end"] = notes["start"] + 0.1
    notes["velocity"] = 64
    return np.sort(notes, order=["start", "pitch"])


def random_performance(rng, count=60, pitches=12):
    return performance(
        60 + rng.integers(pitches, size=count),
        rng.choice([0.1, 0.2, 0.4], size=count),
    )


def slow_longest(ours, theirs):
    """The longest common run of two lists, by the textbook's table."""
    best, table = 0, np.zeros((len(ours) + 1, len(theirs) + 1), int)
    for i, a in enumerate(ours, 1):
        for j, b in enumerate(theirs, 1):
            if a == b:
                table[i, j] = table[i - 1, j - 1] + 1
                best = max(best, table[i, j])
    return best


@pytest.mark.parametrize("seed", range(5))
def test_the_longest_passage_equals_the_slow_search(seed):
    rng = np.random.default_rng(seed)
    pieces = [random_performance(rng, pitches=3) for _ in range(4)]
    ours = random_performance(rng, pitches=3)
    expected = max(slow_longest(steps(ours), steps(p)) for p in pieces)
    match = Passages(pieces).longest(ours)
    assert match.notes == expected + 1 > 2
    there = steps(pieces[match.corpus_piece])[match.corpus_start :][:expected]
    np.testing.assert_array_equal(steps(ours)[match.start :][:expected], there)


def test_a_copied_passage_is_found_transposed_and_faster():
    rng = np.random.default_rng(0)
    pieces = [random_performance(rng, 200, 40) for _ in range(5)]
    copied = pieces[3][50:90].copy()
    copied["pitch"] += 5
    copied["start"] = 30 + 0.8 * (copied["start"] - copied["start"][0])
    ours = np.concatenate([random_performance(rng, 60, 40), copied])
    match = Passages(pieces).longest(ours)
    assert match.notes >= 38  # The wait before the copy differs.
    assert match.corpus_piece == 3 and 50 <= match.corpus_start <= 52
    assert 60 <= match.start <= 62


def test_chords_are_heard_from_the_bottom_up():
    chord = performance([60, 64, 67, 72], [1, 0, 0, 1])
    broken = performance([64, 60, 67, 72], [1, 0.01, 0.01, 0.98])
    np.testing.assert_array_equal(steps(chord), steps(broken))
    assert len(steps(chord[:1])) == 0


def test_passages_end_with_their_pieces():
    scale = performance(np.arange(40, 80), np.full(40, 0.2))
    pieces = [scale[:20], scale[20:]]
    assert Passages(pieces).longest(scale).notes == 20
    assert Passages([scale]).longest(scale).notes == 40
    assert Passages([scale]).longest(scale[:0]).notes == 0


def test_copies_are_told_from_new_music():
    rng = np.random.default_rng(0)
    training = [random_performance(rng, 300) for _ in range(10)]
    unrelated = [random_performance(rng, 300) for _ in range(10)]
    pieces = [random_performance(rng, 100) for _ in range(3)]
    pieces.append(training[2][40:120])
    seen = []
    found = measure_novelty(
        pieces,
        training,
        unrelated,
        excerpts=100,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert found.suspects == (3,)
    assert found.matches[3].notes >= 78  # The wait before the copy differs.
    assert max(found.usual) < 15
    assert [len(real) for real in found.real] == [100] * 4
    assert seen[-1] == (104, 104)


def test_a_real_piece_is_unusual_one_time_in_a_hundred():
    rng = np.random.default_rng(1)
    training = [random_performance(rng, 300) for _ in range(10)]
    unrelated = [random_performance(rng, 300) for _ in range(10)]
    pieces = [random_performance(rng, 50) for _ in range(100)]
    found = measure_novelty(pieces, training, unrelated, excerpts=300)
    assert len(found.suspects) <= 5


def test_a_piece_is_compared_with_real_excerpts_as_long():
    rng = np.random.default_rng(2)
    training = [random_performance(rng, 300) for _ in range(10)]
    unrelated = random_performance(rng, 200)
    sizes = (0, 1, 12, 200, 90)
    pieces = [random_performance(rng, size) for size in sizes]
    found = measure_novelty(pieces, training, [unrelated], excerpts=3)
    expected = [
        Passages(training).longest(unrelated[:size]).notes for size in sizes
    ]
    assert found.real == tuple((notes,) * 3 for notes in expected)
    assert found.usual == tuple(expected)
    assert 0 < expected[2] < expected[4] <= expected[3]


def test_nothing_to_compare_is_refused():
    scale = performance(np.arange(40, 80), np.full(40, 0.2))
    for pieces, training, unrelated in (
        ([], [scale], [scale]),
        ([scale], [], [scale]),
        ([scale], [scale], []),
    ):
        with pytest.raises(ValueError, match="There must be generated"):
            measure_novelty(pieces, training, unrelated)
