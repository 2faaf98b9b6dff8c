"""Many MIDI files as one corpus on disk, memory-mapped.

A corpus is a folder of two files:

- `notes.npy`: the notes of all pieces, one after the other, 10 bytes each
  (`PACKED_DTYPE`): start and duration in units of 10 microseconds, pitch and
  velocity as in MIDI. Opened by memory-mapping, it costs no memory.
- `corpus.json`: the format's version, where the notes came from, a table of
  the pieces (path, split, composer, title, year, first note, number of notes,
  seconds) and the files that were skipped, each with the reason.

The same source gives the same bytes: pieces are sorted by path and nothing
bears a date. Neither file knows of events: a corpus serves any vocabulary.
"""

import csv
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.midi import NOTE_DTYPE
from keras_pianogen.midi import MidiError
from keras_pianogen.midi import read_notes

SPLITS = ("train", "validation", "test")
FORMAT = "keras_pianogen corpus"
FORMAT_VERSION = 1
# Units of packed times in a second: 10 microseconds each.
UNITS = 100_000
PACKED_DTYPE = np.dtype(
    [("start", "<u4"), ("duration", "<u4"), ("pitch", "u1"), ("velocity", "u1")]
)
FILES_PER_PART = 16
PARTS = ".parts"
STAMP = ".source"


@dataclass(frozen=True)
class Piece:
    """One piece of a corpus.

    Args:
        path: the MIDI file, relative to the source's folder.
        split: `"train"`, `"validation"`, `"test"`, or `""` for undecided.
        composer: who wrote it, or `""`.
        title: what it is called, or `""`.
        year: year of the performance, or 0.
        first_note: index of its first note in the corpus.
        num_notes: number of its notes.
        seconds: time of its last note's end.
    """

    path: str
    split: str = ""
    composer: str = ""
    title: str = ""
    year: int = 0
    first_note: int = 0
    num_notes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
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
        ValueError: if the folder holds no corpus, one of another version, or
            a damaged one.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        text, table = _read_table(self.folder)
        self.pieces = [Piece(**row) for row in table["pieces"]]
        self.skipped = [SkippedFile(**row) for row in table["skipped"]]
        self.packed = _map_notes(self.folder, table["num_notes"])
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

    def packed_notes(self, index: int) -> NDArray[np.void]:
        """Notes of a piece as they lie on disk, array of `PACKED_DTYPE`."""
        piece = self.pieces[index]
        first = piece.first_note
        return self.packed[first : first + piece.num_notes]

    def notes(self, index: int) -> NDArray[np.void]:
        """Notes of a piece, array of `NOTE_DTYPE`, times in seconds."""
        return unpack(self.packed_notes(index))

    def summary(self) -> list[dict[str, Any]]:
        """Pieces, notes and hours of each split, and of all."""
        rows = []
        for name in (*SPLITS, "all"):
            pieces = [p for p in self.pieces if name in (p.split, "all")]
            rows.append(
                {
                    "split": name,
                    "pieces": len(pieces),
                    "notes": sum(p.num_notes for p in pieces),
                    "hours": sum(p.seconds for p in pieces) / 3600,
                }
            )
        return rows

    def verify(self) -> None:
        """Reads all notes and compares their sha256 with the table's.

        Raises:
            ValueError: if a byte has changed.
        """
        found = _sha256(self.folder / "notes.npy")
        if found != self._notes_sha256:
            raise ValueError(
                f"{self.folder / 'notes.npy'} is damaged: its sha256 must be "
                f"{self._notes_sha256}. Received: {found}"
            )

    def __str__(self) -> str:
        lines = [f"{'split':<12}{'pieces':>8}{'notes':>12}{'hours':>8}"]
        for row in self.summary():
            lines.append(
                f"{row['split']:<12}{row['pieces']:>8,}{row['notes']:>12,}"
                f"{row['hours']:>8.1f}"
            )
        return "\n".join(lines)


def pack(notes: NDArray[np.void]) -> NDArray[np.void]:
    """Notes in seconds to `PACKED_DTYPE`, to the nearest 10 microseconds."""
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


