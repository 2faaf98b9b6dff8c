"""What can be asked of a model of notes: scales of its music, and labels.

A scale is a number that the music itself has at every moment, see `scales`. A
label is a word that a whole piece has, such as its composer.

Most controls are inputs of the model: for each note it is given the class of
each of them that is asked for, and -1 for one that is not. The others are
steered: the model knows nothing of them, and its music is only held to them,
see `generation.steering` and `profiles`. They need no training.
"""

import collections
import dataclasses
import logging
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.composers import period_of
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.profiles import LEAST_EXCERPTS
from keras_pianogen.data.profiles import SECONDS as EXCERPT
from keras_pianogen.data.profiles import Profile
from keras_pianogen.data.profiles import count_intervals
from keras_pianogen.data.scales import SCALES
from keras_pianogen.data.scales import Scale
from keras_pianogen.data.scales import measured

logger = logging.getLogger(__name__)

NUM_CLASSES = 20  # of a scale
MOST_VALUES = 12  # of a label
LEAST_SHARE = 0.01  # of the notes, for a value of a label
NOT_ASKED = -1
# What `generate`, `stream`, `infill`, `vary` and `perform` call other things:
# a label of such a name could not be asked for.
TAKEN = frozenset(
    """
    amount cache controls end ending grammar guidance inputs keep
    keep_melody max_length max_note_seconds min_p on_events output piece
    progress prompt_cache prompt_seconds repeat_penalty sampler score
    seconds seed self settings start stop_token_ids strip_prompt
    temperature top_k top_p variations
    """.split()
)
# Of training windows in which nothing is asked, and of the controls that are
# asked for in the others.
SHARE_WITHOUT = 0.3
SHARE_ASKED = 0.5


def check_label(name: str) -> None:
    """Check that a label can have this name.

    Raises:
        ValueError: if it can't.
    """
    if not name or set(name) & set(",=") or name in TAKEN or name in SCALES:
        raise ValueError(
            "A label's name must have no comma and no equals sign, and be "
            "neither a scale nor an argument of `generate` and its like. "
            f"Received: {name!r}"
        )


@dataclasses.dataclass(frozen=True)
class Label:
    """A label and the values that it can have.

    Args:
        name: such as "composer"; no name of a scale.
        values: strings, each once.

    Raises:
        ValueError: if the name can't be a label's, or a value is there twice.
    """

    name: str
    values: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        check_label(self.name)
        if not self.values or len(set(self.values)) < len(self.values):
            raise ValueError(
                f"The values of {self.name} must be strings, each once. "
                f"Received: {self.values}"
            )

    @property
    def num_classes(self) -> int:
        return len(self.values)

    def class_of(self, value: str) -> int:
        """The class of a value, -1 if it is none of the label's."""
        return self.values.index(value) if value in self.values else NOT_ASKED


Control = Scale | Label


