"""What the page sends, checked before anything is done. Times in seconds.

JSON comes from anybody who reaches the server. Whatever is wrong with it is a
`BadMessage`, a sentence that names the field, what was expected and what came.
"""

import dataclasses
import json
import math

import numpy as np

from keras_pianogen.midi.movements import MAX_SECONDS
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes

MAX_PIECE_SECONDS = 120.0  # of new music, each piece
MAX_CANDIDATES = 4
MAX_NOTES = 60_000  # twice as many as MAESTRO's longest piece has
MAX_SEED = 2**32 - 1
TEMPERATURES = (0.1, 3.0)
NOTE_SECONDS = (0.1, 60.0)


class BadMessage(ValueError):
    """What came is not what the page sends."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """What is to be written.

    Attributes:
        preset: a name that the server offers.
        notes: the prompt, an array of `NOTE_DTYPE`; none for a new piece.
        seconds: length of the new music.
        seeds: a seed for each candidate.
        temperature: see `build_sampler`, as are the next.
        min_p: a number, or `None`.
        top_p: a number, or `None`.
        max_note_seconds: a number, or `None`, see `EventGrammar`.
    """

    preset: str
    notes: np.ndarray
    seconds: float
    seeds: tuple
    temperature: float = 1.0
    min_p: float | None = None
    top_p: float | None = None
    max_note_seconds: float | None = None


def read_json(data):
    """A JSON object from bytes, strictly: no NaN, nothing deep or double."""
    try:
        message = json.loads(
            data, parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except (ValueError, RecursionError) as error:
        raise BadMessage(
            f"This is no JSON that is read here: {error}"
        ) from None
    if not isinstance(message, dict):
        raise BadMessage("The message must be a JSON object.")
    return message


def read_wish(message, presets):
    """A `Wish` from a JSON object; `presets` are the names on offer."""
    _check_fields(message, {field.name for field in dataclasses.fields(Wish)})
    preset = _preset(message, presets)
    min_p, top_p = message.get("min_p"), message.get("top_p")
    if min_p is not None and top_p is not None:
        raise BadMessage("Give at most one of `min_p` and `top_p`.")
    if min_p is not None:
        min_p = _number(message, "min_p", 0, 1)
    if top_p is not None:
        top_p = _number(message, "top_p", 0.01, 1)
    longest = message.get("max_note_seconds")
    if longest is not None:
        longest = _number(message, "max_note_seconds", *NOTE_SECONDS)
    notes = read_notes(message, least=0)
    seconds = _number(message, "seconds", 0.1, MAX_PIECE_SECONDS)
    if notes["end"].max(initial=0) + seconds > MAX_SECONDS:
        raise BadMessage(
            f"`notes` and `seconds` after them must end by {MAX_SECONDS:,.0f} "
            "seconds."
        )
    return Wish(
        preset,
        notes,
        seconds,
        _seeds(message.get("seeds")),
        _number(message, "temperature", *TEMPERATURES, default=1.0),
        min_p,
        top_p,
        longest,
    )


def read_prompt(message, presets):
    """A `Wish` of which the preset and the prompt are known alone."""
    _check_fields(message, {"preset", "notes"})
    preset = _preset(message, presets)
    return Wish(preset, read_notes(message, least=1), 0.0, ())


def read_piece(message):
    """Notes, at least one, from an object that holds nothing else."""
    _check_fields(message, {"notes"})
    return read_notes(message, least=1)


def read_job(message):
    """The id of a job, from an object that holds nothing else."""
    _check_fields(message, {"job"})
    job = message.get("job")
    if not isinstance(job, str) or not 0 < len(job) <= 64:
        raise BadMessage("`job` must be the id of a job, a string.")
    return job


def read_notes(message, least):
    """An array of `NOTE_DTYPE` from rows of start, end, pitch, velocity."""
    rows = message.get("notes")
    if not isinstance(rows, list) or not least <= len(rows) <= MAX_NOTES:
        raise BadMessage(
            f"`notes` must be a list of {least} to {MAX_NOTES:,} notes."
        )
    for row in rows:
        if not (
            isinstance(row, list)
            and len(row) == 4
            and all(type(x) in (int, float) and 0 <= x < 1e9 for x in row)
        ):
            raise BadMessage(
                "Each of `notes` must be four numbers: start and end in "
                "seconds, pitch, velocity."
            )
    columns = np.array(rows, "f8").reshape(-1, 4)
    # Wider than `NOTE_DTYPE`, so that nothing is cut before it is checked.
    names = [(name, "f8") for name in NOTE_DTYPE.names]
    notes = np.array([tuple(row) for row in columns], names)
    if (columns[:, 1] > MAX_SECONDS).any():
        raise BadMessage(f"`notes` must end by {MAX_SECONDS:,.0f} seconds.")
    try:
        return check_notes(notes)
    except ValueError as error:
        raise BadMessage(str(error)) from None


def to_rows(notes):
    """Rows as `read_notes` takes them, times rounded to a tenth of a ms."""
    return [
        [round(start, 4), round(end, 4), pitch, velocity]
        for start, end, pitch, velocity in notes.tolist()
    ]


def _check_fields(message, known):
    unknown = sorted(set(message) - known)
    if unknown:
        raise BadMessage(
            f"The message may have {', '.join(sorted(known))}. "
            f"Received: {str(unknown)[:80]}"
        )


def _preset(message, presets):
    preset = message.get("preset")
    if not isinstance(preset, str) or preset not in presets:
        raise BadMessage(f"`preset` must be one of {list(presets)}.")
    return preset


def _number(message, name, least, most, default=None):
    value = message.get(name, default)
    if (
        type(value) not in (int, float)
        or not least <= value <= most
        or not math.isfinite(value)
    ):
        raise BadMessage(
            f"`{name}` must be a number from {least:g} to {most:g}. "
            f"Received: {str(value)[:40]}"
        )
    return float(value)


def _seeds(seeds):
    if (
        not isinstance(seeds, list)
        or not 1 <= len(seeds) <= MAX_CANDIDATES
        or not all(type(s) is int and 0 <= s <= MAX_SEED for s in seeds)
    ):
        raise BadMessage(
            f"`seeds` must be 1 to {MAX_CANDIDATES} whole numbers from 0 to "
            f"{MAX_SEED}, one for each candidate."
        )
    return tuple(seeds)


def _refuse_constant(name):
    raise ValueError(f"{name} is no number")


def _once(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a name comes twice")
    return dict(pairs)
