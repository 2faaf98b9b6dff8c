# mypy: allow-untyped-defs, allow-incomplete-defs
"""Likelihoods of a corpus's split, each event read once.

Only nats per note and per second compare across vocabularies.
"""

import dataclasses
import math

import keras
import numpy as np

from keras_pianogen.data.cutting import HIGHEST_PITCH
from keras_pianogen.data.cutting import LOWEST_PITCH
from keras_pianogen.data.windows import EvaluationWindows
from keras_pianogen.data.windows import Windows
from keras_pianogen.judging.ngram import NGram
from keras_pianogen.judging.statistics import resampled_interval


@dataclasses.dataclass(frozen=True)
class PieceLikelihood:
    """How well a model predicts one piece.

    Args:
        path: the piece's MIDI file, relative to the source's folder.
        composer: who wrote it, or `""`.
        nats: Sum of -ln(probability) over events.
        hits: Events that were the likeliest, or `None` if not looked for.
        num_events: Events read, the end among them.
        num_notes: Notes of the piece.
        seconds: Its length.
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
        nats_per_event: Mean of -ln(probability) over events.
        nats_per_note: Their sum over the number of notes.
        nats_per_second: Their sum over the seconds of music.
        accuracy: Share of events that were the likeliest, 0 to 1, or `None`
            if not looked for.
        num_events: Events read, the ends of pieces among them.
        num_pieces: Pieces they came from.
        context: Fewest events that each was predicted from, but for those
            at the beginning of a piece.
        full_coverage: Whether every event of the split was read.
        num_parameters: The model's; of n-grams, counts that are kept.
        pieces: a `PieceLikelihood` for each piece, where every event was
            read; otherwise none.
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
        """95 % intervals over pieces, a dict of a likelihood to a pair.

        What `nats_per_event`, `nats_per_note` and `nats_per_second` would be
        for other pieces of the same kind: the pieces are drawn anew 2,000
        times. Empty where fewer than two were read one by one.
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
        """A dict of composer to `Likelihood`, the likeliest music first."""
        return self._by("composer")

    def by_piece(self):
        """A dict of path to `Likelihood`, the likeliest piece first."""
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


