"""Files that are whole or not there, and their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import threading
import typing
from collections.abc import Iterator

if typing.TYPE_CHECKING:
    from matplotlib.figure import Figure


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
