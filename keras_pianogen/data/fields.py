"""The fields of a note that a model reads, in their order.

| fields                                    | read by models that          |
| ----------------------------------------- | ---------------------------- |
| shift, pitch, velocity, duration          | all, see `note_tuples`       |
| gap                                       | fill gaps, see `gaps`        |
| score shift, score pitch, score duration  | perform scores, see `scores` |
| one for each control that is an input     | have controls, see `controls`|

Those of gaps and scores say something of the next note, and those of controls
of the seconds that begin with the note itself. Where nothing is said, they are
-1.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.controls import NO_CONTROLS
from keras_pianogen.data.controls import Controls
from keras_pianogen.data.gaps import num_gap_classes
from keras_pianogen.note_tuples import FIELDS
from keras_pianogen.note_tuples import NoteTuples

SCORE_FIELDS = ("score shift", "score pitch", "score duration")
NOTHING = -1


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of a model's notes.

    Args:
        infilling: whether it fills gaps.
        performing: whether it performs scores.
        controls: its `Controls`.

    Examples:
        >>> len(Fields()), len(Fields(infilling=True, performing=True))
        (4, 8)
    """

    infilling: bool = False
    performing: bool = False
    controls: Controls = NO_CONTROLS

    def __len__(self) -> int:
        return self.score.stop + len(self.controls.inputs)

    @property
    def gap(self) -> slice:
        """Where the field of gaps stands."""
        return slice(len(FIELDS), len(FIELDS) + self.infilling)

    @property
    def score(self) -> slice:
        """Where the fields of scores stand."""
        first = self.gap.stop
        return slice(first, first + self.performing * len(SCORE_FIELDS))

    @property
    def asked(self) -> slice:
        """Where the fields of controls stand."""
        return slice(self.score.stop, len(self))

    def sizes(self, form: NoteTuples) -> dict[str, int]:
        """The number of classes of each field, by their names."""
        sizes = dict(form.num_classes)
        if self.infilling:
            sizes["gap"] = num_gap_classes(form)
        if self.performing:
            of_note = form.num_classes
            sizes["score shift"] = form.shift_code.num_classes
            sizes["score pitch"] = of_note["pitch"]
            sizes["score duration"] = of_note["duration"]
        return sizes | {x.name: x.num_classes for x in self.controls.inputs}

    def widened(self, rows: NDArray[Any]) -> NDArray[np.int32]:
        """Rows of some first fields with all others, which say nothing."""
        shape = (*rows.shape[:-1], len(self))
        wide = np.full(shape, NOTHING, np.int32)
        wide[..., : rows.shape[-1]] = rows
        return wide
