"""Excerpts of pieces, and what is measured of them before they are compared.

An excerpt is a stretch of a piece that begins at a note drawn by seed. All
excerpts have the same length, so that the length of a piece tells nothing.
Times in seconds.
"""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.judging.features import cut
from keras_pianogen.judging.features import draw_begin
from keras_pianogen.judging.features import measure
from keras_pianogen.judging.features import seconds_of_pedal
from keras_pianogen.judging.features import shuffle_pitches
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.notes import check_pedal

PHRASE = 10  # seconds of music in one row of the classifier

Array = NDArray[np.float64]
# A function of performances. It returns the embeddings of each performance,
# an array (windows, dimensions).
Embed = Callable[[Sequence[np.ndarray]], Sequence[Array]]


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """A stretch of a piece, moved so that it begins at 0.

    Args:
        notes: the notes that start in it, two or more.
        pedal: what the pedal does in each second, see `seconds_of_pedal`.
        has_pedal: whether the pedal is used anywhere in the piece.
    """

    notes: np.ndarray
    pedal: np.ndarray
    has_pedal: bool

    def shuffled(self, seed: int) -> "Excerpt":
        """The same excerpt with its pitches dealt out anew."""
        notes = shuffle_pitches(self.notes, seed)
        return dataclasses.replace(self, notes=notes)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What is compared of one excerpt.

    Args:
        shares: each feature's histogram, by the feature's name.
        phrases: array (phrases, bins of all features), the classifier's rows.
        embeddings: array (windows, dimensions), or None.
    """

    shares: dict[str, Array]
    phrases: Array
    embeddings: Array | None = None


def draw_excerpts(
    pieces: Mapping[str, np.ndarray],
    pedals: Mapping[str, np.ndarray],
    seconds: float,
    seed: int,
) -> dict[str, Excerpt]:
    """Draws an excerpt of each piece that has two notes close enough in time.

    Args:
        pieces: performances by name.
        pedals: pedals by the names of their performances. A performance that
            is not named has none.
        seconds: length of an excerpt. A shorter piece is taken whole.
        seed: the same seed gives the same excerpts.
    """
    found = {}
    for i, (name, notes) in enumerate(pieces.items()):
        pedal = check_pedal(pedals.get(name, np.empty(0, PEDAL_DTYPE)))
        begin = draw_begin(notes, seconds, seed + i) if len(notes) else 0.0
        part = cut(notes, begin, seconds)
        if len(part) > 1:
            by_second = seconds_of_pedal(pedal, begin, part["end"].max())
            found[name] = Excerpt(part, by_second, len(pedal) > 0)
    return found


def evenly(corpus: Corpus, split: str, count: int) -> NDArray[np.int64]:
    """Indices of pieces taken evenly from a split.

    Args:
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        count: how many; all pieces if there are fewer.
    """
    indices = corpus.split(split)
    places = np.linspace(0, len(indices) - 1, min(count, len(indices)))
    return indices[np.unique(np.round(places).astype(int))]


def describe_pedal(excerpts: Sequence[Excerpt]) -> dict[str, float]:
    """How the pedal is used in excerpts: `pieces`, `down` and `presses`.

    Returns:
        `pieces` is the number of pieces with a pedal. Means over all excerpts
        are `down`, the share of the time that the pedal is down, and
        `presses`, the number of presses a minute.
    """
    presses = [excerpt.pedal["presses"].mean() for excerpt in excerpts]
    down = [excerpt.pedal["down"].mean() for excerpt in excerpts]
    return {
        "pieces": sum(excerpt.has_pedal for excerpt in excerpts),
        "down": float(np.mean(down)),
        "presses": 60 * float(np.mean(presses)),
    }


def measure_all(
    sets: Mapping[str, Sequence[Excerpt]],
    embed: Embed | None,
    with_pedal: bool,
) -> dict[str, list[Measured]]:
    """Measures every excerpt of some sets.

    Args:
        sets: excerpts, by the names of their sets.
        embed: see `Embed`. It is called once, for all excerpts together.
        with_pedal: whether the pedal's features are measured too.
    """
    measured = {
        of: [_measure(excerpt, with_pedal) for excerpt in excerpts]
        for of, excerpts in sets.items()
    }
    if embed is None:
        return measured
    found = iter(embed([x.notes for some in sets.values() for x in some]))
    return {
        of: [dataclasses.replace(x, embeddings=next(found)) for x in some]
        for of, some in measured.items()
    }


def _measure(excerpt: Excerpt, with_pedal: bool) -> Measured:
    pedal = excerpt.pedal if with_pedal else None
    shares = measure(excerpt.notes, pedal)
    phrases = []
    for begin in range(0, len(excerpt.pedal), PHRASE):
        part = cut(excerpt.notes, begin, PHRASE)
        if len(part) > 1:
            held = None if pedal is None else pedal[begin : begin + PHRASE]
            phrases.append(measure(part, held))
    rows = [_row(phrase) for phrase in phrases or [shares]]
    return Measured(shares, np.array(rows))


def _row(shares: Mapping[str, Array]) -> Array:
    """All histograms in one row. Roots, so that rare values count too."""
    return np.sqrt(np.concatenate(list(shares.values())))


def mean_shares(pieces: Sequence[Measured]) -> dict[str, Array]:
    """Each feature's histogram, the mean over pieces."""
    return {
        name: np.mean([piece.shares[name] for piece in pieces], axis=0)
        for name in pieces[0].shares
    }
