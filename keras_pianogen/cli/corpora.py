"""Commands of corpora: prepare, describe."""

import collections
import pathlib
import time
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.options import CorpusFolder
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.progress import counting_bar
from keras_pianogen.cli.progress import download_bar


class OfMaestro(Options):
    """What is taken of MAESTRO."""

    download: Annotated[
        bool,
        typer.Option(
            "--download",
            help="First download MAESTRO's MIDI files into SOURCE.",
        ),
    ] = False
    paper_subset: Annotated[
        bool,
        typer.Option(
            "--paper-subset",
            help="Take only 100 of MAESTRO's files, chosen by the seed: 70 for "
            "train, 15 for validation, 15 for test.",
        ),
    ] = False


class Preparing(Options):
    """How a corpus is made of files; arguments of `prepare_corpus`."""

    validation_fraction: Annotated[
        float,
        typer.Option(
            help="Share of your own files for the validation split, 0 to 1."
        ),
    ] = 0.1
    test_fraction: Annotated[
        float,
        typer.Option(
            help="Share of your own files for the test split, 0 to 1."
        ),
    ] = 0.1
    seed: Annotated[int, typer.Option(help="Seed of the splits.")] = 0
    max_ring: Annotated[
        float | None,
        typer.Option(
            help="Seconds for which the pedal holds a note at most after its "
            "key is released.",
            show_default="no limit",
        ),
    ] = None
    labels: Annotated[
        pathlib.Path | None,
        typer.Option(
            help="CSV file of words about the files: a file's name, and then "
            "a column for each label, such as emotion, player or split."
        ),
    ] = None
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace another corpus in OUT."),
    ] = False


@command("The same command goes on from there.")
def prepare(
    source: Annotated[
        pathlib.Path,
        typer.Argument(help="MAESTRO's folder, or any folder of MIDI files."),
    ],
    out: Annotated[pathlib.Path, typer.Option(help="Folder for the corpus.")],
    of_maestro: OfMaestro,
    preparing: Preparing,
):
    """Read MIDI files once, and keep them as a corpus to train on."""
    from keras_pianogen.data.preparing import prepare_corpus

    began = time.monotonic()
    source = _find_source(source, of_maestro, preparing.seed)
    with counting_bar("Reading MIDI files") as report:
        corpus = prepare_corpus(source, out, progress=report, **vars(preparing))
    say(*str(corpus).splitlines())
    if not len(corpus.split("validation")):
        say(
            "No piece is left for validation, so that training can't tell when "
            "it should end. Two files are enough for a validation split."
        )
    _print_labels(corpus)
    _print_report(corpus)
    _print_skipped(corpus)
    say(f"{out} ({time.monotonic() - began:.1f} s)")


def _find_source(source, of_maestro, seed):
    """The folder, or what was asked for of MAESTRO in it."""
    from keras_pianogen.data.maestro import Maestro

    if of_maestro.download:
        with download_bar() as report:
            source = Maestro.download(source, progress=report)
    elif of_maestro.paper_subset:
        source = Maestro(source)
    return source.paper_subset(seed) if of_maestro.paper_subset else source


def _print_labels(corpus):
    """Print how many pieces have each label, and how many values it has."""
    values = collections.defaultdict(list)
    for piece in corpus.pieces:
        for name, value in piece.labels.items():
            values[name].append(value)
    for name, found in values.items():
        say(
            f"Label {name}: {len(found):,} of {len(corpus):,} pieces, "
            f"{len(set(found)):,} values"
        )


def _print_report(corpus):
    """Print what was repaired and left out, and what is strange, by kind."""
    lines = corpus.report.warnings()
    if lines:
        say("Repaired, left out or strange in the files that were read:")
        say(*(f"  {line}" for line in lines))
    if corpus.report.unlifted_pedals and corpus.max_ring is None:
        say("  --max-ring 10 lets the pedal hold a note for at most 10 s.")


def _print_skipped(corpus):
    if not corpus.skipped:
        return
    count = len(corpus.skipped)
    say(f"Skipped {count:,} of {len(corpus) + count:,} files:")
    for skipped in corpus.skipped:
        say(f"  {skipped.path}: {skipped.reason}")


@command("Nothing was drawn.")
def describe(
    corpus: CorpusFolder,
    out: Annotated[
        pathlib.Path | None,
        typer.Option(help="Picture to draw: .png, .svg or .pdf."),
    ] = None,
):
    """Print the sizes of a corpus's splits, and draw what it holds."""
    if out is not None:
        check_place("--out", out, PICTURES)
    from keras_pianogen.data.corpus import Corpus

    opened = Corpus(corpus)
    say(*str(opened).splitlines())
    if out is None:
        return
    from keras_pianogen.data.corpus_picture import plot_corpus

    out.parent.mkdir(parents=True, exist_ok=True)
    for panel, reason in plot_corpus(opened, out).items():
        say(f"Left out: {panel}, as {reason}.")
    say(out)
