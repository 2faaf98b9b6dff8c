"""What all language models of events share: how they are trained and read."""

import os

import keras
import miditoolkit
import numpy as np
import symusic

from keras_pianogen.data.feeding import feed_evaluation
from keras_pianogen.data.feeding import feed_training

# What `fit` and `evaluate` take for performances, alone or in a list.
PERFORMANCES = (
    str,
    bytes,
    os.PathLike,
    miditoolkit.MidiFile,
    type(symusic.Score()),
    list,
    tuple,
    np.ndarray,
)


def event_inputs():
    """Symbolic inputs of a backbone: a dict of ids and their mask."""
    return {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": keras.Input((None,), dtype="bool", name="padding_mask"),
    }


def event_embedding(vocabulary_size, hidden_dim, dtype):
    """The embedding of event ids, whose weights also give the logits."""
    return keras.layers.ReversibleEmbedding(
        input_dim=vocabulary_size,
        output_dim=hidden_dim,
        embeddings_initializer=keras.initializers.RandomNormal(stddev=0.02),
        # In bfloat16 ids above 256, and near logits, would be confused.
        reverse_dtype="float32",
        dtype=dtype,
        name="token_embedding",
    )


def compile_settings(optimizer, loss, weighted_metrics):
    """Arguments of `keras.Model.compile`, with what `"auto"` stands for.

    Args:
        optimizer: `"auto"` (AdamW at 3e-4), an optimizer or its name.
        loss: `"auto"`, cross-entropy in nats averaged over the events that
            are not padding, or a loss.
        weighted_metrics: `"auto"` (`nats_per_event` and `accuracy`, over
            events that are not padding), or a list.

    Returns:
        A dict.
    """
    if optimizer == "auto":
        optimizer = keras.optimizers.AdamW(3e-4, global_clipnorm=1.0)
    if loss == "auto":
        loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, reduction="mean_with_sample_weight"
        )
    if weighted_metrics == "auto":
        weighted_metrics = [
            keras.metrics.SparseCategoricalCrossentropy(
                from_logits=True, name="nats_per_event"
            ),
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        ]
    return {
        "optimizer": optimizer,
        "loss": loss,
        "weighted_metrics": weighted_metrics,
    }


@keras.saving.register_keras_serializable(package="keras_pianogen")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with smoothed labels (Szegedy et al., 2016).

    The target is `1 - label_smoothing` of the event that came and
    `label_smoothing` of all alike; averaged over events that are not padding.
    `nats_per_event` is measured without it.

    Args:
        label_smoothing: float, 0 to 1.
    """

    def __init__(self, label_smoothing=0.1, name="smoothed_crossentropy"):
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        # (batch, time), from logits of (batch, time, vocabulary_size)
        logs = keras.ops.log_softmax(y_pred, axis=-1)
        nats = keras.ops.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )
        uniform = -keras.ops.mean(logs, axis=-1)
        smoothing = self.label_smoothing
        return (1 - smoothing) * nats + smoothing * uniform

    def get_config(self):
        return {"name": self.name, "label_smoothing": self.label_smoothing}


class TrainsOnEvents:
    """`fit`, `evaluate` and `predict` that take performances too.

    KerasHub's own refuse a `keras.utils.PyDataset`. Comes before a KerasHub
    task among the bases of a class.
    """

    def fit(
        self, x=None, y=None, sample_weight=None, validation_data=None, **kwargs
    ):
        """Train; `x` is anything Keras trains on, or performances.

        Args:
            x: `keras_pianogen.EventWindows` or any `keras.utils.PyDataset`, a
                `tf.data.Dataset`, a generator or arrays, in the form of the
                preprocessor's outputs; or a MIDI file's path, notes, or event
                ids, or a list of such, all of whose events are trained on.
            y: next ids, where `x` is arrays.
            sample_weight: weights of `y`, where `x` is arrays.
            validation_data: like `x`, or a tuple of `x`, `y` and weights.
            **kwargs: See `keras.Model.fit`. `shuffle` defaults to `True` for
                arrays and performances; data sets keep their own order.

        Returns:
            A `keras.callbacks.History`.
        """
        x, y, sample_weight = self._training_data(x, y, sample_weight)
        kwargs.setdefault("shuffle", y is not None)
        if isinstance(validation_data, tuple) and isinstance(
            validation_data[0], dict
        ):
            pass  # Arrays in the form of the preprocessor's outputs.
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
        """Loss and metrics; `x` as in `fit`.

        Args:
            x: see `fit`.
            y: see `fit`.
            sample_weight: see `fit`.
            **kwargs: See `keras.Model.evaluate`.

        Returns:
            What `keras.Model.evaluate` returns.
        """
        x, y, sample_weight = self._training_data(x, y, sample_weight)
        return keras.Model.evaluate(
            self, feed_evaluation(x), y, sample_weight=sample_weight, **kwargs
        )

    def predict(self, x, **kwargs):
        """Logits, an array of shape (batch, time, vocabulary_size).

        Args:
            x: see `fit`.
            **kwargs: See `keras.Model.predict`.
        """
        return keras.Model.predict(self, self._training_data(x)[0], **kwargs)

    # These take arrays in the form of the preprocessor's outputs.
    train_on_batch = keras.Model.train_on_batch
    test_on_batch = keras.Model.test_on_batch
    predict_on_batch = keras.Model.predict_on_batch

    def _training_data(self, x, y=None, sample_weight=None):
        """Performances as windows; everything else as it came."""
        if isinstance(x, tuple) and x and isinstance(x[0], dict):
            return keras.utils.unpack_x_y_sample_weight(x)
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
