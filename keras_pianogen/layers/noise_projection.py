"""The first layer of a generator: from noise to embeddings of events."""

import keras
from keras import ops

from keras_pianogen.layers.building import check_sizes
from keras_pianogen.layers.building import clone


@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoiseProjectionEmbedding(keras.layers.Layer):
    r"""A feed-forward network from noise to embeddings.

    It replaces the token embedding of a Transformer, as in the paper's
    generator ("a feed forward network on a noise vector", Z = 50),

    $$x_t = W_2\,\mathrm{ReLU}(W_1 z_t + p_t + b_1) + b_2$$

    With one noise vector for a whole sequence, $z_t$ is the same at all times
    $t$. A learned vector $p_t$ for each time then makes them differ, because
    attention over equal vectors would return equal vectors. With a noise
    vector for each time there is no $p_t$, and a sequence may have any length.

    Args:
        hidden_dim: int. Width of the embeddings.
        intermediate_dim: int. Width of the network's middle. Defaults to
            `None`, the same as `hidden_dim`.
        sequence_length: int. Length of sequences that are made from one
            vector. Only these need it. Defaults to `None`.
        activation: activation of the middle. Defaults to `"relu"`.
        kernel_initializer: initializer of the kernels. Defaults to
            `"glorot_uniform"`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of shape (batch, noise_dim) or (batch, time,
            noise_dim).

    Returns:
        A tensor of shape (batch, time, hidden_dim).

    Raises:
        ValueError: if `inputs` is of another rank, or of rank 2 without a
            `sequence_length`.

    Examples:
        >>> import numpy as np
        >>> layer = NoiseProjectionEmbedding(hidden_dim=16)
        >>> tuple(layer(np.zeros((2, 12, 50), "float32")).shape)
        (2, 12, 16)
        >>> layer = NoiseProjectionEmbedding(hidden_dim=16, sequence_length=12)
        >>> tuple(layer(np.zeros((2, 50), "float32")).shape)
        (2, 12, 16)
    """

    def __init__(
        self,
        hidden_dim,
        intermediate_dim=None,
        sequence_length=None,
        activation="relu",
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_sizes(hidden_dim=hidden_dim)
        if intermediate_dim is not None:
            check_sizes(intermediate_dim=intermediate_dim)
        if sequence_length is not None:
            check_sizes(sequence_length=sequence_length)
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.sequence_length = sequence_length
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        if len(input_shape) not in (2, 3):
            raise ValueError(
                "`inputs` must have the shape (batch, noise_dim) or (batch, "
                f"time, noise_dim). Received: inputs.shape={input_shape}"
            )
        middle = self.intermediate_dim or self.hidden_dim
        self.intermediate_dense = self._dense(middle, "intermediate_dense")
        self.output_dense = self._dense(self.hidden_dim, "output_dense")
        self.intermediate_dense.build((None, None, input_shape[-1]))
        self.output_dense.build((None, None, middle))
        self.places = None
        if len(input_shape) == 2:
            if self.sequence_length is None:
                raise ValueError(
                    "One noise vector for a whole sequence needs a "
                    "`sequence_length`. Received: "
                    f"sequence_length=None, inputs.shape={input_shape}"
                )
            self.places = self.add_weight(
                name="places",
                shape=(self.sequence_length, middle),
                initializer=keras.initializers.RandomNormal(stddev=1.0),
            )
        self.built = True

    def _dense(self, units, name):
        return keras.layers.Dense(
            units,
            kernel_initializer=clone(self.kernel_initializer),
            dtype=self.dtype_policy,
            name=name,
        )

    def call(self, inputs):
        x = self.intermediate_dense(inputs)
        if self.places is not None:
            x = x[:, None] + ops.cast(self.places, x.dtype)
        return self.output_dense(self.activation(x))

    def compute_output_shape(self, input_shape):
        time = input_shape[1] if len(input_shape) == 3 else self.sequence_length
        return (input_shape[0], time, self.hidden_dim)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "hidden_dim": self.hidden_dim,
                "intermediate_dim": self.intermediate_dim,
                "sequence_length": self.sequence_length,
                "activation": keras.activations.serialize(self.activation),
                "kernel_initializer": keras.initializers.serialize(
                    self.kernel_initializer
                ),
            }
        )
        return config
