"""Options that say what the new music is to be like."""

from typing import Annotated

import typer

from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import check_arguments


class Character(Options):
    """What is asked of the music; arguments of the model's `generate`."""

    panel = "Character (for presets with controls)"

    density: Annotated[
        str | None,
        typer.Option(help="Notes a second: 6, or 2:12 for a rise."),
    ] = None
    loudness: Annotated[
        str | None,
        typer.Option(
            help="Mean velocity, 1 to 127, or pp … ff; also p:f for a change."
        ),
    ] = None
    register: Annotated[
        str | None,
        typer.Option(help="Mean MIDI pitch, or low, middle or high."),
    ] = None
    polyphony: Annotated[
        str | None,
        typer.Option(help="Mean number of notes that sound at once."),
    ] = None
    pace: Annotated[
        str | None,
        typer.Option(
            help="Onsets a second: a chord is one. At most the density."
        ),
    ] = None
    legato: Annotated[
        str | None,
        typer.Option(
            help="How long notes last, over the time to the next onset, or "
            "staccato, portato, legato or pedalled. Not with --polyphony."
        ),
    ] = None
    composer: Annotated[
        str | None, typer.Option(help="In the manner of a composer.")
    ] = None
    period: Annotated[
        str | None,
        typer.Option(
            help="In the manner of a period: Baroque, Classical, Romantic or "
            "20th century."
        ),
    ] = None
    control: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE for another label of the preset. May be repeated."
        ),
    ] = None
    guidance: Annotated[
        float,
        typer.Option(
            help="Above 1, up to 20, the model is asked more strongly for the "
            "controls that it was trained with."
        ),
    ] = 1.0

    def is_asked(self):
        """Whether anything is asked of the music."""
        usual = {name: getattr(Character, name, None) for name in vars(self)}
        return vars(self) != usual

    def check(self):
        from keras_pianogen.data.controls import TAKEN

        check_arguments(self)
        others = {}
        for text in self.control or ():
            name, is_given, value = text.partition("=")
            if not is_given or not name or not value:
                raise ValueError(
                    f"`--control` must be NAME=VALUE. Received: {text}"
                )
            if name in TAKEN or name in vars(self):
                raise ValueError(
                    "`--control` is for labels of the preset. Received: "
                    f"--control {text}, and {name} is none"
                )
            others[name] = value
        del self.control
        vars(self).update(others)
