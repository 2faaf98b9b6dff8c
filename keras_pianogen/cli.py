"""The command line: pianogen prepare | train | generate | evaluate.

Heavy imports happen inside the commands, so that `--help` answers at once.
"""

import dataclasses
import functools
import json
import os
import pathlib
import time
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    help="Expressive piano music: prepare, train, generate, evaluate.",
    epilog="The backend is Keras's: KERAS_BACKEND=jax, torch or tensorflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DEFAULT_PRESET = "music_transformer_maestro"
DEFAULT_MINUTES = 30

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def _command(function):
    """Makes a command whose errors are one line, with exit code 2."""

    @functools.wraps(function)
    def run(*args, **kwargs):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        try:
            function(*args, **kwargs)
        except ModuleNotFoundError as error:
            if error.name not in ("jax", "torch", "tensorflow"):
                raise
            _fail(
                f"The backend {error.name} is not installed.",
                f"pip install 'keras-pianogen[{error.name}]', or choose "
                "another: KERAS_BACKEND=tensorflow",
            )
        except (ValueError, OSError) as error:
            _fail(" ".join(str(error).split()), _hint(error))
        except KeyboardInterrupt:
            _fail("Stopped.", "")

    return app.command()(run)


def _fail(message, hint):
    _err.print("Error:", style="bold red", end=" ")
    _err.print(message, markup=False)
    if hint:
        _err.print("Hint:", style="bold", end=" ")
        _err.print(hint, markup=False)
    raise typer.Exit(2)


def _hint(error):
    from keras_pianogen.midi import MidiError

    if isinstance(error, MidiError):
        return "Open the file in a sequencer and save it as MIDI again."
    return "Add --help to the command to see what it takes."


@_command
def prepare(
    source: Annotated[
        pathlib.Path,
        typer.Argument(help="MAESTRO's folder, or any folder of MIDI files."),
    ],
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the corpus.")],
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Download MAESTRO's MIDI files to SOURCE first."
        ),
    ] = False,
    paper_subset: Annotated[
        bool,
        typer.Option(
            "--paper-subset",
            help="Only 100 of MAESTRO's files, 70/15/15, drawn by the seed.",
        ),
    ] = False,
    validation_fraction: Annotated[
        float, typer.Option(help="Share of one's own files for validation.")
    ] = 0.1,
    test_fraction: Annotated[
        float, typer.Option(help="Share of one's own files for the test.")
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another corpus.")
    ] = False,
):
    """Turn MIDI files into a corpus, read once and quick to train on."""
    from keras_pianogen.corpus import prepare_corpus
    from keras_pianogen.maestro import Maestro

    began = time.monotonic()
    if download:
        with _progress("Downloading", unit="bytes") as bar:
            maestro = Maestro.download(
                source, progress=lambda done, total: bar(done, total)
            )
    elif paper_subset:
        maestro = Maestro(source)
    if paper_subset:
        source = maestro.paper_subset(seed)
    elif download:
        source = maestro
    with _progress("Reading MIDI files", unit="files") as bar:
        corpus = prepare_corpus(
            source,
            out,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            seed=seed,
            overwrite=overwrite,
            progress=bar,
        )
    _out.print(str(corpus), markup=False)
    if corpus.skipped:
        _out.print(f"{len(corpus.skipped)} files were skipped:")
        for skipped in corpus.skipped:
            _out.print(f"  {skipped.path}: {skipped.reason}", markup=False)
    _out.print(f"{out} ({time.monotonic() - began:.1f} s)", markup=False)


