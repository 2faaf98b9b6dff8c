"""N-grams, against a slow twin that counts with dictionaries."""

import collections
import math

import numpy as np
import pytest

from keras_pianogen.judging.ngram import NGram

pytestmark = pytest.mark.one_backend


class SlowNGram:
    """The same formula, word for word."""

    def __init__(self, order, size, sequences):
        self.order, self.size = order, size
        self.after = collections.defaultdict(collections.Counter)
        for ids in sequences:
            for i in range(1, len(ids)):
                for length in range(min(order - 1, i) + 1):
                    self.after[tuple(ids[i - length : i])][ids[i]] += 1

    def chance(self, event, history):
        history = tuple(history)[-(self.order - 1) :] if self.order > 1 else ()
        shorter = self.chance(event, history[1:]) if history else 1 / self.size
        seen = self.after.get(history)
        if not seen:
            return shorter
        kinds, total = len(seen), sum(seen.values())
        return (seen[event] + kinds * shorter) / (total + kinds)


def sequences(seed=0, count=6, size=5):
    rng = np.random.default_rng(seed)
    return [rng.integers(size, size=rng.integers(2, 40)) for _ in range(count)]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_probabilities_equal_the_slow_twin(order):
    train, test = sequences(0), sequences(1)
    model = NGram(order, 5)
    model.fit(train)
    slow = SlowNGram(order, 5, [list(map(int, ids)) for ids in train])
    for ids in test:
        ids = list(map(int, ids))
        expected = [
            -math.log(slow.chance(ids[i], ids[max(0, i - order + 1) : i]))
            for i in range(1, len(ids))
        ]
        np.testing.assert_allclose(model.nats(ids), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [1, 3])
def test_probabilities_sum_to_one(order):
    model = NGram(order, 5)
    model.fit(sequences())
    for history in ([0], [1, 2], [4, 4]):
        chances = [
            math.exp(-model.nats([*history, event])[-1]) for event in range(5)
        ]
        assert sum(chances) == pytest.approx(1, abs=1e-12)


def test_longer_histories_help_where_there_is_order():
    scale = np.tile(np.arange(7), 60)
    held_out = np.tile(np.arange(7), 5)
    nats = {}
    for order in (1, 2):
        model = NGram(order, 7)
        model.fit([scale])
        nats[order] = model.nats(held_out).mean()
    assert nats[1] == pytest.approx(math.log(7), rel=0.01)
    assert nats[2] < 0.15


def test_without_counts_all_events_are_alike():
    model = NGram(3, 7)
    model.fit([])
    np.testing.assert_allclose(model.nats([1, 2, 3]), math.log(7))
    assert model.nats([1]).shape == (0,) and model.num_parameters == 0


@pytest.mark.parametrize("settings", [(0, 5), (7, 5), (2, 0), (2, 5000)])
def test_sizes_are_checked(settings):
    with pytest.raises(ValueError, match="must be 1 to"):
        NGram(*settings)


@pytest.mark.parametrize("ids", [[0, 5], [-1], [[0, 1]], [0.5]])
def test_ids_are_checked(ids):
    with pytest.raises(ValueError, match="Ids must be integers"):
        NGram(2, 5).fit([ids])