@dataclasses.dataclass(frozen=True)
class Controls:
    """The controls of a model, in the order of its inputs.

    Args:
        scales: dict from names of scales to the edges of their classes.
        labels: dict from names of labels to their values.
        profiles: dict from names of labels to the `Profile` of each value, or
            its settings as a dict. Labels with little music have none.
        steered: names of the controls that are no inputs of the model. Labels
            among them need profiles.

    Attributes:
        all: tuple of each `Scale` and each `Label`.

    Raises:
        ValueError: see `Scale`, `Label` and `Profile`; if a label has more or
            fewer profiles than values; or if `steered` has other names.

    Examples:
        >>> controls = Controls({"density": [5.0, 9.0]}, {"player": ["Ann"]})
        >>> controls.names, [x.num_classes for x in controls.inputs]
        (('density', 'player'), [3, 1])
    """

    scales: Mapping[str, Sequence[float]] = dataclasses.field(
        default_factory=dict
    )
    labels: Mapping[str, Sequence[str]] = dataclasses.field(
        default_factory=dict
    )
    profiles: Mapping[str, Sequence[Profile]] = dataclasses.field(
        default_factory=dict
    )
    steered: Sequence[str] = ()
    all: tuple[Control, ...] = dataclasses.field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        scales = [Scale(*item) for item in self.scales.items()]
        labels = [Label(*item) for item in self.labels.items()]
        frozen = {
            "scales": {scale.name: scale.edges for scale in scales},
            "labels": {label.name: label.values for label in labels},
            "profiles": {
                name: tuple(map(_profile, x))
                for name, x in self.profiles.items()
            },
            "steered": tuple(self.steered),
            "all": (*scales, *labels),
        }
        for name, value in frozen.items():
            object.__setattr__(self, name, value)
        sizes = {label.name: label.num_classes for label in labels}
        for name, profiles in self.profiles.items():
            if len(profiles) != sizes.get(name):
                raise ValueError(
                    "`profiles` must have one for each value of a label. "
                    f"Received: {len(profiles)} of {name}, which has "
                    f"{sizes.get(name, 'no')} values"
                )
        able = {*self.scales, *self.profiles}
        for name in self.steered:
            if name not in able:
                raise ValueError(
                    "`steered` must name scales, or labels that have "
                    f"profiles: {', '.join(sorted(able)) or 'there are none'}. "
                    f"Received: {name!r}"
                )

    @classmethod
    def of(
        cls,
        corpus: Corpus,
        names: Iterable[str],
        steered: Sequence[str] = (),
    ) -> "Controls":
        """The controls of some names, as the training split has them.

        The values of a label are the twelve with the most notes, and of those
        each that has a hundredth of all notes. A warning names each value with
        too little music for a profile.

        Args:
            corpus: a `Corpus`.
            names: of scales, and of labels that the corpus's pieces have.
            steered: those of them that are no inputs of the model.

        Raises:
            ValueError: if there is no such scale or label, or one that is
                steered gets no profile.
        """
        names = list(names)
        indices = corpus.split("train")
        pieces = [corpus.pieces[i] for i in indices]
        known = {name for piece in pieces for name in labels_of(piece)}
        for name in names:
            if name not in SCALES and name not in known:
                raise ValueError(
                    "A control must be one of the scales "
                    f"{', '.join(SCALES)}, or one of the labels of the "
                    f"corpus, {', '.join(sorted(known)) or 'which has none'}. "
                    f"Received: {name!r}"
                )
        scales = [name for name in SCALES if name in names]
        edges: dict[str, Sequence[float]] = {}
        if scales:
            music = [corpus.notes(i) for i in indices]
            found = [measured(notes) for notes in music]
            times = [np.diff(x["start"], append=x["start"][-1:]) for x in music]
            for name in scales:
                values = np.concatenate([curves[name] for curves in found])
                edges[name] = _edges(values, np.concatenate(times))
        labels = {
            name: _values(pieces, name) for name in names if name not in SCALES
        }
        profiles = _profiles(corpus, indices, labels)
        return cls(edges, labels, profiles, steered)

    def joined(self, new: "Controls") -> "Controls":
        """These controls and others, which replace those of the same name."""
        return Controls(
            {**self.scales, **new.scales},
            {**self.labels, **new.labels},
            {
                **{
                    k: x for k, x in self.profiles.items() if k not in new.names
                },
                **new.profiles,
            },
            (*(x for x in self.steered if x not in new.names), *new.steered),
        )

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> "Controls":
        """The controls that `get_config` describes; `None` for no controls."""
        return cls(**config) if config else cls()

    def get_config(self) -> dict[str, Any]:
        return {
            "scales": {name: list(x) for name, x in self.scales.items()},
            "labels": {name: list(x) for name, x in self.labels.items()},
            "profiles": {
                name: [profile.get_config() for profile in x]
                for name, x in self.profiles.items()
            },
            "steered": list(self.steered),
        }

    def __hash__(self) -> int:
        return hash(self.all)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each control."""
        return tuple(control.name for control in self.all)

    @property
    def inputs(self) -> tuple[Control, ...]:
        """The controls that the model reads, in the order of its fields."""
        return tuple(x for x in self.all if x.name not in self.steered)

    def classes(
        self, notes: NDArray[np.void], piece: Piece[Any] | None = None
    ) -> NDArray[np.int64]:
        """The class of each input at each note, (notes, inputs).

        Args:
            notes: array of `NOTE_DTYPE`, sorted by start.
            piece: the `Piece` whose labels they have, or `None`.
        """
        values = measured(notes) if self.scales else {}
        labels = labels_of(piece) if piece is not None else {}
        shape = len(notes), len(self.inputs)
        classes = np.full(shape, NOT_ASKED, np.int64)
        for i, control in enumerate(self.inputs):
            if isinstance(control, Scale):
                classes[:, i] = control.classes(values[control.name])
            else:
                value = labels.get(control.name, "")
                classes[:, i] = control.class_of(value)
        return classes

    def draw(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Which inputs are asked for in a training window, (inputs,)."""
        numbers = rng.random(1 + len(self.inputs))
        return (numbers[1:] < SHARE_ASKED) & (numbers[0] >= SHARE_WITHOUT)


