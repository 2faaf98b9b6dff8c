"""The Music Transformer over events, as a model to train and to sample."""

import keras
import keras_hub

from keras_pianogen.generation.decoding import next_event
from keras_pianogen.generation.event_request import EventRequest
from keras_pianogen.generation.samplers import get_sampler
from keras_pianogen.layers.building import apply
from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.exporting import Exports
from keras_pianogen.models.fitting import TrainsOnEvents
from keras_pianogen.models.fitting import compile_settings
from keras_pianogen.models.generating import Generates
from keras_pianogen.models.generating import call_blocks_with_cache
from keras_pianogen.models.preprocessor import (
    MusicTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.presets import bundled_presets


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerCausalLM(
    Exports, TrainsOnEvents, Generates, keras_hub.models.CausalLM
):
    """The Music Transformer as a model to train and to sample.

    Args:
        backbone: a `MusicTransformerBackbone`.
        preprocessor: a `MusicTransformerCausalLMPreprocessor`. With `None`
            the model doesn't generate, and takes only batches that are
            preprocessed already.
        **kwargs: See `keras_hub.models.CausalLM`.

    Raises:
        ValueError: if the backbone's vocabulary is smaller than the
            tokenizer's.

    Examples:
        Generate thirty seconds of new music:

        ```python
        model = MusicTransformerCausalLM.from_preset(
            "music_transformer_maestro"
        )
        notes = model.generate(seconds=30, seed=1)
        keras_pianogen.write_midi(notes, "piece.mid")
        ```

        Train on one's own MIDI files:

        ```python
        model.compile(optimizer=keras.optimizers.AdamW(1e-4))
        model.fit(["a.mid", "b.mid"], batch_size=4, epochs=3)
        model.save_to_preset("my_preset")
        ```
    """

    backbone_cls = MusicTransformerBackbone
    preprocessor_cls = MusicTransformerCausalLMPreprocessor
    request_class = EventRequest
    preset_family = Generates
    next_of = staticmethod(next_event)

    def __init__(self, backbone, preprocessor=None, **kwargs):
        if preprocessor is not None:
            preprocessor.serve(backbone)
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor

        # === Functional Model ===
        hidden_states = backbone(backbone.input)
        outputs = backbone.token_embedding(hidden_states, reverse=True)
        super().__init__(inputs=backbone.input, outputs=outputs, **kwargs)

    def compile(
        self,
        optimizer="auto",
        loss="auto",
        *,
        weighted_metrics="auto",
        sampler="auto",
        **kwargs,
    ):
        """Configure training and generation.

        Args:
            optimizer: an optimizer, its name, or `"auto"` for AdamW with a
                learning rate of 3e-4.
            loss: a loss, or `"auto"` for the cross-entropy in nats, averaged
                over the events that are not padding.
            weighted_metrics: a list, or `"auto"` for `nats_per_event` and
                `accuracy`, over the events that are not padding.
            sampler: a `keras_hub.samplers.Sampler`, the name of one of
                KerasHub's, or `"auto"` for a `MinPSampler`.
            **kwargs: See `keras.Model.compile`.
        """
        super().compile(
            **compile_settings(optimizer, loss, weighted_metrics),
            sampler=get_sampler("min_p" if sampler == "auto" else sampler),
            **kwargs,
        )
        self._decoder = None

    def call_with_cache(self, token_ids, cache, cache_update_index=None):
        """Logits after new events, given the keys and values of earlier ones.

        Args:
            token_ids: int tensor of shape (batch, time).
            cache: a tuple of each block's cache, see
                `RelativeGlobalAttention`.
            cache_update_index: int or int tensor, the number of events the
                cache has seen. It isn't needed if each block's cache is a
                `KeyValueCache`.

        Returns:
            A triple of logits (batch, time, vocabulary_size), hidden states
            (batch, time, hidden_dim) and the updated cache.
        """
        backbone = self.backbone
        x = apply(backbone.token_embedding, token_ids)
        x, cache = call_blocks_with_cache(
            backbone, x, cache, cache_update_index
        )
        logits = apply(backbone.token_embedding, x, reverse=True)
        return logits, x, cache
