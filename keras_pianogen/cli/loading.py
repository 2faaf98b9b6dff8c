"""Loading libraries and models quietly, and stopping them all the same."""

import contextlib
import faulthandler
import os
import signal
import sys
import tempfile
import threading
import time

from rich.console import Console

from keras_pianogen.cli.app import REPORTED
from keras_pianogen.notices.chatter import NOTHING
from keras_pianogen.notices.chatter import hidden_lines
from keras_pianogen.notices.chatter import import_keras_alone
from keras_pianogen.notices.chatter import redirected
from keras_pianogen.notices.preset_names import check_preset


@contextlib.contextmanager
def loading():
    """Shows a spinner while libraries and a model load, quietly.

    TensorFlow logs to file descriptor 2, not through `sys.stderr`. While this
    context lasts, the descriptor leads to a file. Afterwards the lines of the
    file are printed, except TensorFlow's chatter. The chatter is printed too
    if loading fails because of a bug, or with `TF_CPP_MIN_LOG_LEVEL=0`.
    """
    hidden = hidden_lines()
    with (
        tempfile.TemporaryFile("w+", errors="backslashreplace") as log,
        heeded_interrupt() as interrupts,
        redirected(log.fileno()) as terminal,
        _crashes_reported(terminal),
    ):
        try:
            with Console(file=terminal).status("Loading the model …"):
                yield
        except REPORTED:
            raise
        except Exception:
            hidden = NOTHING
            raise
        finally:
            sys.stderr.flush()
            log.seek(0)
            if not interrupts:
                terminal.writelines(x for x in log if not hidden.match(x))


def load_model(preset):
    """The Music Transformer of a preset, over events or over notes."""
    check_preset(preset)
    with loading(), preset_hinted():
        import_keras_alone()
        from keras_pianogen.models import MusicTransformerCausalLM

        return MusicTransformerCausalLM.from_preset(preset)


@contextlib.contextmanager
def preset_hinted():
    """Adds a hint to an error about a preset that KerasHub can't load."""
    try:
        yield
    except ValueError as error:
        if not hasattr(error, "__notes__"):
            error.add_note("`pianogen train` saves a preset in RUN/preset.")
        raise


@contextlib.contextmanager
def _crashes_reported(terminal):
    """Has Python report a crash on the terminal: there is no other trace."""
    if faulthandler.is_enabled():
        yield
        return
    faulthandler.enable(terminal)
    try:
        yield
    finally:
        faulthandler.disable()


@contextlib.contextmanager
def without_chatter():
    """Passes standard error on, line by line, without TensorFlow's chatter."""
    hidden = hidden_lines()
    reader, writer = os.pipe()

    def pass_on(terminal):
        with open(reader, errors="backslashreplace") as lines:
            for line in lines:
                if not hidden.match(line):
                    terminal.write(line)
                    terminal.flush()

    with open(os.dup(2), "w", errors="backslashreplace") as terminal:
        thread = threading.Thread(target=pass_on, args=(terminal,), daemon=True)
        thread.start()
        try:
            with redirected(writer):
                os.close(writer)
                yield
        finally:
            thread.join(1)


@contextlib.contextmanager
def heeded_interrupt():
    """Ctrl-C ends the context, even if a library inside swallows it.

    Some libraries run Python code in callbacks where an exception is lost.
    Yields a list, which has an item for each time that Ctrl-C was pressed.
    """
    interrupts = []

    def interrupt(*_):
        interrupts.append(time.monotonic())
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # Only the main thread gets signals.
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
