"""Distances between histograms, between sets of pieces, and between Gaussians.

A histogram is an array (bins,) of shares that sum to 1. Divergences are in
nats. Nothing here knows of notes or of models.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import spatial
from scipy import special
from scipy import stats

# Each histogram is mixed with a hundredth of an even one, so that the
# divergence stays finite where one of two sets never fills a bin.
EVEN = 0.01

Array = NDArray[np.float64]


def kl_divergence(real: Array, other: Array) -> float:
    """Kullback-Leibler divergence of `other` from `real`, in nats.

    Both are first mixed with the share `EVEN` of an even histogram.

    Args:
        real: array (bins,) of shares.
        other: array (bins,) of shares.

    Examples:
        >>> kl_divergence(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
        0.0
    """
    p, q = ((1 - EVEN) * s + EVEN / len(s) for s in (real, other))
    # As `scipy.stats.entropy`, whose checks take ten times as long.
    return float(np.sum(special.rel_entr(p / p.sum(), q / q.sum())))


def jensen_shannon(p: Array, q: Array) -> float:
    """Jensen-Shannon divergence of two histograms, 0 to ln 2, in nats.

    It is ln 2 if one of the two is all zeros.

    Args:
        p: array (bins,) of shares.
        q: array (bins,) of shares.
    """
    if not (p.any() and q.any()):
        return math.log(2)
    middle = (p + q) / 2

    def divergence(a: Array) -> float:
        held = a > 0
        return float(np.sum(a[held] * np.log(a[held] / middle[held])))

    return (divergence(p) + divergence(q)) / 2


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
    """Compares the distances within a real set with those to another set.

    After Yang & Lerch (2020): the Euclidean distances between every two real
    pieces, and those between each real piece and each other piece, are
    compared as densities. They agree where the other pieces vary as the real
    ones do.

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
    """Density of `values` at each point of `grid`, scaled to a sum of 1.

    Gaussian kernels with Scott's bandwidth. The bandwidth is at least two
    steps of the grid, so that equal values have a density too.
    """
    width = np.std(values, ddof=1) if len(values) > 1 else 0.0
    width = max(width * len(values) ** -0.2, 2 * (grid[1] - grid[0]))
    density = stats.norm.pdf(grid[:, None], values, width).mean(axis=1)
    return np.asarray(density / density.sum(), float)


def frechet_distance(real: Array, other: Array) -> float:
    """Fréchet distance of two sets of vectors, each taken as a Gaussian.

    |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½), with means m and covariances C:
    Dowson & Landau (1982); Heusel et al. (2017), equation 6.

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
