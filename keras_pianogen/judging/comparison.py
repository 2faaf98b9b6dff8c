"""How far apart two sets of pieces are, beside how far real music is from real.

For each feature of `features.py`, over excerpts of equal length:

- KL divergence, in nats, of the other set's histogram from the real one's,
  and the area in which both overlap (0 to 1). Each piece has the same weight,
  however many notes it has.
- After Yang & Lerch (2020): the distances between real pieces, compared with
  the distances between real pieces and others. Both have the same
  distribution where the others vary as real pieces do.

Over all features: the Fréchet distance of embeddings (Heusel et al., 2017),
and the accuracy of a classifier on pieces it was not trained on (Lopez-Paz &
Oquab, 2017).

All of these depend on the number of pieces. So half of the real pieces are
compared with three sets of one size, in a number of seeded splits: the other
half (the floor), the other set, and the other half with its pitches shuffled
(the anchor). A permutation test of whole pieces (Fisher, 1935), with Holm's
correction (1979) for the number of measures, tells whether the other set is
further away than chance would put it. Embeddings are computed elsewhere.

The pedal is compared where both sets have one in their files.
"""

import dataclasses
import html
import math
import os
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.folders import MidiFolder
from keras_pianogen.judging.excerpts import Embed
from keras_pianogen.judging.excerpts import Excerpt
from keras_pianogen.judging.excerpts import describe_pedal
from keras_pianogen.judging.excerpts import draw_excerpts
from keras_pianogen.judging.excerpts import mean_shares
from keras_pianogen.judging.excerpts import measure_all
from keras_pianogen.judging.features import FEATURES
from keras_pianogen.judging.features import PEDAL_FEATURES
from keras_pianogen.judging.measures import Tell
from keras_pianogen.judging.measures import corrected_p_values
from keras_pianogen.judging.measures import measure_splits
from keras_pianogen.judging.statistics import LEVEL
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.rendering import markup

SECONDS = 30.0  # of each piece
# With eight pieces of MAESTRO in each set, only the intervals tell shuffled
# pitches from real ones in each of three draws; with twenty, the intervals, the
# chords, the embeddings and the classifier do.
ENOUGH = 20
SPLITS = 10
PERMUTATIONS = 999

