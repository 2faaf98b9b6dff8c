"""The forms in which a model sees music: events, or notes.

A form has

- `unit`, the name of what is predicted at a position: "event" or "note";
- `events_for(purpose)`, its `EventVocabulary`, or a `ValueError` which says
  that the purpose needs events;
- `recipe_settings()`, a dict of the settings of a training recipe;
- `training_windows(corpus, split, **settings)`;
- `evaluation_windows(corpus, split, **settings)`;
- `backbone_inputs(notes)`, the inputs of a backbone, a dict of arrays whose
  first axis is time, for a whole performance without start and end;
- `times(notes)`, when the events or notes of a performance come, in seconds;
- `strokes(tokens, after)`, the note-ons and note-offs of tokens that a model
  makes, as rows of time, pitch and velocity, which is 0 for a note-off, and the
  time up to which the music is known. More tokens only add rows at the end; the
  first `after` rows are left out;
- `tokens_a_window`, how many of them are a few seconds of MAESTRO.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.controls import NO_CONTROLS
from keras_pianogen.data.controls import Controls
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.fields import Fields
from keras_pianogen.data.note_windows import NoteEvaluationWindows
from keras_pianogen.data.note_windows import NoteWindows
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import EvaluationWindows
from keras_pianogen.events import DEFAULT_VELOCITY
from keras_pianogen.events import PITCHES
from keras_pianogen.events import SETTINGS
from keras_pianogen.events import EventVocabulary
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.note_tuples import rows_of

# Rows of time, pitch and velocity, and the time up to which they are known.
Strokes = tuple[list[tuple[float, int, int]], float]


def _rows(
    times: NDArray[np.floating],
    pitches: NDArray[np.integer],
    velocities: NDArray[np.integer],
) -> list[tuple[float, int, int]]:
    lists = times.tolist(), pitches.tolist(), velocities.tolist()
    return list(zip(*lists, strict=True))


@dataclasses.dataclass(frozen=True)
class EventForm:
    """Music as events.

    Args:
        vocabulary: an `EventVocabulary`.
    """

    vocabulary: EventVocabulary
    unit = "event"
    tokens_a_window = 128

    def events_for(self, purpose: str) -> EventVocabulary:
        """The vocabulary: everything that needs events can be done."""
        return self.vocabulary

    def backbone_inputs(self, notes: NDArray[np.void]) -> dict[str, Any]:
        """The inputs of a backbone for a performance, without its mask."""
        return {"token_ids": self.vocabulary.encode(notes)}

    def times(self, notes: NDArray[np.void]) -> NDArray[np.floating]:
        """When each event of a performance comes, in seconds."""
        return self.vocabulary.times(self.vocabulary.encode(notes))

    def strokes(self, tokens: NDArray[np.integer], after: int = 0) -> Strokes:
        """The note-ons and note-offs of event ids."""
        ids, vocabulary = np.asarray(tokens), self.vocabulary
        times = vocabulary.times(ids)
        is_key = (ids >= vocabulary.note_on_id) & (ids < vocabulary.shift_id)
        keys = np.flatnonzero(is_key)[after:]
        said = np.flatnonzero(ids >= vocabulary.velocity_id)
        latest = np.searchsorted(said, keys) - 1
        bins = np.append(ids[said], 0)[latest] - vocabulary.velocity_id
        velocities = vocabulary.to_velocities(np.maximum(bins, 0))
        velocities = np.where(latest < 0, DEFAULT_VELOCITY, velocities)
        codes = ids[keys].astype(np.int64) - vocabulary.note_on_id
        velocities = np.where(codes < PITCHES, velocities, 0)
        rows = _rows(times[keys], codes % PITCHES, velocities)
        return rows, float(times[-1]) if len(times) else 0.0

    def recipe_settings(self) -> dict[str, Any]:
        """The settings of a training recipe for this form.

        Raises:
            ValueError: if the vocabulary has no name.
        """
        for name in SETTINGS:
            if EventVocabulary.named(name) == self.vocabulary:
                return {"architecture": "music_transformer", "vocabulary": name}
        raise ValueError(
            "A preset to begin from must have one of the named event "
            f"vocabularies. Received: {self.vocabulary}"
        )

    def training_windows(
        self, corpus: Corpus, split: str = "train", **settings: Any
    ) -> EventWindows:
        """Random windows of a split, see `EventWindows`."""
        return EventWindows(
            corpus, split, vocabulary=self.vocabulary, **settings
        )

    def evaluation_windows(
        self, corpus: Corpus, split: str = "validation", **settings: Any
    ) -> EvaluationWindows:
        """Windows of a whole split, see `EvaluationWindows`."""
        return EvaluationWindows(
            corpus, split, vocabulary=self.vocabulary, **settings
        )


@dataclasses.dataclass(frozen=True)
class NoteForm:
    """Music as note tuples.

    Args:
        note_tuples: a `NoteTuples`.
        infilling: share of the training windows in which a gap is to be
            filled, see `gaps`, 0 to 1.
        performing: share of the other windows in which a score is to be
            performed, see `scores`, 0 to 1.
        controls: the `Controls` that can be asked for.
    """

    note_tuples: NoteTuples
    infilling: float = 0.0
    performing: float = 0.0
    controls: Controls = NO_CONTROLS
    unit = "note"
    tokens_a_window = 32

    def events_for(self, purpose: str) -> EventVocabulary:
        """Refuses what needs events, such as "Attention maps".

        Raises:
            ValueError: in any case.
        """
        raise ValueError(
            f"{purpose} need a model of events. Received: a model of notes"
        )

    @property
    def fields(self) -> Fields:
        """The `Fields` of a note."""
        return Fields(self.infilling > 0, self.performing > 0, self.controls)

    def backbone_inputs(self, notes: NDArray[np.void]) -> dict[str, Any]:
        """The inputs of a backbone for a performance, without its mask."""
        form = self.note_tuples
        classes = form.classes(form.encode(notes))
        return {"notes": self.fields.widened(classes)}

    def times(self, notes: NDArray[np.void]) -> NDArray[np.floating]:
        """When each note of a performance begins, in seconds."""
        shifts = self.note_tuples.encode(notes)["shift"]
        return np.cumsum(shifts, dtype=np.int64) * self.note_tuples.time_step

    def strokes(self, tokens: NDArray[np.integer], after: int = 0) -> Strokes:
        """The note-ons and note-offs of rows, see `generation.notewise`.

        What happens when the last note begins is left for later: there may be
        more of it.
        """
        tokens = np.asarray(tokens)
        notes = self.note_tuples.decode(rows_of(tokens[tokens[:, 0] >= 0]))
        until = float(notes["start"].max(initial=0))
        times = np.concatenate([notes["start"], notes["end"]])
        pitches = np.tile(notes["pitch"], 2)
        velocities = np.append(notes["velocity"], np.zeros(len(notes), "u1"))
        order = np.lexsort((pitches, velocities > 0, times))
        order = order[times[order] < until][after:]
        return _rows(times[order], pitches[order], velocities[order]), until

    def recipe_settings(self) -> dict[str, Any]:
        """The settings of a training recipe for this form."""
        return {
            "architecture": "note_transformer",
            "infilling": self.infilling,
            "performing": self.performing,
            "controls": ",".join(self.controls.names),
        }

    def training_windows(
        self, corpus: Corpus, split: str = "train", **settings: Any
    ) -> NoteWindows:
        """Random windows of a split, see `NoteWindows`."""
        return NoteWindows(
            corpus,
            split,
            form=self.note_tuples,
            infilling=self.infilling,
            performing=self.performing,
            controls=self.controls,
            **settings,
        )

    def evaluation_windows(
        self, corpus: Corpus, split: str = "validation", **settings: Any
    ) -> NoteEvaluationWindows:
        """Windows of a whole split, see `NoteEvaluationWindows`."""
        return NoteEvaluationWindows(
            corpus,
            split,
            form=self.note_tuples,
            fields=self.fields,
            **settings,
        )
