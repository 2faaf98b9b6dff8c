"""Words about pieces, from a CSV file of one's own."""

import csv
import dataclasses
import pathlib

from keras_pianogen.data.controls import check_label
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.pieces import check_split

# Columns that say what a piece of MAESTRO's table has, and are no labels.
FIELDS = ("split", "composer", "title")


def read_labels(path: pathlib.Path) -> dict[str, dict[str, str]]:
    """Reads a CSV file of labels.

    Its first line names the columns. The first column, whatever its name, is
    the file: its name or path, with or without its ending. Every other column
    is a label. Empty cells say nothing.

    Args:
        path: the CSV file.

    Returns:
        A dict from what the first column has to the labels, a dict.

    Raises:
        ValueError: the file is no such table. The message names the line.
    """
    rows: dict[str, dict[str, str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            names = [name.strip() for name in next(reader, [])]
            _check_names(path, names)
            for row in reader:
                if not any(row):
                    continue
                key = row[0].strip()
                if len(row) != len(names) or not key or key in rows:
                    raise ValueError(
                        f"{path}, line {reader.line_num}: expected a file that "
                        f"no line above names, and {len(names) - 1} labels. "
                        f"Found: {row}"
                    )
                cells = zip(names[1:], row[1:], strict=True)
                rows[key] = {n: x.strip() for n, x in cells if x.strip()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"`labels` must be a CSV file in UTF-8. Received: {path} ({error})"
        ) from error
    return rows


def _check_names(path: pathlib.Path, names: list[str]) -> None:
    is_whole = len(names) > 1 and all(names)
    if not is_whole or len(set(names)) < len(names):
        raise ValueError(
            f"{path}, line 1: expected the names of two columns or more, each "
            f"once: the file, and labels. Found: {names}"
        )
    for name in set(names[1:]) - set(FIELDS):
        check_label(name)


def with_labels(
    pieces: list[Piece[str]], path: pathlib.Path
) -> list[Piece[str]]:
    """Pieces with the labels that a file has for them.

    The columns `split`, `composer` and `title` become those of the piece.

    Args:
        pieces: pieces whose paths are relative.
        path: see `read_labels`.

    Raises:
        ValueError: see `read_labels`; or no row, or more than one, is a
            piece's; or a split isn't train, validation or test.
    """
    rows = read_labels(path)
    labelled, found = [], set()
    for piece in pieces:
        place = pathlib.PurePosixPath(piece.path)
        keys = {
            key
            for key in (
                piece.path,
                str(place.with_suffix("")),
                place.name,
                place.stem,
            )
            if key in rows
        }
        if len(keys) > 1:
            raise ValueError(
                f"{path} must have one line for {piece.path}. "
                f"Received: {', '.join(sorted(keys))}"
            )
        for key in keys:
            found.add(key)
            piece = _labelled(piece, rows[key])
        labelled.append(piece)
    if not found:
        first = next(iter(rows), "nothing")
        raise ValueError(
            f"The first column of {path} must name files of the source, such "
            f"as {pieces[0].path if pieces else 'piece.mid'}. "
            f"Received: {len(rows)} other names, the first of them {first}"
        )
    return labelled


def _labelled(piece: Piece[str], row: dict[str, str]) -> Piece[str]:
    own = {name: row[name] for name in FIELDS if name in row}
    if "split" in own:
        check_split(own["split"])
    labels = {name: x for name, x in row.items() if name not in FIELDS}
    return dataclasses.replace(piece, labels=labels, **own)  # type: ignore[arg-type]
