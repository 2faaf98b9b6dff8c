"""Notes to MIDI files."""

import io
import os
import pathlib

import miditoolkit
import numpy as np

from keras_pianogen.files import whole
from keras_pianogen.midi.movements import MAX_NOTES
from keras_pianogen.midi.movements import MAX_SECONDS
from keras_pianogen.midi.movements import is_too_long
from keras_pianogen.notes import check_notes


def write_midi(
    notes: np.ndarray,
    path: str | os.PathLike | None = None,
    *,
    ticks_per_beat: int = 500,
    program: int = 0,
    name: str = "Piano",
) -> miditoolkit.MidiFile:
    """Writes notes as MIDI: one track, channel 0, 120 beats a minute.

    Times are rounded to the nearest tick, of one millisecond by default.
    Every note is at least a tick long and ends by the next start of its
    pitch; where two notes of one pitch fall on one tick, the later one starts
    a tick later. The file appears whole or not at all.

    Args:
        notes: an array of `NOTE_DTYPE`, whose notes end before 7,201 s, at
            most 200,000 notes.
        path: where to write the file; by default none is written.
        ticks_per_beat: ticks in half a second, 1 to 32767.
        program: General MIDI program, 0 (grand piano) to 127.
        name: the track's name, in Latin-1.

    Returns:
        A `miditoolkit.MidiFile`.

    Raises:
        ValueError: an argument is out of its range.

    Examples:
        >>> from keras_pianogen.midi import NOTE_DTYPE
        >>> notes = np.array([(0.0, 0.5, 60, 80)], dtype=NOTE_DTYPE)
        >>> write_midi(notes).instruments[0].notes
        [Note(velocity=80, pitch=60, start=0, end=500)]
    """
    notes = check_notes(notes)
    _check_writable(notes, ticks_per_beat, program, name)
    start, end = _ticks(notes, 2 * ticks_per_beat)
    columns = notes["velocity"], notes["pitch"], start, end
    piano = miditoolkit.Instrument(program, name=name)
    piano.notes = [
        miditoolkit.Note(*note)
        for note in zip(*(column.tolist() for column in columns), strict=True)
    ]
    file = miditoolkit.MidiFile(ticks_per_beat=ticks_per_beat)
    file.tempo_changes = [miditoolkit.TempoChange(120, 0)]
    file.time_signature_changes = [miditoolkit.TimeSignature(4, 4, 0)]
    file.instruments = [piano]
    file.max_tick = int(end.max(initial=0)) + 1
    if path is not None:
        save(file, pathlib.Path(path))
    return file


def _check_writable(
    notes: np.ndarray, ticks_per_beat: int, program: int, name: str
) -> None:
    for good, expected in (
        (1 <= ticks_per_beat < 0x8000, "`ticks_per_beat` from 1 to 32767"),
        (0 <= program <= 127, "`program` from 0 to 127"),
        (len(notes) <= MAX_NOTES, f"at most {MAX_NOTES:,} `notes`"),
        (
            not is_too_long(notes["end"].max(initial=0)),
            f"`notes` up to {MAX_SECONDS:,.0f} seconds",
        ),
        (
            name.encode("latin-1", "replace").decode("latin-1") == name,
            "a `name` in Latin-1",
        ),
    ):
        if not good:
            raise ValueError(
                f"MIDI needs {expected}. Received: ticks_per_beat="
                f"{ticks_per_beat}, program={program}, name={name!r}, "
                f"{len(notes)} notes up to {notes['end'].max(initial=0)} s"
            )


def _ticks(
    notes: np.ndarray, ticks_per_second: int
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends such that both readers give each note back."""
    pitch = notes["pitch"].astype(np.int64)
    start = np.rint(notes["start"] * ticks_per_second).astype(np.int64)
    end = np.rint(notes["end"] * ticks_per_second).astype(np.int64)
    order = np.lexsort((start, pitch))
    pitch, start, end = pitch[order], start[order], end[order]
    # One line of time, pitch after pitch, on which no two starts coincide.
    rank = np.arange(len(notes))
    line = np.maximum.accumulate((pitch << 40) + start - rank)
    # Those that were moved, or rounded, past the last tick move back before it.
    last = (pitch << 40) + _last_tick(ticks_per_second) - 1 - rank
    line = np.minimum.accumulate(np.minimum(line, last)[::-1])[::-1]
    start = line + rank - (pitch << 40)
    end = np.clip(end, start + 1, _last_tick(ticks_per_second))
    again = np.flatnonzero(np.diff(pitch) == 0)
    end[again] = np.minimum(end[again], start[again + 1])
    back = np.argsort(order)
    return start[back], end[back]


def _last_tick(ticks_per_second: int) -> int:
    """The last tick of a note: a tick later, the track may still end."""
    return (int(MAX_SECONDS) + 1) * ticks_per_second - 2


def save(file: miditoolkit.MidiFile, path: pathlib.Path) -> None:
    content = io.BytesIO()
    file.dump(file=content)
    with whole(path) as part:
        part.write_bytes(content.getvalue())
