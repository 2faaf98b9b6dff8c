"""Compiled functions, kept for the studio's next start.

JAX compiles the functions of a model for several seconds. It keeps them in a
folder of the user's, if it is told so before it is imported. Other backends
keep nothing. Sizes are in bytes.
"""

import hashlib
import os
import pathlib
import platform

MOST = 500_000_000  # of all that is kept; the files used least are deleted


def keep():
    """Have JAX keep what it compiles, unless the environment says where."""
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    folder = cache_folder() / "keras_pianogen" / "jax" / _machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _shrink(folder, MOST)
    except OSError:  # Then the next start compiles again.
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    # All of them: by default, those that took less than a second are not kept.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def cache_folder():
    """The folder of this user's caches."""
    home = pathlib.Path.home()
    if platform.system() == "Darwin":
        return home / "Library" / "Caches"
    local = os.environ.get("LOCALAPPDATA")
    return pathlib.Path(
        os.environ.get("XDG_CACHE_HOME") or local or home / ".cache"
    )


def _machine():
    """Names the processor, because others may lack its instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        about = next(x for x in lines if x.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        about = platform.processor()
    return hashlib.sha256(about.encode()).hexdigest()[:12]


def _shrink(folder, most):
    """Delete files until the others have at most so many bytes."""
    files = [(path, path.stat()) for path in folder.iterdir()]
    left = sum(about.st_size for _, about in files)
    for path, about in sorted(files, key=lambda x: x[1].st_mtime):
        if left <= most:
            return
        path.unlink(missing_ok=True)
        left -= about.st_size
