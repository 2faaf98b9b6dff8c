# mypy: allow-untyped-defs
"""How near performances of scores come to a pianist's, in three respects.

The score is the deadpan twin of a real performance (see `data.scores`), so the
pianist's own version of each note is known. Compared are, over the notes of a
piece:

- loudness: velocities, less their mean;
- timing: logarithms of the time between chords, over the score's;
- articulation: logarithms of durations, over the score's.

A performance is further from the pianist's, the further their distributions
lie apart (Wasserstein's distance): those of the values, and those of the
differences from one note or chord to the next, in which music shows that it is
not noise. Beside the model stand the score itself and noise: the pianist's
own means and spreads over all pieces, drawn anew for each note. Likelihood
would be no measure: models rate flat playing above pianists'.
"""

import collections
import dataclasses

import numpy as np
from scipy import stats

from keras_pianogen.data.scores import chords
from keras_pianogen.data.scores import deadpan
from keras_pianogen.data.windows import check_least
from keras_pianogen.generation.draws import seeds_from
from keras_pianogen.judging.excerpts import evenly
from keras_pianogen.judging.likelihood import check_split
from keras_pianogen.judging.statistics import resampled_interval
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import cut_overlaps

PLAYERS = ("model", "score", "noise")
ASPECTS = ("loudness", "timing", "articulation")
FLAT_VELOCITY = 64
SECONDS = 30.0  # of each piece
LEAST_NOTES = 30  # in them


@dataclasses.dataclass(frozen=True)
class Nearness:
    """Distances from pianists.

    Attributes:
        distances: dict from each of `PLAYERS` to dicts from aspects to arrays
            (pieces,).
        kept: share of the notes of the scores that were performed.
    """

    distances: dict
    kept: float

    def mean(self, player, aspect):
        """The mean distance, and its 95 % interval over pieces."""
        values = self.distances[player][aspect]
        interval = resampled_interval(values, np.ones(len(values)))
        return float(values.mean()), interval


@dataclasses.dataclass(frozen=True)
class _Version:
    """One version of the notes of a score, in the score's order."""

    velocity: np.ndarray
    starts: np.ndarray
    lasts: np.ndarray

    def aspects(self, chord, onsets, lengths):
        """The values of each aspect.

        Args:
            chord: the number of each note's chord.
            onsets: when each note begins in the score.
            lengths: how long it lasts there.
        """
        first = np.flatnonzero(np.diff(chord, prepend=-1))
        began = np.minimum.reduceat(self.starts, first)
        between = np.maximum(np.diff(began), 0.005)
        timing = np.log(between / np.diff(onsets[first]))
        lasts = np.maximum(self.lasts, 0.01)
        return {
            "loudness": self.velocity - self.velocity.mean(),
            "timing": timing,
            "articulation": np.log(lasts / lengths),
        }


def evaluate_performing(
    model, corpus, split="validation", *, pieces=40, seed=0, progress=None
):
    """Perform the deadpan twins of real performances, and compare.

    Args:
        model: a `NoteTransformerCausalLM` that performs scores.
        corpus: a `Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        pieces: int. How many pieces are taken, evenly from the split; of each
            30 seconds from its middle.
        seed: int.
        progress: a function called with (pieces done, pieces in all).

    Returns:
        A `Nearness`.

    Raises:
        ValueError: if the model performs no scores, or the split has no
            pieces.
    """
    check_least(1, pieces=pieces)
    check_split(corpus, split)
    if not getattr(model.backbone, "performing", False):
        raise ValueError(
            "`model` must be one that performs scores, such as one of "
            f"`pianogen train --performing 0.3`. Received: a "
            f"{type(model).__name__} that performs none"
        )
    chosen = evenly(corpus, split, pieces)
    form = model.backbone.form
    found, kept, notes_in_all = [], 0, 0
    for done, (index, of_piece) in enumerate(
        zip(chosen, seeds_from(seed, len(chosen)), strict=True)
    ):
        real = _middle(corpus.notes(index))
        if len(real) > LEAST_NOTES:
            one = _of_piece(model, form, real, of_piece)
            found.append(one)
            kept += one["kept"]
            notes_in_all += len(real)
        if progress is not None:
            progress(done + 1, len(chosen))
    if not found:
        raise ValueError(
            f"The {split} split must have pieces with over {LEAST_NOTES} notes "
            f"in {SECONDS:g} seconds. Received: none"
        )
    return Nearness(_distances(found, seed), kept / notes_in_all)


