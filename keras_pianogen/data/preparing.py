"""Many MIDI files read once, into a corpus on disk.

The same source gives the same corpus, byte for byte: pieces are sorted by
path. One process at a time prepares in a folder.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import filelock

from keras_pianogen.data.corpus import PARTS
from keras_pianogen.data.corpus import SOURCE
from keras_pianogen.data.corpus import TABLE
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.corpus import SkippedFile
from keras_pianogen.data.corpus import clear_parts
from keras_pianogen.data.corpus import read_source
from keras_pianogen.data.corpus import settle
from keras_pianogen.data.corpus import write_corpus
from keras_pianogen.data.folders import MidiFolder
from keras_pianogen.data.labels import with_labels
from keras_pianogen.data.parts import Part
from keras_pianogen.data.parts import Progress
from keras_pianogen.data.parts import collect
from keras_pianogen.data.parts import digest
from keras_pianogen.data.parts import make_parts
from keras_pianogen.data.parts import read_parts
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.pieces import check_split
from keras_pianogen.data.pieces import list_pieces
from keras_pianogen.files import held
from keras_pianogen.midi.reading import check_max_ring
from keras_pianogen.notices.hints import hinted

DOWNLOAD = (
    "Give a folder with .mid or .midi files in it. With --download, "
    "`pianogen prepare` downloads MAESTRO there."
)


def prepare_corpus(
    source: Any,
    folder: str | os.PathLike[str],
    *,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    max_ring: float | None = None,
    labels: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Reads many MIDI files once, into a corpus on disk.

    A file that cannot be read is skipped and named in `Corpus.skipped`. After
    an interruption, even by `kill -9`, the next call goes on with the files
    that are left. If `folder` already holds the corpus of this source, and the
    source has not changed since, the corpus is opened and nothing is read; if
    that corpus is damaged, it is made again.

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
        max_ring: seconds, above 0, for which the pedal holds a note at most
            after its key is released. Defaults to `None`, no limit.
        labels: a CSV file of words about the pieces, see `read_labels`.
            Defaults to `None`, no file.
        workers: number of processes that read. Defaults to the machine's
            cores.
        progress: called with (files done, files in all) as work goes on.
        overwrite: whether the corpus of another source in `folder` may be
            replaced. It is there until the new one is whole.

    Returns:
        The `Corpus`.

    Raises:
        ValueError: no file of the source can be read; or `labels` is no such
            file, or names none of the source's; or `folder` holds the
            corpus of another source, or a damaged one, and `overwrite` is
            False; or another process prepares a corpus there.

    Examples:
        ```python
        corpus = prepare_corpus("my_midi_files", "corpora/mine")
        print(corpus, *corpus.skipped, sep="\\n")
        ```
    """
    _check_fractions(validation_fraction, test_fraction)
    check_max_ring(max_ring)
    files = _Source.of(source)
    if labels is not None:
        labelled = with_labels(files.pieces, pathlib.Path(labels))
        files = dataclasses.replace(files, pieces=labelled)
    folder = pathlib.Path(folder)
    stamps = files.stamps()
    splits = validation_fraction, test_fraction, seed
    reading = {} if max_ring is None else {"max_ring": max_ring}
    made_of = digest([splits, reading, files.listed(), stamps])
    with _held(folder):
        corpus = _find_finished(folder, made_of, overwrite)
        if corpus is None:
            parts = make_parts(
                files.root, files.pieces, stamps, folder / PARTS, reading
            )
            read_parts(parts, reading, workers, progress)
            corpus = _write(folder, files, parts, splits, max_ring, made_of)
        settle(corpus)
        return corpus


# The source: which files, in which splits.


