"""The commands that train models: train, train-gan."""

import contextlib
import json
import math
import pathlib
from typing import Annotated

import typer

from keras_pianogen import training
from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.backends import training_work
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.options import CorpusFolder
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.progress import gan_bar
from keras_pianogen.cli.progress import training_bar
from keras_pianogen.cli.recipes import Field
from keras_pianogen.cli.recipes import fields_of
from keras_pianogen.cli.recipes import make_options
from keras_pianogen.notices.counts import counted
from keras_pianogen.notices.preset_names import check_preset
from keras_pianogen.training.gan_recipe import COMPILED
from keras_pianogen.training.gan_recipe import SETUPS
from keras_pianogen.training.gan_recipe import GanRecipe
from keras_pianogen.training.length import LOOKS
from keras_pianogen.training.recipe import FINE_TUNING_RATE
from keras_pianogen.training.recipe import SHAPE
from keras_pianogen.training.recipe import SIZES
from keras_pianogen.training.recipe import Recipe

DEFAULT_MINUTES = 30

RunFolder = Annotated[pathlib.Path, typer.Option(help="Folder for the run.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in the folder --out."),
]


class Length(Options):
    """The length of a run; a run that is resumed has one already."""

    steps: Annotated[
        int | None, typer.Option(help="Length of the run in optimizer steps.")
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Length of the run in minutes, instead of --steps.",
            show_default=str(DEFAULT_MINUTES),
        ),
    ] = None


class Looks(Options):
    """How often a run is validated, and writes samples."""

    panel = "Validation and samples"

    validation_events: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of validation events that each validation reads.",
            show_default=f"{LOOKS['validation_events']}, fewer in short runs",
        ),
    ] = None
    validations: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of validations in the run.",
            show_default=f"{LOOKS['validations']}, fewer in short runs",
        ),
    ] = None
    samples: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Number of pieces that are generated during the run.",
            show_default=str(LOOKS["samples"]),
        ),
    ] = None


class Machine(Options):
    """How a run uses the machine."""

    panel = "Machine"

    workers: Annotated[
        int, typer.Option(help="Number of threads that prepare batches.")
    ] = 1
    data_parallel: Annotated[
        bool,
        typer.Option(
            "--data-parallel",
            help="Distribute each batch over all devices. JAX only.",
        ),
    ] = False


class Loggers(Options):
    """Programs that plot training while it runs."""

    panel = "Logging"

    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log to OUT/tensorboard.")
    ] = False
    wandb: Annotated[
        bool, typer.Option("--wandb", help="Log to Weights & Biases.")
    ] = False

    def callbacks(self, out, has_one_learning_rate=True):
        """The callbacks of Keras that log a run in the folder `out`."""
        import keras

        self._check_installed()
        callbacks = []
        if self.tensorboard:
            callbacks.append(keras.callbacks.TensorBoard(out / "tensorboard"))
        if self.wandb:
            callbacks.append(_log_to_wandb(out, has_one_learning_rate))
        return callbacks

    def _check_installed(self):
        import importlib.util

        for name in self.given():
            if getattr(self, name) and not importlib.util.find_spec(name):
                raise ModuleNotFoundError(
                    f"No module named {name!r}", name=name
                )


def _log_to_wandb(out, has_one_learning_rate):
    import keras
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    out.mkdir(parents=True, exist_ok=True)  # Or it logs elsewhere.
    wandb.init(project="keras_pianogen", name=out.name, dir=out)
    if has_one_learning_rate:
        return WandbMetricsLogger()
    # `WandbMetricsLogger` reads the one learning rate, and a GAN has two.
    return keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: wandb.log(
            {"epoch/epoch": epoch}
            | {f"epoch/{name}": value for name, value in logs.items()}
        )
    )


def _by(name, settings):
    """Which defaults follow from a named choice, for `make_options`."""
    return {key: f"by {name}" for chosen in settings.values() for key in chosen}


SIZE = Field(
    name="size",
    type=str,
    default="small",
    help=f"{', '.join(SIZES)}. Other options change single settings of it.",
)
RecipeOptions = make_options(
    [SIZE, *fields_of(Recipe)],
    _by("size", SIZES)
    | {
        "intermediate_dim": "4 times --hidden-dim",
        "learning_rate": f"by size; {FINE_TUNING_RATE} with --preset",
        "dtype": "by device",
    },
    panel_of=lambda name: "Model" if name in ("size", *SHAPE) else "Training",
)

SETUP = Field(
    name="setup",
    type=str,
    default=None,
    help=f"{', '.join(SETUPS)}. Other options change single settings of it.",
)
PANELS = {
    None: ("setup", "preset"),
    "Data": (
        "vocabulary",
        "sequence_length",
        "context_length",
        "batch_size",
        "augment",
        "seed",
    ),
    "Training": (
        *COMPILED,
        "generator_learning_rate",
        "discriminator_learning_rate",
        "warm_up",
    ),
}


def _panel_of(name):
    for panel, names in PANELS.items():
        if name in names:
            return panel
    return "Networks"


GanRecipeOptions = make_options(
    [SETUP, *fields_of(GanRecipe)[1:]],
    _by("setup", SETUPS),
    panel_of=_panel_of,
)


