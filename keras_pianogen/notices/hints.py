"""Hints, which tell how to mend an error: notes of the error.

Python prints notes below the error, and the command line prints them after
"Hint:". They name the options of commands.
"""

import typing

EXTRAS = ("jax", "live", "studio", "torch")

Error = typing.TypeVar("Error", bound=BaseException)


def hinted(error: Error, hint: str) -> Error:
    """An error with a hint, to be raised."""
    error.add_note(hint)
    return error


def pip_install(package: str) -> str:
    """The command that installs a package, in words, between backquotes.

    This package is on no index, so that its extras, such as `"jax"` and
    `"studio"`, are installed from a clone.

    Args:
        package: an extra of this package; or the name of another package.

    Examples:
        >>> pip_install("studio")
        "`pip install '.[studio]'` in the project's folder"
        >>> pip_install("wandb")
        '`pip install wandb`'
    """
    if package in EXTRAS:
        return f"`pip install '.[{package}]'` in the project's folder"
    return f"`pip install {package}`"
