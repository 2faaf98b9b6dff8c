"""Performances in a notebook: a piano roll to see, and sound to hear.

`show` returns an object that Jupyter displays by itself. The picture (SVG) and
the sound (WAV) are inside the cell's output, so that the page loads nothing
from the network and a saved notebook keeps them. The picture has the
notebook's own colours, light or dark. Times in seconds.

The sound is the built-in piano's, in mono at half of a CD's sample rate. It
takes about 60 kB of the page for each second, a quarter of what a CD takes.
"""

import functools
import html

import numpy as np

from keras_pianogen.notes import check_notes
from keras_pianogen.notes import check_pedal
from keras_pianogen.notices.counts import counted
from keras_pianogen.rendering import markup
from keras_pianogen.rendering.pianoroll_svg import piano_roll_svg
from keras_pianogen.rendering.roll import check_prompt
from keras_pianogen.rendering.synthesis import synthesize
from keras_pianogen.rendering.wav import wav_bytes

SAMPLE_RATE = 22_050
MAX_SOUND = 180.0  # seconds, about 10 MB of page
STYLE = "margin:0;padding:0.6em;max-width:1100px"


class PieceView:
    """A performance as Jupyter shows it; made by `show`.

    Args:
        notes: A performance.
        prompt_seconds: Length of its prompt in seconds, or None.
        pedal: When its pedal is down, or None.
        title: Its name, or None.
    """

    def __init__(
        self,
        notes: np.ndarray,
        prompt_seconds: float | None = None,
        pedal: np.ndarray | None = None,
        title: str | None = None,
    ):
        self.notes = notes
        self.prompt_seconds = prompt_seconds
        self.pedal = pedal
        self.title = title

    def __repr__(self) -> str:
        seconds = self.notes["end"].max(initial=0)
        text = f"{counted(len(self.notes), 'note')}, {seconds:.1f} s"
        title = " ".join((self.title or "").split())
        return f"<{title}: {text}>" if title else f"<{text}>"

    def _repr_html_(self) -> str:
        return self._html

    @functools.cached_property
    def _html(self) -> str:
        title = html.escape(" ".join((self.title or "").split()))
        if not len(self.notes):
            words = f"{title}: no notes to show." if title else "No notes."
            return _figure(f"<p>{words}</p>")
        caption = f"<figcaption>{title}</figcaption>" if title else ""
        roll = piano_roll_svg(
            self.notes,
            title=self.title,
            prompt_seconds=self.prompt_seconds,
            pedal=self.pedal,
        )
        return _figure(caption + roll + _sound(self.notes, self.pedal))


def show(
    notes: np.ndarray,
    *,
    prompt_seconds: float | None = None,
    pedal: np.ndarray | None = None,
    title: str | None = None,
) -> PieceView:
    """Shows a performance in a notebook: its piano roll, and its sound.

    Jupyter displays the result by itself if it is the last line of a cell.
    Anywhere else, pass it to `IPython.display.display`. Of a longer piece, the
    sound is that of the first three minutes.

    Args:
        notes: A performance, as `read_notes` returns. If there are no notes,
            a sentence is shown that says so.
        prompt_seconds: Length of the prompt in seconds, 0 or more, drawn in
            grey. Defaults to no prompt.
        pedal: When the sustain pedal is down, as `read_pedal` returns it. It
            is drawn in a lane under the picture, and all strings sound along
            under it. Defaults to none.
        title: Text above the picture.

    Returns:
        An object that Jupyter displays. Elsewhere it is one line of text.

    Raises:
        ValueError: If `notes` are not notes, `pedal` is no pedal, or
            `prompt_seconds` is out of its range.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> show(notes, title="Two notes")
        <Two notes: 2 notes, 2.0 s>
    """
    notes = check_notes(notes).copy()
    check_prompt(prompt_seconds)
    if pedal is not None:
        pedal = check_pedal(pedal)
    return PieceView(notes, prompt_seconds, pedal, title)


def _figure(content: str) -> str:
    return f'<figure style="{STYLE}">{content}</figure>'


def _sound(notes: np.ndarray, pedal: np.ndarray | None) -> str:
    """Controls that play the piece, and a sentence if its end is left out."""
    heard = notes[notes["start"] < MAX_SOUND]
    heard["end"] = np.minimum(heard["end"], MAX_SOUND)
    content = ""
    if len(heard):
        address = markup.data_address(_wav(heard, pedal), "audio/wav")
        content = (
            '<audio controls="controls" style="display:block;width:100%" '
            f'src="{address}"></audio>'
        )
    if notes["end"].max() > MAX_SOUND:
        content += (
            f"<p>Sound of the first {MAX_SOUND / 60:g} minutes only, to keep "
            "the page small: <code>keras_pianogen.render(notes, "
            "&quot;piece.wav&quot;)</code> plays all of it to a file.</p>"
        )
    return content


def _wav(notes: np.ndarray, pedal: np.ndarray | None) -> bytes:
    """The built-in piano's sound as a WAV file: mono, 16 bits."""
    sound = synthesize(notes, SAMPLE_RATE, pedal=pedal)
    return wav_bytes(sound.mean(axis=1, keepdims=True), SAMPLE_RATE)
