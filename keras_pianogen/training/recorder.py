"""The recorder of a training run: steps, history, checkpoints and the end.

It knows nothing of the model it records. It is given

- `figures`, which make the row of a step: `columns`, names of the history's
  columns; `losses`, those that must be finite; `begin_epoch(recorder)`;
  `of_step(recorder, logs)` and `of_epoch(recorder)`, which return a dict.
- `looks`, see `looks.py`.
- `results`, a function that saves what a run leaves for its user.
"""

import math
import signal
import threading
import time

import keras

SECONDS_A_CHECKPOINT = 60


class Recorder(keras.callbacks.Callback):
    """Keeps the history of a run, saves checkpoints, and ends it.

    An epoch of Keras is an epoch of the run's length.

    Args:
        run: the `Run` that is written.
        length: a `Steps` or a `Minutes`.
        figures: an object that makes rows, see above.
        looks: list of objects that look at the model as training goes on.
        results: a function without arguments. It is called before the
            checkpoint after a look that is to be kept, and at the end.
        state: dict of the numbers that a checkpoint keeps. Looks may add
            theirs.
        seed: int. Seed of the steps' random numbers.
        breaks_epochs: bool. Whether an epoch may end early for a checkpoint.
        progress: a function called with each row and the share of the run
            that is done. Defaults to `None`.

    Attributes:
        row: the last row of the history, a dict.
        interrupted: bool. Set it to end the run after its step.
    """

    def __init__(
        self,
        run,
        length,
        figures,
        looks,
        results,
        state,
        *,
        seed,
        breaks_epochs,
        progress=None,
    ):
        super().__init__()
        self.run, self.length, self.figures = run, length, figures
        self.looks, self.results, self.state = looks, results, state
        self.seed, self.breaks_epochs = seed, breaks_epochs
        self.progress = progress
        self.step = state["step"]
        self.epoch = state.get("epoch", 0)
        self.seconds_before = state["seconds"]
        self.row = state.get("row") or {"step": self.step}
        self.rows = []
        self.interrupted = self.ended = self.goes_on = False
        self.began = self.saved = time.monotonic()

    @property
    def seconds(self):
        return self.seconds_before + time.monotonic() - self.began

    @property
    def done(self):
        return self.length.done(self.step, self.seconds)

    @property
    def finished(self):
        return self.done >= 1

    @property
    def stopping(self):
        return self.finished or self.interrupted

    @property
    def late(self):
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self.saved > SECONDS_A_CHECKPOINT

    def on_epoch_begin(self, epoch, logs=None):
        self.length.begin_epoch(self.model, self.done)
        self.epoch_began = self.step, self.seconds
        self.figures.begin_epoch(self)

    def on_train_batch_begin(self, batch, logs=None):
        seed_step(self.seed, self.step)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.row = self.new_row() | self.figures.of_step(self, logs)
        self.rows.append(self.row)
        for name in self.figures.losses:
            self._check_loss(name)
        self.report()
        if self.stopping or (self.breaks_epochs and self.late):
            self.model.stop_training = True

    def new_row(self):
        """A row of the history, with the figures that looks leave in it."""
        row = {"step": self.step, "seconds": self.seconds}
        for look in self.looks:
            row |= look.figures
        return row

    def _check_loss(self, name):
        value = self.row.get(name, 0.0)
        if not math.isfinite(value):
            self._write_rows()
            raise self.run.not_finite(self.step, f"{name} is {value}")

    def report(self):
        if self.progress is not None:
            self.progress(self.row, self.done)

    def on_epoch_end(self, epoch, logs=None):
        self.epoch += 1
        self.row |= self.figures.of_epoch(self)
        stopping, interrupted = self.stopping, self.interrupted
        due = self.due_looks()
        keeping = stopping or any(look.is_kept for look in due)
        saving = keeping or self.late
        if due or saving:
            self.run.check_finite(self.model, self.step)
        logs |= self.look(due)
        self._write_rows()
        # Whoever ends a run may kill it soon: then the checkpoint comes first.
        parts = [(keeping, self.results), (saving, self.save)]
        for wanted, keep in reversed(parts) if interrupted else parts:
            if wanted:
                keep()
        self.report()
        self._end_epoch(stopping)

    def due_looks(self):
        return [look for look in self.looks if look.is_due(self)]

    def look(self, looks):
        """Look, and put the figures into the row; they are returned."""
        figures = {}
        for look in looks:
            figures |= look.look(self)
            self.row |= look.figures
        self.row |= figures
        return figures

    def _end_epoch(self, stopping):
        step, seconds = self.epoch_began
        taken = self.step - step
        self.length.end_epoch((self.row["seconds"] - seconds) / taken)
        self.ended = stopping
        if self.finished:
            self.length.tell_steps(self.step)
        if stopping or taken != self.length.epoch_steps:
            self.model.stop_training = True
        self.goes_on = self.model.stop_training and not stopping

    def end(self):
        """Keep the model as it is, after a callback has ended the run."""
        self.run.check_finite(self.model, self.step)
        self.results()
        self.save()
        self.ended = True

    def _write_rows(self):
        self.run.append(*self.rows)
        self.rows = []

    def save(self):
        """Save a checkpoint."""
        self.state |= {
            "step": self.step,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "row": self.row,
        }
        self.run.save(self.model, self.state)
        self.saved = time.monotonic()


