"""The sliders of the page, a row each, and what a preset can be asked for.

A row is all that a slider needs. The page gets its markup from `sliders`, sends
its value under its name, and names it in the commands that it copies; the
server checks the value, and passes it on to the model's `generate` as the
argument of that name.

Sliders of the music's character are for presets that have these controls, which
the page is told of by `/status`.
"""

import dataclasses
import json
import pathlib

# Where the bundled presets are; `models` would load Keras.
PRESETS = pathlib.Path(__file__).parents[1] / "presets"


@dataclasses.dataclass(frozen=True)
class Control:
    """A number that a slider sets.

    Args:
        name: an argument of `generate`, and with dashes an option of
            `pianogen generate`.
        label: what the page calls it.
        value: what the slider shows at first.
        slider: the least number, the greatest number and the step of the
            slider.
        least: the least number that the server takes.
        most: the greatest number that the server takes.
        unit: what the page writes after the number. Defaults to nothing.
        choice: the title of several controls of which one is used at a time.
            Their rows follow each other. Defaults to `None`.
        is_required: whether a message without it is refused.
        asks: what the preset is asked for with it, a sentence for the page;
            it is not, until a box is ticked. Defaults to `None`, nothing.
        about: what it does, a sentence for the page.
        is_more: whether the page shows it only under "More".
    """

    name: str
    label: str
    value: float
    slider: tuple[float, float, float]
    least: float
    most: float
    unit: str = ""
    choice: str | None = None
    is_required: bool = False
    asks: str | None = None
    about: str = ""
    is_more: bool = False

    @property
    def decimals(self):
        """Digits after the point of the slider's step."""
        return len(f"{self.slider[2]:g}".partition(".")[2])


UNLIKELY = "Leave out unlikely events"
CONTROLS = (
    Control(
        "seconds",
        "Length",
        12,
        slider=(2, 120, 1),
        least=0.1,
        most=120,
        unit=" s",
        is_required=True,
        about="How long the new music is.",
    ),
    Control(
        "temperature",
        "Temperature",
        1,
        slider=(0.5, 1.5, 0.05),
        least=0.1,
        most=3,
        about="Below 1 the music is more usual, above 1 more surprising.",
    ),
    Control(
        "min_p",
        "min-p",
        0.005,
        slider=(0, 0.2, 0.005),
        least=0,
        most=1,
        choice=UNLIKELY,
        about="Events below this share of the likeliest one are left out.",
        is_more=True,
    ),
    Control(
        "top_p",
        "top-p",
        0.95,
        slider=(0.5, 1, 0.01),
        least=0.01,
        most=1,
        choice=UNLIKELY,
        about="Only the likeliest events stay, with this share of chances.",
        is_more=True,
    ),
    Control(
        "max_note_seconds",
        "Longest note",
        21,
        slider=(1, 21, 1),
        least=0.1,
        most=120,
        unit=" s",
        about="A note that is held longer is ended.",
        is_more=True,
    ),
)
CHARACTER = (
    Control(
        "density",
        "Density",
        8,
        slider=(1, 25, 0.5),
        least=0.1,
        most=60,
        asks="Notes a second",
    ),
    Control(
        "loudness",
        "Loudness",
        64,
        slider=(20, 110, 1),
        least=1,
        most=127,
        asks="Mean velocity: 46 is soft, 74 is loud",
    ),
    Control(
        "register",
        "Register",
        63,
        slider=(45, 80, 1),
        least=21,
        most=108,
        asks="Mean pitch: 60 is the middle C",
    ),
    Control(
        "polyphony",
        "Polyphony",
        4,
        slider=(1, 14, 0.5),
        least=0.1,
        most=128,
        asks="Notes that sound at once",
    ),
    Control(
        "pace",
        "Pace",
        5,
        slider=(0.5, 15, 0.5),
        least=0.1,
        most=30,
        asks="Onsets a second: a chord is one; at most the density",
    ),
    Control(
        "legato",
        "Legato",
        1,
        slider=(0.2, 6, 0.1),
        least=0.05,
        most=20,
        asks="How long notes last: at 1 until the next one; not with polyphony",
    ),
)
GUIDANCE = Control(
    "guidance",
    "Guidance",
    1,
    slider=(1, 4, 0.25),
    least=0,
    most=20,
    asks="How strongly the model is asked for what it was trained with; "
    "above 1 it takes longer",
)
ALL = (*CONTROLS, *CHARACTER, GUIDANCE)
# Labels of presets that the page offers in a menu.
LABELS = {"composer": "Composer", "period": "Period"}
MOST_CHARACTERS = 200  # of a label's value


def controls_of(preset):
    """What a preset can be asked for, from its files alone.

    Args:
        preset: the name of a bundled preset, or a folder. Of others it is not
            known.

    Returns:
        A dict from names to `None`, or to the values that a label has.
    """
    controls = _backbone(preset).get("controls")
    try:
        scales = dict.fromkeys(controls["scales"])
        return scales | {x: list(v) for x, v in controls["labels"].items()}
    except (KeyError, TypeError, AttributeError):
        return {}


def fills_gaps(preset):
    """Whether a preset can write a part of a piece anew, from its files alone.

    Args:
        preset: see `controls_of`.
    """
    return _backbone(preset).get("infilling") is True


def _backbone(preset):
    """The configuration of a preset's backbone, or nothing."""
    for folder in (PRESETS / preset, pathlib.Path(preset)):
        try:
            return json.loads((folder / "config.json").read_bytes())["config"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}
