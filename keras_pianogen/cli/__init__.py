"""The command line: pianogen prepare | train | generate | evaluate | serve.

Libraries that take long to load are imported inside the commands, so that
`--help` answers at once. Results go to standard output, everything else to
standard error. The exit code is 0 after success, and also where Ctrl-C ended a
training run that can be resumed; 2 after an error that the user can mend,
which is printed in one line, with a hint in the next; and 130 where Ctrl-C
stopped any other command.
"""

# In the order in which `--help` lists their commands.
from keras_pianogen.cli import corpora  # noqa: F401, I001
from keras_pianogen.cli import training  # noqa: F401
from keras_pianogen.cli import curves  # noqa: F401
from keras_pianogen.cli import generation  # noqa: F401
from keras_pianogen.cli import infilling  # noqa: F401
from keras_pianogen.cli import performing  # noqa: F401
from keras_pianogen.cli import duet  # noqa: F401
from keras_pianogen.cli import rendering  # noqa: F401
from keras_pianogen.cli import presets  # noqa: F401
from keras_pianogen.cli import studio  # noqa: F401
from keras_pianogen.cli import evaluation  # noqa: F401
from keras_pianogen.cli import judging  # noqa: F401
from keras_pianogen.cli import listening  # noqa: F401
from keras_pianogen.cli.app import app

__all__ = ["app"]
