"""Passages that new pieces share with training music: printed."""

from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import say_json
from keras_pianogen.cli.printing import say_table
from keras_pianogen.cli.progress import counting_bar

PIECES_AT_ONCE = 16


def print_novelty(model, corpus, split, preset, question, as_json):
    """Measure and print what new pieces share with the train split.

    Args:
        model: a model that writes music.
        corpus: a `Corpus`.
        split: not looked at: the train split is compared.
        preset: the model's name.
        question: the options of `evaluate`.
        as_json: whether a line of JSON is printed.

    Raises:
        ValueError: if the model writes no music.
    """
    rows = _novelty(model, corpus, preset, question)
    if as_json:
        say_json({"preset": preset, "pieces": rows})
        return
    say_table(
        ["piece", "notes", "longest passage, notes", "usual", "of"],
        [
            [
                f"{row['piece']}",
                f"{row['notes']}",
                f"{row['shared_notes']}" + " (!)" * row["suspect"],
                f"{row['usual']:.0f}",
                row["shared_with"] or "",
            ]
            for row in rows
        ],
        names="of",
    )
    suspects = sum(row["suspect"] for row in rows)
    say(
        f"{suspects} of {len(rows)} pieces share a longer passage than usual. "
        "The usual length is the one that 99 % of excerpts of unrelated real "
        "music, with as many notes, don't exceed."
    )


def _novelty(model, corpus, preset, question):
    """A dict for each generated piece: what it shares with the train split."""
    from keras_pianogen.judging.novelty import measure_novelty

    pieces = _generate(model, preset, question)
    train, unrelated = (
        [corpus.notes(i) for i in corpus.split(name)]
        for name in ("train", "validation")
    )
    with counting_bar("Comparing") as report:
        found = measure_novelty(
            pieces, train, unrelated, seed=question.seed, progress=report
        )
    names = [corpus.pieces[i].path for i in corpus.split("train")]
    return [
        {
            "piece": i + 1,
            "notes": len(notes),
            "shared_notes": match.notes,
            "usual": usual,
            "shared_with": names[match.corpus_piece] if match.notes else None,
            "suspect": i in found.suspects,
        }
        for i, (notes, match, usual) in enumerate(
            zip(pieces, found.matches, found.usual, strict=True)
        )
    ]


def _generate(model, preset, question):
    """Pieces of the model, a few at a time."""
    if not hasattr(model, "generate"):
        raise ValueError(
            "`--novelty` must have a preset that writes music. Received: "
            f"{preset}, of class {type(model).__name__}"
        )
    pieces = []
    with counting_bar("Writing") as report:
        for begin in range(0, question.novelty, PIECES_AT_ONCE):
            pieces += model.generate(
                seconds=question.seconds,
                variations=min(PIECES_AT_ONCE, question.novelty - begin),
                seed=question.seed + begin,
            )
            report(len(pieces), question.novelty)
    return pieces
