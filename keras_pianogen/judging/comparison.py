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

The pedal is compared where both sets have one in their files.
"""

import base64
import dataclasses
import html
import io
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

from keras_pianogen.judging.features import FEATURES
from keras_pianogen.judging.features import PEDAL_FEATURES
from keras_pianogen.judging.features import cut
from keras_pianogen.judging.features import draw_begin
from keras_pianogen.judging.features import measure
from keras_pianogen.judging.features import seconds_of_pedal
from keras_pianogen.judging.features import shuffle_pitches
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.notes import check_pedal

SECONDS = 30.0  # of a piece, so that its length tells nothing
PHRASE = 10  # seconds that the classifier is asked about at a time
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
# As tables for people call the row of these and p: see `LEGEND`.
HEADER = ("measure", "real", "other", "shuffled", "p")
# Measures of a feature; the first is tested.
OF_A_FEATURE = ("kl", "overlap", "distances_kl", "distances_overlap")
WORDS = {
    "kl": "{}, KL in nats",
    "overlap": "{}, overlapping area",
    "distances_kl": "{}, KL of distances",
    "distances_overlap": "{}, area of distances",
    "frechet": "Fréchet distance, embeddings",
    "classifier": "classifier's accuracy",
}
LEGEND = (
    "real: the floor, half of the real pieces against the other half. "
    "shuffled: the same with pitches dealt out anew. p: how often pieces that "
    "change sets by lot lie as far apart, corrected after Holm; * below 0.05."
)

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
            `OF_A_FEATURE`, and for `PEDAL_FEATURES` where both sets have a
            pedal; `"frechet"`, where there are embeddings; and
            `"classifier"`, its accuracy.
        p_values: for each feature's KL divergence, and the last two, how
            often pieces that change sets by lot would lie as far apart,
            corrected for the number of measures.
        shares: for `"real"` and `"other"`, each feature's shares over all
            pieces.
        pieces: for `"real"` and `"other"`, how many there are in all.
        pedal: for `"real"` and `"other"`, in how many `"pieces"` there is a
            pedal; the share of the time that it is `"down"`, and `"presses"`
            a minute, means over all pieces.
        left_out: for `"real"` and `"other"`, the names of pieces that have no
            two notes within the seconds that are compared.
    """

    size: int
    values: Mapping[str, Mapping[str, Sequence[float]]]
    p_values: Mapping[str, float]
    shares: Mapping[str, Mapping[str, Array]]
    pieces: Mapping[str, int]
    pedal: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, Sequence[str]]

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
        edges = {
            feature.name: feature.edges.tolist()
            for feature in (*FEATURES, *PEDAL_FEATURES)
            if feature.name in shares["real"]
        }
        return {
            "size": self.size,
            "measures": measures,
            "p_values": dict(self.p_values),
            "shares": shares,
            "edges": edges,
            "pedal": {**self.pedal, "note": self.note()},
            "left_out": dict(self.left_out),
        }

    def title(self) -> str:
        """The numbers of pieces, in words."""
        return (
            f"{self.size} pieces against {self.size}; in all "
            f"{self.pieces['real']} real ones, {self.pieces['other']} others"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The table: a measure, its mean of each of `SETS`, and p.

        Without the KL of distances, which tells what their area tells.
        """
        rows = []
        for name, sets in self.values.items():
            feature, _, kind = name.rpartition(".")
            if kind == "distances_kl":
                continue
            shown = ".3f" if max(map(max, sets.values())) < 10 else ".1f"
            p = self.p_values.get(name)
            rows.append(
                (
                    WORDS[kind].format(feature),
                    *(f"{self.mean(name, of):{shown}}" for of in sets),
                    "" if p is None else f"{p:.3f}" + " *" * (p < LEVEL),
                )
            )
        return rows

    def note(self) -> str:
        """What is to be said of the pedal: what it does, or who has none."""
        bare = [of for of in self.pedal if not self.pedal[of]["pieces"]]
        if not bare:
            return "Pedal: " + "; ".join(
                f"{of} down {100 * found['down']:.0f} % of the time, "
                f"{found['presses']:.0f} presses a minute, in "
                f"{found['pieces']} of {self.pieces[of]} pieces"
                for of, found in self.pedal.items()
            )
        return (
            f"The pedal isn't compared: {' and '.join(bare)} had none, and "
            "what this package writes never has. What a pedal held is in the "
            "lengths of notes."
        )

    def _repr_html_(self) -> str:
        """The table and the picture, as Jupyter shows them."""
        # Only who looks at it waits for Matplotlib.
        from keras_pianogen.judging.comparison_picture import plot_comparison

        picture = io.BytesIO()
        plot_comparison(self.to_dict()).savefig(picture, format="png", dpi=70)
        data = base64.b64encode(picture.getvalue()).decode()
        head = _html_row("th", HEADER)
        body = "".join(_html_row("td", row) for row in self.rows())
        return (
            f"<figure><figcaption>{self.title()}</figcaption>"
            f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
            f"<p>{html.escape(LEGEND)} {html.escape(self.note())}</p>"
            '<img alt="Shares of each feature" style="max-width:100%" '
            f'src="data:image/png;base64,{data}"/></figure>'
        )


def _html_row(kind: str, cells: Sequence[str]) -> str:
    inside = "".join(f"<{kind}>{html.escape(x)}</{kind}>" for x in cells)
    return f"<tr>{inside}</tr>"


@dataclasses.dataclass(frozen=True)
class Folder:
    """The pieces of a folder, by their paths in it, sorted.

    Args:
        notes: the performances.
        pedals: their pedals, as `read_pedal` returns them.
        skipped: why a file isn't among them, by its path.
    """

    notes: dict[str, np.ndarray]
    pedals: dict[str, np.ndarray]
    skipped: dict[str, str]


@dataclasses.dataclass
class _Heard:
    """What is heard of a piece: from 0, and its pedal in each second."""

    notes: np.ndarray
    pedal: np.ndarray


@dataclasses.dataclass
class _Measured:
    """A piece as it is compared: features, phrases, embeddings."""

    shares: dict[str, Array]
    phrases: Array  # (phrases, bins of all features)
    embeddings: Array | None = None  # (windows, dimensions)


def read_folder(folder: str | os.PathLike[str]) -> Folder:
    """Reads the performances of a folder. Files that can't be are skipped.

    Args:
        folder: a folder with `.mid` and `.midi` files, at any depth.

    Raises:
        ValueError: it isn't a folder or has no such file that can be read.
    """
    folder = pathlib.Path(folder)
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in (".mid", ".midi") and path.is_file()
    )
    found = Folder({}, {}, {})
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            notes, pedal = read_notes(path), read_pedal(path)
        except MidiError as error:
            reason = str(error).removeprefix(str(path)).lstrip(": ")
            found.skipped[name] = reason
        except OSError as error:
            found.skipped[name] = error.strerror or str(error)
        else:
            found.notes[name], found.pedals[name] = notes, pedal
    if not found.notes:
        reasons = [f"; {name}: {why}" for name, why in found.skipped.items()]
        raise ValueError(
            "`folder` must be a folder with .mid or .midi files that can be "
            f"read. Received: {folder}, with {len(reasons)} that can't"
            + "".join(reasons[:3])
        )
    return found


def compare(
    real: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    *,
    pedals: Sequence[Mapping[str, np.ndarray]] | None = None,
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
            heard for `seconds` from a note drawn by seed, of those that are
            followed by another in time; a piece without such a note is left
            out.
        pedals: the pedals of both sets, by the names of their performances,
            as `read_pedal` returns them. Defaults to none.
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
        ValueError: there are too few pieces.
    """
    _check(seconds, splits=splits, permutations=permutations)
    tell = progress or (lambda what, done: None)
    given = {"real": real, "other": other}
    spans = {
        name: {piece: check_pedal(span) for piece, span in pedal.items()}
        for name, pedal in zip(given, pedals or ({}, {}), strict=True)
    }
    heard = {of: _excerpts(given[of], spans[of], seconds, seed) for of in given}
    left_out = _check_pieces(heard, given)
    pedal = {of: _pedal_in_all(heard[of], spans[of]) for of in given}
    sets = [list(pieces.values()) for pieces in heard.values()]
    sets.append(
        [
            _Heard(shuffle_pitches(piece.notes, seed + i), piece.pedal)
            for i, piece in enumerate(sets[0])
        ]
    )
    with_pedal = all(found["pieces"] for found in pedal.values())
    ours, others, shuffled = _measure_all(sets, embed, with_pedal)
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
    counts = {"real": len(ours), "other": len(others)}
    return Comparison(size, values, p_values, shares, counts, pedal, left_out)


def _check(seconds: float, **counts: int) -> None:
    if not 0 < seconds < float("inf"):
        raise ValueError(
            f"`seconds` must be a length above 0. Received: {seconds}"
        )
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"`{name}` must be 1 or more. Received: {count}")


