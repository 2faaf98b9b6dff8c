"""The command `evaluate`: how well a model predicts a corpus."""

import dataclasses
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.asked import print_asked
from keras_pianogen.cli.asked import print_fillings
from keras_pianogen.cli.asked import print_gaps
from keras_pianogen.cli.asked import print_scores
from keras_pianogen.cli.backends import READING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.loading import preset_hinted
from keras_pianogen.cli.novelty import print_novelty
from keras_pianogen.cli.options import DEFAULT_PRESET
from keras_pianogen.cli.options import AsJson
from keras_pianogen.cli.options import CorpusFolder
from keras_pianogen.cli.options import Options
from keras_pianogen.cli.options import Preset
from keras_pianogen.cli.options import check_arguments
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import say_json
from keras_pianogen.cli.printing import say_table
from keras_pianogen.cli.printing import stderr
from keras_pianogen.cli.progress import counting_bar
from keras_pianogen.notices.hints import hinted

# What is measured in place of a likelihood, by the option that asks for it.
INSTEAD = {
    "novelty": print_novelty,
    "gaps": print_gaps,
    "controls": print_asked,
    "scores": print_scores,
    "fillings": print_fillings,
}
OF_LIKELIHOOD = "n_gram by max_events transpose dynamic pieces".split()


class Windows(Options):
    """How a split is read; arguments of `evaluate` and `evaluate_ngram`."""

    batch_size: Annotated[
        int, typer.Option(min=1, help="Number of windows in a batch.")
    ] = 8
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="New events of each window. With fewer, each event has more "
            "context.",
            show_default="half of a window",
        ),
    ] = None


class Question(Options):
    """What is measured, in place of the likelihood of a split by a preset."""

    n_gram: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=6,
            help="Evaluate n-grams of this order, counted in the train split, "
            "with the vocabulary and the windows of the preset.",
        ),
    ] = None
    transpose: Annotated[
        int,
        typer.Option(
            min=0,
            max=12,
            help="Average the probability of each event or note over the piece "
            "as it is and moved by 1 to this number of semitones, up and down.",
        ),
    ] = 0
    dynamic: Annotated[
        float | None,
        typer.Option(
            help="Dynamic evaluation: the weights follow each piece with this "
            "learning rate, such as 0.0001.",
        ),
    ] = None
    pieces: Annotated[
        int | None,
        typer.Option(
            min=1, help="Read this number of pieces, evenly from the split."
        ),
    ] = None
    by: Annotated[
        str | None,
        typer.Option(
            help="Print the figures of each piece, or of each composer, too.",
            metavar="piece|composer",
        ),
    ] = None
    max_events: Annotated[
        int | None,
        typer.Option(min=1, help="Read about this number of events, not all."),
    ] = None
    gaps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead, predict the notes of this number of gaps of each "
            "piece, with and without what follows the gap. For presets that "
            "fill gaps.",
        ),
    ] = None
    fillings: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Instead, fill a gap of 8 seconds in the middle of this "
            "number of pieces, and compare with what stood there. For presets "
            "that fill gaps.",
        ),
    ] = None
    controls: Annotated[
        int | None,
        typer.Option(
            min=20,
            help="Instead, ask for each control of the preset in this number "
            "of generated pieces, and measure what they have.",
        ),
    ] = None
    scores: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Instead, flatten this number of the split's performances to "
            "scores, perform them, and measure how near the performances come "
            "to the pianists'. For presets that perform scores.",
        ),
    ] = None
    guidance: Annotated[
        float,
        typer.Option(
            help="How strongly --controls asks for what the preset was trained "
            "with, see generate."
        ),
    ] = 1.0
    novelty: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Instead, generate this number of pieces, and find the "
            "longest passage that each shares with the train split.",
        ),
    ] = None
    seconds: Annotated[
        float, typer.Option(help="Length of each generated piece in seconds.")
    ] = 30.0
    seed: Annotated[
        int, typer.Option(help="Seed of the generated pieces, or of the gaps.")
    ] = 0

    def check(self):
        check_arguments(self)
        if self.by not in (None, "piece", "composer"):
            raise ValueError(
                f"`--by` must be piece or composer. Received: {self.by!r}"
            )
        self.refuse_together(
            "max_events", "by", "transpose", "dynamic", "pieces"
        )
        self.refuse_together("transpose", "dynamic")
        self.refuse_together("n_gram", "transpose", "dynamic", "pieces")
        for i, name in enumerate(INSTEAD):
            others = list(INSTEAD)[:i]
            self.refuse_together(name, *OF_LIKELIHOOD, *others)
        if self.guidance != 1 and not self.controls:
            raise ValueError(
                "`--guidance` needs `--controls`. Received: "
                f"--guidance {self.guidance} alone"
            )

    def splits(self, split):
        """The splits that must have pieces."""
        if self.novelty:
            return ["train", "validation"]
        return ["train", split] if self.n_gram else [split]


