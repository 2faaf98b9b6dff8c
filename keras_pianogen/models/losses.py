"""Losses that Keras lacks. They are in nats and averaged over events."""

import keras


@keras.saving.register_keras_serializable(package="keras_pianogen")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy with smoothed labels (Szegedy et al., 2016).

    The target distribution gives the true event the probability
    `1 - label_smoothing` and spreads `label_smoothing` evenly over all events.
    The loss is averaged over the events that are not padding. The metric
    `nats_per_event` is computed without smoothing.

    Args:
        label_smoothing: float, 0 to 1. The share that is spread evenly.
            Defaults to `0.1`.
        name: string. Defaults to `"smoothed_crossentropy"`.
    """

    def __init__(self, label_smoothing=0.1, name="smoothed_crossentropy"):
        super().__init__(name=name, reduction="mean_with_sample_weight")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        # `y_pred` holds logits, (batch, time, vocabulary_size).
        logs = keras.ops.log_softmax(y_pred, axis=-1)
        nats = keras.ops.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=True
        )  # (batch, time)
        uniform = -keras.ops.mean(logs, axis=-1)  # (batch, time)
        smoothing = self.label_smoothing
        return (1 - smoothing) * nats + smoothing * uniform

    def get_config(self):
        return {"name": self.name, "label_smoothing": self.label_smoothing}
