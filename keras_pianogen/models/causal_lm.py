"""A Music Transformer that writes one event after another."""

import keras
import keras_hub

from keras_pianogen.generation import pieces
from keras_pianogen.generation.decoding import Decoder
from keras_pianogen.generation.request import Request
from keras_pianogen.generation.samplers import get_sampler
from keras_pianogen.layers.building import apply
from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.fitting import TrainsOnEvents
from keras_pianogen.models.fitting import compile_settings
from keras_pianogen.models.preprocessor import (
    MusicTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.presets import bundled_presets


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class MusicTransformerCausalLM(TrainsOnEvents, keras_hub.models.CausalLM):
    """The Music Transformer as a model to train and to sample.

    Args:
        backbone: a `MusicTransformerBackbone`.
        preprocessor: a `MusicTransformerCausalLMPreprocessor`, or `None` to
            train on ready batches only.
        **kwargs: See `keras_hub.models.CausalLM`.

    Examples:
        Write thirty seconds of new music:

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

    def __init__(self, backbone, preprocessor=None, **kwargs):
        if preprocessor is not None:
            size = preprocessor.tokenizer.vocabulary_size()
            if size > backbone.vocabulary_size:
                raise ValueError(
                    "The backbone's `vocabulary_size` must be at least the "
                    f"tokenizer's, {size}. "
                    f"Received: vocabulary_size={backbone.vocabulary_size}"
                )
            # Nothing to build; JAX would call the model before each batch.
            preprocessor.built = True
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
            optimizer: `"auto"` (AdamW at 3e-4), an optimizer or its name.
            loss: `"auto"`, cross-entropy in nats averaged over the events
                that are not padding, or a loss.
            weighted_metrics: `"auto"` (`nats_per_event` and `accuracy`, over
                events that are not padding), or a list.
            sampler: `"auto"` (`MinPSampler`), a `keras_hub.samplers.Sampler`
                or the name of one of KerasHub's.
            **kwargs: See `keras.Model.compile`.
        """
        super().compile(
            **compile_settings(optimizer, loss, weighted_metrics),
            sampler=get_sampler("min_p" if sampler == "auto" else sampler),
            **kwargs,
        )
        self._decoder = None

    # === Sampling ===

    @property
    def decoder(self):
        """The compiled functions of generation, a `decoding.Decoder`."""
        if self._decoder is None or not self._decoder.serves(self):
            self._decoder = Decoder(self)
        return self._decoder

    def call_with_cache(self, token_ids, cache, cache_update_index=None):
        """Logits of new events, with the keys and values of earlier ones.

        Args:
            token_ids: int tensor of shape (batch, time).
            cache: a tuple of each block's cache, see
                `RelativeGlobalAttention`.
            cache_update_index: int or int tensor, the number of events the
                cache has seen; not used where each block's cache is a
                `KeyValueCache`.

        Returns:
            A triple of logits (batch, time, vocabulary_size), hidden states
            (batch, time, hidden_dim) and the updated cache.
        """
        backbone = self.backbone
        x = apply(backbone.token_embedding, token_ids)
        updated = []
        for layer, layer_cache in zip(
            backbone.transformer_layers, cache, strict=True
        ):
            x, layer_cache = apply(
                layer,
                x,
                cache=layer_cache,
                cache_update_index=cache_update_index,
            )
            updated.append(layer_cache)
        x = apply(backbone.layer_norm, x)
        logits = apply(backbone.token_embedding, x, reverse=True)
        return logits, x, tuple(updated)

    def build_cache(self, batch_size, capacity=None):
        """Build each block's empty cache for `batch_size` sequences.

        Args:
            batch_size: int. Number of sequences.
            capacity: see `RelativeGlobalAttention.build_cache`.
        """
        return tuple(
            layer.self_attention.build_cache(batch_size, capacity)
            for layer in self.backbone.transformer_layers
        )

    def generate(
        self,
        inputs=None,
        max_length=None,
        stop_token_ids="auto",
        strip_prompt=False,
        *,
        seconds=None,
        ending=False,
        variations=None,
        prompt_seconds=None,
        output="notes",
        sampler=None,
        grammar=True,
        repeat_penalty=0.0,
        seed=None,
        prompt_cache=None,
        progress=None,
        on_events=None,
    ):
        """Write new music, from nothing or from the end of a prompt.

        Pieces may be longer than `backbone.max_sequence_length`: the model
        then sees that many of the latest events.

        Args:
            inputs: `None` for a new piece; or a MIDI file's path or bytes, a
                `MidiFile`, a `Score`, notes, or event ids to continue; or a
                list of such, of any lengths, continued at the same time. An
                empty list of ids stands for no prompt.
            max_length: int. The most events of a piece, prompt and special
                ids included. Defaults to the preprocessor's
                `sequence_length` plus the longest prompt, or, where `seconds`
                is given, to 250 events a second. Beam and contrastive search
                compare whole sequences: for them it is at most
                `backbone.max_sequence_length`.
            stop_token_ids: ids that end a piece. `"auto"`: the tokenizer's
                end, or none where `seconds` is given; `None`: none.
            strip_prompt: bool. Whether only the new music is returned, its
                time beginning at 0. Defaults to `False`.
            seconds: float. Length of the new music, in seconds, at most 7200.
            ending: bool. Whether the piece comes to an end of its own near
                `seconds`: between 85 and 110 % of them, where an end is
                likeliest. Defaults to `False`: it is cut at `seconds`.
            variations: int. So many pieces from the one prompt, at the same
                time, as a list. Defaults to `None`, one piece.
            prompt_seconds: float. Continues from this second of the prompts;
                what they hold after it is left out. Notes that sound then are
                the new music's to end. Defaults to `None`, their end.
            output: `"notes"` for arrays of notes, `"midi"` for
                `miditoolkit.MidiFile` objects, `"ids"` for arrays of event
                ids without the special ones.
            sampler: a sampler or its name, in place of the compiled one for
                this call.
            grammar: bool, or an `EventGrammar`. Whether only valid events
                come: no note-off of a silent note, no second note-on of a
                sounding one, no note that never ends. Beam and contrastive
                search go without. Defaults to `True`.
            repeat_penalty: float, 0 or above. Nats taken from a pitch for
                each of its recent strokes, which ends loops on one note;
                0.1 is mild. Needs the grammar. Defaults to `0.0`.
            seed: int. Makes the draws repeatable.
            prompt_cache: a `PromptCache`, where prompts are looked up that
                were read before, and kept. Defaults to `None`.
            progress: a function called now and then with the number of
                new events of all pieces together, and the seconds of new
                music that the shortest of them has.
            on_events: a function called every few events with the ids of
                each piece so far, prompts included, as a list of arrays; while
                prompts are read, as much of them. What it raises ends the
                call.

        Returns:
            One piece, or a list of them where `inputs` was a list.

        Raises:
            MidiError: if a prompt can't be read.
            ValueError: if an argument is out of its range, with what was
                expected and received.
        """
        request = Request.from_music(
            self,
            inputs,
            max_length=max_length,
            stop_token_ids=stop_token_ids,
            strip_prompt=strip_prompt,
            seconds=seconds,
            ending=ending,
            variations=variations,
            prompt_seconds=prompt_seconds,
            output=output,
            sampler=sampler,
            grammar=grammar,
            repeat_penalty=repeat_penalty,
            seed=seed,
        )
        return pieces.write(request, prompt_cache, progress, on_events)

    def read(
        self,
        inputs,
        prompt_cache,
        *,
        prompt_seconds=None,
        sampler=None,
        on_events=None,
    ):
        """Read a prompt ahead of time.

        `generate` with the same prompt and `prompt_cache` begins at once then.

        Args:
            inputs: see `generate`; one prompt.
            prompt_cache: the `PromptCache` that keeps what was read.
            prompt_seconds: see `generate`.
            sampler: see `generate`. Samplers of a kind share what is
                compiled, so give one of the kind that `generate` will have.
            on_events: see `generate`.

        Raises:
            MidiError: see `generate`.
            ValueError: if the sampler compares whole sequences, and see
                `generate`.
        """
        request = Request.from_music(
            self,
            [inputs],
            prompt_seconds=prompt_seconds,
            sampler=sampler,
            is_endless=True,
        )
        request.check_sampler("read")
        for at, events in pieces.prefill(request, prompt_cache):
            if on_events is not None:
                on_events([request.prompts[0][: at + events.shape[1]]])

    def stream(
        self,
        inputs=None,
        *,
        prompt_seconds=None,
        sampler=None,
        grammar=True,
        repeat_penalty=0.0,
        seed=None,
    ):
        """New events as they are made, without end.

        The model sees the latest `backbone.max_sequence_length` events, so
        the music may go on for hours at the same cost an event. Where the
        model ends a piece, its notes are ended, the end's id comes, and a new
        piece begins, which knows nothing of the one before.

        Args:
            inputs: see `generate`; one prompt, or `None`.
            prompt_seconds: see `generate`.
            sampler: see `generate`; one that draws event by event.
            grammar: see `generate`.
            repeat_penalty: see `generate`.
            seed: see `generate`.

        Yields:
            Event ids, int, of the tokenizer's vocabulary.

        Raises:
            ValueError: see `generate`.
        """
        request = Request.from_music(
            self,
            inputs if inputs is None else [inputs],
            prompt_seconds=prompt_seconds,
            sampler=sampler,
            grammar=grammar,
            repeat_penalty=repeat_penalty,
            seed=seed,
            is_endless=True,
        )
        request.check_sampler("stream")
        return pieces.stream(request)
