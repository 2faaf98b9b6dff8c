"""Expressive piano music: MIDI performances in, Keras 3 models, MIDI out.

The public names below are loaded on first use. `import keras_pianogen` takes
milliseconds and starts no deep learning backend; `keras_pianogen.read_notes`
loads the MIDI module, `keras_pianogen.models` loads Keras.

One thing does not happen by itself: `keras_hub.models.CausalLM.from_preset`
finds this package's classes only after `import keras_pianogen.models`.
"""

import importlib
import sys
import types
import typing

if typing.TYPE_CHECKING:
    from keras_pianogen import gan
    from keras_pianogen import layers
    from keras_pianogen import listening
    from keras_pianogen import models
    from keras_pianogen import training
    from keras_pianogen.data.corpus import Corpus
    from keras_pianogen.data.maestro import Maestro
    from keras_pianogen.data.preparing import prepare_corpus
    from keras_pianogen.data.training_windows import EventWindows
    from keras_pianogen.data.windows import EvaluationWindows
    from keras_pianogen.duet import Duet
    from keras_pianogen.events import EventVocabulary
    from keras_pianogen.generation import samplers
    from keras_pianogen.judging import comparison
    from keras_pianogen.judging import likelihood as evaluation
    from keras_pianogen.judging import two_sample
    from keras_pianogen.midi import MidiError
    from keras_pianogen.midi import MidiReport
    from keras_pianogen.midi import read_notes
    from keras_pianogen.midi import read_pedal
    from keras_pianogen.midi import write_midi
    from keras_pianogen.models import from_preset
    from keras_pianogen.note_tuples import NoteTuples
    from keras_pianogen.notes import NOTE_DTYPE
    from keras_pianogen.rendering.notebook import show
    from keras_pianogen.rendering.pianoroll import plot_piano_roll
    from keras_pianogen.rendering.pianoroll_svg import piano_roll_svg
    from keras_pianogen.rendering.saving import save
    from keras_pianogen.rendering.synthesis import render
    from keras_pianogen.rendering.synthesis import synthesize
    from keras_pianogen.studio.sharing import save_page
    from keras_pianogen.training import gan as gan_training

    __version__: str

# Each public function, class and type of arrays, and the module that holds it.
_HOMES = {
    "Corpus": "data.corpus",
    "Duet": "duet",
    "EvaluationWindows": "data.windows",
    "EventVocabulary": "events",
    "EventWindows": "data.training_windows",
    "NoteTuples": "note_tuples",
    "from_preset": "models",
    "Maestro": "data.maestro",
    "MidiError": "midi",
    "MidiReport": "midi",
    "NOTE_DTYPE": "notes",
    "piano_roll_svg": "rendering.pianoroll_svg",
    "plot_piano_roll": "rendering.pianoroll",
    "prepare_corpus": "data.preparing",
    "read_notes": "midi",
    "read_pedal": "midi",
    "render": "rendering.synthesis",
    "save": "rendering.saving",
    "save_page": "studio.sharing",
    "show": "rendering.notebook",
    "synthesize": "rendering.synthesis",
    "write_midi": "midi",
}
# Each public module, and where it is.
_MODULES = {
    "comparison": "judging.comparison",
    "evaluation": "judging.likelihood",
    "gan": "gan",
    "gan_training": "training.gan",
    "layers": "layers",
    "listening": "listening",
    "models": "models",
    "samplers": "generation.samplers",
    "training": "training",
    "two_sample": "judging.two_sample",
}

__all__ = [
    "Corpus",
    "Duet",
    "EvaluationWindows",
    "EventVocabulary",
    "EventWindows",
    "Maestro",
    "MidiError",
    "MidiReport",
    "NOTE_DTYPE",
    "NoteTuples",
    "comparison",
    "evaluation",
    "from_preset",
    "gan",
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
    "save_page",
    "show",
    "synthesize",
    "training",
    "two_sample",
    "write_midi",
]


class _PublicModule(types.ModuleType):
    """A public module, imported by its public name: it has the names of the
    module that holds them."""

    def __init__(self, name: str, home: str) -> None:
        super().__init__(f"{__name__}.{name}", f"See `{__name__}.{home}`.")
        self._home = f"{__name__}.{home}"

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # Whoever looks through all modules.
            raise AttributeError(name)
        return getattr(importlib.import_module(self._home), name)


for _name, _home in _MODULES.items():
    if _name != _home:  # Such as `from keras_pianogen.samplers import …`.
        sys.modules[f"{__name__}.{_name}"] = _PublicModule(_name, _home)


def __getattr__(name: str) -> object:
    """Loads a public name when it is first asked for."""
    value: object
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        value = metadata.version("keras-pianogen")
    elif name in _HOMES:
        home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
        value = getattr(home, name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The names that are loaded and those that can be."""
    return sorted({*globals(), *__all__, "__version__"})
