"""Models that the Music Transformer is compared with.

The same command trains them. They can be evaluated and saved as presets, but
they have no `generate`.
"""

import keras
import keras_hub

from keras_pianogen.layers.ranges import Heads
from keras_pianogen.layers.ranges import Layers
from keras_pianogen.layers.ranges import Length
from keras_pianogen.layers.ranges import Share
from keras_pianogen.layers.ranges import Width
from keras_pianogen.models.arguments import arguments_of
from keras_pianogen.models.embedding import event_embedding
from keras_pianogen.models.embedding import event_inputs
from keras_pianogen.models.fitting import TrainsOnEvents
from keras_pianogen.models.fitting import compile_settings
from keras_pianogen.models.preprocessor import (
    MusicTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.presets import verified_presets


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class LSTMBackbone(keras_hub.models.Backbone):
    """A stack of LSTMs over embedded event ids, like PerformanceRNN's.

    PerformanceRNN has three layers of 512 units. This class departs from it
    in two ways: event ids are embedded instead of one-hot, and the output
    layer shares the embedding's weights, as in `MusicTransformerBackbone`.

    Args:
        vocabulary_size: int. Number of ids, including the special ones.
        num_layers: int. Number of LSTM layers. Defaults to `3`.
        hidden_dim: int. Number of units of each layer, and the width of the
            embedding. Defaults to `512`.
        dropout: float, 0 to 1. Dropout after every layer. Defaults to `0.1`.
        max_sequence_length: int. Number of events in a window of training or
            evaluation. Defaults to `1024`.
        dtype: string or `keras.DTypePolicy`. The dtype of computations and
            weights.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: dict of `token_ids`, int tensor of shape (batch, time), and
            `padding_mask`, which is ignored, because padding comes last and
            no event sees the ones after it.

    Returns:
        Hidden states, a tensor of shape (batch, time, hidden_dim).

    Reference:
        - [Oore et al., This Time with Feeling, 2018](https://arxiv.org/abs/1808.03715)
    """

    def __init__(
        self,
        vocabulary_size: Width,
        num_layers: Layers = 3,
        hidden_dim: Width = 512,
        dropout: Share = 0.1,
        max_sequence_length: Length = 1024,
        dtype=None,
        **kwargs,
    ):
        # === Layers ===
        self.token_embedding = event_embedding(
            vocabulary_size, hidden_dim, dtype
        )
        self.recurrent_layers = [
            keras.layers.LSTM(
                hidden_dim, return_sequences=True, dtype=dtype, name=f"lstm_{i}"
            )
            for i in range(num_layers)
        ]
        self.dropouts = [
            keras.layers.Dropout(dropout, dtype=dtype, name=f"dropout_{i}")
            for i in range(num_layers)
        ]

        # === Functional Model ===
        inputs = event_inputs()
        x = self.token_embedding(inputs["token_ids"])
        for lstm, drop in zip(
            self.recurrent_layers, self.dropouts, strict=True
        ):
            x = drop(lstm(x))
        super().__init__(inputs=inputs, outputs=x, dtype=dtype, **kwargs)

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.hidden_dim = hidden_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length

    def get_config(self):
        return super().get_config() | arguments_of(self)


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class TransformerBackbone(keras_hub.models.Backbone):
    """A Transformer decoder that adds position encodings to the embeddings.

    It is built of KerasHub's pre-norm blocks and sinusoidal positions (Vaswani
    et al., 2017). Dropout also applies to the attention weights, unlike in
    `MusicTransformerBackbone`.

    Args:
        vocabulary_size: int. Number of ids, including the special ones.
        num_layers: int. Number of blocks.
        num_heads: int. Number of attention heads of each block.
        hidden_dim: int. Width of embeddings and blocks.
        intermediate_dim: int. Width of the feed-forward networks' inner
            layer.
        dropout: float, 0 to 1. Dropout of embeddings, attention weights and
            residual branches. Defaults to `0.1`.
        max_sequence_length: int. Number of events in a window of training or
            evaluation. Defaults to `1024`.
        dtype: string or `keras.DTypePolicy`. The dtype of computations and
            weights.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: dict of `token_ids`, int tensor of shape (batch, time), and
            `padding_mask`, which is ignored, because padding comes last and
            no event sees the ones after it.

    Returns:
        Hidden states, a tensor of shape (batch, time, hidden_dim).

    Reference:
        - [Vaswani et al., Attention Is All You Need, 2017](https://arxiv.org/abs/1706.03762)
    """

    def __init__(
        self,
        vocabulary_size: Width,
        num_layers: Layers,
        num_heads: Heads,
        hidden_dim: Width,
        intermediate_dim: Width,
        dropout: Share = 0.1,
        max_sequence_length: Length = 1024,
        dtype=None,
        **kwargs,
    ):
        # === Layers ===
        self.token_embedding = event_embedding(
            vocabulary_size, hidden_dim, dtype
        )
        self.positions = keras_hub.layers.SinePositionEncoding(
            dtype=dtype, name="positions"
        )
        self.embeddings_dropout = keras.layers.Dropout(
            dropout, dtype=dtype, name="embeddings_dropout"
        )
        sizes = intermediate_dim, num_heads, dropout
        settings = {"normalize_first": True, "dtype": dtype}
        self.transformer_layers = [
            keras_hub.layers.TransformerDecoder(
                *sizes, name=f"transformer_layer_{i}", **settings
            )
            for i in range(num_layers)
        ]
        self.layer_norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=dtype, name="layer_norm"
        )

        # === Functional Model ===
        inputs = event_inputs()
        x = self.token_embedding(inputs["token_ids"])
        # Without this factor, the initial embeddings would be a 50th of the
        # position encodings' size.
        x = x * hidden_dim**0.5
        x = self.embeddings_dropout(x + self.positions(x))
        for layer in self.transformer_layers:
            x = layer(x)
        x = self.layer_norm(x)
        super().__init__(inputs=inputs, outputs=x, dtype=dtype, **kwargs)

        # === Config ===
        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.dropout = dropout
        self.max_sequence_length = max_sequence_length

    def get_config(self):
        return super().get_config() | arguments_of(self)


