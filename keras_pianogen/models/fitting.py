"""How language models of events are trained: settings, `fit`, `evaluate`."""

import collections.abc
import os
import pathlib
import types

import keras
import miditoolkit
import numpy as np
import symusic

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.feeding import feed_evaluation
from keras_pianogen.data.feeding import feed_training
from keras_pianogen.data.feeding import paths_in
from keras_pianogen.data.folders import MidiFolder

# Types that `fit` and `evaluate` take for performances, or lists of them.
ONE_PERFORMANCE = (
    str,
    bytes,
    os.PathLike,
    miditoolkit.MidiFile,
    type(symusic.Score()),
    np.ndarray,
)
PERFORMANCES = (*ONE_PERFORMANCE, list, tuple)


def event_defaults():
    """The loss and the metrics of models of events."""
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    metrics = [
        keras.metrics.SparseCategoricalCrossentropy(
            from_logits=True, name="nats_per_event"
        ),
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
    ]
    return loss, metrics


def compile_settings(
    optimizer, loss, weighted_metrics, defaults=event_defaults
):
    """Arguments of `keras.Model.compile`, each `"auto"` replaced.

    Args:
        optimizer: an optimizer, its name, or `"auto"` for AdamW with a
            learning rate of 3e-4.
        loss: a loss, or `"auto"` for the cross-entropy in nats, averaged over
            the events that are not padding.
        weighted_metrics: a list, or `"auto"` for `nats_per_event` and
            `accuracy`, over the events that are not padding.
        defaults: a function that returns the loss and the metrics of
            `"auto"`. Defaults to those of events.

    Returns:
        A dict of these three.
    """
    if optimizer == "auto":
        optimizer = keras.optimizers.AdamW(3e-4, global_clipnorm=1.0)
    default_loss, default_metrics = defaults()
    if loss == "auto":
        loss = default_loss
    if weighted_metrics == "auto":
        weighted_metrics = default_metrics
    return {
        "optimizer": optimizer,
        "loss": loss,
        "weighted_metrics": weighted_metrics,
    }


class TrainsOnEvents:
    """Mixin whose `fit`, `evaluate` and `predict` also take performances.

    KerasHub's own methods refuse a `keras.utils.PyDataset`. List this class
    before the KerasHub task among the bases of a class.
    """

    def fit(
        self, x=None, y=None, sample_weight=None, validation_data=None, **kwargs
    ):
        """Train on batches, or on performances.

        Args:
            x: batches in the form of the preprocessor's outputs, as
                `keras_pianogen.EventWindows`, any other
                `keras.utils.PyDataset`, a `tf.data.Dataset`, a generator or
                arrays; or a performance (a MIDI file's path, notes or event
                ids); or performances: a list or a generator of them, a
                folder of MIDI files, or a `tf.data.Dataset` of paths. All
                events of a performance are trained on.
            y: ids of the next events, if `x` is arrays.
            sample_weight: weights of `y`, if `x` is arrays.
            validation_data: like `x`, or a tuple of `x`, `y` and weights.
            **kwargs: See `keras.Model.fit`. `shuffle` defaults to `True` for
                arrays and performances. Data sets keep their own order.

        Returns:
            A `keras.callbacks.History`.
        """
        x, y, sample_weight = self._training_data(x, y, sample_weight)
        kwargs.setdefault("shuffle", y is not None)
        if isinstance(validation_data, tuple) and isinstance(
            validation_data[0], dict
        ):
            pass  # These are arrays in the form of the preprocessor's outputs.
        elif validation_data is not None:
            validation_data = self._training_data(validation_data)
            if validation_data[1] is None:
                validation_data = validation_data[0]
        x, kwargs["callbacks"] = feed_training(
            x, kwargs.get("callbacks"), kwargs["shuffle"]
        )
        return keras.Model.fit(
            self,
            x,
            y,
            sample_weight=sample_weight,
            validation_data=feed_evaluation(validation_data),
            **kwargs,
        )

    def evaluate(self, x=None, y=None, sample_weight=None, **kwargs):
        """Compute the loss and the metrics.

        Args:
            x: see `fit`.
            y: see `fit`.
            sample_weight: see `fit`.
            **kwargs: See `keras.Model.evaluate`.

        Returns:
            The loss and the metrics, as `keras.Model.evaluate` returns them.
        """
        x, y, sample_weight = self._training_data(x, y, sample_weight)
        return keras.Model.evaluate(
            self, feed_evaluation(x), y, sample_weight=sample_weight, **kwargs
        )

    def predict(self, x, **kwargs):
        """Compute logits.

        Args:
            x: see `fit`.
            **kwargs: See `keras.Model.predict`.

        Returns:
            Logits, an array of shape (batch, time, vocabulary_size).
        """
        return keras.Model.predict(self, self._training_data(x)[0], **kwargs)

    # These three take arrays in the form of the preprocessor's outputs.
    train_on_batch = keras.Model.train_on_batch
    test_on_batch = keras.Model.test_on_batch
    predict_on_batch = keras.Model.predict_on_batch

    def _training_data(self, x, y=None, sample_weight=None):
        """Turn performances into windows, and pass on everything else."""
        if isinstance(x, tuple) and x and isinstance(x[0], dict):
            return keras.utils.unpack_x_y_sample_weight(x)
        if y is None:
            x = _performances_in(x)
        if y is not None or not isinstance(x, PERFORMANCES):
            return x, y, sample_weight
        if isinstance(x, list | tuple) and not x:
            raise ValueError(
                "There must be at least one performance. Received: an empty "
                f"{type(x).__name__}"
            )
        if self.preprocessor is None:
            raise ValueError(
                "Training on performances needs a `preprocessor`. "
                f"Received: preprocessor=None and x of type {type(x).__name__}"
            )
        return self.preprocessor.windows(x)


def _performances_in(x):
    """A list of the performances that a folder or a data set holds.

    Everything that holds none is returned as it is.
    """
    if x is None or isinstance(x, Corpus):
        raise ValueError(
            "`x` must be performances, or batches such as "
            "`EventWindows(corpus, …)`. Received: " + type(x).__name__
        )
    if isinstance(x, str | os.PathLike) and os.path.isdir(x):
        return _files_of(pathlib.Path(x))
    if isinstance(x, np.ndarray) and x.dtype.kind in "US":
        return x.ravel().tolist()
    if isinstance(x, types.GeneratorType):
        return _generated(x)
    if isinstance(x, collections.abc.Iterator | collections.abc.Set):
        return list(x)
    paths = paths_in(x)
    return x if paths is None else paths


def _files_of(folder):
    listed = MidiFolder(folder)
    if not listed.files:
        corpus = (folder / "corpus.json").exists()
        batches = "`EventWindows(Corpus(folder), …)` makes batches of a corpus"
        raise ValueError(
            "`x` must be a folder with .mid or .midi files. Received: "
            f"{folder}, with {listed.found_instead()}" + f". {batches}" * corpus
        )
    return listed.files


def _generated(generator):
    """A list, if a generator yields performances; else what it yields."""
    first = next(generator, None)
    if isinstance(first, ONE_PERFORMANCE):
        return [first, *generator]

    def batches():
        yield first
        yield from generator

    return [] if first is None else batches()
