# mypy: allow-untyped-defs
"""How much fillings of gaps have in common with what stood there.

Beside the filling of a gap stand what a model writes that knows only what was
before ("continuation", cut at the gap's end), and the real music just before
the gap ("before").
"""

import dataclasses

import numpy as np

from keras_pianogen.data.windows import check_least
from keras_pianogen.generation.draws import seeds_from
from keras_pianogen.judging.distances import overlapping_area
from keras_pianogen.judging.excerpts import evenly
from keras_pianogen.judging.likelihood import check_split
from keras_pianogen.judging.statistics import resampled_interval

PLAYERS = ("filling", "continuation", "before")
LEAST_NOTES = 5  # of the true middle
REACH = 120.0  # seconds; no model reads further back than that


@dataclasses.dataclass(frozen=True)
class Fillings:
    """What fillings have in common with the true middles of gaps.

    Attributes:
        overlap: dict from each of `PLAYERS` to an array (gaps,): the area that
            the shares of the twelve pitch classes have in common, 0 to 1.
        density: dict from each of `PLAYERS` to an array (gaps,): its number of
            notes in the gap.
        true: array (gaps,), the number of notes that stood there.
    """

    overlap: dict
    density: dict
    true: np.ndarray

    def mean_overlap(self, player):
        """The mean overlap, and its 95 % interval."""
        values = self.overlap[player]
        interval = resampled_interval(values, np.ones(len(values)))
        return float(values.mean()), interval

    def density_ratio(self, player):
        """Notes of all gaps over those that stood there, and its interval."""
        notes = self.density[player]
        interval = resampled_interval(notes, self.true)
        return float(notes.sum() / self.true.sum()), interval


def evaluate_fillings(
    model,
    corpus,
    split="validation",
    *,
    pieces=40,
    seconds=8.0,
    seed=0,
    progress=None,
):
    """Fill a gap in the middle of pieces, and compare.

    Args:
        model: a `NoteTransformerCausalLM` that fills gaps.
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        pieces: int. How many pieces are taken, evenly from the split.
        seconds: float. Length of each gap.
        seed: int.
        progress: a function called with (pieces done, pieces in all).

    Returns:
        A `Fillings`.

    Raises:
        ValueError: if the model fills no gaps, or the split has no pieces.
    """
    check_least(1, pieces=pieces)
    check_split(corpus, split)
    _check_fills(model)
    chosen = evenly(corpus, split, pieces)
    gaps = []
    for done, (index, of_piece) in enumerate(
        zip(chosen, seeds_from(seed, len(chosen)), strict=True)
    ):
        found = _of_piece(model, corpus.notes(index), seconds, of_piece)
        if found is not None:
            gaps.append(found)
        if progress is not None:
            progress(done + 1, len(chosen))
    if not gaps:
        raise ValueError(
            f"The {split} split must have pieces of {2 * seconds:g} seconds or "
            f"more with {LEAST_NOTES} notes in their middle. Received: none"
        )
    return _compared(gaps)


def _check_fills(model):
    if not getattr(model.backbone, "infilling", False):
        raise ValueError(
            "`model` must be one that fills gaps, such as one of `pianogen "
            f"train --infilling 0.5`. Received: a {type(model).__name__} that "
            "fills none"
        )


def _compared(gaps):
    """The `Fillings` of dicts that `_of_piece` made, one for each gap."""
    overlap, density = {}, {}
    for player in PLAYERS:
        overlap[player] = np.array(
            [
                overlapping_area(_classes(gap[player]), _classes(gap["true"]))
                for gap in gaps
            ]
        )
        density[player] = np.array([len(gap[player]) for gap in gaps])
    true = np.array([len(gap["true"]) for gap in gaps])
    return Fillings(overlap, density, true)


def _of_piece(model, whole, seconds, seed):
    """The notes in the middle of a piece, and those of each player.

    A dict, or `None` if the piece is too short or its middle too empty.
    """
    begin = min(float(whole["start"][-1]) / 2, REACH)
    notes = _around(whole, seconds)
    middle = _between(notes, begin, begin + seconds)
    before = _between(notes, begin - seconds, begin)
    is_long = begin + seconds <= notes["end"].max()
    if len(middle) < LEAST_NOTES or not len(before) or not is_long:
        return None
    gap = model, notes, begin, seconds, seed
    return {
        "true": middle,
        "filling": _filled(*gap),
        "continuation": _continued(*gap),
        "before": before,
    }


def _around(notes, seconds):
    """The two minutes before the middle of a piece, and two after the gap."""
    middle = float(notes["start"][-1]) / 2
    first = max(middle - REACH, 0.0)
    part = _between(notes, first, middle + REACH + seconds).copy()
    part["start"] -= first
    part["end"] -= first
    return part


def _filled(model, notes, begin, seconds, seed):
    piece = model.infill(notes, begin, begin + seconds, seed=seed)
    return _between(piece, begin, begin + seconds)


def _continued(model, notes, begin, seconds, seed):
    piece = model.generate(
        notes, prompt_seconds=begin, seconds=seconds, seed=seed
    )
    return _between(piece, begin, begin + seconds)


def _between(notes, begin, end):
    return notes[(notes["start"] >= begin) & (notes["start"] < end)]


def _classes(notes):
    """Shares of the twelve pitch classes, (12,)."""
    counts = np.bincount(notes["pitch"] % 12, minlength=12)
    return counts / max(counts.sum(), 1)
