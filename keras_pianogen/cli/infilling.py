"""The command `infill`: the notes between two moments of a file, anew."""

import os
import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import WRITING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.generation import Sampling
from keras_pianogen.cli.loading import load_model
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import Preset
from keras_pianogen.cli.options import check_arguments
from keras_pianogen.cli.places import MIDI
from keras_pianogen.cli.places import place
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.progress import generation_bar
from keras_pianogen.hints import hinted

NOTE_PRESET = "note_transformer_maestro"


class Filling(Options):
    """What is written; arguments of the model's `infill`."""

    keep_melody: Annotated[
        bool,
        typer.Option(
            "--keep-melody",
            help="Keep the highest line in the gap, and write under it.",
        ),
    ] = False
    variations: Annotated[
        int | None,
        typer.Option(
            help="Number of fillings to write at once. Their files are OUT "
            "with -1, -2, … before the suffix.",
            show_default="one, in OUT itself",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same notes.",
            show_default="a random one, which is printed",
        ),
    ] = None

    def check(self):
        check_arguments(self)
        if self.seed is None:
            self.seed = int.from_bytes(os.urandom(4), "little")


@command("No half file is left.")
def infill(
    file: Annotated[
        pathlib.Path, typer.Argument(help="MIDI file with the piece.")
    ],
    *,
    start: Annotated[
        float, typer.Option("--from", help="Where the gap begins, in seconds.")
    ],
    end: Annotated[
        float,
        typer.Option(
            "--to", help="Where the gap ends, in seconds, at most 30 later."
        ),
    ],
    out: Annotated[pathlib.Path, typer.Option(help="MIDI file to write.")],
    preset: Preset = NOTE_PRESET,
    filling: Filling,
    sampling: Sampling,
):
    """Write the notes between two moments of a MIDI file anew."""
    places = _places(file, out, filling.variations)
    from keras_pianogen.generation.own_music import OwnMusic

    own = OwnMusic.of(file)
    choose_backend(WRITING)
    model = load_model(preset)
    asked = vars(filling) | vars(sampling) | {"variations": len(places)}
    with generation_bar(end - start) as (report, _):
        made = _infill(model, own, start, end, report, asked)
    for piece, path in zip(made, places, strict=True):
        around = own.kept_in(piece, start)
        path.parent.mkdir(parents=True, exist_ok=True)
        around.to_midi(piece, path)
        new = len(piece) - len(around.notes)
        before = len(own.notes) - len(around.notes)
        say(f"{path}: {new} notes in place of {before}, seed {filling.seed}")


def _infill(model, own, start, end, report, asked):
    if not hasattr(model, "infill"):
        error = ValueError(
            "`infill` needs a preset of notes. Received: one of class "
            f"{type(model).__name__}"
        )
        raise hinted(error, f"--preset {NOTE_PRESET} is one.")
    return model.infill(own, start, end, progress=report, **asked)


def _places(file, out, variations):
    """The files to write, each checked before the slow part."""
    if not file.is_file():
        error = ValueError(f"`FILE` must be a MIDI file. Received: {file}")
        raise hinted(error, "Check the path.")
    numbers = [None] if variations is None else range(1, variations + 1)
    places = [place("--out", out, number, MIDI) for number in numbers]
    for path in places:
        if path.exists() and path.samefile(file):
            error = ValueError(
                "`--out` must not be the file itself, which it would replace. "
                f"Received: --out {path}"
            )
            raise hinted(error, "Give another file to --out.")
    return places
