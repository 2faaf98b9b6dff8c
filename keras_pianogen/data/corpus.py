"""The notes of many MIDI files as one corpus on disk, memory-mapped.

A corpus is a folder of two files:

- `notes.npy`: the notes of all pieces, one after the other, 10 bytes each
  (`packing.PACKED_DTYPE`). Memory-mapped, so that opening it costs nothing.
- `corpus.json`: a table of the pieces (path, split, composer, title, year,
  first note, number of notes, seconds), and of the files that were skipped,
  each with the reason.

The same pieces give the same bytes: nothing bears a date. A corpus knows
nothing of events: it serves any vocabulary.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.packing import PACKED_DTYPE
from keras_pianogen.data.packing import unpack
from keras_pianogen.data.pieces import SPLITS
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.pieces import check_split
from keras_pianogen.files import sha256
from keras_pianogen.files import whole
from keras_pianogen.hints import hinted

FORMAT = "keras_pianogen corpus"
FORMAT_VERSION = 1
PREPARE_AGAIN = "`pianogen prepare` with --overwrite makes the corpus again."
TABLE = "corpus.json"
NOTES = "notes.npy"


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
        self.pieces = [Piece[str](**row) for row in table["pieces"]]
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
        check_split(name, "name")
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


def write_corpus(
    folder: pathlib.Path,
    pieces: list[Piece[str]],
    skipped: list[SkippedFile],
    notes: Iterable[NDArray[np.void]],
    parts: pathlib.Path,
) -> None:
    """Writes the files of a corpus.

    The table comes last: a folder without one holds no corpus.

    Args:
        folder: an existing folder.
        pieces: the pieces, with their first notes and numbers of notes.
        skipped: the files that could not be read.
        notes: notes of all pieces, arrays of `PACKED_DTYPE`, in their order.
        parts: a folder on the same disk for files that are not yet whole.
    """
    (folder / TABLE).unlink(missing_ok=True)
    num_notes = sum(piece.num_notes for piece in pieces)
    header = {
        "descr": np.lib.format.dtype_to_descr(PACKED_DTYPE),
        "fortran_order": False,
        "shape": (num_notes,),
    }
    with whole(folder / NOTES, parts) as part, part.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for some in notes:
            file.write(some.tobytes())
    table = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "num_notes": num_notes,
        "notes_sha256": sha256(folder / NOTES),
        "pieces": [dataclasses.asdict(piece) for piece in pieces],
        "skipped": [dataclasses.asdict(file) for file in skipped],
    }
    with whole(folder / TABLE, parts) as part:
        part.write_bytes(json.dumps(table, indent=0).encode() + b"\n")


def _read_table(path: pathlib.Path) -> tuple[bytes, dict[str, Any]]:
    """The table as bytes and as values."""
    try:
        text = path.read_bytes()
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise ValueError(f"format={table['format']!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = (
            "`folder` must be a corpus, as `prepare_corpus` writes it. "
            f"Received: {path.parent}, where {path.name} can't be read: {error}"
        )
        hint = "`pianogen prepare SOURCE --out CORPUS` makes a corpus."
        raise hinted(ValueError(message), hint) from error
    if table["version"] != FORMAT_VERSION:
        message = (
            f"{path} must be of version {FORMAT_VERSION}. "
            f"Received: version={table['version']!r}"
        )
        raise hinted(ValueError(message), PREPARE_AGAIN)
    return text, table


def _map_notes(path: pathlib.Path, num_notes: int) -> NDArray[np.void]:
    try:
        packed = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        message = f"{path} is missing or cut short"
        raise hinted(ValueError(message), PREPARE_AGAIN) from error
    if packed.dtype != PACKED_DTYPE or packed.shape != (num_notes,):
        raise ValueError(
            f"{path} must hold {num_notes} notes of {PACKED_DTYPE}. "
            f"Received: shape={packed.shape}, dtype={packed.dtype}"
        )
    return packed