@_command
def train(
    corpus: Annotated[
        pathlib.Path, typer.Argument(help="A corpus made by `prepare`.")
    ],
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the run.")],
    steps: Annotated[
        int | None, typer.Option(help="Length of the run in steps.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Length of the run by the clock.",
            show_default=str(DEFAULT_MINUTES),
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in OUT.")
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(help="Begin from a preset's weights, name or folder."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything.", show_default="0")
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(help="magenta or pno-ai.", show_default="magenta"),
    ] = None,
    num_layers: Annotated[int | None, typer.Option(show_default="4")] = None,
    num_heads: Annotated[int | None, typer.Option(show_default="4")] = None,
    hidden_dim: Annotated[int | None, typer.Option(show_default="128")] = None,
    intermediate_dim: Annotated[
        int | None, typer.Option(show_default="512")
    ] = None,
    dropout: Annotated[float | None, typer.Option(show_default="0.1")] = None,
    share_heads: Annotated[
        bool | None,
        typer.Option(
            "--share-heads", help="One set of relative embeddings for all."
        ),
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(help="Events of a window.", show_default="256"),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Windows of a step.", show_default="4")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Its peak.", show_default="0.003")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(show_default="0.01")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32 or mixed_bfloat16.", show_default="float32"),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Threads that prepare batches.")
    ] = 1,
    validation_events: Annotated[
        int, typer.Option(help="Validation events read each time.")
    ] = 50_000,
):
    """Train a Music Transformer; Ctrl-C stops it so that it can go on."""
    from keras_pianogen import training

    chosen = {
        field.name: value
        for field in dataclasses.fields(training.Recipe)
        if (value := locals().get(field.name)) is not None
    }
    if resume and (chosen or preset):
        raise ValueError(
            "A run goes on with the settings it began with: --resume takes "
            f"no others. Received: {', '.join(chosen) or 'preset'}"
        )
    if steps is None and minutes is None and not resume:
        minutes = DEFAULT_MINUTES
    with _training_progress() as report:
        row = training.train(
            corpus,
            out,
            None if resume else training.Recipe(**chosen),
            steps=steps,
            minutes=minutes,
            resume=resume,
            preset=preset,
            validation_events=validation_events,
            workers=workers,
            progress=report,
        )
    best = row["best_val_nats_per_event"]
    _out.print(
        f"{row['step']:,} steps, {row['events']:,} events in "
        f"{row['seconds'] / 60:.1f} minutes; validation "
        f"{best:.3f} nats per event"
    )
    for name in ("history.csv", "preset"):
        _out.print(str(out / name), markup=False)


@_command
def generate(
    out: Annotated[pathlib.Path, typer.Option(help="MIDI file to write.")],
    preset: Annotated[
        str, typer.Option(help="A bundled preset's name, or a folder.")
    ] = DEFAULT_PRESET,
    prompt: Annotated[
        pathlib.Path | None, typer.Option(help="MIDI file to continue.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length of the new music, in seconds.")
    ] = 30.0,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same piece.",
            show_default="a new one, printed",
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1 is safer, above 1 is wilder.")
    ] = 1.0,
    min_p: Annotated[
        float | None,
        typer.Option(help="Bar, as a share of the likeliest event's chance."),
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(help="Share of probability kept.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(help="Number of events kept.")
    ] = None,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Piano roll to draw: .png, .svg or .pdf."),
    ] = None,
):
    """Write new piano music to a MIDI file."""
    # Checked before the slow part, so that nothing is written for nothing.
    for path in (out, picture):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    from keras_pianogen.midi import read_notes
    from keras_pianogen.midi import write_midi

    notes = None if prompt is None else read_notes(prompt)

    from keras_pianogen.models import MusicTransformerCausalLM
    from keras_pianogen.pianoroll import plot_piano_roll
    from keras_pianogen.samplers import build_sampler

    sampler = build_sampler(temperature, min_p=min_p, top_p=top_p, top_k=top_k)
    with _status("Loading the model"):
        model = MusicTransformerCausalLM.from_preset(preset)
    with _generation_progress(seconds) as (report, speed):
        piece = model.generate(
            notes, seconds=seconds, seed=seed, sampler=sampler, progress=report
        )
    write_midi(piece, out)
    rate = speed()
    _out.print(
        f"{len(piece)} notes, {piece['end'].max(initial=0):.1f} s"
        + (f", {rate:,.0f} events a second" if rate else "")
        + f", seed {seed}"
    )
    _out.print(str(out), markup=False)
    if picture is not None:
        plot_piano_roll(
            piece,
            picture,
            prompt_seconds=(
                None if notes is None else float(notes["end"].max())
            ),
        )
        _out.print(str(picture), markup=False)


