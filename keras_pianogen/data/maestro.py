"""MAESTRO v3.0.0: found in a folder, or downloaded; its pieces and splits.

1,276 performances of the International Piano-e-Competition as MIDI, under
CC BY-NC-SA 4.0. Durations are in seconds. This module knows files and their
metadata; what is in a file is for `midi.py` to read.

Reference:
    - [Hawthorne et al. (2019), Enabling Factorized Piano Music Modeling and
      Generation with the MAESTRO Dataset](https://arxiv.org/abs/1810.12247)
    - [The data set's page](https://magenta.tensorflow.org/datasets/maestro)
"""

import csv
import dataclasses
import hashlib
import http.client
import os
import pathlib
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from keras_pianogen import files

NAME = "maestro-v3.0.0"
URL = (
    "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/"
    "maestro-v3.0.0-midi.zip"
)
# As the data set's page publishes it.
SHA256 = "70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c"
SPLITS = ("train", "validation", "test")
COLUMNS = (
    "canonical_composer",
    "canonical_title",
    "split",
    "year",
    "midi_filename",
    "duration",
)

PAPER_SPLIT = {"train": 70, "validation": 15, "test": 15}  # files

# What an archive may hold; MAESTRO's own is 1,280 files of 81 MB in all.
MAX_BYTES = 1_000_000_000
MAX_MEMBERS = 20_000
MAX_RATIO = 100  # bytes unpacked for each byte packed
TIMEOUT = 60.0  # seconds without an answer

Progress = Callable[[int, int | None], object]


@dataclasses.dataclass(frozen=True)
class Piece:
    """One performance of MAESTRO.

    Args:
        composer: The composer's name.
        title: The composition's title.
        split: `"train"`, `"validation"` or `"test"`.
        year: The year of the performance, 2004 to 2018.
        path: The MIDI file.
        duration: The performance's length in seconds.
    """

    composer: str
    title: str
    split: str
    year: int
    path: pathlib.Path
    duration: float