# Columns of the table. `LEGEND` explains them.
HEADER = ("measure", "real", "other", "shuffled", "p")
WORDS = {
    "kl": "{}, KL in nats",
    "overlap": "{}, overlapping area",
    "distances_kl": "{}, KL of distances",
    "distances_overlap": "{}, area of distances",
    "frechet": "Fréchet distance, embeddings",
    "classifier": "classifier's accuracy",
}
LEGEND = (
    "real: half of the real pieces against the other half (the floor). "
    "shuffled: the same, with the pitches of each piece shuffled. p: p-value "
    "of a permutation test, corrected after Holm; * below 0.05."
)

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Args:
        size: number of pieces in each set that is compared with as many real
            pieces.
        values: for each measure, for each of the sets `"floor"`, `"other"`
            and `"shuffled"`, the value of each split. Measures are
            `"pitch.kl"`, `"pitch.overlap"`, `"pitch.distances_kl"`,
            `"pitch.distances_overlap"`, and the same for all other
            `FEATURES`, and for `PEDAL_FEATURES` where both sets have a pedal;
            `"frechet"`, where there are embeddings; and `"classifier"`, its
            accuracy.
        p_values: for each feature's KL divergence, and the last two, the
            p-value of a permutation test: the share of random relabellings
            of pieces that lie at least as far apart, corrected for the number
            of measures.
        shares: for `"real"` and `"other"`, each feature's histogram over all
            pieces.
        pieces: for `"real"` and `"other"`, the number of all pieces.
        pedal: for `"real"` and `"other"`, the number of `"pieces"` that have
            a pedal; and means over all pieces of the share of the time that
            it is `"down"`, and of its `"presses"` a minute.
        left_out: for `"real"` and `"other"`, the names of the pieces that
            have no two notes within the seconds that are compared.
        smallest_p: the smallest p-value that the tests could give, whatever
            the music: corrected, it is no less than this.
    """

    size: int
    values: Mapping[str, Mapping[str, Sequence[float]]]
    p_values: Mapping[str, float]
    shares: Mapping[str, Mapping[str, Array]]
    pieces: Mapping[str, int]
    pedal: Mapping[str, Mapping[str, float]]
    left_out: Mapping[str, Sequence[str]]
    smallest_p: float = 0.0

    def mean(self, measure: str, of: str) -> float:
        """Mean of a measure over the splits.

        Args:
            measure: a name in `values`.
            of: `"floor"`, `"other"` or `"shuffled"`.
        """
        return float(np.mean(self.values[measure][of]))

    def told_apart(self, measure: str) -> bool:
        """Whether a measure's corrected p-value is below 0.05."""
        return self.p_values[measure] < LEVEL

    def to_dict(self) -> dict[str, Any]:
        """The whole result, ready for JSON."""
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
            "warning": self.warning(),
        }

    def title(self) -> str:
        """The numbers of pieces, in words."""
        return (
            f"{self.size} pieces against {self.size}; in all "
            f"{self.pieces['real']} real ones, {self.pieces['other']} others"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The table: a measure, its mean for each of three sets, and p.

        The KL divergence of distances is left out, because it agrees with
        their overlapping area.
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

    def warning(self) -> str | None:
        """What the tests can't find in sets so small, or `None`."""
        real, other = self.pieces["real"], self.pieces["other"]
        sets = f"{real} real pieces and {other} others"
        if self.smallest_p >= LEVEL:
            return (
                f"The tests can't find any difference between {sets}: no p "
                f"could be below {self.smallest_p:.3f}. They need more pieces, "
                "or more permutations."
            )
        if min(real, other) < ENOUGH:
            return (
                f"With {sets}, the tests find only large differences, so a p "
                "near 1 doesn't show that the sets are alike. Compare "
                f"{ENOUGH} pieces or more of each."
            )
        return None

    def note(self) -> str:
        """A sentence on the pedal: how it is used, or which set has none."""
        bare = [of for of in self.pedal if not self.pedal[of]["pieces"]]
        if not bare:
            return "Pedal: " + "; ".join(
                f"{of} down {100 * found['down']:.0f} % of the time, "
                f"{found['presses']:.0f} presses a minute, in "
                f"{found['pieces']} of {self.pieces[of]} pieces"
                for of, found in self.pedal.items()
            )
        return (
            f"The pedal isn't compared: {' and '.join(bare)} had none. Music "
            "that this package generates never has one. A note that a pedal "
            "holds is longer."
        )

    def _repr_html_(self) -> str:
        """The table and the picture, for Jupyter."""
        # Imported here, so that only notebooks pay for loading Matplotlib.
        from keras_pianogen.judging.comparison_picture import plot_comparison

        figure = plot_comparison(self.to_dict())
        return (
            f"<figure><figcaption>{self.title()}</figcaption>"
            + markup.table([HEADER, *self.rows()])
            + f"<p>{html.escape(LEGEND)} {html.escape(self.note())} "
            + f"{html.escape(self.warning() or '')}</p>"
            + markup.picture(figure, "Histograms of each feature", dpi=70)
            + "</figure>"
        )


@dataclasses.dataclass(frozen=True)
class Folder:
    """The pieces of a folder, by their paths in it, in alphabetical order.

    Args:
        notes: the performances.
        pedals: their pedals, as `read_pedal` returns them.
        skipped: for each file that can't be read, the reason.
    """

    notes: dict[str, np.ndarray]
    pedals: dict[str, np.ndarray]
    skipped: dict[str, str]


def read_folder(folder: str | os.PathLike[str]) -> Folder:
    """Reads the performances of a folder, and skips files it can't read.

    Args:
        folder: a folder with `.mid` and `.midi` files, at any depth.

    Raises:
        ValueError: if it isn't a folder, or has no such file that can be
            read.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        what = "is no folder" if folder.exists() else "doesn't exist"
        raise ValueError(
            f"`folder` must be a folder with .mid or .midi files. "
            f"Received: {folder}, which {what}"
        )
    found = Folder({}, {}, {})
    listed = MidiFolder(folder)
    for path, reason in listed.skipped.items():
        found.skipped[path.relative_to(folder).as_posix()] = reason
    for path in listed.files:
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
            + f"; other files: {listed.found_instead()}"
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
    progress: Tell | None = None,
) -> Comparison:
    """Compares a set of pieces with real ones.

    An excerpt of each piece is compared. It begins at a note drawn by seed,
    of those that are followed by another note within `seconds`. A piece
    without such a note is left out.

    Args:
        real: performances by name, four or more.
        other: performances by name, two or more.
        pedals: the pedals of both sets, by the names of their performances,
            as `read_pedal` returns them. Defaults to none.
        embed: a function of a list of performances. It returns the embeddings
            of each performance, an array (windows, dimensions). Without it
            there is no Fréchet distance.
        seconds: length of an excerpt, above 0. A shorter piece is taken whole.
        splits: number of times that the real pieces are halved, 1 or more.
        permutations: number of random relabellings of the pieces in each
            test, 1 or more. With fewer than 20 measures, 500 are enough for
            p-values below 0.05.
        seed: seed of the excerpts, the splits, the relabellings and the
            shuffling.
        progress: a function called with the name of a stage, and the share of
            it that is done, 0 to 1.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: if a number is out of its range, or there are too few
            pieces.
    """
    check_settings(seconds, splits, permutations)
    tell = progress or (lambda stage, done: None)
    given = {"real": real, "other": other}
    drawn = {
        of: draw_excerpts(pieces, spans, seconds, seed)
        for (of, pieces), spans in zip(
            given.items(), pedals or ({}, {}), strict=True
        )
    }
    left_out = _check_pieces(drawn, given)
    sets = {of: list(excerpts.values()) for of, excerpts in drawn.items()}
    pedal = {of: describe_pedal(excerpts) for of, excerpts in sets.items()}
    sets["shuffled"] = [
        excerpt.shuffled(seed + i) for i, excerpt in enumerate(sets["real"])
    ]
    with_pedal = all(found["pieces"] for found in pedal.values())
    measured = measure_all(sets, embed, with_pedal)
    size = min(len(sets["real"]) // 2, len(sets["other"]))
    values = measure_splits(measured, size, splits, seed, tell)
    p_values = corrected_p_values(measured, permutations, seed, tell)
    return Comparison(
        size=size,
        values=values,
        p_values=p_values,
        shares={of: mean_shares(measured[of]) for of in given},
        pieces={of: len(measured[of]) for of in given},
        pedal=pedal,
        left_out=left_out,
        smallest_p=_smallest_p(sets, permutations, len(p_values)),
    )


def _smallest_p(
    sets: Mapping[str, Sequence[Excerpt]], permutations: int, tests: int
) -> float:
    """The smallest corrected p-value of tests of sets of these sizes."""
    real, other = len(sets["real"]), len(sets["other"])
    relabellings = min(permutations + 1, math.comb(real + other, other))
    return min(1.0, tests / relabellings)


def check_settings(seconds: float, splits: int, permutations: int) -> None:
    """Checks numbers of `compare`, before anything is read.

    Raises:
        ValueError: if a number is out of its range.
    """
    counts = {"splits": splits, "permutations": permutations}
    if not 0 < seconds < float("inf"):
        raise ValueError(
            f"`seconds` must be a length above 0. Received: {seconds}"
        )
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"`{name}` must be 1 or more. Received: {count}")


def _check_pieces(
    drawn: Mapping[str, Mapping[str, Excerpt]],
    given: Mapping[str, Mapping[str, np.ndarray]],
) -> dict[str, list[str]]:
    """Names the pieces of each set that are left out, if enough remain."""
    left_out = {
        of: [name for name in given[of] if name not in drawn[of]]
        for of in given
    }
    for of, least in (("real", 4), ("other", 2)):
        if len(drawn[of]) < least:
            names = ", ".join(drawn[of]) or "none"
            few = "".join(f"; too few notes in {x}" for x in left_out[of])
            raise ValueError(
                f"`{of}` must have {least} pieces or more to be compared. "
                f"Received: {len(drawn[of])} ({names}{few})"
            )
    return left_out
