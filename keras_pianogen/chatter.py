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

# Lines that TensorFlow logs while it loads.
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


def import_quietly(*names):
    """Import modules; of what they print, TensorFlow's chatter is left out.

    Args:
        *names: the modules' full names. Nothing is done for those that are
            imported already.
    """
    names = [name for name in names if name not in sys.modules]
    hidden = hidden_lines()
    if not names or hidden is NOTHING or sys.stderr is None:
        return
    try:
        os.fstat(2)
    except OSError:  # It is closed.
        return
    try:
        log = tempfile.TemporaryFile("w+", errors="backslashreplace")  # noqa: SIM115
    except OSError:  # There is no place for it.
        return
    with log:
        sys.stderr.flush()
        with redirected(log.fileno()) as terminal:
            try:
                for name in names:
                    importlib.import_module(name)
            finally:
                sys.stderr.flush()
                log.seek(0)
                terminal.writelines(x for x in log if not hidden.match(x))
