"""How far apart two sets of pieces are, beside how far real music is from real.

For each feature of `features.py`, over excerpts of equal length:

- KL divergence, in nats, of the other set's shares from the real one's, and
  the area in which both overlap (0 to 1). A piece counts as one, however
  many notes it has.
- After Yang & Lerch (2020): distances between pieces of the real set, and
  between real pieces and others. Where both have the same distribution
  (estimated by Gaussian kernels), the others vary as real pieces do.

Over all: the Fréchet distance of embeddings (Heusel et al., 2017), and how
often a classifier names the set of a piece that it never met (Lopez-Paz &
Oquab, 2017).

All of these depend on how many pieces there are. So three sets of one size
are compared with half of the real pieces, in a number of seeded splits: the
other half (the floor), the other set, and the other half with its pitches
shuffled (the anchor). Whether the other set is further away than chance would
put it is a permutation test of whole pieces (Fisher, 1935), with Holm's
correction (1979) for the number of measures. NumPy and SciPy; embeddings come
from outside.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy import spatial
from scipy import stats

from keras_pianogen.features import FEATURES
from keras_pianogen.features import cut
from keras_pianogen.features import excerpt
from keras_pianogen.features import measure
from keras_pianogen.features import shuffle_pitches
from keras_pianogen.midi import read_notes

SECONDS = 30.0  # of a piece, so that its length tells nothing
PHRASE = 10.0  # seconds that the classifier is asked about at a time
SPLITS = 10
PERMUTATIONS = 999
FOLDS = 5
LEVEL = 0.05  # of the tests, after the correction
# Shares are mixed with a hundredth of an even spread, so that a bin that one
# set never fills keeps the divergence finite.
EVEN = 0.01
# Strength of the classifier's penalty on squared weights, per row.
PENALTY = 0.001

# The sets that are held against half of the real pieces.
SETS = ("floor", "other", "shuffled")
# Measures of a feature; the first is tested.
OF_A_FEATURE = ("kl", "overlap", "distances_kl", "distances_overlap")

Array = NDArray[np.float64]
# Pieces → each one's embeddings, an array (windows, dimensions).
Embed = Callable[[Sequence[np.ndarray]], Sequence[Array]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        size: pieces of each set that is held against as many real ones.
        values: for each measure, for each of `SETS`, a value of each split.
            Measures are `"pitch.kl"` and so on for all of `FEATURES` and
            `OF_A_FEATURE`; `"frechet"`, where there are embeddings; and
            `"classifier"`, its accuracy.
        p_values: for each feature's KL divergence, and the last two, how
            often pieces that change sets by lot would lie as far apart,
            corrected for the number of measures.
        shares: for `"real"` and `"other"`, each feature's shares over all
            pieces.
    """

    size: int
    values: Mapping[str, Mapping[str, Sequence[float]]]
    p_values: Mapping[str, float]
    shares: Mapping[str, Mapping[str, Array]]

    def mean(self, measure: str, of: str) -> float:
        """Mean over the splits."""
        return float(np.mean(self.values[measure][of]))

    def told_apart(self, measure: str) -> bool:
        """Whether the sets lie further apart than chance would put them."""
        return self.p_values[measure] < LEVEL

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        measures = {
            name: {
                of: {"mean": self.mean(name, of), "splits": list(values)}
                for of, values in sets.items()
            }
            for name, sets in self.values.items()
        }
        shares = {
            of: {name: values.tolist() for name, values in features.items()}
            for of, features in self.shares.items()
        }
        edges = {feature.name: feature.edges.tolist() for feature in FEATURES}
        return {
            "size": self.size,
            "measures": measures,
            "p_values": dict(self.p_values),
            "shares": shares,
            "edges": edges,
        }


@dataclasses.dataclass
class _Measured:
    """A piece as it is compared: features, phrases, embeddings."""

    shares: dict[str, Array]
    phrases: Array  # (phrases, bins of all features)
    embeddings: Array | None = None  # (windows, dimensions)


