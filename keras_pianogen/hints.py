"""A hint tells how to mend an error. It is a note of the error.

Python prints notes below the error, and the command line prints them after
"Hint:". They name the options of commands.
"""

import typing

Error = typing.TypeVar("Error", bound=BaseException)


def hinted(error: Error, hint: str) -> Error:
    """An error with a hint, to be raised."""
    error.add_note(hint)
    return error