def _check_pieces(
    heard: Mapping[str, Mapping[str, _Heard]],
    given: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, list[str]]:
    """The pieces that are left out of each set, if enough remain."""
    left_out = {
        of: [name for name in given[of] if name not in heard[of]]
        for of in given
    }
    for of, least in (("real", 4), ("other", 2)):
        if len(heard[of]) < least:
            names = ", ".join(heard[of]) or "none"
            few = "".join(f"; too few notes in {x}" for x in left_out[of])
            raise ValueError(
                f"`{of}` must have {least} pieces or more to be compared. "
                f"Received: {len(heard[of])} ({names}{few})"
            )
    return left_out


def _excerpts(
    pieces: Mapping[str, np.ndarray],
    pedals: Mapping[str, np.ndarray],
    seconds: float,
    seed: int,
) -> dict[str, _Heard]:
    heard = {}
    for i, (name, notes) in enumerate(pieces.items()):
        begin = draw_begin(notes, seconds, seed + i) if len(notes) else 0.0
        part = cut(notes, begin, seconds)
        if len(part) > 1:
            pedal = seconds_of_pedal(
                pedals.get(name, np.empty(0, PEDAL_DTYPE)),
                begin,
                part["end"].max(),
            )
            heard[name] = _Heard(part, pedal)
    return heard


