"""Memory of the GPU, and the processes of a run that JAX has joined."""

import keras


def device_memory():
    """Bytes in use on the GPU, or `None` without a GPU."""
    backend = keras.config.backend()
    if backend == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.memory_allocated()
    elif backend == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats()
        return stats["bytes_in_use"] if stats else None
    elif backend == "tensorflow":
        import tensorflow as tf

        if tf.config.list_logical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["current"]
    return None


def seek_gpus():
    """Has TensorFlow look for GPUs, which changes no setting of theirs."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")


def process():
    """The index of this process among JAX's, and their number."""
    import jax

    return jax.process_index(), jax.process_count()


def processes_are_joined():
    """Whether JAX has already been joined with its other processes."""
    import jax

    return jax.distributed.is_initialized()
