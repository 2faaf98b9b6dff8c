"""The messages that the page sends, checked. Times are in seconds.

Anybody who reaches the server can send JSON. A `BadMessage` is raised for
everything that is wrong with it. Its sentence names the field, what was
expected and what came.
"""

import dataclasses
import itertools
import json
import math

import numpy as np

from keras_pianogen.midi.movements import MAX_SECONDS
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.studio.controls import ALL
from keras_pianogen.studio.controls import LABELS
from keras_pianogen.studio.controls import MOST_CHARACTERS

NAMES = [*(control.name for control in ALL), *LABELS]
PROMPT = {"preset", "notes", "prompt_seconds"}
MAX_CANDIDATES = 4
MAX_NOTES = 60_000  # twice as many as MAESTRO's longest piece has
MAX_MIDI = 1_000  # messages at once
MAX_SEED = 2**32 - 1
MAX_TEXT = 4_000  # characters of a title, or of a row of a recipe
MAX_ROWS = 20  # of a recipe


class BadMessage(ValueError):
    """A message that the page doesn't send."""


@dataclasses.dataclass(frozen=True)
class Wish:
    """The music that a page asks for.

    Attributes:
        preset: a name that the server offers.
        notes: the prompt, an array of `NOTE_DTYPE`, which is empty for a new
            piece.
        seeds: a seed for each candidate.
        settings: dict of arguments of the model's `generate`, one for each
            of the sliders and menus that is used.
        prompt_seconds: where the new music begins, see `generate`; or `None`.
    """

    preset: str
    notes: np.ndarray
    seeds: tuple = ()
    settings: dict = dataclasses.field(default_factory=dict)
    prompt_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class Gap(Wish):
    """A part of a piece that a page asks for anew; `notes` is the whole piece.

    Attributes:
        start: where it begins.
        end: where it ends.
        keep_melody: whether its highest line stays.
    """

    start: float = 0.0
    end: float = 0.0
    keep_melody: bool = False


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


def read_wish(message, presets):
    """A `Wish` from a JSON object.

    Args:
        message: a dict from `read_json`.
        presets: the names that the server offers.
    """
    _check_fields(message, {*PROMPT, "seeds", *NAMES})
    preset = _preset(message, presets)
    settings = _settings(message)
    notes, begin = read_notes(message, least=0), _prompt_seconds(message)
    if notes["end"].max(initial=0) + settings["seconds"] > MAX_SECONDS:
        raise BadMessage(
            f"`notes` and `seconds` after them must end by {MAX_SECONDS:,.0f} "
            "seconds."
        )
    return Wish(preset, notes, _seeds(message.get("seeds")), settings, begin)


def read_gap(message, presets):
    """A `Gap` from a JSON object.

    Args:
        message: see `read_wish`.
        presets: see there.
    """
    own = {"start", "end", "keep_melody"}
    names = set(NAMES) - {"seconds"}
    _check_fields(message, {"preset", "notes", "seeds", *own, *names})
    keep_melody = message.get("keep_melody", False)
    if not isinstance(keep_melody, bool):
        raise BadMessage("`keep_melody` must be true or false.")
    return Gap(
        _preset(message, presets),
        read_notes(message, least=1),
        _seeds(message.get("seeds")),
        _settings(message, required=False),
        start=_number(message, "start", 0, MAX_SECONDS),
        end=_number(message, "end", 0, MAX_SECONDS),
        keep_melody=keep_melody,
    )


def read_prompt(message, presets):
    """A `Wish` of which only the preset and the prompt are known."""
    _check_fields(message, PROMPT)
    preset = _preset(message, presets)
    begin = _prompt_seconds(message)
    notes = read_notes(message, least=1)
    return Wish(preset, notes, prompt_seconds=begin)


def read_piece(message):
    """The notes, one or more, of an object that holds nothing else."""
    _check_fields(message, {"notes"})
    return read_notes(message, least=1)


def read_shared(message):
    """The arguments of `piece_page`: notes, title, prompt's end, recipe."""
    _check_fields(message, {"notes", "title", "prompt_seconds", "recipe"})
    recipe = message.get("recipe", {})
    if not isinstance(recipe, dict) or len(recipe) > MAX_ROWS:
        raise BadMessage(
            f"`recipe` must be an object of at most {MAX_ROWS} names with a "
            f"value each. Received: {str(recipe)[:40]}"
        )
    for text in (message.get("title"), *recipe, *recipe.values()):
        if not isinstance(text, str) or not 0 < len(text) <= MAX_TEXT:
            raise BadMessage(
                "`title` and all of `recipe` must be strings of 1 to "
                f"{MAX_TEXT:,} characters."
            )
    return {
        "notes": read_notes(message, least=1),
        "title": message["title"],
        "prompt_seconds": _prompt_seconds(message),
        "recipe": recipe,
    }


def read_duet(message, presets):
    """The preset of a duet, and its takeover, `"pause"` or `"signal"`."""
    _check_fields(message, {"preset", "takeover"})
    if message.get("takeover") not in ("pause", "signal"):
        raise BadMessage("`takeover` must be 'pause' or 'signal'.")
    return _preset(message, presets), message["takeover"]


def read_keys(message):
    """The id of a duet's job, and a list of MIDI messages of three bytes."""
    _check_fields(message, {"job", "midi"})
    midi = message.get("midi")
    if not isinstance(midi, list) or not 1 <= len(midi) <= MAX_MIDI:
        raise BadMessage(f"`midi` must be a list of 1 to {MAX_MIDI} messages.")
    for row in midi:
        if not (
            isinstance(row, list)
            and len(row) == 3
            and all(type(x) is int for x in row)
            and row[0] in (0x80, 0x90, 0xB0)
            and all(0 <= x <= 127 for x in row[1:])
        ):
            raise BadMessage(
                "Each of `midi` must be three bytes: a note-on, a note-off or "
                "a control change, of the first channel."
            )
    return _job(message), midi


def read_job(message):
    """The id of a job, of an object that holds nothing else."""
    _check_fields(message, {"job"})
    return _job(message)


def _job(message):
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
    """Rows as `read_notes` takes them; times are rounded to 0.1 ms."""
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


def _settings(message, required=True):
    """The value of each control that a message has."""
    used = [
        row
        for row in ALL
        if (required and row.is_required) or row.name in message
    ]
    for choice, rows in itertools.groupby(used, lambda row: row.choice):
        names = [f"`{row.name}`" for row in rows]
        if choice is not None and len(names) > 1:
            raise BadMessage(f"Give at most one of {' and '.join(names)}.")
    numbers = {
        row.name: _number(message, row.name, row.least, row.most)
        for row in used
    }
    return numbers | {x: _word(message, x) for x in LABELS if x in message}


def _word(message, name):
    word = message[name]
    if not isinstance(word, str) or not 0 < len(word) <= MOST_CHARACTERS:
        raise BadMessage(
            f"`{name}` must be a string of 1 to {MOST_CHARACTERS} characters."
        )
    return word


def _prompt_seconds(message):
    if "prompt_seconds" not in message:
        return None
    return _number(message, "prompt_seconds", 0, MAX_SECONDS)


def _number(message, name, least, most):
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
