"""Many MIDI files into one corpus on disk."""

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import FORMAT
from keras_pianogen.data.corpus import FORMAT_VERSION
from keras_pianogen.data.corpus import NOTES
from keras_pianogen.data.corpus import PACKED_DTYPE
from keras_pianogen.data.corpus import STAMP
from keras_pianogen.data.corpus import TABLE
from keras_pianogen.data.corpus import UNITS
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.corpus import Piece
from keras_pianogen.data.corpus import SkippedFile
from keras_pianogen.data.corpus import _check_split
from keras_pianogen.data.corpus import pack
from keras_pianogen.data.corpus import packed_ends
from keras_pianogen.files import sha256
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import read_notes

# Hidden files: what was read so far, and what the whole was made from.
PARTS = ".parts"


FILES_A_PART = 16
# Fewer files than this are read sooner than a process has started.
FILES_A_PROCESS = 128
SERVE = "from keras_pianogen.data.preparing import _serve; _serve()"


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

    A file that cannot be read is skipped and named in `Corpus.skipped`.
    Stopped half-way, even by `kill -9`, the next run goes on with the files
    that were left. Where `folder` already holds the corpus of this source,
    unchanged since, it is opened and nothing is read.

    Args:
        source: a `Maestro`, a folder with MAESTRO's CSV table in it, or any
            folder of `.mid` and `.midi` files, searched to its depths. Any
            object will do that has a `folder` and `pieces`, each with `path`,
            `split`, `composer`, `title` and `year`.
        folder: where the corpus is written; made if absent.
        validation_fraction: share of the files for validation, 0 to 1, where
            the source has no splits of its own.
        test_fraction: share of the files for the test, 0 to 1.
        seed: draws these splits, from the files' names alone. A file keeps
            its split when others come and go; but where a split would be
            empty and there are three files or more, one is moved there.
        workers: processes that read; the machine's cores if None.
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
    settings = [validation_fraction, test_fraction, seed]
    listing = [dataclasses.astuple(piece) for piece in listed]
    stamp = _digest([settings, listing, stamps])
    if _is_finished(folder, stamp, overwrite):
        return Corpus(folder)
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    parts = []
    for i in range(0, len(listed), FILES_A_PART):
        some = slice(i, i + FILES_A_PART)
        name = _digest([str(root.resolve()), stamps[some]])
        parts.append(_Part(root, listed[some], folder / PARTS / f"{name}.npz"))
    _read(parts, workers or _num_cores(), progress)
    pieces, skipped = _tables(parts)
    if pieces:
        pieces = _draw_splits(pieces, validation_fraction, test_fraction, seed)
        _write(folder, stamp, parts, pieces, skipped)
    shutil.rmtree(folder / PARTS)
    if not pieces:
        raise ValueError(
            "`source` must hold MIDI files that can be read. Received: "
            f"{root}, with {len(skipped)} files"
            + "".join(f"; {s.path}: {s.reason}" for s in skipped[:3])
        )
    return Corpus(folder)


def _list_source(source: Any) -> tuple[pathlib.Path, list[Piece]]:
    """The source's folder and its pieces, sorted by path."""
    if hasattr(source, "pieces") and hasattr(source, "folder"):
        root = pathlib.Path(source.folder)
        pieces = [_piece(root, row) for row in source.pieces]
    else:
        root = pathlib.Path(source)
        if not root.is_dir():
            raise ValueError(
                f"`source` must be a folder of MIDI files. Received: {root}"
            )
        tables = sorted(root.glob("maestro-v*.csv"))
        pieces = list(_maestro(tables[-1]) if tables else _walk(root))
    return root, sorted(pieces, key=lambda piece: piece.path)


def _piece(root: pathlib.Path, row: Any) -> Piece:
    path = pathlib.Path(row.path)
    for folder in (root, root.resolve()):
        if path.is_relative_to(folder):
            path = path.relative_to(folder)
    split = _check_split(row.split, path)
    return Piece(path.as_posix(), split, row.composer, row.title, row.year)


