"""Commands of corpora: prepare, describe."""

import pathlib
import time
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.app import stdout
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.progress import progress_bar


@command("The same command goes on from there.")
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
    from keras_pianogen.data.maestro import Maestro
    from keras_pianogen.data.preparing import prepare_corpus

    began = time.monotonic()
    if download:
        with progress_bar("Downloading", unit="bytes") as bar:
            maestro = Maestro.download(
                source, progress=lambda done, total: bar(done, total)
            )
    elif paper_subset:
        maestro = Maestro(source)
    if paper_subset:
        source = maestro.paper_subset(seed)
    elif download:
        source = maestro
    with progress_bar("Reading MIDI files", unit="files") as bar:
        corpus = prepare_corpus(
            source,
            out,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            seed=seed,
            overwrite=overwrite,
            progress=bar,
        )
    stdout.print(str(corpus), markup=False)
    if corpus.skipped:
        count = len(corpus.skipped)
        stdout.print(f"Skipped {count:,} of {len(corpus) + count:,} files:")
        for skipped in corpus.skipped:
            stdout.print(f"  {skipped.path}: {skipped.reason}", markup=False)
    stdout.print(f"{out} ({time.monotonic() - began:.1f} s)", markup=False)


@command("Nothing was drawn.")
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
        check_place("--out", out, PICTURES)
    from keras_pianogen.data.corpus import Corpus

    opened = Corpus(corpus)
    stdout.print(str(opened), markup=False)
    if out is None:
        return
    from keras_pianogen.data.corpus_picture import plot_corpus

    out.parent.mkdir(parents=True, exist_ok=True)
    for panel, reason in plot_corpus(opened, out).items():
        stdout.print(f"Left out: {panel}, as {reason}.", markup=False)
    stdout.print(str(out), markup=False)
