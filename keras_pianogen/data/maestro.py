"""MAESTRO v3.0.0: found in a folder, or downloaded; its pieces and splits.

1,276 performances of the International Piano-e-Competition as MIDI, under
CC BY-NC-SA 4.0. Durations are in seconds. Nothing here reads a MIDI file.

Reference:
    - [Hawthorne et al. (2019), Enabling Factorized Piano Music Modeling and
      Generation with the MAESTRO Dataset](https://arxiv.org/abs/1810.12247)
    - [The data set's page](https://magenta.tensorflow.org/datasets/maestro)
"""

import hashlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from collections.abc import Iterable

from keras_pianogen import files
from keras_pianogen.data import archives
from keras_pianogen.data.pieces import SPLITS
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.pieces import check_split
from keras_pianogen.data.pieces import read_table
from keras_pianogen.notices.hints import hinted

NAME = "maestro-v3.0.0"
URL = (
    "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/"
    "maestro-v3.0.0-midi.zip"
)
# As the data set's page publishes it.
SHA256 = "70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c"

PAPER_SPLIT = {"train": 70, "validation": 15, "test": 15}  # files


class Maestro:
    """MAESTRO's performances, as a table.

    Args:
        folder: the folder that holds `maestro-v3.0.0.csv`, or one above it.
        pieces: the pieces to hold. Defaults to all that the table lists, in
            its order.

    Attributes:
        folder: the folder that holds `maestro-v3.0.0.csv`.
        pieces: a tuple of `Piece`. Each `path` is a `pathlib.Path` to open.

    Raises:
        FileNotFoundError: the table or a MIDI file is missing.
        ValueError: the table lacks one of MAESTRO's columns or has a bad row.

    Examples:
        ```python
        maestro = Maestro("data/maestro-v3.0.0")
        print(maestro.summary())
        maestro.split("validation")[0].title
        chopin = [p for p in maestro.pieces if "Chopin" in p.composer]
        print(Maestro(maestro.folder, pieces=chopin).table())
        ```
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        pieces: Iterable[Piece[pathlib.Path]] | None = None,
    ) -> None:
        table = _find_table(pathlib.Path(folder))
        self.folder = table.parent
        self.pieces = tuple(read_table(table) if pieces is None else pieces)
        _check_files(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def __repr__(self) -> str:
        return f"Maestro({str(self.folder)!r}, {len(self):,} pieces)"

    def split(self, name: str) -> tuple[Piece[pathlib.Path], ...]:
        """Returns the pieces of one split, in the table's order.

        Args:
            name: `"train"`, `"validation"` or `"test"`.

        Raises:
            ValueError: for any other name.
        """
        check_split(name, "name")
        return tuple(piece for piece in self.pieces if piece.split == name)

    def paper_subset(self, seed: int = 0) -> "Maestro":
        """Returns a hundred files, split 70/15/15, as in the paper built here.

        Departures from the paper: it does not name its files, so `seed` draws
        them. Each split is drawn from the published split of its name, so that
        nothing of the published test split is trained on. (The published
        splits keep compositions apart, except for five titles that stand in
        two of them.)

        Args:
            seed: whole number. One seed gives the same files on any machine
                and with any version of any library.

        Returns:
            A `Maestro` of 70 train, 15 validation and 15 test pieces.

        Raises:
            ValueError: a split has too few pieces.
        """
        drawn: set[Piece[pathlib.Path]] = set()
        for name, count in PAPER_SPLIT.items():
            pieces = self.split(name)
            if len(pieces) < count:
                raise ValueError(
                    f"The paper's subset needs {count} pieces of the split "
                    f"{name!r}. Received: {self!r} with {len(pieces)}."
                )
            drawn.update(sorted(pieces, key=self._draw(seed))[:count])
        kept = [piece for piece in self.pieces if piece in drawn]
        return Maestro(self.folder, pieces=kept)

    def _draw(self, seed: int) -> Callable[[Piece[pathlib.Path]], bytes]:
        """Returns a function that gives a piece's place in a random order."""

        def place(piece: Piece[pathlib.Path]) -> bytes:
            name = piece.path.relative_to(self.folder).as_posix()
            return hashlib.sha256(f"{seed} {name}".encode()).digest()

        return place

    def summary(self) -> str:
        """Returns performances and hours of each split, as text.

        There is a line for each split and one for their total.
        """
        rows = [(name, self.split(name)) for name in SPLITS]
        lines = [f"{'split':<12}{'performances':>12}{'hours':>8}"]
        for name, pieces in [*rows, ("total", self.pieces)]:
            hours = sum(piece.seconds for piece in pieces) / 3600
            lines.append(f"{name:<12}{len(pieces):>12,}{hours:>8.1f}")
        return "\n".join(lines)

    def table(self) -> str:
        """Returns the pieces as text, one a line.

        The columns are split, year, length (minutes:seconds), composer and
        title, under one line of headings.
        """
        lines = [f"{'split':<12}{'year':<6}{'length':>7}  composer: title"]
        for piece in self.pieces:
            minutes, seconds = divmod(round(piece.seconds), 60)
            lines.append(
                f"{piece.split:<12}{piece.year:<6}{minutes:>4}:{seconds:02}"
                f"  {piece.composer}: {piece.title}"
            )
        return "\n".join(lines)

    @classmethod
    def download(
        cls,
        folder: str | os.PathLike[str],
        *,
        url: str = URL,
        sha256: str = SHA256,
        progress: archives.Progress | None = None,
    ) -> "Maestro":
        """Finds MAESTRO below `folder`, or downloads it there (58 MB).

        A download that was cut goes on where it stopped when this is run
        again. Nothing is unpacked before the hash is right and every member of
        the archive is safe, and the data set appears in `folder` whole or not
        at all. If it is there already, or its zip is, no connection is made.
        One process at a time downloads into a folder; others wait for it.

        Args:
            folder: where `maestro-v3.0.0/` is, or is to be; made if absent.
            url: the archive's address.
            sha256: the archive's SHA-256, 64 hexadecimal digits.
            progress: called some hundred times, with the bytes that are here
                and the bytes in all (`None` if the server does not say).

        Returns:
            The data set.

        Raises:
            OSError: the download failed; the message says what to do.
            ValueError: the archive has another hash, or is not safe.

        Examples:
            ```python
            with rich.progress.Progress() as bar:
                task = bar.add_task("MAESTRO")
                maestro = Maestro.download(
                    "data",
                    progress=lambda done, total: bar.update(
                        task, completed=done, total=total
                    ),
                )
            ```
        """
        folder = pathlib.Path(folder)
        if found := cls._find(folder):
            return found
        folder.mkdir(parents=True, exist_ok=True)
        with files.held(folder, wait=True):
            # Another process may have downloaded it in the meantime.
            if not cls._find(folder):
                archive = folder / f"{NAME}-midi.zip"
                with archives.fetched(url, archive, sha256, progress) as zipped:
                    _unpack(zipped, folder)
        return cls(folder)

    @classmethod
    def _find(cls, folder: pathlib.Path) -> "Maestro | None":
        """The data set below `folder`, or `None` if there is nothing of it."""
        # Asked first: another process may unpack it while this one looks.
        unpacked = (folder / NAME).exists()
        try:
            return cls(folder)
        except FileNotFoundError as error:
            if not unpacked:
                return None
            raise FileNotFoundError(
                f"{folder / NAME} is there, but not whole: move it away "
                f"and download again. {error}"
            ) from error


