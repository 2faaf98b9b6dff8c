"""Commands that compare and examine: compare, tell-apart, attention."""

import functools
import pathlib
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import READING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.backends import training_work
from keras_pianogen.cli.loading import load_model
from keras_pianogen.cli.options import DEFAULT_PRESET
from keras_pianogen.cli.options import AsJson
from keras_pianogen.cli.options import CorpusFolder
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import Preset
from keras_pianogen.cli.options import Seed
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import say_json
from keras_pianogen.cli.printing import say_table
from keras_pianogen.cli.printing import stderr
from keras_pianogen.cli.progress import stages_bar


class Comparison(Options):
    """How two sets are compared; arguments of `comparison.compare`."""

    seconds: Annotated[
        float,
        typer.Option(
            help="Length of the excerpt of each piece, in seconds. It begins "
            "at a note that is drawn by the seed."
        ),
    ] = 30.0
    splits: Annotated[
        int,
        typer.Option(
            help="Number of random splits of REAL into two halves, for the "
            "distance of real music from real music."
        ),
    ] = 10
    permutations: Annotated[
        int,
        typer.Option(
            help="Number of random relabellings for the permutation test."
        ),
    ] = 999
    seed: Seed = 0

    def check(self):
        from keras_pianogen.judging import comparison

        comparison.check_settings(self.seconds, self.splits, self.permutations)


@command("Nothing was compared.")
def compare(
    real: Annotated[
        pathlib.Path, typer.Argument(help="Folder of real music, MIDI files.")
    ],
    other: Annotated[
        pathlib.Path,
        typer.Argument(help="Folder of the music to compare, MIDI files."),
    ],
    *,
    embeddings: Annotated[
        bool,
        typer.Option(help="Compare embeddings by a preset's backbone, too."),
    ] = True,
    preset: Preset = DEFAULT_PRESET,
    comparison: Comparison,
    picture: Annotated[
        pathlib.Path | None,
        typer.Option(help="Picture to draw: .png, .svg or .pdf."),
    ] = None,
    as_json: AsJson = False,
):
    """Measure how far a set of pieces is from real music."""
    if picture is not None:
        check_place("--picture", picture, PICTURES)
    folders = {"real": real, "other": other}
    sets = {name: read_folder(folder) for name, folder in folders.items()}
    embed = _load_embedding(preset) if embeddings else None
    found = _compare(sets, embed, comparison)
    asked = {"preset": preset if embeddings else None, **vars(comparison)}
    values = _sources(folders, sets, found) | asked | found.to_dict()
    if picture is not None:
        _draw_comparison(values, picture, folders)
    if as_json:
        say_json(values)
        return
    _print_comparison(found)
    if picture is not None:
        say(picture)


def _sources(folders, sets, found):
    """A dict for each set: where it is, and how many pieces are used."""
    return {
        name: {
            "folder": str(folder),
            "pieces": found.pieces[name],
            "skipped": sets[name].skipped,
        }
        for name, folder in folders.items()
    }


def read_folder(folder):
    """A folder's pieces; prints on standard error which files it skipped."""
    from keras_pianogen.judging import comparison

    found = comparison.read_folder(folder)
    if found.skipped:
        count = len(found.skipped)
        say(
            f"Skipped {count:,} of {len(found.notes) + count:,} files in "
            f"{folder}:",
            to=stderr,
        )
        for name, reason in found.skipped.items():
            say(f"  {name}: {reason}", to=stderr)
    return found


def _load_embedding(preset):
    """A function from pieces to embeddings, by a preset's backbone."""
    choose_backend(READING)
    model = load_model(preset)
    from keras_pianogen.judging.embeddings import embed_pieces

    return functools.partial(embed_pieces, model)


def _compare(sets, embed, settings):
    from keras_pianogen.judging import comparison

    with stages_bar() as report:
        return comparison.compare(
            *(pieces.notes for pieces in sets.values()),
            pedals=[pieces.pedals for pieces in sets.values()],
            embed=embed,
            progress=report,
            **vars(settings),
        )


def _draw_comparison(values, picture, folders):
    from keras_pianogen.judging.comparison_picture import plot_comparison

    picture.parent.mkdir(parents=True, exist_ok=True)
    names = {name: folder.resolve().name for name, folder in folders.items()}
    plot_comparison(values, picture, **names)


