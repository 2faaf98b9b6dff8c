"""The command line: pianogen prepare | train | generate | evaluate | serve.

Heavy imports happen inside the commands, so that `--help` answers at once.
What was asked for goes to standard output, all else to standard error. Exit
codes: 0, also where Ctrl-C ended a training run that can go on; 2, an error
that the user can mend, in one line with a hint; 130, stopped by Ctrl-C.
"""

import contextlib
import dataclasses
import faulthandler
import functools
import json
import math
import os
import pathlib
import re
import signal
import sys
import tempfile
import threading
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
# A new model's would undo what a preset has learned.
FINE_TUNING_RATE = 3e-4
BACKENDS = ("tensorflow", "jax", "torch")
LOGGERS = ("tensorboard", "wandb")
PICTURES = (".png", ".svg", ".pdf")
SOUNDS = (".wav",)

# What to do about an error, by words of its message; the first match counts.
HINTS = {
    "`fluidsynth` must be installed": "`apt install fluidsynth`; or leave the "
    "SoundFont out, and the built-in piano plays.",
    "`fluidsynth` must": "--soundfont built-in plays without it.",
    "`soundfont` must": "--soundfont built-in plays without one.",
    "KERAS_BACKEND": "Leave it out for TensorFlow.",
    "holds a run already": "--resume goes on with it.",
    "holds no run to go on": "Without --resume, the command begins one.",
    "holds no whole checkpoint": "Begin again in another folder.",
    "goes on with the settings": "Other settings need a run of their own; "
    "--preset RUN/preset begins it from the weights of this one.",
    "goes on with the corpus": "Give that corpus, or begin another run.",
    "`steps` and `minutes`": "Leave one of them out.",
    "stopped being finite": "Begin again with a lower --learning-rate.",
    "`preset` must": f"Without --preset it is {DEFAULT_PRESET}; "
    "`pianogen train` leaves one in RUN/preset.",
    "has no config.json": "That is no preset: `pianogen train` leaves one in "
    "RUN/preset.",
    "must be a corpus": "`pianogen prepare SOURCE --out CORPUS` makes one.",
    "prepare the corpus again": "`pianogen prepare` with --overwrite does.",
    "must not hold another corpus": "--overwrite replaces it.",
    "`source` must": "Give a folder with .mid or .midi files in it, or add "
    "--download to fetch MAESTRO there.",
    "`Maestro.download": "--download fetches it.",
    "of `min_p`, `top_p` and `top_k`": "Leave the others out.",
    "temperature": "1 leaves the model's probabilities as they are.",
    "`repeat_penalty`": "0 changes nothing; 0.1 is mild.",
    "`local_block_size`": "Two blocks of 128 events fit the default "
    "--sequence-length.",
    "`seconds`": "Half a minute is --seconds 30.",
    "must end in .wav": "Give the path of a file, such as music/piece.wav.",
    "--out": "Give the path of a file, such as music/piece.mid.",
    "--audio": "Give the path of a file, such as music/piece.wav.",
    "--picture": "Give the path of a file, such as music/piece.png.",
    "--prompt-seconds": "--prompt FILE --prompt-seconds 10 goes on from the "
    "tenth second of FILE.",
    "--prompt": "Check the path.",
    "--repeat-penalty": "Leave one of them out.",
    "--variations": "Three pieces are --variations 3.",
    "pieces or more to be compared": "Add MIDI files to the folder.",
    "`folder` must be a folder with": "Give a folder with MIDI files in it.",
    "`--condition` must": "Such as --condition real=FOLDER --condition "
    "transformer=FOLDER.",
    "`key` must lie outside": "Give --key a path that listeners never get.",
    "`out` must be a new folder": "Give another; a page isn't made over.",
    "`key` must be a new file": "A lost key can't be made again: give "
    "another path.",
    "belongs to another page": "Each page has a key of its own.",
    "file of ratings": "Give the files that listeners saved from the page.",
    "is not whole": "Ask for it again, or leave that file out.",
    "of the same listener": "Leave one of them out.",
    "must be of two listeners": "Ask more people.",
    "--split": "Without it, validation is read.",
    "--host": "Without --host the page is for this machine alone.",
    "Address already in use": "--port chooses another.",
}

_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)

# Errors that are the user's to mend.
_REPORTED = (ValueError, OSError, ModuleNotFoundError)

# What TensorFlow logs as it loads, before it reads any setting.
_CHATTER = re.compile(r"[IWE]\d{4} |WARNING: All log messages before absl")


def _command(stopped, within=None):
    """Makes a command; `stopped` is what it says when Ctrl-C ends it.

    It is one of `within`, a group of commands, or of the program itself.
    """

    def decorate(function):
        @functools.wraps(function)
        def run(*args, **kwargs):
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            # PyTorch's threads, spinning for a busy core, can take ten times
            # as long as sleeping ones; those that never spin take twice as
            # long where no core is busy.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            os.environ.setdefault("GOMP_SPINCOUNT", "1000")
            try:
                function(*args, **kwargs)
            except _REPORTED as error:
                message, hint = _explain(error)
                _err.print("[bold red]Error:[/]", end=" ")
                _err.print(" ".join(message.split()), markup=False)
                _err.print("[bold]Hint:[/]", end=" ")
                _err.print(hint, markup=False)
                raise typer.Exit(2) from error
            except KeyboardInterrupt as error:
                _err.print(f"Stopped. {stopped}", markup=False)
                raise typer.Exit(130) from error

        return (within or app).command()(run)

    return decorate


def _explain(error):
    """An error's message, and a hint. Errors of other kinds are bugs."""
    if isinstance(error, ModuleNotFoundError):
        backend = (error.name or "").split(".")[0].replace("jaxlib", "jax")
        if backend in LOGGERS:
            return f"{backend} is not installed.", f"`pip install {backend}`"
        if backend in ("starlette", "uvicorn"):
            hint = "`pip install 'keras_pianogen[studio]'`"
            return f"{backend} is not installed.", hint
        if backend not in BACKENDS:
            raise error
        others = " or ".join(f"KERAS_BACKEND={b}" for b in BACKENDS)
        return (
            f"The backend {backend} is not installed.",
            f"`pip install {backend}`, or choose another: {others}",
        )
    message = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        message = f"{error.strerror}: {os.fspath(error.filename)}"
    for words, hint in HINTS.items():
        if words in message:
            return message, hint
    if isinstance(error, OSError):
        return message, "Check the path, and that it may be read or written."
    from keras_pianogen.midi import MidiError

    if isinstance(error, MidiError):
        return message, "Open it in a sequencer and save it as MIDI again."
    return message, "--help after the command shows what it takes."


