"""Tests and confidence intervals that SciPy has not, or not in this form.

Nothing here knows of notes or of models.
"""

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray
from scipy import optimize
from scipy import stats

LEVEL = 0.05  # a p-value below it counts as a difference
RESAMPLES = 2000  # of the bootstrap
# With up to this many pairs, the signed-rank test is exact. With more, the
# normal distribution is near enough.
EXACT = 50
FOLDS = 5  # of the classifier's cross-validation
PENALTY = 0.001  # of the classifier, on half of the squared weights

Array = NDArray[np.float64]
Name = TypeVar("Name")


def wilson(
    share: float, size: float, z: float = 1.959964
) -> tuple[float, float]:
    """Wilson's interval of a share (1927). The size may be a fraction.

    Args:
        share: 0 to 1.
        size: number of trials, more than 0.
        z: quantile of the normal distribution; the default is for 95 %.

    Returns:
        The lower and the upper end, 0 to 1.

    Examples:
        >>> [round(x, 2) for x in wilson(0.5, 10)]
        [0.24, 0.76]
    """
    spread = z * z / size
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4)
    half /= 1 + spread
    return max(0.0, middle - half), min(1.0, middle + half)


def resampled_interval(
    sums: ArrayLike, counts: ArrayLike
) -> tuple[float, float]:
    """95 % interval of a ratio of two sums, by resampling what is summed.

    The percentile bootstrap (Efron, 1979), 2,000 resamples by a fixed seed.

    Args:
        sums: array (units,), each unit's part of the numerator. A unit is
            what is drawn again, such as a piece.
        counts: array (units,), each unit's part of the denominator.

    Returns:
        The lower and the upper end.
    """
    sums, counts = np.asarray(sums, float), np.asarray(counts, float)
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    ratios = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return float(low), float(high)


