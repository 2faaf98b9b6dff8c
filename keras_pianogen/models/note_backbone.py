"""The Music Transformer over notes: one position a note."""

import typing

import keras
import keras_hub
from keras import ops

from keras_pianogen.bounds import Real
from keras_pianogen.bounds import Whole
from keras_pianogen.data.controls import Controls
from keras_pianogen.data.fields import Fields
from keras_pianogen.data.profiles import Profile
from keras_pianogen.layers import DecoderBlock
from keras_pianogen.layers.note_embedding import NoteEmbedding
from keras_pianogen.layers.note_embedding import row_classes
from keras_pianogen.layers.note_phases import CHOICES
from keras_pianogen.layers.note_phases import NotePhases
from keras_pianogen.layers.ranges import Activation
from keras_pianogen.layers.ranges import Flag
from keras_pianogen.layers.ranges import Heads
from keras_pianogen.layers.ranges import Layers
from keras_pianogen.layers.ranges import Named
from keras_pianogen.layers.ranges import OneOf
from keras_pianogen.layers.ranges import SettingsOf
from keras_pianogen.layers.ranges import Several
from keras_pianogen.layers.ranges import Share
from keras_pianogen.layers.ranges import Width
from keras_pianogen.layers.ranges import Words
from keras_pianogen.models.backbone import LowRankOnly
from keras_pianogen.models.backbone import check_heads
from keras_pianogen.models.presets import bundled_presets
from keras_pianogen.note_tuples import NoteTuples

# The settings of a `NoteTuples`.
Seconds = typing.Annotated[float, Real(1e-4, 60)]
Bins = typing.Annotated[int, Whole(1, 127)]
Ticks = typing.Annotated[int, Whole(1, 2**14)]
SETTINGS = {
    "time_step": Seconds,
    "velocity_bins": Bins,
    "direct_shifts": Ticks,
    "direct_durations": Ticks,
}
Form = typing.Annotated[NoteTuples, SettingsOf(NoteTuples, SETTINGS)]
# The settings of a `Controls`.
EDGES = Several(Real(-1e6, 1e6), 2**10)
VALUES = Several(Words(2**10), 2**10)
NUMBERS = Several(Real(-1e6, 1e6), 2**7)
PROFILE = {
    "means": typing.Annotated[list, NUMBERS],
    "covariance": typing.Annotated[list, Several(NUMBERS, 2**4)],
    "intervals": typing.Annotated[list, NUMBERS],
}
PROFILES = Several(SettingsOf(Profile, PROFILE), 2**10)
CONTROLS = {
    "scales": typing.Annotated[dict, Named(EDGES, 2**4)],
    "labels": typing.Annotated[dict, Named(VALUES, 2**8)],
    "profiles": typing.Annotated[dict, Named(PROFILES, 2**8)],
    "steered": typing.Annotated[list, VALUES],
}
# What attention is told of two notes besides their order.
Relations = typing.Annotated[str, OneOf(CHOICES)]
Asked = typing.Annotated[Controls, SettingsOf(Controls, CONTROLS)]


