"""Small runs of training, and what is read from their folders."""

import csv
import functools
import os
import signal

import keras
import numpy as np
from sizes import LANGUAGE_MODEL

from keras_pianogen.training import Recipe
from keras_pianogen.training import train as train_and_sample

RECIPE = Recipe(
    **LANGUAGE_MODEL,
    batch_size=4,
    learning_rate=1e-2,
    optimizer="adamw",
    dtype="float32",
)

# Without samples, whose generation takes long to compile.
train = functools.partial(train_and_sample, samples=0)


def read_history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def last_checkpoint(folder):
    return max((folder / "checkpoints").glob("step-*"))


def variables_of(folder):
    with np.load(last_checkpoint(folder) / "variables.npz") as arrays:
        return [arrays[name] for name in arrays]


def assert_same_variables(folder, other):
    for ours, theirs in zip(
        variables_of(folder), variables_of(other), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def interrupt_at(step, number=signal.SIGINT):
    """A progress function that presses Ctrl-C, once, after a step.

    It can send another signal instead.
    """
    pressed = []

    def progress(row, done, *_):
        if row["step"] == step and not pressed:
            pressed.append(step)
            os.kill(os.getpid(), number)

    return progress


def weights_of(model):
    return [
        np.array(keras.ops.convert_to_numpy(variable.value))
        for variable in model.trainable_variables
    ]
