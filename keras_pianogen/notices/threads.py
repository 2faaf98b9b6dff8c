"""How PyTorch's threads wait for each other on a CPU."""

import os

# Threads that only spin take many times as long where other programs use the
# cores. Of those that sleep, the ones that spin this often before were the
# fastest, on quiet and on busy cores (docs/performance.md).
SETTINGS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000"}


def let_waiting_threads_sleep() -> None:
    """Set how OpenMP's threads wait, unless the environment says so.

    OpenMP reads it when PyTorch is loaded, so that a later call does nothing.
    """
    if not SETTINGS.keys() & os.environ.keys():
        os.environ.update(SETTINGS)
