"""Commands as tests call them: in this process, or in one of their own."""

import os
import subprocess
import sys

from typer.testing import CliRunner

from keras_pianogen import cli

TINY = (
    "--num-layers 1 --num-heads 2 --hidden-dim 16 --intermediate-dim 32 "
    "--sequence-length 32 --batch-size 2 --validation-events 500 --samples 0"
).split()


def invoke(*args):
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in args])


def succeed(*args):
    """What a command prints; it ends well, and the only other line that it
    may print is the first one, which names the backend."""
    result = invoke(*args)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    assert without_backend(result.stderr) == ""
    return result.stdout


def fail(*args):
    """The error and the hint of a command that refuses, a line each."""
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    error, hint = without_backend(result.stderr).splitlines()
    assert error.startswith("Error: ")
    assert hint.startswith("Hint: ")
    assert result.stdout == ""
    return error, hint


def without_backend(lines):
    """Lines of standard error without the first, if it names the backend."""
    first, _, rest = lines.partition("\n")
    return rest if first.startswith("Backend: ") else lines


def start(*args, code="from keras_pianogen.cli import app; app()"):
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(os.fspath, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
