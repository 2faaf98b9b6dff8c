"""What listeners said of each condition, with intervals and paired tests.

Shares are over all ratings of a condition. A listener's ratings go together,
so each share counts as of fewer ratings than there are, by how much listeners
differ (Kish's effective sample size), in Wilson's interval (1927): Dean &
Pagano (2015). With one rating of each listener that is Wilson's interval
itself. It is about listeners such as these, and about these pieces.

Conditions are compared in pairs, within each listener: Wilcoxon's signed-rank
test (1945) of the listeners' means, with Holm's correction (1979) for the
number of pairs.
"""

import base64
import dataclasses
import html
import io
import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from keras_pianogen.judging.comparison import holm
from keras_pianogen.listening.ratings import QUALITIES
from keras_pianogen.listening.ratings import SCORES
from keras_pianogen.listening.ratings import Ratings

LEVEL = 0.05
EXACT = 50  # listeners; beyond them the normal distribution is near enough
ANSWERS = (*QUALITIES, "inspiring")


@dataclasses.dataclass(frozen=True)
class Share:
    """How often an answer was given.

    Args:
        count: ratings with that answer.
        ratings: all ratings of the condition.
        low: lower end of the 95 % interval of the share.
        high: its upper end.
    """

    count: int
    ratings: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """0 to 1."""
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
        p_value: of Wilcoxon's signed-rank test, corrected after Holm.
    """

    first: str
    second: str
    difference: float
    p_value: float

    @property
    def differ(self) -> bool:
        """Whether the difference is more than chance would make."""
        return self.p_value < LEVEL


@dataclasses.dataclass(frozen=True)
class Report:
    """What a listening test found.

    Args:
        listeners: how many took part.
        simulated: whether they are not people.
        shares: for each condition, for each of `ANSWERS`, a `Share`.
        quality: pairs of conditions, compared by quality.
        inspiring: the same, by how often they were found inspiring.
    """

    listeners: int
    simulated: bool
    shares: dict[str, dict[str, Share]]
    quality: list[Pair]
    inspiring: list[Pair]

    @property
    def panel(self) -> str:
        """Who took part, such as `"20 simulated listeners"`."""
        return f"{self.listeners} {'simulated ' * self.simulated}listeners"

    def tables(self) -> tuple[list[list[str]], list[list[str]]]:
        """Shares, and pairs, as text: rows of two tables, each after its head.

        A star says that a pair differs by more than chance would make.
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
        """What Jupyter shows: both tables, and the bars."""
        from keras_pianogen.listening.picture import draw_report

        file = io.BytesIO()
        draw_report(self).savefig(file, format="png")
        picture = base64.b64encode(file.getvalue()).decode()
        return (
            f"<p>{self.panel}; * p below {LEVEL}</p>"
            + "".join(map(_html_table, self.tables()))
            + f'<img alt="Shares" src="data:image/png;base64,{picture}"/>'
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        values = dataclasses.asdict(self)
        for condition, shares in self.shares.items():
            for answer, share in shares.items():
                values["shares"][condition][answer]["share"] = share.share
        return values


def _html_table(rows: list[list[str]]) -> str:
    cells = [[html.escape(cell) for cell in row] for row in rows]
    head, *body = cells
    return (
        f"<table><tr><th>{'</th><th>'.join(head)}</th></tr>"
        + "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in body)
        + "</table>"
    )


def report(ratings: Ratings) -> Report:
    """Counts what listeners said, and compares the conditions.

    Args:
        ratings: a `Ratings` of two listeners or more.

    Raises:
        ValueError: there is only one.
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
    """Counts an answer, with the interval of its share.

    Args:
        said: bool array (listeners, items), of two listeners or more.

    Examples:
        >>> share = count(np.eye(10, dtype=bool)[:, :5])
        >>> share.count, share.ratings, share.share
        (5, 50, 0.1)
    """
    listeners, items = said.shape
    share = float(said.mean())
    variance = float(said.mean(axis=1).var()) / listeners
    # Where nobody, or everybody, said so, nothing tells how listeners differ:
    # each counts as one. Ratings never count as more than they are.
    size = float(listeners)
    if 0 < share < 1:
        of_one = share * (1 - share)
        size = min(said.size, of_one / max(variance, of_one / said.size))
    low, high = wilson(share, size)
    return Share(int(said.sum()), said.size, low, high)


def wilson(
    share: float, size: float, z: float = 1.959964
) -> tuple[float, float]:
    """Wilson's interval of a share, for a size that needn't be whole.

    Args:
        share: 0 to 1.
        size: of how many, more than 0.
        z: quantile of its distribution; by default for 95 %.

    Examples:
        >>> [round(x, 2) for x in wilson(0.5, 10)]  # the paper's 5 of 10
        [0.24, 0.76]
    """
    spread = z * z / size
    middle = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread * spread / 4)
    half /= 1 + spread
    return max(0.0, middle - half), min(1.0, middle + half)


def compare_pairs(means: dict[str, NDArray[np.float64]]) -> list[Pair]:
    """Compares every two conditions within each listener.

    Args:
        means: for each condition each listener's mean, arrays (listeners,).
    """
    differences = {
        (a, b): means[a] - means[b] for a, b in itertools.combinations(means, 2)
    }
    p_values = {pair: _signed_rank(d) for pair, d in differences.items()}
    names = {f"{place}": pair for place, pair in enumerate(p_values)}
    corrected = holm({name: p_values[pair] for name, pair in names.items()})
    return [
        Pair(*pair, float(differences[pair].mean()), corrected[name])
        for name, pair in names.items()
    ]


def _signed_rank(differences: NDArray[np.float64]) -> float:
    """P-value of Wilcoxon's test, two-sided; exact up to fifty listeners.

    Zeros keep their ranks (Pratt, 1959): who hears no difference counts.
    SciPy's exact test lists all signs where there are ties, as there are here;
    the sums of ranks are counted instead.
    """
    # What differs by rounding alone is a tie.
    differences = np.round(differences, 9)
    if not differences.any():
        return 1.0
    if len(differences) > EXACT:
        return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)
    # Ranks of ties end in halves: twice them are whole.
    ranks = np.rint(2 * stats.rankdata(np.abs(differences))).astype(int)
    ranks, positive = ranks[differences != 0], differences[differences != 0] > 0
    chances = np.ones(1)  # of each sum of the positive ranks
    for rank in ranks:
        chances = np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))
        chances /= 2
    middle = ranks.sum() / 2
    away = np.abs(np.arange(len(chances)) - middle)
    observed = abs(ranks[positive].sum() - middle)
    return float(min(1.0, chances[away >= observed - 1e-9].sum()))
