"""The ratings of listeners: read from files and checked, or simulated.

Every file is one listener's, as the page saved it. A file that is incomplete
or belongs to another page is refused by name, and never left out silently.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.notices.hints import hinted

# From best to worst, as in the paper's figure 11.
QUALITIES = ("good", "average", "bad")
SCORES = (1.0, 0.0, -1.0)  # of `QUALITIES`, for means
MAX_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True)
class Key:
    """The condition of each sound of a page.

    Args:
        study: the page's own number.
        conditions: the conditions' names, in the order of `make_page`.
        items: the condition of each sound, by the sound's random name.
    """

    study: str
    conditions: tuple[str, ...]
    items: Mapping[str, str]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Key":
        """Reads the file that `make_page` wrote.

        Raises:
            ValueError: if it is no key.
        """
        contents = _read_json(pathlib.Path(path), "a key")
        try:
            items = {
                name: item["condition"]
                for name, item in contents["items"].items()
            }
            key = cls(contents["study"], tuple(contents["conditions"]), items)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no key that `pianogen listen make` wrote: {error!r}"
            ) from error
        if not items or not set(items.values()) <= set(key.conditions):
            raise ValueError(f"{path} is no key: conditions don't fit sounds")
        return key


@dataclasses.dataclass(frozen=True)
class Ratings:
    """The ratings of all listeners. Each of them has rated every sound.

    Args:
        key: the page's `Key`.
        listeners: the listeners' numbers, in the order of the rows.
        items: the sounds, in the order of the columns.
        quality: int array (listeners, items), indices in `QUALITIES`.
        inspiring: bool array (listeners, items).
        simulated: whether the listeners are not people.
    """

    key: Key
    listeners: tuple[str, ...]
    items: tuple[str, ...]
    quality: NDArray[np.int64]
    inspiring: NDArray[np.bool_]
    simulated: bool = False

    def columns(self, condition: str) -> NDArray[np.bool_]:
        """Whether each sound is of a condition, a bool array (items,)."""
        return np.array([self.key.items[i] == condition for i in self.items])


def read_ratings(paths: Iterable[str | os.PathLike[str]], key: Key) -> Ratings:
    """Reads listeners' files.

    Args:
        paths: files, or folders of `.json` files.
        key: the `Key` of the page that they come from.

    Returns:
        A `Ratings`.

    Raises:
        ValueError: if there is no file; if a file is broken, incomplete or of
            another page; if two files are of one listener; or if some
            listeners are simulated and others are not.
    """
    files = _files(paths)
    if not files:
        raise ValueError(
            "`ratings` must be files that the page saved. Received: none"
        )
    rows = {path: _read(path, key) for path in files}
    first: dict[str, pathlib.Path] = {}
    for path, row in rows.items():
        if row["listener"] in first:
            error = ValueError(
                f"{path} is of the same listener as {first[row['listener']]}"
            )
            raise hinted(error, "Leave one of these files out.")
        first[row["listener"]] = path
    simulated = [path for path, row in rows.items() if row["simulated"]]
    if simulated and len(simulated) < len(rows):
        raise ValueError(
            f"{simulated[0]} is of a simulated listener, and others are not. "
            "Report them apart"
        )
    items = tuple(sorted(key.items))
    return Ratings(
        key,
        tuple(first),
        items,
        np.array([[row["quality"][i] for i in items] for row in rows.values()]),
        np.array(
            [[row["inspiring"][i] for i in items] for row in rows.values()]
        ),
        bool(simulated),
    )


def _files(paths: Iterable[str | os.PathLike[str]]) -> list[pathlib.Path]:
    found: list[pathlib.Path] = []
    for path in map(pathlib.Path, paths):
        found += sorted(path.glob("*.json")) if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def _read_json(path: pathlib.Path, what: str) -> dict[str, Any]:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"{path} is too large to be {what}")
    try:
        contents = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not {what}: {error}") from error
    if not isinstance(contents, dict):
        raise ValueError(f"{path} is not {what}: no JSON object")
    return contents


def _read(path: pathlib.Path, key: Key) -> dict[str, Any]:
    """One listener's answers, checked."""
    contents = _read_json(path, "a file of ratings")
    if contents.get("version") != 1 or "study" not in contents:
        error = ValueError(f"{path} is not a file of ratings, version 1")
        raise hinted(
            error, "Give the files that listeners saved from the page."
        )
    if contents["study"] != key.study:
        error = ValueError(
            f"{path} belongs to another page than the key: expected study "
            f"{key.study}. Received: {contents['study']}"
        )
        raise hinted(error, "Each page has a key of its own.")
    listener, ratings = contents.get("listener"), contents.get("ratings")
    if not isinstance(listener, str) or not isinstance(ratings, list):
        raise ValueError(f"{path} is broken: no listener, or no ratings")
    quality: dict[str, int] = {}
    inspiring: dict[str, bool] = {}
    for rating in ratings:
        item, judged, inspired = _one(rating, path)
        if item not in key.items or item in quality:
            raise ValueError(
                f"{path} is broken: {item!r} is rated twice, or is no sound of "
                "the page"
            )
        quality[item], inspiring[item] = judged, inspired
    if len(quality) < len(key.items):
        error = ValueError(
            f"{path} is not whole: {len(quality)} of {len(key.items)} sounds "
            "are rated"
        )
        raise hinted(error, "Ask for it again, or leave that file out.")
    return {
        "listener": listener,
        "quality": quality,
        "inspiring": inspiring,
        "simulated": bool(contents.get("simulated", False)),
    }


