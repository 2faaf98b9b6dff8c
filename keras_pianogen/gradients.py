"""Values and gradients of functions of variables, on each backend.

With these three functions a training step is written once, in plain Keras
whose layers and optimizers keep their own state, and runs compiled on
TensorFlow, JAX and PyTorch.
"""

import keras
from keras import ops


def value_and_grad(function, variables, others):
    """A loss and its gradients with respect to some variables.

    Args:
        function: a function without arguments that returns a pair: a scalar
            loss, and tensors to be given back as they are, in any structure.
            What it assigns to `others` (seeds, averages) stays assigned.
        variables: list of variables to differentiate by.
        others: list of all other variables that the function may read.

    Returns:
        A triple of the loss, the other tensors, and a list of gradients;
        zeros where the loss doesn't depend on a variable.
    """
    backend = keras.config.backend()
    if backend == "jax":
        return _jax_value_and_grad(function, variables, others)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for variable in variables:
                tape.watch(variable.value)
            loss, kept = function()
        gradients = tape.gradient(loss, [v.value for v in variables])
        return loss, kept, _with_zeros(gradients, variables)
    import torch

    with torch.enable_grad():
        loss, kept = function()
        values = [v.value for v in variables]
        gradients = [None] * len(values)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, values, allow_unused=True)
    kept = keras.tree.map_structure(lambda x: x.detach(), kept)
    return loss.detach(), kept, _with_zeros(gradients, variables)


def input_gradient(function, inputs, variables):
    """The gradient of a function's sum by its inputs, to differentiate again.

    Args:
        function: a function of one tensor. What it assigns to variables is
            dropped on JAX.
        inputs: float tensor.
        variables: list of all variables that the function may read.

    Returns:
        A tensor of the shape of `inputs`.
    """
    backend = keras.config.backend()
    if backend == "jax":
        import jax

        state = [(v, v.value) for v in variables]

        def total(inputs):
            with keras.StatelessScope(state_mapping=state):
                return ops.sum(function(inputs))

        return jax.grad(total)(inputs)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(inputs)
            total = ops.sum(function(inputs))
        return tape.gradient(total, inputs)
    import torch

    inputs = inputs.detach().requires_grad_(True)
    total = ops.sum(function(inputs))
    return torch.autograd.grad(total, inputs, create_graph=True)[0]


def run_train_step(model, step, arguments):
    """Run a step that changes a model's variables, as `fit` calls it.

    Args:
        model: a `keras.Model`, compiled.
        step: a function of one batch that returns a dict of logs.
        arguments: what `train_step` was called with: a batch; on JAX the
            model's state and a batch.

    Returns:
        The logs; on JAX a pair of logs and the new state.
    """
    return _run_step(step, arguments, model, model.optimizer.variables)


def run_test_step(model, step, arguments):
    """Like `run_train_step`, for `test_step`, which changes no weights."""
    return _run_step(step, arguments, model)


def _run_step(step, arguments, model, *optimizer_variables):
    if keras.config.backend() != "jax":
        return step(*arguments)
    state, data = arguments
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        *optimizer_variables,
        model.metrics_variables,
    )
    mapping = [
        pair
        for variables, values in zip(groups, state, strict=True)
        for pair in zip(variables, values, strict=True)
    ]
    with keras.StatelessScope(state_mapping=mapping) as scope:
        logs = step(data)
    new = tuple(
        [scope.get_current_value(variable) for variable in variables]
        for variables in groups
    )
    return logs, new


def _jax_value_and_grad(function, variables, others):
    import jax

    # An inner scope does not fall back to the outer one: it is given all.
    rest = [(v, v.value) for v in others]

    def loss_of(values):
        state = [*zip(variables, values, strict=True), *rest]
        with keras.StatelessScope(state_mapping=state) as scope:
            loss, kept = function()
        return loss, (kept, [scope.get_current_value(v) for v, _ in rest])

    (loss, (kept, new)), gradients = jax.value_and_grad(loss_of, has_aux=True)(
        [v.value for v in variables]
    )
    for (variable, old), value in zip(rest, new, strict=True):
        if value is not None and value is not old:
            variable.assign(value)
    return loss, kept, gradients


def _with_zeros(gradients, variables):
    return [
        ops.zeros_like(variable.value) if gradient is None else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
