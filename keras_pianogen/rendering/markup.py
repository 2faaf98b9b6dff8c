"""Parts of the HTML that Jupyter shows: tables, pictures and sounds.

A picture or a sound is inside the text, so that the page loads nothing from
the network. Text is escaped.
"""

from __future__ import annotations

import base64
import html
import io
import typing
from collections.abc import Iterable
from collections.abc import Sequence

if typing.TYPE_CHECKING:
    from matplotlib.figure import Figure


def table(rows: Iterable[Sequence[str]]) -> str:
    """A table of text.

    Args:
        rows: the cells of each row. The first row is the head.

    Examples:
        >>> "<td>1 &lt; 2</td>" in table([["a head"], ["1 < 2"]])
        True
    """
    head, *body = rows
    return (
        f"<table><thead>{_row('th', head)}</thead>"
        f"<tbody>{''.join(_row('td', row) for row in body)}</tbody></table>"
    )


def _row(kind: str, cells: Sequence[str]) -> str:
    inside = "".join(f"<{kind}>{html.escape(x)}</{kind}>" for x in cells)
    return f"<tr>{inside}</tr>"


def picture(figure: Figure, alt: str, dpi: float) -> str:
    """A Matplotlib figure as an image, no wider than the page.

    Args:
        figure: a figure.
        alt: words for those who can't see it.
        dpi: pixels per inch.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return (
        f'<img alt="{html.escape(alt)}" style="max-width:100%" '
        f'src="{data_address(file.getvalue(), "image/png")}"/>'
    )


def data_address(content: bytes, kind: str) -> str:
    """An address that holds what it leads to.

    Args:
        content: the file's content.
        kind: its media type, such as `"image/png"`.

    Examples:
        >>> data_address(b"RIFF", "audio/wav")
        'data:audio/wav;base64,UklGRg=='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
