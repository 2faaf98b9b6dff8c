"""The commands `infill` and `vary`: parts of a file are written anew."""

import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import WRITING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.character import Character
from keras_pianogen.cli.generation import Sampling
from keras_pianogen.cli.loading import load_model
from keras_pianogen.cli.options import NOTE_PRESET
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import Preset
from keras_pianogen.cli.options import Variations
from keras_pianogen.cli.options import WritingSeed
from keras_pianogen.cli.options import check_writing
from keras_pianogen.cli.options import flag
from keras_pianogen.cli.places import MIDI
from keras_pianogen.cli.places import check_is_file
from keras_pianogen.cli.places import place
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.progress import counting_bar
from keras_pianogen.cli.progress import generation_bar
from keras_pianogen.notices.counts import counted
from keras_pianogen.notices.hints import hinted


class Filling(Options):
    """What is written; arguments of the model's `infill`."""

    keep_melody: Annotated[
        bool,
        typer.Option(
            "--keep-melody",
            help="Keep the highest line in the gap, and write under it.",
        ),
    ] = False
    variations: Variations = None
    seed: WritingSeed = None

    def check(self):
        check_writing(self)


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
    character: Character,
    sampling: Sampling,
):
    """Write the notes between two moments of a MIDI file anew."""
    places = places_beside(file, out, filling.variations)
    from keras_pianogen.data.gaps import check_span
    from keras_pianogen.generation.own_music import OwnMusic

    own = OwnMusic.of(file)
    check_span(own.notes, start, end, names=("--from", "--to"))
    choose_backend(WRITING)
    model = load_model(preset)
    check_is_of_notes(model)
    asked = vars(filling) | vars(sampling) | {"variations": len(places)}
    asked |= vars(character)
    with generation_bar(end - start) as (report, _):
        made = model.infill(own, start, end, progress=report, **asked)
    for piece, path in zip(made, places, strict=True):
        _write(own, piece, start, path, filling.seed)


@command("No half file is left.")
def vary(
    file: Annotated[
        pathlib.Path, typer.Argument(help="MIDI file with the piece.")
    ],
    *,
    keep: Annotated[
        float, typer.Option(help="Share of the phrases that stay, 0 to 1.")
    ] = 0.5,
    out: Annotated[pathlib.Path, typer.Option(help="MIDI file to write.")],
    preset: Preset = NOTE_PRESET,
    filling: Filling,
    character: Character,
    sampling: Sampling,
):
    """Write phrases of a MIDI file anew, and keep those between them."""
    from keras_pianogen.generation.arguments import check_arguments as check
    from keras_pianogen.generation.own_music import OwnMusic

    check({"keep": keep}, spell=flag)
    places = places_beside(file, out, filling.variations)
    own = OwnMusic.of(file)
    choose_backend(WRITING)
    model = load_model(preset)
    check_is_of_notes(model)
    asked = vars(filling) | vars(sampling) | vars(character)
    del asked["variations"]
    for i, path in enumerate(places):
        asked["seed"] = filling.seed + i
        with counting_bar("Writing") as report:
            piece = model.vary(own, keep, progress=report, **asked)
        _write(own, piece, 0.0, path, asked["seed"])


def _write(own, piece, start, path, seed):
    """Write a piece around what is left of one's own music, and say so."""
    around = own.kept_in(piece, start)
    path.parent.mkdir(parents=True, exist_ok=True)
    around.to_midi(piece, path)
    new = len(piece) - len(around.notes)
    before = len(own.notes) - len(around.notes)
    say(f"{path}: {counted(new, 'note')} in place of {before}, seed {seed}")


def check_is_of_notes(model):
    if not hasattr(model, "infill"):
        error = ValueError(
            "A preset of notes is needed. Received: one of class "
            f"{type(model).__name__}"
        )
        raise hinted(error, f"--preset {NOTE_PRESET} is one.")


def places_beside(file, out, variations):
    """The files to write, each checked before the slow part."""
    check_is_file("FILE", file)
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
