"""Presets by name: where they are and what they must hash to."""

import hashlib
import os
import pathlib

# Presets that lie inside the package, with the sha256 of each file that is
# read when they load.
PRESETS = {}

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "presets"


class BundledPresets:
    """Adds the package's own presets to a KerasHub class's `from_preset`."""

    presets = PRESETS

    @classmethod
    def from_preset(cls, preset, *args, **kwargs):
        """Load from a preset.

        Args:
            preset: a bundled preset's name (see `cls.presets`), a local
                folder, or a `hf://`, `kaggle://` or `modelscope://` handle.
            *args: passed on to KerasHub's `from_preset`.
            **kwargs: passed on to KerasHub's `from_preset`; for models
                `load_weights` and `dtype`.

        Returns:
            An object of this class.

        Raises:
            ValueError: if there is no such preset, or a bundled file is not
                what was published.
        """
        return super().from_preset(locate(preset), *args, **kwargs)


def locate(preset):
    """The folder or handle, a string, that a preset's name stands for."""
    name = os.fspath(preset)
    if name in PRESETS:
        return str(_verified(name))
    if "://" in name or os.path.isdir(name):
        return name
    raise ValueError(
        "`preset` must be the name of a bundled preset "
        f"({', '.join(map(repr, PRESETS))}), a folder, or a handle such as "
        f"'hf://user/model'. Received: preset={name!r}"
    )


def _verified(name):
    folder = FOLDER / name
    for file, expected in PRESETS[name]["sha256"].items():
        try:
            content = (folder / file).read_bytes()
        except OSError as error:
            raise ValueError(
                f"The preset {name!r} is incomplete: {error}. "
                "Install keras_pianogen again."
            ) from error
        received = hashlib.sha256(content).hexdigest()
        if received != expected:
            raise ValueError(
                f"The preset {name!r} is damaged: {folder / file} must have "
                f"the sha256 {expected}. Received: {received}. "
                "Install keras_pianogen again."
            )
    return folder
