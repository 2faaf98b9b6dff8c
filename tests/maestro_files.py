"""A data set of three small pieces with MAESTRO's table, and its zip."""

import csv
import hashlib
import io
import zipfile

from keras_pianogen.data.maestro import NAME
from keras_pianogen.data.pieces import COLUMNS

ROWS = [
    ("Frédéric Chopin", 'Études, Op. 10, "Black Keys"', "train", 2018, 61.5),
    ("Franz Liszt", "Années\nde pèlerinage", "validation", 2004, 120.0),
    ("J. S. Bach", "Prelude and Fugue, WTC I", "test", 2011, 3600.0),
]


def metadata(rows=ROWS, columns=COLUMNS):
    """The metadata of small pieces, as CSV text."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, extrasaction="ignore")
    table.writeheader()
    for i, (composer, title, split, year, duration) in enumerate(rows):
        cells = (composer, title, split, year, f"{year}/{i}.midi", duration)
        table.writerow(dict(zip(COLUMNS, cells, strict=True)))
    return text.getvalue()


def make_folder(folder, text=None, files=3):
    """A data set of small pieces in `folder`; the files hold no music."""
    folder.mkdir(parents=True, exist_ok=True)
    text = metadata() if text is None else text
    (folder / f"{NAME}.csv").write_text(text, encoding="utf-8", newline="")
    for i, row in enumerate(ROWS[:files]):
        path = folder / str(row[3]) / f"{i}.midi"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"MThd")
    return folder


def make_zip(extra=()):
    """The small data set as a zip, with members that are added to it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}/{NAME}.csv", metadata())
        for i, row in enumerate(ROWS):
            noise = b"".join(
                hashlib.sha256(b"%d %d" % (i, j)).digest() for j in range(4096)
            )
            archive.writestr(f"{NAME}/{row[3]}/{i}.midi", noise)
        for member, data in extra:
            archive.writestr(member, data)
    return file.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()
