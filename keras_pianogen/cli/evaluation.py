"""Commands that measure models: evaluate, tell-apart, attention."""

import dataclasses
import json
import pathlib
from typing import Annotated

import typer
from rich.text import Text

from keras_pianogen.cli.app import DEFAULT_PRESET
from keras_pianogen.cli.app import command
from keras_pianogen.cli.app import stdout
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.places import PICTURES
from keras_pianogen.cli.places import check_place
from keras_pianogen.cli.progress import progress_bar
from keras_pianogen.cli.progress import steps_bar


@command("Nothing was measured.")
def evaluate(
    corpus: Annotated[
        pathlib.Path, typer.Argument(help="A corpus made by `prepare`.")
    ],
    preset: Annotated[
        str, typer.Option(help="A bundled preset's name, or a folder.")
    ] = DEFAULT_PRESET,
    split: Annotated[
        str, typer.Option(help="train, validation or test.")
    ] = "validation",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Windows read at once.")
    ] = 8,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="New events of each window; fewer give more context.",
            show_default="half of a window",
        ),
    ] = None,
    max_events: Annotated[
        int | None,
        typer.Option(min=1, help="Read about so many events, not all."),
    ] = None,
    n_gram: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=6,
            help="Evaluate n-grams of the train split, so long; no preset's "
            "weights, but its vocabulary and windows.",
        ),
    ] = None,
    novelty: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Write so many pieces instead, and find the longest passage "
            "that each shares with the train split.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="Length of these pieces, in seconds.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(help="Of these pieces.")] = 0,
    transpose: Annotated[
        int,
        typer.Option(
            min=0,
            max=12,
            help="Average each event's probability over the piece as it is and "
            "moved by 1 to so many semitones, up and down.",
        ),
    ] = 0,
    by: Annotated[
        str | None,
        typer.Option(help="Also by piece, or by composer.", metavar="PART"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """Measure how well a model predicts a split, each event once."""
    from keras_pianogen.data.corpus import SPLITS
    from keras_pianogen.data.corpus import Corpus

    if split not in SPLITS:
        raise ValueError(
            f"`--split` must be one of {', '.join(SPLITS)}. Received: {split!r}"
        )
    if by not in (None, "piece", "composer"):
        raise ValueError(f"`--by` must be piece or composer. Received: {by!r}")
    if max_events and (by or transpose):
        raise ValueError(
            "`--by` and `--transpose` read every event. Received: "
            "--max-events with one of them"
        )
    if n_gram and transpose:
        raise ValueError(
            "`--transpose` is for presets. Received: --transpose with --n-gram"
        )
    if novelty and (n_gram or by or max_events or transpose):
        raise ValueError(
            "`--novelty` reads no split. Received: --novelty with --n-gram, "
            "--by, --max-events or --transpose"
        )
    opened = Corpus(corpus)
    needed = [split]
    if novelty or n_gram:
        needed = ["train", "validation" if novelty else split]
    with loading():
        from keras_pianogen.judging import likelihood as evaluation
        from keras_pianogen.models import load_language_model

        for name in needed:
            evaluation.check_split(opened, name)
        model = load_language_model(preset, load_weights=not n_gram)
    if novelty:
        _measure_novelty(model, opened, preset, novelty, seconds, seed, as_json)
        return
    settings = {
        "batch_size": batch_size,
        "stride": stride,
        "max_events": max_events,
    }
    with progress_bar("Reading", unit="pieces") as bar:
        if n_gram:
            preset = f"{n_gram}-grams"
            figures = evaluation.evaluate_ngram(
                opened,
                split,
                order=n_gram,
                vocabulary=model.preprocessor.tokenizer.vocabulary,
                sequence_length=model.backbone.max_sequence_length,
                progress=bar,
                **settings,
            )
        else:
            figures = evaluation.evaluate(
                model,
                opened,
                split,
                transpositions=(
                    0,
                    *range(-transpose, 0),
                    *range(1, transpose + 1),
                ),
                progress=bar,
                **settings,
            )
    values = dataclasses.asdict(figures) | {
        "perplexity": figures.perplexity,
        "intervals": figures.intervals,
    }
    if as_json:
        typer.echo(json.dumps({"preset": preset, "split": split} | values))
        return
    _print_likelihood(values, f"{preset} on {split}")
    if by is not None:
        _print_parts(
            by,
            figures.by_piece() if by == "piece" else figures.by_composer(),
        )


def _measure_novelty(model, corpus, preset, count, seconds, seed, as_json):
    """Write pieces, and print what they share with the train split."""
    from keras_pianogen.judging.novelty import measure_novelty

    if not hasattr(model, "generate"):
        raise ValueError(
            "`--novelty` must have a preset that writes music. Received: "
            f"{preset}, of class {type(model).__name__}"
        )
    with progress_bar("Writing", unit="pieces") as bar:
        pieces = []
        for begin in range(0, count, 16):
            pieces += model.generate(
                seconds=seconds,
                variations=min(16, count - begin),
                seed=seed + begin,
            )
            bar(len(pieces), count)
    train = [corpus.notes(i) for i in corpus.split("train")]
    unrelated = [corpus.notes(i) for i in corpus.split("validation")]
    with progress_bar("Comparing", unit="pieces") as bar:
        found = measure_novelty(
            pieces, train, unrelated, seed=seed, progress=bar
        )
    names = [corpus.pieces[i].path for i in corpus.split("train")]
    suspects = found.suspects
    rows = [
        {
            "piece": i + 1,
            "notes": len(notes),
            "shared_notes": match.notes,
            "usual": usual,
            "shared_with": names[match.corpus_piece] if match.notes else None,
            "suspect": i in suspects,
        }
        for i, (notes, match, usual) in enumerate(
            zip(pieces, found.matches, found.usual, strict=True)
        )
    ]
    if as_json:
        typer.echo(json.dumps({"preset": preset, "pieces": rows}))
        return
    columns = ["piece", "notes", "longest passage, notes", "usual", "of"]
    table = _table(*columns, names="of")
    for row in rows:
        shared = f"{row['shared_notes']}" + (" (!)" if row["suspect"] else "")
        table.add_row(
            f"{row['piece']}",
            f"{row['notes']}",
            shared,
            f"{row['usual']:.0f}",
            Text(row["shared_with"] or ""),
        )
    stdout.print(table)
    stdout.print(
        f"{len(suspects)} of {count} pieces share more than is usual: what "
        "99 % of excerpts of unrelated real music, as long, stay at or below."
    )


def _print_likelihood(values, title):
    table = _table("figure", "value", names="figure", title=Text(title))
    for name, value in values.items():
        if name in ("pieces", "intervals"):
            continue
        if value is None:
            shown = "-"
        elif isinstance(value, bool):
            shown = "yes" if value else "no"
        else:
            shown = f"{value:,.4f}" if value % 1 else f"{value:,}"
        table.add_row(name.replace("_", " "), shown)
        if name in values["intervals"]:
            low, high = values["intervals"][name]
            table.add_row("  95 % over pieces", f"{low:.4f} to {high:.4f}")
    stdout.print(table)


def _print_parts(by, parts):
    """A row for each composer, or piece, and its `Likelihood`."""
    columns = ["nats per event", "95 % over pieces", "pieces", "minutes"]
    table = _table(by, *columns, names=by)
    for name, part in parts.items():
        low, high = part.intervals.get("nats_per_event", (None, None))
        minutes = sum(piece.seconds for piece in part.pieces) / 60
        table.add_row(
            Text(name or "(not known)"),
            f"{part.nats_per_event:.4f}",
            "-" if low is None else f"{low:.4f} to {high:.4f}",
            f"{part.num_pieces}",
            f"{minutes:.1f}",
        )
    stdout.print(table)


def _table(*columns, names, title=None):
    """A table, whose column `names` is folded where it is too wide."""
    from rich.table import Table

    table = Table(title=title)
    for column in columns:
        if column == names:
            table.add_column(column, overflow="fold", min_width=10)
        else:
            table.add_column(column, no_wrap=True)
    return table


@command("Nothing was measured.")
def tell_apart(
    corpus: Annotated[
        pathlib.Path, typer.Argument(help="A corpus made by `prepare`.")
    ],
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="A bundled preset's name, or a folder; may come again.",
            show_default=DEFAULT_PRESET,
        ),
    ] = None,
    train_windows: Annotated[
        int, typer.Option(min=1, help="Real windows to learn from.")
    ] = 8192,
    test_windows: Annotated[
        int, typer.Option(min=1, help="Real windows to be asked about.")
    ] = 4096,
    sequence_length: Annotated[
        int, typer.Option(min=2, help="Events of a window.")
    ] = 128,
    context_length: Annotated[
        int, typer.Option(min=1, help="Events of it that are continued.")
    ] = 32,
    pretrained: Annotated[
        bool,
        typer.Option(help="Begin the classifier with the first preset."),
    ] = True,
    epochs: Annotated[
        int, typer.Option(min=1, help="Passes over what it learns from.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON.")
    ] = False,
):
    """Have a classifier tell models' continuations from real music."""
    from keras_pianogen.data.corpus import Corpus

    presets = preset or [DEFAULT_PRESET]
    opened = Corpus(corpus)
    with loading():
        from keras_pianogen.judging.two_sample import judge_continuations
        from keras_pianogen.models import MusicTransformerCausalLM

        models = {
            name: MusicTransformerCausalLM.from_preset(name) for name in presets
        }
    with steps_bar() as report:
        results = judge_continuations(
            models,
            opened,
            train_windows=train_windows,
            test_windows=test_windows,
            sequence_length=sequence_length,
            context_length=context_length,
            pretrained=pretrained,
            epochs=epochs,
            seed=seed,
            progress=report,
        )
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
        typer.echo(json.dumps(rows))
        return
    table = _table(
        "against real music",
        *("told rightly", "95 %", "less the first", "95 %"),
        names="against real music",
        title=f"{len(first.right):,} windows of pieces not met",
    )
    for name, row in rows.items():
        low, high = row["interval"]
        cells = [
            Text(name),
            f"{row['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}",
        ]
        if name != presets[0]:
            low, high = row["difference_interval"]
            cells += [f"{row['difference']:+.1%}", f"{low:+.1%} to {high:+.1%}"]
        table.add_row(*cells)
    stdout.print(table)


