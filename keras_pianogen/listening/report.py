"""What listeners said of each condition, with intervals and paired tests.

Shares are over all ratings of a condition. The ratings of one listener depend
on each other. So a share counts as one of fewer ratings than there are, by how
much listeners differ (Kish's effective sample size), in Wilson's interval
(1927): Dean & Pagano (2015). With one rating of each listener it is Wilson's
interval itself. The interval holds for listeners such as these, and for these
pieces.

Conditions are compared in pairs, within each listener: Wilcoxon's signed-rank
test (1945) of the listeners' means, with Holm's correction (1979) for the
number of pairs.
"""

import dataclasses
import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.judging.statistics import LEVEL
from keras_pianogen.judging.statistics import holm
from keras_pianogen.judging.statistics import signed_rank
from keras_pianogen.judging.statistics import wilson
from keras_pianogen.listening.ratings import QUALITIES
from keras_pianogen.listening.ratings import SCORES
from keras_pianogen.listening.ratings import Ratings
from keras_pianogen.rendering import markup

ANSWERS = (*QUALITIES, "inspiring")


@dataclasses.dataclass(frozen=True)
class Share:
    """The share of a condition's ratings that gave one answer.

    Args:
        count: number of ratings with that answer.
        ratings: number of all ratings of the condition.
        low: lower end of the 95 % interval of the share.
        high: its upper end.
    """

    count: int
    ratings: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """`count` over `ratings`, 0 to 1."""
        return self.count / self.ratings


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two conditions, compared within each listener.

    Args:
        first: a condition.
        second: another.
        difference: mean over listeners of the first's mean score less the
            second's; -2 to 2 for quality (good 1, average 0, bad -1), -1 to 1
            for inspiring.
        p_value: p-value of Wilcoxon's signed-rank test, corrected after Holm.
    """

    first: str
    second: str
    difference: float
    p_value: float

    @property
    def differ(self) -> bool:
        """Whether the p-value is below 0.05."""
        return self.p_value < LEVEL


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of a listening test.

    Args:
        listeners: number of listeners.
        simulated: whether they are not people.
        shares: for each condition, for each of `ANSWERS`, a `Share`.
        quality: pairs of conditions, compared by quality.
        inspiring: the same pairs, compared by how often their sounds were
            called inspiring.
    """

    listeners: int
    simulated: bool
    shares: dict[str, dict[str, Share]]
    quality: list[Pair]
    inspiring: list[Pair]

    @property
    def panel(self) -> str:
        """The listeners in words, such as `"20 simulated listeners"`."""
        return f"{self.listeners} {'simulated ' * self.simulated}listeners"

    def tables(self) -> tuple[list[list[str]], list[list[str]]]:
        """Two tables of text: the shares, and the pairs.

        The first row of each table is its head. A star marks a p-value below
        0.05.
        """
        shares = [["condition", *ANSWERS]]
        for condition, of in self.shares.items():
            cells = [
                f"{s.share:.0%} ({s.low:.0%} to {s.high:.0%})"
                for s in of.values()
            ]
            shares.append([condition, *cells])
        pairs = [["pair", "quality", "p", "inspiring", "p"]]
        for both in zip(self.quality, self.inspiring, strict=True):
            pairs.append([f"{both[0].first} less {both[0].second}"])
            for pair in both:
                p = "<0.001" if pair.p_value < 0.001 else f"{pair.p_value:.3f}"
                pairs[-1] += [f"{pair.difference:+.2f}", p + " *" * pair.differ]
        return shares, pairs

    def _repr_html_(self) -> str:
        """Both tables and the bars, for Jupyter."""
        # Imported here, so that only notebooks pay for loading Matplotlib.
        from keras_pianogen.listening.picture import draw_report

        return (
            f"<p>{self.panel}; * p below {LEVEL}</p>"
            + "".join(markup.table(rows) for rows in self.tables())
            + markup.picture(draw_report(self), "Shares", dpi=100)
        )

    def to_dict(self) -> dict[str, Any]:
        """The whole result, ready for JSON."""
        values = dataclasses.asdict(self)
        for condition, shares in self.shares.items():
            for answer, share in shares.items():
                values["shares"][condition][answer]["share"] = share.share
        return values


def report(ratings: Ratings) -> Report:
    """Counts the listeners' answers, and compares the conditions.

    Args:
        ratings: a `Ratings` of two listeners or more.

    Raises:
        ValueError: if there is only one listener.
    """
    if len(ratings.listeners) < 2:
        raise ValueError(
            "`ratings` must be of two listeners or more. Received: "
            f"{len(ratings.listeners)}"
        )
    shares: dict[str, dict[str, Share]] = {}
    scores: dict[str, NDArray[np.float64]] = {}
    inspired: dict[str, NDArray[np.float64]] = {}
    for condition in ratings.key.conditions:
        columns = ratings.columns(condition)
        quality = ratings.quality[:, columns]
        given = [quality == place for place in range(len(QUALITIES))]
        given.append(ratings.inspiring[:, columns])
        shares[condition] = {
            answer: count(said) for answer, said in zip(ANSWERS, given)
        }
        scores[condition] = np.array(SCORES)[quality].mean(axis=1)
        inspired[condition] = given[-1].mean(axis=1)
    return Report(
        len(ratings.listeners),
        ratings.simulated,
        shares,
        compare_pairs(scores),
        compare_pairs(inspired),
    )


def count(said: NDArray[np.bool_]) -> Share:
    """Counts the ratings that gave an answer, with their share's interval.

    Args:
        said: bool array (listeners, sounds), whether a listener gave that
            answer to a sound; two listeners or more.

    Examples:
        >>> share = count(np.eye(10, dtype=bool)[:, :5])
        >>> share.count, share.ratings, share.share
        (5, 50, 0.1)
    """
    listeners = len(said)
    share = float(said.mean())
    variance = float(said.mean(axis=1).var()) / listeners
    # If nobody or everybody gave that answer, the ratings don't show how much
    # listeners differ, and each listener counts as one rating. The effective
    # size is never larger than the number of ratings.
    size = float(listeners)
    if 0 < share < 1:
        of_one = share * (1 - share)
        size = min(said.size, of_one / max(variance, of_one / said.size))
    low, high = wilson(share, size)
    return Share(int(said.sum()), said.size, low, high)


def compare_pairs(means: dict[str, NDArray[np.float64]]) -> list[Pair]:
    """Compares every two conditions within each listener.

    Args:
        means: for each condition, each listener's mean, an array
            (listeners,).
    """
    differences = {
        (a, b): means[a] - means[b] for a, b in itertools.combinations(means, 2)
    }
    p_values = holm({pair: signed_rank(d) for pair, d in differences.items()})
    return [
        Pair(*pair, float(differences[pair].mean()), p_value)
        for pair, p_value in p_values.items()
    ]
