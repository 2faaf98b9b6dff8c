"""Makes the page of a blind listening test, and the key to it.

What the folder of the page tells: how many sounds there are, how long they
are, and the sounds. Their names are drawn by lot, in whose order they are
listed; all are as long and, by whoever renders them, as loud. The key says
which is which, and lies elsewhere. Times in seconds.
"""

import hashlib
import importlib.resources
import json
import os
import pathlib
import secrets
import shutil
import tempfile
import wave
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_pianogen.features import excerpt
from keras_pianogen.features import shuffle_pitches
from keras_pianogen.midi import check_notes

SECONDS = 20.0
PIECES = 5  # of each condition
ANCHOR = "shuffled"  # the condition that the page makes itself
FADE = 0.5  # seconds, at the end of each sound
DATE = 946_684_800  # of all files: the year 2000, which zip files can hold
LEAST_NOTES = 8  # an excerpt of fewer is no piece

ASSETS = ("index.html", "page.css", "page.js")

# Notes and a path → a WAV file there, 16 bits.
Render = Callable[[np.ndarray, pathlib.Path], object]


def make_page(
    conditions: Mapping[str, Mapping[str, np.ndarray]],
    out: str | os.PathLike[str],
    key: str | os.PathLike[str],
    *,
    render: Render,
    seconds: float = SECONDS,
    pieces: int = PIECES,
    anchor: bool = True,
    seed: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Any]:
    """Makes a page to listen and judge on, and its key.

    Args:
        conditions: for each condition's name, performances by name. `pieces`
            of them are drawn, and of each a stretch of `seconds`.
        out: folder for the page; it must not exist, or be empty.
        key: file for the key; it must lie outside that folder.
        render: a function of notes and a path that writes a WAV file of 16
            bits, all as loud, such as `keras_pianogen.synthesis.render`.
        seconds: length of each sound, 1 to 120.
        pieces: sounds of each condition, 1 or more.
        anchor: whether to add a condition, `"shuffled"`: stretches of the
            first one with their pitches dealt out anew, of other pieces where
            there are enough. Listeners who like it as well were not heeding.
        seed: of what is drawn. The same seed gives the same page, and
            whoever knows it can make the key: by default it is drawn, and
            kept in the key alone.
        progress: a function called with (sounds done, sounds in all).

    Returns:
        The key, as it was written.

    Raises:
        ValueError: an argument can't be used.
    """
    folder, key = pathlib.Path(out), pathlib.Path(key)
    _check(conditions, folder, key, seconds, pieces, anchor)
    if seed is None:
        seed = secrets.randbits(128)
    items = _draw(conditions, seconds, pieces, anchor, seed)
    contents = {
        "version": 1,
        "study": _opaque(seed, "study"),
        "seconds": seconds,
        "seed": str(seed),
        "conditions": [*conditions, *[ANCHOR] * anchor],
        "items": {
            name: {"condition": condition, "piece": piece}
            for name, (condition, piece, _) in items.items()
        },
    }
    # The page is there whole or not at all.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        part = pathlib.Path(made) / "page"
        (part / "sounds").mkdir(parents=True)
        for done, (name, (_, _, notes)) in enumerate(items.items(), 1):
            path = part / "sounds" / f"{name}.wav"
            render(notes, path)
            _trim(path, seconds)
            if progress is not None:
                progress(done, len(items))
        _write_text(part, contents)
        _forget_times(part)
        part.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        shutil.move(part, folder)
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(json.dumps(contents, indent=1) + "\n", encoding="utf-8")
    return contents


def _check(
    conditions: Mapping[str, Mapping[str, np.ndarray]],
    folder: pathlib.Path,
    key: pathlib.Path,
    seconds: float,
    pieces: int,
    anchor: bool,
) -> None:
    if not conditions or len(conditions) + anchor < 2:
        raise ValueError(
            "`conditions` must be two or more, or one and the anchor. "
            f"Received: {', '.join(conditions) or 'none'}"
        )
    if "" in conditions or (anchor and ANCHOR in conditions):
        raise ValueError(
            f"A condition must have a name, and {ANCHOR!r} is the anchor's. "
            f"Received: {', '.join(map(repr, conditions))}"
        )
    if not 1 <= seconds <= 120:
        raise ValueError(
            f"`seconds` of a sound must be 1 to 120. Received: {seconds}"
        )
    for name, performances in conditions.items():
        if not 1 <= pieces <= len(performances):
            raise ValueError(
                "`pieces` must be 1 or more, and every condition must have as "
                f"many. Received: pieces={pieces}, and {len(performances)} "
                f"in {name}"
            )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"`out` must be a new folder. Received: {folder}")
    if key.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            "`key` must lie outside the page's folder: it tells what listeners "
            f"must not know. Received: {key}, in {folder}"
        )
    if key.exists():
        raise ValueError(f"`key` must be a new file. Received: {key}")


