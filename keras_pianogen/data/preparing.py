"""Many MIDI files read once, into a corpus on disk.

Files are read in parts of a few files each. The notes of a part are written at
once, so that a run that was stopped, even by `kill -9`, goes on with the parts
that are left. The same source gives the same corpus, byte for byte: pieces are
sorted by path.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import FORMAT_VERSION
from keras_pianogen.data.corpus import TABLE
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.corpus import SkippedFile
from keras_pianogen.data.corpus import write_corpus
from keras_pianogen.data.packing import UNITS
from keras_pianogen.data.packing import packed_ends
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.pieces import check_split
from keras_pianogen.data.pieces import list_pieces
from keras_pianogen.data.workers import Found
from keras_pianogen.data.workers import Workers
from keras_pianogen.data.workers import read_file
from keras_pianogen.files import whole
from keras_pianogen.hints import hinted

# Hidden in the corpus's folder: a folder of the parts that are read, and a
# file with a digest of the source, by which it is known again.
DOWNLOAD = (
    "Give a folder with .mid or .midi files in it. With --download, "
    "`pianogen prepare` downloads MAESTRO there."
)
PARTS = ".parts"
STAMP = ".source"
FILES_A_PART = 16
# Starting a process takes as long as reading this many files.
FILES_A_PROCESS = 128

Progress = Callable[[int, int], object]


def prepare_corpus(
    source: Any,
    folder: str | os.PathLike[str],
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Reads many MIDI files once, into a corpus on disk.

    A file that cannot be read is skipped and named in `Corpus.skipped`. After
    an interruption, even by `kill -9`, the next call goes on with the files
    that are left. If `folder` already holds the corpus of this source, and the
    source has not changed since, the corpus is opened and nothing is read.

    Args:
        source: a `Maestro`, a folder with MAESTRO's CSV table in it, or any
            folder of `.mid` and `.midi` files, at any depth. It can also be
            any object that has a `folder` and `pieces`, each with `path`,
            `split`, `composer`, `title` and `year`.
        folder: where the corpus is written; made if absent.
        validation_fraction: share of the files for validation, 0 to 1, if the
            source has no splits of its own.
        test_fraction: share of the files for the test, 0 to 1.
        seed: draws these splits, from the files' names alone. A file keeps
            its split when others come and go, with one exception: if a split
            would be empty and there are three files or more, one is moved
            there.
        workers: number of processes that read. Defaults to the machine's
            cores.
        progress: called with (files done, files in all) as work goes on.
        overwrite: whether the corpus of another source in `folder` may be
            replaced.

    Returns:
        The `Corpus`.

    Raises:
        ValueError: no file of the source can be read, or `folder` holds the
            corpus of another source and `overwrite` is False.

    Examples:
        ```python
        corpus = prepare_corpus("my_midi_files", "corpora/mine")
        print(corpus, *corpus.skipped, sep="\\n")
        ```
    """
    _check_fractions(validation_fraction, test_fraction)
    root, listed = _list_source(source)
    folder = pathlib.Path(folder)
    stamps = [_stamp(root, piece.path) for piece in listed]
    settings = validation_fraction, test_fraction, seed
    listing = [dataclasses.astuple(piece) for piece in listed]
    stamp = _digest([settings, listing, stamps])
    if not _is_finished(folder, stamp, overwrite):
        parts = _parts(root, listed, stamps, folder / PARTS)
        _read(parts, workers or _num_cores(), progress)
        pieces, skipped = _tables(parts)
        if pieces:
            pieces = _draw_splits(pieces, *settings)
            _write(folder, stamp, pieces, skipped, parts)
        shutil.rmtree(folder / PARTS)
        _check_any(pieces, skipped, root)
    return Corpus(folder)


# The source: which files, in which splits.


