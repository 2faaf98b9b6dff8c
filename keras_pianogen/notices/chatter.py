"""Libraries that talk while they are imported, imported quietly.

TensorFlow logs to file descriptor 2, not through `sys.stderr`, and before it
reads any setting. KerasHub imports it under every backend.
"""

import contextlib
import importlib
import os
import re
import sys
import tempfile

from keras_pianogen.notices.light_start import hidden

# Lines that TensorFlow logs while it loads and looks for GPUs.
CHATTER = re.compile(
    r"[IWE]\d{4} |WARNING: All log messages before absl|"
    "To enable the following instructions"
)
NOTHING = re.compile("(?!)")


def hidden_lines():
    """What lines aren't shown: none with `TF_CPP_MIN_LOG_LEVEL=0`."""
    shown = os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"
    return NOTHING if shown else CHATTER


@contextlib.contextmanager
def redirected(target):
    """Leads descriptor 2 to another one; yields a file for what it was."""
    with open(os.dup(2), "w", errors="backslashreplace") as terminal:
        os.dup2(target, 2)
        try:
            yield terminal
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)


@contextlib.contextmanager
def quietly():
    """Prints what is logged in this context after it, without chatter.

    Where standard error is closed, or no file can be made, nothing is hidden.
    """
    hidden = hidden_lines()
    if hidden is NOTHING or sys.stderr is None:
        yield
        return
    try:
        os.fstat(2)
        log = tempfile.TemporaryFile("w+", errors="backslashreplace")  # noqa: SIM115
    except OSError:
        yield
        return
    with log:
        sys.stderr.flush()
        with redirected(log.fileno()) as terminal:
            try:
                yield
            finally:
                sys.stderr.flush()
                log.seek(0)
                terminal.writelines(x for x in log if not hidden.match(x))


def import_keras(*others):
    """Imports Keras quietly, and has TensorFlow look for GPUs.

    TensorFlow would look for them at its first operation, and log that there
    are none as an error.

    Args:
        *others: full names of modules that are built on Keras. Nothing is done
            if all of them are imported already, Keras too.
    """
    names = [name for name in ("keras", *others) if name not in sys.modules]
    if not names:
        return
    with quietly():
        for name in names:
            importlib.import_module(name)
        importlib.import_module("keras_pianogen.devices").seek_gpus()


def import_keras_alone():
    """Imports Keras and KerasHub as `import_keras`, but not Matplotlib.

    It is for commands, which don't use Keras's galleries: in this process they
    find no Matplotlib. All others can import it afterwards.
    """
    with hidden("matplotlib"):
        import_keras("keras_hub")
