"""Who waits for the studio, and who stops it."""

import json
import signal
import subprocess
import sys
import threading
import time
import types

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx2")

from studio_server import PATIENCE  # noqa: E402
from studio_server import Slow  # noqa: E402
from studio_server import wait_until  # noqa: E402
from studio_server import wish  # noqa: E402

from keras_pianogen.studio import jobs  # noqa: E402

pytest_plugins = ["studio_server"]
pytestmark = pytest.mark.one_backend


def test_what_is_stopped_writes_no_more_than_the_step_it_is_in(serve_slow):
    server, steps = serve_slow(), []

    def on_line(line):
        on_line.job = line.get("job", on_line.job)
        if "events" in line and not steps:
            answer = server.client.post("/stop", json={"job": on_line.job})
            assert answer.json() == {"stopped": True}
            steps.append(Slow.steps)

    on_line.job = None
    lines = server.write(on_line, **wish("slow", seconds=120))
    assert lines[-1] == {"end": "stopped"}
    assert Slow.steps <= steps[0] + 1


def test_who_leaves_stops_the_job(serve_slow):
    server = serve_slow()
    with server.client.stream(
        "POST", "/write", json=wish("slow", seconds=120)
    ) as answer:
        next(answer.iter_lines())
    before = Slow.steps
    lines = server.write(**wish("slow", seconds=0.1))
    assert lines[-1] == {"end": "done"}
    assert Slow.steps < before + 100  # Two seconds of 24.


def test_a_full_queue_refuses(serve_slow):
    server = serve_slow(max_waiting=1)
    ids, refused, begun = [], [], threading.Event()

    def on_line(line):
        if "job" in line:
            ids.append(line["job"])
        if "events" in line:
            begun.set()

    def ask():
        lines = server.write(on_line, **wish("slow", seconds=120))
        if not isinstance(lines, list):
            refused.append(lines.status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    assert begun.wait(PATIENCE)
    threads[1].start()
    wait_until(lambda: len(ids) == 2)
    for thread in threads[2:]:
        thread.start()
    wait_until(lambda: len(refused) == 2)
    assert refused == [503, 503]
    for job in ids:
        server.client.post("/stop", json={"job": job})
    for thread in threads:
        thread.join(PATIENCE)
    assert server.write(**wish("slow", seconds=0.1))[-1] == {"end": "done"}


def test_a_job_that_takes_too_long_is_ended(serve_slow):
    lines = serve_slow(timeout=0.3).write(**wish("slow", seconds=120))
    assert lines[-1] == {"end": "timeout"}


def test_a_job_that_fails_is_not_the_last_one():
    worker, reports = jobs.Worker(), []
    done = threading.Event()

    def fail(job):
        raise RuntimeError("Inside.")

    def refuse(job):
        raise ValueError("For the user.")

    worker.submit(fail, reports.append)
    worker.submit(refuse, reports.append)
    worker.submit(lambda job: done.set(), reports.append)
    assert done.wait(PATIENCE)
    worker.close()
    errors = [report["error"] for report in reports if "error" in report]
    assert errors[1] == "For the user."
    assert "Inside" not in errors[0]


def test_preparations_wait_until_jobs_are_over_for_a_while(monkeypatch):
    now, done, submitted = [100.0], [], threading.Event()
    clock = types.SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(jobs, "time", clock)
    worker = jobs.Worker(
        [lambda: submitted.wait(PATIENCE), lambda: done.append("preparation")]
    )
    for _ in range(2):
        worker.submit(lambda job: done.append("job"), lambda message: None)
    submitted.set()
    wait_until(lambda: len(done) == 2)
    # What is foreseen is done only while no preparation is due.
    worker.foresee(lambda job: done.append("foreseen"))
    wait_until(lambda: len(done) == 3)
    now[0] += jobs.QUIET
    worker.foresee(lambda job: done.append("foreseen"))
    wait_until(lambda: len(done) == 5)
    worker.close()
    assert done == ["job", "job", "foreseen", "preparation", "foreseen"]


def test_what_is_foreseen_gives_way_to_jobs_and_to_the_latest():
    worker, done, begun = jobs.Worker(), [], threading.Event()

    def foresee(name):
        def work(job):
            done.append(name)
            begun.set()
            while True:
                time.sleep(0.01)
                job.check()

        worker.foresee(work)

    foresee("first")
    assert begun.wait(PATIENCE)
    reports = []
    worker.submit(lambda job: done.append("job"), reports.append)
    wait_until(lambda: "job" in done)
    assert {"waiting": 0} in reports  # Nobody waits for what is foreseen.
    assert {"waiting": 1} not in reports
    wait_until(lambda: len(done) == 3)  # It was put off, not given up.
    foresee("second")
    wait_until(lambda: "second" in done)
    foresee("third")
    wait_until(lambda: "third" in done)
    assert done == ["first", "job", "first", "second", "third"]
    worker.close()
    worker._thread.join(PATIENCE)
    assert not worker._thread.is_alive()


STUBBORN = """
import sys
import time
from keras_pianogen.cli.app import app
import keras_pianogen.cli
from keras_pianogen.studio import server

class Stubborn:
    presets, state, failure, preparations = ["slow"], "ready", None, ()
    step = "", 1.0
    def __init__(self, presets):
        pass
    def write(self, wish, job):
        time.sleep(30)  # As long as a compilation, which can't be stopped.

server.Composer = Stubborn
sys.argv[0] = "pianogen"
app()
"""


def test_ctrl_c_while_it_writes_ends_at_once_without_a_traceback():
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = process.stdout.readline().split()[-1]
    loading = time.monotonic() - started
    lines = []
    with httpx.stream(
        "POST",
        f"{address}write",
        json=wish("slow"),
        trust_env=False,
        timeout=60,
    ) as answer:
        for line in answer.iter_lines():
            lines.append(json.loads(line))
            if lines[-1] == {"waiting": 0}:
                process.send_signal(signal.SIGINT)
                interrupted = time.monotonic()
    assert lines[-1] == {"end": "stopped"}
    _, errors = process.communicate(timeout=20)
    # One second against three, on an idle machine.
    assert time.monotonic() - interrupted < loading
    assert process.returncode == 130
    assert errors.splitlines()[1:] == ["Stopped. The page is closed."]
