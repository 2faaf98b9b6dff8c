"""A MIDI file that a page opens, as the page gets it. Times in seconds."""

import re

from keras_pianogen import midi
from keras_pianogen.midi.parts import read_parts
from keras_pianogen.studio import fields
from keras_pianogen.studio.going_on import going_on
from keras_pianogen.studio.guard import Refused


def read(data):
    """What the page is told of a file.

    Args:
        data: bytes.

    Returns:
        A dict for JSON. Its times are not rounded, so that the notes are the
        same events as the file's own.

    Raises:
        Refused: if the file can't be read, or has too many notes.
    """
    try:
        notes, report = midi.read_notes(data, return_report=True)
    except midi.MidiError as error:
        # The page says which file; a user knows nothing of Python's bytes.
        sentence = re.sub(r"`?<bytes>`?", "It", str(error), count=1)
        sentence = re.sub(r"\bb(['\"])", r"\1", sentence)
        raise Refused(400, sentence) from None
    if len(notes) > fields.MAX_NOTES:
        raise Refused(
            400,
            f"The file must have at most {fields.MAX_NOTES:,} notes. "
            f"Received: {len(notes):,}",
        )
    return {
        "notes": notes.tolist(),
        **_keys_and_moves(data, notes),
        "goes_on": going_on(notes),
        "drum_notes": report.drum_notes,
        "other_notes": sum(report.other_programs.values()),
    }


def _keys_and_moves(data, notes):
    """When the keys of the notes are released, and how its pedals move.

    Of a file of several instruments, or with more movements than a piece may
    have, only their number is told.
    """
    parts = read_parts(data)
    keys, _, moves, _ = parts[0]
    count = sum(len(part.moves) for part in parts)
    if len(parts) > 1 or count > fields.MAX_MOVEMENTS:
        return {"left_moves": count}
    if not count:
        return {}
    return {"ups": keys["end"].tolist(), "moves": moves.tolist()}
