"""Layer normalization whose gradient can be differentiated again."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_pianogen")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras's layer, with second derivatives that are right on TensorFlow.

    There Keras uses a fused operation whose second derivative by its inputs
    is off (by some percent, where the gradient that reaches the layer depends
    on its inputs). A gradient penalty needs it; so with `differentiable_twice`
    the layer is made of plain operations. Training without a penalty does
    not, and keeps the fused one.

    Args:
        **kwargs: See `keras.layers.LayerNormalization`.

    Call arguments:
        inputs: float tensor of shape (..., features).

    Returns:
        A tensor of the shape of `inputs`.
    """

    differentiable_twice = False

    def call(self, inputs):
        if (
            not self.differentiable_twice
            or keras.config.backend() != "tensorflow"
        ):
            return super().call(inputs)
        x = ops.cast(inputs, "float32")
        x = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(x), axis=-1, keepdims=True)
        x = x / ops.sqrt(variance + self.epsilon)
        gamma, beta = (
            ops.cast(weight, "float32") for weight in (self.gamma, self.beta)
        )
        return ops.cast(x * gamma + beta, self.compute_dtype)
