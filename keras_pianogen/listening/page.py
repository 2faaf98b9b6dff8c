"""The page of a blind listening test, and the key to it.

The folder of the page tells nothing but the number of sounds, their length,
and the sounds. Sounds have random names and are listed in the order of their
names. All have the same length and, if the renderer levels them, the same
loudness. The notes of all sounds last equally long, and then ring out. The key,
a file elsewhere, says which sound is which. Times in seconds.
"""

import hashlib
import importlib.resources
import json
import os
import pathlib
import secrets
import tempfile
import wave
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.files import whole
from keras_pianogen.judging.features import cut
from keras_pianogen.judging.features import shuffle_pitches
from keras_pianogen.notes import check_notes
from keras_pianogen.notices.hints import hinted

SECONDS = 20.0
PIECES = 5  # of each condition
ANCHOR = "shuffled"  # the condition that `make_page` adds itself
# The notes of every sound end this many seconds before it does, and ring out.
# Music that is generated to a length begins about a second late and ends a
# little early. Without this, it could be recognised by its end.
RING = 2.0
FADE = 0.5  # seconds, at the end of each sound
DATE = 946_684_800  # of all files: the year 2000, which zip files can hold
LEAST_NOTES = 8  # in an excerpt
NAMED = 3  # pieces that don't fit and are named in an error

ASSETS = ("index.html", "page.css", "page.js")

# A function of notes and a path. It writes a WAV file of 16 bits there.
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
    """Makes a page on which listeners rate sounds, and its key.

    A sound is an excerpt of a performance that is chosen at random, from
    those that fit. A performance fits if it lasts `seconds` less two from its
    first note, and has eight notes in some stretch of this length.

    Args:
        conditions: for each condition's name, performances by name.
        out: folder for the page; it must not exist, or be empty.
        key: file for the key; it must lie outside that folder.
        render: a function of notes and a path that writes a WAV file of 16
            bits, all equally loud, such as `keras_pianogen.render`.
        seconds: length of each sound, 3 to 120. Its notes ring out in the
            last two seconds.
        pieces: number of sounds of each condition, 1 or more.
        anchor: whether to add a condition, `"shuffled"`: excerpts of the first
            condition with their pitches shuffled, of other pieces if there
            are enough. A listener who likes it as much as music did not pay
            attention.
        seed: seed of all random choices. The same seed gives the same page,
            and anyone who knows it can make the key. By default it is random,
            and only the key holds it.
        progress: a function called with (sounds done, sounds in all).

    Returns:
        The key, as it was written. Its `"left_out"` names each condition's
        performances that don't fit, with the reason.

    Raises:
        ValueError: if an argument can't be used, or too few performances fit.
        OSError: if the page or the key can't be written. Then neither is
            there.
    """
    folder, key = pathlib.Path(out), pathlib.Path(key)
    _check(conditions, folder, key, seconds, anchor)
    if seed is None:
        seed = secrets.randbits(128)
    length = seconds - RING
    fit, left_out = _sift(conditions, length)
    _check_enough(fit, left_out, length, pieces)
    items = _draw(fit, length, pieces, anchor, seed)
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
        "left_out": left_out,
    }
    _write(folder, key, contents, items, render, progress)
    return contents


