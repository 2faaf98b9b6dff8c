"""Presets by name: where they are and what they must hash to."""

import hashlib
import os
import pathlib

# Presets that lie inside the package, with the sha256 of each file that is
# read when they load.
PRESETS = {
    "music_transformer_maestro": {
        "metadata": {
            "description": (
                "6 layers, 3.9 million parameters, trained on MAESTRO v3.0.0; "
                "magenta vocabulary, 1,024 events of context. "
                "CC BY-NC-SA 4.0."
            ),
            "params": 3_853_824,
        },
        "sha256": {
            "config.json": (
                "8050c3bd1d6173e7a914cac3181674da3ecd8837419c5ccc7996a3a65db63767"
            ),
            "metadata.json": (
                "8cd93771e7c2d72cded3ca9aea7d5c377d25197d34d20c8d43de4831d1eac1a6"
            ),
            "model.weights.h5": (
                "1cade53227d3aa48b5e96ac197354e487454f4fc05ab1120772d02906fa5aaa0"
            ),
            "preprocessor.json": (
                "15eecdf4bbb88b0b85ba7ef36b1b461b259ad91b68ce72ee4a0be0b5377fe5b1"
            ),
            "task.json": (
                "7366148f0cef15e24805e9188c3788ce71d2f49aa3d5ea6849e489b27246340c"
            ),
            "tokenizer.json": (
                "1c376a5cba6232d047125eba13455d78e0593760d2ec046ed31dc7bd64e07c11"
            ),
        },
    },
}

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "presets"


def bundled_presets(cls):
    """Class decorator: `from_preset` takes the package's own presets too."""
    inherited = cls.from_preset.__func__

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
        return inherited(cls, locate(preset), *args, **kwargs)

    cls.from_preset = from_preset
    cls.presets = PRESETS
    return cls


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