def _pedal_in_all(
    heard: Mapping[str, _Heard], pedals: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """In how many pieces there is a pedal, and what it does, on average."""
    heard_pedals = [piece.pedal for piece in heard.values()]
    presses = [pedal["presses"].mean() for pedal in heard_pedals]
    return {
        "pieces": sum(len(pedals.get(name, ())) > 0 for name in heard),
        "down": float(np.mean([p["down"].mean() for p in heard_pedals])),
        "presses": 60 * float(np.mean(presses)),
    }


def _measure_all(
    sets: Sequence[Sequence[_Heard]], embed: Embed | None, with_pedal: bool
) -> list[list[_Measured]]:
    measured = [
        [_measure(piece, with_pedal) for piece in pieces] for pieces in sets
    ]
    if embed is not None:
        flat = [piece for pieces in measured for piece in pieces]
        found = embed([piece.notes for pieces in sets for piece in pieces])
        for piece, embeddings in zip(flat, found, strict=True):
            piece.embeddings = embeddings
    return measured


def _measure(piece: _Heard, with_pedal: bool) -> _Measured:
    rows = []
    for begin in range(0, len(piece.pedal), PHRASE):
        part = cut(piece.notes, begin, PHRASE)
        if len(part) > 1:
            pedal = piece.pedal[begin : begin + PHRASE]
            rows.append(measure(part, pedal if with_pedal else None))
    shares = measure(piece.notes, piece.pedal if with_pedal else None)
    return _Measured(shares, np.array([_row(r) for r in rows or [shares]]))


def _row(shares: Mapping[str, Array]) -> Array:
    """All features in one row; roots, so that rare values count too."""
    return np.sqrt(np.concatenate(list(shares.values())))


def _mean_shares(pieces: Sequence[_Measured]) -> dict[str, Array]:
    return {
        name: np.mean([piece.shares[name] for piece in pieces], axis=0)
        for name in pieces[0].shares
    }


def _distances(
    real: Sequence[_Measured], other: Sequence[_Measured], seed: int
) -> dict[str, float]:
    """Every measure between two sets."""
    found: dict[str, float] = {}
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
            found[f"{feature}.{name}"] = value
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
    for feature in real[0].shares:
        shares = np.array([piece.shares[feature] for piece in pieces])
        tests[f"{feature}.kl"] = _kl_of(shares)
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
