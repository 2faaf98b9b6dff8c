"""Commands as tests call them: in this process, or in one of their own."""

import os
import subprocess
import sys

from sizes import LANGUAGE_MODEL
from typer.testing import CliRunner

from keras_pianogen import cli

TINY = "--batch-size 2 --validation-events 500 --samples 0".split() + [
    f"--{name.replace('_', '-')}={size}"
    for name, size in LANGUAGE_MODEL.items()
]


COURSE = ("Backend: ", "Progress: ", "Reading ")


def invoke(*args):
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in args])


def succeed(*args):
    """What a command prints; it ends well, and complains of nothing."""
    result = invoke(*args)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    assert complaints(result.stderr) == ""
    return result.stdout


def fail(*args):
    """The error and the hint of a command that refuses, a line each."""
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    error, hint = complaints(result.stderr).splitlines()
    assert error.startswith("Error: ")
    assert hint.startswith("Hint: ")
    assert result.stdout == ""
    return error, hint


def complaints(lines):
    """Lines of standard error, except those about the course of the work."""
    kept = (x for x in lines.splitlines(True) if not x.startswith(COURSE))
    return "".join(kept)


def start(*args, code="from keras_pianogen.cli import app; app()"):
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(os.fspath, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
