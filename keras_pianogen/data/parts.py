"""The files of a source read in parts, which survive an interruption.

Files are read in parts of a few files each, in worker processes. The notes of
a part are written at once, so that a run that was stopped, even by `kill -9`,
goes on with the parts that are left.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.corpus import FORMAT_VERSION
from keras_pianogen.data.corpus import SkippedFile
from keras_pianogen.data.packing import UNITS
from keras_pianogen.data.packing import packed_ends
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.workers import Found
from keras_pianogen.data.workers import Workers
from keras_pianogen.data.workers import read_file
from keras_pianogen.files import whole
from keras_pianogen.midi.reading import MidiReport

FILES_A_PART = 16
# Starting a process takes as long as reading this many files.
FILES_A_PROCESS = 128

Progress = Callable[[int, int], object]


@dataclasses.dataclass(frozen=True)
class Part:
    """Some files of the source, and their notes on disk once they are read.

    The part's name is a digest of its files' paths, sizes and dates, and of
    how they are read. So a file on disk of that name holds the notes of these
    files.
    """

    root: pathlib.Path
    listed: list[Piece[str]]
    path: pathlib.Path

    def read(self, read: Callable[[pathlib.Path], Found]) -> None:
        """Reads the files with `read`, unless their notes are on disk."""
        if self._load() is not None:
            return
        found = [read(self.root / piece.path) for piece in self.listed]
        reports = [dataclasses.asdict(file.report) for file in found]
        with whole(self.path) as part:
            np.savez(
                part,
                notes=np.concatenate([file.notes for file in found]),
                counts=np.array([len(file.notes) for file in found]),
                reasons=np.array([file.reason for file in found]),
                reports=np.array([json.dumps(report) for report in reports]),
            )

    def load(self) -> dict[str, NDArray[Any]]:
        """All notes, and of each file how many, why if none, its report."""
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


def make_parts(
    root: pathlib.Path,
    listed: list[Piece[str]],
    stamps: list[Any],
    folder: pathlib.Path,
    settings: dict[str, Any],
) -> list[Part]:
    """The parts of a source. `folder` is made for them.

    Args:
        root: the source's folder.
        listed: the files.
        stamps: for each file, what differs when it has changed.
        folder: where the parts are written.
        settings: arguments of `read_notes`.
    """
    folder.mkdir(exist_ok=True)
    parts = []
    for i in range(0, len(listed), FILES_A_PART):
        some = slice(i, i + FILES_A_PART)
        name = digest([str(root.resolve()), stamps[some], settings])
        parts.append(Part(root, listed[some], folder / f"{name}.npz"))
    return parts


def read_parts(
    parts: list[Part],
    settings: dict[str, Any],
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Reads all parts, in as many processes as are worth starting."""
    total = sum(len(part.listed) for part in parts)
    workers = workers or _num_cores()
    workers = max(1, min(workers, -(-total // FILES_A_PROCESS)))
    done = 0
    with (
        Workers(**settings) as processes,
        ThreadPoolExecutor(workers) as pool,
    ):

        def read(path: pathlib.Path) -> Found:
            if workers > 1:
                return processes.read(path)
            return read_file(path, **settings)

        try:
            jobs = pool.map(lambda part: part.read(read), parts)
            for part, _ in zip(parts, jobs, strict=True):
                done += len(part.listed)
                if progress is not None:
                    progress(done, total)
        finally:
            pool.shutdown(cancel_futures=True)


def collect(
    parts: list[Part],
) -> tuple[list[Piece[str]], list[SkippedFile], MidiReport]:
    """The pieces, the files that gave none, and the report of all files."""
    pieces: list[Piece[str]] = []
    skipped = []
    report = MidiReport()
    first = 0
    for part in parts:
        found = part.load()
        ends = packed_ends(found["notes"])
        for text in found["reports"].tolist():
            report += MidiReport.from_dict(json.loads(text))
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
    return pieces, skipped, report


def digest(value: Any) -> str:
    """A SHA-256 of a value of JSON, for this version of the corpora."""
    text = json.dumps([FORMAT_VERSION, value])
    return hashlib.sha256(text.encode()).hexdigest()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