class Maestro:
    """MAESTRO's performances, as a table.

    Args:
        folder: The folder that holds `maestro-v3.0.0.csv`, or one above it.
        pieces: The pieces to hold. Defaults to all that the metadata lists,
            in its order.

    Attributes:
        folder: The folder that holds `maestro-v3.0.0.csv`.
        pieces: The pieces, a tuple of `Piece`.

    Raises:
        FileNotFoundError: The metadata or a MIDI file is missing.
        ValueError: The metadata is not a table with MAESTRO's columns.

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
        pieces: Iterable[Piece] | None = None,
    ) -> None:
        metadata = _find_metadata(pathlib.Path(folder))
        self.folder = metadata.parent
        self.pieces = tuple(
            _read_metadata(metadata) if pieces is None else pieces
        )
        _check_files(self.pieces)

    def __len__(self) -> int:
        return len(self.pieces)

    def __repr__(self) -> str:
        return f"Maestro({str(self.folder)!r}, {len(self):,} pieces)"

    def split(self, name: str) -> tuple[Piece, ...]:
        """The pieces of one split.

        Args:
            name: `"train"`, `"validation"` or `"test"`.

        Returns:
            The pieces, in the metadata's order.
        """
        _check_split(name)
        return tuple(piece for piece in self.pieces if piece.split == name)

    def paper_subset(self, seed: int = 0) -> "Maestro":
        """A hundred files, split 70/15/15, as in the paper built here.

        Departures from the paper: it does not name its files, so they are
        drawn by `seed`; and each split is drawn from the published split of
        its name, so that nothing of the published test split is trained on.
        (The published splits keep compositions apart, but for five titles
        that stand in two of them.)

        Args:
            seed: Whole number. One seed gives the same files on any machine
                and with any version of any library.

        Returns:
            A `Maestro` of 70 train, 15 validation and 15 test pieces.
        """
        drawn: set[Piece] = set()
        for name, count in PAPER_SPLIT.items():
            pieces = self.split(name)
            if len(pieces) < count:
                raise ValueError(
                    f"The paper's subset needs {count} pieces of the split "
                    f"{name!r}. Received: {self!r} with {len(pieces)}."
                )
            drawn.update(sorted(pieces, key=self._lot(seed))[:count])
        kept = [piece for piece in self.pieces if piece in drawn]
        return Maestro(self.folder, pieces=kept)

    def _lot(self, seed: int) -> Callable[[Piece], bytes]:
        """A piece's lot: its place in the order that `seed` draws."""

        def lot(piece: Piece) -> bytes:
            name = piece.path.relative_to(self.folder).as_posix()
            return hashlib.sha256(f"{seed} {name}".encode()).digest()

        return lot

    def summary(self) -> str:
        """Performances and hours of each split, as text.

        Returns:
            A line for each split and one for their total.
        """
        rows = [(name, self.split(name)) for name in SPLITS]
        lines = [f"{'split':<12}{'performances':>12}{'hours':>8}"]
        for name, pieces in [*rows, ("total", self.pieces)]:
            hours = sum(piece.duration for piece in pieces) / 3600
            lines.append(f"{name:<12}{len(pieces):>12,}{hours:>8.1f}")
        return "\n".join(lines)

    def table(self) -> str:
        """The pieces as text, one a line.

        Returns:
            Columns for split, year, length (minutes:seconds), composer and
            title, under one line of headings.
        """
        lines = [f"{'split':<12}{'year':<6}{'length':>7}  composer: title"]
        for piece in self.pieces:
            minutes, seconds = divmod(round(piece.duration), 60)
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
        progress: Progress | None = None,
    ) -> "Maestro":
        """Finds MAESTRO below `folder`, or downloads it there (58 MB).

        A download that was cut goes on where it stopped when it is run again.
        Nothing is unpacked before its hash is right and every member safe,
        and the data set appears in `folder` whole or not at all. Where it is
        there already, or its zip is, no connection is made.

        Args:
            folder: Where `maestro-v3.0.0/` is, or is to be; it is made.
            url: The archive's address.
            sha256: The archive's SHA-256, 64 hexadecimal digits.
            progress: Called with the bytes that are here and the bytes in
                all (`None` where the server does not say), some hundred
                times.

        Returns:
            The data set.

        Raises:
            OSError: The download failed; the message says what to do.
            ValueError: The archive has another hash, or is not safe.

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
        try:
            return cls(folder)
        except FileNotFoundError as error:
            if (folder / NAME).exists():
                raise FileNotFoundError(
                    f"{folder / NAME} is there, but not whole: move it away "
                    f"and download again. {error}"
                ) from error
        folder.mkdir(parents=True, exist_ok=True)
        archive = folder / f"{NAME}-midi.zip"
        part = archive.with_name(archive.name + ".part")
        if archive.exists():
            _unpack(archive, sha256, folder)
        else:
            if not _has_sha256(part, sha256):
                _receive(url, part, progress or (lambda done, total: None))
            try:
                _unpack(part, sha256, folder)
            except ValueError:
                _forget(part)
                raise
            _forget(part)
        return cls(folder)


def _check_split(name: str) -> str:
    if name not in SPLITS:
        raise ValueError(
            f"`split` must be one of {', '.join(SPLITS)}. Received: {name!r}"
        )
    return name


def _find_metadata(folder: pathlib.Path) -> pathlib.Path:
    name = f"{NAME}.csv"
    for path in [folder / name, *sorted(folder.glob(f"*/{name}"))]:
        if path.is_file():
            return path
    found = "no such folder"
    if folder.is_dir():
        names = sorted(path.name for path in folder.iterdir())
        found = ", ".join(names[:8] + ["…"] * (len(names) > 8)) or "nothing"
    raise FileNotFoundError(
        f"`folder` must hold {name}, itself or one folder below it. "
        f"Received: {folder}. Found there: {found}. "
        f"`Maestro.download({str(folder)!r})` fetches the data set."
    )


def _read_metadata(path: pathlib.Path) -> list[Piece]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a UTF-8 CSV file: {error}") from error
    missing = [column for column in COLUMNS if column not in found]
    if missing or not rows:
        lack = f"the columns {', '.join(missing)}" if missing else "any row"
        raise ValueError(
            f"{path} lacks {lack}. Expected columns: {', '.join(COLUMNS)}. "
            f"Found: {', '.join(found) or 'nothing'}."
        )
    return [_read_row(row, line, path) for line, row in rows]


def _read_row(row: dict[str, Any], line: int, path: pathlib.Path) -> Piece:
    try:
        if _leads_out(row["midi_filename"]):
            raise ValueError("the file name leads out of the folder")
        return Piece(
            composer=row["canonical_composer"],
            title=row["canonical_title"],
            split=_check_split(row["split"]),
            year=int(row["year"]),
            path=path.parent / row["midi_filename"],
            duration=float(row["duration"]),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}, line {line}: expected a split, a year, a file name and "
            f"a duration in seconds. Found: {row} ({error})"
        ) from error


def _check_files(pieces: tuple[Piece, ...]) -> None:
    missing = [piece.path for piece in pieces if not piece.path.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing):,} of the {len(pieces):,} MIDI files that the "
            f"metadata lists are missing, the first of them: {missing[0]}"
        )


def _has_sha256(path: pathlib.Path, expected: str) -> bool:
    return path.exists() and files.sha256(path) == expected.lower()


def _receive(url: str, part: pathlib.Path, progress: Progress) -> None:
    response, done = _request(url, part)
    length = response.headers.get("Content-Length", "")
    total = done + int(length) if length.isdecimal() else None
    error: Exception | None = None
    with response, part.open("ab" if done else "wb") as file:
        _tag_path(part).write_text(_tag(response.headers), encoding="ascii")
        progress(done, total)
        try:
            while block := response.read(1 << 16):
                file.write(block)
                done += len(block)
                progress(done, total)
                if done > MAX_BYTES:
                    break
        except (OSError, http.client.HTTPException) as stopped:
            error = stopped
    if done > MAX_BYTES:
        _forget(part)
        raise ValueError(f"{url} sends more than {MAX_BYTES:,} bytes.")
    if error or (total is not None and done < total):
        of_all = "" if total is None else f" of {total:,}"
        raise ConnectionError(
            f"The download stopped at {done:,}{of_all} bytes "
            f"({error or 'the connection was closed'}). They are kept in "
            f"{part}: run it again and it goes on from there."
        ) from error


def _request(
    url: str, part: pathlib.Path
) -> tuple[http.client.HTTPResponse, int]:
    """Asks for what `part` lacks; also gives the bytes to keep of `part`.

    `If-Range` has the server send everything, not the rest, where its file is
    no longer the one that `part` was begun from.
    """
    tag_path = _tag_path(part)
    tag = tag_path.read_text(encoding="ascii") if tag_path.exists() else ""
    start = part.stat().st_size if tag and part.exists() else 0
    headers = {"Range": f"bytes={start}-", "If-Range": tag} if start else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            if start and error.code == 416:  # `part` is longer than the file
                _forget(part)
                return _request(url, part)
        by_hand = part.with_suffix("")
        raise OSError(
            f"{url} cannot be downloaded: {error}. Check the address and the "
            f"connection; or fetch the file yourself, put it at {by_hand} and "
            f"run this again."
        ) from error
    if response.status != 206:
        return response, 0
    begins = response.headers.get("Content-Range", "")
    if _tag(response.headers) == tag and begins.startswith(f"bytes {start}-"):
        return response, start
    response.close()
    _forget(part)
    return _request(url, part)


def _tag(headers: http.client.HTTPMessage) -> str:
    """What tells one version of a file from the next; empty if nothing does.

    Reference: RFC 9110, section 13.1.5: a weak ETag cannot be used.
    """
    tag = headers.get("ETag", "")
    if tag.startswith("W/"):
        tag = ""
    tag = tag or headers.get("Last-Modified", "")
    return tag if tag.isascii() else ""


def _tag_path(part: pathlib.Path) -> pathlib.Path:
    return part.with_name(part.name + ".tag")


def _forget(part: pathlib.Path) -> None:
    part.unlink(missing_ok=True)
    _tag_path(part).unlink(missing_ok=True)


def _unpack(archive: pathlib.Path, sha256: str, folder: pathlib.Path) -> None:
    """Unpacks the data set into `folder`: whole and safe, or not at all."""
    if not _has_sha256(archive, sha256):
        raise ValueError(
            f"{archive} is damaged, or not the file that was published: "
            f"nothing of it is used. Remove it if it is still there and "
            f"download it again. Expected SHA-256: {sha256}. Received: "
            f"{files.sha256(archive)}."
        )
    try:
        with (
            zipfile.ZipFile(archive) as members,
            tempfile.TemporaryDirectory(dir=folder, prefix=".maestro-") as new,
        ):
            _check_members(members)
            members.extractall(new)
            Maestro(new).folder.rename(folder / NAME)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive} is not a sound zip: {error}") from error
    except FileNotFoundError as error:
        raise ValueError(f"{archive} is not all of {NAME}: {error}") from error


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES or len(members) > MAX_MEMBERS:
        raise ValueError(
            f"{archive.filename} is refused: it must unpack to at most "
            f"{MAX_BYTES:,} bytes in {MAX_MEMBERS:,} files. Received: "
            f"{size:,} bytes in {len(members):,} files."
        )
    for member in members:
        if danger := _danger(member):
            raise ValueError(
                f"{archive.filename} is refused, and nothing of it was "
                f"unpacked: its member {member.orig_filename!r} {danger}."
            )


def _leads_out(name: str) -> bool:
    """Whether a path may leave its folder, as any system may read it."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or not parts[0] or ":" in name or "\0" in name


def _danger(member: zipfile.ZipInfo) -> str:
    """Why a member must not be unpacked; empty where it may."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if _leads_out(member.orig_filename):
        return "leads out of the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if member.file_size > MAX_RATIO * max(member.compress_size, 1):
        return f"grows more than {MAX_RATIO} times when unpacked"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is neither stored nor deflated"
    return ""
