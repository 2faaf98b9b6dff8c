"""What sounds at a moment, as a model sees it.

`left` is an int tensor of shape (batch, time, 128): for each pitch, how many
ticks it still sounds, 0 if it doesn't.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_pianogen.events import PITCHES
from keras_pianogen.layers.building import apply
from keras_pianogen.layers.building import clone
from keras_pianogen.note_tuples import TickCode

# Ticks from which a time is 1 where it is given to a network: a second.
TICKS_OF_ONE = 100
# A note that sounds longer than this counts as sounding so long.
MOST_TICKS = 2**15


@keras.saving.register_keras_serializable(package="keras_pianogen")
class SoundingProjection(keras.layers.Layer):
    """A linear map of what sounds: a flag for each pitch, and how long yet.

    Args:
        hidden_dim: int. Width of the outputs.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        left: int tensor of shape (batch, time, 128), see above.

    Returns:
        A tensor of shape (batch, time, hidden_dim).
    """

    def __init__(self, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.ticks_of_one = TICKS_OF_ONE

    def build(self, input_shape):
        self.dense = keras.layers.Dense(
            self.hidden_dim,
            use_bias=False,
            dtype=self.dtype_policy,
            name="dense",
        )
        self.dense.build((None, None, 2 * PITCHES))
        self.built = True

    def call(self, left):
        left = ops.cast(left, self.compute_dtype) / TICKS_OF_ONE
        flags = ops.cast(left > 0, self.compute_dtype)
        x = ops.concatenate([flags, ops.log1p(left)], axis=-1)
        return apply(self.dense, x)

    def compute_output_spec(self, left):
        shape = (*left.shape[:-1], self.hidden_dim)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return super().get_config() | {"hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable(package="keras_pianogen")
class EndCopying(keras.layers.Layer):
    r"""Makes the moments likelier at which a sounding note ends.

    Keys that one pedal or one hand holds end together. So a class of ticks
    gets a share of the mass of each note that ends there, beside its own:

    $$\ell_c = \log\Big(e^{b_c} + \sum_q \sum_k w_k\, e^{s_q}\,
    [c(r_q) + k = c]\Big)$$

    $b$ are the logits that came, $r_q$ the ticks that pitch $q$ still sounds,
    $c(r)$ the class of $r$ ticks and $w$ a learned window of some classes
    around it. A score $s_q$ is the product of a query, a linear map of the
    hidden state, and what is known of the note: its pitch, and $r_q$.

    Args:
        code: a `TickCode`, how ticks are written as classes.
        key_dim: int. Width of queries. Defaults to `16`.
        reach: int. How many classes the window reaches on both sides.
            Defaults to `8`.
        kernel_initializer: initializer of the query's kernel. Defaults to
            `"glorot_uniform"`.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        logits: tensor of shape (batch, time, classes): those of `code`, and
            any others after them.
        hidden: tensor of shape (batch, time, hidden_dim).
        left: int tensor of shape (batch, time, 128), see above.

    Returns:
        A float32 tensor of the shape of `logits`.
    """

    def __init__(
        self,
        code,
        key_dim=16,
        reach=8,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.code = TickCode(**code) if isinstance(code, dict) else code
        self.key_dim = key_dim
        self.reach = reach
        self.ticks_of_one = TICKS_OF_ONE
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        ticks = np.arange(min(MOST_TICKS, self.code.most) + 1)
        self.class_of = self.code.encode(ticks)[0].astype("int32")

    def build(self, logits_shape, hidden_shape, left_shape):
        self.query = keras.layers.Dense(
            self.key_dim + 3,
            kernel_initializer=clone(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="query",
        )
        self.query.build((None, None, hidden_shape[-1]))
        self.pitch_keys = self.add_weight(
            name="pitch_key_embeddings",
            shape=(PITCHES, self.key_dim),
            initializer=keras.initializers.RandomNormal(stddev=0.1),
        )
        self.window = self.add_weight(
            name="window_embeddings",
            shape=(2 * self.reach + 1,),
            initializer=self._first_window,
        )
        self.built = True

    def _first_window(self, shape, dtype=None):
        distance = np.abs(np.arange(-self.reach, self.reach + 1))
        window = -2.0 - 0.3 * distance + 2.0 * (distance == 0)
        return ops.convert_to_tensor(window, dtype)

    def call(self, logits, hidden, left):
        logits = ops.cast(logits, "float32")
        mass = self._mass(self._scores(hidden, left), left, logits.shape[-1])
        return ops.logaddexp(logits, ops.log(mass + keras.config.epsilon()))

    def _scores(self, hidden, left):
        """The score of each note that sounds, (batch, time, 128)."""
        query = ops.cast(apply(self.query, hidden), "float32")
        by_pitch = ops.matmul(
            query[..., 3:], ops.transpose(ops.cast(self.pitch_keys, "float32"))
        )
        late = ops.log1p(ops.cast(left, "float32") / TICKS_OF_ONE)
        by_time = query[..., :1] + late * (
            query[..., 1:2] + late * query[..., 2:3]
        )
        return by_pitch + by_time

    def _mass(self, scores, left, num_classes):
        """The mass that each class gets, (batch, time, num_classes)."""
        batch, time = ops.shape(left)[0], ops.shape(left)[1]
        table = ops.convert_to_tensor(self.class_of)
        classes = ops.take(table, ops.clip(left, 0, len(self.class_of) - 1))
        # Exponents are bounded so that a wild score does no harm.
        share = ops.where(left > 0, ops.exp(ops.clip(scores, -30, 30)), 0.0)
        positions = ops.reshape(ops.arange(batch * time), (batch, time, 1))
        mass = ops.segment_sum(
            ops.reshape(share, (-1,)),
            ops.reshape(positions * num_classes + classes, (-1,)),
            num_segments=batch * time * num_classes,
        )
        window = ops.exp(ops.cast(self.window, "float32"))
        mass = ops.conv(
            ops.reshape(mass, (-1, num_classes, 1)),
            ops.reshape(window, (-1, 1, 1)),
            padding="same",
        )
        return ops.reshape(mass, (batch, time, num_classes))

    def compute_output_spec(self, logits, hidden, left):
        return keras.KerasTensor(logits.shape, dtype="float32")

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "code": dataclasses.asdict(self.code),
                "key_dim": self.key_dim,
                "reach": self.reach,
                "kernel_initializer": keras.initializers.serialize(
                    self.kernel_initializer
                ),
            }
        )
        return config
