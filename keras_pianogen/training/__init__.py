"""Training runs of language models and GANs, and their records.

The public names are loaded on first use, so that drawing the curves of a run
doesn't load Keras.
"""

import importlib

_HOMES = {
    "GanRecipe": "gan_recipe",
    "Recipe": "recipe",
    "TrainingError": "checkpoints",
    "train": "language_model",
    "train_gan": "gan",
}

__all__ = list(_HOMES)


def __getattr__(name):
    """Loads a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