@contextlib.contextmanager
def _loading():
    """A spinner while libraries and a model load, quietly.

    TensorFlow logs to descriptor 2, past `sys.stderr`. That leads to a file
    here, and all but the chatter is shown afterwards: all of it where loading
    fails for reasons of its own, or with `TF_CPP_MIN_LOG_LEVEL=0`.
    """
    backend = os.environ.get("KERAS_BACKEND") or BACKENDS[0]
    if backend not in BACKENDS:
        raise ValueError(
            f"`KERAS_BACKEND` must be one of {', '.join(BACKENDS)}. "
            f"Received: {backend!r}"
        )
    hidden = _CHATTER
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        hidden = re.compile("(?!)")  # Matches nothing.
    with (
        tempfile.TemporaryFile("w+", errors="backslashreplace") as log,
        open(os.dup(2), "w") as terminal,
        _heeded_interrupt() as interrupts,
    ):
        crashes = not faulthandler.is_enabled()
        if crashes:  # They would leave no other trace.
            faulthandler.enable(terminal)
        os.dup2(log.fileno(), 2)
        try:
            with Console(file=terminal).status("Loading the model …"):
                yield
        except _REPORTED:
            raise
        except Exception:
            hidden = re.compile("(?!)")
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)
            if crashes:
                faulthandler.disable()
            log.seek(0)
            if not interrupts:
                terminal.writelines(x for x in log if not hidden.match(x))


@contextlib.contextmanager
def _without_chatter():
    """Leaves what TensorFlow logs out of standard error, line by line."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    reader, writer = os.pipe()
    terminal = os.dup(2)

    def pass_on():
        with open(reader, errors="backslashreplace") as lines:
            for line in lines:
                if not _CHATTER.match(line):
                    os.write(terminal, line.encode(errors="replace"))

    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    os.dup2(writer, 2)
    os.close(writer)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        thread.join(1)


@contextlib.contextmanager
def _heeded_interrupt():
    """Ctrl-C ends what is inside, even if a library swallows it there.

    Some run Python code in callbacks where an exception is lost. Gives a
    list, which fills as Ctrl-C comes.
    """
    interrupts = []

    def interrupt(*_):
        interrupts.append(time.monotonic())
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, interrupt)
    except ValueError:  # Not in the main thread, which alone gets signals.
        yield interrupts
        return
    try:
        yield interrupts
    except Exception as error:
        if interrupts:
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt


@_command("The same command goes on from there.")
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
        count = len(corpus.skipped)
        _out.print(f"Skipped {count:,} of {len(corpus) + count:,} files:")
        for skipped in corpus.skipped:
            _out.print(f"  {skipped.path}: {skipped.reason}", markup=False)
    _out.print(f"{out} ({time.monotonic() - began:.1f} s)", markup=False)


@_command("Nothing was drawn.")
def describe(
    corpus: Annotated[
        pathlib.Path, typer.Argument(help="A corpus made by `prepare`.")
    ],
    out: Annotated[
        pathlib.Path | None,
        typer.Option(help="Picture to draw: .png, .svg or .pdf."),
    ] = None,
):
    """Show a corpus at a glance: its splits, and a picture of what it holds."""
    if out is not None:
        _check_place("--out", out, PICTURES)
    from keras_pianogen.corpus import Corpus

    opened = Corpus(corpus)
    _out.print(str(opened), markup=False)
    if out is None:
        return
    from keras_pianogen.corpus_picture import plot_corpus

    out.parent.mkdir(parents=True, exist_ok=True)
    for panel, reason in plot_corpus(opened, out).items():
        _out.print(f"Left out: {panel}, as {reason}.", markup=False)
    _out.print(str(out), markup=False)


_by_size = typer.Option(show_default="by size")
_soundfont = typer.Option(
    help="SoundFont (.sf2, .sf3) that FluidSynth plays, or built-in.",
    show_default="an installed one, or else the built-in piano",
)


@_command("--resume goes on from the last checkpoint, if there is one.")
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
    size: Annotated[
        str | None,
        typer.Option(
            help="tiny, small, base or large: shape, windows, batch and "
            "learning rate follow, but for those that are given.",
            show_default="small",
        ),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="music_transformer; or, to compare with, transformer "
            "(without relative attention) or lstm.",
            show_default="music_transformer",
        ),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(help="magenta or pno-ai.", show_default="magenta"),
    ] = None,
    num_layers: Annotated[int | None, _by_size] = None,
    num_heads: Annotated[int | None, _by_size] = None,
    hidden_dim: Annotated[int | None, _by_size] = None,
    intermediate_dim: Annotated[
        int | None, typer.Option(show_default="4 hidden_dim")
    ] = None,
    dropout: Annotated[float | None, _by_size] = None,
    share_heads: Annotated[
        bool | None,
        typer.Option(
            "--share-heads", help="One set of relative embeddings for all."
        ),
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option(help="Events of a window.", show_default="by size"),
    ] = None,
    local_block_size: Annotated[
        int | None,
        typer.Option(
            help="Attend within blocks of so many events.",
            show_default="no blocks",
        ),
    ] = None,
    attend_previous_block: Annotated[
        bool | None,
        typer.Option(
            "--attend-previous-block", help="Attend to the block before too."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Windows of a step.", show_default="by size"),
    ] = None,
    gradient_accumulation_steps: Annotated[
        int | None,
        typer.Option(
            help="Steps whose gradients are averaged before weights change.",
            show_default="1",
        ),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="muon or adamw.", show_default="muon")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Its peak.", show_default="by size; with --preset 0.0003"
        ),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(show_default="0.01")
    ] = None,
    global_clipnorm: Annotated[
        float | None,
        typer.Option(help="Longest gradient.", show_default="1.0"),
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="0 to 1.", show_default="0")
    ] = None,
    ema_momentum: Annotated[
        float | None,
        typer.Option(
            help="Validate and save a moving average of the weights, such as "
            "of 0.999.",
            show_default="the weights themselves",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="float32 or mixed_bfloat16.", show_default="by device"
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Threads that prepare batches.")
    ] = 1,
    validation_events: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Validation events read each time.",
            show_default="50000",
        ),
    ] = None,
    validations: Annotated[
        int | None,
        typer.Option(
            min=1, help="Times that validation is read.", show_default="20"
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Pieces written as training goes on.",
            show_default="4",
        ),
    ] = None,
    data_parallel: Annotated[
        bool,
        typer.Option(
            "--data-parallel", help="Spread batches over all devices (JAX)."
        ),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log to OUT/tensorboard.")
    ] = False,
    wandb: Annotated[
        bool, typer.Option("--wandb", help="Log to Weights & Biases.")
    ] = False,
):
    """Train a Music Transformer; Ctrl-C stops it so that it can go on."""
    given = dict(locals())
    with _loading():
        import keras

        from keras_pianogen import training
        from keras_pianogen.data_parallel import join_processes
        from keras_pianogen.recipes import SHAPE
        from keras_pianogen.recipes import Recipe

        if data_parallel and keras.config.backend() == "jax":
            join_processes()
        # TensorFlow looks for devices, and logs it, at its first operation.
        keras.ops.zeros(())

    names = ["size", *(field.name for field in dataclasses.fields(Recipe))]
    chosen = {n: given[n] for n in names if given.get(n) is not None}
    others = [*chosen, "preset"] if preset else list(chosen)
    if resume and others:
        raise ValueError(
            "A run goes on with the settings it began with: --resume takes "
            f"no others. Received: {', '.join(others)}"
        )
    shape = [name for name in ("size", *SHAPE) if name in chosen]
    if preset and shape:
        raise ValueError(
            "--preset brings the model's shape with it. "
            f"Received also: {', '.join(shape)}"
        )
    if preset:
        chosen.setdefault("learning_rate", FINE_TUNING_RATE)
    if steps is None and minutes is None and not resume:
        minutes = DEFAULT_MINUTES
    with _training_progress() as bar:
        row = training.train(
            corpus,
            out,
            None if resume else Recipe.sized(**chosen),
            steps=steps,
            minutes=minutes,
            resume=resume,
            preset=preset,
            validation_events=validation_events,
            validations=validations,
            samples=samples,
            data_parallel=data_parallel,
            callbacks=_loggers(out, tensorboard, wandb),
            workers=workers,
            progress=bar.report,
        )
    best = row["best_val_nats_per_event"]
    _out.print(
        f"{row['step']:,} steps, {row['events']:,} events in "
        f"{row['seconds'] / 60:.1f} minutes; "
        + (
            f"validation {best:.3f} nats per event"
            if math.isfinite(best)
            else "not validated yet"
        )
    )
    if bar.done is None:
        _out.print("It is that long already; --steps or --minutes gives more")
    elif bar.done < 1:
        _out.print(f"Stopped at step {row['step']:,}; go on with --resume")
    for name in ("history.csv", "curves.png", "samples", "preset"):
        if (out / name).exists():
            _out.print(str(out / name), markup=False)


def _loggers(out, tensorboard, wandb):
    """Keras's callbacks of programs that plot training."""
    import importlib.util

    import keras

    for name, chosen in zip(LOGGERS, (tensorboard, wandb), strict=True):
        if chosen and importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    loggers = []
    if tensorboard:
        loggers.append(keras.callbacks.TensorBoard(out / "tensorboard"))
    if wandb:
        import wandb
        from wandb.integration.keras import WandbMetricsLogger

        wandb.init(project="keras_pianogen", name=out.name, dir=out)
        loggers.append(WandbMetricsLogger())
    return loggers


