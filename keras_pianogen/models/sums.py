"""The file of a preset that lists the SHA-256 of its other files.

It has the format of the program `sha256sum`, and lists every file that is
read when the preset loads.
"""

import pathlib

from keras_pianogen.files import sha256
from keras_pianogen.files import whole
from keras_pianogen.notices.hints import hinted

SUMS = "SHA256SUMS"
READ = (".json", ".h5")  # suffixes of the files that are read
MOST_BYTES = 2**20  # of `SUMS`


def write_sums(folder):
    """Write the SHA-256 of each file of a preset to its `SUMS`."""
    folder = pathlib.Path(folder)
    lines = [f"{sha256(path)}  {path.name}\n" for path in files_of(folder)]
    with whole(folder / SUMS) as part:
        part.write_text("".join(lines))


def files_of(folder):
    """The files of a preset that are read, a sorted list of paths.

    Raises:
        ValueError: if one of them is no regular file, which might never end.
    """
    paths = sorted(x for x in folder.iterdir() if x.suffix in READ)
    for path in paths:
        if not path.is_file():
            raise ValueError(
                f"A preset must have regular files. Received: {path}"
            )
    return paths


def read_sums(folder):
    """Read `SUMS`.

    Returns:
        A dict of each file's SHA-256 in hexadecimal.

    Raises:
        ValueError: if it can't be read, or names a file outside the folder.
    """
    try:
        lines = _read(folder / SUMS).splitlines()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The preset in {folder} is damaged: {SUMS} can't be read: {error}"
        ) from error
    sums = {}
    for line in lines or [""]:
        expected, _, file = line.partition("  ")
        if len(expected) != 64 or not file or pathlib.Path(file).name != file:
            raise ValueError(
                f"The preset in {folder} is damaged: {SUMS} must have lines "
                f"of a sha256 and a file's bare name. Received: {line[:200]!r}"
            )
        sums[file] = expected
    return sums


def _read(path):
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise ValueError(
            f"it must be a regular file of at most {MOST_BYTES:,} bytes"
        )
    return path.read_text(encoding="utf-8")


def verify(name, folder, sums, hint):
    """Compare each file of a preset with its SHA-256.

    Args:
        name: what errors call the preset.
        folder: path of the preset.
        sums: dict of each file's SHA-256.
        hint: how the preset can be mended.

    Raises:
        ValueError: if a file is missing, has changed, or is not listed.
    """
    for file, expected in sums.items():
        path = folder / file
        if not path.is_file():
            message = f"The preset {name} is incomplete: there is no {path}"
            raise hinted(ValueError(message), hint)
        received = sha256(path)
        if received != expected:
            message = (
                f"The preset {name} is damaged: {path} must have "
                f"the sha256 {expected}. Received: {received}"
            )
            raise hinted(ValueError(message), hint)
    for path in files_of(folder):
        if path.name not in sums:
            message = (
                f"The preset {name} is damaged: the sha256 of {path.name} "
                f"is not listed. Listed: {', '.join(sorted(sums))}"
            )
            raise hinted(ValueError(message), hint)