@dataclasses.dataclass(frozen=True)
class _Source:
    """What there is to read.

    Args:
        root: the source's folder.
        pieces: its pieces, sorted by path.
        skipped: what lies in the folder and is not read.
    """

    root: pathlib.Path
    pieces: list[Piece[str]]
    skipped: list[SkippedFile]

    @classmethod
    def of(cls, source: Any) -> "_Source":
        """Lists what `prepare_corpus` takes."""
        if hasattr(source, "pieces") and hasattr(source, "folder"):
            root, pieces = pathlib.Path(source.folder), source.pieces
            for piece in pieces:
                check_split(piece.split)
            return cls(root, _relative(root, pieces), [])
        root = pathlib.Path(source)
        if not root.is_dir():
            message = (
                f"`source` must be a folder of MIDI files. Received: {root}"
            )
            raise hinted(ValueError(message), DOWNLOAD)
        pieces, passed_over = list_pieces(root)
        skipped = [
            SkippedFile(path.relative_to(root).as_posix(), reason)
            for path, reason in passed_over.items()
        ]
        return cls(root, _relative(root, pieces), skipped)

    def listed(self) -> list[Any]:
        """What there is to read, and what is said of it, as values of JSON."""
        pieces = [list(piece.row().values()) for piece in self.pieces]
        return [pieces, [dataclasses.astuple(x) for x in self.skipped]]

    def stamps(self) -> list[Any]:
        """Path, size and date of each file: they differ when it changes."""
        return [_stamp(self.root, piece.path) for piece in self.pieces]


def _stamp(root: pathlib.Path, path: str) -> list[Any]:
    try:
        status = os.stat(root / path)
    except OSError:
        return [path, -1, -1]
    return [path, status.st_size, status.st_mtime_ns]


def _relative(root: pathlib.Path, pieces: Iterable[Any]) -> list[Piece[str]]:
    """Pieces as a corpus lists them before they are read, sorted by path."""
    listed = []
    for piece in pieces:
        path = pathlib.Path(piece.path)
        for folder in (root, root.resolve()):
            if path.is_relative_to(folder):
                path = path.relative_to(folder)
        fields = piece.split, piece.composer, piece.title, piece.year
        labels = getattr(piece, "labels", {})
        listed.append(Piece(path.as_posix(), *fields, labels=labels))
    return sorted(listed, key=lambda piece: piece.path)


def _check_fractions(validation: float, test: float) -> None:
    if not (0 <= validation and 0 <= test and validation + test < 1):
        raise ValueError(
            "`validation_fraction` and `test_fraction` must be 0 or more and "
            "together below 1. Received: "
            f"validation_fraction={validation}, test_fraction={test}"
        )


def _nothing_read(skipped: list[SkippedFile], root: pathlib.Path) -> ValueError:
    message = (
        "`source` must hold MIDI files that can be read. Received: "
        f"{root}, with {len(skipped)} files"
        + "".join(f"; {s.path}: {s.reason}" for s in skipped[:3])
        + f"; other files: {MidiFolder(root).found_instead()}"
    )
    return hinted(ValueError(message), DOWNLOAD)


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


# The folder.


def _write(
    folder: pathlib.Path,
    files: _Source,
    parts: list[Part],
    splits: tuple[float, float, int],
    max_ring: float | None,
    made_of: str,
) -> Corpus:
    """Writes the corpus of parts that have been read."""
    pieces, skipped, report = collect(parts)
    skipped += files.skipped
    if not pieces:
        clear_parts(folder)
        raise _nothing_read(skipped, files.root)
    return write_corpus(
        folder,
        (part.load()["notes"] for part in parts),
        pieces=_draw_splits(pieces, *splits),
        skipped=skipped,
        report=report,
        max_ring=max_ring,
        source=made_of,
    )


def _find_finished(
    folder: pathlib.Path, source: str, overwrite: bool
) -> Corpus | None:
    """The corpus in the folder, if it is whole and of this very source.

    A damaged corpus of this source is made again.

    Raises:
        ValueError: the folder holds the corpus of another source, or one that
            can't be read, and `overwrite` is False.
    """
    if not (folder / TABLE).exists():
        return None
    try:
        corpus = Corpus(folder)
    except ValueError:
        if overwrite or read_source(folder / SOURCE) == source:
            return None
        raise
    if corpus.source == source:
        return corpus
    if overwrite:
        return None
    message = (
        "`folder` must not hold another corpus, or `overwrite` be True. "
        f"Received: folder={str(folder)!r}, which holds one"
    )
    raise hinted(ValueError(message), "--overwrite replaces it.")


@contextlib.contextmanager
def _held(folder: pathlib.Path) -> Iterator[None]:
    """Makes the folder, and keeps other processes from preparing in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(folder))
        except filelock.Timeout as error:
            message = (
                "`folder` must not be in use. Received: "
                f"folder={str(folder)!r}, where another process prepares a "
                "corpus"
            )
            hint = "Wait for it, or give another folder."
            raise hinted(ValueError(message), hint) from error
        yield
