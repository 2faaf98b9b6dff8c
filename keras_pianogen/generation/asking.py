"""What is asked of a model's music: values of its controls, over time."""

import copy
import dataclasses
import operator
import unicodedata
from collections.abc import Mapping

import numpy as np

from keras_pianogen.data.controls import NOT_ASKED
from keras_pianogen.data.profiles import WIDEST
from keras_pianogen.data.scales import SCALES
from keras_pianogen.data.scales import Scale
from keras_pianogen.events import PITCHES
from keras_pianogen.generation.arguments import KINDS
from keras_pianogen.generation.arguments import check_arguments
from keras_pianogen.generation.notewise import START
from keras_pianogen.generation.steering import CLASSES
from keras_pianogen.note_tuples import rows_of
from keras_pianogen.notices.hints import hinted

# What is asked may change this often in the music of one call.
STEPS = 64
# The name under which shares of the pitch classes are asked for; `generate` has
# no argument for them.
PITCH_CLASSES = "pitch classes"
# How much the intervals of a label's music count in the logits of pitches. At 1
# they count as a naive Bayes classifier of intervals counts them (Yang and
# Klein, 2021, guide a model by a classifier).
LEANING = 1.5


@dataclasses.dataclass(frozen=True)
class Asked:
    """Values of controls, and how strongly they are asked for.

    Args:
        controls: the model's `Controls`.
        values: dict from names of controls to values: for a scale, a number,
            a word such as "soft" (see `arguments.KINDS`), or a pair or a
            string "2:12" for a value that changes evenly from the music's
            beginning to its end; for a label, one of its values, or a word
            of it that no other value has.
        guidance: float, see `draws.Guided`.

    Raises:
        TypeError: if a value has the wrong type.
        ValueError: if the model has no such control, or no such value.
    """

    controls: object
    values: Mapping[str, object] = dataclasses.field(default_factory=dict)
    guidance: float = 1.0

    def __post_init__(self):
        values = {k: v for k, v in self.values.items() if v is not None}
        if self.guidance is None:
            object.__setattr__(self, "guidance", 1.0)
        check_arguments({"guidance": self.guidance})
        parsed = {name: self._parsed(name, x) for name, x in values.items()}
        object.__setattr__(self, "values", parsed)
        self._check_together()
        if self.guidance != 1 and not values:
            raise ValueError(
                "`guidance` needs a control that is asked for, such as "
                f"`density=6`. Received: guidance={self.guidance} alone"
            )

    @property
    def is_guided(self):
        """Whether guidance makes a difference: an input is asked for."""
        inputs = {control.name for control in self.controls.inputs}
        return self.guidance != 1 and not inputs.isdisjoint(self.values)

    @property
    def has_profile(self):
        """Whether a label is asked for whose music has a `Profile`."""
        return bool(self._profiles())

    def also(self, name, ends):
        """The same, and what goes from one value to another.

        Args:
            name: a scale, or `PITCH_CLASSES`.
            ends: pair of floats, or of arrays (12,) of shares.
        """
        other = copy.copy(self)
        object.__setattr__(other, "values", self.values | {name: ends})
        return other

    def beside(self, name, ends):
        """The same, and a scale as far as it doesn't contradict the others.

        Args:
            name: a scale that isn't asked for.
            ends: pair of floats, see `also`.
        """
        if name == "polyphony" and "legato" in self.values:
            return self
        if name == "density" and "pace" in self.values:
            ends = tuple(map(max, ends, self.values["pace"]))
        return self.also(name, ends)

    def drawn(self, rng):
        """The same, and the scales that music with its labels could have.

        What is asked for of scales stays, and the others are drawn from the
        profile of each label. Nothing is drawn without labels that have one.

        Args:
            rng: a NumPy generator.
        """
        drawn = self
        for profile in self._profiles():
            known = {
                name: float(np.mean(x))
                for name, x in drawn.values.items()
                if name in SCALES
            }
            for name, value in profile.draw(known, rng).items():
                if name in self.controls.scales and name not in known:
                    value = KINDS[name].nearest(value)
                    drawn = drawn.beside(name, (value, value))
        return drawn

    def intervals(self):
        """What is added to the logit of a pitch, by its distance.

        Returns:
            A float32 array (2 * PITCHES - 1,), for the pitches from 127 below
            the last note's to 127 above it.
        """
        steps = np.arange(1 - PITCHES, PITCHES).clip(-WIDEST, WIDEST) + WIDEST
        tilts = [np.asarray(x.intervals)[steps] for x in self._profiles()]
        return LEANING * np.sum([0.0 * steps, *tilts], 0).astype("float32")

    def _profiles(self):
        """The profiles of the values of labels that are asked for."""
        return [
            profiles[self.values[name]]
            for name, profiles in self.controls.profiles.items()
            if name in self.values
        ]

    def _check_together(self):
        """Refuse scales that can't be obtained together.

        At one legato, polyphony is the same at any pace: what is left of it is
        the size of chords.
        """
        if {"polyphony", "legato"} <= set(self.values):
            raise ValueError(
                "`polyphony` and `legato` both say how long notes last, so at "
                "most one of them can be asked for. Received: both"
            )
        density, pace = map(self.values.get, ("density", "pace"))
        if density and pace and any(map(operator.lt, density, pace)):
            raise ValueError(
                "`density` must be at least `pace`: each onset has one note or "
                f"more. Received: density={density}, pace={pace}"
            )

    def _parsed(self, name, value):
        """A label's class, or the values of a scale at both ends."""
        if name not in self.controls.names:
            known = ", ".join(self.controls.names)
            error = ValueError(
                f"`{name}` is neither an argument nor a control of this "
                f"model, which has {known or 'no controls'}. "
                f"Received: {name}={value!r}"
            )
            if known:
                raise error
            raise hinted(error, "The preset note_transformer_maestro has some.")
        place = self.controls.names.index(name)
        control = self.controls.all[place]
        if isinstance(control, Scale):
            return KINDS[name].ends(name, value)
        return _label_class(control, value)

    def plan(self):
        """The class of each input at each of `STEPS` moments.

        Returns:
            An int32 array (STEPS, inputs).
        """
        inputs = self.controls.inputs
        plan = np.full((STEPS, len(inputs)), NOT_ASKED, "int32")
        for i, control in enumerate(inputs):
            value = self.values.get(control.name)
            if value is None:
                continue
            if isinstance(control, Scale):
                plan[:, i] = control.classes(np.linspace(*value, STEPS))
            else:
                plan[:, i] = value
        return plan

    def targets(self):
        """What the new music is held to at each of `STEPS` moments.

        Returns:
            A float32 array (STEPS, `steering.COLUMNS`), NaN where nothing is
            asked.
        """
        nothing = 2 * (np.full(CLASSES, np.nan),)
        columns = [
            np.linspace(*self.values.get(name, (np.nan, np.nan)), STEPS)
            for name in SCALES
        ]
        columns += list(
            np.linspace(*self.values.get(PITCH_CLASSES, nothing), STEPS).T
        )
        return np.stack(columns, axis=1).astype("float32")

    def on(self, form, rows):
        """The rows of a prompt, with what would have been asked of it.

        Its notes have the values that were measured on them, and the last row
        those of the new music. What comes before `START` is not asked for.

        Args:
            form: a `NoteTuples`.
            rows: int array (1 + notes, fields), with a field for each input.

        Returns:
            An int32 array of the same shape.
        """
        inputs = self.controls.inputs
        if not inputs:
            return rows
        rows, plan = rows.copy(), self.plan()
        width = len(inputs)
        begin = int(np.argmax(rows[:, 0] == START[0]))
        rows[:, -width:] = NOT_ASKED
        given = self.controls.classes(form.decode(rows_of(rows[begin + 1 :])))
        is_scale = [isinstance(x, Scale) for x in inputs]
        asked = plan[0] != NOT_ASKED
        given = np.where(is_scale & asked, given, plan[0])
        first = given[:1] if len(given) else plan[:1]
        rows[begin, -width:] = first[0]
        rows[begin + 1 :, -width:] = given
        rows[-1, -width:] = plan[0]  # What is to come is the new music.
        return rows


def _label_class(label, value):
    """The class of the value of a label that a word means."""
    if not isinstance(value, str):
        raise TypeError(
            f"`{label.name}` must be a string. Received: {label.name}={value!r}"
        )
    wanted = _plain(value)
    exact = [i for i, x in enumerate(label.values) if _plain(x) == wanted]
    found = exact or [
        i for i, x in enumerate(label.values) if wanted in _plain(x).split()
    ]
    if len(found) != 1:
        raise ValueError(
            f"`{label.name}` must be one of {', '.join(label.values)}. "
            f"Received: {label.name}={value!r}"
        )
    return found[0]


def _plain(text):
    """A text in small letters without accents."""
    parts = unicodedata.normalize("NFKD", text.casefold())
    return "".join(x for x in parts if not unicodedata.combining(x)).strip()