def _find_table(folder: pathlib.Path) -> pathlib.Path:
    name = f"{NAME}.csv"
    for path in [folder / name, *sorted(folder.glob(f"*/{name}"))]:
        if path.is_file():
            return path
    found = "no such folder"
    if folder.is_dir():
        names = sorted(path.name for path in folder.iterdir())
        found = ", ".join(names[:8] + ["…"] * (len(names) > 8)) or "nothing"
    error = FileNotFoundError(
        f"`folder` must hold {name}, itself or one folder below it. "
        f"Received: {folder}. Found there: {found}."
    )
    raise hinted(
        error,
        f"`Maestro.download({str(folder)!r})` downloads the data set there. "
        "So does `pianogen prepare` with --download.",
    )


def _check_files(pieces: tuple[Piece[pathlib.Path], ...]) -> None:
    missing = [piece.path for piece in pieces if not piece.path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of the {len(pieces):,} MIDI files that the "
            f"table lists are missing, the first of them: {missing[0]}"
        )


def _unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    """Unpacks the data set into `folder`: whole, or not at all."""
    for left_over in folder.glob(".maestro-*"):  # By a process that was killed.
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".maestro-") as new:
        archives.unpack(archive, new)
        try:
            Maestro(new).folder.rename(folder / NAME)
        except FileNotFoundError as error:
            raise ValueError(
                f"{archive} is not all of {NAME}: {error}"
            ) from error