def _list_source(source: Any) -> tuple[pathlib.Path, list[Piece[str]]]:
    """The source's folder and its pieces, sorted by path."""
    if hasattr(source, "pieces") and hasattr(source, "folder"):
        root, pieces = pathlib.Path(source.folder), source.pieces
        for piece in pieces:
            check_split(piece.split)
    else:
        root = pathlib.Path(source)
        if not root.is_dir():
            message = (
                f"`source` must be a folder of MIDI files. Received: {root}"
            )
            raise hinted(ValueError(message), DOWNLOAD)
        pieces = list_pieces(root)
    relative = [_relative(root, piece) for piece in pieces]
    return root, sorted(relative, key=lambda piece: piece.path)


def _relative(root: pathlib.Path, piece: Any) -> Piece[str]:
    """A piece of a source as a corpus lists it, before it is read."""
    path = pathlib.Path(piece.path)
    for folder in (root, root.resolve()):
        if path.is_relative_to(folder):
            path = path.relative_to(folder)
    fields = piece.split, piece.composer, piece.title, piece.year
    return Piece(path.as_posix(), *fields)


def _check_fractions(validation: float, test: float) -> None:
    if not (0 <= validation and 0 <= test and validation + test < 1):
        raise ValueError(
            "`validation_fraction` and `test_fraction` must be 0 or more and "
            "together below 1. Received: "
            f"validation_fraction={validation}, test_fraction={test}"
        )


def _check_any(
    pieces: list[Piece[str]], skipped: list[SkippedFile], root: pathlib.Path
) -> None:
    if not pieces:
        message = (
            "`source` must hold MIDI files that can be read. Received: "
            f"{root}, with {len(skipped)} files"
            + "".join(f"; {s.path}: {s.reason}" for s in skipped[:3])
        )
        raise hinted(ValueError(message), DOWNLOAD)


def _draw_splits(
    pieces: list[Piece[str]], validation: float, test: float, seed: int
) -> list[Piece[str]]:
    """Gives a split to the pieces that have none.

    A file's name and the seed make a number from 0 to 1. The files with the
    lowest numbers are for validation, the next for the test.
    """
    drawn = {
        i: _uniform(f"{seed}:{pathlib.PurePosixPath(piece.path).name}")
        for i, piece in enumerate(pieces)
        if not piece.split
    }
    order = sorted(drawn, key=lambda i: (drawn[i], pieces[i].path))
    num_validation = num_test = 0
    room = max(len(order) - 1, 0)  # One file is always left to train on.
    if validation:
        num_validation = sum(u < validation for u in drawn.values())
        most = room - 1 if test and room > 1 else room
        num_validation = min(max(num_validation, 1), most)
    if test:
        num_test = sum(
            validation <= u < validation + test for u in drawn.values()
        )
        num_test = min(max(num_test, 1), room - num_validation)
    splits = ["validation"] * num_validation + ["test"] * num_test
    splits += ["train"] * (len(order) - len(splits))
    pieces = list(pieces)
    for i, split in zip(order, splits, strict=True):
        pieces[i] = dataclasses.replace(pieces[i], split=split)
    return pieces


def _uniform(text: str) -> float:
    """A number from 0 to 1 that follows from the text alone."""
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:6], "big") / 2**48


# Reading, in parts that survive an interruption.


@dataclasses.dataclass(frozen=True)
class _Part:
    """Some files of the source, and their notes on disk once they are read.

    The part's name is a digest of its files' paths, sizes and dates. So a file
    on disk of that name holds the notes of these files.
    """

    root: pathlib.Path
    listed: list[Piece[str]]
    path: pathlib.Path

    def read(self, read: Callable[[pathlib.Path], Found]) -> None:
        """Reads the files with `read`, unless their notes are on disk."""
        if self._load() is not None:
            return
        found = [read(self.root / piece.path) for piece in self.listed]
        with whole(self.path) as part:
            np.savez(
                part,
                notes=np.concatenate([notes for notes, _ in found]),
                counts=np.array([len(notes) for notes, _ in found]),
                reasons=np.array([reason for _, reason in found]),
            )

    def load(self) -> dict[str, NDArray[Any]]:
        """All notes, how many each file has, and why if it has none."""
        part = self._load()
        if part is None:
            raise OSError(f"{self.path} was written but cannot be read back")
        return part

    def _load(self) -> dict[str, NDArray[Any]] | None:
        try:
            with open(self.path, "rb") as file, np.load(file) as part:
                return dict(part)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None


