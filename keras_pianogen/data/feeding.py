# mypy: allow-untyped-defs, allow-incomplete-defs
"""How batches reach the backend, where Keras's own way costs time.

On TensorFlow Keras makes a `tf.data.Dataset` of a `keras.utils.PyDataset`. The
thread that tunes it can miss that it is over (`StartCancel` of TensorFlow's
cancellation manager wakes it before `IsCancelled` is true) and sleeps on, for
as long as it has been there and a minute at most, while the end of the epoch
waits for it: seen in two of five epochs. Without tuning there is no thread.
"""

import itertools

import keras


def fed(windows, callbacks=None):
    """What to give `fit` or `evaluate` in place of a data set.

    Args:
        windows: a `keras_pianogen.data.windows.Windows`.
        callbacks: those of the call, as Keras takes them.

    Returns:
        A pair, the data and the callbacks.
    """
    if keras.config.backend() != "tensorflow" or isinstance(
        callbacks, keras.callbacks.CallbackList
    ):
        return windows, callbacks
    import tensorflow as tf

    windows.on_epoch_end()  # Of one that was broken off, as Keras does.
    length = windows.num_batches

    def batches():
        for index in itertools.count() if length is None else range(length):
            yield windows[index]

    options = tf.data.Options()
    options.autotune.enabled = False
    data = tf.data.Dataset.from_generator(
        batches,
        output_signature=keras.tree.map_structure(
            lambda array: tf.TensorSpec(array.shape, array.dtype), windows[0]
        ),
    )
    if length is not None:
        count = tf.data.experimental.assert_cardinality(length)
        data = data.apply(count)
    # One batch ahead, as Keras does at least.
    data = data.prefetch(1).with_options(options)
    return data, [_Epochs(windows), *keras.tree.flatten(callbacks or [])]


class _Epochs(keras.callbacks.Callback):
    """Tells a data set of epochs, which Keras does not where it is wrapped."""

    def __init__(self, windows):
        super().__init__()
        self.windows = windows

    def on_epoch_begin(self, epoch, logs=None):
        self.windows.on_epoch_begin()

    def on_epoch_end(self, epoch, logs=None):
        self.windows.on_epoch_end()
