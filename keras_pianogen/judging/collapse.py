"""Figures that show whether a generator has collapsed, and their meaning.

Sets of samples are int arrays of event ids, (samples, time). Shares are 0 to
1, entropies in nats. Nothing here knows of models.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

from keras_pianogen.events import PITCHES
from keras_pianogen.events import EventVocabulary
from keras_pianogen.judging.distances import jensen_shannon

# The excess of an event that is rarer than this among samples is not computed,
# because a few hundred samples are too few to estimate its share.
RARE = 0.001
# Rounds of training before which a lack of signs says nothing. The collapses in
# docs/gan.md came after 300 rounds or more.
EARLY = 100

FIGURES = (
    "distinct_1",
    "distinct_2",
    "distinct_4",
    "pitch_distinct_1",
    "pitch_distinct_2",
    "pitch_distinct_4",
    "self_similarity",
    "commonest_share",
    "entropy",
    "event_divergence",
    "pitch_divergence",
    "largest_excess",
)


class CollapseFigures:
    """Compares samples with real music.

    - `distinct_n`: number of different n-grams of events, over the number of
      all n-grams (Li et al., 2016). `pitch_distinct_n` is the same for the
      pitches of note-ons.
    - `self_similarity`: mean over pairs of samples of the share of event
      pairs that both have (Jaccard's index). It is 1 if all samples are the
      same.
    - `commonest_share`: share of the commonest event. `entropy`: entropy of
      the shares of events.
    - `event_divergence`, `pitch_divergence`: Jensen-Shannon divergence of the
      shares of events, and of the pitches of note-ons, from real music; 0 to
      ln 2.
    - `largest_excess`: the largest ratio of an event's share to its share in
      real music, over events that make up 0.1 % of samples or more.

    The shares in real music are those of all of `real`. Its own figures, in
    `of_real`, are those of as many sequences as samples are compared.

    Args:
        vocabulary: an `EventVocabulary`.
        real: ids of real music, (sequences, time), as long as the samples.
        samples: int. Number of samples that are compared at a time.

    Examples:
        >>> from keras_pianogen import EventVocabulary
        >>> vocabulary = EventVocabulary.named("magenta")
        >>> real = np.arange(3, 35).reshape(4, 8)
        >>> figures = CollapseFigures(vocabulary, real, samples=2)
        >>> figures.of(np.full((2, 8), 63))["commonest_share"]
        1.0
    """

    def __init__(
        self,
        vocabulary: EventVocabulary,
        real: NDArray[np.integer[Any]],
        samples: int,
    ) -> None:
        self.vocabulary = vocabulary
        self.event_shares = self._event_shares(real)
        # An event that `real` lacks is taken to occur there half a time.
        self.least_shares = np.maximum(self.event_shares, 0.5 / np.size(real))
        self.pitch_shares = self._pitch_shares(real)
        # Taken evenly from all of it, so that few are of one piece.
        places = np.linspace(0, len(real) - 1, min(samples, len(real)))
        self.of_real = self.of(real[places.astype(int)])

    def of(self, samples: ArrayLike) -> dict[str, float]:
        """The figures of a set of samples, a dict of floats."""
        rows = np.asarray(samples)
        pitches = [self._pitches(row) for row in rows]
        shares = self._event_shares(rows)
        positive = shares[shares > 0]
        return {
            **{f"distinct_{n}": distinct(rows, n) for n in (1, 2, 4)},
            **{f"pitch_distinct_{n}": distinct(pitches, n) for n in (1, 2, 4)},
            "self_similarity": self_similarity(rows),
            "commonest_share": float(shares.max()),
            "entropy": float(-np.sum(positive * np.log(positive))),
            "event_divergence": jensen_shannon(shares, self.event_shares),
            "pitch_divergence": jensen_shannon(
                self._pitch_shares(rows), self.pitch_shares
            ),
            "largest_excess": float(self._excesses(shares).max()),
        }

    def describe(
        self,
        samples: ArrayLike,
        logs: Mapping[str, float],
        rounds: int | None = None,
    ) -> str:
        """Says in a sentence whether the figures show a collapse.

        Args:
            samples: see `of`.
            logs: the logs of a training step: `generator_gradient_norm`,
                `real_accuracy` and `fake_accuracy`, as far as there are any.
            rounds: number of rounds of training before. Defaults to `None`,
                as many as it takes.

        Returns:
            A string.
        """
        figures, real = self.of(samples), self.of_real
        if logs.get("generator_gradient_norm") == 0:
            return "The generator receives no gradient."
        share = figures["commonest_share"]
        if share > 3 * real["commonest_share"]:
            event = int(np.argmax(self._event_shares(samples)))
            return (
                f"One event, {self.vocabulary.describe(event)}, makes up "
                f"{share:.0%} of what it writes."
            )
        if figures["distinct_4"] < real["distinct_4"] / 2:
            return (
                f"It repeats itself: {figures['distinct_4']:.0%} of its groups "
                f"of four events are new, {real['distinct_4']:.0%} in real "
                "music."
            )
        if figures["self_similarity"] > 3 * real["self_similarity"]:
            return (
                "Its samples resemble each other: "
                f"{figures['self_similarity']:.3f}, real music "
                f"{real['self_similarity']:.3f}."
            )
        if rounds is not None and rounds < EARLY:
            return (
                f"After {rounds} rounds it is too early to tell whether it "
                f"collapses; {EARLY} rounds or more show it."
            )
        told = min(logs.get("real_accuracy", 0), logs.get("fake_accuracy", 0))
        if told >= 0.95:
            return (
                "No collapse; the discriminator tells nearly all samples from "
                f"real music, {told:.0%}."
            )
        return "No collapse."

    def _excesses(self, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(shares >= RARE, shares / self.least_shares, 0.0)

    def _event_shares(self, ids: ArrayLike) -> NDArray[np.float64]:
        counts = np.bincount(
            np.ravel(ids), minlength=len(self.vocabulary)
        ).astype(float)
        return counts / counts.sum()

    def _pitches(self, ids: ArrayLike) -> NDArray[np.int64]:
        first = self.vocabulary.note_on_id
        line = np.ravel(ids).astype(np.int64)
        return line[(line >= first) & (line < first + PITCHES)] - first

    def _pitch_shares(self, ids: ArrayLike) -> NDArray[np.float64]:
        counts = np.bincount(self._pitches(ids), minlength=PITCHES)
        return counts / max(1, counts.sum())


def distinct(sequences: Iterable[Iterable[int]], n: int) -> float:
    """Number of different n-grams of sequences over that of all n-grams.

    It is 0 if there are none.
    """
    seen: set[tuple[int, ...]] = set()
    total = 0
    for sequence in sequences:
        grams = _grams(sequence, n)
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else 0.0


def self_similarity(samples: Iterable[Iterable[int]]) -> float:
    """Jaccard's index of the event pairs of two samples, mean over samples."""
    pairs = [set(_grams(sample, 2)) for sample in samples]
    found = [
        len(a & b) / len(a | b)
        for i, a in enumerate(pairs)
        for b in pairs[:i]
        if a | b
    ]
    return float(np.mean(found)) if found else 0.0


def _grams(sequence: Iterable[int], n: int) -> list[tuple[int, ...]]:
    line: Sequence[int] = [int(x) for x in sequence]
    return list(zip(*(line[i:] for i in range(n)), strict=False))