@command("Nothing was drawn.")
def attention(
    piece: Annotated[pathlib.Path, typer.Argument(help="A MIDI file.")],
    out: Annotated[
        pathlib.Path, typer.Option(help="Picture: .png, .svg or .pdf.")
    ],
    preset: Annotated[
        str, typer.Option(help="A bundled preset's name, or a folder.")
    ] = DEFAULT_PRESET,
    max_events: Annotated[
        int,
        typer.Option(
            min=2, max=2048, help="Events of the piece that are read."
        ),
    ] = 512,
    head: Annotated[
        tuple[int, int] | None,
        typer.Option(
            help="Layer and head whose map is drawn, from 0.",
            show_default="the one with most to show",
        ),
    ] = None,
    all_heads: Annotated[
        bool, typer.Option("--all-heads", help="Draw a map for every head.")
    ] = False,
):
    """Draw where the heads of a model look in a piece."""
    if all_heads and head is not None:
        raise ValueError(
            "`--all-heads` and `--head` must not be given together. Received: "
            f"--head {head[0]} {head[1]} and --all-heads"
        )
    from keras_pianogen.midi.reading import read_notes

    check_place("--out", out, PICTURES)
    notes = read_notes(piece)
    with loading():
        from keras_pianogen.judging import attention_maps
        from keras_pianogen.models import MusicTransformerCausalLM

        model = MusicTransformerCausalLM.from_preset(preset)
        ids, weights = attention_maps.attention_weights(
            model, notes, max_events
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    if all_heads:
        attention_maps.plot_heads(weights, out)
    else:
        vocabulary = model.preprocessor.tokenizer.vocabulary
        attention_maps.plot_attention(ids, weights, vocabulary, out, head=head)
    stdout.print(str(out), markup=False)
