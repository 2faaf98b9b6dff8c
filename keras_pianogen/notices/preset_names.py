"""Names of presets, told apart without loading Keras."""

import os
import pathlib

from keras_pianogen.notices.hints import hinted

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "presets"
BUNDLED = sorted(folder.name for folder in FOLDER.glob("*/"))
FILES = ("config.json", "task.json", "SHA256SUMS")  # A preset has one of them.
HANDLES = ("hf", "kaggle", "modelscope")


def check_preset(preset):
    """Refuses what is no bundled preset's name, handle or preset's folder.

    Raises:
        ValueError: if there is no such preset.
    """
    is_name = isinstance(preset, str | os.PathLike) and preset
    name = os.fspath(preset) if is_name else ""
    scheme, _, repository = name.partition("://")
    is_known = name in BUNDLED or (repository and scheme in HANDLES)
    files = (os.path.join(name, file) for file in FILES if name)
    if not is_known and not any(map(os.path.isfile, files)):
        raise hinted(
            ValueError(
                "`preset` must be the name of a bundled preset "
                f"({', '.join(map(repr, BUNDLED))}), a preset's folder, or a "
                f"handle such as 'hf://user/model'. Received: preset={preset!r}"
            ),
            "`pianogen train` saves a preset in RUN/preset.",
        )
