"""Bars of what is being done; none where nobody watches a terminal."""

import time

from keras_pianogen.cli.app import stderr


class progress_bar:
    """A bar of things done out of a total, with the time left."""

    def __init__(self, label, unit):
        self.label, self.unit = label, unit

    def __enter__(self):
        from rich import progress

        columns = [
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
        ]
        if self.unit == "bytes":
            columns += [
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
            ]
        else:
            columns += [progress.MofNCompleteColumn()]
        columns += [progress.TimeRemainingColumn()]
        self.bar = _start_bar(*columns, transient=True)
        self.task = self.bar.add_task(self.label, total=None)
        return lambda done, total: self.bar.update(
            self.task, completed=done, total=total
        )

    def __exit__(self, *_):
        self.bar.stop()


class steps_bar:
    """A bar of one thing after another, by its name."""

    def __enter__(self):
        from rich import progress

        self.bar = _start_bar(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TimeRemainingColumn(),
            transient=True,
        )
        self.task, self.what = None, None
        return self.report

    def report(self, what, done):
        if what != self.what:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task, self.what = self.bar.add_task(what, total=1.0), what
        self.bar.update(self.task, completed=done)

    def __exit__(self, *_):
        self.bar.stop()


class training_bar:
    """The bar of a run: speed, losses, time left."""

    done = None  # Share of the run, 0 to 1; none if it had ended before.

    def __enter__(self):
        from rich import progress

        self.bar = _start_bar(
            progress.TextColumn("step {task.fields[step]:,}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn(
                "loss {task.fields[loss]:.3f}  validation "
                "{task.fields[validation]}  {task.fields[speed]:,.0f} events/s"
                "  {task.fields[memory]:.1f} GB"
            ),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.task = self.bar.add_task(
            "",
            total=1.0,
            step=0,
            loss=float("nan"),
            validation="-",
            speed=0.0,
            memory=0.0,
        )
        return self

    def report(self, row, done):
        self.done = done
        best = row["best_val_nats_per_event"]
        self.bar.update(
            self.task,
            completed=done,
            step=row["step"],
            loss=row["loss"],
            validation=f"{best:.3f}" if best < float("inf") else "-",
            speed=row["events_per_second"],
            memory=row["memory_bytes"] / 1e9,
        )

    def __exit__(self, *_):
        self.bar.stop()


class gan_bar:
    """The bar of a GAN's run: the two figures that matter, and a sentence."""

    done = None  # Share of the run, 0 to 1; none if it had ended before.
    sentence = ""

    def __enter__(self):
        from rich import progress

        self.bar = _start_bar(
            progress.TextColumn("round {task.fields[step]:,}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn(
                "gradient {task.fields[norm]:.2g}  distance "
                "{task.fields[distance]:.3f}  {task.fields[sentence]}"
            ),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
        )
        self.task = self.bar.add_task(
            "",
            total=1.0,
            step=0,
            norm=float("nan"),
            distance=float("nan"),
            sentence="",
        )
        return self

    def report(self, row, done, sentence):
        self.done, self.sentence = done, sentence
        self.bar.update(
            self.task,
            completed=done,
            step=row["step"],
            norm=row.get("generator_gradient_norm", 0.0),
            distance=row["event_divergence"],
            sentence=sentence,
        )

    def __exit__(self, *_):
        self.bar.stop()


class generation_bar:
    """The bar of a piece that is written: seconds of music and speed."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.first = self.last = None

    def __enter__(self):
        from rich import progress

        self.bar = _start_bar(
            progress.TextColumn("Writing"),
            progress.BarColumn(),
            progress.TextColumn(
                "{task.completed:.0f} of {task.total:.0f} s of music"
                "{task.fields[speed]}"
            ),
            progress.TimeRemainingColumn(),
            transient=True,
        )
        self.task = self.bar.add_task("", total=self.seconds, speed="")
        return self._report, self._speed

    def _report(self, events, seconds):
        self.last = (time.monotonic(), events)
        self.first = self.first or self.last
        rate = self._speed()
        self.bar.update(
            self.task,
            completed=min(seconds, self.seconds),
            speed=f", {rate:,.0f} events/s" if rate else "",
        )

    def _speed(self):
        """Events a second, compilation left out; None after one report."""
        if self.last is None or self.last[1] == self.first[1]:
            return None
        spent = self.last[0] - self.first[0]
        return (self.last[1] - self.first[1]) / spent

    def __exit__(self, *_):
        self.bar.stop()


def _start_bar(*columns, transient=False):
    """A bar of these columns; none where nobody watches a terminal."""
    from rich import progress

    bar = progress.Progress(
        *columns,
        console=stderr,
        transient=transient,
        disable=not stderr.is_terminal,
    )
    bar.start()
    return bar
