"""The model of a run as it is validated, sampled and saved.

It has the moving average of the weights if the recipe asks for one, and it
stays on one device if the model that is trained is spread over many. A
function here returns a context whose value is that model.
"""

import contextlib
import functools

import keras
import numpy as np

from keras_pianogen.training.data_parallel import DataParallel


def evaluated_model(model, recipe, devices, backbone=None):
    """A function that returns a context with the model to evaluate.

    The model is `None` in processes that don't lead.

    Args:
        model: the model that is trained.
        recipe: its `Recipe`.
        devices: a `OneDevice` or a `DataParallel`.
        backbone: see `Recipe.build_model`.
    """
    if not devices.leads:
        return contextlib.nullcontext
    weights = weights_of if recipe.ema_momentum is None else averages_of
    replica = devices.replica(lambda: recipe.build_model(backbone))
    if replica is not None:
        return functools.partial(_copied, model, replica, weights)
    if recipe.ema_momentum is None:
        return functools.partial(contextlib.nullcontext, model)
    return functools.partial(_averaged, model)


@contextlib.contextmanager
def _copied(model, replica, weights):
    # A variable that is spread over processes is only read here: assigning to
    # it would wait for the others.
    with DataParallel.alone():
        _assign(replica.weights, _arrays(model.weights))
        _assign(replica.trainable_variables, weights(model))
        yield replica


@contextlib.contextmanager
def _averaged(model):
    # Not `keras.callbacks.SwapEMAWeights`: on TensorFlow it adds and subtracts,
    # and its rounding changes the weights.
    weights = weights_of(model)
    _assign(model.trainable_variables, averages_of(model))
    try:
        yield model
    finally:
        _assign(model.trainable_variables, weights)


def weights_of(model):
    """The weights of a model, a list of arrays."""
    return _arrays(model.trainable_variables)


def averages_of(model):
    """The moving averages of a model's weights, a list of arrays.

    Before the first step they are the weights themselves.
    """
    if not keras.ops.convert_to_numpy(model.optimizer.iterations):
        return weights_of(model)
    return _arrays(
        variable
        for variable in model.optimizer.variables
        if variable.name.endswith("_average")
    )


def _arrays(variables):
    return [
        np.array(keras.ops.convert_to_numpy(variable.value))
        for variable in variables
    ]


def _assign(variables, arrays):
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
