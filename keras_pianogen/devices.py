"""Devices and processes, as each backend knows them."""

import keras


def device_memory():
    """Bytes in use on the GPU; `None` without one."""
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


def process():
    """This process's index among those of JAX, and their number."""
    import jax

    return jax.process_index(), jax.process_count()


def processes_are_joined():
    """Whether JAX knows of its other processes already."""
    import jax

    return jax.distributed.is_initialized()
