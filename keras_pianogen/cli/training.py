"""Commands that train: train, train-gan, curves."""

import dataclasses
import math
import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import LOGGERS
from keras_pianogen.cli.app import command
from keras_pianogen.cli.app import stdout
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.progress import gan_bar
from keras_pianogen.cli.progress import training_bar

DEFAULT_MINUTES = 30

# A new model's would undo what a preset has learned.
FINE_TUNING_RATE = 3e-4

BY_SIZE = typer.Option(show_default="by size")
TENSORBOARD = typer.Option("--tensorboard", help="Log to OUT/tensorboard.")
WANDB = typer.Option("--wandb", help="Log to Weights & Biases.")


@command("--resume goes on from the last checkpoint, if there is one.")
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
    num_layers: Annotated[int | None, BY_SIZE] = None,
    num_heads: Annotated[int | None, BY_SIZE] = None,
    hidden_dim: Annotated[int | None, BY_SIZE] = None,
    intermediate_dim: Annotated[
        int | None, typer.Option(show_default="4 hidden_dim")
    ] = None,
    dropout: Annotated[float | None, BY_SIZE] = None,
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
    warmup: Annotated[
        float | None,
        typer.Option(
            help="Share of the run in which it rises.", show_default="0.02"
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
    tensorboard: Annotated[bool, TENSORBOARD] = False,
    wandb: Annotated[bool, WANDB] = False,
):
    """Train a Music Transformer; Ctrl-C stops it so that it can go on."""
    given = dict(locals())
    with loading():
        import keras

        from keras_pianogen.training import language_model as training
        from keras_pianogen.training.data_parallel import join_processes
        from keras_pianogen.training.recipe import SHAPE
        from keras_pianogen.training.recipe import Recipe

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
    with training_bar() as bar:
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
    stdout.print(
        f"{row['step']:,} steps, {row['events']:,} events in "
        f"{row['seconds'] / 60:.1f} minutes; "
        + (
            f"validation {best:.3f} nats per event"
            if math.isfinite(best)
            else "not validated yet"
        )
    )
    if bar.done is None:
        stdout.print("It is that long already; --steps or --minutes gives more")
    elif bar.done < 1:
        stdout.print(f"Stopped at step {row['step']:,}; go on with --resume")
    for name in ("history.csv", "curves.png", "samples", "preset"):
        if (out / name).exists():
            stdout.print(str(out / name), markup=False)


def _loggers(out, tensorboard, wandb, gan=False):
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

        out.mkdir(parents=True, exist_ok=True)  # Or it logs elsewhere.
        wandb.init(project="keras_pianogen", name=out.name, dir=out)
        if gan:  # Theirs asks for the one learning rate, and a GAN has two.
            log = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: wandb.log(
                    {"epoch/epoch": epoch}
                    | {f"epoch/{name}": value for name, value in logs.items()}
                )
            )
        else:
            log = WandbMetricsLogger()
        loggers.append(log)
    return loggers


@command("--resume goes on from the last checkpoint, if there is one.")
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
    tensorboard: Annotated[bool, TENSORBOARD] = False,
    wandb: Annotated[bool, WANDB] = False,
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
    with loading():
        import keras

        from keras_pianogen.training import gan as gan_training

        keras.ops.zeros(())
        recipe = None
        if not resume:
            recipe = gan_training.GanRecipe.named(setup, **chosen)
    with gan_bar() as bar:
        row = gan_training.train_gan(
            corpus,
            out,
            recipe,
            steps=steps,
            resume=resume,
            callbacks=_loggers(out, tensorboard, wandb, gan=True),
            progress=bar.report,
        )
    if not row["step"]:
        stdout.print(bar.sentence, markup=False)
        stdout.print("Stopped before the first round; go on with --resume")
        return
    stdout.print(
        f"{row['step']:,} rounds in {row['seconds'] / 60:.1f} minutes; "
        f"gradient norm at the generator {row['generator_gradient_norm']:.3g}, "
        f"distance from real music {row['event_divergence']:.3f} (events) and "
        f"{row['pitch_divergence']:.3f} (pitches)"
    )
    if bar.done is None:
        stdout.print("It is that long already; --steps gives more")
        return
    stdout.print(bar.sentence, markup=False)
    if bar.done < 1:
        stdout.print(f"Stopped at round {row['step']:,}; go on with --resume")
    for name in ("history.csv", "curves.png", "samples", "gan", "preset"):
        if (out / name).exists():
            stdout.print(str(out / name), markup=False)


@command("Nothing was drawn.")
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
    from keras_pianogen.training.curves import plot_training_curves
    from keras_pianogen.training.gan_curves import plot_gan_curves

    check_place("--out", out, PICTURES)
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
    folders = _named(runs)
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
    stdout.print(str(out), markup=False)


def _named(folders):
    """Folders by their name, with as many parents as tell them apart."""
    parts = {folder.absolute().parts: folder for folder in folders}
    named = {}
    for own, folder in parts.items():
        count = 1
        while sum(other[-count:] == own[-count:] for other in parts) > 1:
            count += 1
        named[str(pathlib.Path(*own[-count:]))] = folder
    return named
