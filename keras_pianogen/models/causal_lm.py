"""A Music Transformer that writes one event after another."""

import contextlib
import numbers

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_pianogen.attention import dispatch
from keras_pianogen.attention.ring import KeyValueCache
from keras_pianogen.events import PITCHES
from keras_pianogen.generation import grammar
from keras_pianogen.generation.decoding import EVENTS_A_CALL
from keras_pianogen.generation.decoding import calls
from keras_pianogen.generation.decoding import read
from keras_pianogen.generation.decoding import sample_by_step
from keras_pianogen.generation.decoding import sample_whole
from keras_pianogen.generation.decoding import samples_by_step
from keras_pianogen.generation.decoding import stack
from keras_pianogen.generation.grammar import NEVER
from keras_pianogen.generation.grammar import EventGrammar
from keras_pianogen.generation.grammar import Limits
from keras_pianogen.generation.samplers import get_sampler
from keras_pianogen.generation.samplers import structure
from keras_pianogen.layers.building import apply
from keras_pianogen.midi.movements import MAX_SECONDS
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.fitting import TrainsOnEvents
from keras_pianogen.models.fitting import compile_settings
from keras_pianogen.models.preprocessor import (
    MusicTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.presets import bundled_presets
from keras_pianogen.models.tokenizer import is_batch

# A stream's events come sooner, for a little more work.
EVENTS_OF_A_STREAM = 16

# Where a piece may end of its own, as shares of the wanted length.
EARLIEST_ENDING = 0.85
LONGEST_ENDING = 1.1

# A bound on the events of a second of music, for pieces asked for in seconds.
# MAESTRO has 41 on average, and up to 180 through ten seconds of its densest.
MAX_EVENTS_A_SECOND = 250


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
        # Another sampler that `generate` was given, and its function.
        self._other_sampling = None
        self._sampled_variables = None

    # === Sampling ===

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

    def build_cache(self, batch_size):
        """Empty caches, one for each block, for `batch_size` sequences."""
        return tuple(
            layer.self_attention.build_cache(batch_size)
            for layer in self.backbone.transformer_layers
        )

    def generate_step(self, inputs, stop_token_ids=None):
        """One call of the compiled function behind `generate`.

        Args:
            inputs: a dict. With `prompt` (batch, time) alone, events to fill
                a new cache with, returned as `cache` and `hidden_states`.
                With `prompt`, `cache`, `position`, the number of events the
                cache has seen, and `count`, so many more for it to see, the
                first of `prompt`, which are returned as `cache`. Otherwise
                `token_ids` (batch, 1 + events), the last event the cache has
                not seen and room for new ones; `padding_mask`, `True` where
                `token_ids` is given already; `cache`; `position`, the number
                of events the cache has seen; `done` (batch,);
                `logit_bias` (vocabulary_size,); and, for events that the
                grammar allows only, `state` and `limits`, see
                `models/grammar.py`.
            stop_token_ids: ids that end a sequence, or `None`.

        Returns:
            A dict of what was updated.
        """
        if "count" in inputs:
            return {"cache": self._read(**inputs)}
        if "prompt" in inputs:
            token_ids = inputs["prompt"]
            cache = self.build_cache(ops.shape(token_ids)[0])
            _, hidden_states, cache = self.call_with_cache(token_ids, cache, 0)
            return {"cache": cache, "hidden_states": hidden_states}
        if samples_by_step(self.sampler):
            return sample_by_step(self, inputs, stop_token_ids)
        return sample_whole(self, inputs, stop_token_ids)

    def make_generate_function(self):
        """The compiled function behind `generate`.

        On TensorFlow XLA compiles it too, whatever compiles training: what
        one event costs there is mostly the calls of small operations.
        """
        as_trained = self.jit_compile
        if samples_by_step(self.sampler):
            self.jit_compile = True
        try:
            return super().make_generate_function()
        finally:
            self.jit_compile = as_trained

    @property
    def _vocabulary(self):
        return self.preprocessor.tokenizer.vocabulary

    def _cached_step(self, cache, base, room):
        """How a loop of at most `room` events uses its cache.

        Returns:
            A function of the last events, what the loop carries, and the
            events since `base`, which returns logits (batch, vocabulary_size)
            and what it carries then; what it carries at first; and a function
            of that and of the events in all, which returns the cache.
        """
        fast = dispatch.cached_step(self.backbone)
        if fast is not None:
            return (
                lambda last, cache, count: fast(last, cache, base + count),
                cache,
                lambda cache, count: cache,
            )
        recent = tuple(
            KeyValueCache(ring, base).with_room(room).recent for ring in cache
        )

        def beside(recent, count):
            return tuple(
                KeyValueCache(ring, base, new, count)
                for ring, new in zip(cache, recent, strict=True)
            )

        def step(last, recent, count):
            logits, _, new = self.call_with_cache(last, beside(recent, count))
            return logits[:, -1], tuple(layer.recent for layer in new)

        def finish(recent, count):
            return tuple(layer.merge() for layer in beside(recent, count))

        return step, recent, finish

    def _read(self, prompt, cache, position, count):
        """The cache, once it has seen the first `count` events as well."""
        # A tensor, so that position 0 is summed as every other.
        position = ops.convert_to_tensor(position)
        cache = tuple(KeyValueCache(ring, position) for ring in cache)
        _, _, cache = self.call_with_cache(prompt, cache)
        return tuple(layer.merge(count) for layer in cache)

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
        if self.preprocessor is None:
            raise ValueError(
                "`generate` needs a `preprocessor`. Received: None."
            )
        if output not in ("notes", "midi", "ids"):
            raise ValueError(
                "`output` must be 'notes', 'midi' or 'ids'. "
                f"Received: output={output!r}"
            )
        if seconds is not None and not 0 < seconds <= MAX_SECONDS:
            raise ValueError(
                f"`seconds` must be above 0 and at most {MAX_SECONDS}. "
                f"Received: seconds={seconds}"
            )
        if ending and seconds is None:
            raise ValueError(
                "`ending` needs `seconds`, the length to end near. "
                "Received: seconds=None"
            )
        _check_prompt_seconds(inputs, prompt_seconds)
        stop_token_ids = self._stop_token_ids(stop_token_ids, seconds, ending)
        batched = inputs is not None and is_batch(inputs)
        prompts = self._prompts(
            inputs if batched else [[] if inputs is None else inputs],
            prompt_seconds,
        )
        if variations is not None:
            prompts = self._varied(prompts, variations, batched)
            batched = True
        longest = seconds * LONGEST_ENDING if ending else seconds
        self._check_duration(prompts, longest)
        rules = self._rules(grammar, repeat_penalty)
        with self._sampling_with(sampler, seed):
            pieces = self._continue(
                prompts,
                self._max_length(prompts, max_length, longest),
                stop_token_ids,
                longest,
                ending,
                rules,
                prompt_cache,
                progress,
                on_events,
            )
        pieces = [
            self._as_output(piece, prompt, strip_prompt, output)
            for piece, prompt in zip(pieces, prompts, strict=True)
        ]
        return pieces if batched else pieces[0]

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
        if self.preprocessor is None:
            raise ValueError("`read` needs a `preprocessor`. Received: None.")
        _check_prompt_seconds(inputs, prompt_seconds)
        prompts = self._prompts([inputs], prompt_seconds)
        with self._sampling_with(sampler, None):
            self._check_draws("read")
            for at, events in read(self, prompts, prompt_cache):
                if on_events is not None:
                    on_events([prompts[0][: at + events.shape[1]]])

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
        if self.preprocessor is None:
            raise ValueError("`stream` needs a `preprocessor`. Received: None.")
        _check_prompt_seconds(inputs, prompt_seconds)
        prompts = self._prompts(
            [[] if inputs is None else inputs], prompt_seconds
        )
        rules = self._rules(grammar, repeat_penalty)
        if sampler is not None:
            sampler = get_sampler(sampler)
        return self._stream(prompts, sampler, rules, seed)

    def _stream(self, prompts, sampler, rules, seed):
        with self._sampling_with(sampler, seed):
            self._check_draws("stream")
        if sampler is not None:
            sampler = self._other_sampling[0]  # Seeded, and goes on drawing.
        while True:
            yield from self._stream_piece(prompts, sampler, rules)
            prompts = self._prompts([[]])

    def _check_draws(self, name):
        if not samples_by_step(self.sampler):
            raise ValueError(
                f"`{name}` needs a sampler that draws event by event. "
                f"Received: {type(self.sampler).__name__}"
            )

    def _stream_piece(self, prompts, sampler, rules):
        """New events of one piece; before its end, of what still sounds too."""
        vocabulary, end = self._vocabulary, self._vocabulary.end_id
        limits = rules and Limits(
            **rules, **self._bounds(prompts, None, False, (end,))
        )
        made = calls(self, prompts, None, (end,), limits, EVENTS_OF_A_STREAM)
        sounding = prompts[0]
        while True:
            # Between the events another piece may be sampled.
            with self._sampling_with(sampler, None):
                start, events = next(made, (0, None))
            if events is None:
                return
            # The first of them was there before.
            new = events[0, max(1, len(prompts[0]) - start) :]
            ids = np.append(sounding, new)
            offs = grammar.close(vocabulary, ids)[len(ids) :]
            if len(new) and new[-1] == end:
                new = np.concatenate([new[:-1], offs, [end]])
            yield from new.tolist()
            sounding = offs - PITCHES  # Their note-ons.

    def _check_duration(self, prompts, seconds):
        """Refuse what a MIDI file would be too short for."""
        before = max(map(self._vocabulary.duration, prompts))
        if seconds is not None and before + seconds > MAX_SECONDS:
            raise ValueError(
                "The prompt and `seconds` of new music, a tenth more with "
                f"`ending`, must be at most {MAX_SECONDS} seconds together. "
                f"Received: {before:.1f} and {seconds:.1f}"
            )

    def _rules(self, rules, repeat_penalty):
        """The grammar's limits, but for those of a piece; none without it."""
        if not isinstance(rules, bool | EventGrammar):
            raise ValueError(
                "`grammar` must be a bool or an `EventGrammar`. "
                f"Received: grammar={rules!r}"
            )
        if not 0 <= repeat_penalty < float("inf"):
            raise ValueError(
                "`repeat_penalty` must be 0 or above. "
                f"Received: repeat_penalty={repeat_penalty}"
            )
        if rules is False:
            if repeat_penalty:
                raise ValueError(
                    "`repeat_penalty` needs the grammar. "
                    f"Received: grammar=False, repeat_penalty={repeat_penalty}"
                )
            return None
        rules = EventGrammar() if rules is True else rules
        return {
            "max_notes": np.int32(rules.max_notes),
            "max_ticks": np.int32(rules.max_ticks(self._vocabulary)),
            "max_silence": np.int32(rules.max_silence(self._vocabulary)),
            "repeat_penalty": np.float32(repeat_penalty),
        }

    def _varied(self, prompts, variations, batched):
        if not isinstance(variations, numbers.Integral) or variations < 1:
            raise ValueError(
                "`variations` must be a positive integer. "
                f"Received: variations={variations!r}"
            )
        if batched:
            raise ValueError(
                "`variations` are of one prompt. Received: a list of "
                f"{len(prompts)}"
            )
        return prompts * int(variations)

    def _stop_token_ids(self, stop_token_ids, seconds, ending):
        if isinstance(stop_token_ids, str) and stop_token_ids == "auto":
            end = self.preprocessor.tokenizer.end_token_id
            return (end,) if seconds is None or ending else ()
        ids = np.asarray(
            () if stop_token_ids is None else stop_token_ids
        ).reshape(-1)
        size = self.backbone.vocabulary_size
        if any(i != int(i) or not 0 <= i < size for i in ids):
            raise ValueError(
                f"`stop_token_ids` must be ids below {size}. "
                f"Received: {stop_token_ids}"
            )
        return tuple(int(i) for i in ids)

    def _prompts(self, inputs, seconds=None):
        """Ids of each prompt, a 1-D array with at least a start id."""
        if seconds is not None:
            inputs = [
                ids[self._vocabulary.times(ids) <= seconds]
                for ids in self.preprocessor.tokenizer.tokenize(list(inputs))
            ]
        padded = self.preprocessor.generate_preprocess(inputs)
        prompts = [
            ids[mask]
            for ids, mask in zip(
                padded["token_ids"], padded["padding_mask"], strict=True
            )
        ]
        start = np.array([self.preprocessor.tokenizer.start_token_id], "int32")
        return [prompt if len(prompt) else start for prompt in prompts]

    @contextlib.contextmanager
    def _sampling_with(self, sampler, seed):
        """Sample with another sampler for a while, and from a seed."""
        variables = [id(v) for v in self.variables]
        if variables != self._sampled_variables:
            # What was compiled knows nothing of LoRA's or int8's variables.
            self._sampled_variables = variables
            self.generate_function = self._other_sampling = None
        compiled = self.sampler, self.generate_function
        if sampler is not None:
            sampler = get_sampler(sampler)
            other, function = self._other_sampling or (None, None)
            if other is not None and structure(other) == structure(sampler):
                for state, new in zip(
                    other.variables, sampler.variables, strict=True
                ):
                    state.assign(new)
                sampler = other
            else:
                function = None
            self.sampler, self.generate_function = sampler, function
        if seed is not None:
            # Keras on torch counts draws up from the seed, so that those of
            # neighbouring seeds would be each other's: hence the hash.
            first = np.random.SeedSequence(seed % 2**32).generate_state(1)[0]
            for state in self.sampler.variables:
                if tuple(state.shape) == (2,):  # Others are settings.
                    state.assign(np.array([first, 0], "uint32"))
        try:
            yield
        finally:
            if sampler is not None:
                self._other_sampling = self.sampler, self.generate_function
                self.sampler, self.generate_function = compiled

    def _max_length(self, prompts, max_length, seconds):
        longest = max(map(len, prompts))
        limit = self.backbone.max_sequence_length
        if samples_by_step(self.sampler):
            limit = float("inf")
        if max_length is None and seconds is None:
            max_length = longest + self.preprocessor.sequence_length
            max_length = min(max_length, max(limit, longest + 1))
        elif max_length is None:
            max_length = longest + int(seconds * MAX_EVENTS_A_SECOND) + 1
        if not isinstance(max_length, numbers.Integral) or not (
            longest < max_length
        ):
            raise ValueError(
                "`max_length` counts the prompt and must be an integer above "
                f"its length, {longest} events. "
                f"Received: max_length={max_length}"
            )
        if max_length > limit:
            raise ValueError(
                f"{type(self.sampler).__name__} compares whole sequences, so "
                f"that prompt and new events together can be at most {limit}. "
                f"Received: max_length={max_length}, seconds={seconds}"
            )
        return int(max_length)

    def _continue(
        self,
        prompts,
        max_length,
        stop_token_ids,
        seconds,
        ending,
        rules,
        prompt_cache,
        progress,
        on_events,
    ):
        """Prompts with what follows them, cut at a stop id or at `seconds`."""
        vocabulary = self._vocabulary
        pieces = stack(prompts, max_length)[0]
        starts = [len(prompt) for prompt in prompts]
        stops = [max_length] * len(prompts)
        limits = None
        if rules is not None and samples_by_step(self.sampler):
            bounds = self._bounds(prompts, seconds, ending, stop_token_ids)
            limits = Limits(**rules, **bounds)
        room = EVENTS_A_CALL if on_events is None else EVENTS_OF_A_STREAM
        made = calls(
            self,
            prompts,
            max_length,
            stop_token_ids,
            limits,
            room,
            prompt_cache,
        )
        for at, events in made:
            reached = at + events.shape[1]
            pieces[:, at:reached] = events
            stops = [
                _find_stop(
                    piece[:reached], start, vocabulary, stop_token_ids, seconds
                )
                for piece, start in zip(pieces, starts, strict=True)
            ]
            if progress is not None:
                new = [
                    piece[start:stop]
                    for piece, start, stop in zip(
                        pieces, starts, stops, strict=True
                    )
                ]
                progress(sum(map(len, new)), min(map(vocabulary.duration, new)))
            if on_events is not None:
                on_events([p[:stop] for p, stop in zip(pieces, stops)])
            if all(stop < reached for stop in stops):
                break
        pieces = [p[:stop] for p, stop in zip(pieces, stops, strict=True)]
        if limits is None:
            return pieces
        return [grammar.close(vocabulary, piece) for piece in pieces]

    def _bounds(self, prompts, seconds, ending, stop_token_ids):
        """When each piece may and must end, in ticks from its beginning."""
        vocabulary = self._vocabulary
        starts = np.array([vocabulary.duration(prompt) for prompt in prompts])
        starts = np.round(starts / vocabulary.time_step)
        never = np.full(len(prompts), NEVER, "int32")
        until = end_by = end_from = never
        if seconds is not None:
            length = seconds / vocabulary.time_step
            until = (starts + length).astype("int32")
            if ending:
                share = EARLIEST_ENDING / LONGEST_ENDING
                end_by = until
                end_from = (starts + length * share).astype("int32")
        if not ending and vocabulary.end_id in stop_token_ids:
            end_from = np.zeros(len(prompts), "int32")
        return {"until": until, "end_from": end_from, "end_by": end_by}

    def _as_output(self, piece, prompt, strip_prompt, output):
        tokenizer = self.preprocessor.tokenizer
        vocabulary = tokenizer.vocabulary
        if strip_prompt:
            piece = piece[len(prompt) :]
        ids = piece[~np.isin(piece, tokenizer.special_token_ids)]
        if output == "ids":
            return ids
        if strip_prompt:
            # The velocity that the prompt ended with is still in force.
            velocities = prompt[prompt >= vocabulary.velocity_id]
            ids = np.concatenate([velocities[-1:], ids])
        notes = vocabulary.decode(ids)
        return notes if output == "notes" else write_midi(notes)


def _check_prompt_seconds(inputs, seconds):
    if seconds is not None and inputs is None:
        raise ValueError(
            "`prompt_seconds` needs a prompt to continue. Received: "
            f"inputs=None, prompt_seconds={seconds}"
        )
    if seconds is not None and not seconds >= 0:
        raise ValueError(
            "`prompt_seconds` must be 0 or above. "
            f"Received: prompt_seconds={seconds}"
        )


def _find_stop(piece, start, vocabulary, stop_token_ids, seconds):
    """Where a piece ends: at a stop id, or once it is long enough."""
    new = piece[start:]
    ended = np.isin(new, stop_token_ids)
    if seconds is not None:
        ended |= vocabulary.times(new) > seconds
    return start + int(np.argmax(ended)) if ended.any() else len(piece)
