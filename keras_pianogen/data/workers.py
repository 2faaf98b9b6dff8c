"""MIDI files read into packed notes, in worker processes."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import threading
from typing import Any
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.packing import PACKED_DTYPE
from keras_pianogen.data.packing import pack
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import MidiReport
from keras_pianogen.midi.reading import read_notes

# What a worker process runs.
SERVE = "from keras_pianogen.data.workers import serve; serve()"

NOTHING = np.empty(0, PACKED_DTYPE)


class Found(NamedTuple):
    """Packed notes of a file; or the reason why there are none."""

    notes: NDArray[np.void] = NOTHING
    reason: str = ""
    report: MidiReport = MidiReport()


def read_file(path: pathlib.Path, **settings: Any) -> Found:
    """Reads a MIDI file in this process.

    Args:
        path: the file.
        **settings: arguments of `read_notes`.
    """
    try:
        notes, report = read_notes(path, return_report=True, **settings)
    except MidiError as error:
        reason = str(error).removeprefix(str(path)).lstrip(": ")
        return Found(reason=reason)
    except OSError as error:
        return Found(reason=error.strerror or str(error))
    return Found(pack(notes), report=report)


class Workers:
    """Worker processes that read files, one for each thread that calls `read`.

    They are plain child processes that are sent paths through a pipe.
    `multiprocessing` would run the user's script again, or fork a process in
    which a backend may have threads. A file that kills its worker is skipped
    like any other that can't be read.

    Args:
        **settings: arguments of `read_notes`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.own = threading.local()
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.communicate()

    def read(self, path: pathlib.Path) -> Found:
        """Reads a MIDI file in the worker process of the calling thread."""
        process = getattr(self.own, "process", None) or self._start()
        requests, answers = process.stdin, process.stdout
        if process.poll() is not None or not (requests and answers):
            # No process can be started here.
            return read_file(path, **self.settings)
        try:
            request = [os.fspath(path), self.settings]
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            count, reason, report = json.loads(answers.readline())
            data = answers.read(count * PACKED_DTYPE.itemsize)
            notes = np.frombuffer(data, PACKED_DTYPE)
            return Found(notes, reason, MidiReport.from_dict(report))
        except (OSError, ValueError):
            self.own.process = None
            code = process.wait()
            reason = f"ended the process that read it (exit code {code})"
            return Found(reason=reason)

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # Only the parent is to see Ctrl-C.
        )
        self.own.process = process
        self.processes.append(process)
        if process.stdout is None or not process.stdout.readline():
            process.wait()
        return process


def serve() -> None:
    """Answers each path on standard input with the file's packed notes."""
    answers = sys.stdout.buffer
    answers.write(b"ready\n")
    answers.flush()
    for line in sys.stdin.buffer:
        path, settings = json.loads(line)
        found = read_file(pathlib.Path(path), **settings)
        report = dataclasses.asdict(found.report)
        answer = json.dumps([len(found.notes), found.reason, report])
        answers.write(answer.encode() + b"\n")
        answers.write(found.notes.tobytes())
        answers.flush()
