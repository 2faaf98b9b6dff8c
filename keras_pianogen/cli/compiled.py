"""Compiled functions, kept for the next start of a command that writes music.

JAX compiles the functions of a model for several seconds. It keeps them in a
folder of the user's, if it is told so before it is imported. Other backends
keep nothing. Sizes are in bytes.
"""

import hashlib
import os
import pathlib
import platform

MOST = 500_000_000  # of all that is kept; JAX deletes the rest


def keep():
    """Have JAX keep what it compiles, unless the environment says where."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = cache_folder() / "keras_pianogen" / "compiled" / _machine()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # No folder, or no home: it compiles again.
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(MOST))
    # All of them: by default, those that took less than a second are not kept.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def cache_folder():
    """The folder of this user's caches.

    Raises:
        RuntimeError: if the user has no home.
    """
    if platform.system() == "Darwin":
        return pathlib.Path.home() / "Library" / "Caches"
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        if os.environ.get(variable):
            return pathlib.Path(os.environ[variable])
    return pathlib.Path.home() / ".cache"


def _machine():
    """Names the processor, because others may lack its instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        about = next(x for x in lines if x.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        about = platform.processor()
    return hashlib.sha256(about.encode()).hexdigest()[:12]