def read_folder(folder: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The performances of a folder, by their paths in it, sorted.

    Args:
        folder: a folder with `.mid` and `.midi` files, at any depth.

    Raises:
        ValueError: it isn't a folder or has no such file; a `MidiError` where
            a file can't be read.
    """
    folder = pathlib.Path(folder)
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (".mid", ".midi") and path.is_file()
    )
    if not paths:
        raise ValueError(
            "`folder` must be a folder with .mid or .midi files. Received: "
            f"{folder}"
        )
    return {
        path.relative_to(folder).as_posix(): read_notes(path) for path in paths
    }


def compare(
    real: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    *,
    embed: Embed | None = None,
    seconds: float = SECONDS,
    splits: int = SPLITS,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Callable[[str, float], object] | None = None,
) -> Comparison:
    """Holds a set of pieces against real ones.

    Args:
        real: performances by name, four or more.
        other: performances by name, two or more. Of either set, a piece is
            heard for `seconds` from a note drawn by seed.
        embed: a function of a list of performances: the embeddings of each,
            an array (windows, dimensions). Without it there is no Fréchet
            distance.
        seconds: of each piece; a shorter one is taken whole.
        splits: how often the real pieces are halved, 1 or more.
        permutations: how often pieces change sets by lot, 1 or more; with
            fewer than 20 measures, 500 are enough to tell sets apart.
        seed: of the excerpts, the splits, the lots and the shuffling.
        progress: a function called with (what is done, share of it, 0 to 1).

    Returns:
        A `Comparison`.

    Raises:
        ValueError: there are too few pieces, or a piece has too few notes.
    """
    _check(real, other, seconds, splits=splits, permutations=permutations)
    tell = progress or (lambda what, done: None)
    heard = [_excerpts(pieces, seconds, seed) for pieces in (real, other)]
    anchor = [
        shuffle_pitches(notes, seed + i) for i, notes in enumerate(heard[0])
    ]
    ours, others, shuffled = _measure_all([*heard, anchor], embed)
    size = min(len(ours) // 2, len(others))
    values: dict[str, dict[str, list[float]]] = {}
    for split in range(splits):
        rng = np.random.default_rng((seed, split))
        order = rng.permutation(len(ours))
        first, second = order[:size], order[size : 2 * size]
        drawn = rng.permutation(len(others))[:size]
        half = [ours[i] for i in first]
        against = {
            "floor": [ours[i] for i in second],
            "other": [others[i] for i in drawn],
            "shuffled": [shuffled[i] for i in second],
        }
        for of, pieces in against.items():
            for name, value in _distances(half, pieces, split).items():
                values.setdefault(name, {}).setdefault(of, []).append(value)
        tell("splits", (split + 1) / splits)
    p_values = _test(ours, others, permutations, seed, tell)
    shares = {"real": _mean_shares(ours), "other": _mean_shares(others)}
    return Comparison(size, values, p_values, shares)


def _check(
    real: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    seconds: float,
    **counts: int,
) -> None:
    for name, pieces, least in (("real", real, 4), ("other", other, 2)):
        if len(pieces) < least:
            raise ValueError(
                f"`{name}` must have {least} pieces or more to be compared. "
                f"Received: {len(pieces)} ({', '.join(pieces) or 'none'})"
            )
    if not 0 < seconds < float("inf"):
        raise ValueError(
            f"`seconds` must be a length above 0. Received: {seconds}"
        )
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"`{name}` must be 1 or more. Received: {count}")


def _excerpts(
    pieces: Mapping[str, np.ndarray], seconds: float, seed: int
) -> list[np.ndarray]:
    heard = []
    for i, (name, notes) in enumerate(pieces.items()):
        part = excerpt(notes, seconds, seed + i)
        if len(part) < 2:
            raise ValueError(
                "Each piece must have two notes or more in the part that is "
                f"compared. Received: {len(part)} in {name}"
            )
        heard.append(part)
    return heard


def _measure_all(
    sets: Sequence[Sequence[np.ndarray]], embed: Embed | None
) -> list[list[_Measured]]:
    measured = [[_measure(notes) for notes in pieces] for pieces in sets]
    if embed is not None:
        flat = [piece for pieces in measured for piece in pieces]
        found = embed([notes for pieces in sets for notes in pieces])
        for piece, embeddings in zip(flat, found, strict=True):
            piece.embeddings = embeddings
    return measured


def _measure(notes: np.ndarray) -> _Measured:
    length = float(notes["end"].max())
    phrases = [
        cut(notes, begin, PHRASE) for begin in np.arange(0, length, PHRASE)
    ]
    rows = [measure(part) for part in phrases if len(part) > 1]
    shares = measure(notes)
    return _Measured(shares, np.array([_row(r) for r in rows or [shares]]))


def _row(shares: Mapping[str, Array]) -> Array:
    """All features in one row; roots, so that rare values count too."""
    return np.sqrt(np.concatenate(list(shares.values())))


def _mean_shares(pieces: Sequence[_Measured]) -> dict[str, Array]:
    return {
        feature.name: np.mean([p.shares[feature.name] for p in pieces], axis=0)
        for feature in FEATURES
    }


def _distances(
    real: Sequence[_Measured], other: Sequence[_Measured], seed: int
) -> dict[str, float]:
    """Every measure between two sets."""
    found: dict[str, float] = {}
    for feature in FEATURES:
        a, b = (
            np.array([piece.shares[feature.name] for piece in pieces])
            for pieces in (real, other)
        )
        values = (
            kl_divergence(a.mean(0), b.mean(0)),
            overlapping_area(a.mean(0), b.mean(0)),
            *compare_distances(a, b),
        )
        for name, value in zip(OF_A_FEATURE, values, strict=True):
            found[f"{feature.name}.{name}"] = value
    if real[0].embeddings is not None:
        found["frechet"] = _frechet(real, other)
    found["classifier"] = _classify(real, other, seed)
    return found


def _frechet(real: Sequence[_Measured], other: Sequence[_Measured]) -> float:
    first, second = (
        np.concatenate(
            [p.embeddings for p in pieces if p.embeddings is not None]
        )
        for pieces in (real, other)
    )
    return frechet_distance(first, second)


def _classify(
    real: Sequence[_Measured], other: Sequence[_Measured], seed: int
) -> float:
    return classifier_accuracy(
        [p.phrases for p in real], [p.phrases for p in other], seed=seed
    )


def _test(
    real: Sequence[_Measured],
    other: Sequence[_Measured],
    permutations: int,
    seed: int,
    tell: Callable[[str, float], object],
) -> dict[str, float]:
    """Permutation tests over pieces, corrected together."""
    pieces = [*real, *other]
    tests: dict[str, Callable[[Any, Any], float]] = {}
    for feature in FEATURES:
        shares = np.array([piece.shares[feature.name] for piece in pieces])
        tests[f"{feature.name}.kl"] = _kl_of(shares)
    if real[0].embeddings is not None:
        tests["frechet"] = lambda a, b: _frechet(
            [pieces[i] for i in a], [pieces[i] for i in b]
        )
    tests["classifier"] = lambda a, b: _classify(
        [pieces[i] for i in a], [pieces[i] for i in b], seed
    )
    found = {}
    sides = np.split(np.arange(len(pieces)), [len(real)])
    for done, (name, statistic) in enumerate(tests.items()):
        tell("permutations", done / len(tests))
        found[name] = stats.permutation_test(
            sides,
            statistic,
            n_resamples=permutations,
            vectorized=False,
            alternative="greater",
            rng=np.random.default_rng(seed),
        ).pvalue
    return holm(found)


def _kl_of(shares: Array) -> Callable[[Any, Any], float]:
    """KL divergence of two lists of pieces, by their places in `shares`."""
    return lambda a, b: kl_divergence(shares[a].mean(0), shares[b].mean(0))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values corrected for how many there are (Holm, 1979).

    Args:
        p_values: of each test, by its name.

    Returns:
        The same tests, in their order; below 0.05 with all of them, a false
        one is there at most once in twenty times.

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


def kl_divergence(real: Array, other: Array) -> float:
    """Kullback-Leibler divergence of `other` from `real`, in nats.

    Both are mixed with `EVEN` of an even spread first.

    Args:
        real: array (bins,) of shares.
        other: array (bins,) of shares.

    Examples:
        >>> kl_divergence(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
        0.0
    """
    p, q = ((1 - EVEN) * s + EVEN / len(s) for s in (real, other))
    return float(np.sum(stats.entropy(p, q)))


def overlapping_area(real: Array, other: Array) -> float:
    """Area that two histograms have in common, 0 to 1.

    Args:
        real: array (bins,) of shares.
        other: array (bins,) of shares.

    Examples:
        >>> overlapping_area(np.array([1.0, 0.0]), np.array([0.25, 0.75]))
        0.25
    """
    return float(np.minimum(real, other).sum())


def compare_distances(real: Array, other: Array) -> tuple[float, float]:
    """Yang & Lerch's measure: do others lie about as real pieces do?

    Euclidean distances between every two real pieces are compared with those
    between each real piece and each other one, as densities.

    Args:
        real: array (pieces, bins), two pieces or more.
        other: array (pieces, bins).

    Returns:
        KL divergence in nats and overlapping area of the two densities.
    """
    within = spatial.distance.pdist(real)
    between = spatial.distance.cdist(real, other).reshape(-1)
    high = max(within.max(), between.max(), 1e-6)
    grid = np.linspace(-0.25 * high, 1.25 * high, 500)
    p, q = (_density(values, grid) for values in (within, between))
    return kl_divergence(p, q), overlapping_area(p, q)


def _density(values: Array, grid: Array) -> Array:
    """A density by Gaussian kernels, with Scott's bandwidth, of sum 1.

    The bandwidth never falls below two steps of the grid, so that distances
    that are all alike have a density too.
    """
    width = np.std(values, ddof=1) if len(values) > 1 else 0.0
    width = max(width * len(values) ** -0.2, 2 * (grid[1] - grid[0]))
    density = stats.norm.pdf(grid[:, None], values, width).mean(axis=1)
    return np.asarray(density / density.sum(), float)


def frechet_distance(real: Array, other: Array) -> float:
    """Fréchet distance of two sets of vectors, each taken as a Gaussian.

    |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½), Dowson & Landau (1982), Heusel et
    al. (2017), equation 6.

    Args:
        real: array (vectors, dimensions), two vectors or more.
        other: array (vectors, dimensions), two vectors or more.

    Examples:
        >>> square = np.array([[0.0, 0], [0, 2], [2, 0], [2, 2]])
        >>> round(frechet_distance(square, square + [3, 4]), 6)
        25.0
    """
    shift = np.sum((real.mean(0) - other.mean(0)) ** 2)
    first, second = (
        np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, other)
    )
    # (C₁ C₂)^½ has the trace of (C₁^½ C₂ C₁^½)^½, which is symmetric.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    both = np.linalg.eigvalsh(root @ second @ root)
    common = np.sqrt(np.maximum(both, 0)).sum()
    return float(shift + np.trace(first) + np.trace(second) - 2 * common)


def classifier_accuracy(
    real: Sequence[Array], other: Sequence[Array], *, seed: int = 0
) -> float:
    """How often a logistic regression names the set of a piece it never met.

    Pieces are kept apart: all rows of one are learnt from, or all are asked
    about, in five folds (in as many as there are pieces, if fewer).

    Args:
        real: for each piece an array (rows, dimensions); two pieces or more.
        other: the same; two pieces or more.
        seed: of the folds.

    Returns:
        Accuracy, 0 to 1: its mean over the pieces of each set, then over the
        two sets.
    """
    rng = np.random.default_rng(seed)
    folds = min(FOLDS, len(real), len(other))
    fold = [rng.permutation(len(side)) % folds for side in (real, other)]
    right: tuple[list[float], list[float]] = ([], [])
    for held in range(folds):
        learnt: list[tuple[Array, int]] = []
        asked: list[tuple[Array, int]] = []
        for label, side in enumerate((real, other)):
            for place, rows in zip(fold[label], side, strict=True):
                (asked if place == held else learnt).append((rows, label))
        decide = _fit(learnt)
        for rows, label in asked:
            right[label].append(float(np.mean((decide(rows) > 0) == label)))
    return float((np.mean(right[0]) + np.mean(right[1])) / 2)


def _fit(pieces: Sequence[tuple[Array, int]]) -> Callable[[Array], Array]:
    """Logistic regression; each set counts for half, each piece for as much."""
    rows = np.concatenate([rows for rows, _ in pieces])
    sign = np.concatenate([np.full(len(r), 2 * y - 1.0) for r, y in pieces])
    weight = np.concatenate([np.full(len(r), 1 / len(r)) for r, _ in pieces])
    for side in (-1, 1):
        weight[sign == side] /= 2 * weight[sign == side].sum()
    middle = weight @ rows
    spread = weight @ (rows - middle) ** 2
    # What hardly varies isn't blown up; rows have a length of about 1.
    scale = np.sqrt(len(spread) * (spread + 1e-3 * spread.max() + 1e-12))

    def loss(parameters: Array) -> tuple[float, Array]:
        slope, bias = parameters[:-1], parameters[-1]
        margin = sign * (x @ slope + bias)
        pull = -weight * sign * wrong(margin)
        value = weight @ np.logaddexp(0, -margin) + PENALTY / 2 * slope @ slope
        return value, np.append(pull @ x + PENALTY * slope, pull.sum())

    def hessian_times(parameters: Array, along: Array) -> Array:
        share = wrong(sign * (x @ parameters[:-1] + parameters[-1]))
        curve = weight * share * (1 - share) * (x @ along[:-1] + along[-1])
        return np.append(curve @ x + PENALTY * along[:-1], curve.sum())

    def wrong(margin: Array) -> Array:
        return 1 / (1 + np.exp(np.clip(margin, -50, 50)))

    x = (rows - middle) / scale
    start = np.zeros(rows.shape[1] + 1)
    # Not L-BFGS, whose many small calls of LAPACK take thirty times as long
    # where its threads have to wait for a busy core.
    found = optimize.minimize(
        loss, start, jac=True, hessp=hessian_times, method="Newton-CG"
    ).x
    return lambda new: (new - middle) / scale @ found[:-1] + found[-1]
