"""The command line: pianogen prepare | train | generate | evaluate | serve.

Heavy imports happen inside the commands, so that `--help` answers at once.
What was asked for goes to standard output, all else to standard error. Exit
codes: 0, also where Ctrl-C ended a training run that can go on; 2, an error
that the user can mend, in one line with a hint; 130, stopped by Ctrl-C.
"""

# In the order in which `--help` lists their commands.
from keras_pianogen.cli import corpora  # noqa: F401, I001
from keras_pianogen.cli import training  # noqa: F401
from keras_pianogen.cli import generation  # noqa: F401
from keras_pianogen.cli import evaluation  # noqa: F401
from keras_pianogen.cli import judging  # noqa: F401
from keras_pianogen.cli.app import app

__all__ = ["app"]
