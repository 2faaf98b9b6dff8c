"""The messages that the page sends, checked. Times are in seconds.

A `BadMessage` is raised for everything that is wrong with one, see `fields`.
"""

import dataclasses
import itertools

import numpy as np

from keras_pianogen.midi.movements import MAX_SECONDS
from keras_pianogen.rendering.tones import PITCHES
from keras_pianogen.studio import fields
from keras_pianogen.studio.controls import ALL
from keras_pianogen.studio.controls import LABELS
from keras_pianogen.studio.controls import MOST_CHARACTERS
from keras_pianogen.studio.fields import BadMessage
from keras_pianogen.studio.played import Played

NAMES = [*(control.name for control in ALL), *LABELS]
PROMPT = {"preset", "notes", "prompt_seconds"}
PIECE = {"notes", "own", "moves"}
MAX_MIDI = 1_000  # messages at once
MAX_TEXT = 4_000  # characters of a title, or of a row of a recipe
MAX_ROWS = 20  # of a recipe


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


def read_wish(message, presets, prompts):
    """A `Wish` from a JSON object.

    Args:
        message: a dict from `fields.read_json`. Its prompt is the name of one
            that was sent before, or notes.
        presets: the names that the server offers.
        prompts: the `Prompts` that the server has.
    """
    fields.check_fields(message, {*PROMPT, "prompt", "seeds", *NAMES})
    preset = fields.preset(message, presets)
    settings = _settings(message)
    if "prompt" in message:
        fields.check_fields(message, {"preset", "prompt", "seeds", *NAMES})
        name = fields.word(message, "prompt", MOST_CHARACTERS)
        notes, begin = prompts.find(name)
    else:
        notes = fields.notes(message, least=0)
        begin = fields.prompt_seconds(message)
    if notes["end"].max(initial=0) + settings["seconds"] > MAX_SECONDS:
        raise BadMessage(
            f"`notes` and `seconds` after them must end by {MAX_SECONDS:,.0f} "
            "seconds."
        )
    return Wish(preset, notes, fields.seeds(message), settings, begin)


def read_gap(message, presets):
    """A `Gap` from a JSON object.

    Args:
        message: see `read_wish`.
        presets: see there.
    """
    own = {"start", "end", "keep_melody"}
    names = set(NAMES) - {"seconds"}
    fields.check_fields(message, {"preset", "notes", "seeds", *own, *names})
    keep_melody = message.get("keep_melody", False)
    if not isinstance(keep_melody, bool):
        raise BadMessage("`keep_melody` must be true or false.")
    return Gap(
        fields.preset(message, presets),
        fields.notes(message, least=1),
        fields.seeds(message),
        _settings(message, required=False),
        start=fields.number(message, "start", 0, MAX_SECONDS),
        end=fields.number(message, "end", 0, MAX_SECONDS),
        keep_melody=keep_melody,
    )


def read_prompt(message, presets):
    """A `Wish` of which only the preset and the prompt are known."""
    fields.check_fields(message, PROMPT)
    preset = fields.preset(message, presets)
    begin = fields.prompt_seconds(message)
    notes = fields.notes(message, least=1)
    return Wish(preset, notes, prompt_seconds=begin)


def read_piece(message):
    """The `Played` of an object that holds nothing else."""
    fields.check_fields(message, PIECE)
    return _played(message)


def read_shared(message):
    """A `Played`, and a dict of what else `sharing.piece_page` takes."""
    about = {"title", "prompt_seconds", "recipe"}
    fields.check_fields(message, PIECE | about)
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
    return _played(message), {
        "title": message["title"],
        "prompt_seconds": fields.prompt_seconds(message),
        "recipe": recipe,
    }


def _played(message):
    own, keys = fields.own_notes(message)
    most = fields.MAX_NOTES - len(own)
    new = fields.notes(message, least=0 if len(own) else 1, most=most)
    return Played(new, own, keys, fields.moves(message))


def read_duet(message, presets):
    """The preset of a duet, and its takeover, `"pause"` or `"signal"`."""
    fields.check_fields(message, {"preset", "takeover"})
    if message.get("takeover") not in ("pause", "signal"):
        raise BadMessage("`takeover` must be 'pause' or 'signal'.")
    return fields.preset(message, presets), message["takeover"]


def read_tone(message):
    """The pitch of a tone of the piano, and whether it is struck hard."""
    fields.check_fields(message, {"pitch", "hard"})
    pitch, hard = message.get("pitch"), message.get("hard")
    if type(pitch) is not int or pitch not in PITCHES:
        raise BadMessage(
            f"`pitch` must be every third from {PITCHES[0]} to {PITCHES[-1]}. "
            f"Received: {str(pitch)[:40]}"
        )
    if not isinstance(hard, bool):
        raise BadMessage("`hard` must be true or false.")
    return pitch, hard


def read_keys(message):
    """The id of a duet's job, and a list of MIDI messages of three bytes."""
    fields.check_fields(message, {"job", "midi"})
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
    return fields.job(message), midi


def read_job(message):
    """The id of a job, of an object that holds nothing else."""
    fields.check_fields(message, {"job"})
    return fields.job(message)


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
        row.name: fields.number(message, row.name, row.least, row.most)
        for row in used
    }
    return numbers | {
        x: fields.word(message, x, MOST_CHARACTERS)
        for x in LABELS
        if x in message
    }
