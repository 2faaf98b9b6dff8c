"""The markup of the page's sliders and menus, from the rows of `controls`."""

import html
import itertools

from keras_pianogen.studio.controls import CHARACTER
from keras_pianogen.studio.controls import CONTROLS
from keras_pianogen.studio.controls import GUIDANCE
from keras_pianogen.studio.controls import LABELS


def render():
    """The markup of all sliders."""
    plain = [row for row in CONTROLS if not row.is_more]
    more = [row for row in CONTROLS if row.is_more]
    return (
        _render_rows(plain)
        + '\n<details id="more"><summary>More</summary>\n'
        + _render_rows(more)
        + "\n</details>\n"
        + _render_character()
    )


def _render_rows(controls):
    parts = []
    for choice, rows in itertools.groupby(controls, lambda row: row.choice):
        if choice is None:
            parts += map(_render_row, rows)
        else:
            parts.append(_render_choice(choice, list(rows)))
    return "\n".join(parts)


def _render_character():
    rows = [_render_asked(control) for control in CHARACTER]
    for name, label in LABELS.items():
        rows.append(
            f'<label class="row" data-asked="{name}">{html.escape(label)}\n'
            f'<select id="{name}" data-label><option value="">any</option>'
            "</select></label>"
        )
    about = html.escape(GUIDANCE.asks)
    rows.append(
        f'<label class="row" title="{about}">{GUIDANCE.label} '
        f"{_output(GUIDANCE)}\n{_slider(GUIDANCE)}</label>"
    )
    return (
        '<details id="character" hidden><summary>Character</summary>\n'
        + "\n".join(rows)
        + "\n</details>"
    )


def _render_asked(control):
    """A slider that counts once its box is ticked."""
    label, about = html.escape(control.label), html.escape(control.asks)
    return (
        f'<div class="row" data-asked="{control.name}">'
        f'<label class="check"><input id="{control.name}-on" type="checkbox"> '
        f'{label} <span class="quiet">{about}</span></label>\n'
        f"{_output(control)}\n{_slider(control)}</div>"
    )


def _render_row(control):
    return (
        f'<label class="row">{html.escape(control.label)} {_output(control)}\n'
        f"{_slider(control)}{_about(control)}</label>"
    )


def _render_choice(title, controls):
    radios = "\n".join(
        f'<label class="check"><input type="radio" name="{controls[0].name}-or"'
        f' value="{control.name}"{" checked" * (control is controls[0])}> '
        f"{html.escape(control.label)}</label>"
        for control in controls
    )
    outputs = "\n".join(map(_output, controls))
    sliders = "\n".join(_slider(x) + _about(x) for x in controls)
    return (
        f"<fieldset><legend>{html.escape(title)}</legend>\n"
        f'<div class="choices">{radios}\n{outputs}</div>\n{sliders}</fieldset>'
    )


def _output(control):
    # A slider tells its number itself: this is for the eyes.
    return f'<span class="value" id="{control.name}-out"></span>'


def _about(control):
    text = html.escape(control.about)
    return f'<small class="quiet" id="{control.name}-about">{text}</small>'


def _slider(control):
    low, high, step = control.slider
    about = f'aria-describedby="{control.name}-about" ' * bool(control.about)
    # Its label holds its number too, which is no part of its name.
    return (
        f'<input id="{control.name}" type="range" min="{low:g}" max="{high:g}" '
        f'step="{step:g}" value="{control.value:g}" '
        f'aria-label="{html.escape(control.label)}" {about}data-control '
        f'data-decimals="{control.decimals}" data-unit="{control.unit}">'
    )
