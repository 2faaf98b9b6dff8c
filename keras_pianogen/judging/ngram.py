"""N-grams of events, a baseline that only counts.

They are interpolated with each shorter history after Witten and Bell (1991,
method C). NumPy alone.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from numpy.typing import NDArray

LONGEST = 6  # ids that fit into one 64-bit number, if there are 1,024 ids


class _Counts(NamedTuple):
    """Counts of the events after histories of one length.

    Attributes:
        grams: sorted codes of n-grams, a history and an event, (grams,).
        counts: the number of times that each n-gram occurs, (grams,).
        histories: sorted codes of histories, (histories,).
        totals: the number of events after each history, (histories,).
        kinds: the number of different events among them, (histories,).
    """

    grams: NDArray[np.int64]
    counts: NDArray[np.int64]
    histories: NDArray[np.int64]
    totals: NDArray[np.int64]
    kinds: NDArray[np.int64]


class NGram:
    r"""Probabilities of events, estimated by counting.

    With $c$ for counts, $T(h)$ for the number of different events after the
    history $h$, and $h'$ for $h$ without its oldest event,

    $$P(e \mid h) = \frac{c(h e) + T(h)\,P(e \mid h')}{c(h) + T(h)}$$

    and where even the history of no events is taken away, all events have
    the same probability.

    Args:
        order: number of events in an n-gram, 1 to 6; `order - 1` of them are
            the history.
        vocabulary_size: number of ids, 1 to 1,024.

    Examples:
        >>> model = NGram(order=2, vocabulary_size=3)
        >>> model.fit([[0, 1, 0, 1, 0]])
        >>> model.nats([0, 1]).round(3).tolist()
        [0.205]

    Reference:
        - [Chen and Goodman (1998), An Empirical Study of Smoothing Techniques
          for Language Modeling](https://arxiv.org/abs/cmp-lg/9606011),
          section 2.5
    """

    def __init__(self, order: int, vocabulary_size: int):
        if not 1 <= order <= LONGEST:
            raise ValueError(
                f"`order` must be 1 to {LONGEST}. Received: order={order}"
            )
        if not 1 <= vocabulary_size <= 2**10:
            raise ValueError(
                "`vocabulary_size` must be 1 to 1,024. "
                f"Received: vocabulary_size={vocabulary_size}"
            )
        self.order = order
        self.vocabulary_size = vocabulary_size
        self.levels: list[_Counts] = []

    @property
    def num_parameters(self) -> int:
        """Number of counts that are kept."""
        return sum(len(level.grams) for level in self.levels)

    def fit(self, sequences: Iterable[ArrayLike]) -> None:
        """Counts all n-grams of sequences of ids.

        The first id of a sequence, such as a start id, is never counted as an
        event, only as part of a history.

        Args:
            sequences: arrays of ids, one for each piece.
        """
        pieces = [self._checked(ids) for ids in sequences]
        self.levels = []
        for length in range(1, self.order + 1):
            codes = [self._codes(ids, length) for ids in pieces]
            grams, counts = np.unique(
                np.concatenate([*codes, np.empty(0, np.int64)]),
                return_counts=True,
            )
            histories, first = np.unique(
                grams // self.vocabulary_size, return_index=True
            )
            self.levels.append(
                _Counts(
                    grams,
                    counts,
                    histories,
                    np.add.reduceat(counts, first) if len(first) else counts,
                    np.diff(np.append(first, len(grams))),
                )
            )

    def nats(self, ids: ArrayLike) -> NDArray[np.float64]:
        """-ln(probability) of every id of a sequence but the first.

        Args:
            ids: array of shape (time,).

        Returns:
            An array of shape (time - 1,).
        """
        ids = self._checked(ids)
        chances = np.full(max(len(ids) - 1, 0), 1 / self.vocabulary_size)
        for length, level in enumerate(self.levels, 1):
            # The first events of a piece have no history of this length.
            late = slice(max(length - 2, 0), None)
            codes = self._codes(ids, length)
            seen = _look_up(level.grams, level.counts, codes)
            history = codes // self.vocabulary_size
            total = _look_up(level.histories, level.totals, history)
            kinds = _look_up(level.histories, level.kinds, history)
            shorter = chances[late]
            chances[late] = np.where(
                total > 0,
                (seen + kinds * shorter) / np.maximum(total + kinds, 1),
                shorter,
            )
        return -np.log(chances)

    def _codes(self, ids: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """Each n-gram of `length` ids as one number.

        The first id by itself is left out, because it is never predicted.
        """
        count = len(ids) - length + 1
        codes = np.zeros(max(count, 0), np.int64)
        for place in range(length):
            codes *= self.vocabulary_size
            codes += ids[place : place + len(codes)]
        return codes[1:] if length == 1 else codes

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        found = np.asarray(ids)
        if found.ndim != 1 or found.size and not (
            found.dtype.kind in "iu"
            and 0 <= found.min()
            and found.max() < self.vocabulary_size
        ):  # fmt: skip
            raise ValueError(
                "Ids must be integers from 0 to "
                f"{self.vocabulary_size - 1}, an array of one dimension. "
                f"Received: {found.dtype} of shape {found.shape}"
            )
        return found.astype(np.int64)


def _look_up(
    keys: NDArray[np.int64],
    values: NDArray[np.int64],
    wanted: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Value of each wanted key, or 0 where it is absent. Keys are sorted."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    places = np.searchsorted(keys, wanted)
    places = np.minimum(places, len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)
