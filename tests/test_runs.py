"""Checkpoints that survive whatever ends the process."""

import json
import os
import subprocess
import sys

# A process that saves until it is killed in the middle of it; numbers that
# belong together, so that a mixture of two checkpoints would be seen. It has
# no backend to start: fifty are forked from one that has loaded everything.
SAVER = """
import json
import os
import random
import signal
import sys
import time

import numpy as np

from keras_pianogen.training.run import Run


class Variable:
    name = "kernel"

    def __init__(self, value):
        self.value = value

    def assign(self, value):
        self.value = value


class Model:
    def __init__(self):
        self.variables = [Variable(np.zeros(20_000)) for _ in range(20)]
        self.optimizer = self

    def fill(self, number):
        for variable in self.variables:
            variable.assign(np.full(20_000, float(number)))


def save_for_ever(run, first, pipe):
    model = Model()
    for step in range(first, 10**9):
        model.fill(step)
        os.write(pipe, b".")
        run.save(model, {"step": step})


rng = random.Random(0)
run = Run(sys.argv[1], ("step",))
run.checkpoints.mkdir(parents=True)
steps, partial = [0], 0
for i in range(50):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        save_for_ever(run, steps[-1] + 1, write)
    for _ in range(rng.randrange(1, 4)):
        os.read(read, 1)  # A save begins.
    # Half of the kills anywhere, half while the files are written.
    deadline = time.monotonic() + 5
    while i % 2 and not (run.checkpoints / ".partial").exists():
        assert time.monotonic() < deadline
    time.sleep(rng.uniform(0, 0.002 if i % 2 else 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read), os.close(write)
    partial += (run.checkpoints / ".partial").exists()
    model = Model()
    state = run.restore(model) if run.last_step() else {"step": 0}
    assert state["step"] >= steps[-1], (state, steps)
    for variable in model.variables:
        assert (variable.value == state["step"]).all()
    steps.append(state["step"])
print(json.dumps({"steps": steps, "partial": partial}))
"""


def test_fifty_kills_inside_saves_lose_nothing(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", SAVER, str(tmp_path / "run")],
        env=os.environ | {"KERAS_BACKEND": "numpy"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found["steps"]) == 51
    assert found["steps"] == sorted(found["steps"])
    assert found["steps"][-1] > 25
    # The kills do come in the middle of saves.
    assert found["partial"] >= 10
