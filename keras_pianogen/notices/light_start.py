"""What Keras and KerasHub import, and go on without.

KerasHub imports TensorFlow under every backend if it is installed, which takes
longer than all other imports of a command. Keras imports Matplotlib for its
galleries of pictures. Both look for them once, with an `ImportError` in mind.
"""

import contextlib
import sys


def leave_tensorflow_out(backend):
    """Have KerasHub do without TensorFlow where another backend computes.

    From then on this process can't import it, unless it has done so before.

    Args:
        backend: string, the name of Keras's backend.
    """
    if backend in ("jax", "torch"):
        sys.modules.setdefault("tensorflow", None)


@contextlib.contextmanager
def hidden(*names):
    """Modules that nobody finds while the context lasts.

    It is for the start of a process: no other thread may import them meanwhile.

    Args:
        *names: their full names. One that is imported already stays.
    """
    new = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(new))
    try:
        yield
    finally:
        for name in new:
            if sys.modules.get(name, sys) is None:
                del sys.modules[name]
