"""The forms in which a model sees music: events, or notes.

A form has

- `unit`, the name of what is predicted at a position: "event" or "note";
- `recipe_settings()`, a dict of the settings of a training recipe;
- `training_windows(corpus, split, **settings)`;
- `evaluation_windows(corpus, split, **settings)`;
- `backbone_inputs(notes)`, the inputs of a backbone, a dict of arrays whose
  first axis is time, for a whole performance without start and end;
- `times(notes)`, when the events or notes of a performance come, in seconds;
- `tokens_a_window`, how many of them are a few seconds of MAESTRO.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.note_windows import NoteEvaluationWindows
from keras_pianogen.data.note_windows import NoteWindows
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import EvaluationWindows
from keras_pianogen.events import SETTINGS
from keras_pianogen.events import EventVocabulary
from keras_pianogen.note_tuples import NoteTuples


@dataclasses.dataclass(frozen=True)
class EventForm:
    """Music as events.

    Args:
        vocabulary: an `EventVocabulary`.
    """

    vocabulary: EventVocabulary
    unit = "event"
    tokens_a_window = 128

    def backbone_inputs(self, notes: NDArray[np.void]) -> dict[str, Any]:
        """The inputs of a backbone for a performance, without its mask."""
        return {"token_ids": self.vocabulary.encode(notes)}

    def times(self, notes: NDArray[np.void]) -> NDArray[np.float64]:
        """When each event of a performance comes, in seconds."""
        return self.vocabulary.times(self.vocabulary.encode(notes))

    def recipe_settings(self) -> dict[str, str]:
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
    """

    note_tuples: NoteTuples
    unit = "note"
    tokens_a_window = 32

    def backbone_inputs(self, notes: NDArray[np.void]) -> dict[str, Any]:
        """The inputs of a backbone for a performance, without its mask."""
        form = self.note_tuples
        return {"notes": form.classes(form.encode(notes))}

    def times(self, notes: NDArray[np.void]) -> NDArray[np.float64]:
        """When each note of a performance begins, in seconds."""
        shifts = self.note_tuples.encode(notes)["shift"]
        return np.cumsum(shifts, dtype=np.int64) * self.note_tuples.time_step

    def recipe_settings(self) -> dict[str, str]:
        """The settings of a training recipe for this form."""
        return {"architecture": "note_transformer"}

    def training_windows(
        self, corpus: Corpus, split: str = "train", **settings: Any
    ) -> NoteWindows:
        """Random windows of a split, see `NoteWindows`."""
        return NoteWindows(corpus, split, form=self.note_tuples, **settings)

    def evaluation_windows(
        self, corpus: Corpus, split: str = "validation", **settings: Any
    ) -> NoteEvaluationWindows:
        """Windows of a whole split, see `NoteEvaluationWindows`."""
        return NoteEvaluationWindows(
            corpus, split, form=self.note_tuples, **settings
        )