NO_CONTROLS = Controls()


def labels_of(piece: Piece[Any]) -> dict[str, str]:
    """The labels of a piece: its own, its composer, and the composer's period.

    The period is known of MAESTRO's composers, see `composers.period_of`.
    """
    known = {"composer": piece.composer, "period": period_of(piece.composer)}
    return {name: x for name, x in known.items() if x} | dict(piece.labels)


def _profile(settings: Profile | Mapping[str, Any]) -> Profile:
    return settings if isinstance(settings, Profile) else Profile(**settings)


def _profiles(
    corpus: Corpus,
    indices: NDArray[np.int64],
    labels: Mapping[str, Sequence[str]],
) -> dict[str, list[Profile]]:
    """The profiles of each label's values, if all have music enough.

    A warning names the values that have too little.
    """
    if not labels:
        return {}
    usual = np.sum([count_intervals(corpus.notes(i)) for i in indices], 0)
    of_labels: dict[str, list[Profile]] = {}
    for name, values in labels.items():
        of_value: dict[str, list[int]] = {value: [] for value in values}
        for i in indices.tolist():
            value = labels_of(corpus.pieces[i]).get(name, "")
            of_value.setdefault(value, []).append(i)
        profiles = [
            Profile.of(map(corpus.notes, of_value[value]), usual)
            for value in values
        ]
        found = [profile for profile in profiles if profile is not None]
        if len(found) == len(values):
            of_labels[name] = found
            continue
        few = [
            value
            for value, profile in zip(values, profiles, strict=True)
            if profile is None
        ]
        logger.warning(
            "The label %s gets no profile: each of its values needs %d whole "
            "excerpts of %g seconds in the train split. Received fewer of: %s",
            name,
            LEAST_EXCERPTS,
            EXCERPT,
            ", ".join(few),
        )
    return of_labels


def _edges(
    values: NDArray[np.float64], seconds: NDArray[np.float64]
) -> list[float]:
    """Where to part values so that the same time is spent in each class."""
    order = np.argsort(values)
    shares = np.arange(1, NUM_CLASSES) / NUM_CLASSES
    time = np.cumsum(seconds[order], dtype=np.float64)
    places = np.searchsorted(time, shares * time[-1])
    return values[order][places].round(3).tolist()


def _values(pieces: list[Piece[str]], name: str) -> list[str]:
    notes: collections.Counter[str] = collections.Counter()
    for piece in pieces:
        if value := labels_of(piece).get(name, ""):
            notes[value] += piece.num_notes
    most = notes.most_common(MOST_VALUES)
    least = LEAST_SHARE * sum(piece.num_notes for piece in pieces)
    values = sorted(value for value, count in most if count >= least)
    if not values:
        raise ValueError(
            f"The label {name} must have a value that {LEAST_SHARE:.0%} of the "
            "notes of the train split have. Received: "
            f"{len(notes)} values, none of them with as many"
        )
    return values