@_command("--resume goes on from the last checkpoint, if there is one.")
def train_gan(
    corpus: Annotated[
        pathlib.Path, typer.Argument(help="A corpus made by `prepare`.")
    ],
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the run.")],
    setup: Annotated[
        str | None,
        typer.Option(help="paper, straight-through or fine-tune."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Length of the run in rounds.",
            show_default="ten passes over the corpus",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in OUT.")
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(help="Language model to fine-tune, name or folder."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Sequences of a step.")
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="non_saturating, hinge, wasserstein or relativistic."
        ),
    ] = None,
    generator_learning_rate: Annotated[
        float | None, typer.Option(help="Adam's.")
    ] = None,
    discriminator_learning_rate: Annotated[
        float | None, typer.Option(help="Adam's.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of everything.", show_default="0")
    ] = None,
):
    """Train a Transformer-GAN, and see whether it learns or collapses."""
    given = dict(locals())
    names = (
        "preset",
        "batch_size",
        "loss",
        "generator_learning_rate",
        "discriminator_learning_rate",
        "seed",
    )
    chosen = {n: given[n] for n in names if given[n] is not None}
    if resume and (setup or chosen):
        others = [*(["setup"] if setup else []), *chosen]
        raise ValueError(
            "A run goes on with the settings it began with: --resume takes "
            f"no others. Received: {', '.join(others)}"
        )
    if not resume and setup is None:
        raise ValueError(
            "`--setup` must be paper, straight-through or fine-tune. "
            "Received: none"
        )
    if preset and setup != "fine-tune":
        raise ValueError(
            "`--preset` is for --setup fine-tune. "
            f"Received: --setup {setup} and --preset {preset}"
        )
    with _loading():
        import keras

        from keras_pianogen import gan_training

        keras.ops.zeros(())
        recipe = None
        if not resume:
            recipe = gan_training.GanRecipe.named(setup, **chosen)
    with _gan_progress() as bar:
        row = gan_training.train_gan(
            corpus,
            out,
            recipe,
            steps=steps,
            resume=resume,
            progress=bar.report,
        )
    if not row["step"]:
        _out.print(bar.sentence, markup=False)
        _out.print("Stopped before the first round; go on with --resume")
        return
    _out.print(
        f"{row['step']:,} rounds in {row['seconds'] / 60:.1f} minutes; "
        f"gradient norm at the generator {row['generator_gradient_norm']:.3g}, "
        f"distance from real music {row['event_divergence']:.3f} (events) and "
        f"{row['pitch_divergence']:.3f} (pitches)"
    )
    if bar.done is None:
        _out.print("It is that long already; --steps gives more")
        return
    _out.print(bar.sentence, markup=False)
    if bar.done < 1:
        _out.print(f"Stopped at round {row['step']:,}; go on with --resume")
    for name in ("history.csv", "curves.png", "samples", "gan", "preset"):
        if (out / name).exists():
            _out.print(str(out / name), markup=False)


@_command("No half file is left.")
def generate(
    out: Annotated[pathlib.Path, typer.Option(help="MIDI file to write.")],
    preset: Annotated[
        str, typer.Option(help="A bundled preset's name, or a folder.")
    ] = DEFAULT_PRESET,
    prompt: Annotated[
        pathlib.Path | None, typer.Option(help="MIDI file to continue.")
    ] = None,
    prompt_seconds: Annotated[
        float | None,
        typer.Option(
            help="Continue from this second of the prompt.",
            show_default="its end",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length of the new music, in seconds.")
    ] = 30.0,
    ending: Annotated[
        bool,
        typer.Option("--ending", help="Come to an end near that length."),
    ] = False,
    variations: Annotated[
        int | None,
        typer.Option(
            help="Write so many pieces at once: OUT with -1, -2, …",
            show_default="one, OUT itself",
        ),
    ] = None,
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
    repeat_penalty: Annotated[
        float,
        typer.Option(help="Against loops on one note; 0.1 is mild."),
    ] = 0.0,
    no_grammar: Annotated[
        bool,
        typer.Option("--no-grammar", help="Allow events that make no sense."),
    ] = False,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Piano roll to draw: .png, .svg or .pdf."),
    ] = None,
    audio: Annotated[
        pathlib.Path | None, typer.Option(help="Sound to write: .wav.")
    ] = None,
    soundfont: Annotated[str | None, _soundfont] = None,
):
    """Write new piano music to a MIDI file."""
    # What can be checked is checked before the slow part.
    places = _places(out, picture, audio, variations)
    _check_prompt(prompt, prompt_seconds)
    _check_soundfont(audio, soundfont)
    if no_grammar and repeat_penalty:
        raise ValueError(
            "`--repeat-penalty` needs the grammar. "
            f"Received: --repeat-penalty {repeat_penalty} and --no-grammar"
        )
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    from keras_pianogen.midi import read_notes

    notes = None if prompt is None else read_notes(prompt)
    with _loading():
        from keras_pianogen.models import MusicTransformerCausalLM
        from keras_pianogen.samplers import build_sampler

        sampler = build_sampler(
            temperature, min_p=min_p, top_p=top_p, top_k=top_k
        )
        model = MusicTransformerCausalLM.from_preset(preset)
    with _generation_progress(seconds) as (report, speed):
        pieces = model.generate(
            notes,
            seconds=seconds,
            ending=ending,
            variations=len(places),
            prompt_seconds=prompt_seconds,
            sampler=sampler,
            grammar=not no_grammar,
            repeat_penalty=repeat_penalty,
            seed=seed,
            progress=report,
        )
    border = _border(notes, prompt_seconds, model)
    _save(pieces, places, border, speed(), seed, soundfont)


@_command("No half file is left.")
def render(
    midi: Annotated[pathlib.Path, typer.Argument(help="MIDI file to play.")],
    out: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="WAV file to write.", show_default="beside the MIDI file"
        ),
    ] = None,
    soundfont: Annotated[str | None, _soundfont] = None,
):
    """Play a MIDI file to a WAV file."""
    out = midi.with_suffix(".wav") if out is None else out
    _check_place("--out", out, SOUNDS)
    from keras_pianogen.midi import read_notes

    notes = read_notes(midi)
    player = _play(notes, out, soundfont)
    _out.print(f"{_figures(notes)}, {player}", markup=False)
    _out.print(str(out), markup=False)


