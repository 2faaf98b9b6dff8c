# mypy: allow-untyped-defs, allow-incomplete-defs
"""Likelihoods of a corpus's split, each event predicted once.

Only nats per note and per second compare across vocabularies.
"""

import dataclasses
import functools
import math

import numpy as np

from keras_pianogen.data.windows import EvaluationWindows
from keras_pianogen.data.windows import Windows
from keras_pianogen.data.windows import check_least
from keras_pianogen.judging.dynamic import DynamicScorer
from keras_pianogen.judging.excerpts import evenly
from keras_pianogen.judging.ngram import NGram
from keras_pianogen.judging.scoring import ModelScorer
from keras_pianogen.judging.scoring import NGramScorer
from keras_pianogen.judging.scoring import TransposingScorer
from keras_pianogen.judging.statistics import resampled_interval
from keras_pianogen.notices.hints import hinted

# Windows of the train split whose gradients dynamic evaluation reads.
WINDOWS_OF_ROOTS = 64


@dataclasses.dataclass(frozen=True)
class PieceLikelihood:
    """How well a model predicts one piece.

    Args:
        path: the piece's MIDI file, relative to the source's folder.
        composer: the composer's name, or `""`.
        nats: sum of -ln(probability) over events.
        hits: number of events that were the most likely one, or `None` if
            they were not counted.
        num_events: number of events, the end among them.
        num_notes: number of notes of the piece.
        seconds: length of the piece.
    """

    path: str
    composer: str
    nats: float
    hits: float | None
    num_events: int
    num_notes: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """How well a model predicts a split.

    Args:
        nats_per_event: mean of -ln(probability) over events.
        nats_per_note: sum of -ln(probability), over the number of notes.
        nats_per_second: sum of -ln(probability), over the seconds of music.
        accuracy: share of events that were the most likely one, 0 to 1, or
            `None` if they were not counted.
        num_events: number of events, the ends of pieces among them.
        num_pieces: number of pieces.
        context: the least number of events that an event was predicted from,
            apart from events near the beginning of a piece.
        full_coverage: whether every event of the split was predicted.
        num_parameters: number of the model's parameters; of n-grams, the
            number of counts that are kept.
        pieces: a `PieceLikelihood` for each piece where every event was
            predicted; otherwise none.
    """

    nats_per_event: float
    nats_per_note: float
    nats_per_second: float
    accuracy: float | None
    num_events: int
    num_pieces: int
    context: int
    full_coverage: bool
    num_parameters: int
    pieces: tuple[PieceLikelihood, ...] = ()

    @property
    def perplexity(self):
        return math.exp(self.nats_per_event)

    @property
    def intervals(self):
        """95 % intervals over pieces, a dict from a likelihood to a pair.

        The range in which `nats_per_event`, `nats_per_note` and
        `nats_per_second` would lie for other pieces of the same kind, by
        resampling the pieces 2,000 times. Empty with fewer than two pieces.
        """
        if len(self.pieces) < 2:
            return {}
        nats = [piece.nats for piece in self.pieces]
        return {
            f"nats_per_{unit}": resampled_interval(
                nats, [getattr(piece, counts) for piece in self.pieces]
            )
            for unit, counts in (
                ("event", "num_events"),
                ("note", "num_notes"),
                ("second", "seconds"),
            )
        }

    def by_composer(self):
        """A dict from composer to `Likelihood`, the most likely first."""
        return self._by("composer")

    def by_piece(self):
        """A dict from path to `Likelihood`, the most likely piece first."""
        return self._by("path")

    def _by(self, name):
        groups: dict = {}
        for piece in self.pieces:
            groups.setdefault(getattr(piece, name), []).append(piece)
        found = {
            part: _pool(pieces, self.context, self.num_parameters)
            for part, pieces in groups.items()
        }
        return dict(sorted(found.items(), key=lambda x: x[1].nats_per_event))