def prepare_corpus(
    source: Any,
    folder: str | os.PathLike[str],
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Reads many MIDI files once, into a corpus on disk.

    A file that cannot be read is skipped and named in `Corpus.skipped`.
    Stopped half-way, even by a power cut, the next run goes on with the files
    that were left. Where `folder` already holds the corpus of this source,
    unchanged since, it is opened and nothing is read.

    Args:
        source: a `Maestro`, a folder that holds MAESTRO with its CSV table,
            or any folder of `.mid` and `.midi` files, searched to its depths.
            Also any object with a `folder` and `pieces`, whose rows have
            `midi_filename` and `split`, and may have `composer`, `title` and
            `year`.
        folder: where the corpus is written; made if absent.
        validation_fraction: share of the files for validation, 0 to 1, where
            the source has no splits of its own.
        test_fraction: share of the files for the test, 0 to 1.
        seed: draws these splits, from the files' names. A file keeps its
            split when others come and go, but for those moved so that no
            split is empty.
        workers: number of threads that read; the processor's cores if None.
        progress: called with (files done, files in all) as work goes on.
        overwrite: whether a corpus of another source in `folder` may be
            replaced.

    Returns:
        The `Corpus`.

    Raises:
        ValueError: if no file of the source can be read, or if `folder` holds
            the corpus of another source and `overwrite` is False.
    """
    _check_fractions(validation_fraction, test_fraction)
    root, listed = _list_source(source)
    folder = Path(folder)
    settings = [validation_fraction, test_fraction, seed]
    stamps = [_stamp(root, piece.path) for piece in listed]
    stamp = _digest([settings, [asdict(p) for p in listed], stamps])
    if _is_finished(folder, stamp, overwrite):
        return Corpus(folder)
    parts = folder / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    chunks = [
        _Chunk(root, listed[i : i + FILES_PER_PART], parts, _digest(
            [str(root), stamps[i : i + FILES_PER_PART]]
        ))
        for i in range(0, len(listed), FILES_PER_PART)
    ]  # fmt: skip
    _read_chunks(chunks, workers or _num_cores(), progress)
    pieces, skipped = _gather(chunks)
    if not pieces:
        shutil.rmtree(parts)
        raise ValueError(
            f"`source` must hold MIDI files that can be read. Received: "
            f"{root} with {len(skipped)} files, none readable"
            + (f"; {skipped[0].path}: {skipped[0].reason}" if skipped else "")
        )
    pieces = _draw_splits(pieces, validation_fraction, test_fraction, seed)
    _write(folder, chunks, pieces, skipped)
    (folder / STAMP).write_text(stamp)
    shutil.rmtree(parts)
    return Corpus(folder)


# The source: which files, in which splits.


def _list_source(source: Any) -> tuple[Path, list[Piece]]:
    """The source's folder and its pieces, sorted by path."""
    if hasattr(source, "pieces") and hasattr(source, "folder"):
        root, rows = Path(source.folder), source.pieces
        pieces = [_piece_of_row(row) for row in rows]
    else:
        root = Path(source)
        if not root.is_dir():
            raise ValueError(
                f"`source` must be a folder of MIDI files. Received: {root}"
            )
        tables = sorted(root.glob("maestro-v*.csv"))
        pieces = list(_maestro_rows(tables[-1]) if tables else _walk(root))
    return root, sorted(pieces, key=lambda piece: piece.path)


def _piece_of_row(row: Any) -> Piece:
    fields = row if isinstance(row, Mapping) else _Fields(row)
    split = str(fields["split"])
    if split not in SPLITS:
        raise ValueError(
            f"`split` of a piece must be one of {SPLITS}. Received: "
            f"split={split!r} for {fields['midi_filename']}"
        )
    return Piece(
        path=Path(fields["midi_filename"]).as_posix(),
        split=split,
        composer=str(fields.get("composer", "")),
        title=str(fields.get("title", "")),
        year=int(fields.get("year", 0)),
    )


class _Fields:
    """The attributes of an object, read as a mapping."""

    def __init__(self, row: Any):
        self.row = row

    def __getitem__(self, name: str) -> Any:
        return getattr(self.row, name)

    def get(self, name: str, default: Any) -> Any:
        return getattr(self.row, name, default)


def _maestro_rows(table: Path) -> Iterator[Piece]:
    """The pieces that MAESTRO's own table lists, with its splits."""
    with open(table, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                yield _piece_of_row(
                    {
                        "midi_filename": row["midi_filename"],
                        "split": row["split"],
                        "composer": row["canonical_composer"],
                        "title": row["canonical_title"],
                        "year": row["year"],
                    }
                )
            except KeyError as error:
                raise ValueError(f"{table} lacks the column {error}") from error


def _walk(root: Path) -> Iterator[Piece]:
    for folder, _, names in os.walk(root):
        for name in names:
            if name.lower().endswith((".mid", ".midi")):
                path = Path(folder, name).relative_to(root)
                yield Piece(path.as_posix())


def _draw_splits(
    pieces: list[Piece], validation: float, test: float, seed: int
) -> list[Piece]:
    """Gives a split to the pieces that have none.

    Each file's name is hashed to a number from 0 to 1: the lowest are for
    validation, the next for the test.
    """
    names = {i: Path(p.path).name for i, p in enumerate(pieces) if not p.split}
    luck = {i: _uniform(f"{seed}:{name}") for i, name in names.items()}
    order = sorted(luck, key=lambda i: (luck[i], pieces[i].path))
    room = len(order) - 1  # one is always left to train on
    num_validation = num_test = 0
    if validation:
        num_validation = sum(u < validation for u in luck.values())
        num_validation = min(max(num_validation, 1), room)
    if test:
        num_test = sum(u < validation + test for u in luck.values())
        num_test = min(max(num_test - num_validation, 1), room - num_validation)
        if not num_test and num_validation > 1:
            num_test, num_validation = 1, num_validation - 1
    pieces = list(pieces)
    for rank, i in enumerate(order):
        split = "train"
        if rank < num_validation:
            split = "validation"
        elif rank < num_validation + num_test:
            split = "test"
        pieces[i] = replace(pieces[i], split=split)
    return pieces


def _uniform(text: str) -> float:
    """A number from 0 to 1 that follows from the text alone."""
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:8]) / 2**64


