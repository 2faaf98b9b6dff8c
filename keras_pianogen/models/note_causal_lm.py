"""The Music Transformer over notes, as a model to train and to sample."""

import keras
import keras_hub

from keras_pianogen.attention.ring import KeyValueCache
from keras_pianogen.generation.arguments import check_arguments
from keras_pianogen.generation.draws import seeds_from
from keras_pianogen.generation.infilling import density_between
from keras_pianogen.generation.infilling import infill
from keras_pianogen.generation.note_request import NoteRequest
from keras_pianogen.generation.notewise import next_note
from keras_pianogen.generation.own_music import OwnMusic
from keras_pianogen.generation.performing import perform
from keras_pianogen.generation.phrases import phrases_to_write
from keras_pianogen.generation.samplers import build_note_sampler
from keras_pianogen.generation.samplers import get_sampler
from keras_pianogen.layers.note_heads import NoteHeads
from keras_pianogen.models import losses
from keras_pianogen.models.fitting import TrainsOnEvents
from keras_pianogen.models.fitting import compile_settings
from keras_pianogen.models.generating import Generates
from keras_pianogen.models.generating import call_blocks_with_cache
from keras_pianogen.models.note_backbone import NoteTransformerBackbone
from keras_pianogen.models.note_preprocessor import (
    NoteTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.presets import bundled_presets


@bundled_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class NoteTransformerCausalLM(
    TrainsOnEvents, Generates, keras_hub.models.CausalLM
):
    """The Music Transformer over notes, as a model to train and to sample.

    Its outputs are the logits of the next note's shift, pitch, velocity and
    duration, side by side; see `layers.note_heads.NoteHeads`.

    Args:
        backbone: a `NoteTransformerBackbone`.
        preprocessor: a `NoteTransformerCausalLMPreprocessor`. With `None`
            the model doesn't generate, and takes only batches that are
            preprocessed already.
        **kwargs: See `keras_hub.models.CausalLM`.

    Raises:
        ValueError: if the backbone's form is not the tokenizer's.
    """

    backbone_cls = NoteTransformerBackbone
    preprocessor_cls = NoteTransformerCausalLMPreprocessor
    request_class = NoteRequest
    next_of = staticmethod(next_note)

    def __init__(self, backbone, preprocessor=None, **kwargs):
        if preprocessor is not None:
            form = preprocessor.tokenizer.note_tuples
            if form != backbone.form:
                raise ValueError(
                    "The backbone's `form` must be the tokenizer's, "
                    f"{form!r}. Received: form={backbone.form!r}"
                )
            fields = preprocessor.form.fields
            if fields != backbone.fields:
                raise ValueError(
                    "The preprocessor's `infilling` and `performing` must be "
                    "above 0 exactly if the backbone's are True, and its "
                    f"`controls` the same. Received: {fields} and "
                    f"{backbone.fields}"
                )
            # Nothing has to be built. Otherwise Keras on JAX would call the
            # model before each batch.
            preprocessor.built = True
        # === Layers ===
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.heads = NoteHeads(
            backbone.form,
            backbone.hidden_dim,
            layer_norm_epsilon=backbone.layer_norm_epsilon,
            dtype=backbone.dtype_policy,
            name="heads",
        )

        # === Functional Model ===
        given = {
            name: keras.Input(shape, dtype="int32", name=name)
            for name, shape in (
                ("next_notes", (None, 4)),
                ("elapsed", (None,)),
                ("sounding", (None, 128)),
            )
        }
        inputs = backbone.input | given
        hidden = backbone(backbone.input)
        outputs = self.heads(hidden, notes=inputs["notes"], **given)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

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
            loss: a loss, or `"auto"` for the cross-entropy of whole notes in
                nats, see `losses.NoteCrossentropy`.
            weighted_metrics: a list, or `"auto"` for `nats_per_note` and
                `accuracy`, the share of pitches that were the most likely.
                An end of a piece counts as a note.
            sampler: a `keras_hub.samplers.Sampler`, the name of one of
                KerasHub's, which draws each field; or `"auto"` for a
                `FieldSamplers`, see `samplers.build_note_sampler`.
            **kwargs: See `keras.Model.compile`.
        """
        super().compile(
            **compile_settings(
                optimizer, loss, weighted_metrics, self._defaults
            ),
            sampler=(
                build_note_sampler()
                if sampler == "auto"
                else get_sampler(sampler)
            ),
            **kwargs,
        )
        self._decoder = None

    def infill(
        self,
        piece,
        start,
        end,
        *,
        keep_melody=False,
        variations=None,
        sampler=None,
        temperature=None,
        min_p=None,
        top_p=None,
        top_k=None,
        grammar=True,
        max_note_seconds=None,
        repeat_penalty=0.0,
        seed=None,
        progress=None,
        guidance=1.0,
        **controls,
    ):
        """Write the notes between two moments of a piece anew.

        Notes that begin in the gap are replaced. All others stay as they are;
        those that ring into the gap end as they did. New notes begin in the
        gap, and end at the latest when their key is struck after it. A model
        with the control `density` is held to the pitch classes of the music
        around the gap, and to as many notes a second as there, unless another
        density is asked for.

        Args:
            piece: a MIDI file's path or bytes, a `MidiFile`, a `Score`, or
                notes.
            start: float. Where the gap begins, in seconds.
            end: float. Where it ends, in seconds, at most 30 s later.
            keep_melody: bool. Whether the highest line in the gap stays, and
                new notes are written under it. Defaults to `False`.
            variations: int. Number of fillings to write at the same time.
                They are returned as a list. Defaults to `None`, one.
            sampler: see `generate`, as all that follow.
            temperature: see `generate`.
            min_p: see `generate`.
            top_p: see `generate`.
            top_k: see `generate`.
            grammar: bool, or a `NoteGrammar`.
            max_note_seconds: see `generate`.
            repeat_penalty: see `generate`.
            seed: see `generate`.
            progress: see `generate`.
            guidance: see `generate`.
            **controls: see `generate`; what is asked of the new notes.

        Returns:
            An array of `NOTE_DTYPE`, the whole piece; or a list of them.

        Raises:
            MidiError: if the piece can't be read.
            TypeError: if an argument has the wrong type.
            ValueError: if the model fills no gaps (`backbone.infilling`), the
                gap is not in the piece, or an argument is out of its range.
        """
        check_arguments({"progress": progress, "keep_melody": keep_melody})
        notes = OwnMusic.of(piece).notes
        settings = self.request_class.settings_of(
            self,
            sampler=sampler,
            cuts={
                "temperature": temperature,
                "min_p": min_p,
                "top_p": top_p,
                "top_k": top_k,
            },
            grammar=grammar,
            max_note_seconds=max_note_seconds,
            variations=variations,
            repeat_penalty=repeat_penalty,
            seed=seed,
            asked=self._asked(controls, guidance),
        )
        filled = infill(
            self,
            notes,
            start,
            end,
            keep_melody=keep_melody,
            variations=variations or 1,
            progress=progress,
            **settings,
        )
        return filled[0] if variations is None else filled

    def vary(self, piece, keep=0.5, *, seed=None, progress=None, **settings):
        """Write some phrases of a piece anew, and keep the others.

        Phrases are cut where the piece pauses, every 3 to 8 seconds. Those
        that are written anew are spread evenly, and each is filled like a gap,
        see `infill`. A model with the control `density` is held to as many
        notes a second as the phrase had, unless a density or a pace is asked
        for.

        Args:
            piece: see `infill`.
            keep: float, 0 to 1. The share of the phrases that stay. Defaults
                to `0.5`, every other phrase, beginning with the first.
            seed: see `generate`.
            progress: a function called with (phrases written, phrases to
                write).
            **settings: `keep_melody`, `sampler`, `temperature`, `min_p`,
                `top_p`, `top_k`, `grammar`, `max_note_seconds`,
                `repeat_penalty`, `guidance` and controls, see `infill`. A
                change of a control begins anew with each phrase.

        Returns:
            An array of `NOTE_DTYPE`.

        Raises:
            MidiError: if the piece can't be read.
            TypeError: if an argument has the wrong type.
            ValueError: if the model fills no gaps (`backbone.infilling`), or
                an argument is out of its range.
        """
        check_arguments({"keep": keep, "seed": seed, "progress": progress})
        notes = OwnMusic.of(piece).notes
        gaps = phrases_to_write(notes, keep)
        seeds = seeds_from(seed, len(gaps))
        is_free = all(settings.get(x) is None for x in ("density", "pace"))
        for i, (start, end) in enumerate(gaps):
            if is_free and "density" in self.controls.names:
                settings["density"] = density_between(notes, start, end)
            notes = self.infill(notes, start, end, seed=seeds[i], **settings)
            if progress is not None:
                progress(i + 1, len(gaps))
        return notes

    def perform(
        self,
        score,
        amount=1.0,
        *,
        variations=None,
        sampler=None,
        temperature=None,
        min_p=None,
        top_p=None,
        top_k=None,
        seed=None,
        progress=None,
        guidance=1.0,
        **controls,
    ):
        """Perform a score: give each note its timing, touch and loudness.

        Every note of the score is kept, and none comes to it. The notes of a
        chord begin within 0.05 s. The time between chords stays within the
        rhythm of the score, and durations near those in the score, see
        `generation.deviations`. A note that is struck again before it ends is
        cut there. The pedal is heard in how long notes sound.

        Args:
            score: a MIDI file's path or bytes, a `MidiFile`, a `Score`, or
                notes, at the tempo in which it is to be played.
            amount: float, 0 to 1. At 0 the notes stay as they are; between,
                times, the logarithms of durations, and velocities lie between
                those of the score and of the performance. Defaults to `1.0`.
            variations: int. Number of performances to make at the same time.
                They are returned as a list. Defaults to `None`, one.
            sampler: see `generate`, as all that follow.
            temperature: see `generate`.
            min_p: see `generate`.
            top_p: see `generate`.
            top_k: see `generate`.
            seed: see `generate`.
            progress: see `generate`.
            guidance: see `generate`.
            **controls: see `generate`; `loudness`, `legato` and `composer`
                change how the score is performed.

        Returns:
            An array of `NOTE_DTYPE`; or a list of them.

        Raises:
            MidiError: if the score can't be read.
            TypeError: if an argument has the wrong type.
            ValueError: if the model performs no scores
                (`backbone.performing`), the score has no notes, or an argument
                is out of its range.
        """
        check_arguments({"amount": amount, "progress": progress})
        notes = OwnMusic.of(score).notes
        settings = self.request_class.settings_of(
            self,
            sampler=sampler,
            cuts={
                "temperature": temperature,
                "min_p": min_p,
                "top_p": top_p,
                "top_k": top_k,
            },
            grammar=False,
            max_note_seconds=None,
            variations=variations,
            seed=seed,
            asked=self._asked(controls, guidance),
        )
        made = perform(
            self,
            notes,
            amount=amount,
            variations=variations or 1,
            progress=progress,
            **settings,
        )
        return made[0] if variations is None else made

    def call_with_cache(self, rows, cache, cache_update_index=None):
        """Hidden states after new notes, given earlier ones.

        Args:
            rows: int tensor of shape (batch, time, fields), see `notewise`.
            cache: a tuple of each block's cache, see
                `RelativeGlobalAttention`.
            cache_update_index: see
                `MusicTransformerCausalLM.call_with_cache`.

        Returns:
            A triple of the hidden states (batch, time, hidden_dim), from
            which `heads` predicts, the same again, and the updated cache.
        """
        backbone, seen = self.backbone, cache_update_index
        classes = backbone.row_classes(rows)
        x = backbone.note_embedding.call(classes)
        if backbone.note_phases is None:
            x, cache = call_blocks_with_cache(backbone, x, cache, seen)
            return x, x, cache
        *blocks, last = cache
        kept = KeyValueCache.of(last, seen)
        phases, kept = backbone.note_phases.call_with_cache(classes, kept)
        x, blocks = call_blocks_with_cache(
            backbone, x, blocks, seen, phases=phases
        )
        last = kept if isinstance(last, KeyValueCache) else kept.merge()
        return x, x, (*blocks, last)

    # KerasHub's own would write the optimizer's state into a preset.

    def save_task_weights(self, filepath):
        """Save the weights of the heads, which are not in the backbone."""
        keras.saving.save_weights(
            self, filepath, objects_to_skip=self._no_task_weights
        )

    def load_task_weights(self, filepath):
        """Load the weights of the heads, which are not in the backbone."""
        keras.saving.load_weights(
            self, filepath, objects_to_skip=self._no_task_weights
        )

    @property
    def _no_task_weights(self):
        return [self.backbone, self.preprocessor, self.optimizer]

    def _defaults(self):
        form = self.backbone.form
        metrics = [losses.FieldNats(form), losses.PitchAccuracy(form)]
        return losses.NoteCrossentropy(form), metrics
