"""Commands of the blind listening test: listen make, listen report."""

import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import app
from keras_pianogen.cli.app import command
from keras_pianogen.cli.judging import read_folder
from keras_pianogen.cli.options import AsJson
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import say_json
from keras_pianogen.cli.printing import say_table
from keras_pianogen.cli.progress import counting_bar
from keras_pianogen.notices.hints import hinted

EXAMPLE = (
    "Such as --condition real=FOLDER --condition transformer=ANOTHER_FOLDER."
)

listen = typer.Typer(
    help="A blind listening test: make its page, and report its ratings.",
    no_args_is_help=True,
)
app.add_typer(listen, name="listen")


class Sounds(Options):
    """The sounds of a page; arguments of `make_page`."""

    seconds: Annotated[
        float, typer.Option(help="Length of each sound in seconds, 3 to 120.")
    ] = 20.0
    pieces: Annotated[
        int, typer.Option(help="Number of sounds of each condition.")
    ] = 5
    anchor: Annotated[
        bool,
        typer.Option(
            help="Add one more condition: the first with its pitches shuffled."
        ),
    ] = True
    seed: Annotated[
        int | None,
        typer.Option(
            help="The same seed gives the same page.",
            show_default="a secret one, kept in the key",
        ),
    ] = None


@command("Nothing was left.", within=listen)
def make(
    out: Annotated[
        pathlib.Path, typer.Argument(help="New folder for the page.")
    ],
    condition: Annotated[
        list[str],
        typer.Option(
            help="NAME=FOLDER: a name, and a folder of MIDI files. Repeat it "
            "for each condition; the first is the real music."
        ),
    ],
    key: Annotated[
        pathlib.Path,
        typer.Option(
            help="File for the key, which says where each sound comes from. "
            "It must be outside OUT."
        ),
    ],
    sounds: Sounds,
):
    """Make a page where listeners rate pieces without knowing their source."""
    folders = _named_folders(condition)
    check_place("--key", key)
    if not out.is_dir():
        check_place("OUT", out)
    conditions = {
        name: read_folder(folder).notes for name, folder in folders.items()
    }
    made = _make(conditions, out, key, sounds)
    _print_page(made, sounds.seconds, conditions)
    say(f"For listeners: {out / 'index.html'}", f"Not for them:  {key}")


def _make(conditions, out, key, sounds):
    from keras_pianogen.listening import make_page
    from keras_pianogen.rendering.synthesis import render

    settings = vars(sounds) | {"render": render}
    with counting_bar("Playing") as report:
        return make_page(conditions, out, key, progress=report, **settings)


def _named_folders(conditions):
    """A dict of conditions and folders, each given as NAME=FOLDER."""
    folders = {}
    for text in conditions:
        name, _, folder = text.partition("=")
        if not (name and folder):
            error = ValueError(
                f"`--condition` must be NAME=FOLDER. Received: {text!r}"
            )
            raise hinted(error, EXAMPLE)
        folders[name] = pathlib.Path(folder)
    if len(folders) < len(conditions):
        error = ValueError(
            "`--condition` must have a name of its own each time. Received: "
            f"{', '.join(conditions)}"
        )
        raise hinted(error, EXAMPLE)
    return folders


def _print_page(made, seconds, conditions):
    """Print the sounds of a page, and the pieces that are too short for it."""
    count = len(made["items"])
    say(f"{count} sounds of {seconds:g} s: {', '.join(made['conditions'])}")
    for name, reasons in made["left_out"].items():
        if reasons:
            count = f"{len(reasons):,} of {len(conditions[name]):,}"
            say(f"Left out {count} in {name}:")
        for piece, reason in reasons.items():
            say(f"  {piece} {reason}")


@command("Nothing was reported.", within=listen)
def report(
    ratings: Annotated[
        list[pathlib.Path],
        typer.Argument(help="Listeners' files, or folders of them."),
    ],
    key: Annotated[
        pathlib.Path,
        typer.Option(help="The key that `pianogen listen make` wrote."),
    ],
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Bar chart to draw: .png, .svg or .pdf."),
    ] = None,
    as_json: AsJson = False,
):
    """Count the ratings, with intervals and paired tests."""
    if picture is not None:
        check_place("--picture", picture, PICTURES)
    from keras_pianogen import listening

    found = listening.report(
        listening.read_ratings(ratings, listening.Key.read(key))
    )
    if picture is not None:
        from keras_pianogen.listening.picture import plot_report

        picture.parent.mkdir(parents=True, exist_ok=True)
        plot_report(found, picture)
    if as_json:
        say_json(found.to_dict())
        return
    _print_report(found)
    if picture is not None:
        say(picture)


def _print_report(found):
    titles = (found.panel, None)
    for title, (header, *rows) in zip(titles, found.tables(), strict=True):
        say_table(header, rows, title=title)
    say(
        "Quality: good 1, average 0, bad -1. p: Wilcoxon's signed-rank test "
        "over listeners, with Holm's correction; * below 0.05."
    )
