"""What listeners sent back: read, checked against the key, or simulated.

Every file is one listener's, as the page saved it. One that isn't whole, or
belongs to another page, is named and refused: nothing is left out quietly.
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

# Best first, as in the paper's figure 11.
QUALITIES = ("good", "average", "bad")
SCORES = (1.0, 0.0, -1.0)  # of these, for means
MAX_BYTES = 1_000_000


@dataclasses.dataclass(frozen=True)
class Key:
    """Which sound of a page is of which condition.

    Args:
        study: the page's own number.
        conditions: their names, in the order that they were given.
        items: the condition of each sound, by its opaque name.
    """

    study: str
    conditions: tuple[str, ...]
    items: Mapping[str, str]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Key":
        """Reads the file that `make_page` wrote.

        Raises:
            ValueError: it is no key.
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
    """All that listeners said; each of them about every sound.

    Args:
        key: the page's `Key`.
        listeners: their numbers, in the order of the rows.
        items: the sounds, in the order of the columns.
        quality: int array (listeners, items), places in `QUALITIES`.
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
        """Which sounds are of a condition, a bool array (items,)."""
        return np.array([self.key.items[i] == condition for i in self.items])


def read_ratings(paths: Iterable[str | os.PathLike[str]], key: Key) -> Ratings:
    """Reads listeners' files.

    Args:
        paths: files, or folders of `.json` files.
        key: the `Key` of the page that they come from.

    Returns:
        A `Ratings`.

    Raises:
        ValueError: there is none; or a file is broken, not whole, of another
            page, or of a listener that another file is of; or some listeners
            are simulated and others not.
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
            raise ValueError(
                f"{path} is of the same listener as {first[row['listener']]}"
            )
        first[row["listener"]] = path
    simulated = [path for path, row in rows.items() if row["simulated"]]
    if simulated and len(simulated) < len(rows):
        raise ValueError(
            f"{simulated[0]} is of a simulated listener, and others are not: "
            "report them apart"
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
        raise ValueError(f"{path} is not a file of ratings, version 1")
    if contents["study"] != key.study:
        raise ValueError(
            f"{path} belongs to another page than the key: expected study "
            f"{key.study}. Received: {contents['study']}"
        )
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
        raise ValueError(
            f"{path} is not whole: {len(quality)} of {len(key.items)} sounds "
            "are rated"
        )
    return {
        "listener": listener,
        "quality": quality,
        "inspiring": inspiring,
        "simulated": bool(contents.get("simulated", False)),
    }


def _one(rating: Any, path: pathlib.Path) -> tuple[str, int, bool]:
    """A rating's sound, place in `QUALITIES`, and whether it inspires."""
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
    """Ratings of listeners with known tastes, to try a report on.

    They are marked as simulated, and a report says so: no figure of theirs
    says anything about music.

    Args:
        key: a `Key`.
        tastes: for each condition the chances, 0 to 1, of good, average and
            bad, which sum to 1, and that of inspiring.
        listeners: how many.
        spread: how much listeners differ, 0 to 1: at 0 all share the tastes,
            towards 1 each has one opinion of a condition. The means over
            listeners are the tastes.
        seed: of everything.

    Returns:
        A list of what the page would save, ready for JSON.
    """
    rng = np.random.default_rng(seed)
    found = []
    for place in range(listeners):
        own = {
            condition: (
                _own(rng, tastes[condition][:3], spread),
                _own(
                    rng,
                    (tastes[condition][3], 1 - tastes[condition][3]),
                    spread,
                ),
            )
            for condition in key.conditions
        }
        order = rng.permutation(sorted(key.items)).tolist()
        ratings = [
            {
                "item": item,
                "quality": QUALITIES[rng.choice(3, p=own[key.items[item]][0])],
                "inspiring": bool(rng.random() < own[key.items[item]][1][0]),
            }
            for item in order
        ]
        found.append(
            {
                "version": 1,
                "study": key.study,
                "listener": f"simulated-{seed}-{place}",
                "simulated": True,
                "order": order,
                "ratings": ratings,
            }
        )
    return found


def _own(
    rng: np.random.Generator, chances: tuple[float, ...], spread: float
) -> NDArray[np.float64]:
    """A listener's own chances: Dirichlet, with these as their mean."""
    if spread <= 0:
        return np.array(chances, float)
    strength = (1 - spread) / spread + 1e-9
    drawn = rng.dirichlet(np.maximum(chances, 1e-9) * strength)
    return np.asarray(drawn, float)