def _print_comparison(found):
    """Print each measure: of real halves, the other set and shuffled music."""
    from keras_pianogen.judging import comparison

    header = comparison.HEADER
    say_table(header, found.rows(), title=found.title(), right=header[1:])
    say(comparison.LEGEND)
    say(found.note())
    if warning := found.warning():
        say(f"Warning: {warning}")
    for name, pieces in found.left_out.items():
        if pieces:
            say(
                f"Left out of {name}, because the excerpt has fewer than two "
                f"notes at different times: {', '.join(pieces)}"
            )


class Trial(Options):
    """How a classifier is trained; arguments of `judge_continuations`."""

    train_windows: Annotated[
        int, typer.Option(min=1, help="Real windows to train on.")
    ] = 8192
    test_windows: Annotated[
        int, typer.Option(min=1, help="Real windows to test on.")
    ] = 4096
    sequence_length: Annotated[
        int, typer.Option(min=2, help="Events in each window.")
    ] = 128
    context_length: Annotated[
        int,
        typer.Option(
            min=1, help="Real events at the beginning of each window."
        ),
    ] = 32
    pretrained: Annotated[
        bool,
        typer.Option(help="Begin with the weights of the first preset."),
    ] = True
    epochs: Annotated[
        int, typer.Option(min=1, help="Epochs of the classifier's training.")
    ] = 1
    seed: Seed = 0

    def check(self):
        if self.context_length >= self.sequence_length:
            raise ValueError(
                "`--context-length` must be below `--sequence-length`. "
                f"Received: {self.context_length} and {self.sequence_length}"
            )


@command("Nothing was measured.")
def tell_apart(
    corpus: CorpusFolder,
    *,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="A bundled preset's name, or a preset's folder. May be "
            "repeated.",
            show_default=DEFAULT_PRESET,
        ),
    ] = None,
    trial: Trial,
    as_json: AsJson = False,
):
    """Train a classifier to tell models' continuations from real music."""
    presets = preset or [DEFAULT_PRESET]
    results = _tell_apart(corpus, presets, trial)
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
        say_json(rows)
    else:
        _print_told_apart(rows, presets[0])


def _tell_apart(folder, presets, trial):
    """The `TwoSample` of each preset, and of real music."""
    from keras_pianogen.data.corpus import Corpus

    corpus = Corpus(folder)
    choose_backend(training_work())
    models = {name: load_model(name) for name in presets}
    from keras_pianogen.judging.two_sample import judge_continuations

    with stages_bar() as report:
        return judge_continuations(
            models, corpus, progress=report, **vars(trial)
        )


def _print_told_apart(rows, first):
    cells = []
    for name, row in rows.items():
        low, high = row["interval"]
        cells.append(
            [name, f"{row['accuracy']:.1%}", f"{low:.1%} to {high:.1%}"]
        )
        if name != first:
            low, high = row["difference_interval"]
            cells[-1].append(f"{row['difference']:+.1%}")
            cells[-1].append(f"{low:+.1%} to {high:+.1%}")
    names = "against real music"
    say_table(
        [names, "told rightly", "95 %", "less the first", "95 %"],
        cells,
        title=f"{rows[first]['windows']:,} windows of pieces not met",
        names=names,
    )


class Heads(Options):
    """The heads that are drawn."""

    head: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="Layer and head to draw, from 0.",
            show_default="the one with most weight on earlier events",
        ),
    ] = None
    all_heads: Annotated[
        bool, typer.Option("--all-heads", help="Draw every head.")
    ] = False

    def check(self):
        self.refuse_together("all_heads", "head")


@command("Nothing was drawn.")
def attention(
    piece: Annotated[pathlib.Path, typer.Argument(help="A MIDI file.")],
    out: Annotated[
        pathlib.Path,
        typer.Option(help="Picture to write: .png, .svg or .pdf."),
    ],
    *,
    preset: Preset = DEFAULT_PRESET,
    max_events: Annotated[
        int,
        typer.Option(
            min=2, max=2048, help="Number of events of the piece to read."
        ),
    ] = 512,
    heads: Heads,
):
    """Draw where the heads of a model attend in a piece."""
    from keras_pianogen.midi.reading import read_notes

    check_place("--out", out, PICTURES)
    notes = read_notes(piece)
    choose_backend(READING)
    model = load_model(preset)
    from keras_pianogen.judging import attention_maps

    ids, weights = attention_maps.attention_weights(model, notes, max_events)
    out.parent.mkdir(parents=True, exist_ok=True)
    if heads.all_heads:
        attention_maps.plot_heads(weights, out)
    else:
        vocabulary = model.preprocessor.tokenizer.vocabulary
        attention_maps.plot_attention(
            ids, weights, vocabulary, out, head=heads.head
        )
    say(out)
