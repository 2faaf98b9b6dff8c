# mypy: allow-untyped-defs
"""Whether music has what was asked of it.

A scale is asked for at many values, and measured on what was written. A label
is asked for, and a classifier of real music says which label it hears: the
features of `features`, and a linear layer.
"""

import dataclasses

import keras
import numpy as np

from keras_pianogen.data.controls import labels_of
from keras_pianogen.data.scales import SCALES
from keras_pianogen.data.scales import overall
from keras_pianogen.data.windows import check_least
from keras_pianogen.generation.draws import seeds_from
from keras_pianogen.judging.features import cut
from keras_pianogen.judging.features import draw_begin
from keras_pianogen.judging.features import measure
from keras_pianogen.judging.statistics import wilson

# Excerpts of a real piece that the classifier learns from, or is tested on.
EXCERPTS = 8
EPOCHS = 60
AT_ONCE = 10  # pieces of one value


@dataclasses.dataclass(frozen=True)
class Obtained:
    """What was asked of some pieces, and what they have.

    Attributes:
        name: the scale that was asked for.
        asked: array (pieces,), the values that were asked for.
        found: dict of arrays (pieces,), the values of all scales.
    """

    name: str
    asked: np.ndarray
    found: dict

    @property
    def correlation(self):
        """Pearson's r of asked and obtained, and its 95 % interval."""
        r = self._correlation(self.name)
        # Fisher's transformation.
        spread = 1.959964 / np.sqrt(max(len(self.asked) - 3, 1))
        low, high = np.tanh(np.arctanh(r) + spread * np.array([-1, 1]))
        return r, (float(low), float(high))

    @property
    def error(self):
        """The mean distance from what was asked."""
        return float(np.abs(self.found[self.name] - self.asked).mean())

    @property
    def drift(self):
        """Pearson's r of what was asked and each other scale, a dict."""
        return {x: self._correlation(x) for x in SCALES if x != self.name}

    def _correlation(self, name):
        return float(np.corrcoef(self.asked, self.found[name])[0, 1])


def evaluate_scale(
    model, name, *, pieces=200, seconds=20, guidance=1.0, seed=0, progress=None
):
    """Ask for a scale at many values, and measure what was written.

    The values lie in the middle of the scale's classes, from the second to
    the last but one: the music of the training split spends the same time at
    each.

    Args:
        model: a `NoteTransformerCausalLM` with this control.
        name: one of `SCALES`.
        pieces: int. Number of pieces in all, a few more or less.
        seconds: float. Length of each piece.
        guidance: see `Generates.generate`.
        seed: int.
        progress: a function called with (pieces done, pieces in all).

    Returns:
        An `Obtained`.

    Raises:
        ValueError: if the model has no such scale, or an argument is out of
            its range.
    """
    check_least(1, pieces=pieces)
    _check_has(model.controls.scales, name)
    edges = np.array(model.controls.scales[name])
    values = (edges[1:] + edges[:-1]) / 2
    count = max(round(pieces / len(values)), 1)
    asked, found, done = [], [], 0
    for value, of_value in zip(
        values, seeds_from(seed, len(values)), strict=True
    ):
        written = _write(
            model, {name: float(value)}, count, seconds, guidance, of_value
        )
        # Without notes, nothing is loud or high.
        written = [notes for notes in written if len(notes)]
        found += [overall(notes, seconds) for notes in written]
        asked += [value] * len(written)
        if progress is not None:
            done += count
            progress(done, count * len(values))
    columns = {x: np.array([row[x] for row in found]) for x in SCALES}
    return Obtained(name, np.array(asked), columns)


@dataclasses.dataclass(frozen=True)
class Told:
    """How often a classifier names the label that was asked for.

    Attributes:
        name: the label.
        values: its values, a tuple.
        right: int (values,), how many pieces of each were told right.
        pieces: int, how many pieces were written for each.
        real: share of excerpts of real music that were told right, each value
            with the same weight.
        num_real: how many excerpts of real music these are.
    """

    name: str
    values: tuple
    right: np.ndarray
    pieces: int
    real: float
    num_real: int

    @property
    def share(self):
        """Share of the pieces that were told right, and its 95 % interval."""
        size = self.pieces * len(self.values)
        share = float(self.right.sum() / size)
        return share, wilson(share, size)

    @property
    def chance(self):
        return 1 / len(self.values)