def _draw(
    conditions: Mapping[str, Mapping[str, np.ndarray]],
    seconds: float,
    pieces: int,
    anchor: bool,
    seed: int,
) -> dict[str, tuple[str, str, np.ndarray]]:
    """For each opaque name its condition, piece and notes; in names' order."""
    drawn: list[tuple[str, str, np.ndarray]] = []
    for place, (condition, performances) in enumerate(conditions.items()):
        order = np.random.default_rng((seed, place)).permutation(
            sorted(performances)
        )
        drawn += [
            (condition, name, _stretch(name, performances[name], seconds, seed))
            for name in order[:pieces].tolist()
        ]
        if anchor and place == 0:
            # Other pieces, as far as there are any.
            others = [*order[pieces:], *order][:pieces]
            for name in map(str, others):
                notes = _stretch(name, performances[name], seconds, seed)
                drawn.append((ANCHOR, name, shuffle_pitches(notes, seed)))
    items = {
        _opaque(seed, condition, name): (condition, name, notes)
        for condition, name, notes in drawn
    }
    return dict(sorted(items.items()))


def _stretch(
    name: str, notes: np.ndarray, seconds: float, seed: int
) -> np.ndarray:
    """Some seconds of a piece, the fullest of a few draws."""
    notes = check_notes(notes)
    length = float(notes["end"].max(initial=0))
    if length < seconds:
        raise ValueError(
            f"Each piece must last {seconds:g} s, or its silence tells it. "
            f"Received: {length:.1f} s in {name}"
        )
    draws = [excerpt(notes, seconds, seed + i) for i in range(3)]
    fullest = max(draws, key=len)
    if len(fullest) < LEAST_NOTES:
        raise ValueError(
            f"Each piece must have {LEAST_NOTES} notes or more in "
            f"{seconds:g} s. Received: {len(fullest)} in {name}"
        )
    return fullest


def _opaque(seed: int, *words: str) -> str:
    """A name that tells nothing without the seed, 16 digits."""
    text = "\0".join((str(seed), *words))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _trim(path: pathlib.Path, seconds: float) -> None:
    """Makes a WAV file exactly so long, and fades its end."""
    with wave.open(str(path), "rb") as file:
        settings = file.getparams()
        frames = file.readframes(settings.nframes)
    if settings.sampwidth != 2:
        raise ValueError(
            "`render` must write samples of 16 bits. Received: "
            f"{8 * settings.sampwidth} bits"
        )
    sound = np.frombuffer(frames, "<i2").reshape(-1, settings.nchannels)
    length = round(seconds * settings.framerate)
    trimmed = np.zeros((length, settings.nchannels), "<i2")
    trimmed[: len(sound)] = sound[:length]
    fade = round(FADE * settings.framerate)
    ramp = np.linspace(1, 0, fade)[:, None]
    trimmed[-fade:] = np.rint(trimmed[-fade:] * ramp)
    with wave.open(str(path), "wb") as file:
        file.setparams(settings._replace(nframes=0))
        file.writeframes(trimmed.tobytes())


def _write_text(folder: pathlib.Path, contents: Mapping[str, Any]) -> None:
    """The page's own files, and the list of its sounds."""
    assets = importlib.resources.files("keras_pianogen.listening") / "assets"
    for name in ASSETS:
        (folder / name).write_bytes((assets / name).read_bytes())
    told = {
        "study": contents["study"],
        "seconds": contents["seconds"],
        "items": list(contents["items"]),
    }
    text = f"window.STUDY = {json.dumps(told)};\n"
    (folder / "items.js").write_text(text, encoding="utf-8")


def _forget_times(folder: pathlib.Path) -> None:
    """Gives all files one date, so that it tells nothing of their order."""
    for path in folder.rglob("*"):
        os.utime(path, (DATE, DATE))