def _parts(
    root: pathlib.Path,
    listed: list[Piece[str]],
    stamps: list[Any],
    folder: pathlib.Path,
) -> list[_Part]:
    """The parts of a source. `folder` is made for them."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for i in range(0, len(listed), FILES_A_PART):
        some = slice(i, i + FILES_A_PART)
        name = _digest([str(root.resolve()), stamps[some]])
        parts.append(_Part(root, listed[some], folder / f"{name}.npz"))
    return parts


def _read(parts: list[_Part], workers: int, progress: Progress | None) -> None:
    """Reads all parts, in as many processes as are worth starting."""
    total = sum(len(part.listed) for part in parts)
    workers = max(1, min(workers, -(-total // FILES_A_PROCESS)))
    done = 0
    with Workers() as processes, ThreadPoolExecutor(workers) as pool:
        read = processes.read if workers > 1 else read_file
        try:
            jobs = pool.map(lambda part: part.read(read), parts)
            for part, _ in zip(parts, jobs, strict=True):
                done += len(part.listed)
                if progress is not None:
                    progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)


def _tables(
    parts: list[_Part],
) -> tuple[list[Piece[str]], list[SkippedFile]]:
    """The pieces, and the files that gave none."""
    pieces: list[Piece[str]] = []
    skipped = []
    first = 0
    for part in parts:
        found = part.load()
        ends = packed_ends(found["notes"])
        for listed, count, reason in zip(
            part.listed, found["counts"].tolist(), found["reasons"], strict=True
        ):
            if not count:
                skipped.append(SkippedFile(listed.path, str(reason)))
                continue
            seconds, ends = int(ends[:count].max()) / UNITS, ends[count:]
            facts = dict(first_note=first, num_notes=count, seconds=seconds)
            pieces.append(dataclasses.replace(listed, **facts))
            first += count
    return pieces, skipped


def _write(
    folder: pathlib.Path,
    stamp: str,
    pieces: list[Piece[str]],
    skipped: list[SkippedFile],
    parts: list[_Part],
) -> None:
    """Writes the corpus and its stamp."""
    # The stamp must not stand beside the table of another corpus.
    (folder / TABLE).unlink(missing_ok=True)
    (folder / STAMP).write_text(stamp)
    notes = (part.load()["notes"] for part in parts)
    write_corpus(folder, pieces, skipped, notes, folder / PARTS)


def _is_finished(folder: pathlib.Path, stamp: str, overwrite: bool) -> bool:
    """Whether the folder already holds the corpus of this very source."""
    if not (folder / TABLE).exists():
        return False
    try:
        Corpus(folder)
        same = (folder / STAMP).read_text() == stamp
    except (OSError, ValueError):
        same = False
    if not (same or overwrite):
        message = (
            "`folder` must not hold another corpus, or `overwrite` be True. "
            f"Received: folder={str(folder)!r}, which holds one"
        )
        raise hinted(ValueError(message), "--overwrite replaces it.")
    return same


def _stamp(root: pathlib.Path, path: str) -> list[Any]:
    """Path, size and date of a file. They differ when the file has changed."""
    try:
        status = os.stat(root / path)
    except OSError:
        return [path, -1, -1]
    return [path, status.st_size, status.st_mtime_ns]


def _digest(value: Any) -> str:
    text = json.dumps([FORMAT_VERSION, value])
    return hashlib.sha256(text.encode()).hexdigest()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
