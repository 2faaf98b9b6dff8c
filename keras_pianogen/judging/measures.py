"""Every measure of two sets of pieces: its value in splits, and its test.

Measures of a feature are KL divergence (nats) and overlapping area of both
histograms, and the same of distances between pieces. Over all features there
are the Fréchet distance of embeddings, where there are some, and a
classifier's accuracy. `comparison` says what they are compared with.
"""

import functools
import itertools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.judging.distances import compare_distances
from keras_pianogen.judging.distances import frechet_distance
from keras_pianogen.judging.distances import kl_divergence
from keras_pianogen.judging.distances import overlapping_area
from keras_pianogen.judging.excerpts import Measured
from keras_pianogen.judging.statistics import classifier_accuracy
from keras_pianogen.judging.statistics import holm
from keras_pianogen.judging.statistics import permutation_test

# Measures of a feature. The first one is tested.
OF_A_FEATURE = ("kl", "overlap", "distances_kl", "distances_overlap")

Array = NDArray[np.float64]
# A function of the name of a stage, and the share of it that is done.
Tell = Callable[[str, float], object]


def measure_splits(
    measured: Mapping[str, Sequence[Measured]],
    size: int,
    splits: int,
    seed: int,
    tell: Tell,
) -> dict[str, dict[str, list[float]]]:
    """Each measure's values in a number of seeded splits.

    In each split, `size` real pieces are compared with as many others: other
    real ones (`"floor"`), pieces of the other set (`"other"`), and the floor's
    own with their pitches shuffled (`"shuffled"`).

    Args:
        measured: the pieces of `"real"`, `"other"` and `"shuffled"`; the last
            are those of `"real"`, in their order.
        size: number of pieces in each set that is compared.
        splits: number of splits.
        seed: seed of the splits.
        tell: called after each split, see `Tell`.

    Returns:
        For each measure, for each of the three sets, a list of values.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for split in range(splits):
        rng = np.random.default_rng((seed, split))
        half, sets = _split(measured, size, rng)
        for of, pieces in sets.items():
            for name, value in _distances(half, pieces, split):
                values.setdefault(name, {}).setdefault(of, []).append(value)
        tell("splits", (split + 1) / splits)
    return values


def _split(
    measured: Mapping[str, Sequence[Measured]],
    size: int,
    rng: np.random.Generator,
) -> tuple[list[Measured], dict[str, list[Measured]]]:
    """Half of the real pieces, and the sets that are compared with it."""
    order = rng.permutation(len(measured["real"]))
    first, second = order[:size], order[size : 2 * size]
    others = rng.permutation(len(measured["other"]))[:size]
    return [measured["real"][i] for i in first], {
        "floor": [measured["real"][i] for i in second],
        "other": [measured["other"][i] for i in others],
        "shuffled": [measured["shuffled"][i] for i in second],
    }


def _distances(
    real: Sequence[Measured], other: Sequence[Measured], seed: int
) -> Iterator[tuple[str, float]]:
    """Every measure of two sets, by name."""
    for feature in real[0].shares:
        a, b = (
            np.array([piece.shares[feature] for piece in pieces])
            for pieces in (real, other)
        )
        values = (
            kl_divergence(a.mean(0), b.mean(0)),
            overlapping_area(a.mean(0), b.mean(0)),
            *compare_distances(a, b),
        )
        for name, value in zip(OF_A_FEATURE, values, strict=True):
            yield f"{feature}.{name}", value
    if real[0].embeddings is not None:
        yield "frechet", _frechet(real, other)
    yield "classifier", _classify(real, other, seed)


def _frechet(real: Sequence[Measured], other: Sequence[Measured]) -> float:
    first, second = (
        np.concatenate(
            [p.embeddings for p in pieces if p.embeddings is not None]
        )
        for pieces in (real, other)
    )
    return frechet_distance(first, second)


def _classify(
    real: Sequence[Measured], other: Sequence[Measured], seed: int
) -> float:
    return classifier_accuracy(
        [p.phrases for p in real], [p.phrases for p in other], seed=seed
    )


def corrected_p_values(
    measured: Mapping[str, Sequence[Measured]],
    permutations: int,
    seed: int,
    tell: Tell,
) -> dict[str, float]:
    """P-values of permutation tests, corrected for their number.

    Args:
        measured: the pieces of `"real"` and `"other"`.
        permutations: number of random relabellings in each test.
        seed: seed of the relabellings, and of the classifier.
        tell: called after each relabelling, see `Tell`.

    Returns:
        A p-value for each feature's KL divergence, for the Fréchet distance,
        where there are embeddings, and for the classifier.
    """
    pieces = [*measured["real"], *measured["other"]]
    tests: dict[str, Callable[[Any, Any], float]] = {}
    for feature in pieces[0].shares:
        shares = np.array([piece.shares[feature] for piece in pieces])
        tests[f"{feature}.kl"] = _kl_of(shares)
    if pieces[0].embeddings is not None:
        tests["frechet"] = lambda a, b: _frechet(
            [pieces[i] for i in a], [pieces[i] for i in b]
        )
    tests["classifier"] = lambda a, b: _classify(
        [pieces[i] for i in a], [pieces[i] for i in b], seed
    )
    found = {}
    sizes = len(measured["real"]), len(measured["other"])
    for done, (name, statistic) in enumerate(tests.items()):
        told = _counted(
            statistic,
            functools.partial(_tell, tell, done, len(tests)),
            permutations,
        )
        found[name] = permutation_test(
            told, sizes, permutations=permutations, seed=seed
        )
    return holm(found)


def _tell(tell: Tell, done: int, tests: int, share: float) -> None:
    """Tell how many of the tests are done, with a share of the next one."""
    tell("permutations", (done + min(share, 1)) / tests)


def _counted(
    statistic: Callable[[Any, Any], float],
    tell: Callable[[float], None],
    permutations: int,
) -> Callable[[Any, Any], float]:
    """A statistic that tells how often it was computed."""
    counts = itertools.count(1)

    def counted(a: Any, b: Any) -> float:
        value = statistic(a, b)
        tell(next(counts) / permutations)
        return value

    return counted


def _kl_of(shares: Array) -> Callable[[Any, Any], float]:
    """KL divergence of two sets of pieces, given by their indices."""
    return lambda a, b: kl_divergence(shares[a].mean(0), shares[b].mean(0))
