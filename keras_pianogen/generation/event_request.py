"""What is asked of a model of events. A token is an event's id."""

import dataclasses
import functools

import numpy as np

from keras_pianogen.events import PITCHES
from keras_pianogen.generation.endings import round_off
from keras_pianogen.generation.grammar import BARRED
from keras_pianogen.generation.grammar import EventGrammar
from keras_pianogen.generation.grammar import Limits
from keras_pianogen.generation.grammar import close
from keras_pianogen.generation.grammar import initial_state
from keras_pianogen.generation.prompts import prompts_of
from keras_pianogen.generation.request import Request
from keras_pianogen.generation.samplers import build_sampler
from keras_pianogen.generation.samplers import compares_sequences
from keras_pianogen.midi.writing import write_midi

# Bound on the events of one second of music, for pieces asked for in seconds.
# MAESTRO has 41 on average, and up to 180 in its densest ten seconds.
MAX_EVENTS_A_SECOND = 250


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EventRequest(Request):
    """A `Request` of a model of events.

    Args:
        model: a `MusicTransformerCausalLM`.
        prompts: list of 1-D arrays of ids, none of them empty; or an int
            tensor (batch, time), for `decoding.roll_out`.
        sampler: see `Request`; or a `draws.GivenNoise`, for
            `decoding.roll_out`.
        grammar: an `EventGrammar`, or `None` for no grammar.
        **others: see `Request`.
    """

    grammar_class = EventGrammar
    outputs = ("notes", "midi", "ids")
    max_tokens_a_second = MAX_EVENTS_A_SECOND
    tokens_of_a_stream = 16
    build_sampler = staticmethod(build_sampler)
    prompts_of = staticmethod(prompts_of)

    @property
    def vocabulary(self):
        return self.model.preprocessor.tokenizer.vocabulary

    @functools.cached_property
    def stops(self):
        """A tuple of the ids that end a piece."""
        if isinstance(self.stop_token_ids, str):  # It is "auto".
            has_end = self.seconds is None or self.ending
            return (self.vocabulary.end_id,) if has_end else ()
        ids = () if self.stop_token_ids is None else self.stop_token_ids
        return tuple(int(i) for i in np.asarray(ids).reshape(-1))

    @functools.cached_property
    def limits(self):
        """The `Limits` of the grammar, or `None` without a grammar."""
        if self.grammar is None or compares_sequences(self.sampler):
            return None
        return Limits(
            max_notes=np.int32(self.grammar.max_notes),
            lifetimes=self.grammar.lifetimes(self.vocabulary),
            max_silence=np.int32(self.grammar.max_silence(self.vocabulary)),
            repeat_penalty=np.float32(self.repeat_penalty),
            **self._bounds(),
        )

    def initial_state(self, pieces):
        """What the loop knows of the beginnings of pieces.

        Args:
            pieces: list of arrays of tokens.
        """
        if self.limits is None:
            return ()
        return initial_state(self.vocabulary, pieces)

    @property
    def time_step(self):
        """The length of a tick, in seconds."""
        return self.vocabulary.time_step

    def count_notes(self, tokens):
        """The number of notes that begin in a piece or a part of one."""
        first = self.vocabulary.note_on_id
        return int(((tokens >= first) & (tokens < first + PITCHES)).sum())

    def duration_of(self, tokens):
        """The length of a piece or a part of one, in seconds."""
        return self.vocabulary.duration(tokens)

    @property
    def _may_end(self):
        return self.vocabulary.end_id in self.stops

    @functools.cached_property
    def logit_bias(self):
        """What bars the special ids, except for those that end a piece."""
        tokenizer = self.model.preprocessor.tokenizer
        bias = np.zeros(self.model.backbone.vocabulary_size, "float32")
        bias[len(tokenizer.vocabulary) :] = BARRED
        barred = set(tokenizer.special_token_ids) - set(self.stops)
        bias[list(barred)] = BARRED
        return bias

    def stop_of(self, piece, prompt):
        """Where a piece stops: at a stop id, after `seconds`, or at its end.

        Args:
            piece: 1-D array of ids, the prompt's first.
            prompt: 1-D array of ids.

        Returns:
            An int, the number of events before the stop.
        """
        new = piece[len(prompt) :]
        is_stop = np.isin(new, self.stops)
        if self.seconds is not None:
            is_stop |= self.vocabulary.times(new) > self.most_seconds
        if not is_stop.any():
            return len(piece)
        return len(prompt) + int(np.argmax(is_stop))

    def rounded_off(self, piece, prompt):
        """A piece with an ending, see `endings`."""
        return round_off(self.vocabulary, piece, len(prompt), self.seconds)

    def output_of(self, piece, prompt):
        """A piece in the form that is asked for, decoded from its tokens."""
        tokenizer = self.model.preprocessor.tokenizer
        if self.limits is not None:
            piece = close(self.vocabulary, piece)
        if self.strip_prompt:
            piece = piece[len(prompt) :]
        if self.output == "ids":
            return piece[~np.isin(piece, tokenizer.special_token_ids)]
        if self.strip_prompt:
            notes = self._decode_after(prompt, piece)
        else:
            notes = self.vocabulary.decode(piece)
        return notes if self.output == "notes" else write_midi(notes)

    def new_of(self, piece, prompt):
        """What a piece adds to its prompt, see `OwnMusic.continued`.

        Returns:
            A pair: notes, and a dict of pitches that sounded at the end of the
            prompt, with the times at which they end.
        """
        vocabulary = self.vocabulary
        if self.limits is not None:
            piece = close(vocabulary, piece)
        end = vocabulary.duration(prompt)
        given = set(vocabulary.decode(prompt)[["start", "pitch"]].tolist())
        released = {
            pitch: off
            for on, off, pitch, _ in vocabulary.decode(piece).tolist()
            if off >= end and (on, pitch) in given
        }
        new = self._decode_after(prompt, piece[len(prompt) :])
        new["start"] += end
        new["end"] += end
        return new, released

    def _decode_after(self, prompt, new):
        """Notes of the events after a prompt, whose velocity is in force."""
        velocities = prompt[prompt >= self.vocabulary.velocity_id]
        return self.vocabulary.decode(np.concatenate([velocities[-1:], new]))

    def streamed(self, chunks):
        """The events of a new piece as they come.

        Args:
            chunks: an iterable of arrays of new ids.

        Yields:
            Ids, int. Before the piece's end come note-offs of what still
            sounds.
        """
        sounding = self.prompts[0]
        for new in chunks:
            ids = np.append(sounding, new)
            offs = close(self.vocabulary, ids)[len(ids) :]
            if len(new) and new[-1] == self.vocabulary.end_id:
                new = np.concatenate([new[:-1], offs, new[-1:]])
            yield from new.tolist()
            sounding = offs - PITCHES  # Note-ons of the same pitches.

    def _check_stops(self):
        size, asked = self.model.backbone.vocabulary_size, self.stop_token_ids
        if isinstance(asked, str) and asked != "auto":
            raise ValueError(
                "`stop_token_ids` must be ids, None or 'auto'. "
                f"Received: {asked!r}"
            )
        ids = self.stops if isinstance(asked, str | None) else asked
        for i in np.asarray(ids).reshape(-1):
            if i != int(i) or not 0 <= i < size:
                raise ValueError(
                    f"`stop_token_ids` must be ids below {size}. "
                    f"Received: {asked}"
                )