def evaluate(
    model,
    corpus,
    split="validation",
    *,
    batch_size=8,
    sequence_length=None,
    stride=None,
    max_events=None,
    transpositions=(0,),
    dynamic=None,
    pieces=None,
    progress=None,
):
    """The likelihood of a split under a model.

    Every event of the split is predicted once, from at least
    `sequence_length - stride` events before it.

    Args:
        model: a `MusicTransformerCausalLM` or a baseline.
        corpus: a `keras_pianogen.Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        batch_size: int. Number of windows in a batch.
        sequence_length: int. Number of events in a window. Defaults to the
            backbone's `max_sequence_length`.
        stride: int. New events in each later window. Defaults to half of
            `sequence_length`.
        max_events: int. If given, about this many events, taken evenly from
            the split, are predicted instead of all.
        transpositions: semitones. An event's probability is the mean of its
            probabilities in the piece transposed by each of them: augmentation
            at test time. Those that would leave the piano are left out.
        dynamic: float above 0. Learning rate with which the weights follow
            each piece: every window is predicted, then learned from, see
            `dynamic`. `batch_size` makes no difference then. Defaults to
            `None`, the weights stay.
        pieces: int. If given, only this many pieces are read, evenly from the
            split.
        progress: a function called with (pieces done, pieces in all); with
            `max_events`, with batches.

    Returns:
        A `Likelihood`.

    Raises:
        ValueError: if the split has no pieces, the model has no preprocessor
            or other metrics than its own, with more than one of `max_events`,
            `transpositions` and `dynamic`, if `transpositions` lacks 0,
            `dynamic` isn't above 0, or `pieces` is below 1.
    """
    if model.preprocessor is None:
        raise ValueError(
            "`model` must have a `preprocessor`, whose vocabulary the split "
            "is encoded in. Received: preprocessor=None"
        )
    check_split(corpus, split)
    windows_in = functools.partial(
        model.preprocessor.form.evaluation_windows,
        corpus,
        sequence_length=sequence_length or model.backbone.max_sequence_length,
        stride=stride,
        batch_size=batch_size if dynamic is None else 1,
    )
    scorer = _scorer(
        model,
        corpus,
        windows_in,
        transpositions=tuple(transpositions),
        dynamic=dynamic,
        max_events=max_events,
    )
    windows_of = functools.partial(windows_in, split)
    if pieces is not None:
        check_least(1, pieces=pieces)
        indices = evenly(corpus, split, pieces)
    else:
        indices = corpus.split(split)
    return _evaluate(scorer, windows_of, indices, max_events, progress)


def _scorer(model, corpus, windows_in, **ways):
    """The scorer of a model.

    Args:
        model: see `evaluate`.
        corpus: see `evaluate`.
        windows_in: a function of a split and `pieces`, see `_evaluate`.
        **ways: `transpositions`, `dynamic` and `max_events`, see `evaluate`.
    """
    transpositions, dynamic = ways["transpositions"], ways["dynamic"]
    if 0 not in transpositions:
        raise ValueError(
            "`transpositions` must hold 0. "
            f"Received: transpositions={transpositions}"
        )
    unused = {"transpositions": (0,), "dynamic": None, "max_events": None}
    given = {name: x for name, x in ways.items() if x != unused[name]}
    if len(given) > 1:
        raise ValueError(
            "At most one of `transpositions`, `dynamic` and `max_events` can "
            f"be given. Received: {given}"
        )
    if dynamic is not None:
        check_split(corpus, "train")
        chosen = evenly(corpus, "train", WINDOWS_OF_ROOTS)
        windows = windows_in("train", pieces=chosen)
        count = min(WINDOWS_OF_ROOTS, len(windows))
        return DynamicScorer(model, _Evenly(windows, count), dynamic)
    if transpositions != (0,):
        return TransposingScorer(model, transpositions)
    return ModelScorer(model)


def evaluate_ngram(
    corpus,
    split="validation",
    *,
    order,
    vocabulary,
    batch_size=8,
    sequence_length=1024,
    stride=None,
    max_events=None,
    progress=None,
):
    """The likelihood of a split under n-grams of the training split.

    The same events are predicted as by `evaluate` with the same settings,
    the ends of pieces among them.

    Args:
        corpus: a `keras_pianogen.Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        order: int, 1 to 6. Number of events in an n-gram.
        vocabulary: an `EventVocabulary`.
        batch_size: int. See `evaluate`, also for the next four.
        sequence_length: int. Number of events in a window.
        stride: int. New events in each later window.
        max_events: int. If given, about this many events are predicted.
        progress: a function.

    Returns:
        A `Likelihood`, without `accuracy`.

    Raises:
        ValueError: if the split or the training split has no pieces.
    """
    for name in ("train", split):
        check_split(corpus, name)
    model = NGram(order, len(vocabulary))
    model.fit(
        np.r_[
            vocabulary.start_id,
            vocabulary.encode(corpus.notes(index)),
            vocabulary.end_id,
        ]
        for index in corpus.split("train")
    )
    windows_of = functools.partial(
        EvaluationWindows,
        corpus,
        split,
        vocabulary=vocabulary,
        sequence_length=sequence_length,
        stride=stride,
        batch_size=batch_size,
    )
    scorer, indices = NGramScorer(model), corpus.split(split)
    return _evaluate(scorer, windows_of, indices, max_events, progress)


