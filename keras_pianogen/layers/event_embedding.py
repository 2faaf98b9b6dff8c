"""Embeddings of events, and of distributions over events."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_pianogen")
class EventEmbedding(keras.layers.ReversibleEmbedding):
    """A `ReversibleEmbedding` that also takes distributions instead of ids.

    Gradients pass through a distribution over events to whatever made it. The
    embedding of a one-hot distribution is that of its event.

    Args:
        **kwargs: See `keras.layers.ReversibleEmbedding`.

    Call arguments:
        inputs: int tensor of shape (batch, time), ids; or float tensor of
            shape (batch, time, input_dim), a distribution over ids at each
            time; or, with `reverse=True`, hidden states of shape (batch,
            time, output_dim).
        reverse: bool. Whether to turn hidden states into logits.

    Returns:
        Embeddings (batch, time, output_dim), or logits (batch, time,
        input_dim).

    Examples:
        >>> import numpy as np
        >>> layer = EventEmbedding(input_dim=5, output_dim=8)
        >>> tuple(layer(np.zeros((1, 3), "int32")).shape)
        (1, 3, 8)
        >>> tuple(layer(np.zeros((1, 3, 5), "float32")).shape)
        (1, 3, 8)
    """

    def call(self, inputs, reverse=False):
        if reverse or not _is_distribution(inputs):
            return super().call(inputs, reverse=reverse)
        return embed_distributions(self, inputs)

    def compute_output_spec(self, inputs, reverse=False):
        if reverse or not _is_distribution(inputs):
            return super().compute_output_spec(inputs, reverse=reverse)
        return keras.KerasTensor(
            (*inputs.shape[:-1], self.output_dim), dtype=self.compute_dtype
        )


def embed_distributions(layer, inputs):
    """Mean embeddings under distributions over ids.

    Args:
        layer: an embedding layer.
        inputs: float tensor of shape (batch, time, input_dim).

    Returns:
        A tensor of shape (batch, time, output_dim).
    """
    dtype = layer.compute_dtype
    embeddings = ops.cast(layer.embeddings, dtype)
    return ops.matmul(ops.cast(inputs, dtype), embeddings)


def _is_distribution(inputs):
    return "float" in keras.backend.standardize_dtype(inputs.dtype)
