"""The program: how its commands begin, and how their errors are reported."""

import contextlib
import functools
import importlib.metadata
import os
from typing import Annotated

import typer

from keras_pianogen.cli import options
from keras_pianogen.cli.backends import NAMES
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import stderr
from keras_pianogen.cli.printing import warnings_said
from keras_pianogen.cli.suggestions import SuggestingCommand
from keras_pianogen.notices.hints import pip_install
from keras_pianogen.notices.threads import let_waiting_threads_sleep

app = typer.Typer(
    help="Expressive piano music: prepare a corpus, train models on it, "
    "generate music, and evaluate it.",
    epilog="The environment variable KERAS_BACKEND chooses the backend: jax, "
    "torch or tensorflow. Without it, each command chooses the fastest one "
    "that is installed.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_asked):
    if is_asked:
        say(f"pianogen {importlib.metadata.version('keras-pianogen')}")
        raise typer.Exit()


@app.callback()
def begin(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version.",
        ),
    ] = False,
):
    """Options of the program itself."""


# How each package is installed that the program can run without.
INSTALLED_BY = {
    package: pip_install(package)
    for package in (*NAMES, "tensorboard", "wandb")
} | dict.fromkeys(("starlette", "uvicorn"), pip_install("studio"))

# Errors that the user can mend. Any other error is a bug: its traceback is
# shown.
REPORTED = (ValueError, OSError, ModuleNotFoundError)


def command(stopped, within=None):
    """Makes a command of a function.

    Args:
        stopped: what the command says when Ctrl-C ends it.
        within: the group that the command belongs to. Defaults to `None`, the
            program itself.
    """

    def decorate(function):
        @functools.wraps(function)
        def run(**values):
            _quieten_libraries()
            with _reported(stopped), warnings_said():
                function(**options.gather(function, values))

        run.__signature__ = options.flatten(function)
        return (within or app).command(cls=SuggestingCommand)(run)

    return decorate


def _quieten_libraries():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    let_waiting_threads_sleep()


@contextlib.contextmanager
def _reported(stopped):
    """Prints an error that the user can mend, and a hint; then exits."""
    try:
        yield
    except REPORTED as error:
        message, hint = explain(error)
        stderr.print("[bold red]Error:[/]", end=" ")
        say(" ".join(message.split()), to=stderr)
        stderr.print("[bold]Hint:[/]", end=" ")
        say(hint, to=stderr)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        say(f"Stopped. {stopped}", to=stderr)
        raise typer.Exit(130) from error


def explain(error):
    """An error's message, and a hint: its notes, where it has any."""
    if isinstance(error, ModuleNotFoundError):
        return _explain_missing(error)
    message = str(error)
    hint = "`--help` after the command shows what it takes."
    if isinstance(error, OSError):
        hint = "Check the path, and that it may be read or written."
        if error.strerror and error.filename:
            message = f"{error.strerror}: {os.fspath(error.filename)}"
    return message, " ".join(getattr(error, "__notes__", [hint]))


def _explain_missing(error):
    """Names the package that is missing; any but ours is a bug."""
    package = (error.name or "").split(".")[0].replace("jaxlib", "jax")
    if package not in INSTALLED_BY:
        raise error
    hint = INSTALLED_BY[package]
    if package not in NAMES:
        return f"{package} is not installed.", hint
    others = " or ".join(f"KERAS_BACKEND={name}" for name in NAMES)
    return (
        f"The backend {package} is not installed.",
        f"{hint}, or choose another: {others}",
    )
