"""MIDI files read into packed notes, in worker processes."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
from numpy.typing import NDArray

from keras_pianogen.data.packing import PACKED_DTYPE
from keras_pianogen.data.packing import pack
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import read_notes

# What a worker process runs.
SERVE = "from keras_pianogen.data.workers import serve; serve()"

# Packed notes of a file, and the reason why there are none.
Found = tuple[NDArray[np.void], str]


def read_file(path: pathlib.Path) -> Found:
    """Reads a MIDI file in this process."""
    nothing = np.empty(0, PACKED_DTYPE)
    try:
        notes, _ = read_notes(path, return_report=True)
    except MidiError as error:
        return nothing, str(error).removeprefix(str(path)).lstrip(": ")
    except OSError as error:
        return nothing, error.strerror or str(error)
    return pack(notes), ""


class Workers:
    """Worker processes that read files, one for each thread that calls `read`.

    They are plain child processes that are sent paths through a pipe.
    `multiprocessing` would run the user's script again, or fork a process in
    which a backend may have threads. A file that kills its worker is skipped
    like any other that can't be read.
    """

    def __init__(self) -> None:
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
            return read_file(path)  # No process can be started here.
        try:
            requests.write(json.dumps(os.fspath(path)).encode() + b"\n")
            requests.flush()
            count, reason = json.loads(answers.readline())
            data = answers.read(count * PACKED_DTYPE.itemsize)
            return np.frombuffer(data, PACKED_DTYPE), reason
        except (OSError, ValueError):
            self.own.process = None
            code = process.wait()
            reason = f"ended the process that read it (exit code {code})"
            return np.empty(0, PACKED_DTYPE), reason

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
        notes, reason = read_file(pathlib.Path(json.loads(line)))
        answers.write(json.dumps([len(notes), reason]).encode() + b"\n")
        answers.write(notes.tobytes())
        answers.flush()
