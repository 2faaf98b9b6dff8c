"""Expressive piano music: MIDI performances in, Keras 3 models, MIDI out.

The public names below are loaded on first use. `import keras_pianogen` takes
milliseconds and starts no deep learning backend; `keras_pianogen.read_notes`
loads the MIDI module, `keras_pianogen.models` loads Keras.

One thing does not happen by itself: `keras_hub.models.CausalLM.from_preset`
finds this package's classes only after `import keras_pianogen.models`.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from keras_pianogen import comparison
    from keras_pianogen import evaluation
    from keras_pianogen import gan_training
    from keras_pianogen import layers
    from keras_pianogen import listening
    from keras_pianogen import models
    from keras_pianogen import samplers
    from keras_pianogen import training
    from keras_pianogen import two_sample
    from keras_pianogen.corpus import Corpus
    from keras_pianogen.corpus import prepare_corpus
    from keras_pianogen.events import EventVocabulary
    from keras_pianogen.maestro import Maestro
    from keras_pianogen.midi import MidiError
    from keras_pianogen.midi import read_notes
    from keras_pianogen.midi import read_pedal
    from keras_pianogen.midi import write_midi
    from keras_pianogen.notebook import show
    from keras_pianogen.pianoroll import plot_piano_roll
    from keras_pianogen.pianoroll_svg import piano_roll_svg
    from keras_pianogen.saving import save
    from keras_pianogen.synthesis import render
    from keras_pianogen.synthesis import synthesize
    from keras_pianogen.windows import EvaluationWindows
    from keras_pianogen.windows import EventWindows

    __version__: str

# Each public function and class, and the module that holds it.
_HOMES = {
    "Corpus": "corpus",
    "EvaluationWindows": "windows",
    "EventVocabulary": "events",
    "EventWindows": "windows",
    "Maestro": "maestro",
    "MidiError": "midi",
    "piano_roll_svg": "pianoroll_svg",
    "plot_piano_roll": "pianoroll",
    "prepare_corpus": "corpus",
    "read_notes": "midi",
    "read_pedal": "midi",
    "render": "synthesis",
    "save": "saving",
    "show": "notebook",
    "synthesize": "synthesis",
    "write_midi": "midi",
}

__all__ = [
    "Corpus",
    "EvaluationWindows",
    "EventVocabulary",
    "EventWindows",
    "Maestro",
    "MidiError",
    "comparison",
    "evaluation",
    "gan_training",
    "layers",
    "listening",
    "models",
    "piano_roll_svg",
    "plot_piano_roll",
    "prepare_corpus",
    "read_notes",
    "read_pedal",
    "render",
    "samplers",
    "save",
    "show",
    "synthesize",
    "training",
    "two_sample",
    "write_midi",
]


def __getattr__(name: str) -> object:
    """Loads a public name when it is first asked for."""
    value: object
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        value = metadata.version("keras-pianogen")
    elif name in _HOMES:
        home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
        value = getattr(home, name)
    elif name in __all__:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names that are loaded and those that can be."""
    return sorted({*globals(), *__all__, "__version__"})
