"""The command `perform`: a score is played as a pianist might."""

import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import WRITING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.character import Character
from keras_pianogen.cli.generation import Sampling
from keras_pianogen.cli.infilling import check_is_of_notes
from keras_pianogen.cli.infilling import places_beside
from keras_pianogen.cli.loading import load_model
from keras_pianogen.cli.options import NOTE_PRESET
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import Preset
from keras_pianogen.cli.options import Variations
from keras_pianogen.cli.options import WritingSeed
from keras_pianogen.cli.options import check_writing
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.progress import generation_bar
from keras_pianogen.notices.counts import counted


class Performing(Options):
    """How a score is performed; arguments of the model's `perform`."""

    amount: Annotated[
        float,
        typer.Option(
            help="From 0, the score as it is, to 1, the whole performance."
        ),
    ] = 1.0
    variations: Variations = None
    seed: WritingSeed = None

    def check(self):
        check_writing(self)


@command("No half file is left.")
def perform(
    file: Annotated[
        pathlib.Path, typer.Argument(help="MIDI file with the score.")
    ],
    *,
    out: Annotated[pathlib.Path, typer.Option(help="MIDI file to write.")],
    preset: Preset = NOTE_PRESET,
    performing: Performing,
    character: Character,
    sampling: Sampling,
):
    """Play a score with the timing, touch and loudness of a pianist."""
    places = places_beside(file, out, performing.variations)
    from keras_pianogen.generation.own_music import OwnMusic
    from keras_pianogen.midi.writing import write_midi

    own = OwnMusic.of(file)
    choose_backend(WRITING)
    model = load_model(preset)
    check_is_of_notes(model)
    asked = vars(performing) | vars(character) | vars(sampling)
    asked["variations"] = len(places)
    length = float(own.notes["start"].max(initial=0))
    with generation_bar(length) as (report, _):
        made = model.perform(own, progress=report, **asked)
    for notes, path in zip(made, places, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_midi(notes, path)
        say(f"{path}: {counted(len(notes), 'note')}, seed {performing.seed}")
