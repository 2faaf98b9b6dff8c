"""Files that commands are asked to write, checked before any work."""

PICTURES = (".png", ".svg", ".pdf")

SOUNDS = (".wav",)


def place(name, path, number, suffixes=None):
    """A path that was asked for, checked, and with its number if it has one."""
    check_place(name, path, suffixes)
    if number is None:
        return path
    path = path.with_stem(f"{path.stem}-{number}")
    check_place(name, path)
    return path


def check_place(name, path, suffixes=None):
    """Refuse a path where no file can be written, and leave nothing there."""
    import tempfile

    if path.is_dir():
        raise ValueError(f"`{name}` must be a file. Received a folder: {path}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(
            f"`{name}` must end in {', '.join(suffixes)}. Received: {path}"
        )
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"`{name}` must be in a folder that can be written to. "
            f"Received: {path} ({error.strerror})"
        ) from error
