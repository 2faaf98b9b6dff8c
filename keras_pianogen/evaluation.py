"""Likelihoods of a corpus's split, each event read once.

Only nats per note and per second compare across vocabularies.
"""

import dataclasses
import math

import keras

from keras_pianogen.windows import EvaluationWindows


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """How well a model predicts a split.

    Args:
        nats_per_event: Mean of -ln(probability) over events.
        nats_per_note: Their sum over the number of notes.
        nats_per_second: Their sum over the seconds of music.
        accuracy: Share of events that were the likeliest, 0 to 1.
        num_events: Events read, the ends of pieces among them.
        num_pieces: Pieces they came from.
        context: Fewest events that each was predicted from, but for those
            at the beginning of a piece.
        full_coverage: Whether every event of the split was read.
    """

    nats_per_event: float
    nats_per_note: float
    nats_per_second: float
    accuracy: float
    num_events: int
    num_pieces: int
    context: int
    full_coverage: bool

    @property
    def perplexity(self):
        return math.exp(self.nats_per_event)


class _Evenly(keras.utils.PyDataset):
    """Some of the batches of a data set, taken evenly from all of it."""

    def __init__(self, windows, count):
        super().__init__(workers=windows.workers)
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
    progress=None,
):
    """The likelihood of a split under a model.

    Every event of the split is predicted once, from at least
    `sequence_length - stride` events before it.

    Args:
        model: a `MusicTransformerCausalLM`.
        corpus: a `keras_pianogen.Corpus`.
        split: `"train"`, `"validation"` or `"test"`.
        batch_size: int. Windows read at once.
        sequence_length: int. Events of a window. Defaults to the backbone's
            `max_sequence_length`.
        stride: int. New events of each window. Defaults to half of it.
        max_events: int. Reads about that many events, taken evenly from the
            split, instead of all.
        progress: a function called with (batches read, batches in all).

    Returns:
        A `Likelihood`.

    Raises:
        ValueError: if the split has no pieces, or the model has no
            preprocessor or other metrics than its own.
    """
    if model.preprocessor is None:
        raise ValueError(
            "`model` must have a `preprocessor`, whose vocabulary the split "
            "is read in. Received: preprocessor=None"
        )
    sequence_length = sequence_length or model.backbone.max_sequence_length
    stride = stride or max(1, sequence_length // 2)
    windows = EvaluationWindows(
        corpus,
        split,
        vocabulary=model.preprocessor.tokenizer.vocabulary,
        sequence_length=sequence_length,
        stride=stride,
        batch_size=batch_size,
    )
    data = windows
    if max_events is not None and max_events < windows.num_events:
        count = round(len(windows) * max_events / windows.num_events)
        data = _Evenly(windows, max(1, count))
    report = keras.callbacks.LambdaCallback()
    if progress is not None:
        report.on_test_batch_end = lambda batch, logs: progress(
            batch + 1, len(data)
        )
    logs = model.evaluate(data, return_dict=True, verbose=0, callbacks=[report])
    if not {"nats_per_event", "accuracy"} <= set(logs):
        raise ValueError(
            "`model` must be compiled with `weighted_metrics='auto'`. "
            f"Received a model with the metrics {sorted(logs)}"
        )
    nats = logs["nats_per_event"]
    return Likelihood(
        nats_per_event=nats,
        nats_per_note=nats * windows.num_events / windows.num_notes,
        nats_per_second=nats * windows.num_events / windows.seconds,
        accuracy=logs["accuracy"],
        num_events=data.num_events,
        num_pieces=len(corpus.split(split)),
        context=sequence_length - stride,
        full_coverage=data is windows,
    )
