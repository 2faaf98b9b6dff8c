# mypy: allow-untyped-defs, allow-incomplete-defs
"""Scores of windows: the nats that a model or n-grams give to their targets.

A scorer knows a model, and windows know a form of music: how a piece is
encoded, and the number of positions and notes in it. Every scorer has

- `num_parameters`,
- `reach`, the most events that a prediction can depend on,
- `score(windows, progress)`, which returns a `Score`. `progress` is a function
  called with (batches done, batches in all), or `None`.

Windows are a data set of `(x, y, sample_weight)`, such as `EvaluationWindows`.
A scorer counts each target as often as its weight says, 0 or 1.
"""

import math
from typing import NamedTuple

import keras
import numpy as np

from keras_pianogen.data.cutting import HIGHEST_PITCH
from keras_pianogen.data.cutting import LOWEST_PITCH
from keras_pianogen.events import PITCHES
from keras_pianogen.models.losses import NoteCrossentropy

# The losses that are -ln(probability) of targets.
CROSSENTROPIES = (keras.losses.SparseCategoricalCrossentropy, NoteCrossentropy)


class Score(NamedTuple):
    """The score of all targets of some windows.

    Attributes:
        nats: sum of -ln(probability) of the targets.
        hits: number of targets that were the most likely event, or `None` if
            they were not counted.
    """

    nats: float
    hits: float | None


class ModelScorer:
    """Scores windows by a language model, with Keras's `evaluate`.

    Args:
        model: a `MusicTransformerCausalLM` or a baseline, compiled with
            `weighted_metrics="auto"`.
    """

    reach = math.inf

    def __init__(self, model):
        self.model = model
        self.num_parameters = model.count_params()

    def score(self, windows, progress=None):
        report = keras.callbacks.LambdaCallback()
        if progress is not None:
            report.on_test_batch_end = lambda batch, logs: progress(
                batch + 1, len(windows)
            )
        logs = self.model.evaluate(
            windows, return_dict=True, verbose=0, callbacks=[report]
        )
        name = f"nats_per_{windows.unit}"
        if not {name, "accuracy"} <= set(logs):
            raise ValueError(
                "`model` must be compiled with `weighted_metrics='auto'`. "
                f"Received a model with the metrics {sorted(logs)}"
            )
        count = windows.num_events
        return Score(logs[name] * count, logs["accuracy"] * count)


class TransposingScorer:
    """Scores windows by a language model that reads them in several keys.

    The probability of an event or a note is the mean of its probabilities in
    all keys. A key in which a note would leave the piano is left out.

    Args:
        model: a model of events or notes, compiled with `loss="auto"`.
        transpositions: semitones, 0 among them.

    Raises:
        ValueError: if the model has another loss.
    """

    reach = math.inf

    def __init__(self, model, transpositions):
        if not isinstance(model.loss, CROSSENTROPIES):
            raise ValueError(
                "`model` must be compiled with `loss='auto'`. Received a model "
                f"with the loss {model.loss}"
            )
        self.model = model
        self.transpositions = transpositions
        self.num_parameters = model.count_params()

    def score(self, windows, progress=None):
        keys, nats = self._keys(windows), 0.0
        for i in range(len(windows)):
            batch = windows[i]
            logs = [
                self._log_probabilities(*windows.transposed(batch, semitones))
                for semitones in keys
            ]
            mean = np.logaddexp.reduce(logs) - np.log(len(logs))
            nats -= float((mean * batch[2]).sum(dtype="float64"))
            if progress is not None:
                progress(i + 1, len(windows))
        return Score(nats, None)

    def _keys(self, windows):
        """The transpositions that leave all notes on the piano, and 0."""
        pitches = np.concatenate(
            [windows.corpus.notes(i)["pitch"] for i in windows.indices]
        ).astype(int)
        low, high = pitches.min(initial=PITCHES), pitches.max(initial=0)
        return [
            t
            for t in self.transpositions
            if not t or (low + t >= LOWEST_PITCH and high + t <= HIGHEST_PITCH)
        ]

    def _log_probabilities(self, x, y, weights):
        """Log-probabilities of the targets, (batch, time)."""
        logits = self.model.predict_on_batch(x)
        return -keras.ops.convert_to_numpy(self.model.loss.call(y, logits))


class NGramScorer:
    """Scores windows by counted n-grams.

    Args:
        ngram: a fitted `NGram`.
    """

    def __init__(self, ngram):
        self.ngram = ngram
        self.reach = ngram.order - 1
        self.num_parameters = ngram.num_parameters

    def score(self, windows, progress=None):
        nats = 0.0
        for i in range(len(windows)):
            x, y, weights = windows[i]
            for ids, targets, weight in zip(x["token_ids"], y, weights):
                row = self.ngram.nats(np.append(ids[:1], targets))
                nats += float(row @ weight)
            if progress is not None:
                progress(i + 1, len(windows))
        return Score(nats, None)
