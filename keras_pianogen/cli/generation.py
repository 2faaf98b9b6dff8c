"""Commands that write music, and sound it: generate, render, presets, serve."""

import json
import os
import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import DEFAULT_PRESET
from keras_pianogen.cli.app import command
from keras_pianogen.cli.app import stderr
from keras_pianogen.cli.app import stdout
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.loading import without_chatter
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import SOUNDS
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.places import place
from keras_pianogen.cli.progress import generation_bar

SOUNDFONT = typer.Option(
    help="SoundFont (.sf2, .sf3) that FluidSynth plays, or built-in.",
    show_default="an installed one, or else the built-in piano",
)


@command("No half file is left.")
def generate(
    out: Annotated[pathlib.Path, typer.Option(help="MIDI file to write.")],
    preset: Annotated[
        str, typer.Option(help="A bundled preset's name, or a folder.")
    ] = DEFAULT_PRESET,
    prompt: Annotated[
        pathlib.Path | None, typer.Option(help="MIDI file to continue.")
    ] = None,
    prompt_seconds: Annotated[
        float | None,
        typer.Option(
            help="Continue from this second of the prompt.",
            show_default="its end",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length of the new music, in seconds.")
    ] = 30.0,
    ending: Annotated[
        bool,
        typer.Option("--ending", help="Come to an end near that length."),
    ] = False,
    variations: Annotated[
        int | None,
        typer.Option(
            help="Write so many pieces at once: OUT with -1, -2, …",
            show_default="one, OUT itself",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same piece.",
            show_default="a new one, printed",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1 is safer, above 1 is wilder.")
    ] = 1.0,
    min_p: Annotated[
        float | None,
        typer.Option(help="Bar, as a share of the likeliest event's chance."),
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Share of probability kept.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Number of events kept.")
    ] = None,
    repeat_penalty: Annotated[
        float,
        typer.Option(help="Against loops on one note; 0.1 is mild."),
    ] = 0.0,
    no_grammar: Annotated[
        bool,
        typer.Option("--no-grammar", help="Allow events that make no sense."),
    ] = False,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Piano roll to draw: .png, .svg or .pdf."),
    ] = None,
    audio: Annotated[
        pathlib.Path | None, typer.Option(help="Sound to write: .wav.")
    ] = None,
    soundfont: Annotated[str | None, SOUNDFONT] = None,
):
    """Write new piano music to a MIDI file."""
    # What can be checked is checked before the slow part.
    places = _places(out, picture, audio, variations)
    _check_prompt(prompt, prompt_seconds)
    _check_soundfont(audio, soundfont)
    if no_grammar and repeat_penalty:
        raise ValueError(
            "`--repeat-penalty` needs the grammar. "
            f"Received: --repeat-penalty {repeat_penalty} and --no-grammar"
        )
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    from keras_pianogen.midi.reading import read_notes
    from keras_pianogen.midi.reading import read_pedal

    notes = pedal = None
    if prompt is not None:
        notes, pedal = read_notes(prompt), read_pedal(prompt)
    with loading():
        from keras_pianogen.generation.samplers import build_sampler
        from keras_pianogen.models import MusicTransformerCausalLM

        sampler = build_sampler(
            temperature, min_p=min_p, top_p=top_p, top_k=top_k
        )
        model = MusicTransformerCausalLM.from_preset(preset)
    with generation_bar(seconds) as (report, speed):
        pieces = model.generate(
            notes,
            seconds=seconds,
            ending=ending,
            variations=len(places),
            prompt_seconds=prompt_seconds,
            sampler=sampler,
            grammar=not no_grammar,
            repeat_penalty=repeat_penalty,
            seed=seed,
            progress=report,
        )
    border = _border(notes, prompt_seconds, model)
    if pedal is not None:  # What isn't kept of the prompt has none.
        pedal = pedal[pedal["start"] < border]
        pedal["end"] = pedal["end"].clip(max=border)
    _save(pieces, places, border, pedal, speed(), seed, soundfont)


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
    soundfont: Annotated[str | None, SOUNDFONT] = None,
):
    """Play a MIDI file to a WAV file, and draw it."""
    out = midi.with_suffix(".wav") if out is None else out
    check_place("--out", out, SOUNDS)
    if picture is not None:
        check_place("--picture", picture, PICTURES)
    from keras_pianogen.midi.reading import read_notes
    from keras_pianogen.midi.reading import read_pedal

    notes = read_notes(midi)
    player = _play(notes, out, soundfont)
    stdout.print(f"{_figures(notes)}, {player}", markup=False)
    stdout.print(str(out), markup=False)
    if picture is not None:
        _draw(notes, picture, None, read_pedal(midi))
        stdout.print(str(picture), markup=False)


def _places(out, picture, audio, variations):
    """Files of each piece: MIDI, picture or none, sound or none."""
    if variations is None:
        numbers = [None]
    elif variations < 1:
        raise ValueError(
            f"`--variations` must be 1 or more. Received: {variations}"
        )
    else:
        numbers = range(1, variations + 1)
    return [
        (
            place("--out", out, number),
            picture and place("--picture", picture, number, PICTURES),
            audio and place("--audio", audio, number, SOUNDS),
        )
        for number in numbers
    ]


