"""A thread that works through a short queue of jobs. Times are in seconds.

It knows nothing of music or of the network. The work of a job calls `Job.check`
now and then, which raises `Stopped` if the job is to end.
"""

import collections
import logging
import secrets
import threading
import time

MAX_WAITING = 4  # jobs, besides the current one
TIMEOUT = 120.0  # seconds of work, without the time in the queue
QUIET = 4.0  # seconds without a job before preparations continue
# Until a job that is to stop is over for its listener, even if its work is in a
# call that can't be interrupted, such as a compilation. Later jobs wait for it.
GRACE = 0.5

logger = logging.getLogger(__name__)


class Busy(Exception):
    """The queue is full."""


class Stopped(Exception):
    """A job is to end, because it was stopped or took too long."""


class Job:
    """A piece of work, and the listener that is told about it.

    After a report that ends the job, there are no others.

    Args:
        work: a function of the job.
        report: a function that is called with a dict, in the worker's thread.

    Attributes:
        id: str. It is random, so that nobody can guess it.
    """

    def __init__(self, work, report):
        self.id = secrets.token_urlsafe(16)
        self.work = work
        self._report = report
        self._reporting, self._is_over = threading.Lock(), False
        self._deadline = None
        self._stopped = threading.Event()

    def report(self, message):
        with self._reporting:
            if not self._is_over:
                self._is_over = "end" in message or "error" in message
                self._report(message)

    def begin(self, timeout):
        self._deadline = time.monotonic() + timeout

    def stop(self):
        self._stopped.set()

    def check(self):
        """Raise `Stopped` if the job is to end."""
        if self._stopped.is_set():
            raise Stopped("stopped")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Stopped("timeout")


class Worker:
    """A thread that does jobs one at a time, in the order of their arrival.

    The last report of a job is `{"end": ...}`, with `"done"`, `"stopped"` or
    `"timeout"`, or `{"error": ...}` with a sentence. Foreseen work is stopped
    when a job arrives, and begun again after it.

    Args:
        preparations: functions that are called one by one while there is no
            job and the last one ended some time ago, because the user may
            soon ask for another.
        reported: exceptions whose message is for the user. Other exceptions
            are logged, and the user is told only that there was one.
        max_waiting: int. The most jobs that may wait.
        timeout: float. The most seconds of a job.
    """

    def __init__(
        self,
        preparations=(),
        reported=(ValueError, OSError),
        max_waiting=MAX_WAITING,
        timeout=TIMEOUT,
    ):
        self._preparations = collections.deque(preparations)
        self._reported = reported
        self._max_waiting = max_waiting
        self._timeout = timeout
        self._waiting = collections.deque()
        self._current = None
        self._foreseen = self._foreseeing = None
        self._quiet_from = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(
            target=self._run, name="studio worker", daemon=True
        )
        self._thread.start()

    def submit(self, work, report):
        """Queue a job. Each waiting job is told how many are before it.

        Args:
            work: see `Job`.
            report: see `Job`.

        Returns:
            The `Job`.

        Raises:
            Busy: if `max_waiting` jobs wait already.
        """
        job = Job(work, report)
        with self._changed:
            if self._closed or len(self._waiting) >= self._max_waiting:
                raise Busy
            job.report({"job": job.id})
            self._waiting.append(job)
            self._tell_places()
            self._give_way()
            self._changed.notify()
        return job

    def foresee(self, work):
        """Do work ahead of time while there is no job.

        It replaces the work that was foreseen before.

        Args:
            work: a function of a `Job`, whose reports nobody receives.
        """
        with self._changed:
            if not self._closed:
                self._foreseen = Job(work, _log_error)
            self._give_way()
            self._changed.notify()

    def _give_way(self):
        if self._foreseeing is None:
            return
        self._foreseeing.stop()
        if self._foreseen is None and not self._closed:
            self._foreseen = Job(self._foreseeing.work, _log_error)

    def stop(self, job_id):
        """Stop a job. Returns whether there is a job with this id."""
        with self._changed:
            if self._current is not None and self._current.id == job_id:
                self._current.stop()
                last = [{"end": "stopped"}]
                threading.Timer(GRACE, self._current.report, last).start()
                return True
            for job in self._waiting:
                if job.id == job_id:
                    self._waiting.remove(job)
                    job.report({"end": "stopped"})
                    self._tell_places()
                    return True
        return False

    def close(self):
        """Stop all jobs, and accept no more."""
        with self._changed:
            self._closed = True
            self._preparations.clear()
            self._give_way()
            self._foreseen = None
            for job in self._waiting:
                job.report({"end": "stopped"})
            self._waiting.clear()
            if self._current is not None:
                self._current.stop()
            self._changed.notify()

    def _tell_places(self):
        busy = self._current is not None
        for place, job in enumerate(self._waiting):
            job.report({"waiting": place + busy})

    def _run(self):
        while (task := self._next()) is not None:
            if isinstance(task, Job):
                self._do(task)
                continue
            try:
                task()
            except Exception:
                logger.exception("A preparation failed.")

    def _next(self):
        """Wait for the next job, preparation or foreseen work.

        Returns `None` if the worker is closed.
        """
        with self._changed:
            if self._current is not None:
                self._quiet_from = time.monotonic() + QUIET
            self._current = self._foreseeing = None
            while not (self._closed or self._waiting):
                left = self._quiet_from - time.monotonic()
                if self._preparations and left <= 0:
                    return self._preparations.popleft()
                if self._foreseen is not None:
                    self._foreseeing, self._foreseen = self._foreseen, None
                    return self._foreseeing
                self._changed.wait(left if self._preparations else None)
            if self._closed:
                return None
            self._current = self._waiting.popleft()
            self._tell_places()
            return self._current

    def _do(self, job):
        job.begin(self._timeout)
        try:
            job.check()
            job.work(job)
            last = {"end": "done"}
        except Stopped as reason:
            last = {"end": str(reason)}
        except self._reported as error:
            last = {"error": str(error)}
        except Exception:
            logger.exception("A job failed.")
            last = {"error": "Something went wrong; see the server's log."}
        job.report(last)


def _log_error(message):
    """Log the error of foreseen work, because nobody receives its reports."""
    if "error" in message:
        logger.warning("Work ahead of time failed: %s", message["error"])