@command("--resume continues from the last checkpoint, if there is one.")
def train(
    corpus: CorpusFolder,
    *,
    out: RunFolder,
    length: Length,
    resume: Resume = False,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Begin with the model of a preset: its name or its folder."
        ),
    ] = None,
    recipe: RecipeOptions,
    looks: Looks,
    machine: Machine,
    loggers: Loggers,
):
    """Train a Music Transformer. Ctrl-C stops it, and --resume continues."""
    settings = recipe.given()
    _check_preset(preset, settings, resume)
    opened = _open(corpus)
    if not length.given() and not resume:
        length.minutes = DEFAULT_MINUTES
    work = training_work(machine.data_parallel)
    choose_backend(work, _backend_of_run(out) if resume else None)
    train = _load("train", machine.data_parallel)
    with training_bar() as (report, last):
        row = train(
            opened,
            out,
            settings,
            resume=resume,
            preset=preset,
            callbacks=loggers.callbacks(out),
            progress=report,
            **vars(length) | vars(looks) | vars(machine),
        )
    _print_run(row, last, out)


def _check_preset(preset, settings, resume):
    shape = [name for name in SHAPE if name in settings]
    if preset is not None and shape:
        raise ValueError(
            "`--preset` brings the shape of its model with it. Received also: "
            f"{', '.join(shape)}"
        )
    if preset is not None and not resume:
        check_preset(preset)


def _open(folder):
    """The corpus, verified before the slow part."""
    from keras_pianogen.data.corpus import Corpus

    return Corpus(folder)


def _backend_of_run(folder):
    """The backend that a run used last, or `None` if it isn't known."""
    damaged = (OSError, ValueError, LookupError, TypeError, AttributeError)
    with contextlib.suppress(*damaged):
        config = json.loads((folder / "config.json").read_text())
        return str([config, *config.get("resumes", [])][-1]["backend"])
    return None


def _load(name, data_parallel=False):
    """A function of `training`; all that it needs is loaded with it."""
    with loading():
        import keras

        from keras_pianogen.training.data_parallel import join_processes

        if data_parallel and keras.config.backend() == "jax":
            join_processes()
        # TensorFlow looks for devices, and logs it, at its first operation.
        keras.ops.zeros(())
        return getattr(training, name)


def _print_run(row, last, out):
    """Print the length of a run, its validation loss, and what it left."""
    say(
        f"{counted(row['step'], 'step')}, "
        f"{counted(row['events'], row['unit'])} in "
        f"{row['seconds'] / 60:.1f} minutes; {_validation(row)}"
    )
    if last.done is None:
        say("The run has that length already; --steps or --minutes extends it")
    _print_left(out, last, f"step {row['step']:,}")


def _validation(row):
    """The best validation loss, and its distance from the preset's."""
    best = row["best_val_nats_per_event"]
    if not math.isfinite(best):
        return "not validated"
    text = f"validation {best:.3f} nats per {row['unit']}"
    preset = row.get("preset_val_nats_per_event")
    if preset is None:
        return text
    side = "below" if best < preset else "above"
    return f"{text}, {abs(best - preset):.3f} {side} the preset's {preset:.3f}"


def _print_left(out, last, place):
    """Print where a run was stopped, if it was, and the files that it left."""
    if last.done is not None and last.done < 1:
        say(f"Stopped at {place}; --resume continues")
    for name in ("history.csv", "curves.png", "samples", "gan", "preset"):
        if (out / name).exists():
            say(out / name)


@command("--resume continues from the last checkpoint, if there is one.")
def train_gan(
    corpus: CorpusFolder,
    *,
    out: RunFolder,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Length of the run in rounds: updates of both networks.",
            show_default="ten epochs",
        ),
    ] = None,
    resume: Resume = False,
    recipe: GanRecipeOptions,
    loggers: Loggers,
):
    """Train a Transformer-GAN, and see whether it learns or collapses."""
    settings = recipe.given()
    _check_setup(resume, settings)
    opened = _open(corpus)
    choose_backend(training_work(), _backend_of_run(out) if resume else None)
    train = _load("train_gan")
    with gan_bar() as (report, last):
        row = train(
            opened,
            out,
            settings if resume else training.GanRecipe.named(**settings),
            steps=steps,
            resume=resume,
            callbacks=loggers.callbacks(out, has_one_learning_rate=False),
            progress=report,
        )
    _print_gan_run(row, last, out)


def _check_setup(resume, settings):
    setup = settings.get("setup")
    if setup is None and not resume:
        raise ValueError(
            f"`--setup` must be one of {', '.join(SETUPS)}. Received: none"
        )
    if "preset" in settings and setup not in (None, "fine-tune"):
        raise ValueError(
            "`--preset` is for --setup fine-tune. Received: --setup "
            f"{setup} and --preset {settings['preset']}"
        )
    if "preset" in settings and not resume:
        check_preset(settings["preset"])


def _print_gan_run(row, last, out):
    """Print the length of a run, its distance from real music, and files."""
    if not row["step"]:
        say(last.sentence)
        say("Stopped before the first round; --resume continues")
        return
    say(
        f"{counted(row['step'], 'round')} in "
        f"{row['seconds'] / 60:.1f} minutes; "
        f"gradient norm at the generator {row['generator_gradient_norm']:.3g}, "
        f"distance from real music {row['event_divergence']:.3f} (events) and "
        f"{row['pitch_divergence']:.3f} (pitches)"
    )
    if last.done is None:
        say("The run has that length already; --steps extends it")
        return
    say(last.sentence)
    _print_left(out, last, f"round {row['step']:,}")