@_command
def evaluate(
    corpus: Annotated[
        pathlib.Path, typer.Argument(help="A corpus made by `prepare`.")
    ],
    preset: Annotated[
        str, typer.Option(help="A bundled preset's name, or a folder.")
    ] = DEFAULT_PRESET,
    split: Annotated[
        str, typer.Option(help="train, validation or test.")
    ] = "validation",
    batch_size: Annotated[int, typer.Option(help="Windows read at once.")] = 8,
    stride: Annotated[
        int | None,
        typer.Option(
            help="New events of each window; fewer give more context.",
            show_default="half of a window",
        ),
    ] = None,
    max_events: Annotated[
        int | None,
        typer.Option(help="Read about so many events, not all."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """Measure how well a model predicts a split, each event once."""
    from keras_pianogen import evaluation
    from keras_pianogen.corpus import Corpus
    from keras_pianogen.models import MusicTransformerCausalLM

    opened = Corpus(corpus)
    with _status("Loading the model"):
        model = MusicTransformerCausalLM.from_preset(preset)
    with _progress("Reading", unit="batches") as bar:
        figures = evaluation.evaluate(
            model,
            opened,
            split,
            batch_size=batch_size,
            stride=stride,
            max_events=max_events,
            progress=bar,
        )
    values = dataclasses.asdict(figures) | {"perplexity": figures.perplexity}
    if as_json:
        typer.echo(json.dumps({"preset": preset, "split": split} | values))
        return
    from rich.table import Table

    table = Table("figure", "value", title=f"{preset} on {split}")
    for name, value in values.items():
        table.add_row(
            name.replace("_", " "),
            f"{value:,.4f}" if isinstance(value, float) else f"{value:,}",
        )
    _out.print(table)


class _progress:
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
        self.bar = progress.Progress(*columns, console=_err, transient=True)
        self.bar.start()
        self.task = self.bar.add_task(self.label, total=None)
        return lambda done, total: self.bar.update(
            self.task, completed=done, total=total
        )

    def __exit__(self, *_):
        self.bar.stop()


class _training_progress:
    """The bar of a run: speed, losses, time left."""

    def __enter__(self):
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("step {task.fields[step]:,}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.TextColumn(
                "loss {task.fields[loss]:.3f}  validation "
                "{task.fields[validation]}  {task.fields[speed]:,.0f} events/s"
            ),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
            console=_err,
        )
        self.bar.start()
        self.task = self.bar.add_task(
            "", total=1.0, step=0, loss=float("nan"), validation="-", speed=0.0
        )
        return self._report

    def _report(self, row, done):
        best = row["best_val_nats_per_event"]
        self.bar.update(
            self.task,
            completed=done,
            step=row["step"],
            loss=row["loss"],
            validation=f"{best:.3f}" if best < float("inf") else "-",
            speed=row["events_per_second"],
        )

    def __exit__(self, *_):
        self.bar.stop()


class _generation_progress:
    """The bar of a piece that is written: seconds of music and speed."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.first = self.last = None

    def __enter__(self):
        from rich import progress

        self.bar = progress.Progress(
            progress.TextColumn("Writing"),
            progress.BarColumn(),
            progress.TextColumn(
                "{task.completed:.0f} of {task.total:.0f} s of music"
                "{task.fields[speed]}"
            ),
            progress.TimeRemainingColumn(),
            console=_err,
            transient=True,
        )
        self.bar.start()
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


def _status(text):
    return _err.status(f"{text} …")