def _write(
    folder: pathlib.Path,
    key: pathlib.Path,
    contents: Mapping[str, Any],
    items: Mapping[str, tuple[str, str, np.ndarray]],
    render: Render,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Writes page and key. In the end both are there, whole, or neither."""
    key.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        part = pathlib.Path(made) / "page"
        with whole(key) as part_of_key:
            # Before the sounds, which take time: an error shows at once.
            text = json.dumps(contents, indent=1) + "\n"
            part_of_key.write_text(text, encoding="utf-8")
            (part / "sounds").mkdir(parents=True)
            for done, (name, (_, _, notes)) in enumerate(items.items(), 1):
                path = part / "sounds" / f"{name}.wav"
                render(notes, path)
                _trim(path, contents["seconds"])
                if progress is not None:
                    progress(done, len(items))
            _write_text(part, contents)
            _forget_times(part)
            part.chmod(0o755)
        try:
            if folder.exists():
                folder.rmdir()
            part.rename(folder)
        except BaseException:
            key.unlink()
            raise


def _check(
    conditions: Mapping[str, Mapping[str, np.ndarray]],
    folder: pathlib.Path,
    key: pathlib.Path,
    seconds: float,
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
    if not 3 <= seconds <= 120:
        raise ValueError(
            f"`seconds` of a sound must be 3 to 120. Received: {seconds}"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        error = ValueError(f"`out` must be a new folder. Received: {folder}")
        raise hinted(error, "A page is never replaced: give another folder.")
    if key.resolve().is_relative_to(folder.resolve()):
        error = ValueError(
            "`key` must lie outside the page's folder, because it tells what "
            f"listeners must not know. Received: {key}, in {folder}"
        )
        raise hinted(error, "Give a path that listeners never get.")
    if key.exists():
        error = ValueError(f"`key` must be a new file. Received: {key}")
        raise hinted(error, "A key is never replaced: give another path.")


def _sift(
    conditions: Mapping[str, Mapping[str, np.ndarray]], length: float
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, str]]]:
    """Each condition's performances that fit, and the others' reasons."""
    fit: dict[str, dict[str, np.ndarray]] = {name: {} for name in conditions}
    left_out: dict[str, dict[str, str]] = {name: {} for name in conditions}
    for condition, performances in conditions.items():
        for name, notes in performances.items():
            notes = check_notes(notes)
            if len(_begins(notes, length)):
                fit[condition][name] = notes
            else:
                left_out[condition][name] = _reason(notes, length)
    return fit, left_out


def _begins(notes: np.ndarray, length: float) -> NDArray[np.float64]:
    """The starts of notes at which an excerpt may begin."""
    start = notes["start"]
    held = np.searchsorted(start, start + length) - np.searchsorted(
        start, start
    )
    lasts = start + length <= notes["end"].max(initial=0)
    return start[lasts & (held >= LEAST_NOTES)]


def _reason(notes: np.ndarray, length: float) -> str:
    lasts = notes["end"].max(initial=0) - notes["start"][:1].sum()
    if lasts < length:
        return f"lasts {lasts:.2f} s from its first note, not {length:g}"
    return f"has fewer than {LEAST_NOTES} notes in any {length:g} s"


def _check_enough(
    fit: Mapping[str, Mapping[str, np.ndarray]],
    left_out: Mapping[str, Mapping[str, str]],
    length: float,
    pieces: int,
) -> None:
    for condition, performances in fit.items():
        if 1 <= pieces <= len(performances):
            continue
        reasons = [f"{n} {why}" for n, why in left_out[condition].items()]
        more = len(reasons) - NAMED
        raise ValueError(
            "`pieces` must be 1 or more, and every condition must have as many "
            f"that last {length:g} s from their first note and have "
            f"{LEAST_NOTES} notes in that. Received: pieces={pieces}, and "
            f"{len(performances)} in {condition}"
            + "".join(f"; {reason}" for reason in reasons[:NAMED])
            + (f"; and {more} more don't fit" if more > 0 else "")
        )


def _draw(
    conditions: Mapping[str, Mapping[str, np.ndarray]],
    length: float,
    pieces: int,
    anchor: bool,
    seed: int,
) -> dict[str, tuple[str, str, np.ndarray]]:
    """The condition, piece and notes of each sound, by its random name."""
    drawn: list[tuple[str, str, np.ndarray]] = []
    for place, (condition, performances) in enumerate(conditions.items()):
        order = np.random.default_rng((seed, place)).permutation(
            sorted(performances)
        )
        drawn += [
            (condition, name, _stretch(performances[name], length, seed))
            for name in order[:pieces].tolist()
        ]
        if anchor and place == 0:
            # Other pieces are used as far as there are any.
            others = [*order[pieces:], *order][:pieces]
            for name in map(str, others):
                notes = _stretch(performances[name], length, seed)
                drawn.append((ANCHOR, name, shuffle_pitches(notes, seed)))
    items = {
        _opaque(seed, condition, name): (condition, name, notes)
        for condition, name, notes in drawn
    }
    return dict(sorted(items.items()))


def _stretch(notes: np.ndarray, length: float, seed: int) -> np.ndarray:
    """An excerpt of a piece that fits. It begins at a random note."""
    begins = _begins(notes, length)
    return cut(notes, float(np.random.default_rng(seed).choice(begins)), length)


def _opaque(seed: int, *words: str) -> str:
    """A name of 16 digits, which tells nothing without the seed."""
    text = "\0".join((str(seed), *words))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _trim(path: pathlib.Path, seconds: float) -> None:
    """Cuts or extends a WAV file to a length, and fades its end."""
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
    """Writes the page's own files, and the list of its sounds."""
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
    """Gives all files one date, so that dates tell nothing of their order."""
    for path in folder.rglob("*"):
        os.utime(path, (DATE, DATE))