def _distances(found, seed):
    """How far each player is from the pianist in each piece, by aspect.

    Args:
        found: list of what `_of_piece` returned.
        seed: int. Seed of the noise, which is as wide as all pianists are.
    """
    spreads = _spreads([one["human"] for one in found])
    rng = np.random.default_rng(seed)
    rows: dict = {name: [] for name in PLAYERS}
    for one in found:
        human = one["human"]
        noise = {
            x: mean + spread * rng.standard_normal(len(human[x]))
            for x, (mean, spread) in spreads.items()
        }
        noise["loudness"] -= noise["loudness"].mean()
        values = one | {"noise": noise}
        for name in PLAYERS:
            rows[name].append(
                {x: _distance(values[name][x], human[x]) for x in ASPECTS}
            )
    return {
        name: {x: np.array([row[x] for row in of_player]) for x in ASPECTS}
        for name, of_player in rows.items()
    }


def _of_piece(model, form, real, seed):
    """The values of the pianist, the model and the score, and notes kept."""
    starts = form.to_ticks(real["start"])
    lasts = form.to_ticks(cut_overlaps(real) - real["start"])
    rng = np.random.default_rng(seed)
    begins, lengths = deadpan(form, starts, lasts, rng)
    step = form.time_step
    score = np.empty(len(real), NOTE_DTYPE)
    score["start"], score["pitch"] = begins * step, real["pitch"]
    score["end"] = score["start"] + lengths * step
    score["velocity"] = FLAT_VELOCITY
    made = model.perform(score, seed=seed)
    pitches = [collections.Counter(x["pitch"].tolist()) for x in (score, made)]
    kept = (pitches[0] & pitches[1]).total()
    # The order of a score: by chord, then by pitch.
    chord = chords(begins, 0)
    order = np.lexsort((real["pitch"], chord))
    of_made = _in_order_of(score[order], made)
    args = chord[order], begins[order] * step, lengths[order] * step

    def values(notes):
        notes = _Version(
            notes["velocity"].astype(float),
            notes["start"],
            notes["end"] - notes["start"],
        )
        return notes.aspects(*args)

    return {
        "human": values(real[order]),
        "score": values(score[order]),
        "model": values(of_made),
        "kept": kept,
    }


def _in_order_of(score, made):
    """Performed notes in the order of their score.

    The notes of one key are performed in the order of the score.
    """
    found = np.empty_like(made)
    for pitch in np.unique(score["pitch"]):
        found[score["pitch"] == pitch] = made[made["pitch"] == pitch]
    return found


def _middle(notes):
    begin = max(float(notes["start"][-1]) / 2 - SECONDS / 2, 0.0)
    inside = (notes["start"] >= begin) & (notes["start"] < begin + SECONDS)
    part = notes[inside].copy()
    part["start"] -= begin
    part["end"] -= begin
    return part


def _spreads(human):
    """Mean and standard deviation of each aspect over all pieces."""
    together = {x: np.concatenate([one[x] for one in human]) for x in ASPECTS}
    return {x: (v.mean(), v.std()) for x, v in together.items()}


def _distance(values, human):
    """Wasserstein's distances of values and of changes, over the spread."""
    spread = max(human.std(), 1e-6)
    alone = stats.wasserstein_distance(values, human)
    changes = stats.wasserstein_distance(np.diff(values), np.diff(human))
    return (alone + changes) / (2 * spread)