def check_split(corpus, split):
    """Raises an error if a split has no pieces, and names splits that have.

    Raises:
        ValueError: if there are none.
    """
    if not len(corpus.split(split)):
        held = ", ".join(
            f"{row['split']} ({row['pieces']})"
            for row in corpus.summary()
            if row["pieces"] and row["split"] != "all"
        )
        raise hinted(
            ValueError(
                f"The split {split!r} must have pieces. Received: "
                f"{corpus.folder}, whose pieces are in {held}"
            ),
            "--split chooses another. A corpus of three files or more has "
            "pieces in each split.",
        )


def _evaluate(scorer, windows_of, indices, max_events, progress):
    """A split's likelihood, of all events or of about `max_events`.

    Args:
        scorer: see `scoring`.
        windows_of: a function of `pieces`, an index or an array of indices,
            that returns the windows of these pieces. It decides on the form
            of music.
        indices: in the corpus, of the pieces to read.
        max_events: int or `None`.
        progress: a function or `None`.
    """
    windows = windows_of(pieces=indices)
    context = min(scorer.reach, windows.sequence_length - windows.stride)
    if max_events is not None and max_events < windows.num_events:
        return _of_part(scorer, windows, max_events, context, progress)
    pieces, total = [], len(windows.corpus.split(windows.split))
    for index in indices:
        windows = windows_of(pieces=index)
        pieces.append(_of_piece(scorer, windows, windows.corpus.pieces[index]))
        if progress is not None:
            progress(len(pieces), len(indices))
    figures = _pool(pieces, context, scorer.num_parameters)
    is_whole = len(pieces) == total
    return dataclasses.replace(figures, full_coverage=is_whole)


class _Evenly(Windows):
    """Some of the batches of windows, taken evenly from all of them."""

    def __init__(self, windows, count):
        super().__init__()
        self.windows = windows
        self.unit = windows.unit
        self.count = count
        self.num_events = int(sum(self[i][2].sum() for i in range(count)))

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.windows[index * len(self.windows) // self.count]


def _of_part(scorer, windows, max_events, context, progress):
    """The likelihood of about `max_events` of the events in windows."""
    count = round(len(windows) * max_events / windows.num_events)
    part = _Evenly(windows, max(1, count))
    score = scorer.score(part, progress)
    mean = score.nats / part.num_events
    return Likelihood(
        nats_per_event=mean,
        nats_per_note=mean * windows.num_events / windows.num_notes,
        nats_per_second=mean * windows.num_events / windows.seconds,
        accuracy=None if score.hits is None else score.hits / part.num_events,
        num_events=part.num_events,
        num_pieces=len(windows.corpus.split(windows.split)),
        context=context,
        full_coverage=False,
        num_parameters=scorer.num_parameters,
    )


def _of_piece(scorer, windows, piece):
    score = scorer.score(windows)
    return PieceLikelihood(
        path=piece.path,
        composer=piece.composer,
        nats=float(score.nats),
        hits=score.hits,
        num_events=windows.num_events,
        num_notes=piece.num_notes,
        seconds=piece.seconds,
    )


def _pool(pieces, context, num_parameters):
    """The likelihoods of several pieces as one."""
    nats, num_events, num_notes, seconds = (
        sum(getattr(piece, name) for piece in pieces)
        for name in ("nats", "num_events", "num_notes", "seconds")
    )
    hits = [piece.hits for piece in pieces]
    return Likelihood(
        nats_per_event=nats / num_events,
        nats_per_note=nats / num_notes,
        nats_per_second=nats / seconds,
        accuracy=None if None in hits else sum(hits) / num_events,
        num_events=num_events,
        num_pieces=len(pieces),
        context=context,
        full_coverage=True,
        num_parameters=num_parameters,
        pieces=tuple(pieces),
    )
