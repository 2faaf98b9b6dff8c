"""The optimizers of a GAN's generator and discriminator."""

import keras


def get(optimizer, learning_rate):
    """An optimizer, or the one of a name; `"auto"` is Adam with beta_1 0.5."""
    if optimizer == "auto":
        return keras.optimizers.Adam(learning_rate, beta_1=0.5)
    return keras.optimizers.get(optimizer)


def joined(gan):
    """Both optimizers of a `TransformerGAN` as one, built for its variables.

    On JAX, Keras's `fit` only keeps the variables of `model.optimizer`. Each
    optimizer is stepped by itself.
    """
    owned = {id(v) for v in gan.discriminator.trainable_variables}
    optimizer = keras.optimizers.MultiOptimizer(
        lambda variable: (
            gan.discriminator_optimizer
            if id(variable) in owned
            else gan.generator_optimizer
        )
    )
    optimizer.build(gan.trainable_variables)
    return optimizer


def serialize(optimizer):
    """The config of an optimizer that loads on every backend."""
    config = keras.saving.serialize_keras_object(optimizer)
    if config["module"].startswith("keras."):
        # On PyTorch, Keras writes the name of a class that PyTorch alone has.
        config["module"] = "keras.optimizers"
        config["registered_name"] = None
    return config
