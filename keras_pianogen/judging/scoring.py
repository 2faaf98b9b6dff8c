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

    An event's probability is the mean of its probabilities in all keys. A key
    in which a note would leave the piano is left out.

    Args:
        model: a `MusicTransformerCausalLM` or a baseline.
        transpositions: semitones, 0 among them.
    """

    reach = math.inf

    def __init__(self, model, transpositions):
        self.model = model
        self.transpositions = transpositions
        self.num_parameters = model.count_params()

    def score(self, windows, progress=None):
        keys, nats = self._keys(windows), 0.0
        for i in range(len(windows)):
            x, y, weights = windows[i]
            logs = [
                self._log_probabilities(windows.vocabulary, x, y, semitones)
                for semitones in keys
            ]
            mean = np.logaddexp.reduce(logs) - np.log(len(logs))
            nats -= float((mean * weights).sum(dtype="float64"))
            if progress is not None:
                progress(i + 1, len(windows))
        return Score(nats, None)

    def _keys(self, windows):
        """The transpositions that leave all notes on the piano, and 0."""
        first = windows.vocabulary.note_on_id
        ids = np.concatenate([windows[i][1] for i in range(len(windows))])
        notes = ids[(ids >= first) & (ids < first + PITCHES)] - first
        low, high = notes.min(initial=PITCHES), notes.max(initial=0)
        return [
            t
            for t in self.transpositions
            if not t or (low + t >= LOWEST_PITCH and high + t <= HIGHEST_PITCH)
        ]

    def _log_probabilities(self, vocabulary, x, y, semitones):
        """Log-probabilities of the targets, transposed, (batch, time)."""
        ids = vocabulary.transpose(x["token_ids"], semitones)
        targets = vocabulary.transpose(y, semitones)
        logits = keras.ops.convert_to_numpy(
            self.model.predict_on_batch(x | {"token_ids": ids})
        )  # (batch, time, vocabulary_size)
        chosen = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
        highest = logits.max(-1)
        total = np.exp(logits - highest[..., None]).sum(-1)
        return chosen - highest - np.log(total)


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
