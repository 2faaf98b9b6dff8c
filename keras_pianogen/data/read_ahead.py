"""Batches computed before they are asked for, in threads."""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from typing import Generic
from typing import TypeVar

Value = TypeVar("Value")


class ReadAhead(Generic[Value]):
    """Calls `function(step)`, and prepares the following steps in threads.

    Args:
        function: called with a step. It must be safe to call in a thread.
        workers: number of threads. With 0, nothing is prepared.
        size: number of steps prepared ahead.
    """

    def __init__(
        self, function: Callable[[int], Value], workers: int, size: int
    ):
        self.function = function
        self.workers = workers
        self.size = size
        self.pool: ThreadPoolExecutor | None = None
        self.futures: dict[int, Future[Value]] = {}

    def get(self, step: int) -> Value:
        """Returns `function(step)`."""
        if not self.workers:
            return self.function(step)
        if self.pool is None:
            self.pool = ThreadPoolExecutor(self.workers)
        known, futures = self.futures, {}
        for near in range(step, step + self.size + 1):
            futures[near] = known.get(near) or self.pool.submit(
                self.function, near
            )
        self.futures = futures
        return futures[step].result()
