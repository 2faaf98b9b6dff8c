"""The pieces of a data set, and the split that each belongs to.

A piece is one performance in one MIDI file. Durations are in seconds. Nothing
here reads a MIDI file.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Generic
from typing import TypeVar

from keras_pianogen.data.archives import leads_out
from keras_pianogen.data.folders import MidiFolder

SPLITS = ("train", "validation", "test")
# Of MAESTRO's table.
COLUMNS = (
    "canonical_composer",
    "canonical_title",
    "split",
    "year",
    "midi_filename",
    "duration",
)

PathT = TypeVar("PathT", str, pathlib.Path)


@dataclasses.dataclass(frozen=True)
class Piece(Generic[PathT]):
    """One performance.

    Args:
        path: the MIDI file. In a folder it is a `pathlib.Path` to open; in a
            corpus it is a string, relative to the folder that was read.
        split: `"train"`, `"validation"` or `"test"`, or `""` if there is none.
        composer: the composer's name, or `""`.
        title: the composition's title, or `""`.
        year: year of the performance, or 0.
        first_note: index of its first note in the corpus.
        num_notes: number of its notes, or 0 if they have not been read.
        seconds: its length, or 0. In a corpus, the time at which its last
            note ends.
        labels: dict of further words about it, such as its player, by the
            names of the columns that they stand in.
    """

    path: PathT
    split: str = ""
    composer: str = ""
    title: str = ""
    year: int = 0
    first_note: int = 0
    num_notes: int = 0
    seconds: float = 0.0
    labels: Mapping[str, str] = dataclasses.field(
        default_factory=dict, hash=False
    )

    @property
    def duration(self) -> float:
        """`seconds`, under the name that it has in MAESTRO's table."""
        return self.seconds

    def row(self) -> dict[str, Any]:
        """Its row in a corpus's table; labels are there if it has some."""
        row = dataclasses.asdict(self)
        if not self.labels:
            del row["labels"]
        return row


def check_split(name: str, argument: str = "split") -> str:
    """Returns the name of a split as it came.

    Args:
        name: `"train"`, `"validation"` or `"test"`.
        argument: what an error calls the name.

    Raises:
        ValueError: for any other name.
    """
    if name not in SPLITS:
        raise ValueError(
            f"`{argument}` must be one of {', '.join(SPLITS)}. "
            f"Received: {argument}={name!r}"
        )
    return name


def list_pieces(
    folder: pathlib.Path,
) -> tuple[list[Piece[pathlib.Path]], dict[pathlib.Path, str]]:
    """The pieces of a folder, and what was passed over in it, with reasons.

    They are those of MAESTRO's table if the folder holds one. Otherwise there
    is a piece for each `.mid` and `.midi` file in the folder and below it, see
    `MidiFolder`.

    Raises:
        ValueError: the table is not as MAESTRO's, see `read_table`.
    """
    tables = [path for path in folder.glob("maestro-v*.csv") if path.is_file()]
    if tables:
        return read_table(max(tables), COLUMNS[:-1]), {}
    found = MidiFolder(folder)
    return [Piece(path) for path in found.files], found.skipped


def read_table(
    path: pathlib.Path, columns: Sequence[str] = COLUMNS
) -> list[Piece[pathlib.Path]]:
    """Reads MAESTRO's table of pieces.

    Args:
        path: the CSV file. The MIDI files lie in its folder.
        columns: the columns that the table must have. Only the last of
            `COLUMNS`, the duration, may be left out.

    Raises:
        ValueError: the file is no such table. The message names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found = list(reader.fieldnames or ())
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a UTF-8 CSV file: {error}") from error
    missing = [column for column in columns if column not in found]
    if missing or not rows:
        lack = f"the columns {', '.join(missing)}" if missing else "any row"
        raise ValueError(
            f"{path} lacks {lack}. Expected columns: {', '.join(columns)}. "
            f"Found: {', '.join(found) or 'nothing'}."
        )
    return [_read_row(row, line, path) for line, row in rows]


def _read_row(
    row: dict[str, Any], line: int, table: pathlib.Path
) -> Piece[pathlib.Path]:
    try:
        if leads_out(row["midi_filename"]):
            raise ValueError("the file name leads out of the folder")
        return Piece(
            path=table.parent / row["midi_filename"],
            split=check_split(row["split"]),
            composer=row["canonical_composer"],
            title=row["canonical_title"],
            year=int(row["year"]),
            seconds=float(row["duration"]) if "duration" in row else 0.0,
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{table}, line {line}: expected a split, a year, a file name and "
            f"a duration in seconds. Found: {row} ({error})"
        ) from error