def _check_fractions(validation: float, test: float) -> None:
    if not (0 <= validation and 0 <= test and validation + test < 1):
        raise ValueError(
            "`validation_fraction` and `test_fraction` must be 0 or more and "
            "together below 1. Received: "
            f"validation_fraction={validation}, test_fraction={test}"
        )


# Reading, in parts that survive an interruption.


@dataclass(frozen=True)
class _Chunk:
    """Some files of the source, and the part on disk that keeps their notes.

    The part's name is a digest of the files' paths, sizes and dates, so that
    a part found there is either these files' or nobody's.
    """

    root: Path
    listed: list[Piece]
    parts: Path
    key: str

    @property
    def path(self) -> Path:
        return self.parts / f"{self.key}.npz"

    def read(self) -> None:
        """Reads the files, unless their part is there."""
        if self.load() is not None:
            return
        notes, reasons = [np.empty(0, PACKED_DTYPE)], []
        for piece in self.listed:
            found, reason = _read_file(self.root / piece.path)
            notes.append(found)
            reasons.append(reason)
        with _replacing(self.path) as temporary:
            np.savez(
                temporary,
                notes=np.concatenate(notes),
                counts=[len(n) for n in notes[1:]],
                reasons=np.array(reasons, dtype=str),
            )

    def load(self) -> dict[str, NDArray[Any]] | None:
        """Notes, their counts and the reasons for those that are absent."""
        try:
            with np.load(self.path) as part:
                return dict(part)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None


def _read_file(path: Path) -> tuple[NDArray[np.void], str]:
    """Notes of a file, and why there are none."""
    nothing = np.empty(0, PACKED_DTYPE)
    try:
        notes = read_notes(path)
    except MidiError as error:
        return nothing, str(error)
    except OSError as error:
        return nothing, error.strerror or str(error)
    if not len(notes):
        return nothing, "holds no notes"
    if notes["end"].max() * UNITS >= 2**32:
        return nothing, f"lasts {notes['end'].max() / 3600:.1f} hours"
    return pack(notes), ""