class _Evenly(Windows):
    """Some of the batches of a data set, taken evenly from all of it."""

    def __init__(self, windows, count):
        super().__init__()
        self.windows = windows
        self.count = count
        self.num_events = int(sum(self[i][2].sum() for i in range(count)))

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.windows[index * len(self.windows) // self.count]


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
    progress=None,
):
    """The likelihood of a split under a model.

    Every event of the split is predicted once, from at least
    `sequence_length - stride` events before it.

    Args:
        model: a `MusicTransformerCausalLM` or a baseline.
        corpus: a `keras_pianogen.Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        batch_size: int. Windows read at once.
        sequence_length: int. Events of a window. Defaults to the backbone's
            `max_sequence_length`.
        stride: int. New events of each window. Defaults to half of it.
        max_events: int. Reads about that many events, taken evenly from the
            split, instead of all.
        transpositions: semitones. An event's probability is the mean of
            those that it has in the piece transposed by each of them, but
            for those that would leave the piano: augmentation at test time.
        progress: a function called with (pieces read, pieces in all); with
            `max_events`, with batches.

    Returns:
        A `Likelihood`.

    Raises:
        ValueError: if the split has no pieces, the model has no preprocessor
            or other metrics than its own, or with both `max_events` and
            `transpositions`.
    """
    if model.preprocessor is None:
        raise ValueError(
            "`model` must have a `preprocessor`, whose vocabulary the split "
            "is read in. Received: preprocessor=None"
        )
    transposed = tuple(transpositions) != (0,)
    if transposed and (max_events is not None or 0 not in transpositions):
        raise ValueError(
            "`transpositions` must hold 0, and goes without `max_events`. "
            f"Received: transpositions={tuple(transpositions)}, "
            f"max_events={max_events}"
        )
    sequence_length = sequence_length or model.backbone.max_sequence_length
    stride = stride or max(1, sequence_length // 2)

    def read(windows, index=None, progress=None):
        if not transposed:
            return _read(model, windows, progress)
        notes = corpus.notes(index)
        within = [t for t in transpositions if _is_on_piano(notes, t)]
        return _read_transposed(model, windows, within), None

    return _evaluate(
        read,
        corpus,
        split,
        max_events=max_events,
        progress=progress,
        context=sequence_length - stride,
        num_parameters=model.count_params(),
        vocabulary=model.preprocessor.tokenizer.vocabulary,
        sequence_length=sequence_length,
        stride=stride,
        batch_size=batch_size,
    )


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

    The same events are read as by `evaluate` with the same settings, ends of
    pieces too.

    Args:
        corpus: a `keras_pianogen.Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        order: int, 1 to 6. Events of an n-gram.
        vocabulary: an `EventVocabulary`.
        batch_size: int. See `evaluate`, as of the next four.
        sequence_length: int. Events of a window.
        stride: int. New events of each window.
        max_events: int. Reads about that many events instead of all.
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
    stride = stride or max(1, sequence_length // 2)
    return _evaluate(
        lambda windows, index=None, progress=None: (
            _read_counted(model, windows, progress),
            None,
        ),
        corpus,
        split,
        max_events=max_events,
        progress=progress,
        context=min(order - 1, sequence_length - stride),
        num_parameters=model.num_parameters,
        vocabulary=vocabulary,
        sequence_length=sequence_length,
        stride=stride,
        batch_size=batch_size,
    )


def check_split(corpus, split):
    """Refuse a split without pieces, and say which have some.

    Raises:
        ValueError: if there are none.
    """
    if not len(corpus.split(split)):
        held = ", ".join(
            f"{row['split']} ({row['pieces']})"
            for row in corpus.summary()
            if row["pieces"] and row["split"] != "all"
        )
        raise ValueError(
            f"The split {split!r} must have pieces. Received: {corpus.folder}, "
            f"whose pieces are in {held}"
        )


def _evaluate(
    read,
    corpus,
    split,
    *,
    max_events,
    progress,
    context,
    num_parameters,
    **settings,
):
    """A split's likelihood, from nats and hits that `read` makes of windows."""
    check_split(corpus, split)
    windows = EvaluationWindows(corpus, split, **settings)
    if max_events is not None and max_events < windows.num_events:
        count = round(len(windows) * max_events / windows.num_events)
        part = _Evenly(windows, max(1, count))
        nats, hits = read(part, progress=progress)
        mean = nats / part.num_events
        return Likelihood(
            nats_per_event=mean,
            nats_per_note=mean * windows.num_events / windows.num_notes,
            nats_per_second=mean * windows.num_events / windows.seconds,
            accuracy=None if hits is None else hits / part.num_events,
            num_events=part.num_events,
            num_pieces=len(corpus.split(split)),
            context=context,
            full_coverage=False,
            num_parameters=num_parameters,
        )
    pieces, indices = [], corpus.split(split)
    for index in indices:
        of_piece = EvaluationWindows(corpus, split, pieces=index, **settings)
        nats, hits = read(of_piece, index)
        pieces.append(
            _of_piece(corpus.pieces[index], nats, hits, of_piece.num_events)
        )
        if progress is not None:
            progress(len(pieces), len(indices))
    return _pool(pieces, context, num_parameters)


def _of_piece(piece, nats, hits, num_events):
    return PieceLikelihood(
        path=piece.path,
        composer=piece.composer,
        nats=float(nats),
        hits=hits,
        num_events=num_events,
        num_notes=piece.num_notes,
        seconds=piece.seconds,
    )


def _pool(pieces, context, num_parameters):
    """Pieces' likelihoods as one."""
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


def _read(model, windows, progress=None):
    """Sum of nats, and number of likeliest events, over a data set."""
    report = keras.callbacks.LambdaCallback()
    if progress is not None:
        report.on_test_batch_end = lambda batch, logs: progress(
            batch + 1, len(windows)
        )
    logs = model.evaluate(
        windows, return_dict=True, verbose=0, callbacks=[report]
    )
    if not {"nats_per_event", "accuracy"} <= set(logs):
        raise ValueError(
            "`model` must be compiled with `weighted_metrics='auto'`. "
            f"Received a model with the metrics {sorted(logs)}"
        )
    count = windows.num_events
    return logs["nats_per_event"] * count, logs["accuracy"] * count


def _read_counted(model, windows, progress=None):
    """Sum of nats of n-grams over a data set."""
    nats = 0.0
    for i in range(len(windows)):
        x, y, weights = windows[i]
        for ids, targets, weight in zip(x["token_ids"], y, weights):
            nats += float(model.nats(np.append(ids[:1], targets)) @ weight)
        if progress is not None:
            progress(i + 1, len(windows))
    return nats


def _is_on_piano(notes, semitones):
    pitches = notes["pitch"].astype(int) + semitones
    return not semitones or (
        pitches.min() >= LOWEST_PITCH and pitches.max() <= HIGHEST_PITCH
    )


def _read_transposed(model, windows, transpositions):
    """Sum of nats of the mean of an event's probabilities, one for each key."""
    vocabulary, nats = windows.vocabulary, 0.0
    for i in range(len(windows)):
        x, y, weights = windows[i]
        logs = []
        for semitones in transpositions:
            ids = vocabulary.transpose(x["token_ids"], semitones)
            targets = vocabulary.transpose(y, semitones)
            logits = keras.ops.convert_to_numpy(
                model.predict_on_batch(x | {"token_ids": ids})
            )  # (batch, time, vocabulary_size)
            chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
            most = logits.max(-1)
            total = np.exp(logits - most[..., None]).sum(-1)
            logs.append(chosen - most - np.log(total))
        mean = np.logaddexp.reduce(logs) - np.log(len(logs))  # (batch, time)
        nats -= float((mean * weights).sum(dtype="float64"))
    return nats