def _places(out, picture, audio, variations):
    """Files of each piece: MIDI, picture or none, sound or none."""
    if variations is None:
        numbers = [None]
    elif variations < 1:
        raise ValueError(
            f"`--variations` must be 1 or more. Received: {variations}"
        )
    else:
        numbers = range(1, variations + 1)
    return [
        (
            _place("--out", out, number),
            picture and _place("--picture", picture, number, PICTURES),
            audio and _place("--audio", audio, number, SOUNDS),
        )
        for number in numbers
    ]


def _place(name, path, number, suffixes=None):
    """A path that was asked for, checked, and with its number if it has one."""
    _check_place(name, path, suffixes)
    if number is None:
        return path
    path = path.with_stem(f"{path.stem}-{number}")
    _check_place(name, path)
    return path


def _check_prompt(prompt, prompt_seconds):
    if prompt_seconds is not None and prompt is None:
        raise ValueError(
            "`--prompt-seconds` needs `--prompt`, the file to continue. "
            f"Received: --prompt-seconds {prompt_seconds} alone"
        )
    if prompt_seconds is not None and not prompt_seconds >= 0:
        raise ValueError(
            f"`--prompt-seconds` must be 0 or above. Received: {prompt_seconds}"
        )
    if prompt is not None and not prompt.is_file():
        raise ValueError(f"`--prompt` must be a MIDI file. Received: {prompt}")


def _check_soundfont(audio, soundfont):
    if audio is None:
        if soundfont is not None:
            raise ValueError(
                "`--soundfont` needs `--audio`, the file to write. "
                f"Received: --soundfont {soundfont} alone"
            )
        return
    from keras_pianogen.fluidsynth import choose_soundfont

    choose_soundfont(soundfont)


