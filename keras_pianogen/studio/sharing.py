"""A piece as one HTML file that shows and plays it, without a network.

The file holds the picture, the notes, the recipe, and the studio's own piano
and player: the modules that they need, in a script element each. Times in
seconds.
"""

import html
import io
import json
import os
import pathlib
import re
import string
from collections.abc import Iterator
from collections.abc import Mapping

import numpy as np

from keras_pianogen.files import whole
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import to_rows
from keras_pianogen.rendering import markup
from keras_pianogen.rendering.pianoroll_svg import piano_roll_svg
from keras_pianogen.rendering.tones import PITCHES
from keras_pianogen.rendering.tones import piano_json

HERE = pathlib.Path(__file__).parent
SHARED = HERE / "shared"
MODULES = (SHARED, HERE / "page")  # folders of scripts
ENTRIES = ("tone_worker.js", "piece.js")
IMPORT = re.compile(r'from "/(\w+\.js)"')


def save_page(
    notes: np.ndarray,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    prompt_seconds: float | None = None,
    pedal: np.ndarray | None = None,
    recipe: Mapping[str, object] | None = None,
) -> pathlib.Path:
    """Saves a piece as a web page that shows and plays it.

    The page is one file, which needs no other file and no network. It plays
    the built-in piano and holds the piece as a MIDI file, too. A page of a
    few notes takes 0.1 MB, one of a thousand notes about 0.4.

    Args:
        notes: A performance, as `read_notes` returns; at least one note.
        path: File to write, ending in `.html`. Its folder is made.
        title: The page's title. Defaults to the file's name.
        prompt_seconds: Length of the prompt in seconds, which is drawn in
            grey. Defaults to no prompt.
        pedal: When the sustain pedal is down, as `read_pedal` returns it.
            Defaults to none.
        recipe: What the piece was made of, a text for each name, such as
            `{"Preset": "music_transformer_maestro", "Seed": 7}`. `"Command"`
            is shown as a command. Defaults to none.

    Returns:
        The file.

    Raises:
        ValueError: If `notes` are none or not notes, or another argument is
            out of its range.
        OSError: If the file can't be written.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> save_page(notes, "piece.html", recipe={"Seed": 7}).name
        'piece.html'
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".html":
        raise ValueError(f"`path` must end in .html. Received: {str(path)!r}")
    page = piece_page(
        notes,
        title=path.stem if title is None else title,
        prompt_seconds=prompt_seconds,
        pedal=pedal,
        recipe=recipe,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def piece_page(
    notes: np.ndarray,
    *,
    title: str,
    prompt_seconds: float | None = None,
    pedal: np.ndarray | None = None,
    recipe: Mapping[str, object] | None = None,
    midi: bytes | None = None,
) -> str:
    """The text of such a page; see `save_page`.

    Args:
        midi: The MIDI file in it. Defaults to one of the notes alone.
    """
    notes = check_notes(notes)
    roll = piano_roll_svg(
        notes, title=title, prompt_seconds=prompt_seconds, pedal=pedal
    )
    data = {"notes": to_rows(notes), "piano": _piano(notes)}
    page = string.Template(_read("piece.html")).substitute(
        title=html.escape(" ".join(title.split())),
        style=_read("piece.css"),
        roll=roll,
        midi=markup.data_address(midi or _midi(notes), "audio/midi"),
        recipe=_recipe(recipe or {}),
        data=json.dumps(data, separators=(",", ":")),
        modules="\n".join(map(_script, _modules())),
        loader=_read("loader.js"),
    )
    # A lone surrogate becomes "?".
    return page.encode("utf-8", "replace").decode()


def _piano(notes: np.ndarray) -> dict:
    """The piano, with the tones that the notes need."""
    piano = json.loads(piano_json())
    pitches = np.unique(notes["pitch"]).astype(int)
    grid = np.array(PITCHES)
    near = grid[np.abs(pitches[:, None] - grid).argmin(axis=1)]
    piano["tones"] = [t for t in piano["tones"] if t["pitch"] in near]
    return piano


def _midi(notes: np.ndarray) -> bytes:
    """A MIDI file of some notes."""
    file = io.BytesIO()
    write_midi(notes).dump(file=file)
    return file.getvalue()


def _recipe(recipe: Mapping[str, object]) -> str:
    if not recipe:
        return ""
    rows = ""
    for name, value in recipe.items():
        kind, text = html.escape(name), html.escape(str(value))
        rows += f'<dt>{kind}</dt><dd class="{kind.lower()}">{text}</dd>'
    return f"<h2>How it was made</h2><dl>{rows}</dl>"


def _modules() -> list[str]:
    """Names of the scripts, each after those that it imports."""
    found: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in found:
            for imported in IMPORT.findall(_read(name)):
                visit(imported)
            found[name] = None

    for name in ENTRIES:
        visit(name)
    return list(found)


def _script(name: str) -> str:
    return (
        f'<script type="text/plain" data-module="/{name}">\n'
        f"{_read(name)}</script>"
    )


def _read(name: str) -> str:
    return next(_found(name)).read_text(encoding="utf-8")


def _found(name: str) -> Iterator[pathlib.Path]:
    paths = (folder / name for folder in MODULES)
    return (path for path in paths if path.is_file())