def _check_prompt(prompt, prompt_seconds):
    if prompt_seconds is not None and prompt is None:
        raise ValueError(
            "`--prompt-seconds` needs `--prompt`, the file to continue. "
            f"Received: --prompt-seconds {prompt_seconds} alone"
        )
    if prompt_seconds is not None and not prompt_seconds >= 0:
        raise ValueError(
            f"`--prompt-seconds` must be 0 or above. Received: {prompt_seconds}"
        )
    if prompt is not None and not prompt.is_file():
        raise ValueError(f"`--prompt` must be a MIDI file. Received: {prompt}")


def _check_soundfont(audio, soundfont):
    if audio is None:
        if soundfont is not None:
            raise ValueError(
                "`--soundfont` needs `--audio`, the file to write. "
                f"Received: --soundfont {soundfont} alone"
            )
        return
    from keras_pianogen.rendering.fluidsynth import choose_soundfont

    choose_soundfont(soundfont)


def _border(prompt, prompt_seconds, model):
    """The second where new music follows the prompt; none without one.

    It is the time of the last event that is kept of the prompt, which may be
    a little before `prompt_seconds`.
    """
    if prompt is None or prompt_seconds is None:
        return None if prompt is None else float(prompt["end"].max())
    vocabulary = model.preprocessor.tokenizer.vocabulary
    times = vocabulary.times(vocabulary.encode(prompt))
    return float(times[times <= prompt_seconds].max(initial=0))


def _save(pieces, places, border, pedal, rate, seed, soundfont):
    """Write the pieces, then draw and play them, and say so."""
    from keras_pianogen.midi.writing import write_midi

    for piece, (out, *_) in zip(pieces, places, strict=True):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_midi(piece, out)
    alone = len(pieces) == 1
    made = _figures(pieces[0]) if alone else f"{len(pieces)} pieces"
    if rate:
        made += f", {rate:,.0f} events a second"
    stdout.print(f"{made}, seed {seed}")
    for piece, (out, picture, audio) in zip(pieces, places, strict=True):
        line = str(out) if alone else f"{out}: {_figures(piece)}"
        stdout.print(line, markup=False)
        if picture is not None and not len(piece):
            stdout.print("There are no notes to draw.")
        elif picture is not None:
            _draw(piece, picture, border, pedal)
            stdout.print(str(picture), markup=False)
        if audio is not None and not len(piece):
            stdout.print("There are no notes to play.")
        elif audio is not None:
            player = _play(piece, audio, soundfont)
            stdout.print(f"{audio}: {player}", markup=False)


def _figures(piece):
    return f"{len(piece)} notes, {piece['end'].max(initial=0):.1f} s"


def _draw(piece, picture, prompt_seconds, pedal):
    from keras_pianogen.rendering.pianoroll import plot_piano_roll

    picture.parent.mkdir(parents=True, exist_ok=True)
    plot_piano_roll(piece, picture, prompt_seconds=prompt_seconds, pedal=pedal)


def _play(piece, audio, soundfont):
    """Write the sound, which is there whole or not at all; what played."""
    from keras_pianogen.rendering.synthesis import render

    audio.parent.mkdir(parents=True, exist_ok=True)
    with stderr.status("Playing …"):
        return render(piece, audio, soundfont=soundfont)


@command("Nothing was changed.")
def presets(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """List the presets that come with the package, each file verified."""
    with loading():
        from keras_pianogen.models import presets as bundled

    rows, damaged = {}, []
    for name, entry in bundled.PRESETS.items():
        try:
            folder = pathlib.Path(bundled.locate(name))
        except ValueError as error:
            damaged.append(str(error))
            continue
        size = sum((folder / file).stat().st_size for file in entry["sha256"])
        rows[name] = entry["metadata"] | {
            "bytes": size,
            "folder": str(folder),
            "card": str(folder / "README.md"),
        }
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        for name, row in rows.items():
            size = f"{row['bytes'] / 1e6:.1f} MB"
            stdout.print(f"[bold]{name}[/]  {size}, verified")
            stdout.print(row["description"], markup=False)
            stdout.print(f"Card: {row['card']}", markup=False)
    if damaged:
        raise ValueError(" ".join(damaged))


@command("The page is closed.")
def serve(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")
    ] = 8765,
    host: Annotated[
        str, typer.Option(help="Address; another than this one needs --token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="What a browser must know to come in.")
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="A bundled preset's name, or a folder; may be repeated.",
            show_default="all bundled ones",
        ),
    ] = None,
):
    """Open the studio, a page to hear, see and continue what is written."""
    from keras_pianogen.studio import serving

    presets = serving.find_presets(preset or [DEFAULT_PRESET, *serving.BUNDLED])
    serving.check_address(host, token)
    serving.check_sound()
    serving.choose_backend()

    def announce(place):
        stdout.print(f"The studio is at {place}", markup=False)

    with without_chatter():  # The model loads while the page is there.
        serving.serve(presets, host, port, token, announce)
