"""What is asked of a model of notes. Lengths count notes, `START` included."""

import dataclasses
import functools

import numpy as np

from keras_pianogen.data.controls import NOT_ASKED
from keras_pianogen.generation import notewise
from keras_pianogen.generation.asking import Asked
from keras_pianogen.generation.draws import is_random
from keras_pianogen.generation.draws import next_seed
from keras_pianogen.generation.draws import seeds_from
from keras_pianogen.generation.endings import round_off_rows
from keras_pianogen.generation.notewise import OF_A_PIECE
from keras_pianogen.generation.notewise import START
from keras_pianogen.generation.notewise import NoteGrammar
from keras_pianogen.generation.notewise import NoteLimits
from keras_pianogen.generation.prompts import check_prompt
from keras_pianogen.generation.prompts import read_prompts
from keras_pianogen.generation.request import Request
from keras_pianogen.generation.samplers import FieldSamplers
from keras_pianogen.generation.samplers import build_note_sampler
from keras_pianogen.generation.samplers import compares_sequences
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import rows_of

# Bound on the notes of one second of music, for pieces asked for in seconds.
# MAESTRO has 10 on average, and up to 45 in its densest ten seconds.
MAX_NOTES_A_SECOND = 60


def note_prompts_of(model, inputs, seconds=None):
    """The rows of each prompt, see `prompts.prompts_of`.

    Returns:
        A triple: a list of int32 arrays of shape (1 + notes, fields), `START`
        first; a list of the `OwnMusic` of each, or `None` for rows; and a
        bool, whether `inputs` is a list of prompts.
    """
    check_prompt(model, inputs, seconds)
    tokenizer = model.preprocessor.tokenizer
    prompts, own, is_list = read_prompts(tokenizer, inputs, seconds)
    rows = []
    for prompt in prompts:
        row = np.stack([prompt[f] for f in FIELDS], 1).astype("int32")
        if seconds is not None:
            last = round(seconds / tokenizer.note_tuples.time_step)
            row = row[np.cumsum(row[:, 0], dtype="int64") <= last]
        row = np.concatenate([np.array([START], "int32"), row])
        rows.append(model.backbone.fields.widened(row))
    return rows, own, is_list


