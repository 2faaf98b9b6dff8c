"""The forms in which a model sees music: events, or notes.

A form has

- `unit`, the name of what is predicted at a position: "event" or "note";
- `training_windows(corpus, split, **settings)`;
- `evaluation_windows(corpus, split, **settings)`.
"""

import dataclasses
from typing import Any

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.note_windows import NoteEvaluationWindows
from keras_pianogen.data.note_windows import NoteWindows
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import EvaluationWindows
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
