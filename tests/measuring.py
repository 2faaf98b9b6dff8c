"""The table of a benchmark, and the rows that are measured for it.

A file of benchmarks names this module in `pytest_plugins`. Times in seconds.
"""

import os
import time

import keras
import pytest
from rich.console import Console
from rich.table import Table


class Summary:
    """The table at the end; a plugin of pytest."""

    def __init__(self):
        self.table = Table(
            title=(
                f"keras_pianogen on {keras.config.backend()}, "
                f"Keras {keras.__version__}, {os.cpu_count()} cores"
            )
        )
        self.table.add_column("what")
        for name in ("speed", "against", "ratio"):
            self.table.add_column(name, justify="right", no_wrap=True)

    def pytest_terminal_summary(self, terminalreporter):
        console = Console(width=120)
        with console.capture() as capture:
            console.print(self.table)
        terminalreporter.write_line("")
        terminalreporter.write(capture.get())


@pytest.fixture(scope="module")
def summary(request):
    summary = Summary()
    request.config.pluginmanager.register(summary)
    return summary


@pytest.fixture
def measure(benchmark, summary):
    """Measures `ours`, in turns with `other`, and adds a row to the table.

    A row bears the name `what`, and speeds: `count` of `unit` in a call's
    time, `other_count` in the other's.
    """

    def measure(
        what, unit, count, ours, against="", other=None, other_count=None, n=5
    ):
        spent = []

        def time_other():
            if other is not None:
                began = time.perf_counter()
                other()
                spent.append(time.perf_counter() - began)

        for function in (ours, time_other):  # Compile, and warm caches up.
            function()
        del spent[:]
        benchmark.pedantic(ours, setup=time_other, rounds=n)
        speed = count / benchmark.stats["min"]
        row = [what, f"{short(speed)} {unit}"]
        benchmark.extra_info[f"{unit}"] = speed
        if spent:
            other_speed = (other_count or count) / min(spent)
            benchmark.extra_info["ratio"] = speed / other_speed
            row += [
                f"{against} {short(other_speed)}",
                f"{short(speed / other_speed)} x",
            ]
        summary.table.add_row(*row)

    return measure


def short(number):
    """Two or three significant digits."""
    digits = 0 if number >= 20 else 1
    return f"{number:,.{digits}f}"
