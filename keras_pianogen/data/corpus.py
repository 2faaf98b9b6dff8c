"""The notes of many MIDI files as one corpus on disk, memory-mapped.

A corpus is a folder of two files:

- `notes.npy`: the notes of all pieces, one after the other, 10 bytes each
  (`packing.PACKED_DTYPE`), memory-mapped.
- `corpus.json`: a table of the pieces (path, split, composer, title, year,
  first note, number of notes, seconds), and of the files that were skipped,
  each with the reason; what was repaired in the files that were read; and the
  hashes of the notes and of the table itself.

Whoever opens a corpus has both hashes compared, which takes a tenth of a
second for the 7 million notes of MAESTRO. The same pieces give the same bytes:
nothing bears a date. A corpus knows nothing of events: it serves any
vocabulary.

A corpus that takes the place of another one is written among the parts, in
`.parts`. It is the folder's corpus from the moment at which its table takes
the place of the old one; only then are its other files moved.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tokenize
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.packing import PACKED_DTYPE
from keras_pianogen.data.packing import unpack
from keras_pianogen.data.pieces import SPLITS
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.pieces import check_split
from keras_pianogen.files import seal
from keras_pianogen.files import sha256
from keras_pianogen.files import sync
from keras_pianogen.files import unseal
from keras_pianogen.files import whole
from keras_pianogen.midi.reading import MidiReport
from keras_pianogen.notices.hints import hinted

FORMAT = "keras_pianogen corpus"
FORMAT_VERSION = 2
PREPARE_AGAIN = "`pianogen prepare` with --overwrite makes the corpus again."
TABLE = "corpus.json"
NOTES = "notes.npy"
# Hidden in the corpus's folder: a digest of the source, by which
# `prepare_corpus` knows it again, and a folder of parts.
SOURCE = ".source"
PARTS = ".parts"


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
        report: a `MidiReport` of all files together.
        max_ring: see `prepare_corpus`.
        packed: all notes, memory-mapped array of `PACKED_DTYPE`.
        fingerprint: sha256 of the table, and so of the notes too, whose hash
            the table holds. For the record of a run.

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
        self.fingerprint = hashlib.sha256(text).hexdigest()
        self.pieces = [Piece[str](**row) for row in table["pieces"]]
        self.skipped = [SkippedFile(**row) for row in table["skipped"]]
        self.report = MidiReport.from_dict(table["report"])
        self.max_ring: float | None = table["max_ring"]
        self._notes_sha256 = table["notes_sha256"]
        self.packed = _map_notes(self._file(NOTES), table["num_notes"])
        self.verify()

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
            ValueError: a byte has changed since the corpus was written.
        """
        path = self._file(NOTES)
        found = sha256(path)
        if found != self._notes_sha256:
            message = (
                f"{path} is damaged. It must have the sha256 "
                f"{self._notes_sha256}. Received: {found}"
            )
            raise hinted(ValueError(message), PREPARE_AGAIN)

    @property
    def source(self) -> str:
        """The digest of the source that the corpus was made of."""
        return read_source(self._file(SOURCE))

    def _file(self, name: str) -> pathlib.Path:
        """Where a file of the corpus is."""
        new = _new_file(self.folder, self.fingerprint, name)
        return new if new.exists() else self.folder / name


def read_source(path: pathlib.Path) -> str:
    """The digest in a file, or "" if it can't be read."""
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""


