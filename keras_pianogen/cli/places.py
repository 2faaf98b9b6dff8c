"""Paths of files that commands write, checked before any work."""

from keras_pianogen.notices.hints import hinted

PICTURES = (".png", ".svg", ".pdf")

SOUNDS = (".wav",)

MIDI = (".mid", ".midi")

PAGES = (".html",)


def place(name, path, number, suffixes=None):
    """The path of a file of a piece: checked, and with the piece's number."""
    check_place(name, path, suffixes)
    if number is None:
        return path
    path = path.with_stem(f"{path.stem}-{number}")
    check_place(name, path)
    return path


def check_place(name, path, suffixes=None):
    """Refuse a path where no file can be written. It leaves nothing there.

    Args:
        name: the option that has the path.
        path: a `pathlib.Path`.
        suffixes: those that the path can end in. Defaults to `None`, any.
    """
    import tempfile

    suffix = suffixes[0] if suffixes else path.suffix
    hint = f"Give the path of a file, such as music/piece{suffix}."
    if path.is_dir():
        message = f"`{name}` must be a file. Received a folder: {path}"
        raise hinted(ValueError(message), hint)
    if suffixes and path.suffix.lower() not in suffixes:
        message = (
            f"`{name}` must end in {', '.join(suffixes)}. Received: {path}"
        )
        raise hinted(ValueError(message), hint)
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        message = (
            f"`{name}` must be in a folder that can be written to. "
            f"Received: {path} ({error.strerror})"
        )
        raise hinted(ValueError(message), hint) from error


def check_is_file(name, path):
    """Refuse a path that a user gave for a MIDI file and that is none.

    Args:
        name: the option or the argument, as the user knows it.
        path: the path.

    Raises:
        ValueError: if it is no file.
    """
    if not path.is_file():
        what = "is no file" if path.exists() else "doesn't exist"
        raise hinted(
            ValueError(
                f"`{name}` must be a MIDI file. Received: {path}, which {what}"
            ),
            "Check the path.",
        )
