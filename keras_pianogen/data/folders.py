"""The MIDI files in a folder and below it.

Links are followed, and each folder is entered once, whatever leads to it: as
itself if it lies in the folder, else by the first link. Nothing here opens a
file.
"""

import collections
import errno
import os
import pathlib
import stat

SUFFIXES = (".mid", ".midi")
LOOP = "is a link to a folder that it lies in"


class MidiFolder:
    """The MIDI files in a folder and below it.

    Args:
        folder: the folder.

    Attributes:
        files: paths whose names end in `.mid` or `.midi`, sorted.
        skipped: folders that were not entered, and why: links to a folder
            that they lie in, and folders that can't be read.
        others: how many other files there are, by their suffixes.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.files: list[pathlib.Path] = []
        self.skipped: dict[pathlib.Path, str] = {}
        self.others: collections.Counter[str] = collections.Counter()
        self._folders = [pathlib.Path(folder)]
        self._links: list[pathlib.Path] = []
        self._entered: set[tuple[int, int]] = set()
        while self._folders or self._links:
            # Links come last: what lies in the folder has its own path.
            waiting = self._folders or self._links
            path = waiting.pop(0)
            try:
                self._enter(path)
            except OSError as error:
                self.skipped[path] = error.strerror or str(error)
        self.files.sort()

    def found_instead(self) -> str:
        """In words, the commonest files of the folder that aren't MIDI."""
        kinds = (+self.others).most_common(3)
        return ", ".join(f"{n:,} {suffix}" for suffix, n in kinds) or "no files"

    def _enter(self, folder: pathlib.Path) -> None:
        status = os.stat(folder)
        identity = status.st_dev, status.st_ino
        if identity not in self._entered:
            self._entered.add(identity)
            for path in sorted(folder.iterdir()):
                self._add(path)

    def _add(self, path: pathlib.Path) -> None:
        is_midi = path.name.lower().endswith(SUFFIXES)
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except OSError as error:
            is_folder = False
            if not is_midi and error.errno != errno.ENOENT:
                self.skipped[path] = error.strerror or str(error)
        if not is_folder:
            self.files += [path] * is_midi
            self.others[path.suffix.lower() or path.name] += not is_midi
        elif not path.is_symlink():
            self._folders.append(path)
        elif path.parent.resolve().is_relative_to(path.resolve()):
            self.skipped[path] = LOOP
        else:
            self._links.append(path)
