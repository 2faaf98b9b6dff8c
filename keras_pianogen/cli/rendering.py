"""The command `render`: a MIDI file as sound, as a picture, as a web page."""

import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.places import PAGES
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import SOUNDS
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import stderr
from keras_pianogen.cli.sharing import share
from keras_pianogen.notices.counts import counted

SoundFont = Annotated[
    str | None,
    typer.Option(
        help="SoundFont (.sf2, .sf3) for FluidSynth, or built-in for the "
        "built-in piano.",
        show_default="an installed SoundFont, or else the built-in piano",
    ),
]


@command("No half file is left.")
def render(
    midi: Annotated[pathlib.Path, typer.Argument(help="MIDI file to play.")],
    out: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="WAV file to write.", show_default="beside the MIDI file"
        ),
    ] = None,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Piano roll to draw as well: .png, .svg or .pdf."),
    ] = None,
    page: Annotated[
        pathlib.Path | None,
        typer.Option(help="Web page to write that plays and shows it: .html."),
    ] = None,
    soundfont: SoundFont = None,
):
    """Play a MIDI file to a WAV file, and draw it or make a web page too."""
    out = midi.with_suffix(".wav") if out is None else out
    check_place("--out", out, SOUNDS)
    if picture is not None:
        check_place("--picture", picture, PICTURES)
    if page is not None:
        check_place("--page", page, PAGES)
    from keras_pianogen.midi.parts import read_parts
    from keras_pianogen.midi.reading import read_notes
    from keras_pianogen.midi.reading import read_pedal

    notes, pedal = read_notes(midi), read_pedal(midi)
    parts = read_parts(midi)  # Of several, each has a pedal of its own.
    moves = parts[0].moves if len(parts) == 1 else None
    player = play(notes, out, soundfont, pedal, moves)
    say(f"{figures(notes)}, {player}")
    say(out)
    if picture is not None:
        draw(notes, picture, pedal=pedal)
        say(picture)
    if page is not None:
        share(notes, page, midi.stem, pedal=pedal)
        say(page)


def figures(piece):
    """The number of notes and the length of a piece, in words."""
    seconds = piece["end"].max(initial=0)
    return f"{counted(len(piece), 'note')}, {seconds:.1f} s"


def draw(piece, picture, prompt_seconds=None, pedal=None):
    """Draw a piano roll."""
    from keras_pianogen.rendering.pianoroll import plot_piano_roll

    picture.parent.mkdir(parents=True, exist_ok=True)
    plot_piano_roll(piece, picture, prompt_seconds=prompt_seconds, pedal=pedal)


def play(piece, audio, soundfont, pedal=None, moves=None):
    """Write the sound of a piece; returns the name of the instrument."""
    from keras_pianogen.rendering.synthesis import render

    audio.parent.mkdir(parents=True, exist_ok=True)
    with stderr.status("Playing …"):
        return render(
            piece, audio, soundfont=soundfont, pedal=pedal, moves=moves
        )
