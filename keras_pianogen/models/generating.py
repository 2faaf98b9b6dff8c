"""How models of both forms generate: from nothing, from prompts, as a stream.

Its methods are the doors. Behind them, `generation.request` checks what is
asked, and `generation.pieces` and `generation.decoding` make the music.
"""

import threading

from keras_pianogen.data.controls import NO_CONTROLS
from keras_pianogen.generation import pieces
from keras_pianogen.generation.arguments import check_arguments
from keras_pianogen.generation.asking import Asked
from keras_pianogen.generation.decoding import Decoder
from keras_pianogen.layers.building import apply

# Held while a model gets its `decoder`, so that threads get the same one.
_BUILDING = threading.Lock()


class Generates:
    """Mixin of a causal language model that generates music.

    A class has `request_class`, the class of its requests, and `next_of`, a
    function that chooses the next token, see `decoding.next_event`. List this
    class before the KerasHub task among the bases of a class.
    """

    _decoder = None
    # The class of models whose presets `from_preset` also loads, or `None`.
    preset_family = None

    @property
    def decoder(self):
        """A `decoding.Decoder`, the compiled functions of generation.

        They take the place of KerasHub's `generate_step` and
        `make_generate_function`.
        """
        with _BUILDING:
            if self._decoder is None or not self._decoder.serves(self):
                self._decoder = Decoder(self, self.next_of)
            return self._decoder

    @property
    def controls(self):
        """The `Controls` of the model: what `generate` can be asked for."""
        return getattr(self.backbone, "controls", NO_CONTROLS)

    def _asked(self, values, guidance):
        """What is asked for, an `Asked`, or `None` for nothing."""
        asked = Asked(self.controls, values, guidance)
        return asked if asked.values else None

    def build_cache(self, batch_size, capacity=None):
        """Build each block's empty cache for `batch_size` sequences.

        Args:
            batch_size: int. Number of sequences.
            capacity: see `RelativeGlobalAttention.build_cache`.
        """
        cache = tuple(
            layer.self_attention.build_cache(batch_size, capacity)
            for layer in self.backbone.transformer_layers
        )
        phases = getattr(self.backbone, "note_phases", None)
        return cache if phases is None else (
            *cache, phases.build_cache(batch_size)
        )  # fmt: skip

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
        temperature=None,
        min_p=None,
        top_p=None,
        top_k=None,
        grammar=True,
        max_note_seconds=None,
        repeat_penalty=0.0,
        seed=None,
        prompt_cache=None,
        progress=None,
        on_events=None,
        guidance=1.0,
        **controls,
    ):
        """Generate new music, from nothing or from the end of a prompt.

        Pieces may be longer than `backbone.max_sequence_length`. The model
        then sees that many of the latest events.

        Args:
            inputs: `None` for a new piece; or a prompt to continue, which is a
                MIDI file's path or bytes, a `MidiFile`, a `Score`, notes, or
                event ids; or a list of prompts of any lengths, which are
                continued at the same time. An empty list of ids is the same
                as no prompt.
            max_length: int. The most events of a piece, including the prompt
                and special ids. Defaults to the longest prompt plus the
                preprocessor's `sequence_length`, or, if `seconds` is given,
                plus 250 events for each second. Beam and contrastive search
                compare whole sequences, and for them it is at most
                `backbone.max_sequence_length`.
            stop_token_ids: ids that end a piece, or `None` for no such ids.
                Defaults to `"auto"`: the tokenizer's end id, or `None` if
                `seconds` is given without `ending`.
            strip_prompt: bool. Whether only the new music is returned, with
                its time beginning at 0. Defaults to `False`.
            seconds: float, above 0, at most 7200. Length of the new music.
                Defaults to `None`: only `max_length` and `stop_token_ids`
                end a piece.
            ending: bool. With `True` the model itself ends the piece, between
                85 and 110 % of `seconds`, where it finds an end most likely.
                The music slows down before that, and the last chord rings.
                With `False` the piece is cut at `seconds`. Defaults to
                `False`.
            variations: int. Number of pieces to make of one prompt at the
                same time; they are returned as a list. Defaults to `None`,
                one piece.
            prompt_seconds: float, 0 or above. The prompts are cut at this
                time. Notes that still sound then are released by the new
                music. Defaults to `None`: the prompts are kept whole. New
                music begins after the last of the tokens, or half a second
                after the last note of other prompts began.
            output: `"notes"` for arrays of notes, `"midi"` for
                `miditoolkit.MidiFile` objects, or `"ids"` for arrays of event
                ids without special ids. Defaults to `"notes"`.
            sampler: a sampler or its name, for this call. Defaults to `None`,
                the sampler that the model was compiled with, or an
                `AdjustableSampler` if one of the next four is given. Models of
                notes have one for each field, and leave out nothing unlikely
                in times, see `samplers.build_note_sampler`. They refuse
                samplers that compare whole sequences, such as `"beam"`.
            temperature: see `AdjustableSampler`.
            min_p: see there.
            top_p: see there.
            top_k: see there.
            grammar: bool, or an `EventGrammar`. Whether only valid events may
                come: no note-off of a silent note, no second note-on of a
                sounding one, no note that never ends. Beam and contrastive
                search ignore it. Defaults to `True`.
            max_note_seconds: float above 0. Longest duration of a note, in
                seconds. It needs the grammar. Defaults to `None`: the
                grammar's own, see `EventGrammar`.
            repeat_penalty: float, 0 or above. Nats subtracted from the logit
                of a note-on for each recent note-on of its pitch. It breaks
                loops on one note; 0.1 is mild. It needs the grammar. Defaults
                to `0.0`.
            seed: int. Makes the result repeatable, on any number of threads,
                and leaves the sampler as it is. Defaults to `None`: each call
                takes the sampler's next random numbers.
            prompt_cache: a `PromptCache`, which keeps the prefill of prompts
                for later calls. Defaults to `None`.
            progress: a function that is called after every few events of each
                piece, with the number of new events of all pieces together
                and the length of the shortest piece's new music, in seconds.
            on_events: a function that is called after every few events, with
                a list of each piece's ids so far, including the prompt's.
                During prefill these are the ids that the model has seen. An
                exception that it raises ends the call.
            guidance: float, 0 to 20. How strongly the model is asked for the
                controls that it was trained with: above 1, more than the music
                of the corpus follows them. Each note then takes twice the
                time. It doesn't strengthen controls that are only steered, and
                makes no difference if nothing else is asked for. The scales
                that a new piece has from a label, see `Asked.drawn`, are asked
                for too. Defaults to `1.0`.
            **controls: what is asked of the new music, by the names that
                `model.controls` lists. `density`, notes a second; `loudness`,
                mean velocity, 1 to 127, or `"pp"` to `"ff"`; `register`, mean
                pitch, or `"low"`, `"middle"` or `"high"`; `polyphony`, mean
                number of notes that sound; `pace`, onsets a second, at most
                the density; `legato`, how long notes last over the time to
                the next onset, or `"staccato"` to `"pedalled"`, not beside
                `polyphony`; `composer`, a name; `period`, such as
                `"Baroque"`; or a label of the corpus that the model was
                trained on. A pair of numbers,
                such as `density=(2, 12)`, asks for an even change over
                `seconds`, or over a minute without them.

        Returns:
            A piece; or a list of pieces, if `inputs` is a list of prompts or
            `variations` is given.

        Raises:
            MidiError: if a prompt can't be read.
            TypeError: if an argument has the wrong type.
            ValueError: if an argument is out of its range.
        """
        check_arguments({"progress": progress, "on_events": on_events})
        request = self.request_class.from_music(
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
            cuts=_cuts(temperature, min_p, top_p, top_k),
            grammar=grammar,
            max_note_seconds=max_note_seconds,
            repeat_penalty=repeat_penalty,
            seed=seed,
            asked=self._asked(controls, guidance),
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
        """Prefill a prompt ahead of time.

        `generate` with the same prompt and `prompt_cache` then begins at once,
        unless it is asked for a control.

        Args:
            inputs: one prompt, see `generate`.
            prompt_cache: the `PromptCache` that keeps the prefill.
            prompt_seconds: see `generate`.
            sampler: the sampler that `generate` is to use, see there.
            on_events: see `generate`.

        Raises:
            MidiError: if the prompt can't be read.
            ValueError: if the sampler compares whole sequences, or an
                argument is out of its range.
        """
        request = self.request_class.from_music(
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
        temperature=None,
        min_p=None,
        top_p=None,
        top_k=None,
        grammar=True,
        max_note_seconds=None,
        repeat_penalty=0.0,
        seed=None,
        guidance=1.0,
        **controls,
    ):
        """Generate events without end, and yield them as they come.

        The model sees the latest `backbone.max_sequence_length` events, so the
        music may go on for hours at the same cost per event. If the model ends
        a piece, note-offs release the notes that still sound, the end id
        follows, and a new piece begins, independent of the one before.

        Args:
            inputs: one prompt, or `None`, see `generate`.
            prompt_seconds: see `generate`.
            sampler: see `generate`; a sampler that draws event by event.
            temperature: see `generate`.
            min_p: see `generate`.
            top_p: see `generate`.
            top_k: see `generate`.
            grammar: see `generate`.
            max_note_seconds: see `generate`.
            repeat_penalty: see `generate`.
            seed: see `generate`.
            guidance: see `generate`.
            **controls: see `generate`. Changes take a minute.

        Yields:
            Event ids, int, of the tokenizer's vocabulary.

        Raises:
            MidiError: if the prompt can't be read.
            ValueError: if the sampler compares whole sequences, or an
                argument is out of its range.
        """
        request = self.request_class.from_music(
            self,
            inputs if inputs is None else [inputs],
            prompt_seconds=prompt_seconds,
            sampler=sampler,
            cuts=_cuts(temperature, min_p, top_p, top_k),
            grammar=grammar,
            max_note_seconds=max_note_seconds,
            repeat_penalty=repeat_penalty,
            seed=seed,
            asked=self._asked(controls, guidance),
            is_endless=True,
        )
        request.check_sampler("stream")
        return pieces.stream(request)


def _cuts(temperature, min_p, top_p, top_k):
    """The settings of an `AdjustableSampler` by their names."""
    return {
        "temperature": temperature,
        "min_p": min_p,
        "top_p": top_p,
        "top_k": top_k,
    }


def call_blocks_with_cache(backbone, x, cache, cache_update_index=None, **more):
    """A backbone's blocks and last norm, given the keys and values before.

    Args:
        backbone: a backbone with `transformer_layers` and `layer_norm`.
        x: tensor of shape (batch, time, hidden_dim), embedded tokens.
        cache: see `MusicTransformerCausalLM.call_with_cache`.
        cache_update_index: see there.
        **more: `phases`, see `RelativeGlobalAttention`.

    Returns:
        A pair of hidden states (batch, time, hidden_dim) and the updated
        cache.
    """
    updated = []
    for layer, layer_cache in zip(
        backbone.transformer_layers, cache, strict=True
    ):
        x, layer_cache = apply(
            layer,
            x,
            cache=layer_cache,
            cache_update_index=cache_update_index,
            **more,
        )
        updated.append(layer_cache)
    return apply(backbone.layer_norm, x), tuple(updated)
