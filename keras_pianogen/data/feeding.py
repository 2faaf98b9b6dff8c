# mypy: allow-untyped-defs, allow-incomplete-defs
"""How windows reach Keras on TensorFlow, without a delay at an epoch's end.

On TensorFlow, Keras wraps a `keras.utils.PyDataset` in a `tf.data.Dataset`,
which a thread of TensorFlow tunes as it runs. That thread can miss that the
epoch is over: `StartCancel` of TensorFlow's cancellation manager wakes it
before `IsCancelled` is true. It then sleeps on, for as long as it has existed
and a minute at most, and the end of the epoch waits for it. This happened in
two of five epochs. A data set without tuning starts no such thread.

On JAX and PyTorch, everything is passed on as it came.
"""

import itertools
import os

import keras
import numpy as np

from keras_pianogen.data.windows import Windows

INFINITE = -1  # the cardinality of a `tf.data.Dataset` that repeats


def feed_training(x, callbacks=None, shuffle=False):
    """Returns the data and the callbacks to give to Keras's `fit`.

    Windows that Keras may shuffle stay as they are, except those that move on
    from epoch to epoch, because shuffling has no effect on them.

    Args:
        x: anything that Keras trains on.
        callbacks: callbacks of the call, as Keras takes them.
        shuffle: bool. Whether `fit` is told to shuffle.

    Returns:
        A pair, the data and the callbacks.
    """
    if (
        not _can_be_fed(x)
        or (shuffle and not x.moves_on)
        or isinstance(callbacks, keras.callbacks.CallbackList)
    ):
        return x, callbacks
    callbacks = keras.tree.flatten(callbacks or [])
    return _untuned(x), [_Epochs(x), *callbacks]


def feed_evaluation(x):
    """Returns the data to give to `evaluate`, or to `fit` as validation data.

    Windows that move on from epoch to epoch stay as they are: they have to be
    told when an epoch ends, and `evaluate` tells callbacks nothing of epochs.

    Args:
        x: anything that Keras evaluates on.
    """
    return _untuned(x) if _can_be_fed(x) and not x.moves_on else x


def paths_in(x):
    """The paths, or MIDI files' bytes, in a `tf.data.Dataset` of strings.

    Args:
        x: anything.

    Returns:
        A list of str and bytes; or `None`, if `x` is no such data set.

    Raises:
        ValueError: if the data set has no end.
    """
    spec = getattr(x, "element_spec", None)
    if getattr(spec, "dtype", None) != "string":
        return None
    if int(x.cardinality()) == INFINITE:
        raise ValueError(
            "`x` must be a data set of paths that ends. Received one that "
            "repeats for ever; `epochs` repeats it as well."
        )
    # As objects, because NumPy's strings lose zeros at their ends.
    batches = [np.ravel(np.asarray(s, object)) for s in x.as_numpy_iterator()]
    strings = [string for batch in batches for string in batch]
    return [s if s[:4] == b"MThd" else os.fsdecode(s) for s in strings]


def _can_be_fed(x):
    is_tensorflow = keras.config.backend() == "tensorflow"
    return is_tensorflow and isinstance(x, Windows)


def _untuned(windows):
    """Returns a `tf.data.Dataset` of windows, without tuning."""
    import tensorflow as tf

    windows.on_epoch_end()  # Ends an interrupted epoch, as Keras does.
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
    # Keras prepares one batch ahead or more; so does this.
    return data.prefetch(1).with_options(options)


class _Epochs(keras.callbacks.Callback):
    """Tells windows when epochs begin and end.

    Keras does so for a `PyDataset`, but not for one inside a `tf.data.Dataset`.
    """

    def __init__(self, windows):
        super().__init__()
        self.windows = windows

    def on_epoch_begin(self, epoch, logs=None):
        self.windows.on_epoch_begin()

    def on_epoch_end(self, epoch, logs=None):
        self.windows.on_epoch_end()