def _check_place(name, path, suffixes=None):
    """Refuse a path where no file can be written, and leave nothing there."""
    if path.is_dir():
        raise ValueError(f"`{name}` must be a file. Received a folder: {path}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(
            f"`{name}` must end in {', '.join(suffixes)}. Received: {path}"
        )
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(
            f"`{name}` must be in a folder that can be written to. "
            f"Received: {path} ({error.strerror})"
        ) from error


def _border(prompt, prompt_seconds, model):
    """The second where new music follows the prompt; none without one.

    It is the time of the last event that is kept of the prompt, which may be
    a little before `prompt_seconds`.
    """
    if prompt is None or prompt_seconds is None:
        return None if prompt is None else float(prompt["end"].max())
    vocabulary = model.preprocessor.tokenizer.vocabulary
    times = vocabulary.times(vocabulary.encode(prompt))
    return float(times[times <= prompt_seconds].max(initial=0))


def _save(pieces, places, border, rate, seed, soundfont):
    """Write the pieces, then draw and play them, and say so."""
    from keras_pianogen.midi import write_midi

    for piece, (out, *_) in zip(pieces, places, strict=True):
        out.parent.mkdir(parents=True, exist_ok=True)
        write_midi(piece, out)
    alone = len(pieces) == 1
    made = _figures(pieces[0]) if alone else f"{len(pieces)} pieces"
    if rate:
        made += f", {rate:,.0f} events a second"
    _out.print(f"{made}, seed {seed}")
    for piece, (out, picture, audio) in zip(pieces, places, strict=True):
        line = str(out) if alone else f"{out}: {_figures(piece)}"
        _out.print(line, markup=False)
        if picture is not None and not len(piece):
            _out.print("There are no notes to draw.")
        elif picture is not None:
            _draw(piece, picture, border)
            _out.print(str(picture), markup=False)
        if audio is not None and not len(piece):
            _out.print("There are no notes to play.")
        elif audio is not None:
            player = _play(piece, audio, soundfont)
            _out.print(f"{audio}: {player}", markup=False)


def _figures(piece):
    return f"{len(piece)} notes, {piece['end'].max(initial=0):.1f} s"


def _draw(piece, picture, prompt_seconds):
    """Draw the piano roll; the picture is there whole or not at all."""
    from keras_pianogen.pianoroll import plot_piano_roll

    picture.parent.mkdir(parents=True, exist_ok=True)
    part = picture.with_stem(f".{picture.stem}.{os.getpid()}")
    try:
        plot_piano_roll(piece, part, prompt_seconds=prompt_seconds)
        part.replace(picture)
    finally:
        part.unlink(missing_ok=True)


def _play(piece, audio, soundfont):
    """Write the sound, which is there whole or not at all; what played."""
    from keras_pianogen.synthesis import render

    audio.parent.mkdir(parents=True, exist_ok=True)
    with _err.status("Playing …"):
        return render(piece, audio, soundfont=soundfont)


@_command("Nothing was measured.")
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
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows read at once.")
    ] = 8,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="New events of each window; fewer give more context.",
            show_default="half of a window",
        ),
    ] = None,
    max_events: Annotated[
        int | None,
        typer.Option(min=1, help="Read about so many events, not all."),
    ] = None,
    n_gram: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=6,
            help="Evaluate n-grams of the train split, so long; no preset's "
            "weights, but its vocabulary.",
        ),
    ] = None,
    novelty: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Write so many pieces instead, and find the longest passage "
            "that each shares with the train split.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length of these pieces, in seconds.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="Of these pieces.")] = 0,
    transpose: Annotated[
        int,
        typer.Option(
            min=0,
            max=12,
            help="Average over the piece in so many keys up and as many down.",
        ),
    ] = 0,
    by: Annotated[
        str | None,
        typer.Option(help="Also by piece, or by composer.", metavar="PART"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """Measure how well a model predicts a split, each event once."""
    from keras_pianogen.corpus import SPLITS
    from keras_pianogen.corpus import Corpus

    if split not in SPLITS:
        raise ValueError(
            f"`--split` must be one of {', '.join(SPLITS)}. Received: {split!r}"
        )
    if by not in (None, "piece", "composer"):
        raise ValueError(f"`--by` must be piece or composer. Received: {by!r}")
    if max_events and (by or n_gram or transpose):
        raise ValueError(
            "`--by`, `--n-gram` and `--transpose` read every event. Received: "
            "--max-events with one of them"
        )
    if novelty and (n_gram or by or max_events or transpose):
        raise ValueError(
            "`--novelty` reads no split. Received: --novelty with --n-gram, "
            "--by, --max-events or --transpose"
        )
    opened = Corpus(corpus)
    with _loading():
        from keras_pianogen import evaluation
        from keras_pianogen.models import load_language_model

        model = load_language_model(preset)
    if novelty:
        _measure_novelty(model, opened, preset, novelty, seconds, seed, as_json)
        return
    with _progress("Reading", unit="pieces") as bar:
        if n_gram:
            preset = f"{n_gram}-grams"
            figures = evaluation.evaluate_ngram(
                opened,
                split,
                order=n_gram,
                vocabulary=model.preprocessor.tokenizer.vocabulary,
                progress=bar,
            )
        else:
            figures = evaluation.evaluate(
                model,
                opened,
                split,
                batch_size=batch_size,
                stride=stride,
                max_events=max_events,
                transpositions=(
                    0,
                    *range(-transpose, 0),
                    *range(1, transpose + 1),
                ),
                progress=bar,
            )
    values = dataclasses.asdict(figures) | {
        "perplexity": figures.perplexity,
        "interval": figures.interval,
    }
    if as_json:
        typer.echo(json.dumps({"preset": preset, "split": split} | values))
        return
    _print_likelihood(values, f"{preset} on {split}")
    if by == "piece":
        _print_parts(
            by,
            {
                piece.path: (piece.nats / piece.num_events, 1, piece.seconds)
                for piece in sorted(
                    figures.pieces, key=lambda p: p.nats / p.num_events
                )
            },
        )
    if by == "composer":
        _print_parts(
            by,
            {
                composer or "(not known)": (
                    part.nats_per_event,
                    part.num_pieces,
                    sum(piece.seconds for piece in part.pieces),
                )
                for composer, part in figures.by_composer().items()
            },
        )


def _measure_novelty(model, corpus, preset, count, seconds, seed, as_json):
    """Write pieces, and print what they share with the train split."""
    from keras_pianogen.novelty import measure_novelty

    with _progress("Writing", unit="pieces") as bar:
        pieces = []
        for begin in range(0, count, 16):
            pieces += model.generate(
                seconds=seconds,
                variations=min(16, count - begin),
                seed=seed + begin,
            )
            bar(len(pieces), count)
    train = [corpus.notes(i) for i in corpus.split("train")]
    unrelated = [corpus.notes(i) for i in corpus.split("validation")]
    with _progress("Comparing", unit="pieces") as bar:
        found = measure_novelty(
            pieces, train, unrelated, seed=seed, progress=bar
        )
    names = [corpus.pieces[i].path for i in corpus.split("train")]
    suspects = found.suspects
    rows = [
        {
            "piece": i + 1,
            "notes": len(notes),
            "shared_notes": match.notes,
            "shared_with": names[match.corpus_piece] if match.notes else None,
            "suspect": i in suspects,
        }
        for i, (notes, match) in enumerate(
            zip(pieces, found.matches, strict=True)
        )
    ]
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "preset": preset,
                    "usual": found.usual,
                    "real": found.real,
                    "pieces": rows,
                }
            )
        )
        return
    from rich.table import Table

    table = Table("piece", "notes", "longest passage, notes", "of")
    for row in rows:
        shared = f"{row['shared_notes']}" + (" (!)" if row["suspect"] else "")
        table.add_row(
            f"{row['piece']}", f"{row['notes']}", shared, row["shared_with"]
        )
    _out.print(table)
    _out.print(
        f"{len(suspects)} of {count} pieces share more than "
        f"{found.usual:.0f} notes, which 99 % of excerpts of unrelated real "
        "music don't."
    )