# In which what is asked changes from one value to another, if the length of the
# new music isn't given.
SECONDS_OF_A_CHANGE = 60


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NoteRequest(Request):
    """A `Request` of a model of notes.

    Args:
        model: a `NoteTransformerCausalLM`.
        prompts: list of int32 arrays of shape (1 + notes, fields), `START`
            first.
        grammar: a `NoteGrammar`, or `None` for no grammar.
        prompt_seconds: float. Where new music begins at the earliest, in
            seconds. Defaults to `None`: with the last note of the prompt.
        **others: see `Request`.
    """

    prompt_seconds: float | None = None

    # Whether pieces from nothing have the scales of their labels' music.
    draws_scales = True
    grammar_class = NoteGrammar
    outputs = ("notes", "midi", "rows")
    max_tokens_a_second = MAX_NOTES_A_SECOND
    tokens_of_a_stream = 4
    prompts_of = staticmethod(note_prompts_of)
    build_sampler = staticmethod(build_note_sampler)

    @classmethod
    def from_music(cls, model, inputs, *, prompt_seconds=None, **others):
        """See `Request.from_music`."""
        request = super().from_music(
            model, inputs, prompt_seconds=prompt_seconds, **others
        )
        if all(own is not None and not own.is_cut for own in request.own):
            prompt_seconds = None
        return dataclasses.replace(request, prompt_seconds=prompt_seconds)

    def from_nothing(self):
        """See `Request.from_nothing`."""
        request = super().from_nothing()
        # Another seed, so that the next piece has other scales.
        seed = seeds_from(self.seed, 2)[1]
        return dataclasses.replace(request, prompt_seconds=None, seed=seed)

    def __post_init__(self):
        self._check_sampler()
        super().__post_init__()
        if self.asked is not None:
            prompts = list(map(self.asked_on, self.prompts, self.asked_of_each))
            object.__setattr__(self, "prompts", prompts)

    def asked_on(self, prompt, asked):
        """The rows of a prompt, with what is asked of them."""
        return asked.on(self.form, prompt)

    @functools.cached_property
    def asked_of_each(self):
        """What is asked of each piece, a list of `Asked`.

        A new piece has the scales of music with its labels.
        """
        asked = self.asked or Asked(self.model.backbone.controls)
        if not self.draws_scales or not asked.has_profile:
            return [asked] * len(self.prompts)
        seed = self.seed
        if seed is None:
            seed = next_seed(self.sampler) if is_random(self.sampler) else 0
        return [
            asked if len(prompt) > 1 else asked.drawn(rng)
            for prompt, rng in zip(
                self.prompts,
                map(np.random.default_rng, seeds_from(seed, len(self.prompts))),
                strict=True,
            )
        ]

    @property
    def is_guided(self):
        """Whether what is asked of a piece is held against nothing asked."""
        return any(asked.is_guided for asked in self.asked_of_each)

    @property
    def can_be_drawn_again(self):
        """See `Request.can_be_drawn_again`: few notes may be asked for."""
        values = self.asked.values if self.asked is not None else {}
        may_be_sparse = not values.keys().isdisjoint(("density", "pace"))
        return super().can_be_drawn_again and not may_be_sparse

    @property
    def batch(self):
        """See `Request.batch`: with guidance, nothing is asked of the rest."""
        if not self.is_guided:
            return self.prompts
        nothing = Asked(self.model.backbone.controls)
        return [
            *self.prompts,
            *(nothing.on(self.form, p) for p in self.prompts),
        ]

    @property
    def form(self):
        return self.model.preprocessor.tokenizer.note_tuples

    @property
    def time_step(self):
        return self.form.time_step

    @functools.cached_property
    def stops(self):
        """No token but `END` ends a piece."""
        return ()

    @property
    def _may_end(self):
        return self.seconds is None or self.ending

    @functools.cached_property
    def limits(self):
        """The `NoteLimits` of the loop."""
        rules = self.grammar or NoteGrammar(128, None, None)
        bounds = self._bounds()
        limits = NoteLimits(
            max_notes=np.int32(rules.max_notes),
            max_ticks=rules.ticks("max_note_seconds", self.time_step),
            max_silence=rules.ticks("max_silence_seconds", self.time_step),
            repeat_penalty=np.float32(self.repeat_penalty),
            begin=np.array([self._begin_of(p) for p in self.prompts], "int32"),
            **bounds,
        )
        return self._with_plan(limits)

    def _with_plan(self, limits):
        """The limits, and what is asked; see `batch` for the rows of both."""
        controls = self.model.backbone.controls
        if not controls.all:
            return limits
        of_each = self.asked_of_each
        begins = [self._asked_from(prompt) for prompt in self.prompts]
        limits = limits._replace(
            plan=np.stack([x.plan() for x in of_each]),
            targets=np.stack([x.targets() for x in of_each]),
            intervals=np.stack([x.intervals() for x in of_each]),
            plan_begin=np.array(begins, "int32"),
            plan_ticks=np.int32(max(self._asked_ticks(), 1)),
        )
        if not self.is_guided:
            return limits
        of_both = {name: getattr(limits, name) for name in OF_A_PIECE}
        nothing = np.full_like(limits.plan, NOT_ASKED)
        return limits._replace(
            plan=np.concatenate([limits.plan, nothing]),
            # Both halves are held to it, so that guidance leaves the tilt as
            # it is, see `steering`.
            targets=np.concatenate([limits.targets, limits.targets]),
            intervals=np.concatenate([limits.intervals, limits.intervals]),
            guidance=np.float32(self.asked.guidance),
            **{name: np.tile(x, 2) for name, x in of_both.items()},
        )

    def _asked_from(self, prompt):
        """Where the music begins of which something is asked, in ticks."""
        return round(self.duration_of(prompt) / self.time_step)

    def _asked_ticks(self):
        """How long that music is."""
        return (self.seconds or SECONDS_OF_A_CHANGE) / self.time_step

    def _begin_of(self, prompt):
        if self.prompt_seconds is None:
            return 0
        return round(self.prompt_seconds / self.time_step)

    def initial_state(self, pieces):
        """See `EventRequest.initial_state`."""
        return notewise.initial_state(pieces)

    def count_notes(self, tokens):
        """See `EventRequest.count_notes`."""
        return int((tokens[:, 0] >= 0).sum())

    def duration_of(self, tokens):
        """When the last of some rows begins, in seconds."""
        shifts = np.maximum(tokens[:, 0], 0)
        last = int(shifts.sum(dtype="int64"))
        if (
            self.prompt_seconds is not None
            and (tokens[:1, 0] == START[0]).all()
        ):
            last = max(last, self._begin_of(tokens))
        return last * self.time_step

    @property
    def logit_bias(self):
        return np.float32(0)

    def stop_of(self, piece, prompt):
        """See `EventRequest.stop_of`."""
        new = piece[len(prompt) :]
        is_stop = new[:, 0] < 0
        if self.seconds is not None:
            starts = np.cumsum(np.maximum(piece[:, 0], 0), dtype="int64")
            times = starts[len(prompt) :] * self.time_step
            begin = self.duration_of(prompt)
            is_stop |= times > begin + self.most_seconds + 1e-9
        if not is_stop.any():
            return len(piece)
        return len(prompt) + int(np.argmax(is_stop))

    def output_of(self, piece, prompt):
        """A piece in the form that is asked for."""
        rows = rows_of(piece[1:])
        if self.strip_prompt:
            rows = rows[len(prompt) - 1 :].copy()
            if len(rows):
                before = np.maximum(prompt[:, 0], 0).sum(dtype="int64")
                begin = round(self.duration_of(prompt) / self.time_step)
                rows["shift"][0] -= begin - before
        if self.output == "rows":
            return rows
        notes = self.form.decode(rows)
        return notes if self.output == "notes" else write_midi(notes)

    def rounded_off(self, piece, prompt):
        """See `EventRequest.rounded_off`."""
        return round_off_rows(piece, len(prompt), self.seconds, self.time_step)

    def new_of(self, piece, prompt):
        """See `EventRequest.new_of`. Notes of the prompt have ends already."""
        notes = self.form.decode(rows_of(piece[1:]))
        return notes[len(prompt) - 1 :], None

    def streamed(self, chunks):
        """The notes of a new piece as they come.

        Args:
            chunks: an iterable of arrays of new rows, (notes, fields).

        Yields:
            Notes, scalars of `NOTE_DTYPE`. Their times count from the
            beginning of the prompt or, after the end of a piece, of the new
            piece.
        """
        before = np.maximum(self.prompts[0][:, 0], 0).sum(dtype="int64")
        for new in chunks:
            new = new[new[:, 0] >= 0].copy()
            if len(new):
                new[0, 0] += before
                yield from self.form.decode(rows_of(new))
                before = new[:, 0].sum(dtype="int64")

    def _check_sampler(self):
        samplers = [self.sampler]
        if isinstance(self.sampler, FieldSamplers):
            samplers = self.sampler.samplers.values()
        for sampler in samplers:
            if compares_sequences(sampler):
                raise ValueError(
                    "`sampler` must draw note by note: models of notes can't "
                    "compare whole sequences. Received: "
                    f"{type(sampler).__name__}"
                )

    def _check_stops(self):
        if self.stop_token_ids not in ("auto", None):
            raise ValueError(
                "`stop_token_ids` is for models of events: a piece of notes "
                "ends by itself. Received: "
                f"stop_token_ids={self.stop_token_ids!r}"
            )
