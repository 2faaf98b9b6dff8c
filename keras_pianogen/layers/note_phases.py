"""How far notes are apart in time and in pitch, as attention is told.

Huang et al. (2018) add to the logits of attention a product of the query and a
learned embedding of the distance in time or in pitch. Here each embedding is a
sum of cosines and sines of the distance,

    E(d) = sum over periods p of A_p cos(2 pi d / p) + B_p sin(2 pi d / p),

with learned vectors A and B. By the addition theorems, `query . E(d)` is then a
plain product of two vectors that depend on one note each (the identity behind
the rotary embeddings of Su et al., 2021), so that nothing is gathered for pairs
of notes, and the key-value cache holds all that it needs. Any distance, also a
negative one, has an embedding.

| relation | distance          | periods                                     |
| -------- | ----------------- | ------------------------------------------- |
| onset    | ticks (10 ms)     | 4, 8, 16 ... 8,192: 40 ms to 82 s           |
| pitch    | semitones         | 12, 6, 4, 3, 2.4, 2: all functions of the   |
|          |                   | pitch class; 24, 48, 96, 192: the register  |

References:
    - [Huang et al., Music Transformer, 2018](https://arxiv.org/abs/1809.04281),
      section 3.3
    - [Su et al., RoFormer, 2021](https://arxiv.org/abs/2104.09864)
"""

import dataclasses
import functools

import keras
import numpy as np
from keras import ops


@dataclasses.dataclass(frozen=True)
class Relation:
    """A kind of distance between two notes.

    A place `x` has the phases `2 pi x turns / period`.

    Args:
        name: what the distance is of.
        turns: whole numbers, one for each phase.
        periods: whole numbers, one for each phase.
    """

    name: str
    turns: tuple[int, ...]
    periods: tuple[int, ...]

    @functools.cached_property
    def table(self):
        """Cosines and sines of phases, float32 (places, 2, phases).

        All phases of a place are those of its remainder by `len(table)`, so
        that they are exact for any place, and the same on each backend.
        """
        periods = np.array(self.periods)
        places = np.arange(np.lcm.reduce(periods))[:, None]
        angles = 2 * np.pi * places * np.array(self.turns) / periods
        table = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return table.astype("float32")


# Periods of onsets are powers of two, so that a clock that passes 2^31 ticks
# changes no phase.
LONGEST = 2**13
ONSET = Relation("onset", (1,) * 12, tuple(2**i for i in range(2, 14)))
PITCH = Relation(
    "pitch", (1, 2, 3, 4, 5, 6, 1, 1, 1, 1), (*(12,) * 6, 24, 48, 96, 192)
)
RELATIONS = {x.name: x for x in (ONSET, PITCH)}
# What a model can be given: some of these, with commas between them.
CHOICES = ("", "onset", "pitch", "onset,pitch")


@keras.saving.register_keras_serializable(package="keras_pianogen")
class NotePhases(keras.layers.Layer):
    """Cosines and sines of the phases of notes, for `RelativeGlobalAttention`.

    A note's onset is the sum of the shifts up to it, in the order in which
    notes are read: the notes after a gap, which come first (see `data.gaps`),
    have the earliest onsets. A shift counts as the shortest of its class, and
    as no more than the longest period. A start of a piece has no phases, and
    its terms are 0.

    Args:
        relations: string, one of `CHOICES` but the first.
        first_shifts: ints, the smallest shift of each class in ticks.
        **kwargs: See `keras.layers.Layer`: `name`, `dtype`, `trainable`.

    Call arguments:
        inputs: int tensor of shape (batch, time, fields), the classes of
            notes, see `NoteEmbedding`.
        since: optional int tensor (batch,), the onset of the note before.

    Returns:
        A tensor of shape (batch, time, 2 * num_phases), all cosines first.

    Raises:
        ValueError: if `relations` is none of these.

    Examples:
        >>> import numpy as np
        >>> layer = NotePhases("onset,pitch", first_shifts=range(100))
        >>> tuple(layer(np.array([[[0, 60], [4, 62]]])).shape)
        (1, 2, 44)

    Reference:
        - [Huang et al., Music Transformer, 2018](https://arxiv.org/abs/1809.04281)
    """

    def __init__(self, relations, first_shifts, **kwargs):
        super().__init__(**kwargs)
        if relations not in CHOICES[1:]:
            names = ", ".join(map(repr, CHOICES[1:]))
            raise ValueError(
                f"`relations` must be one of {names}. "
                f"Received: relations={relations!r}"
            )
        self.relations = relations
        self.first_shifts = [int(x) for x in first_shifts]
        self.kinds = [RELATIONS[name] for name in relations.split(",")]
        self.num_phases = sum(len(x.periods) for x in self.kinds)
        # Of no note, of each class, and of the end of a piece.
        shifts = np.array([0, *self.first_shifts, 0])
        self.shifts = np.minimum(shifts, LONGEST).astype("int32")

    def call(self, inputs, since=None):
        return self.at(self.onsets(inputs, since), inputs[..., 1])

    def onsets(self, inputs, since=None):
        """When notes begin in ticks, an int32 tensor (batch, time)."""
        classes = ops.cast(inputs[..., 0], "int32") + 1
        shifts = ops.take(ops.convert_to_tensor(self.shifts), classes, axis=0)
        onsets = ops.cumsum(shifts, axis=1, dtype="int32")
        return onsets if since is None else since[:, None] + onsets

    def at(self, onsets, pitches):
        """The phases of notes, of int tensors (batch, time)."""
        places = {"onset": onsets, "pitch": ops.cast(pitches, "int32")}
        found = []
        for kind in self.kinds:
            table = ops.convert_to_tensor(kind.table)
            place = places[kind.name] % len(kind.table)
            found.append(ops.take(table, place, axis=0))
        phases = ops.concatenate(found, axis=-1)  # (batch, time, 2, phases)
        shape = (*ops.shape(onsets), 2 * self.num_phases)
        is_note = ops.cast(pitches >= 0, "float32")[..., None]
        phases = ops.reshape(phases, shape) * is_note
        return ops.cast(phases, self.compute_dtype)

    def build_cache(self, batch_size):
        """An empty ring of one place: the last note's onset and pitch."""
        shape = (batch_size, 1, 1, 1)
        return ops.zeros(shape, "int32"), ops.zeros(shape, "int32")

    def call_with_cache(self, inputs, cache):
        """Phases of new notes, given when the note before them began.

        Args:
            inputs: see the call arguments.
            cache: a `KeyValueCache` of what `build_cache` makes.

        Returns:
            A pair of the phases and the updated cache.
        """
        since, _ = cache.newest()
        onsets = self.onsets(inputs, since[:, 0, 0])
        pitches = ops.cast(inputs[..., 1], "int32")
        cache = cache.write(onsets[:, None, :, None], pitches[:, None, :, None])
        return self.at(onsets, pitches), cache

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * self.num_phases)

    def compute_output_spec(self, inputs, since=None):
        shape = self.compute_output_shape(inputs.shape)
        return keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        config = super().get_config()
        config.update(
            {"relations": self.relations, "first_shifts": self.first_shifts}
        )
        return config
