"""Layer normalization whose gradient can be differentiated again."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_pianogen")
class LayerNormalization(keras.layers.LayerNormalization):
    """Keras's layer, with correct second derivatives on TensorFlow.

    On TensorFlow Keras uses a fused operation whose second derivative by its
    inputs is wrong by a few percent if the gradient that reaches the layer
    depends on the layer's inputs. A gradient penalty needs this derivative:
    after `layer.differentiable_twice = True` the layer uses plain operations.
    Training without a penalty keeps the fused operation.

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