def _print_likelihood(values, title):
    from rich.table import Table

    table = Table("figure", "value", title=title)
    for name, value in values.items():
        if name in ("pieces", "interval"):
            continue
        if value is None:
            shown = "-"
        elif isinstance(value, bool):
            shown = "yes" if value else "no"
        else:
            shown = f"{value:,.4f}" if value % 1 else f"{value:,}"
        table.add_row(name.replace("_", " "), shown)
        if name == "nats_per_event" and values["interval"]:
            low, high = values["interval"]
            table.add_row("  95 % over pieces", f"{low:.4f} to {high:.4f}")
    _out.print(table)


def _print_parts(by, parts):
    from rich.table import Table

    table = Table(by, "nats per event", "pieces", "minutes")
    for name, (nats, count, seconds) in parts.items():
        table.add_row(name, f"{nats:.4f}", f"{count}", f"{seconds / 60:.1f}")
    _out.print(table)


@_command("Nothing was changed.")
def presets(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """List the presets that come with the package, each file verified."""
    with _loading():
        from keras_pianogen.models import presets as bundled

    rows = {}
    for name, entry in bundled.PRESETS.items():
        folder = pathlib.Path(bundled.locate(name))
        size = sum((folder / file).stat().st_size for file in entry["sha256"])
        rows[name] = entry["metadata"] | {
            "bytes": size,
            "folder": str(folder),
            "card": str(folder / "README.md"),
        }
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for name, row in rows.items():
        _out.print(f"[bold]{name}[/]  {row['bytes'] / 1e6:.1f} MB, verified")
        _out.print(row["description"], markup=False)
        _out.print(f"Card: {row['card']}", markup=False)


@_command("Nothing was drawn.")
def attention(
    piece: Annotated[pathlib.Path, typer.Argument(help="A MIDI file.")],
    out: Annotated[
        pathlib.Path, typer.Option(help="Picture: .png, .svg or .pdf.")
    ],
    preset: Annotated[
        str, typer.Option(help="A bundled preset's name, or a folder.")
    ] = DEFAULT_PRESET,
    max_events: Annotated[
        int, typer.Option(min=2, help="Events of the piece that are read.")
    ] = 512,
    head: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="Layer and head whose map is drawn, from 0.",
            show_default="the one with most to show",
        ),
    ] = None,
):
    """Draw where the heads of a model look in a piece."""
    from keras_pianogen.midi import read_notes

    _check_place("--out", out, PICTURES)
    notes = read_notes(piece)
    with _loading():
        from keras_pianogen import attention_maps
        from keras_pianogen.models import MusicTransformerCausalLM

        model = MusicTransformerCausalLM.from_preset(preset)
        ids, weights = attention_maps.attention_weights(
            model, notes, max_events
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = model.preprocessor.tokenizer.vocabulary
    attention_maps.plot_attention(ids, weights, vocabulary, out, head=head)
    _out.print(str(out), markup=False)


@_command("Nothing was drawn.")
def curves(
    runs: Annotated[
        list[pathlib.Path], typer.Argument(help="Folders of runs.")
    ],
    out: Annotated[
        pathlib.Path, typer.Option(help="Picture: .png, .svg or .pdf.")
    ],
    line: Annotated[
        list[str] | None,
        typer.Option(
            help="A loss without a run, such as 3-grams=3.65; may come again.",
            metavar="NAME=LOSS",
        ),
    ] = None,
):
    """Draw the curves of runs in one picture: of language models, or GANs."""
    from keras_pianogen.gan_curves import plot_gan_curves
    from keras_pianogen.training_curves import plot_training_curves

    _check_place("--out", out, PICTURES)
    for run in runs:
        if not (run / "history.csv").is_file():
            raise ValueError(
                "A run is a folder with a history.csv, which `pianogen train` "
                f"leaves. Received: {run}"
            )
    lines = {}
    for text in line or ():
        name, equals, loss = text.rpartition("=")
        try:
            lines[name] = float(loss)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(
                f"`--line` must be NAME=LOSS. Received: --line {text}"
            )
    folders = {run.name: run for run in runs}
    gans = [run for run in runs if (run / "real.json").is_file()]
    if gans and (len(gans) < len(runs) or lines):
        raise ValueError(
            "Curves of GANs go into a picture of their own, without lines. "
            f"Received: {', '.join(map(str, runs))}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    if gans:
        plot_gan_curves(folders, out)
    else:
        plot_training_curves(folders, out, lines=lines)
    _out.print(str(out), markup=False)


@_command("The page is closed.")
def serve(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 for any free one.")
    ] = 8765,
    host: Annotated[
        str, typer.Option(help="Address; another than this one needs --token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(help="What a browser must know to come in.")
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="A bundled preset's name, or a folder; may be repeated.",
            show_default=DEFAULT_PRESET,
        ),
    ] = None,
):
    """Open the studio, a page to hear, see and continue what is written."""
    from keras_pianogen.studio import serving

    presets = preset or [DEFAULT_PRESET]
    serving.check(presets, host, token)
    serving.choose_backend()

    def announce(place):
        _out.print(f"The studio is at {place}", markup=False)

    with _without_chatter():  # The model loads while the page is there.
        serving.serve(presets, host, port, token, announce)


@_command("Nothing was measured.")
def tell_apart(
    corpus: Annotated[
        pathlib.Path, typer.Argument(help="A corpus made by `prepare`.")
    ],
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="A bundled preset's name, or a folder; may come again.",
            show_default=DEFAULT_PRESET,
        ),
    ] = None,
    train_windows: Annotated[
        int, typer.Option(min=1, help="Real windows to learn from.")
    ] = 8192,
    test_windows: Annotated[
        int, typer.Option(min=1, help="Real windows to be asked about.")
    ] = 4096,
    sequence_length: Annotated[
        int, typer.Option(min=2, help="Events of a window.")
    ] = 128,
    context_length: Annotated[
        int, typer.Option(min=1, help="Events of it that are continued.")
    ] = 32,
    pretrained: Annotated[
        bool,
        typer.Option(help="Begin the classifier with the first preset."),
    ] = True,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over what it learns from.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """Have a classifier tell models' continuations from real music."""
    from keras_pianogen.corpus import Corpus

    presets = preset or [DEFAULT_PRESET]
    opened = Corpus(corpus)
    with _loading():
        from keras_pianogen.models import MusicTransformerCausalLM
        from keras_pianogen.two_sample import judge_continuations

        models = {
            name: MusicTransformerCausalLM.from_preset(name) for name in presets
        }
    with _steps_progress() as report:
        results = judge_continuations(
            models,
            opened,
            train_windows=train_windows,
            test_windows=test_windows,
            sequence_length=sequence_length,
            context_length=context_length,
            pretrained=pretrained,
            epochs=epochs,
            seed=seed,
            progress=report,
        )
    first = results[presets[0]]
    rows = {
        name: {
            "accuracy": result.accuracy,
            "interval": result.interval(),
            "difference": result.accuracy - first.accuracy,
            "difference_interval": result.interval(first),
            "windows": len(result.right),
        }
        for name, result in results.items()
    }
    if as_json:
        typer.echo(json.dumps(rows))
        return
    from rich.table import Table

    table = Table(title=f"{len(first.right):,} windows of pieces not met")
    table.add_column("against real music", overflow="fold", min_width=10)
    for column in ("told rightly", "95 %", "less the first", "95 %"):
        table.add_column(column, no_wrap=True)
    for name, row in rows.items():
        low, high = row["interval"]
        cells = [name, f"{row['accuracy']:.1%}", f"{low:.1%} to {high:.1%}"]
        if name != presets[0]:
            low, high = row["difference_interval"]
            cells += [f"{row['difference']:+.1%}", f"{low:+.1%} to {high:+.1%}"]
        table.add_row(*cells)
    _out.print(table)


