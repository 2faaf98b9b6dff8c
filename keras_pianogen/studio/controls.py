"""The sliders of the page, a row each.

A row is all that a slider needs. The page gets its markup from `render`, sends
its value under its name, and names it in the commands that it copies; the
server checks the value, and passes it on to the model's `generate` as the
argument of that name.
"""

import dataclasses
import html
import itertools


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
    ),
    Control(
        "temperature",
        "Temperature",
        1,
        slider=(0.5, 1.5, 0.05),
        least=0.1,
        most=3,
    ),
    Control(
        "min_p",
        "min-p",
        0.005,
        slider=(0, 0.2, 0.005),
        least=0,
        most=1,
        choice=UNLIKELY,
    ),
    Control(
        "top_p",
        "top-p",
        0.95,
        slider=(0.5, 1, 0.01),
        least=0.01,
        most=1,
        choice=UNLIKELY,
    ),
    Control(
        "max_note_seconds",
        "Longest note",
        21,
        slider=(1, 21, 1),
        least=0.1,
        most=120,
        unit=" s",
    ),
)


def render():
    """The markup of all sliders."""
    parts = []
    for choice, rows in itertools.groupby(CONTROLS, lambda row: row.choice):
        if choice is None:
            parts += map(_render_row, rows)
        else:
            parts.append(_render_choice(choice, list(rows)))
    return "\n".join(parts)


def _render_row(control):
    return (
        f'<label class="row">{html.escape(control.label)} {_output(control)}\n'
        f"{_slider(control)}</label>"
    )


def _render_choice(title, controls):
    radios = "\n".join(
        f'<label class="check"><input type="radio" name="{controls[0].name}-or"'
        f' value="{control.name}"{" checked" * (control is controls[0])}> '
        f"{html.escape(control.label)}</label>"
        for control in controls
    )
    outputs = "\n".join(map(_output, controls))
    sliders = "\n".join(map(_slider, controls))
    return (
        f"<fieldset><legend>{html.escape(title)}</legend>\n"
        f'<div class="choices">{radios}\n{outputs}</div>\n{sliders}</fieldset>'
    )


def _output(control):
    return f'<output id="{control.name}-out"></output>'


def _slider(control):
    low, high, step = control.slider
    # The label around it would be the output's, which comes first.
    return (
        f'<input id="{control.name}" type="range" min="{low:g}" max="{high:g}" '
        f'step="{step:g}" value="{control.value:g}" '
        f'aria-label="{html.escape(control.label)}" data-control '
        f'data-decimals="{control.decimals}" data-unit="{control.unit}">'
    )
