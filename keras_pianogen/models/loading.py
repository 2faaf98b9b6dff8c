"""Loading the model of a preset, whatever its class."""

import json
import pathlib

import keras

from keras_pianogen.models.causal_lm import MusicTransformerCausalLM
from keras_pianogen.models.presets import locate


def from_preset(preset, **kwargs):
    """Load the language model that a preset holds.

    Args:
        preset: the name of a bundled preset, a preset's folder, or a handle
            such as `"hf://user/model"`, see
            `MusicTransformerCausalLM.from_preset`.
        **kwargs: passed on to the class's `from_preset`.

    Returns:
        A `MusicTransformerCausalLM`, a `NoteTransformerCausalLM`, or a
        baseline.

    Raises:
        ValueError: if there is no such preset, if a file has changed since it
            was saved, or if something in a file is wrong.

    Examples:
        ```python
        model = keras_pianogen.from_preset("music_transformer_maestro")
        notes = model.generate(seconds=30, seed=1)
        ```
    """
    task = pathlib.Path(locate(preset), "task.json")
    cls = MusicTransformerCausalLM
    if task.exists():  # `locate` has checked that its class is one of ours.
        name = json.loads(task.read_text())["registered_name"]
        cls = keras.saving.get_registered_object(name)
    return cls.from_preset(preset, **kwargs)
