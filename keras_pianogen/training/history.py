"""The history of a training run: a CSV file with a row for each step.

All cells are numbers or empty, so none is in quotes. A row that was torn when
the machine stopped, or that has changed since, is left out when it is read.
"""

import csv
import io
import logging
import os
import pathlib

from keras_pianogen.files import whole

logger = logging.getLogger(__name__)


class History:
    """A CSV file that grows by rows.

    Args:
        path: the file.
        columns: names of its columns, `step` the first.
    """

    def __init__(self, path, columns):
        self.path = pathlib.Path(path)
        self.columns = tuple(columns)

    def append(self, *rows):
        """Add rows, dicts of some of the columns; other cells are empty."""
        is_new = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = self._writer(file)
            if is_new:
                writer.writeheader()
            for row in rows:
                writer.writerow({k: _shortened(v) for k, v in row.items()})

    def rows(self):
        """All rows that are whole, a list of dicts of strings."""
        if not self.path.exists():
            return []
        return read_rows(self.path, self.columns)[1]

    def cut(self, step):
        """Remove the rows after a step, and those that are damaged."""
        text = io.StringIO()
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(row for row in self.rows() if int(row["step"]) <= step)
        with whole(self.path) as part:
            part.write_bytes(text.getvalue().encode())

    def _writer(self, file):
        return csv.DictWriter(file, self.columns, lineterminator="\n")


def read_rows(path, columns=()):
    """Read a history.

    Args:
        path: the CSV file.
        columns: the columns that a history can have. They are taken for its
            own if the line that names its own is damaged.

    Returns:
        The names of its columns, and its rows, a list of dicts of strings.
        Damaged rows are left out; a warning of the logger of this module
        tells how many. Of rows of one step the last one counts.
    """
    path = pathlib.Path(path)
    lines = path.read_text("utf-8", "replace").split("\n")
    names = lines[0].rstrip("\r").split(",")
    if columns and not set(names) <= set(columns):
        names = list(columns)
    found = [line.rstrip("\r").split(",") for line in lines[1:] if line]
    rows = [dict(zip(names, cells)) for cells in found if _is_row(cells, names)]
    if len(rows) < len(found):
        logger.warning(
            "%s: %d damaged rows left out",
            os.fspath(path),
            len(found) - len(rows),
        )
    by_step = {int(row[names[0]]): row for row in rows}
    return names, [by_step[step] for step in sorted(by_step)]


def _is_row(cells, names):
    """Whether cells are a whole row: a step, then numbers or nothing."""
    try:
        int(cells[0])
        for cell in cells:
            float(cell or 0)
    except ValueError:
        return False
    return len(cells) == len(names)


def _shortened(value):
    return f"{value:.6g}" if isinstance(value, float) else value
