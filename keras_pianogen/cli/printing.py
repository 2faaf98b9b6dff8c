"""What commands print: lines, tables and JSON on standard output.

File names, titles of pieces and whatever else comes from outside is shown as
it is: no word is markup or an emoji, and a character that would move the
cursor, change colours or stay invisible is shown by its escape sequence.
"""

import contextlib
import logging
import unicodedata

from rich.console import Console

stdout = Console(highlight=False, soft_wrap=True, emoji=False)

stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

# Unicode's categories of control characters, of those that format text or are
# not assigned, of halves of characters, and of ends of lines.
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def plain(text):
    """A text in which each character is seen, or its escape sequence."""
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in UNSEEN
        else c
        for c in str(text)
    )


def say(*lines, to=stdout):
    """Print lines as they are: no word in them is markup."""
    for line in lines:
        to.print(plain(line), markup=False)


@contextlib.contextmanager
def warnings_said():
    """A context in which the package's warnings are lines on standard error."""
    logger = logging.getLogger("keras_pianogen")
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: say(record.getMessage(), to=stderr)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def say_json(values):
    """Print one line of JSON."""
    import json

    say(json.dumps(values))


def say_table(header, rows, title=None, names=None, right=()):
    """Print a table. Its words are shown as they are, never as markup.

    Args:
        header: a title for each column.
        rows: a list of cells, str, for each row; missing ones are empty.
        title: str, above the table. Defaults to `None`.
        names: the one column that is folded where the table is too wide.
            Defaults to `None`, any column is.
        right: columns that are aligned at their right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title and Text(plain(title)))
    for column in header:
        folded = column == names
        table.add_column(
            column,
            justify="right" if column in right else "left",
            min_width=10 if folded else None,
            no_wrap=names is not None and not folded,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    stdout.print(table)