def _one(rating: Any, path: pathlib.Path) -> tuple[str, int, bool]:
    """A rating's sound, its index in `QUALITIES`, and whether it inspires."""
    if (
        not isinstance(rating, dict)
        or not isinstance(rating.get("item"), str)
        or rating.get("quality") not in QUALITIES
        or not isinstance(rating.get("inspiring"), bool)
    ):
        raise ValueError(
            f"{path} is broken: a rating must have an item, a quality "
            f"({', '.join(QUALITIES)}) and whether it is inspiring. Received: "
            f"{str(rating)[:200]}"
        )
    quality = QUALITIES.index(rating["quality"])
    return rating["item"], quality, rating["inspiring"]


def simulate_listeners(
    key: Key,
    tastes: Mapping[str, tuple[float, float, float, float]],
    listeners: int,
    *,
    spread: float = 0.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Simulates ratings of listeners with known tastes, to test a report.

    The ratings are marked as simulated, and a report says so, because they
    say nothing about music.

    Args:
        key: a `Key`.
        tastes: for each condition the probabilities of good, average and bad,
            which sum to 1, and the probability of inspiring.
        listeners: number of listeners.
        spread: how much listeners differ, 0 to 1. At 0 all listeners have the
            same tastes; near 1 each listener gives nearly the same answer to
            all sounds of a condition. The means over listeners are the tastes.
        seed: seed of all random choices.

    Returns:
        A list of the files that the page would save, ready for JSON.
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(listeners):
        own = {}
        for condition in key.conditions:
            *quality, inspiring = tastes[condition]
            own[condition] = (
                _own(rng, quality, spread),
                _own(rng, [inspiring, 1 - inspiring], spread),
            )
        order = rng.permutation(sorted(key.items)).tolist()
        found.append(
            {
                "version": 1,
                "study": key.study,
                "listener": f"simulated-{seed}-{number}",
                "simulated": True,
                "order": order,
                "ratings": [
                    _rate(rng, item, *own[key.items[item]]) for item in order
                ],
            }
        )
    return found


def _rate(
    rng: np.random.Generator,
    item: str,
    quality: NDArray[np.float64],
    inspiring: NDArray[np.float64],
) -> dict[str, Any]:
    """A random rating of a sound, by the probabilities of the answers."""
    return {
        "item": item,
        "quality": QUALITIES[rng.choice(3, p=quality)],
        "inspiring": bool(rng.random() < inspiring[0]),
    }


def _own(
    rng: np.random.Generator, chances: list[float], spread: float
) -> NDArray[np.float64]:
    """A listener's own probabilities: Dirichlet, with `chances` as mean."""
    if spread <= 0:
        return np.array(chances, float)
    strength = (1 - spread) / spread + 1e-9
    drawn = rng.dirichlet(np.maximum(chances, 1e-9) * strength)
    return np.asarray(drawn, float)
