"""Makes the pieces of music in these pages when the pages are built.

A fenced block in a page contains options of `pianogen generate` as YAML:

    ```piece
    seconds: 20
    seed: 7
    caption: Twenty seconds without a prompt
    ```

It becomes a figure with the piano roll, a player and the command. The command
line itself parses the options, so all of them can be used, and an invalid one
ends the build. The path of a prompt starts at the repository's root. Pieces
are generated on JAX and rendered with the built-in piano, which every machine
has. They are kept in `.cache/pieces`, named by a hash of the command, the
preset and the prompt.

`file: docs/records/paper/piece.mid` instead of options shows a MIDI file of
the repository. `begin: 8` and `end: 28` show its seconds from 8 to 28, and
`command: …` is the command that made it, which is checked and shown.
"""

import contextlib
import functools
import hashlib
import html
import logging
import os
import pathlib
import re
import shlex
import shutil
import tempfile
from unittest import mock

import numpy as np
import soundfile
import typer
import yaml
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from mkdocs.utils import get_relative_url
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen.cli import generation
from keras_pianogen.cli.options import DEFAULT_PRESET
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.rendering.pianoroll_svg import piano_roll_svg
from keras_pianogen.rendering.synthesis import synthesize

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "pieces"
PRESETS = ROOT / "keras_pianogen" / "presets"
CURSOR = ROOT / "keras_pianogen" / "studio" / "shared" / "roll_cursor.js"
FENCE = re.compile(r"^```piece\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAM = ["pianogen", "generate"]
BACKEND = "KERAS_BACKEND=jax"  # a seed gives another piece on each backend

OF_FILES = ("`caption`", "`command`", "`begin`", "`end`")
WHOLE = (0, float("inf"))

SAMPLE_RATE = 32_000
COMPRESSION = 0.8  # of MP3 with a variable bit rate, 0 to 1

# Pieces share a preset and what JAX compiles of it.
load_once = functools.cache(generation.load_model)

log = logging.getLogger("mkdocs.pieces")


def on_files(files, config):
    """Puts the cursor, which the package has too, before the pages' script."""
    script = files.get_file_from_path("assets/pieces.js")
    cursor = CURSOR.read_text().replace("export function", "function")
    files.remove(script)
    content = f"{cursor}\n{script.content_string}"
    files.append(File.generated(config, script.src_uri, content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Replaces each `piece` block by a figure."""

    def figure(match):
        try:
            return make_figure(match[1], page, config, files)
        except (ValueError, yaml.YAMLError) as error:
            path = page.file.src_path
            raise PluginError(f"{path}: {error}:\n{match[0]}") from error

    return FENCE.sub(figure, markdown)


def make_figure(text, page, config, files):
    settings = yaml.safe_load(text)
    if not isinstance(settings, dict):
        raise ValueError("a piece must have options, such as `seed: 7`")
    caption = settings.pop("caption", "")
    if "file" in settings:
        prompt = None
        words = words_of_file(settings.pop("command", None), settings["file"])
        folder = play_file(settings)
    else:
        settings.setdefault("out", "piece.mid")
        words = [*PROGRAM, *arguments(settings)]
        options = read_options(words)
        folder, prompt = CACHE / hash_of(words, options), prompt_length(options)
        if not folder.is_dir():
            make_piece(words, options, folder)
        words = [BACKEND, *words]
    urls = {}
    for suffix in (".mid", ".mp3"):
        uri = f"pieces/{folder.name}{suffix}"
        if files.get_file_from_path(uri) is None:
            content = (folder / f"piece{suffix}").read_bytes()
            files.append(File.generated(config, uri, content=content))
        urls[suffix] = get_relative_url(uri, page.url)
    roll = piano_roll_svg(
        read_notes(folder / "piece.mid"),
        title=caption or None,
        prompt_seconds=prompt,
    )
    command = " ".join(
        f"<span>{html.escape(shlex.quote(word))}</span>" for word in words
    )
    caption = f"{html.escape(caption)}<br>" if caption else ""
    return (
        f'<figure class="piece">{roll}'
        f'<audio controls preload="none" src="{urls[".mp3"]}"></audio>'
        f"<figcaption>{caption}<code>{command}</code> "
        f'<a href="{urls[".mid"]}" download="piece.mid">MIDI</a>'
        "</figcaption></figure>"
    )


def arguments(settings):
    """Converts options from Python names to words of a command."""
    for name, value in settings.items():
        option = "--" + name.replace("_", "-")
        yield from [option] if value is True else [option, str(value)]


def read_options(words):
    """Parses a command; returns its options by their Python names."""
    generate = typer.main.get_command(cli.app).commands["generate"]
    try:
        options = generate.make_context(" ".join(PROGRAM), words[2:]).params
    except Exception as error:
        if not hasattr(error, "format_message"):  # It isn't Typer's.
            raise
        raise ValueError(error.format_message()) from error
    if options["variations"] is not None or options["seed"] is None:
        raise ValueError("a piece must have a seed, and no variations")
    if options["prompt"] and not (ROOT / options["prompt"]).is_file():
        raise ValueError(f"there is no {options['prompt']} in the repository")
    options["preset"] = options["preset"] or DEFAULT_PRESET
    return options


def hash_of(words, options):
    """Hashes everything that a piece depends on."""
    made_from = hashlib.sha256(shlex.join(words).encode())
    folder = PRESETS / options["preset"]
    files = sorted(path for path in folder.glob("*") if path.suffix != ".md")
    if not files:
        raise ValueError(f"no preset of the package is {options['preset']!r}")
    if options["prompt"]:
        files.append(ROOT / options["prompt"])
    for path in files:
        made_from.update(path.read_bytes())
    return made_from.hexdigest()[:16]


def make_piece(words, options, folder):
    """Generates and renders a piece in a folder, completely or not at all."""
    os.environ.update([BACKEND.split("=")])
    log.info("Writing a piece: %s", shlex.join(words))
    with whole(folder) as made:
        midi = made / "piece.mid"
        args = [*words[1:], "--out", str(midi)]
        if options["prompt"]:
            args += ["--prompt", str(ROOT / options["prompt"])]
        with (
            contextlib.chdir(made),  # for options such as --picture
            mock.patch.object(generation, "load_model", load_once),
        ):
            result = CliRunner().invoke(cli.app, args)
        if result.exit_code:
            raise ValueError(result.output.strip() or repr(result.exception))
        play(midi)


@contextlib.contextmanager
def whole(folder):
    """Yields a folder to fill; it appears complete or not at all."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        yield pathlib.Path(made)
        shutil.copytree(made, folder)


def words_of_file(command, path):
    """The command that made a file, or the one that plays it."""
    if command is None:
        return ["pianogen", "render", path]
    words = shlex.split(command)
    _, name, *args = words[words[0].startswith("KERAS_BACKEND=") :]
    made_by = typer.main.get_command(cli.app).commands.get(name)
    if made_by is None:
        raise ValueError(f"no command of pianogen is {name!r}")
    try:
        made_by.make_context(name, args)
    except Exception as error:
        if not hasattr(error, "format_message"):  # It isn't Typer's.
            raise
        raise ValueError(error.format_message()) from error
    return words


def play_file(settings):
    """Renders a file of the repository; returns the folder of both."""
    more = sorted(set(settings) - {"file", "begin", "end"})
    source = ROOT / settings["file"]
    if more:
        raise ValueError(
            f"a file has no options but {', '.join(OF_FILES)}, not {more}"
        )
    if not source.is_file():
        raise ValueError(f"there is no {settings['file']} in the repository")
    part = settings.get("begin", 0), settings.get("end", float("inf"))
    made_from = hashlib.sha256(source.read_bytes())
    if part != WHOLE:
        made_from.update(repr(part).encode())
    folder = CACHE / made_from.hexdigest()[:16]
    if not folder.is_dir():
        with whole(folder) as made:
            cut(source, part, made / "piece.mid")
            play(made / "piece.mid")
    return folder


def cut(source, part, midi):
    """Copies the notes that begin between two seconds, or the whole file."""
    if part == WHOLE:
        shutil.copy(source, midi)
        return
    begin, end = part
    notes = read_notes(source)
    notes = notes[(notes["start"] >= begin) & (notes["start"] < end)]
    notes["end"] = np.minimum(notes["end"], end)
    notes["start"] -= begin
    notes["end"] -= begin
    write_midi(notes, midi)


def play(midi):
    """Renders a MIDI file as an MP3 file beside it."""
    notes, pedal = read_notes(midi), read_pedal(midi)
    soundfile.write(
        midi.with_suffix(".mp3"),
        synthesize(notes, SAMPLE_RATE, pedal=pedal),
        SAMPLE_RATE,
        compression_level=COMPRESSION,
        bitrate_mode="VARIABLE",
    )


def prompt_length(options):
    """Returns the seconds of a piece that belong to its prompt, or None."""
    if not options["prompt"]:
        return None
    end = read_notes(ROOT / options["prompt"])["end"].max()
    return float(min(end, options["prompt_seconds"] or end))
