"""Many MIDI files as one corpus on disk, memory-mapped.

A corpus is a folder of two files:

- `notes.npy`: the notes of all pieces, one after the other, 10 bytes each
  (`PACKED_DTYPE`): start and duration in units of 10 microseconds, pitch and
  velocity as in MIDI. Memory-mapped, so that opening it costs nothing.
- `corpus.json`: a table of the pieces (path, split, composer, title, year,
  first note, number of notes, seconds), and of the files that were skipped,
  each with the reason.

The same source gives the same bytes: pieces are sorted by path and nothing
bears a date. A corpus knows nothing of events: it serves any vocabulary.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.files import sha256
from keras_pianogen.notes import NOTE_DTYPE

SPLITS = ("train", "validation", "test")
FORMAT = "keras_pianogen corpus"
FORMAT_VERSION = 1
UNITS = 100_000  # units of packed times in a second: 10 microseconds each
PACKED_DTYPE = np.dtype(
    [("start", "<u4"), ("duration", "<u4"), ("pitch", "u1"), ("velocity", "u1")]
)

TABLE = "corpus.json"
NOTES = "notes.npy"
STAMP = ".source"


@dataclasses.dataclass(frozen=True)
class Piece:
    """One piece of a corpus.

    Args:
        path: the MIDI file, relative to the source's folder.
        split: `"train"`, `"validation"` or `"test"`.
        composer: who wrote it, or `""`.
        title: what it is called, or `""`.
        year: year of the performance, or 0.
        first_note: index of its first note in the corpus.
        num_notes: number of its notes.
        seconds: time at which its last note ends.
    """

    path: str
    split: str = ""
    composer: str = ""
    title: str = ""
    year: int = 0
    first_note: int = 0
    num_notes: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class SkippedFile:
    """A file that could not be read, and why."""

    path: str
    reason: str


class Corpus:
    """A prepared corpus.

    Args:
        folder: folder that `prepare_corpus` wrote.

    Attributes:
        pieces: list of `Piece`, sorted by path.
        skipped: list of `SkippedFile`.
        packed: all notes, memory-mapped array of `PACKED_DTYPE`.
        fingerprint: sha256 of the contents, for the record of a run.

    Raises:
        ValueError: the folder holds no corpus, one of another version, or a
            damaged one.

    Examples:
        ```python
        corpus = Corpus("corpora/maestro")
        print(corpus)
        notes = corpus.notes(corpus.split("validation")[0])
        ```
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = pathlib.Path(folder)
        text, table = _read_table(self.folder / TABLE)
        self.pieces = [Piece(**row) for row in table["pieces"]]
        self.skipped = [SkippedFile(**row) for row in table["skipped"]]
        self.packed = _map_notes(self.folder / NOTES, table["num_notes"])
        self.fingerprint = hashlib.sha256(text).hexdigest()
        self._notes_sha256 = table["notes_sha256"]

    def __len__(self) -> int:
        return len(self.pieces)

    def split(self, name: str) -> NDArray[np.int64]:
        """Indices of the pieces of a split.

        Args:
            name: `"train"`, `"validation"` or `"test"`.

        Raises:
            ValueError: for any other name.
        """
        if name not in SPLITS:
            raise ValueError(
                f"`name` must be one of {SPLITS}. Received: name={name!r}"
            )
        return np.flatnonzero([piece.split == name for piece in self.pieces])

    def notes(self, index: int) -> NDArray[np.void]:
        """Notes of a piece, array of `NOTE_DTYPE`, times in seconds."""
        return unpack(self.packed_notes(index))

    def packed_notes(self, index: int) -> NDArray[np.void]:
        """Notes of a piece as they lie on disk, array of `PACKED_DTYPE`."""
        piece = self.pieces[index]
        return self.packed[piece.first_note :][: piece.num_notes]

    def summary(self) -> list[dict[str, Any]]:
        """Pieces, notes and hours of each split, and of all."""
        rows = []
        for name in (*SPLITS, "all"):
            pieces = [p for p in self.pieces if name in (p.split, "all")]
            notes = sum(piece.num_notes for piece in pieces)
            hours = sum(piece.seconds for piece in pieces) / 3600
            row = dict(split=name, pieces=len(pieces), notes=notes, hours=hours)
            rows.append(row)
        return rows

    def __str__(self) -> str:
        lines = [f"{'split':<12}{'pieces':>8}{'notes':>12}{'hours':>8}"]
        for row in self.summary():
            lines.append(
                f"{row['split']:<12}{row['pieces']:>8,}{row['notes']:>12,}"
                f"{row['hours']:>8.1f}"
            )
        return "\n".join(lines)

    def verify(self) -> None:
        """Reads all notes and compares their sha256 with the table's.

        Raises:
            ValueError: a byte has changed.
        """
        found = sha256(self.folder / NOTES)
        if found != self._notes_sha256:
            raise ValueError(
                f"{self.folder / NOTES} must have the sha256 "
                f"{self._notes_sha256}. Received: {found}"
            )


def pack(notes: NDArray[np.void]) -> NDArray[np.void]:
    """Notes in seconds to `PACKED_DTYPE`, to the nearest 10 microseconds.

    Args:
        notes: array of `NOTE_DTYPE`, times up to 42,949 seconds.
    """
    start = np.rint(notes["start"] * UNITS)
    packed = np.empty(len(notes), PACKED_DTYPE)
    packed["start"] = start
    packed["duration"] = np.rint(notes["end"] * UNITS) - start
    packed["pitch"] = notes["pitch"]
    packed["velocity"] = notes["velocity"]
    return packed


def unpack(packed: NDArray[np.void]) -> NDArray[np.void]:
    """The reverse of `pack`: array of `NOTE_DTYPE`, times in seconds."""
    notes = np.empty(len(packed), NOTE_DTYPE)
    notes["start"] = packed["start"] / UNITS
    notes["end"] = packed_ends(packed) / UNITS
    notes["pitch"] = packed["pitch"]
    notes["velocity"] = packed["velocity"]
    return notes


def packed_ends(packed: NDArray[np.void]) -> NDArray[np.int64]:
    """When packed notes end, in units of 10 microseconds."""
    return packed["start"].astype(np.int64) + packed["duration"]


# The source: which files, in which splits.


def _check_split(split: str, where: pathlib.Path) -> str:
    if split not in SPLITS:
        raise ValueError(
            f"`split` of a piece must be one of {SPLITS}. "
            f"Received: split={split!r} in {where}"
        )
    return split


# Reading, in parts that survive an interruption.


# The files on disk.


def _read_table(path: pathlib.Path) -> tuple[bytes, dict[str, Any]]:
    """The table as bytes and as values."""
    try:
        text = path.read_bytes()
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise ValueError(f"format={table['format']!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "`folder` must be a corpus, as `prepare_corpus` writes it. "
            f"Received: {path.parent}, where {path.name} can't be read: {error}"
        ) from error
    if table["version"] != FORMAT_VERSION:
        raise ValueError(
            f"{path} must be of version {FORMAT_VERSION}: prepare the corpus "
            f"again. Received: version={table['version']!r}"
        )
    return text, table


def _map_notes(path: pathlib.Path, num_notes: int) -> NDArray[np.void]:
    try:
        packed = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is missing or cut short: prepare the corpus again"
        ) from error
    if packed.dtype != PACKED_DTYPE or packed.shape != (num_notes,):
        raise ValueError(
            f"{path} must hold {num_notes} notes of {PACKED_DTYPE}. "
            f"Received: shape={packed.shape}, dtype={packed.dtype}"
        )
    return packed