class _Baseline(TrainsOnEvents, keras_hub.models.Task):
    """Logits of the next event over a backbone's hidden states."""

    preprocessor_cls = MusicTransformerCausalLMPreprocessor

    def __init__(self, backbone, preprocessor=None, **kwargs):
        if preprocessor is not None:
            preprocessor.serve(backbone)
        self.backbone = backbone
        self.preprocessor = preprocessor
        outputs = backbone.token_embedding(
            backbone(backbone.input), reverse=True
        )
        super().__init__(inputs=backbone.input, outputs=outputs, **kwargs)

    def compile(
        self,
        optimizer="auto",
        loss="auto",
        *,
        weighted_metrics="auto",
        **kwargs,
    ):
        """Configure training as `MusicTransformerCausalLM.compile` does.

        Args:
            optimizer: see there.
            loss: see there.
            weighted_metrics: see there.
            **kwargs: See `keras.Model.compile`.
        """
        super().compile(
            **compile_settings(optimizer, loss, weighted_metrics), **kwargs
        )


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class LSTMLanguageModel(_Baseline):
    """An LSTM that predicts the next event, see `LSTMBackbone`.

    Args:
        backbone: an `LSTMBackbone`.
        preprocessor: a `MusicTransformerCausalLMPreprocessor`. With `None`
            the model takes only batches that are preprocessed already.
        **kwargs: See `keras_hub.models.Task`.
    """

    backbone_cls = LSTMBackbone


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class TransformerLanguageModel(_Baseline):
    """A Transformer without relative attention, see `TransformerBackbone`.

    Args:
        backbone: a `TransformerBackbone`.
        preprocessor: a `MusicTransformerCausalLMPreprocessor`. With `None`
            the model takes only batches that are preprocessed already.
        **kwargs: See `keras_hub.models.Task`.
    """

    backbone_cls = TransformerBackbone