def write_corpus(
    folder: pathlib.Path,
    notes: Iterable[NDArray[np.void]],
    *,
    pieces: list[Piece[str]],
    skipped: list[SkippedFile],
    report: MidiReport,
    max_ring: float | None,
    source: str,
) -> Corpus:
    """Writes a corpus, in place of the one that the folder may hold.

    At every moment the folder holds the old corpus or the new one, whole.
    `settle` comes afterwards.

    Args:
        folder: a folder that has a folder of parts.
        notes: notes of all pieces, arrays of `PACKED_DTYPE`, in their order.
        pieces: the pieces, with their first notes and numbers of notes.
        skipped: the files that could not be read.
        report: what was repaired in those that could.
        max_ring: see `prepare_corpus`.
        source: a digest of the source.
    """
    num_notes = sum(piece.num_notes for piece in pieces)
    with whole(folder / PARTS / NOTES) as part:
        _write_notes(part, num_notes, notes)
    table = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "num_notes": num_notes,
        "notes_sha256": sha256(folder / PARTS / NOTES),
        "max_ring": max_ring,
        "report": dataclasses.asdict(report),
        "pieces": [piece.row() for piece in pieces],
        "skipped": [dataclasses.asdict(file) for file in skipped],
    }
    text = seal(table)
    fingerprint = hashlib.sha256(text).hexdigest()
    with whole(_new_file(folder, fingerprint, SOURCE)) as part:
        part.write_text(source)
    new_notes = _new_file(folder, fingerprint, NOTES)
    (folder / PARTS / NOTES).replace(new_notes)
    sync(folder / PARTS)
    with whole(folder / TABLE, folder / PARTS) as part:
        part.write_bytes(text)
    return Corpus(folder)


def settle(corpus: Corpus) -> None:
    """Moves the files of a corpus to their places, and clears its parts."""
    sync(corpus.folder)
    for name in (NOTES, SOURCE):
        new = _new_file(corpus.folder, corpus.fingerprint, name)
        if new.exists():
            new.replace(corpus.folder / name)
    clear_parts(corpus.folder)


def clear_parts(folder: pathlib.Path) -> None:
    """Removes the parts of corpora that are finished, or given up."""
    if (folder / PARTS).exists():
        shutil.rmtree(folder / PARTS)


def _new_file(
    folder: pathlib.Path, fingerprint: str, name: str
) -> pathlib.Path:
    """Where a file of a corpus is before it is moved to its place."""
    return folder / PARTS / f"{fingerprint}{name}"


def _write_notes(
    path: pathlib.Path, num_notes: int, notes: Iterable[NDArray[np.void]]
) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(PACKED_DTYPE),
        "fortran_order": False,
        "shape": (num_notes,),
    }
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for some in notes:
            file.write(some.tobytes())


def _read_table(path: pathlib.Path) -> tuple[bytes, dict[str, Any]]:
    """The table as bytes and as values."""
    try:
        text = path.read_bytes()
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise ValueError(f"format={table['format']!r}")
        if table["version"] == FORMAT_VERSION:
            return text, unseal(text)
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = (
            "`folder` must be a corpus, as `prepare_corpus` writes it. "
            f"Received: {path.parent}, where {path.name} can't be read: {error}"
        )
        hint = "`pianogen prepare SOURCE --out CORPUS` makes a corpus."
        if path.exists():
            hint = PREPARE_AGAIN
        raise hinted(ValueError(message), hint) from error
    message = (
        f"{path} must be of version {FORMAT_VERSION}. "
        f"Received: version={table['version']!r}"
    )
    raise hinted(ValueError(message), PREPARE_AGAIN)


def _map_notes(path: pathlib.Path, num_notes: int) -> NDArray[np.void]:
    try:
        packed = np.load(path, mmap_mode="r")
    except (
        OSError,
        ValueError,
        EOFError,
        SyntaxError,
        tokenize.TokenError,
    ) as error:
        message = f"{path} is damaged, missing or cut short"
        raise hinted(ValueError(message), PREPARE_AGAIN) from error
    if packed.dtype != PACKED_DTYPE or packed.shape != (num_notes,):
        message = (
            f"{path} must hold {num_notes} notes of {PACKED_DTYPE}. "
            f"Received: shape={packed.shape}, dtype={packed.dtype}"
        )
        raise hinted(ValueError(message), PREPARE_AGAIN)
    return packed