@_command("Nothing was compared.")
def compare(
    real: Annotated[
        pathlib.Path, typer.Argument(help="Folder of real music, MIDI files.")
    ],
    other: Annotated[
        pathlib.Path,
        typer.Argument(help="Folder of music to hold against it, MIDI files."),
    ],
    embeddings: Annotated[
        bool,
        typer.Option(help="Compare what a preset's backbone hears, too."),
    ] = True,
    preset: Annotated[
        str, typer.Option(help="Whose embeddings: a name, or a folder.")
    ] = DEFAULT_PRESET,
    seconds: Annotated[
        float, typer.Option(help="Of each piece, from a note drawn by seed.")
    ] = 30.0,
    splits: Annotated[
        int, typer.Option(help="How often REAL is halved for the floor.")
    ] = 10,
    permutations: Annotated[
        int, typer.Option(help="How often pieces change sets by lot.")
    ] = 999,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Picture to draw: .png, .svg or .pdf."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """Hold a set of pieces against real ones, and real against real."""
    if picture is not None:
        _check_place("--picture", picture, PICTURES)
    from keras_pianogen import comparison

    sets = [comparison.read_folder(folder) for folder in (real, other)]
    embed = None
    if embeddings:
        with _loading():
            from keras_pianogen.embeddings import embed_pieces
            from keras_pianogen.models import MusicTransformerCausalLM

            model = MusicTransformerCausalLM.from_preset(preset)
        embed = functools.partial(embed_pieces, model)
    with _steps_progress() as report:
        found = comparison.compare(
            *sets,
            embed=embed,
            seconds=seconds,
            splits=splits,
            permutations=permutations,
            seed=seed,
            progress=report,
        )
    settings = {
        "real": {"folder": str(real), "pieces": len(sets[0])},
        "other": {"folder": str(other), "pieces": len(sets[1])},
        "preset": preset if embeddings else None,
        "seconds": seconds,
        "splits": splits,
        "permutations": permutations,
        "seed": seed,
    }
    values = settings | found.to_dict()
    if picture is not None:
        from keras_pianogen.comparison_picture import plot_comparison

        picture.parent.mkdir(parents=True, exist_ok=True)
        names = [folder.resolve().name for folder in (real, other)]
        plot_comparison(values, picture, real=names[0], other=names[1])
    if as_json:
        typer.echo(json.dumps(values))
        return
    _print_comparison(found, len(sets[0]), len(sets[1]))
    if picture is not None:
        _out.print(str(picture), markup=False)


def _print_comparison(found, num_real, num_other):
    """A table: each measure's floor, distance and anchor."""
    from rich.table import Table

    table = Table(
        title=f"{found.size} pieces against {found.size}; "
        f"in all {num_real} real ones, {num_other} others"
    )
    table.add_column("measure", no_wrap=True)
    for column in ("real", "other", "shuffled", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, sets in found.values.items():
        if name.endswith("distances_kl"):
            continue  # Tells what its area tells; it is in the JSON.
        shown = ".3f" if max(map(max, sets.values())) < 10 else ".1f"
        p = found.p_values.get(name)
        table.add_row(
            _MEASURES.get(name.rsplit(".")[-1], "{}").format(
                name.split(".")[0]
            ),
            *(f"{found.mean(name, of):{shown}}" for of in sets),
            "" if p is None else f"{p:.3f}" + (" *" if p < 0.05 else ""),
        )
    _out.print(table)
    _out.print(
        "real: the floor, half of the real pieces against the other half. "
        "shuffled: the same with pitches dealt out anew. p: how often pieces "
        "that change sets by lot lie as far apart, corrected after Holm; "
        "* below 0.05."
    )


_MEASURES = {
    "kl": "{}, KL in nats",
    "overlap": "{}, overlapping area",
    "distances_overlap": "{}, area of distances",
    "frechet": "Fréchet distance, embeddings",
    "classifier": "classifier's accuracy",
}


listen = typer.Typer(
    help="A blind listening test: make its page, report its ratings.",
    no_args_is_help=True,
)
app.add_typer(listen, name="listen")


@_command("Nothing was left.", within=listen)
def make(
    out: Annotated[
        pathlib.Path, typer.Argument(help="New folder for the page.")
    ],
    condition: Annotated[
        list[str],
        typer.Option(
            help="NAME=FOLDER of MIDI files, once for each; the first is the "
            "real music."
        ),
    ],
    key: Annotated[
        pathlib.Path,
        typer.Option(
            help="File for the key, outside OUT: it tells which sound is which."
        ),
    ],
    seconds: Annotated[
        float, typer.Option(help="Length of each sound, 1 to 120.")
    ] = 20.0,
    pieces: Annotated[int, typer.Option(help="Sounds of each condition.")] = 5,
    anchor: Annotated[
        bool,
        typer.Option(help="Add the first one with its pitches shuffled."),
    ] = True,
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same page.",
            show_default="a secret one, kept in the key",
        ),
    ] = None,
):
    """Make a page on which listeners judge pieces without knowing whose."""
    folders = dict(map(_named_folder, condition))
    if len(folders) < len(condition):
        raise ValueError(
            "`--condition` must have a name of its own each time. Received: "
            f"{', '.join(condition)}"
        )
    from keras_pianogen.comparison import read_folder
    from keras_pianogen.listening import make_page
    from keras_pianogen.synthesis import render

    conditions = {name: read_folder(folder) for name, folder in folders.items()}
    with _progress("Playing", unit="sounds") as bar:
        made = make_page(
            conditions,
            out,
            key,
            render=render,
            seconds=seconds,
            pieces=pieces,
            anchor=anchor,
            seed=seed,
            progress=bar,
        )
    _out.print(
        f"{len(made['items'])} sounds of {seconds:g} s: "
        f"{', '.join(made['conditions'])}",
        markup=False,
    )
    _out.print(f"For listeners: {out / 'index.html'}", markup=False)
    _out.print(f"Not for them:  {key}", markup=False)


