"""Loading libraries and models quietly, and stopping them all the same."""

import contextlib
import faulthandler
import os
import re
import signal
import sys
import tempfile
import threading
import time

from rich.console import Console

from keras_pianogen.cli.app import BACKENDS
from keras_pianogen.cli.app import REPORTED

# What TensorFlow logs as it loads, before it reads any setting.
CHATTER = re.compile(r"[IWE]\d{4} |WARNING: All log messages before absl")


@contextlib.contextmanager
def loading():
    """A spinner while libraries and a model load, quietly.

    TensorFlow logs to descriptor 2, past `sys.stderr`. That leads to a file
    here, and all but the chatter is shown afterwards: all of it where loading
    fails for reasons of its own, or with `TF_CPP_MIN_LOG_LEVEL=0`.
    """
    backend = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        raise ValueError(
            f"`KERAS_BACKEND` must be one of {', '.join(BACKENDS)}. "
            f"Received: {backend!r}"
        )
    hidden = CHATTER
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        hidden = re.compile("(?!)")  # Matches nothing.
    with (
        tempfile.TemporaryFile("w+", errors="backslashreplace") as log,
        open(os.dup(2), "w") as terminal,
        heeded_interrupt() as interrupts,
    ):
        crashes = not faulthandler.is_enabled()
        if crashes:  # They would leave no other trace.
            faulthandler.enable(terminal)
        os.dup2(log.fileno(), 2)
        try:
            with Console(file=terminal).status("Loading the model …"):
                yield
        except REPORTED:
            raise
        except Exception:
            hidden = re.compile("(?!)")
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)
            if crashes:
                faulthandler.disable()
            log.seek(0)
            if not interrupts:
                terminal.writelines(x for x in log if not hidden.match(x))


@contextlib.contextmanager
def without_chatter():
    """Leaves what TensorFlow logs out of standard error, line by line."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    reader, writer = os.pipe()
    terminal = os.dup(2)

    def pass_on():
        with open(reader, errors="backslashreplace") as lines:
            for line in lines:
                if not CHATTER.match(line):
                    os.write(terminal, line.encode(errors="replace"))

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        thread.join(1)


@contextlib.contextmanager
def heeded_interrupt():
    """Ctrl-C ends what is inside, even if a library swallows it there.

    Some run Python code in callbacks where an exception is lost. Gives a
    list, which fills as Ctrl-C comes.
    """
    interrupts = []

    def interrupt(*_):
        interrupts.append(time.monotonic())
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # Not in the main thread, which alone gets signals.
        yield interrupts
        return
    try:
        yield interrupts
    except Exception as error:
        if interrupts:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt
