"""The program, its commands' frame, and what is said of errors."""

import functools
import os

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
BACKENDS = ("tensorflow", "jax", "torch")
LOGGERS = ("tensorboard", "wandb")

# What to do about an error, by words of its message; the first match counts.
HINTS = {
    "`fluidsynth` must be installed": "`apt install fluidsynth`; or leave the "
    "SoundFont out, and the built-in piano plays.",
    "`fluidsynth` must": "--soundfont built-in plays without it.",
    "PIANOGEN_SOUNDFONT": "PIANOGEN_SOUNDFONT=built-in plays without one.",
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
    "Install keras_pianogen again": "`pip install --force-reinstall --no-deps "
    "keras_pianogen`; other presets load as before.",
    "whose pieces are in": "--split reads another; a corpus of three files or "
    "more has pieces in each.",
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


stdout = Console(highlight=False, soft_wrap=True)

stderr = Console(stderr=True, highlight=False, soft_wrap=True)

# Errors that are the user's to mend.
REPORTED = (ValueError, OSError, ModuleNotFoundError)


def command(stopped, within=None):
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
            except REPORTED as error:
                message, hint = explain(error)
                stderr.print("[bold red]Error:[/]", end=" ")
                stderr.print(" ".join(message.split()), markup=False)
                stderr.print("[bold]Hint:[/]", end=" ")
                stderr.print(hint, markup=False)
                raise typer.Exit(2) from error
            except KeyboardInterrupt as error:
                stderr.print(f"Stopped. {stopped}", markup=False)
                raise typer.Exit(130) from error

        return (within or app).command()(run)

    return decorate


def explain(error):
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
    from keras_pianogen.midi.movements import MidiError

    if isinstance(error, MidiError):
        return message, "Open it in a sequencer and save it as MIDI again."
    return message, "--help after the command shows what it takes."
