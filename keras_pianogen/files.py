"""Files that are whole or not there, their hashes, and folders of one writer.

A sealed file holds JSON and its own hash, so that each changed byte is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import threading
import typing
from collections.abc import Iterator

import filelock

if typing.TYPE_CHECKING:
    from matplotlib.figure import Figure

LOCK = ".lock"
SEAL = "sha256"  # the last key of a sealed file


@contextlib.contextmanager
def held(
    folder: str | os.PathLike[str], *, wait: bool = False
) -> Iterator[None]:
    """A context in which no other process, or thread, holds the folder.

    Args:
        folder: an existing folder. It has a file `.lock` for as long.
        wait: whether to wait until another one releases the folder.

    Raises:
        filelock.Timeout: another one holds the folder, and `wait` is False.
    """
    path = pathlib.Path(folder, LOCK)
    lock = filelock.FileLock(path)
    lock.acquire(blocking=wait)
    try:
        yield
    finally:
        # Whoever waits for the removed file notices, and makes a new one.
        path.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def whole(
    path: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None
) -> Iterator[pathlib.Path]:
    """Writes a file under another name first, and then puts it in its place.

    Another process that opens `path` gets the old file or the whole new one,
    even if the machine stops in between. If the block raises, what was written
    is removed; after a `kill -9` it stays.

    Args:
        path: where the file is to be. Its folder must exist.
        folder: where the file is written first. It must be on the same disk.
            Defaults to the folder of `path`.

    Yields:
        The path to write to, with the suffix of `path`.

    Examples:
        >>> with whole("figures.txt") as part:
        ...     _ = part.write_text("1 2 3")
        >>> pathlib.Path("figures.txt").read_text()
        '1 2 3'
    """
    path = pathlib.Path(path)
    writer = f"{os.getpid()}-{threading.get_ident()}"
    part = pathlib.Path(folder or path.parent, f".{writer}-{path.name}")
    try:
        yield part
        sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def save_figure(
    figure: Figure, path: str | os.PathLike[str], dpi: float
) -> None:
    """Saves a Matplotlib figure; the file appears whole or not at all.

    Args:
        figure: a figure.
        path: where to write it. The suffix names the format, such as `.png`,
            `.svg` or `.pdf`; without one it is PNG.
        dpi: pixels per inch.
    """
    form = pathlib.Path(path).suffix[1:] or "png"
    with whole(path) as part:
        figure.savefig(part, dpi=dpi, format=form)


def sync(path: str | os.PathLike[str]) -> None:
    """Waits until a file's content, or a folder's entries, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(values: dict[str, typing.Any]) -> bytes:
    """Values as JSON, with the SHA-256 of the text as one more value.

    Examples:
        >>> unseal(seal({"notes": 3}))
        {'notes': 3}
        >>> unseal(seal({"notes": 3}).replace(b"3", b"4"))
        Traceback (most recent call last):
        ...
        ValueError: a byte of it has changed since it was written
    """
    text = _as_json(values)
    return _as_json(values | {SEAL: hashlib.sha256(text).hexdigest()})


def unseal(text: bytes) -> dict[str, typing.Any]:
    """The values in a text of `seal`.

    Raises:
        ValueError: the text is not exactly what `seal` made of them.
    """
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(f"a JSON object was expected, not {values!r:.40}")
    values.pop(SEAL, None)
    if seal(values) != text:
        raise ValueError("a byte of it has changed since it was written")
    return values


def _as_json(values: dict[str, typing.Any]) -> bytes:
    return json.dumps(values, indent=2).encode() + b"\n"
