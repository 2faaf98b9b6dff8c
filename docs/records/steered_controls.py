"""Give a preset controls that it wasn't trained with, and leave its weights.

python docs/records/steered_controls.py corpora/maestro PRESET pace legato

The train split of the corpus says what the controls mean. They are written to
the files of the preset in which its controls stand.
"""

import json
import pathlib
import sys

from keras_pianogen import Corpus
from keras_pianogen.data.controls import Controls


def extended(settings, new):
    """The settings of a preset with more controls, wherever they stand."""
    if isinstance(settings, list):
        return [extended(x, new) for x in settings]
    if not isinstance(settings, dict):
        return settings
    return {
        name: Controls.from_config(x).joined(new).get_config()
        if name == "controls"
        else extended(x, new)
        for name, x in settings.items()
    }


folder, preset, *names = sys.argv[1:]
found = Controls.of(Corpus(folder), names, steered=names)
for name in ("config.json", "preprocessor.json", "task.json"):
    path = pathlib.Path(preset, name)
    settings = extended(json.loads(path.read_text()), found)
    path.write_text(json.dumps(settings, indent=4))
