"""The command `generate`: new music from a preset, in MIDI files."""

import pathlib
from typing import Annotated
from typing import NamedTuple

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import WRITING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.character import Character
from keras_pianogen.cli.loading import load_model
from keras_pianogen.cli.options import DEFAULT_PRESET
from keras_pianogen.cli.options import NOTE_PRESET
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import Variations
from keras_pianogen.cli.options import WritingSeed
from keras_pianogen.cli.options import check_arguments
from keras_pianogen.cli.options import check_writing
from keras_pianogen.cli.options import flag
from keras_pianogen.cli.places import MIDI
from keras_pianogen.cli.places import PAGES
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import SOUNDS
from keras_pianogen.cli.places import check_is_file
from keras_pianogen.cli.places import place
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import stderr
from keras_pianogen.cli.progress import generation_bar
from keras_pianogen.cli.rendering import SoundFont
from keras_pianogen.cli.rendering import draw
from keras_pianogen.cli.rendering import figures
from keras_pianogen.cli.rendering import play
from keras_pianogen.cli.sharing import recipe_of
from keras_pianogen.cli.sharing import share
from keras_pianogen.notices.hints import hinted


class Music(Options):
    """What to write. Its fields are arguments of the model's `generate`."""

    prompt_seconds: Annotated[
        float | None,
        typer.Option(
            help="Continue from this second of the prompt.",
            show_default="its end",
        ),
    ] = None
    seconds: Annotated[
        float, typer.Option(help="Length of the new music in seconds.")
    ] = 30.0
    ending: Annotated[
        bool,
        typer.Option("--ending", help="Come to an end near that length."),
    ] = False
    variations: Variations = None
    seed: WritingSeed = None
    repeat_penalty: Annotated[
        float,
        typer.Option(
            help="Makes a pitch less likely with each recent note of it, "
            "against loops on one note. 0.1 is mild."
        ),
    ] = 0.0
    max_note_seconds: Annotated[
        float | None,
        typer.Option(
            help="Longest duration of a note in seconds.",
            show_default="as MAESTRO's long notes, at most 21",
        ),
    ] = None
    grammar: Annotated[
        bool,
        typer.Option(
            " /--no-grammar",
            help="Allow events that make no sense, such as the end of a note "
            "that doesn't sound.",
            show_default=False,
        ),
    ] = True

    def check(self):
        check_writing(self)
        for name in ("repeat_penalty", "max_note_seconds"):
            value = getattr(self, name)
            if value and not self.grammar:
                raise ValueError(
                    f"`{flag(name)}` needs the grammar. Received: "
                    f"{flag(name)} {value} and --no-grammar"
                )


class Sampling(Options):
    """How each event is drawn; arguments of the model's `generate`."""

    panel = "Choice of each event"

    temperature: Annotated[
        float,
        typer.Option(
            help="Below 1, likely events come more often; above 1, less."
        ),
    ] = 1.0
    min_p: Annotated[
        float | None,
        typer.Option(
            help="Drop every event less likely than this share of the most "
            "likely one.",
            show_default="0.005, without --top-p and --top-k; of presets of "
            "notes, for pitches 0.02",
        ),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Keep the most likely events that have this share of the "
            "probability together."
        ),
    ] = None
    top_k: Annotated[
        int | None, typer.Option(help="Keep this number of likely events.")
    ] = None

    def check(self):
        check_arguments(self)


class Beside(Options):
    """What is made of a piece beside its MIDI file."""

    panel = "Picture, sound and page"

    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Piano roll to draw: .png, .svg or .pdf."),
    ] = None
    audio: Annotated[
        pathlib.Path | None, typer.Option(help="Sound to write: .wav.")
    ] = None
    page: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="Web page to write that plays and shows the piece, with its "
            "recipe: .html."
        ),
    ] = None
    soundfont: SoundFont = None

    def check(self):
        if self.audio is not None:
            from keras_pianogen.rendering.fluidsynth import choose_soundfont

            choose_soundfont(self.soundfont)
        elif self.soundfont is not None:
            raise ValueError(
                "`--soundfont` needs `--audio`, the file to write. "
                f"Received: --soundfont {self.soundfont} alone"
            )


class Files(NamedTuple):
    """The files of one piece; those that nobody asked for are `None`."""

    midi: pathlib.Path
    picture: pathlib.Path | None
    audio: pathlib.Path | None
    page: pathlib.Path | None