def _maestro(table: pathlib.Path) -> Iterator[Piece]:
    """The pieces in MAESTRO's own table, with its published splits."""
    with open(table, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                yield Piece(
                    path=row["midi_filename"],
                    split=_check_split(row["split"], table),
                    composer=row["canonical_composer"],
                    title=row["canonical_title"],
                    year=int(row["year"]),
                )
            except KeyError as error:
                raise ValueError(f"{table} lacks the column {error}") from error


def _walk(root: pathlib.Path) -> Iterator[Piece]:
    for folder, _, names in os.walk(root):
        for name in names:
            if name.lower().endswith((".mid", ".midi")):
                path = pathlib.Path(folder, name).relative_to(root)
                yield Piece(path.as_posix())


def _check_fractions(validation: float, test: float) -> None:
    if not (0 <= validation and 0 <= test and validation + test < 1):
        raise ValueError(
            "`validation_fraction` and `test_fraction` must be 0 or more and "
            "together below 1. Received: "
            f"validation_fraction={validation}, test_fraction={test}"
        )


def _draw_splits(
    pieces: list[Piece], validation: float, test: float, seed: int
) -> list[Piece]:
    """Gives a split to the pieces that have none.

    A file's name and the seed make a number from 0 to 1: the lowest are for
    validation, the next for the test.
    """
    drawn = {
        i: _uniform(f"{seed}:{pathlib.PurePosixPath(piece.path).name}")
        for i, piece in enumerate(pieces)
        if not piece.split
    }
    order = sorted(drawn, key=lambda i: (drawn[i], pieces[i].path))
    num_validation = num_test = 0
    room = max(len(order) - 1, 0)  # one is always left to train on
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


@dataclasses.dataclass(frozen=True)
class _Part:
    """Some files of the source, and their notes on disk once they are read.

    The part is named by its files' paths, sizes and dates: what lies there
    under its name is theirs.
    """

    root: pathlib.Path
    listed: list[Piece]
    path: pathlib.Path

    def read(self, read: "_Read") -> None:
        """Reads the files with `read`, unless their notes are there."""
        if self._load() is not None:
            return
        found = [read(self.root / piece.path) for piece in self.listed]
        with _new(self.path, self.path.parent) as file:
            np.savez(
                file,
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


# Packed notes of a file, and why there are none.
_Found = tuple[NDArray[np.void], str]
_Read = Callable[[pathlib.Path], _Found]


def _read_file(path: pathlib.Path) -> _Found:
    nothing = np.empty(0, PACKED_DTYPE)
    try:
        notes, _ = read_notes(path, return_report=True)
    except MidiError as error:
        return nothing, str(error).removeprefix(str(path)).lstrip(": ")
    except OSError as error:
        return nothing, error.strerror or str(error)
    if not len(notes):
        return nothing, "holds no notes"
    if notes["end"].max() * UNITS >= 2**32:
        return nothing, f"lasts {notes['end'].max() / 3600:.0f} hours"
    return pack(notes), ""


def _read(parts: list[_Part], workers: int, progress: Progress | None) -> None:
    """Reads all parts, in as many processes as are worth starting."""
    total = sum(len(part.listed) for part in parts)
    workers = min(workers, -(-total // FILES_A_PROCESS))
    done = 0
    with _Readers(workers) as read, ThreadPoolExecutor(workers or 1) as pool:
        try:
            jobs = pool.map(lambda part: part.read(read), parts)
            for part, _ in zip(parts, jobs, strict=True):
                done += len(part.listed)
                if progress is not None:
                    progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)


class _Readers:
    """Processes that read files, one for each thread that asks.

    They are plain children that take paths on a pipe, not `multiprocessing`:
    that runs the user's script again, or forks a process in which a backend
    may have threads. A file that kills its reader is skipped like any other.
    """

    def __init__(self, workers: int):
        self.workers = workers
        self.own = threading.local()
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Read:
        return self.read if self.workers > 1 else _read_file

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.communicate()

    def read(self, path: pathlib.Path) -> _Found:
        process = getattr(self.own, "process", None) or self._start()
        questions, answers = process.stdin, process.stdout
        if process.poll() is not None or not (questions and answers):
            return _read_file(path)  # no process can be had here
        try:
            questions.write(json.dumps(os.fspath(path)).encode() + b"\n")
            questions.flush()
            count, reason = json.loads(answers.readline())
            data = answers.read(count * PACKED_DTYPE.itemsize)
            return np.frombuffer(data, PACKED_DTYPE), reason
        except (OSError, ValueError):
            self.own.process = None
            code = process.wait()
            reason = f"ended the process that read it (exit code {code})"
            return np.empty(0, PACKED_DTYPE), reason

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is the parent's to handle
        )
        self.own.process = process
        self.processes.append(process)
        if process.stdout is None or not process.stdout.readline():
            process.wait()
        return process


def _serve() -> None:
    """Answers each path on standard input with the file's packed notes."""
    answers = sys.stdout.buffer
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        notes, reason = _read_file(pathlib.Path(json.loads(line)))
        answers.write(json.dumps([len(notes), reason]).encode() + b"\n")
        answers.write(notes.tobytes())
        answers.flush()


def _tables(parts: list[_Part]) -> tuple[list[Piece], list[SkippedFile]]:
    """The pieces, and the files that gave none."""
    pieces: list[Piece] = []
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
    parts: list[_Part],
    pieces: list[Piece],
    skipped: list[SkippedFile],
) -> None:
    """Writes the notes, then the table: there is no corpus without one."""
    (folder / TABLE).unlink(missing_ok=True)
    num_notes = sum(piece.num_notes for piece in pieces)
    header = {
        "descr": np.lib.format.dtype_to_descr(PACKED_DTYPE),
        "fortran_order": False,
        "shape": (num_notes,),
    }
    with _new(folder / NOTES, folder / PARTS) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.load()["notes"].tobytes())
    (folder / STAMP).write_text(stamp)
    table = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "num_notes": num_notes,
        "notes_sha256": sha256(folder / NOTES),
        "pieces": [dataclasses.asdict(piece) for piece in pieces],
        "skipped": [dataclasses.asdict(file) for file in skipped],
    }
    with _new(folder / TABLE, folder / PARTS) as file:
        file.write(json.dumps(table, indent=0).encode() + b"\n")


@contextlib.contextmanager
def _new(path: pathlib.Path, parts: pathlib.Path) -> Iterator[IO[bytes]]:
    """A file that takes its place at `path` once it is whole and on disk."""
    temporary = parts / f"{os.getpid()}-{path.name}"
    with open(temporary, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


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
        raise ValueError(
            "`folder` must not hold another corpus, or `overwrite` be True. "
            f"Received: folder={str(folder)!r}, which holds one"
        )
    return same


def _stamp(root: pathlib.Path, path: str) -> list[Any]:
    """What tells one version of a file from another without reading it."""
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