@command("Nothing was measured.")
def evaluate(
    corpus: CorpusFolder,
    *,
    preset: Preset = DEFAULT_PRESET,
    split: Annotated[
        str, typer.Option(help="train, validation or test.")
    ] = "validation",
    windows: Windows,
    question: Question,
    as_json: AsJson = False,
):
    """Measure how well a model predicts a split. Each event counts once."""
    opened = _open(corpus, split)
    choose_backend(READING)
    model = _load(opened, preset, split, question)
    for name, print_instead in INSTEAD.items():
        if getattr(question, name):
            print_instead(model, opened, split, preset, question, as_json)
            return
    if question.n_gram:
        preset = f"{question.n_gram}-grams"
    _print_length(opened, split, question)
    figures = _likelihood(model, opened, split, windows, question)
    values = dataclasses.asdict(figures) | {
        "perplexity": figures.perplexity,
        "intervals": figures.intervals,
    }
    if as_json:
        say_json({"preset": preset, "split": split} | values)
        return
    _print_likelihood(values, f"{preset} on {split}")
    if question.by is not None:
        parts = getattr(figures, f"by_{question.by}")()
        _print_parts(question.by, parts)


def _open(folder, split):
    from keras_pianogen.data.corpus import Corpus
    from keras_pianogen.data.pieces import SPLITS

    if split not in SPLITS:
        error = ValueError(
            f"`--split` must be one of {', '.join(SPLITS)}. Received: {split!r}"
        )
        raise hinted(error, "Without it, the validation split is read.")
    return Corpus(folder)


def _load(corpus, preset, split, question):
    """The preset's model; refuses splits that are needed and are empty."""
    with loading(), preset_hinted():
        from keras_pianogen.judging.likelihood import check_split
        from keras_pianogen.models import from_preset

        for name in question.splits(split):
            check_split(corpus, name)
        return from_preset(preset, load_weights=not question.n_gram)


def _print_length(corpus, split, question):
    """Print how much is read, before it is read."""
    row = next(row for row in corpus.summary() if row["split"] == split)
    most, pieces = question.max_events, question.pieces
    share = f"about {most:,} events of " if most else ""
    if pieces and pieces < row["pieces"]:
        share = f"{pieces:,} pieces of "
    times = f", {1 + 2 * question.transpose} times" * bool(question.transpose)
    say(
        f"Reading {share}the {split} split{times}: {row['pieces']:,} pieces, "
        f"{row['notes']:,} notes, {row['hours']:.1f} hours of music",
        to=stderr,
    )


def _likelihood(model, corpus, split, windows, question):
    """The `Likelihood` of a split, by the model or by n-grams."""
    from keras_pianogen.judging import likelihood

    with counting_bar("Reading") as report:
        settings = vars(windows) | {"max_events": question.max_events}
        settings["progress"] = report
        if question.n_gram:
            vocabulary = model.preprocessor.form.events_for("N-grams")
            return likelihood.evaluate_ngram(
                corpus,
                split,
                order=question.n_gram,
                vocabulary=vocabulary,
                sequence_length=model.backbone.max_sequence_length,
                **settings,
            )
        most = question.transpose
        semitones = (0, *range(-most, 0), *range(1, most + 1))
        return likelihood.evaluate(
            model,
            corpus,
            split,
            transpositions=semitones,
            dynamic=question.dynamic,
            pieces=question.pieces,
            **settings,
        )


def _print_likelihood(values, title):
    rows = []
    for name, value in values.items():
        if name in ("pieces", "intervals"):
            continue
        rows.append([name.replace("_", " "), _shown(value)])
        if name in values["intervals"]:
            low, high = values["intervals"][name]
            rows.append(["  95 % over pieces", f"{low:.4f} to {high:.4f}"])
    say_table(["figure", "value"], rows, title=title, names="figure")


def _shown(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.4f}" if value % 1 else f"{value:,}"


def _print_parts(by, parts):
    """A row for each composer, or piece, and its `Likelihood`."""
    rows = []
    for name, part in parts.items():
        low, high = part.intervals.get("nats_per_event", (None, None))
        minutes = sum(piece.seconds for piece in part.pieces) / 60
        rows.append(
            [
                name or "(not known)",
                f"{part.nats_per_event:.4f}",
                "-" if low is None else f"{low:.4f} to {high:.4f}",
                f"{part.num_pieces}",
                f"{minutes:.1f}",
            ]
        )
    columns = ["nats per event", "95 % over pieces", "pieces", "minutes"]
    say_table([by, *columns], rows, names=by)
