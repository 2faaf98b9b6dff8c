"""What is asked of a model, checked when it is asked.

Lengths count tokens, which are events or notes. `event_request` and
`note_request` have the classes for both forms of music.
"""

import dataclasses
import functools
import numbers

import numpy as np

from keras_pianogen.generation import emptiness
from keras_pianogen.generation.arguments import check_arguments
from keras_pianogen.generation.draws import is_random
from keras_pianogen.generation.endings import EARLIEST_ENDING
from keras_pianogen.generation.endings import LATEST_ENDING
from keras_pianogen.generation.endings import model_end
from keras_pianogen.generation.grammar import NEVER
from keras_pianogen.generation.prompts import vary
from keras_pianogen.generation.samplers import compares_sequences
from keras_pianogen.generation.samplers import get_sampler
from keras_pianogen.midi.movements import MAX_SECONDS

MOST_EVENTS = 10_000_000  # of a piece: five times those of two hours


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Request:
    """What to continue, how far, and by which rules; a class for each form.

    `from_music` makes one from performances. A class for a form of music has
    `grammar_class`; `outputs`, names of what `output` can be, of which the last
    one means tokens; `max_tokens_a_second`; `tokens_of_a_stream`, how many come
    at a time; `build_sampler`; `prompts_of`; and the methods of `EventRequest`.

    The arguments are those of `MusicTransformerCausalLM.generate`, except for
    these:

    Args:
        model: the model of its form.
        prompts: list of arrays of tokens, none of them empty.
        own: list of the `OwnMusic` of each prompt, or `None` for tokens.
            Defaults to `None`, tokens alone.
        sampler: a `keras_hub.samplers.Sampler`.
        grammar: the grammar of its form, or `None` for no grammar.
        asked: an `asking.Asked`, what is asked of the new music. Defaults to
            `None`, nothing; models of events have no controls.
        is_endless: bool. Whether a piece goes on until a stop id comes.
        is_list: bool. Whether the answer is a list of pieces, or one piece.

    Raises:
        ValueError: if an argument is out of its range.
    """

    model: object
    prompts: object
    sampler: object
    own: list | None = None
    max_length: int | None = None
    stop_token_ids: object = "auto"
    seconds: float | None = None
    ending: bool = False
    grammar: object | None = None
    repeat_penalty: float = 0.0
    seed: int | None = None
    strip_prompt: bool = False
    output: str = "notes"
    asked: object | None = None
    is_endless: bool = False
    is_list: bool = True

    def __post_init__(self):
        self._check_grammar()
        self._check_seconds()
        self._check_stops()
        self._check_length()

    @classmethod
    def from_music(
        cls,
        model,
        inputs,
        *,
        prompt_seconds=None,
        variations=None,
        sampler=None,
        grammar=True,
        max_note_seconds=None,
        cuts=None,
        **others,
    ):
        """A request to continue performances.

        Args:
            model: a `MusicTransformerCausalLM`.
            inputs: see `MusicTransformerCausalLM.generate`.
            prompt_seconds: see there.
            variations: see there.
            sampler: see there.
            grammar: see there.
            max_note_seconds: see there.
            cuts: dict of the arguments `temperature`, `min_p`, `top_p` and
                `top_k`, see there.
            **others: see the class.

        Raises:
            MidiError: if a prompt can't be read.
            TypeError: if an argument has the wrong type.
            ValueError: if an argument is out of its range.
        """
        asked = {"prompt_seconds": prompt_seconds, "variations": variations}
        check_arguments(asked)
        settings = cls.settings_of(
            model,
            sampler=sampler,
            grammar=grammar,
            max_note_seconds=max_note_seconds,
            cuts=cuts,
            **others,
        )
        prompts, own, is_list = cls.prompts_of(model, inputs, prompt_seconds)
        if variations is not None:
            prompts = vary(prompts, is_list, variations)
            own, is_list = own * len(prompts), True
        return cls(
            model=model, prompts=prompts, own=own, is_list=is_list, **settings
        )

    @classmethod
    def settings_of(
        cls, model, *, sampler, grammar, max_note_seconds, cuts, **others
    ):
        """Checked arguments of the class, a dict; see `from_music`.

        What `check_arguments` alone knows, such as `variations`, is left out.
        """
        if not isinstance(grammar, bool | cls.grammar_class):
            raise ValueError(
                "`grammar` must be a bool or an instance of "
                f"`{cls.grammar_class.__name__}`. Received: grammar={grammar!r}"
            )
        cuts = cuts or {}
        given = {"max_note_seconds": max_note_seconds}
        check_arguments(given | others | cuts)
        cls.check_output(others.get("output", "notes"))
        others.pop("variations", None)
        return {
            "sampler": cls._sampler_of(model, sampler, cuts),
            "grammar": _grammar_of(
                cls.grammar_class, grammar, max_note_seconds
            ),
            **others,
        }

    @classmethod
    def _sampler_of(cls, model, sampler, cuts):
        """The sampler: given, made of its settings, or the model's."""
        cuts = {name: x for name, x in cuts.items() if x is not None}
        if sampler is None:
            return cls.build_sampler(**cuts) if cuts else model.sampler
        if cuts:
            own = " and ".join(map("`{}`".format, cuts))
            raise ValueError(
                f"`sampler` has its own {own}. "
                f"Received: sampler={sampler!r}, {cuts}"
            )
        return get_sampler(sampler)

    def from_nothing(self):
        """This request for a new piece, without a prompt."""
        prompts, own, _ = self.prompts_of(self.model, None)
        return dataclasses.replace(self, prompts=prompts, own=own)

    def alone(self, index, seed=None):
        """The request for one of the pieces alone.

        Args:
            index: int. Its number among the prompts.
            seed: int. Defaults to `None`, the seed of this request.
        """
        return dataclasses.replace(
            self,
            prompts=[self.prompts[index]],
            own=self.own and [self.own[index]],
            seed=self.seed if seed is None else seed,
            is_list=True,
        )

    @property
    def batch(self):
        """The rows of the batch in which the pieces are made, theirs first."""
        return self.prompts

    @property
    def can_be_drawn_again(self):
        """Whether another seed gives another piece of the same length."""
        is_timed = self.seconds is not None and self.max_length is None
        return is_timed and is_random(self.sampler)

    @property
    def fewest_notes(self):
        """How many notes a new piece has at least, or it is drawn again."""
        return emptiness.fewest_notes(self.seconds)

    # What follows from the arguments.

    @functools.cached_property
    def length(self):
        """The most events of a piece, or `None` for no limit."""
        if self.max_length is not None or self.is_endless:
            return self.max_length
        prompt = self._longest_prompt
        if self.seconds is not None:
            return (
                prompt + int(self.most_seconds * self.max_tokens_a_second) + 1
            )
        length = prompt + self.model.preprocessor.sequence_length
        return min(length, max(self._longest_piece, prompt + 1))

    @property
    def most_seconds(self):
        """The most seconds that the model makes, or `None` for no limit.

        An ending makes a piece longer afterwards.
        """
        if self.ending:
            return model_end(LATEST_ENDING, self.seconds)
        return self.seconds

    def _bounds(self):
        """When each piece may and must end, in ticks since its beginning."""
        step = self.time_step
        starts = np.array([self.duration_of(p) for p in self.prompts])
        starts = np.round(starts / step)
        until = end_by = end_from = np.full(len(starts), NEVER, "int32")
        if self.seconds is not None:
            length = self.most_seconds / step
            until = (starts + length).astype("int32")
            if self.ending:
                earliest = model_end(EARLIEST_ENDING, self.seconds) / step
                end_by = until
                end_from = (starts + earliest).astype("int32")
        if not self.ending and self._may_end:
            end_from = np.zeros(len(starts), "int32")
        return {"until": until, "end_from": end_from, "end_by": end_by}

    @property
    def _longest_prompt(self):
        if isinstance(self.prompts, list):
            return max(map(len, self.prompts))
        return self.prompts.shape[1]

    @property
    def _longest_piece(self):
        """The most events of a piece that the sampler can make."""
        if compares_sequences(self.sampler):
            return self.model.backbone.max_sequence_length
        return float("inf")

    # What becomes of a piece.

    def outputs_of(self, pieces):
        """Pieces in the form that is asked for."""
        own = self.own or [None] * len(pieces)
        return list(map(self._output_of, pieces, self.prompts, own))

    def _output_of(self, piece, prompt, own):
        """The form of one piece; notes of the user's own stay as they were."""
        if own is None or self.strip_prompt or self.output == self.outputs[-1]:
            return self.output_of(piece, prompt)
        notes = own.continued(*self.new_of(piece, prompt))
        return notes if self.output == "notes" else own.to_midi(notes)

    # Checks.

    def check_sampler(self, name):
        """Check that the sampler draws event by event, as a method needs."""
        if compares_sequences(self.sampler):
            raise ValueError(
                f"`{name}` needs a sampler that draws event by event. "
                f"Received: {type(self.sampler).__name__}"
            )

    @classmethod
    def check_output(cls, output):
        """Check that a form of pieces is one that the model can give."""
        if output not in cls.outputs:
            names = ", ".join(map(repr, cls.outputs))
            raise ValueError(
                f"`output` must be one of {names}. Received: output={output!r}"
            )

    def _check_grammar(self):
        if self.repeat_penalty and self.grammar is None:
            raise ValueError(
                "`repeat_penalty` needs the grammar. Received: grammar=False, "
                f"repeat_penalty={self.repeat_penalty}"
            )

    def _check_seconds(self):
        if self.seconds is None:
            if self.ending:
                raise ValueError(
                    "`ending` needs `seconds`, the length to end near. "
                    "Received: seconds=None"
                )
            return
        before = max(map(self.duration_of, self.prompts))
        after = self.seconds * (LATEST_ENDING if self.ending else 1)
        if before + after > MAX_SECONDS:  # MIDI files end there.
            raise ValueError(
                "The prompt and `seconds` of new music, a tenth more with "
                f"`ending`, must be at most {MAX_SECONDS} seconds together. "
                f"Received: {before:.1f} and {after:.1f}"
            )

    def _check_length(self):
        prompt, length = self._longest_prompt, self.length
        if length is None:
            return
        is_whole = isinstance(length, numbers.Integral)
        if not is_whole or not prompt < length <= MOST_EVENTS:
            raise ValueError(
                "`max_length` counts the prompt and must be an integer above "
                f"its length, {prompt}, and at most {MOST_EVENTS:,}. "
                f"Received: max_length={length}"
            )
        if length > self._longest_piece:
            raise ValueError(
                f"{type(self.sampler).__name__} compares whole sequences, so "
                "prompt and new events together can be at most "
                f"{self._longest_piece}. Received: max_length={length}, "
                f"seconds={self.seconds}"
            )


def _grammar_of(kind, grammar, max_note_seconds):
    """The grammar of a call, or `None`: given, or of a kind."""
    if max_note_seconds is None:
        return kind() if grammar is True else grammar or None
    if grammar is not True:
        raise ValueError(
            "`max_note_seconds` needs the grammar, and is one of its own "
            f"settings. Received: max_note_seconds={max_note_seconds}, "
            f"grammar={grammar!r}"
        )
    return kind(max_note_seconds=max_note_seconds)