def _named_folder(text):
    """A condition's name, and its folder."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise ValueError(
            f"`--condition` must be NAME=FOLDER. Received: {text!r}"
        )
    return name, pathlib.Path(folder)


@_command("Nothing was reported.", within=listen)
def report(
    ratings: Annotated[
        list[pathlib.Path],
        typer.Argument(help="Listeners' files, or folders of them."),
    ],
    key: Annotated[
        pathlib.Path, typer.Option(help="The key that `listen make` wrote.")
    ],
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Bars to draw: .png, .svg or .pdf."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """Count what listeners said, with intervals and paired tests."""
    if picture is not None:
        _check_place("--picture", picture, PICTURES)
    from keras_pianogen import listening

    found = listening.report(
        listening.read_ratings(ratings, listening.Key.read(key))
    )
    if picture is not None:
        from keras_pianogen.listening.picture import plot_report

        picture.parent.mkdir(parents=True, exist_ok=True)
        plot_report(found, picture)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    _print_report(found)
    if picture is not None:
        _out.print(str(picture), markup=False)


def _print_report(found):
    from rich.table import Table

    who = "simulated listeners" if found.simulated else "listeners"
    answers = list(next(iter(found.shares.values())))
    table = Table("condition", *answers, title=f"{found.listeners} {who}")
    for condition, shares in found.shares.items():
        cells = [
            f"{share.share:.0%} ({share.low:.0%} to {share.high:.0%})"
            for share in shares.values()
        ]
        table.add_row(condition, *cells)
    _out.print(table)
    table = Table("pair", "quality", "p", "inspiring", "p")
    for quality, inspiring in zip(found.quality, found.inspiring, strict=True):
        cells = [f"{quality.first} less {quality.second}"]
        for pair in (quality, inspiring):
            p = "<0.001" if pair.p_value < 0.001 else f"{pair.p_value:.3f}"
            star = " *" if pair.differ else ""
            cells += [f"{pair.difference:+.2f}", p + star]
        table.add_row(*cells)
    _out.print(table)
    _out.print(
        "Quality: good 1, average 0, bad -1. p: Wilcoxon's signed-rank test "
        "over listeners, corrected after Holm; * below 0.05."
    )


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
        self.bar = _start_bar(*columns, transient=True)
        self.task = self.bar.add_task(self.label, total=None)
        return lambda done, total: self.bar.update(
            self.task, completed=done, total=total
        )

    def __exit__(self, *_):
        self.bar.stop()


class _steps_progress:
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


class _training_progress:
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


class _gan_progress:
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


class _generation_progress:
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
        console=_err,
        transient=transient,
        disable=not _err.is_terminal,
    )
    bar.start()
    return bar
