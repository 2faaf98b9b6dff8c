"""One thread that works through a short queue. Times in seconds.

It knows nothing of music and nothing of the network. Work that can be stopped
calls `Job.check` now and then, which raises `Stopped` once it should end.
"""

import collections
import logging
import secrets
import threading
import time

MAX_WAITING = 4  # jobs, beside the one that is done
TIMEOUT = 120.0  # seconds of work, waiting not counted
QUIET = 4.0  # seconds without a job, before preparations go on

logger = logging.getLogger(__name__)


class Busy(Exception):
    """The queue is full."""


class Stopped(Exception):
    """Work ends here: somebody stopped it, or it took too long."""


class Job:
    """Some work, and whoever waits for it.

    Args:
        work: a function of the job. What it returns or raises is reported.
        report: a function of a dict, called from the worker's thread.

    Attributes:
        id: str, which nobody can guess.
    """

    def __init__(self, work, report):
        self.id = secrets.token_urlsafe(16)
        self.work = work
        self.report = report
        self._deadline = None
        self._stopped = threading.Event()

    def begin(self, timeout):
        self._deadline = time.monotonic() + timeout

    def stop(self):
        self._stopped.set()

    def check(self):
        """Raises `Stopped` if the work should end here."""
        if self._stopped.is_set():
            raise Stopped("stopped")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise Stopped("timeout")


class Worker:
    """A thread that does one job at a time, in the order they came.

    The last thing a job reports is `{"end": ...}` (`"done"`, `"stopped"` or
    `"timeout"`) or `{"error": ...}`, a sentence. What is foreseen gives way to
    jobs and is begun again after them.

    Args:
        preparations: functions to call, one by one, while no job waits and
            none was done of late: whoever listens may soon want another.
        reported: exceptions whose message is for the user. Of others it only
            gets to know that they happened; they are logged.
        max_waiting: int. Jobs that may wait.
        timeout: float. Seconds that a job may take.
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
        """Queue work. Each job is told how many are before it.

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
        """Do this while there is no job, in place of what was foreseen before.

        Args:
            work: a function of a `Job` that nobody hears of. It is stopped by
                a job and done again after it.
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
        """Stop a job by its id. Returns whether there was one."""
        with self._changed:
            if self._current is not None and self._current.id == job_id:
                self._current.stop()
                return True
            for job in self._waiting:
                if job.id == job_id:
                    self._waiting.remove(job)
                    job.report({"end": "stopped"})
                    self._tell_places()
                    return True
        return False

    def close(self):
        """Stop everything, and take nothing more."""
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
        """The next job, preparation that is due, or what is foreseen.

        `None` once closed.
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
            last = {"error": "Something went wrong; the server's log says it."}
        job.report(last)


def _log_error(message):
    """For work that nobody waits for."""
    if "error" in message:
        logger.warning("What was foreseen failed: %s", message["error"])