@command("No half file is left.")
def generate(
    *,
    out: Annotated[pathlib.Path, typer.Option(help="MIDI file to write.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="A bundled preset's name, or a preset's folder.",
            show_default="one of events; of notes if a character is asked for",
        ),
    ] = None,
    prompt: Annotated[
        pathlib.Path | None, typer.Option(help="MIDI file to continue.")
    ] = None,
    music: Music,
    character: Character,
    sampling: Sampling,
    beside: Beside,
):
    """Write new piano music to a MIDI file."""
    files = _files(out, beside, music.variations)
    own = _read_prompt(prompt, files, music.prompt_seconds)
    preset = preset or _preset_for(character)
    choose_backend(WRITING)
    model = load_model(preset)
    asked = vars(music) | vars(sampling) | {"variations": len(files)}
    asked |= vars(character)
    with generation_bar(music.seconds) as (report, speed):
        pieces = model.generate(own, progress=report, **asked)
    kept = None if own is None else own.until(music.prompt_seconds)
    _write(pieces, files, kept)
    unit = model.preprocessor.form.unit
    _print_figures(pieces, speed(), unit, music.seed)
    roll = _roll_of(kept)
    groups = music, character, sampling
    recipe = recipe_of(preset, prompt, out, groups, music.seed)
    for piece, of_piece in zip(pieces, files, strict=True):
        _print_piece(piece, of_piece, alone=len(pieces) == 1)
        _draw_and_play(piece, of_piece, roll, beside.soundfont)
        _share(piece, of_piece, roll, recipe)


def _preset_for(character):
    """The bundled preset that can be asked for what is asked."""
    if not character.is_asked():
        return DEFAULT_PRESET
    say(f"Preset: {NOTE_PRESET} (it has controls)", to=stderr)
    return NOTE_PRESET


def _files(out, beside, variations):
    """The `Files` of each piece, each checked before the slow part."""
    numbers = [None] if variations is None else range(1, variations + 1)
    return [
        Files(
            place("--out", out, number, MIDI),
            beside.picture
            and place("--picture", beside.picture, number, PICTURES),
            beside.audio and place("--audio", beside.audio, number, SOUNDS),
            beside.page and place("--page", beside.page, number, PAGES),
        )
        for number in numbers
    ]


def _read_prompt(prompt, files, prompt_seconds):
    """The `OwnMusic` of a file, or `None` without one."""
    if prompt is None:
        if prompt_seconds is not None:
            error = ValueError(
                "`--prompt-seconds` needs `--prompt`, the file to continue. "
                f"Received: --prompt-seconds {prompt_seconds} alone"
            )
            hint = (
                "--prompt FILE --prompt-seconds 10 continues from the tenth "
                "second of FILE."
            )
            raise hinted(error, hint)
        return None
    check_is_file("--prompt", prompt)
    for path in (of_piece.midi for of_piece in files):
        if path.exists() and path.samefile(prompt):
            error = ValueError(
                "`--out` must not be the file of `--prompt`, which it would "
                f"replace. Received: --out {path}"
            )
            raise hinted(error, "Give another file to --out.")
    from keras_pianogen.generation.own_music import OwnMusic

    own = OwnMusic.of(prompt)
    kept = own.until(prompt_seconds)
    if not kept.is_cut:
        say(
            f"The music goes on from {kept.cut:.1f} s, soon after the last "
            "note began"
        )
    return own


def _roll_of(kept):
    """What a piano roll shows of the prompt: its end, and its pedal."""
    if kept is None:
        return {"prompt_seconds": None, "pedal": None}
    return {"prompt_seconds": kept.cut, "pedal": kept.pedal}


def _write(pieces, files, kept):
    from keras_pianogen.midi.writing import write_midi

    to_midi = write_midi if kept is None else kept.to_midi
    for piece, of_piece in zip(pieces, files, strict=True):
        of_piece.midi.parent.mkdir(parents=True, exist_ok=True)
        to_midi(piece, of_piece.midi)


def _print_figures(pieces, rate, unit, seed):
    alone = len(pieces) == 1
    made = figures(pieces[0]) if alone else f"{len(pieces)} pieces"
    speed = f", {rate:,.0f} {unit}s a second" if rate else ""
    say(f"{made}{speed}, seed {seed}")


def _print_piece(piece, files, alone):
    line = str(files.midi) if alone else f"{files.midi}: {figures(piece)}"
    say(line)


def _draw_and_play(piece, files, roll, soundfont):
    """Draw and play a piece where that was asked for, and say so."""
    if files.picture is not None and not len(piece):
        say("There are no notes to draw.")
    elif files.picture is not None:
        draw(piece, files.picture, **roll)
        say(files.picture)
    if files.audio is not None and not len(piece):
        say("There are no notes to play.")
    elif files.audio is not None:
        player = play(piece, files.audio, soundfont, roll["pedal"])
        say(f"{files.audio}: {player}")


def _share(piece, files, roll, recipe):
    """Write a piece's web page where that was asked for, and say so."""
    if files.page is not None and not len(piece):
        say("There are no notes for a page.")
    elif files.page is not None:
        share(piece, files.page, files.midi.stem, recipe, **roll)
        say(files.page)