def evaluate_label(
    model,
    corpus,
    name,
    *,
    pieces=200,
    seconds=20,
    guidance=1.0,
    seed=0,
    progress=None,
):
    """Ask for each value of a label, and let a classifier tell which it was.

    The classifier learns from the training split, and is tested on the pieces
    of the other splits.

    Args:
        model: a `NoteTransformerCausalLM` with this control.
        corpus: a `Corpus` with this label.
        name: the label.
        pieces: see `evaluate_scale`, as all that follow.
        seconds: see there.
        guidance: see there.
        seed: see there.
        progress: see there.

    Returns:
        A `Told`.

    Raises:
        ValueError: if the model has no such label, or the corpus has no pieces
            with one of its values in the training split or outside it.
    """
    check_least(1, pieces=pieces)
    _check_has(model.controls.labels, name)
    values = model.controls.labels[name]
    train, others = (
        _excerpts(corpus, name, values, splits, seconds, seed)
        for splits in (("train",), ("validation", "test"))
    )
    classifier = _classifier(train, len(values), seed)
    rows, classes = others
    right = _told(classifier, rows) == classes
    of_value = [right[classes == i].mean() for i in np.unique(classes)]
    count = max(round(pieces / len(values)), 1)
    found = []
    seeds = seeds_from(seed, len(values))
    for i, value in enumerate(values):
        written = _write(
            model, {name: value}, count, seconds, guidance, seeds[i]
        )
        rows = [_row(notes) for notes in written if len(notes) > 1]
        hits = (_told(classifier, np.array(rows)) == i).sum() if rows else 0
        found.append(int(hits))
        if progress is not None:
            progress(count * (i + 1), count * len(values))
    return Told(
        name,
        values,
        np.array(found),
        count,
        float(np.mean(of_value)),
        len(right),
    )


def _check_has(known, name):
    if name not in known:
        raise ValueError(
            f"`name` must be one of {', '.join(known) or 'none'}, which the "
            f"model can be asked for. Received: name={name!r}"
        )


def _write(model, asked, count, seconds, guidance, seed):
    """Pieces with what is asked, a few at a time."""
    written = []
    seeds = seeds_from(seed, -(-count // AT_ONCE))
    for i, of_call in enumerate(seeds):
        written += model.generate(
            seconds=seconds,
            variations=min(AT_ONCE, count - i * AT_ONCE),
            guidance=guidance,
            seed=of_call,
            **asked,
        )
    return written


def _excerpts(corpus, name, values, splits, seconds, seed):
    """Features of excerpts of real music, and the class of each."""
    rows, classes = [], []
    for index, piece in enumerate(corpus.pieces):
        value = labels_of(piece).get(name)
        if piece.split not in splits or value not in values:
            continue
        notes = corpus.notes(index)
        for seed_of_one in seeds_from(seed + index, EXCERPTS):
            begin = draw_begin(notes, seconds, seed_of_one)
            excerpt = cut(notes, begin, seconds)
            if len(excerpt) > 1:
                rows.append(_row(excerpt))
                classes.append(values.index(value))
    if len(set(classes)) < 2:
        raise ValueError(
            f"The corpus must have pieces of two values of {name} or more "
            f"in its {' or '.join(splits)} split. "
            f"Received: {len(set(classes))}"
        )
    return np.array(rows), np.array(classes)


def _row(notes):
    """All histograms of an excerpt in a row; roots make small shares count."""
    return np.sqrt(np.concatenate(list(measure(notes).values())))


def _classifier(excerpts, count, seed):
    """A linear classifier in which each class has the same weight."""
    rows, classes = excerpts
    keras.utils.set_random_seed(seed)
    scale = keras.layers.Normalization()
    scale.adapt(rows)
    layers = [scale, keras.layers.Dropout(0.5), keras.layers.Dense(count)]
    classifier = keras.Sequential(layers)
    classifier.compile(
        keras.optimizers.AdamW(3e-3, weight_decay=0.05),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    sizes = np.bincount(classes, minlength=count)
    weights = len(classes) / (np.maximum(sizes, 1) * count)
    classifier.fit(
        rows,
        classes,
        sample_weight=weights[classes],
        batch_size=64,
        epochs=EPOCHS,
        verbose=0,
    )
    return classifier


def _told(classifier, rows):
    return classifier.predict(rows, verbose=0).argmax(axis=1)
