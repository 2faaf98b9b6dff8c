"""Commands that judge pieces: compare, listen make, listen report."""

import functools
import json
import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import DEFAULT_PRESET
from keras_pianogen.cli.app import app
from keras_pianogen.cli.app import command
from keras_pianogen.cli.app import stderr
from keras_pianogen.cli.app import stdout
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.progress import progress_bar
from keras_pianogen.cli.progress import steps_bar


@command("Nothing was compared.")
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
        check_place("--picture", picture, PICTURES)
    from keras_pianogen.judging import comparison

    sets = [_read_folder(folder) for folder in (real, other)]
    embed = None
    if embeddings:
        with loading():
            from keras_pianogen.judging.embeddings import embed_pieces
            from keras_pianogen.models import MusicTransformerCausalLM

            model = MusicTransformerCausalLM.from_preset(preset)
        embed = functools.partial(embed_pieces, model)
    with steps_bar() as report:
        found = comparison.compare(
            *(pieces.notes for pieces in sets),
            pedals=[pieces.pedals for pieces in sets],
            embed=embed,
            seconds=seconds,
            splits=splits,
            permutations=permutations,
            seed=seed,
            progress=report,
        )
    settings = {
        name: {
            "folder": str(folder),
            "pieces": found.pieces[name],
            "skipped": pieces.skipped,
        }
        for name, folder, pieces in zip(
            ("real", "other"), (real, other), sets, strict=True
        )
    } | {
        "preset": preset if embeddings else None,
        "seconds": seconds,
        "splits": splits,
        "permutations": permutations,
        "seed": seed,
    }
    values = settings | found.to_dict()
    if picture is not None:
        from keras_pianogen.judging.comparison_picture import plot_comparison

        picture.parent.mkdir(parents=True, exist_ok=True)
        names = [folder.resolve().name for folder in (real, other)]
        plot_comparison(values, picture, real=names[0], other=names[1])
    if as_json:
        typer.echo(json.dumps(values))
        return
    _print_comparison(found)
    if picture is not None:
        stdout.print(str(picture), markup=False)


def _read_folder(folder):
    """A folder's pieces; says on stderr which files were skipped."""
    from keras_pianogen.judging.comparison import read_folder

    found = read_folder(folder)
    if found.skipped:
        count = len(found.skipped)
        stderr.print(
            f"Skipped {count:,} of {len(found.notes) + count:,} files in "
            f"{folder}:",
            markup=False,
        )
        for name, reason in found.skipped.items():
            stderr.print(f"  {name}: {reason}", markup=False)
    return found


def _print_comparison(found):
    """A table: each measure's floor, distance and anchor."""
    from rich.table import Table

    from keras_pianogen.judging.comparison import HEADER
    from keras_pianogen.judging.comparison import LEGEND

    table = Table(title=found.title())
    table.add_column(HEADER[0], no_wrap=True)
    for column in HEADER[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    for row in found.rows():
        table.add_row(*row)
    stdout.print(table)
    stdout.print(LEGEND)
    stdout.print(found.note(), markup=False)
    for name, pieces in found.left_out.items():
        if pieces:
            stdout.print(
                f"Left out of {name}, for want of two notes in time: "
                f"{', '.join(pieces)}",
                markup=False,
            )


listen = typer.Typer(
    help="A blind listening test: make its page, report its ratings.",
    no_args_is_help=True,
)


app.add_typer(listen, name="listen")


@command("Nothing was left.", within=listen)
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
        float, typer.Option(help="Length of each sound, 3 to 120.")
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
    check_place("--key", key)
    if not out.is_dir():
        check_place("OUT", out)
    from keras_pianogen.listening import make_page
    from keras_pianogen.rendering.synthesis import render

    conditions = {
        name: _read_folder(folder).notes for name, folder in folders.items()
    }
    with progress_bar("Playing", unit="sounds") as bar:
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
    stdout.print(
        f"{len(made['items'])} sounds of {seconds:g} s: "
        f"{', '.join(made['conditions'])}",
        markup=False,
    )
    for name, reasons in made["left_out"].items():
        if reasons:
            count = f"{len(reasons):,} of {len(conditions[name]):,}"
            stdout.print(f"Left out {count} in {name}:", markup=False)
        for piece, reason in reasons.items():
            stdout.print(f"  {piece} {reason}", markup=False)
    stdout.print(f"For listeners: {out / 'index.html'}", markup=False)
    stdout.print(f"Not for them:  {key}", markup=False)


def _named_folder(text):
    """A condition's name, and its folder."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise ValueError(
            f"`--condition` must be NAME=FOLDER. Received: {text!r}"
        )
    return name, pathlib.Path(folder)


@command("Nothing was reported.", within=listen)
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
        typer.echo(json.dumps(found.to_dict()))
        return
    _print_report(found)
    if picture is not None:
        stdout.print(str(picture), markup=False)


def _print_report(found):
    from rich.table import Table
    from rich.text import Text

    titles = (found.panel, None)
    for title, (head, *rows) in zip(titles, found.tables(), strict=True):
        table = Table(*head, title=title)
        for row in rows:
            table.add_row(*map(Text, row))  # A name in brackets is no markup.
        stdout.print(table)
    stdout.print(
        "Quality: good 1, average 0, bad -1. p: Wilcoxon's signed-rank test "
        "over listeners, corrected after Holm; * below 0.05."
    )
