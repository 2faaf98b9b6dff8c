# mypy: allow-untyped-defs
"""Dynamic evaluation: the weights of a model follow the piece that it reads.

A window is predicted first, and only then learned from (Krause et al., 2018):

    w <- w - learning_rate * g / (r + mean(r)) + decay * (w0 - w) * r / mean(r)

| symbol | meaning                                                      |
| ------ | ------------------------------------------------------------ |
| w, w0  | a variable, and the trained one in which each piece begins   |
| g      | gradient of the mean nats of the window's new targets        |
| r      | root of the mean square of g over windows of the train split |

Departure from the paper: `mean(r)`, over the variable, stands for its constant
against division by zero, so that one rate serves models of any scale. The share
of the distance to `w0` is at most 1, as in the paper.

Reference:
    - [Krause et al., Dynamic Evaluation of Neural Sequence Models,
      2018](https://arxiv.org/abs/1709.07432)
"""

import keras
import numpy as np
from keras import ops

from keras_pianogen.data.windows import check_least
from keras_pianogen.judging.scoring import ModelScorer
from keras_pianogen.judging.scoring import Score

DECAY = 0.02
LEAST = 1e-12  # of a root of a mean square, against division by zero


class SquareSums(keras.optimizers.Optimizer):
    """An optimizer that changes no weights, and sums squares of gradients."""

    def __init__(self):
        super().__init__(learning_rate=0.0)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.sums = self.add_optimizer_variables(variables, "sum")

    def update_step(self, gradient, variable, learning_rate):
        square = ops.square(ops.cast(gradient, variable.dtype))
        self.assign_add(self.sums[self._get_variable_index(variable)], square)


class DynamicRule(keras.optimizers.Optimizer):
    """An optimizer with the rule of dynamic evaluation, see the module.

    Args:
        learning_rate: float above 0.
        roots: list of arrays, `r` of each trainable variable.
        decay: float, 0 to 1.
    """

    def __init__(self, learning_rate, roots, decay=DECAY):
        super().__init__(learning_rate=learning_rate)
        roots = [np.maximum(root, LEAST) for root in roots]
        self.scales = [1 / (r + r.mean()) for r in roots]
        self.shares = [np.minimum(decay * r / r.mean(), 1.0) for r in roots]

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.trained = self.add_optimizer_variables(variables, "trained")
            self.forget(variables)

    def forget(self, variables):
        """Take the variables as the trained ones."""
        for trained, variable in zip(self.trained, variables, strict=True):
            trained.assign(variable)

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        share, scale = (
            ops.convert_to_tensor(of[index].astype("float32"), variable.dtype)
            for of in (self.shares, self.scales)
        )
        step = ops.cast(learning_rate, variable.dtype) * gradient * scale
        back = ops.subtract(self.trained[index], variable) * share
        self.assign_add(variable, back - step)


class DynamicScorer:
    """Scores the windows of a piece, and learns from each after its score.

    The model itself doesn't change: a copy without dropout follows the piece.

    Args:
        model: a model of events or notes with a backbone.
        windows: windows of the train split, of one row each, from whose
            gradients the roots of mean squares are computed.
        learning_rate: float above 0.
        decay: float, 0 to 1. Defaults to `0.02`.

    Raises:
        ValueError: if an argument is out of its range.
    """

    reach = ModelScorer.reach

    def __init__(self, model, windows, learning_rate, decay=DECAY):
        if not learning_rate > 0:
            raise ValueError(
                "`dynamic` must be a learning rate above 0. "
                f"Received: dynamic={learning_rate}"
            )
        check_least(1, windows=len(windows))
        self.model = _copy_without_dropout(model)
        self.num_parameters = model.count_params()
        sums = self._compiled(SquareSums())
        for i in range(len(windows)):
            self.model.train_on_batch(*windows[i])
        roots = [
            np.sqrt(ops.convert_to_numpy(x) / len(windows)) for x in sums.sums
        ]
        self._trained = self.model.get_weights()
        self._compiled(DynamicRule(learning_rate, roots, decay))

    def _compiled(self, optimizer):
        optimizer.build(self.model.trainable_variables)
        self.model.compile(optimizer)
        return optimizer

    def score(self, windows, progress=None):
        self.model.set_weights(self._trained)
        nats = hits = 0.0
        for i in range(len(windows)):
            batch = windows[i]
            # Metrics of this window alone, by the weights before the step.
            logs = self.model.train_on_batch(*batch, return_dict=True)
            count = float(batch[2].sum())
            nats += float(logs[f"nats_per_{windows.unit}"]) * count
            hits += float(logs["accuracy"]) * count
            if progress is not None:
                progress(i + 1, len(windows))
        return Score(nats, hits)


def _copy_without_dropout(model):
    config = model.backbone.get_config() | {"dropout": 0.0}
    backbone = type(model.backbone).from_config(config)
    copy = type(model)(backbone, model.preprocessor)
    copy.set_weights(model.get_weights())
    return copy