def fit(model, batches, recorder, callbacks=()):
    """Train a model to the end of its run.

    Epochs end at the same steps wherever the run was interrupted. So the
    first one can be shorter than the others, and has a `fit` of its own.

    Args:
        model: a compiled model.
        batches: a function of a step, which returns a data set of the batches
            from that step on.
        recorder: the run's `Recorder`.
        callbacks: `keras.callbacks.Callback` objects, which see one training.
    """
    # Minutes that are over before the first step have one all the same.
    if recorder.interrupted or (recorder.finished and recorder.step):
        return
    others = _Throughout(callbacks)
    recorder.goes_on = True
    while recorder.goes_on and not others.stopped:
        recorder.goes_on = False
        model.fit(
            batches(recorder.step),
            steps_per_epoch=recorder.length.left_of_epoch(recorder.step),
            initial_epoch=recorder.epoch,
            epochs=10**9,
            verbose=0,
            shuffle=False,
            callbacks=[recorder, others],
        )
    if not recorder.ended:  # A callback has stopped it.
        recorder.end()
    others.end()


class _Throughout(keras.callbacks.Callback):
    """Shows several calls of `fit` to callbacks as one training.

    Args:
        callbacks: `keras.callbacks.Callback` objects.

    Attributes:
        stopped: whether one of them has ended the training.
    """

    def __init__(self, callbacks):
        super().__init__()
        self.callbacks = callbacks
        self.began = self.stopped = False

    def set_params(self, params):
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model):
        super().set_model(model)
        for callback in self.callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs=None):
        if not self.began:
            self.began = True
            self._tell("on_train_begin", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self._tell("on_epoch_begin", epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        self._tell("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        self._tell("on_train_batch_end", batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._tell("on_epoch_end", epoch, logs)

    def end(self):
        self._tell("on_train_end", None)

    def _tell(self, name, *arguments):
        """Tell all callbacks, and see whether one has ended the training."""
        stopping, self.model.stop_training = self.model.stop_training, False
        for callback in self.callbacks:
            getattr(callback, name)(*arguments)
        self.stopped |= self.model.stop_training
        self.model.stop_training |= stopping


def seed_step(seed, step):
    """Seed the random numbers of a step, on the backend that needs it.

    On PyTorch Keras's dropout draws from PyTorch's global generator, whose
    state is in no checkpoint.
    """
    if keras.config.backend() == "torch":
        keras.utils.set_random_seed((seed * 1_000_003 + step) % 2**32)


# Ctrl-C; `kill`, and the end of a machine's time; the end of a terminal.
SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
]


class stop_on_interrupt:
    """A context in which Ctrl-C, SIGTERM and SIGHUP end a run after its step.

    A second Ctrl-C ends it at once. SIGHUP does nothing where it is ignored,
    as under `nohup`.

    Args:
        recorder: the run's `Recorder`.
    """

    def __init__(self, recorder):
        self.recorder = recorder
        self.previous = {}

    def __enter__(self):
        if threading.current_thread() is not threading.main_thread():
            return
        for number in SIGNALS:
            previous = signal.getsignal(number)
            is_ignored = previous in (signal.SIG_IGN, None)
            if number == signal.SIGINT or not is_ignored:
                signal.signal(number, self._interrupt)
                self.previous[number] = previous

    def _interrupt(self, number, _):
        self.recorder.interrupted = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *_):
        for number, previous in self.previous.items():
            signal.signal(number, previous)
