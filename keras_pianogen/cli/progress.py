"""Progress bars, which are drawn only where standard error is a terminal."""

import contextlib
import time

from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import stderr

# Shortest time from one line to the next, where there is no terminal.
SECONDS_OF_A_LINE = 10.0
PERCENTAGE = "{task.percentage:>3.0f}%"


@contextlib.contextmanager
def _bar(label, *columns, stays=False, **fields):
    """Rich's progress display with one bar.

    Args:
        label: format of the column before the bar.
        *columns: Rich's columns, or formats, between the bar and the time.
        stays: whether the bar is left on the terminal in the end.
        **fields: arguments of Rich's `add_task`, and what formats show.

    Yields:
        The display, which prints lines where there is no terminal, and the
        number of its one task.
    """
    from rich import progress

    with progress.Progress(
        label,
        progress.BarColumn(),
        *columns,
        progress.TimeRemainingColumn(elapsed_when_finished=stays),
        console=stderr,
        transient=not stays,
        disable=not stderr.is_terminal,
    ) as bar:
        task = bar.add_task("", **fields)
        yield bar if stderr.is_terminal else Lines(bar, label), task


class Lines:
    """Rich's display where there is no terminal: lines, fewer as time passes.

    Args:
        bar: a `rich.progress.Progress` with one task.
        label: see `_bar`.
    """

    def __init__(self, bar, label):
        self.bar, self.label = bar, label
        self.began = time.monotonic()
        self.due = self.began + SECONDS_OF_A_LINE

    def __getattr__(self, name):
        return getattr(self.bar, name)

    def update(self, task, **fields):
        """Update the task, and print a line if the last one is old enough."""
        self.bar.update(task, **fields)
        now = time.monotonic()
        if now >= self.due:
            self.due = now + max(SECONDS_OF_A_LINE, (now - self.began) / 10)
            say(self._line(now - self.began), to=stderr)

    def _line(self, elapsed):
        (task,) = self.bar.tasks
        line = f"Progress: {self.label.format(task=task)}"
        if task.total and task.completed:
            done = min(task.completed / task.total, 1)
            left = elapsed * (1 / done - 1) / 60
            line += f" {done:.0%}, about {left:.1f} minutes left"
        return f"{line}  {task.fields.get('figures', '')}".rstrip()


@contextlib.contextmanager
def counting_bar(label):
    """Yields a function of how many things are done, and of how many."""
    from rich import progress

    with _bar(label, progress.MofNCompleteColumn(), total=None) as (bar, task):
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def download_bar():
    """Yields a function of how many bytes have come, and of how many."""
    from rich import progress

    columns = progress.DownloadColumn(), progress.TransferSpeedColumn()
    with _bar("Downloading", *columns, total=None) as (bar, task):
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextlib.contextmanager
def stages_bar():
    """Yields a function of a stage's name, and the share of it that is done."""
    with _bar("{task.description}", PERCENTAGE, total=1.0) as (bar, task):

        def report(stage, done):
            if stage != bar.tasks[0].description:
                bar.reset(task, description=stage)
            bar.update(task, completed=done)

        yield report


class LastReport:
    """What a training run reported last.

    `done` is the share of the run that is done, 0 to 1. It is `None` if the
    run reported nothing, because it had reached its length before. `sentence`
    says what a GAN's figures mean.
    """

    done = None
    sentence = ""


@contextlib.contextmanager
def _run_bar(noun, describe):
    """Yields a function that a training run calls, and its `LastReport`.

    Args:
        noun: what the run counts: "step" or "round".
        describe: a function of a row of the run's history and of a sentence,
            which returns what is shown of them.
    """
    last = LastReport()
    columns = PERCENTAGE, "{task.fields[figures]}"
    fields = {"stays": True, "total": 1.0, "figures": ""}
    with _bar("{task.description}", *columns, **fields) as (bar, task):

        def report(row, done, sentence=""):
            last.done, last.sentence = done, sentence
            bar.update(
                task,
                completed=done,
                description=f"{noun} {row['step']:,}",
                figures=describe(row, sentence),
            )

        yield report, last


@contextlib.contextmanager
def training_bar():
    """The bar of a language model's run: losses, speed, memory.

    A preset's own loss, which is reported before the first step, is a line.
    """
    with _run_bar("step", _describe_step) as (report_step, last):

        def report(row, done):
            if row["step"]:
                report_step(row, done)
            else:
                loss = row["val_nats_per_event"]
                say(f"The preset: validation {loss:.3f} nats per {row['unit']}")

        yield report, last


def _describe_step(row, _):
    best = row["best_val_nats_per_event"]
    validation = f"{best:.3f}" if best < float("inf") else "-"
    return (
        f"loss {row['loss']:.3f}  validation {validation}  "
        f"{row['events_per_second']:,.0f} {row['unit']}s/s  "
        f"{row['memory_bytes'] / 1e9:.1f} GB"
    )


def gan_bar():
    """The bar of a GAN's run: the two figures that matter, and a sentence."""
    return _run_bar("round", _describe_round)


def _describe_round(row, sentence):
    return (
        f"gradient {row.get('generator_gradient_norm', 0.0):.2g}  "
        f"distance {row['event_divergence']:.3f}  {sentence}"
    )


class Speed:
    """Events per second from the first report on: it waits for compilation.

    A count below the last one is that of the next drawing, of a piece that is
    drawn again or of the next part of a gap.
    """

    def __init__(self):
        self.first = self.last = None
        self.events = self.before = 0

    def report(self, events):
        if events < self.events:
            self.before += self.events
        self.events = events
        self.last = (time.monotonic(), self.before + events)
        self.first = self.first or self.last

    def __call__(self):
        """Events per second, or `None` after less than two reports."""
        if self.last is None or self.last[1] == self.first[1]:
            return None
        seconds = self.last[0] - self.first[0]
        return (self.last[1] - self.first[1]) / seconds


@contextlib.contextmanager
def generation_bar(seconds):
    """Yields a function that `generate` calls, and the `Speed` it measures."""
    speed = Speed()
    text = "{task.completed:.0f} of {task.total:.0f} s of music"
    columns = (text + "{task.fields[speed]}",)
    with _bar("Writing", *columns, total=seconds, speed="") as (bar, task):

        def report(events, done):
            speed.report(events)
            rate = speed()
            bar.update(
                task,
                completed=min(done, seconds),
                speed=f", {rate:,.0f} events/s" if rate else "",
            )

        yield report, speed
