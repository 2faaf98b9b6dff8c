"""The web page of a piece, with the recipe that made it."""

import inspect
import os
import shlex

from keras_pianogen.cli.options import flag


def share(piece, page, title, recipe=None, prompt_seconds=None, pedal=None):
    """Write the web page of a piece."""
    from keras_pianogen.studio.sharing import save_page

    save_page(
        piece,
        page,
        title=title,
        prompt_seconds=prompt_seconds,
        pedal=pedal,
        recipe=recipe,
    )


def recipe_of(preset, prompt, out, groups, seed):
    """What `generate` writes a piece of: texts by their names.

    Args:
        preset, prompt, out: the options of these names.
        groups: the `Options` that the notes depend on.
        seed: that of the piece.
    """
    words = ["pianogen", "generate", "--preset", preset]
    if prompt is not None:
        words += ["--prompt", str(prompt)]
    for group in groups:
        words += words_of(group)
    backend = os.environ.get("KERAS_BACKEND")
    before = f"KERAS_BACKEND={backend} " if backend else ""
    command = before + shlex.join([*words, "--out", str(out)])
    return {"Preset": preset, "Seed": seed, "Command": command}


def words_of(group):
    """The words of a command that give `Options` their values."""
    declared = inspect.get_annotations(type(group))
    for name, value in vars(group).items():
        if name not in declared:  # a label of the preset
            yield from ("--control", f"{name}={value}")
        elif value is True:
            yield flag(name)
        elif value is False and getattr(type(group), name):
            yield flag(f"no_{name}")
        elif value != getattr(type(group), name):
            yield from (flag(name), str(value))
