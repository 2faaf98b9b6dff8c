"""The history of a training run: a CSV file with a row for each step."""

import csv
import io
import pathlib

from keras_pianogen.files import whole


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
        """All rows, a list of dicts of strings."""
        if not self.path.exists():
            return []
        with open(self.path, newline="") as file:
            return list(csv.DictReader(file))

    def cut(self, step):
        """Remove the rows after a step."""
        text = io.StringIO()
        writer = self._writer(text)
        writer.writeheader()
        writer.writerows(row for row in self.rows() if int(row["step"]) <= step)
        with whole(self.path) as part:
            part.write_bytes(text.getvalue().encode())

    def _writer(self, file):
        return csv.DictWriter(file, self.columns, lineterminator="\n")


def _shortened(value):
    return f"{value:.6g}" if isinstance(value, float) else value
