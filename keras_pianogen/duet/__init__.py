"""Playing together: a pianist and a model take turns on one instrument.

The public names are loaded on first use. The rules of turns and the ports load
no Keras, so that a command checks them before it chooses a backend.
"""

import importlib

_HOMES = {
    "AtKey": "turns",
    "AtPedal": "turns",
    "AtSilence": "turns",
    "Duet": "duet",
}

__all__ = list(_HOMES)


def __getattr__(name):
    """Loads a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
