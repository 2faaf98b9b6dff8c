"""Batches on their way to the backend."""

import keras
import numpy as np
import pytest
from random_pieces import MAGENTA
from random_pieces import all_ids
from random_pieces import random_corpus

from keras_pianogen.data.feeding import feed_evaluation
from keras_pianogen.data.feeding import feed_training
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import EvaluationWindows
from keras_pianogen.data.windows import Windows


class Counted(Windows):
    """Batches that hold their index."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps
        self.heard = []

    num_batches = property(lambda self: self.steps)

    def __getitem__(self, index):
        x = np.full((2, 3), index, np.int32)
        return {"token_ids": x}, x, np.ones(2, np.float32)

    def on_epoch_begin(self):
        self.heard.append("begin")

    def on_epoch_end(self):
        self.heard.append("end")


class MovingOn(Counted):
    """Batches whose order no shuffling changes."""

    moves_on = True


class Trail(keras.callbacks.Callback):
    """The means of batches, as a model saw them."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(round(logs["loss"] * (batch + 1)))


def model():
    """One whose loss is the batch's index."""
    inputs = {"token_ids": keras.Input((3,), dtype="int32", name="token_ids")}
    ids = keras.ops.cast(inputs["token_ids"], "float32")
    outputs = keras.layers.Dense(3, kernel_initializer="zeros")(ids)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.0), "mean_absolute_error")
    return model


@pytest.mark.parametrize("steps", [4, None])
def test_batches_arrive_once_and_in_order(steps):
    windows, trail = Counted(steps), Trail()
    # On JAX, Keras calls a callback outside of a list from several threads.
    data, callbacks = feed_training(windows, [trail])
    model().fit(
        data,
        epochs=2,
        steps_per_epoch=None if steps else 4,
        verbose=0,
        shuffle=False,
        callbacks=callbacks,
    )
    # Keras gives the mean of an epoch so far.
    sums = np.cumsum([0, 1, 2, 3])
    later = sums if steps else np.cumsum([4, 5, 6, 7])
    assert trail.seen == [*sums, *later]
    heard = [each for each in windows.heard if each == "begin"]
    assert len(heard) >= 2 and windows.heard[-1] == "end"


on_tensorflow = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="is about tf.data"
)


@on_tensorflow
def test_nothing_is_tuned_that_the_end_of_an_epoch_would_wait_for():
    data, _ = feed_training(Counted(3))
    assert data.options().autotune.enabled is False
    assert data.cardinality() == 3
    assert data.element_spec[1].shape == (2, 3)


@on_tensorflow
def test_windows_that_may_be_shuffled_are_left_to_keras():
    windows, moving_on = Counted(3), MovingOn(3)
    assert feed_training(windows, shuffle=True)[0] is windows
    assert feed_training(moving_on, shuffle=True)[0] is not moving_on


@on_tensorflow
def test_evaluation_leaves_windows_that_move_on_to_keras():
    windows, moving_on = Counted(3), MovingOn(3)
    assert feed_evaluation(windows).options().autotune.enabled is False
    assert feed_evaluation(moving_on) is moving_on


def test_what_is_no_data_set_of_windows_is_left_alone():
    array = np.zeros(3)
    assert feed_training(array, [], shuffle=True) == (array, [])
    assert feed_evaluation(array) is array
    assert feed_evaluation(None) is None


def test_windows_with_a_callback_list_of_keras_are_left_alone():
    callbacks = keras.callbacks.CallbackList([])
    windows = Counted(3)
    assert feed_training(windows, callbacks) == (windows, callbacks)


@on_tensorflow
def test_feeding_ends_an_epoch_that_was_interrupted():
    windows = Counted(3)
    windows.on_epoch_begin()
    feed_training(windows)
    assert windows.heard == ["begin", "end"]


# What Keras trains and evaluates on.


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return random_corpus(tmp_path_factory.mktemp("pieces"))


class Bigrams(keras.Model):
    """Predicts from one id alone; keeps what it was trained on."""

    def __init__(self):
        super().__init__()
        self.logits = keras.layers.Embedding(len(MAGENTA), len(MAGENTA))
        self.batches = []

    def call(self, inputs, training=False):
        ids = inputs["token_ids"]
        if training and not isinstance(ids, keras.KerasTensor):
            self.batches.append(keras.ops.convert_to_numpy(ids).tobytes())
        return self.logits(ids)


def bigrams(**options):
    model = Bigrams()
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", cross_entropy, **options)
    return model


def event_windows(corpus, **options):
    options = {"sequence_length": 8, "batch_size": 2, "steps": 5, **options}
    return EventWindows(corpus, vocabulary=MAGENTA, **options)


def trained_steps(windows, **options):
    """The steps whose batches `fit` trained on."""
    model = bigrams(run_eagerly=True)
    model(windows.batch(0)[0])
    model.fit(windows, verbose=0, **options)
    steps = {
        windows.batch(step)[0]["token_ids"].tobytes(): step
        for step in range(100)
    }
    return [steps[batch] for batch in model.batches]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_three_epochs_train_on_each_step_once_and_in_order(
    corpus, shuffle, workers
):
    windows = event_windows(corpus, workers=workers)
    steps = trained_steps(windows, epochs=3, shuffle=shuffle)
    assert steps == list(range(15))
    assert windows.first_step == 15


def test_a_stopped_run_goes_on_with_the_steps_it_has_not_seen(corpus):
    whole = trained_steps(event_windows(corpus), epochs=2)
    rest = trained_steps(event_windows(corpus, first_step=5), epochs=1)
    assert rest == whole[5:]


def test_a_weighted_metric_of_keras_is_the_mean_over_events(corpus):
    windows = EvaluationWindows(
        corpus, "train", vocabulary=MAGENTA, sequence_length=64, batch_size=4
    )
    nats = keras.metrics.SparseCategoricalCrossentropy(
        name="nats", from_logits=True
    )
    model = bigrams(weighted_metrics=[nats])
    model(windows[0][0])
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(len(MAGENTA), len(MAGENTA))).astype("float32")
    model.logits.set_weights([logits])
    found = model.evaluate(windows, verbose=0, return_dict=True)["nats"]
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    pieces = [all_ids(corpus, MAGENTA, i) for i in corpus.split("train")]
    total = -sum(logits[ids[:-1], ids[1:]].sum() for ids in pieces)
    assert found == pytest.approx(total / windows.num_events, rel=1e-4)
