"""A piece as files: a MIDI file, and beside it a picture and a sound."""

import os
import pathlib

import numpy as np

from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import check_notes
from keras_pianogen.rendering.pianoroll import plot_piano_roll
from keras_pianogen.rendering.synthesis import render


def save(
    notes: np.ndarray,
    path: str | os.PathLike[str],
    *,
    picture: bool = False,
    audio: bool = False,
    prompt_seconds: float | None = None,
) -> list[pathlib.Path]:
    """Saves a piece as a MIDI file, with a picture and a sound of its name.

    Each file appears whole or not at all. Older files are replaced.

    Args:
        notes: A performance, as `generate` and `read_notes` return.
        path: The MIDI file, ending in `.mid` or `.midi`. Its folder is made.
        picture: Whether its piano roll is written too, as `.png`, see
            `plot_piano_roll`.
        audio: Whether its sound is written too, as `.wav`, see `render`.
        prompt_seconds: Length of the prompt in seconds, which is drawn in
            grey.

    Returns:
        The files that were written: the MIDI file, the picture, the sound.

    Raises:
        ValueError: If an argument is out of its range, or a picture or a
            sound is asked for and there are no notes.
        OSError: If a file can't be written.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> [path.name for path in save(notes, "piece.mid", audio=True)]
        ['piece.mid', 'piece.wav']
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in (".mid", ".midi"):
        raise ValueError(
            f"`path` must end in .mid or .midi. Received: {str(path)!r}"
        )
    notes = check_notes(notes)
    if not len(notes) and (picture or audio):
        raise ValueError(
            "`notes` must hold one note or more for a picture or a sound. "
            "Received: 0 notes"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path]
    if picture:
        written.append(path.with_suffix(".png"))
        plot_piano_roll(notes, written[-1], prompt_seconds=prompt_seconds)
    if audio:
        written.append(path.with_suffix(".wav"))
        render(notes, written[-1])
    write_midi(notes, path)
    return written
