"""What commands print: lines, tables and JSON on standard output."""

from rich.console import Console

stdout = Console(highlight=False, soft_wrap=True)

stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def say(*lines, to=stdout):
    """Print lines as they are: no word in them is markup."""
    for line in lines:
        to.print(str(line), markup=False)


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

    table = Table(title=title and Text(title))
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
        table.add_row(*map(Text, row))
    stdout.print(table)
