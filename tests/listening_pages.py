"""Pages of the listening test, and listeners of known tastes."""

import json
import wave

import numpy as np
import pytest

from keras_pianogen.listening import Key
from keras_pianogen.listening import make_page
from keras_pianogen.listening import simulate_listeners
from keras_pianogen.notes import NOTE_DTYPE

RATE = 8000


# Probabilities of good, average and bad, and of inspiring.
TASTES = {
    "genuine": (0.7, 0.25, 0.05, 0.6),
    "machine": (0.4, 0.4, 0.2, 0.3),
    "shuffled": (0.05, 0.25, 0.7, 0.05),
}


def piece(seed, count=100):
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.arange(count) / 8
    notes["end"] = notes["start"] + 0.2
    notes["pitch"] = rng.integers(40, 80, count)
    notes["velocity"] = 64
    return notes


def render(notes, path):
    """Stands in for the piano: a hum as long as the notes, and a tail."""
    length = round((notes["end"].max() + 1) * RATE)
    sound = np.rint(9000 * np.sin(notes["pitch"].sum() * np.arange(length)))
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.repeat(sound, 2).astype("<i2").tobytes())


CONDITIONS = {
    "genuine": {f"chopin-{i}.mid": piece(i) for i in range(4)},
    "machine": {f"made-{i}.mid": piece(10 + i) for i in range(3)},
}


SETTINGS = {"render": render, "seconds": 5, "pieces": 3, "seed": 7}


def make(folder, **changes):
    conditions = changes.pop("conditions", CONDITIONS)
    return make_page(
        conditions,
        changes.pop("out", folder / "page"),
        changes.pop("key", folder / "key.json"),
        **SETTINGS | changes,
    )


@pytest.fixture
def page(tmp_path):
    """A page's folder, and its key's file."""
    make(tmp_path)
    return tmp_path / "page", tmp_path / "key.json"


@pytest.fixture
def key(page):
    return Key.read(page[1])


def save(listeners, folder):
    folder.mkdir(exist_ok=True)
    for i, values in enumerate(listeners):
        (folder / f"{i}.json").write_text(json.dumps(values))
    return folder


def judged(key, *args, **kwargs):
    """The ratings of simulated listeners, without files."""
    from keras_pianogen.listening import Ratings
    from keras_pianogen.listening.ratings import QUALITIES

    rows = [
        {r["item"]: r for r in listener["ratings"]}
        for listener in simulate_listeners(key, *args, **kwargs)
    ]
    items = tuple(sorted(key.items))
    return Ratings(
        key,
        tuple(map(str, range(len(rows)))),
        items,
        np.array(
            [[QUALITIES.index(r[i]["quality"]) for i in items] for r in rows]
        ),
        np.array([[r[i]["inspiring"] for i in items] for r in rows]),
        True,
    )