def permutation_test(
    statistic: Callable[[Any, Any], float],
    sizes: tuple[int, int],
    *,
    permutations: int,
    seed: int,
) -> float:
    """One-sided p-value of a permutation test of two sets (Fisher, 1935).

    Args:
        statistic: a function of two int arrays, the indices of the first and
            of the second set. It is larger, the further the two lie apart.
        sizes: the sizes of both sets. The indices of the first begin at 0,
            those of the second follow.
        permutations: number of random relabellings, 1 or more.
        seed: seed of the relabellings.

    Returns:
        Share of the relabellings, the given labels among them, for which the
        statistic is at least as large.
    """
    return stats.permutation_test(
        np.split(np.arange(sum(sizes)), [sizes[0]]),
        statistic,
        n_resamples=permutations,
        vectorized=False,
        alternative="greater",
        rng=np.random.default_rng(seed),
    ).pvalue


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """P-values corrected for the number of tests (Holm, 1979).

    Args:
        p_values: the p-value of each test, by its name.

    Returns:
        The corrected p-values, in the same order. If none of the differences
        is real, the chance that any of them is below 0.05 is at most 5 %.

    Examples:
        >>> holm({"a": 0.5, "b": 0.01, "c": 0.125})
        {'a': 0.5, 'b': 0.03, 'c': 0.25}
    """
    corrected, highest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda n: p_values[n])):
        raised = min(1.0, float(p_values[name]) * (len(p_values) - rank))
        highest = max(highest, raised)
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def signed_rank(differences: Array) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test (1945).

    Differences of 0 keep their ranks (Pratt, 1959). Up to `EXACT` differences
    the p-value is exact, with ties too: the sums of ranks are counted, where
    SciPy's exact test would list every combination of signs.

    Args:
        differences: array (pairs,). They are rounded to 9 decimals, so that
            differences that differ by rounding alone are ties.
    """
    differences = np.round(differences, 9)
    if not differences.any():
        return 1.0
    if len(differences) > EXACT:
        return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)
    # The rank of a tie may end in a half. Twice the ranks are whole numbers.
    ranks = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)
    ranks, positive = ranks[differences != 0], differences[differences != 0] > 0
    chances = np.ones(1)  # probability of each sum of the positive ranks
    for rank in ranks:
        chances = np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))
        chances /= 2
    middle = ranks.sum() / 2
    away = np.abs(np.arange(len(chances)) - middle)
    observed = abs(ranks[positive].sum() - middle)
    return float(min(1.0, chances[away >= observed - 1e-9].sum()))


def classifier_accuracy(
    real: Sequence[Array], other: Sequence[Array], *, seed: int = 0
) -> float:
    """Accuracy of a logistic regression on pieces it was not trained on.

    Five-fold cross-validation; with fewer pieces than five, as many folds as
    pieces. All rows of one piece are in the same fold.

    Args:
        real: for each piece an array (rows, dimensions); two pieces or more.
        other: the same; two pieces or more.
        seed: seed of the folds.

    Returns:
        Accuracy, 0 to 1: the mean over the pieces of each set, then over the
        two sets.
    """
    rng = np.random.default_rng(seed)
    folds = min(FOLDS, len(real), len(other))
    fold_of = [rng.permutation(len(side)) % folds for side in (real, other)]
    right: tuple[list[float], list[float]] = ([], [])
    for held_out in range(folds):
        train: list[tuple[Array, int]] = []
        test: list[tuple[Array, int]] = []
        for label, side in enumerate((real, other)):
            for fold, rows in zip(fold_of[label], side, strict=True):
                (test if fold == held_out else train).append((rows, label))
        decide = _fit(train)
        for rows, label in test:
            right[label].append(float(np.mean((decide(rows) > 0) == label)))
    return float((np.mean(right[0]) + np.mean(right[1])) / 2)


def _fit(pieces: Sequence[tuple[Array, int]]) -> Callable[[Array], Array]:
    """Fits a logistic regression to pieces, each with its label, 0 or 1.

    Returns a function of new rows: above 0 where 1 is the likelier label.
    """
    rows = np.concatenate([rows for rows, _ in pieces])
    sign, weight = _signs_and_weights(pieces)
    middle = weight @ rows
    spread = weight @ (rows - middle) ** 2
    # Rows get a length of about 1. Columns that hardly vary stay small.
    scale = np.sqrt(len(spread) * (spread + 1e-3 * spread.max() + 1e-12))
    x = (rows - middle) / scale

    def wrong(parameters: Array) -> tuple[Array, Array]:
        """Each row's margin, and the probability of the wrong label."""
        margin = sign * (x @ parameters[:-1] + parameters[-1])
        return margin, 1 / (1 + np.exp(np.clip(margin, -50, 50)))

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, (margin, share) = parameters[:-1], wrong(parameters)
        pull = -weight * sign * share
        value = weight @ np.logaddexp(0, -margin) + PENALTY / 2 * slope @ slope
        return float(value), np.append(pull @ x + PENALTY * slope, pull.sum())

    def hessian_times(parameters: Array, along: Array) -> Array:
        _, share = wrong(parameters)
        curve = weight * share * (1 - share) * (x @ along[:-1] + along[-1])
        return np.append(curve @ x + PENALTY * along[:-1], curve.sum())

    # L-BFGS takes thirty times as long on busy cores: its many small calls of
    # LAPACK wait for each other's threads.
    found = optimize.minimize(
        loss,
        np.zeros(rows.shape[1] + 1),
        jac=True,
        hessp=hessian_times,
        method="Newton-CG",
    ).x
    return lambda new: (new - middle) / scale @ found[:-1] + found[-1]


def _signs_and_weights(
    pieces: Sequence[tuple[Array, int]],
) -> tuple[Array, Array]:
    """Each row's label as -1 or 1, and its weight.

    Both labels weigh the same, and so do all pieces of one label.
    """
    sign = np.concatenate([np.full(len(r), 2 * y - 1.0) for r, y in pieces])
    weight = np.concatenate([np.full(len(r), 1 / len(r)) for r, _ in pieces])
    for side in (-1, 1):
        weight[sign == side] /= 2 * weight[sign == side].sum()
    return sign, weight