def _read_chunks(
    chunks: list[_Chunk],
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Reads all chunks in threads: symusic and NumPy run side by side.

    Threads, since a file takes about 2 ms: processes would need longer to
    start, and a guarded `__main__` in the user's script.
    """
    total = sum(len(chunk.listed) for chunk in chunks)
    done = 0
    pool = ThreadPoolExecutor(workers)
    try:
        for chunk, _ in zip(chunks, pool.map(_Chunk.read, chunks), strict=True):
            done += len(chunk.listed)
            if progress is not None:
                progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)


def _gather(
    chunks: Iterable[_Chunk],
) -> tuple[list[Piece], list[SkippedFile]]:
    """The table of pieces, and of the files without notes."""
    pieces: list[Piece] = []
    skipped = []
    first = 0
    for chunk in chunks:
        part = _finished_part(chunk)
        starts = np.cumsum(part["counts"]) - part["counts"]
        ends = packed_ends(part["notes"])
        for row, listed in enumerate(chunk.listed):
            count, start = int(part["counts"][row]), int(starts[row])
            if not count:
                reason = str(part["reasons"][row])
                skipped.append(SkippedFile(listed.path, reason))
                continue
            seconds = int(ends[start : start + count].max()) / UNITS
            pieces.append(
                replace(
                    listed, first_note=first, num_notes=count, seconds=seconds
                )
            )
            first += count
    return pieces, skipped


def _finished_part(chunk: _Chunk) -> dict[str, NDArray[Any]]:
    part = chunk.load()
    if part is None:
        raise OSError(f"{chunk.path} was written but cannot be read back")
    return part


# The two files.


def _write(
    folder: Path,
    chunks: list[_Chunk],
    pieces: list[Piece],
    skipped: list[SkippedFile],
) -> None:
    """Writes the notes, then the table: with the table the corpus is whole."""
    num_notes = sum(piece.num_notes for piece in pieces)
    (folder / "corpus.json").unlink(missing_ok=True)
    with _replacing(folder / "notes.npy") as temporary:
        with open(temporary, "wb") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(PACKED_DTYPE),
                "fortran_order": False,
                "shape": (num_notes,),
            }
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in chunks:
                file.write(_finished_part(chunk)["notes"].tobytes())
            file.flush()
            os.fsync(file.fileno())
    table = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "num_notes": num_notes,
        "notes_sha256": _sha256(folder / "notes.npy"),
        "pieces": [asdict(piece) for piece in pieces],
        "skipped": [asdict(file) for file in skipped],
    }
    with _replacing(folder / "corpus.json") as temporary:
        temporary.write_text(json.dumps(table, indent=0) + "\n")


class _replacing:
    """A temporary path beside `path`, that replaces it when all went well."""

    def __init__(self, path: Path):
        self.path = path
        self.temporary = path.with_name(f".{os.getpid()}-{path.name}")

    def __enter__(self) -> Path:
        return self.temporary

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            os.replace(self.temporary, self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def _is_finished(folder: Path, stamp: str, overwrite: bool) -> bool:
    """Whether the folder already holds the corpus of this very source."""
    if not (folder / "corpus.json").exists():
        return False
    try:
        same = (folder / STAMP).read_text() == stamp
        Corpus(folder)
    except (OSError, ValueError):
        same = False
    if not same and not overwrite:
        raise ValueError(
            f"`folder` already holds another corpus: {folder}. Pass "
            "`overwrite=True` to replace it, or another folder"
        )
    return same


def _read_table(folder: Path) -> tuple[bytes, dict[str, Any]]:
    path = folder / "corpus.json"
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ValueError(
            "`folder` must be a corpus that `prepare_corpus` wrote. Received: "
            f"{folder}, without a readable corpus.json"
        ) from error
    try:
        table = json.loads(text)
        if table["format"] != FORMAT:
            raise KeyError("format")
        version = table["version"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no table of a corpus") from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"{path} must have version {FORMAT_VERSION}. Received: "
            f"version={version!r}; prepare the corpus again"
        )
    return text, table


def _map_notes(folder: Path, num_notes: int) -> NDArray[np.void]:
    path = folder / "notes.npy"
    try:
        packed = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is missing or cut short; prepare the corpus again"
        ) from error
    if packed.dtype != PACKED_DTYPE or packed.shape != (num_notes,):
        raise ValueError(
            f"{path} must hold {num_notes} notes of {PACKED_DTYPE}. Received: "
            f"shape={packed.shape}, dtype={packed.dtype}"
        )
    return packed


def _stamp(root: Path, path: str) -> list[Any]:
    """What tells one version of a file from another without reading it."""
    try:
        status = os.stat(root / path)
    except OSError:
        return [path, -1, -1]
    return [path, status.st_size, status.st_mtime_ns]


def _digest(value: Any) -> str:
    text = json.dumps([FORMAT_VERSION, value], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
