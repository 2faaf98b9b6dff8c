"""The fields of a message that the page sends, each checked. Times in seconds.

Anybody who reaches the server can send JSON. A `BadMessage` is raised for
everything that is wrong with it. Its sentence names the field, what was
expected and what came.
"""

import itertools
import json
import math

import numpy as np

from keras_pianogen.midi.movements import MAX_SECONDS
from keras_pianogen.midi.parts import MOVEMENT_DTYPE
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes

MAX_CANDIDATES = 4
MAX_NOTES = 60_000  # twice as many as MAESTRO's longest piece has
MAX_MOVEMENTS = 100_000  # of pedals and other controllers
MAX_SEED = 2**32 - 1
TOO_LARGE = 1e9  # no number of a note
# Wider than `NOTE_DTYPE`, so that nothing is cut before it is checked.
WIDE_DTYPE = np.dtype([(name, "f8") for name in NOTE_DTYPE.names])


class BadMessage(ValueError):
    """A message that the page doesn't send."""


def read_json(data):
    """Read a JSON object from bytes.

    It is stricter than JSON's own reader: `NaN`, a name that comes twice and
    deep nesting are refused.
    """
    try:
        message = json.loads(
            data, parse_constant=_refuse_constant, object_pairs_hook=_once
        )
    except (ValueError, RecursionError) as error:
        raise BadMessage(
            f"The message must be JSON. {error}".rstrip()
        ) from None
    if not isinstance(message, dict):
        raise BadMessage("The message must be a JSON object.")
    return message


def _refuse_constant(name):
    raise ValueError(f"{name} is no number")


def _once(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError("a name comes twice")
    return dict(pairs)


def check_fields(message, known):
    """Check that a message has no field but these."""
    unknown = sorted(set(message) - known)
    if unknown:
        raise BadMessage(
            f"The message may have {', '.join(sorted(known))}. "
            f"Received: {str(unknown)[:80]}"
        )


def preset(message, presets):
    """The preset that a message names, one of `presets`."""
    name = message.get("preset")
    if not isinstance(name, str) or name not in presets:
        raise BadMessage(f"`preset` must be one of {list(presets)}.")
    return name


def number(message, name, least, most):
    """A number from `least` to `most`, as a float."""
    value = message.get(name)
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


def prompt_seconds(message):
    """Where new music begins, or `None`."""
    if "prompt_seconds" not in message:
        return None
    return number(message, "prompt_seconds", 0, MAX_SECONDS)


def word(message, name, most):
    """A text of at most so many characters."""
    text = message[name]
    if not isinstance(text, str) or not 0 < len(text) <= most:
        raise BadMessage(
            f"`{name}` must be a string of 1 to {most} characters."
        )
    return text


def seeds(message):
    """A tuple of a seed for each candidate."""
    found = message.get("seeds")
    if (
        not isinstance(found, list)
        or not 1 <= len(found) <= MAX_CANDIDATES
        or not all(type(s) is int and 0 <= s <= MAX_SEED for s in found)
    ):
        raise BadMessage(
            f"`seeds` must be 1 to {MAX_CANDIDATES} whole numbers from 0 to "
            f"{MAX_SEED}, one for each candidate."
        )
    return tuple(found)


def job(message):
    """The id of a job."""
    found = message.get("job")
    if not isinstance(found, str) or not 0 < len(found) <= 64:
        raise BadMessage("`job` must be the id of a job, a string.")
    return found


def notes(message, least, most=MAX_NOTES):
    """An array of `NOTE_DTYPE` from rows of start, end, pitch, velocity."""
    rows = message.get("notes")
    if not isinstance(rows, list) or not least <= len(rows) <= most:
        raise BadMessage(
            f"`notes` must be a list of {least} to {most:,} notes."
        )
    columns = _numbers(rows, len(NOTE_DTYPE))
    if columns is None:
        raise BadMessage(
            "Each of `notes` must be four numbers: start and end in "
            "seconds, pitch, velocity."
        )
    return _notes_of(columns)


def own_notes(message):
    """Notes of a file of the user's: as they sound, and as their keys move.

    Returns:
        A pair of arrays of `NOTE_DTYPE`, of equal lengths and orders. A note
        of the second ends where its key is released.
    """
    rows = message.get("own", [])
    columns = _numbers(rows, 5) if isinstance(rows, list) else None
    if columns is None or (columns[:, 4] < columns[:, 0]).any():
        raise BadMessage(
            "Each of `own` must be five numbers: start and end in seconds, "
            "pitch, velocity, and when its key is released."
        )
    columns = columns[np.lexsort((columns[:, 2], columns[:, 0]))]
    keys = columns[:, :4].copy()
    keys[:, 1] = np.minimum(columns[:, 1], columns[:, 4])
    return _notes_of(columns[:, :4]), _notes_of(keys)


def moves(message):
    """How controllers move, an array of `MOVEMENT_DTYPE`."""
    rows = message.get("moves", [])
    columns = None
    if isinstance(rows, list) and len(rows) <= MAX_MOVEMENTS:
        columns = _numbers(rows, 3)
    if columns is None or (columns > [MAX_SECONDS, 127, 127]).any():
        raise BadMessage(
            f"`moves` must be at most {MAX_MOVEMENTS:,} rows of a time in "
            "seconds, a controller's number and its value, 0 to 127."
        )
    found = np.empty(len(columns), MOVEMENT_DTYPE)
    for name, column in zip(MOVEMENT_DTYPE.names, columns.T, strict=True):
        found[name] = column
    return found[np.argsort(found["time"], kind="stable")]


def _notes_of(columns):
    found = np.empty(len(columns), WIDE_DTYPE)
    for name, column in zip(WIDE_DTYPE.names, columns.T, strict=True):
        found[name] = column
    if (found["end"] > MAX_SECONDS).any():
        raise BadMessage(f"Notes must end by {MAX_SECONDS:,.0f} seconds.")
    try:
        return check_notes(found)
    except ValueError as error:
        raise BadMessage(str(error)) from None


def _numbers(rows, width):
    """Rows of numbers as an array (rows, width), or `None` if they are none.

    Types and sizes are looked at in bulk, because a piece has many notes.
    """
    if not set(map(type, rows)) <= {list} or not set(map(len, rows)) <= {width}:
        return None
    if not set(map(type, itertools.chain.from_iterable(rows))) <= {int, float}:
        return None
    try:
        columns = np.array(rows, "f8").reshape(-1, width)
    except OverflowError:  # A whole number that no float holds.
        return None
    is_in_range = (columns >= 0) & (columns < TOO_LARGE)
    return columns if is_in_range.all() else None
