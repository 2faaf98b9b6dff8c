"""The command `curves`: the curves of several runs in one picture."""

import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.printing import say


@command("Nothing was drawn.")
def curves(
    runs: Annotated[
        list[pathlib.Path], typer.Argument(help="Folders of runs.")
    ],
    out: Annotated[
        pathlib.Path,
        typer.Option(help="Picture to write: .png, .svg or .pdf."),
    ],
    line: Annotated[
        list[str] | None,
        typer.Option(
            help="Draw a horizontal line at this loss, such as 3-grams=3.65. "
            "May be repeated.",
            metavar="NAME=LOSS",
        ),
    ] = None,
):
    """Draw the curves of language models, or of GANs, in one picture."""
    from keras_pianogen.training.curves import plot_gan_curves
    from keras_pianogen.training.curves import plot_training_curves

    check_place("--out", out, PICTURES)
    lines = dict(map(_named_loss, line or ()))
    of_gans = _are_gans(runs, lines)
    out.parent.mkdir(parents=True, exist_ok=True)
    if of_gans:
        plot_gan_curves(_named(runs), out)
    else:
        plot_training_curves(_named(runs), out, lines=lines)
    say(out)


def _named_loss(text):
    """The name and the loss of a line, written NAME=LOSS."""
    name, _, loss = text.rpartition("=")
    try:
        if name:
            return name, float(loss)
    except ValueError:
        pass
    raise ValueError(f"`--line` must be NAME=LOSS. Received: --line {text}")


def _are_gans(runs, lines):
    """Whether runs are of GANs; refuses what one picture can't show."""
    for run in runs:
        if not (run / "history.csv").is_file():
            raise ValueError(
                "A run must be a folder with a history.csv, which `pianogen "
                f"train` and `pianogen train-gan` write. Received: {run}"
            )
    gans = [run for run in runs if (run / "real.json").is_file()]
    if gans and (len(gans) < len(runs) or lines):
        raise ValueError(
            "The curves of GANs must be in a picture of their own, without "
            f"--line. Received: {', '.join(map(str, runs))}"
        )
    return bool(gans)


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