def note_inputs(num_fields):
    """The symbolic inputs of a backbone of notes: notes and their mask.

    Their shapes are (batch, time, num_fields) and (batch, time).
    """
    return {
        "notes": keras.Input((None, num_fields), dtype="int32", name="notes"),
        "padding_mask": keras.Input((None,), dtype="bool", name="padding_mask"),
    }


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoteTransformerBackbone(LowRankOnly, keras_hub.models.Backbone):
    """A stack of relative-attention blocks over embedded notes.

    It is `MusicTransformerBackbone` with another input: a position is a note,
    the sum of the embeddings of its fields, see `NoteEmbedding`.

    Args:
        form: a `NoteTuples`, or its settings as a dict.
        num_layers: int. Number of blocks.
        num_heads: int. Attention heads of each block; must divide
            `hidden_dim`.
        hidden_dim: int. Width of embeddings and blocks.
        intermediate_dim: int. Width of the feed-forward networks' middle.
        dropout: float, 0 to 1. Dropout of embeddings and of every residual
            branch. Defaults to `0.1`.
        max_sequence_length: int. How many notes back a note can attend to.
            Defaults to `512`.
        share_heads: bool. Whether heads share their relative embeddings.
            Defaults to `False`.
        activation: activation of the feed-forward networks. Defaults to
            `"relu"`.
        layer_norm_epsilon: float. Defaults to `1e-5`.
        infilling: bool. Whether the model fills gaps: notes have a fifth
            field then, see `data.gaps`. Defaults to `False`.
        performing: bool. Whether the model performs scores: notes have three
            fields more, see `data.scores`. Defaults to `False`.
        controls: a `Controls`, what can be asked of the model, or its
            settings as a dict: notes have a field for each that is an input,
            see `data.controls`. Defaults to `None`, nothing.
        relations: string, what attention is told of two notes besides their
            order: `"onset"`, how far their onsets are apart, `"pitch"`, how
            far their pitches are, or `"onset,pitch"`; see `NotePhases`.
            Defaults to `""`, nothing.
        dtype: string or `keras.DTypePolicy`. Of computations and weights.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: dict of `notes`, int tensor of shape (batch, time, fields),
            and `padding_mask`, bool tensor of shape (batch, time). The form's
            classes, see `NoteTuples.classes`; -1 where there is no note.

    Returns:
        Hidden states, a tensor of shape (batch, time, hidden_dim).

    Examples:
        >>> import numpy as np
        >>> backbone = NoteTransformerBackbone(
        ...     form=NoteTuples(),
        ...     num_layers=2,
        ...     num_heads=2,
        ...     hidden_dim=16,
        ...     intermediate_dim=32,
        ... )
        >>> inputs = {
        ...     "notes": np.ones((1, 12, 4), "int32"),
        ...     "padding_mask": np.ones((1, 12), "bool"),
        ... }
        >>> tuple(backbone(inputs).shape)
        (1, 12, 16)
    """

    def __init__(
        self,
        form: Form,
        num_layers: Layers,
        num_heads: Heads,
        hidden_dim: Width,
        intermediate_dim: Width,
        dropout: Share = 0.1,
        max_sequence_length: Width = 512,
        share_heads: Flag = False,
        activation: Activation = "relu",
        layer_norm_epsilon: Share = 1e-5,
        infilling: Flag = False,
        performing: Flag = False,
        controls: Asked | None = None,
        relations: Relations = "",
        dtype=None,
        **kwargs,
    ):
        check_heads(num_heads, hidden_dim)
        # === Config ===
        self.form = NoteTuples(**form) if isinstance(form, dict) else form
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length
        self.share_heads = share_heads
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.infilling = infilling
        self.performing = performing
        if not isinstance(controls, Controls):
            controls = Controls.from_config(controls)
        self.controls = controls
        self.relations = relations
        self.fields = Fields(bool(infilling), bool(performing), controls)

        # === Layers ===
        sizes = self.fields.sizes(self.form)
        self.note_embedding = NoteEmbedding(
            sizes.values(), hidden_dim, dtype=dtype, name="note_embedding"
        )
        self.embeddings_dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="embeddings_dropout"
        )
        self.note_phases = self._new_phases(dtype)
        self.transformer_layers = self._new_blocks(dtype)
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=dtype, name="layer_norm"
        )

        # === Functional Model ===
        inputs = note_inputs(len(sizes))
        x = self._hidden_states(**inputs)
        super().__init__(inputs=inputs, outputs=x, dtype=dtype, **kwargs)

    def _new_phases(self, dtype):
        """What tells attention of two notes' relations, or `None`."""
        if not self.relations:
            return None
        return NotePhases(
            self.relations,
            self.form.shift_code.firsts,
            dtype=dtype,
            name="note_phases",
        )

    def _new_blocks(self, dtype):
        phases = self.note_phases
        return [
            DecoderBlock(
                intermediate_dim=self.intermediate_dim,
                num_heads=self.num_heads,
                max_distance=self.max_sequence_length,
                share_heads=self.share_heads,
                dropout=self.dropout,
                activation=self.activation,
                layer_norm_epsilon=self.layer_norm_epsilon,
                num_phases=0 if phases is None else phases.num_phases,
                dtype=dtype,
                name=f"transformer_layer_{i}",
            )
            for i in range(self.num_layers)
        ]

    def _hidden_states(self, notes, padding_mask):
        """The layers' outputs on symbolic inputs, (batch, time, hidden_dim)."""
        x = self.embeddings_dropout(self.note_embedding(notes))
        more = {}
        if self.note_phases is not None:
            more = {"phases": self.note_phases(notes)}
        for layer in self.transformer_layers:
            x = layer(x, padding_mask=padding_mask, **more)
        return self.layer_norm(x)

    def row_classes(self, rows, ops=ops):
        """The classes of note tuples whose times are in ticks."""
        return row_classes(self.form, rows, self.infilling, ops)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "form": self.form.get_config(),
                "num_layers": self.num_layers,
                "num_heads": self.num_heads,
                "hidden_dim": self.hidden_dim,
                "intermediate_dim": self.intermediate_dim,
                "dropout": self.dropout,
                "max_sequence_length": self.max_sequence_length,
                "share_heads": self.share_heads,
                "activation": self.activation,
                "layer_norm_epsilon": self.layer_norm_epsilon,
                "infilling": self.infilling,
                "performing": self.performing,
                "controls": self.controls.get_config(),
                "relations": self.relations,
            }
        )
        return config
