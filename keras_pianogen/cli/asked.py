"""What is asked of music and scores, and what comes: measured and printed."""

import dataclasses

from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import say_json
from keras_pianogen.cli.printing import say_table
from keras_pianogen.cli.printing import stderr
from keras_pianogen.cli.progress import counting_bar


def print_asked(model, corpus, split, preset, question, as_json):
    """Measure and print each control of a model.

    Args:
        model: a model with controls.
        corpus: a `Corpus`, whose real music the labels are learned from.
        split: not looked at: the train split is learned from.
        preset: the model's name.
        question: the options of `evaluate`.
        as_json: whether a line of JSON is printed.

    Raises:
        ValueError: if the model has no controls.
    """
    from keras_pianogen.data.controls import labels_of
    from keras_pianogen.judging import asking

    controls = model.controls
    if not controls.all:
        raise ValueError(
            "`--controls` needs a preset with controls, such as one of "
            f"`pianogen train --controls density`. Received: {preset}"
        )
    settings = {
        "pieces": question.controls,
        "seconds": question.seconds,
        "guidance": question.guidance,
        "seed": question.seed,
    }
    obtained, told = [], []
    for name in controls.scales:
        with counting_bar(f"Asking for {name}") as report:
            obtained.append(
                asking.evaluate_scale(model, name, progress=report, **settings)
            )
    known = {x for piece in corpus.pieces for x in labels_of(piece)}
    for name in controls.labels:
        if name not in known:
            say(f"The corpus has no {name}, so this isn't measured.", to=stderr)
            continue
        with counting_bar(f"Asking for each {name}") as report:
            told.append(
                asking.evaluate_label(
                    model, corpus, name, progress=report, **settings
                )
            )
    if as_json:
        say_json(_values(preset, settings, obtained, told))
        return
    if obtained:
        _print_scales(preset, obtained)
    if told:
        _print_labels(preset, told)


def _values(preset, settings, obtained, told):
    return {
        "preset": preset,
        **settings,
        "scales": [
            {
                "name": one.name,
                "correlation": one.correlation[0],
                "interval": one.correlation[1],
                "error": one.error,
                "drift": one.drift,
            }
            for one in obtained
        ],
        "labels": [
            {
                "name": one.name,
                "values": one.values,
                "right": one.right.tolist(),
                "pieces": one.pieces,
                "share": one.share[0],
                "interval": one.share[1],
                "chance": one.chance,
                "real": one.real,
                "num_real": one.num_real,
            }
            for one in told
        ],
    }


def _print_scales(preset, obtained):
    from keras_pianogen.data.scales import SCALES

    rows, drift = [], []
    for one in obtained:
        r, (low, high) = one.correlation
        interval = f"{low:.3f} to {high:.3f}"
        numbers = [f"{r:.3f}", interval, f"{one.error:.2f}"]
        rows.append([one.name, f"{len(one.asked)}", *numbers])
        found = one.drift | {one.name: r}
        drift.append([one.name, *(f"{found[x]:+.2f}" for x in SCALES)])
    columns = ["scale", "pieces", "r", "95 %", "mean distance"]
    title = f"{preset}: asked and obtained"
    say_table(columns, rows, title=title, names="scale")
    say_table(
        ["asked", *SCALES],
        drift,
        title="r of what was asked and what all scales were",
        names="asked",
    )


def _print_labels(preset, told):
    rows = []
    for one in told:
        share, (low, high) = one.share
        rows.append(
            [
                one.name,
                f"{one.pieces * len(one.values)}",
                f"{share:.1%}",
                f"{low:.1%} to {high:.1%}",
                f"{one.chance:.1%}",
                f"{one.real:.1%} of {one.num_real}",
            ]
        )
    columns = ["pieces", "told right", "95 %", "by chance", "of real music"]
    title = f"{preset}: labels that a classifier tells"
    say_table(["label", *columns], rows, title=title, names="label")


def print_scores(model, corpus, split, preset, question, as_json):
    """Measure and print how near performances of scores come to pianists'.

    Args:
        model: see `print_asked`.
        corpus: a `Corpus`.
        split: the split whose performances are flattened.
        preset: see `print_asked`.
        question: see there.
        as_json: see there.
    """
    from keras_pianogen.judging import performing

    with counting_bar("Performing") as report:
        found = performing.evaluate_performing(
            model,
            corpus,
            split,
            pieces=question.scores,
            seed=question.seed,
            progress=report,
        )
    figures = {
        player: {x: found.mean(player, x) for x in performing.ASPECTS}
        for player in found.distances
    }
    if as_json:
        values = {"preset": preset, "split": split, "kept": found.kept}
        say_json(values | {"distances": figures})
        return
    rows = []
    for x in performing.ASPECTS:
        cells = [figures[player][x] for player in figures]
        shown = [f"{mean:.2f} [{a:.2f}, {b:.2f}]" for mean, (a, b) in cells]
        rows.append([x, *shown])
    title = f"{preset} on {split}: distance from the pianist"
    say_table(["aspect", *figures], rows, title=title, names="aspect")
    say(f"{found.kept:.1%} of the notes were kept")


def print_gaps(model, corpus, split, preset, question, as_json):
    """Measure and print what both sides of a gap tell of its notes.

    Args:
        model: see `print_asked`.
        corpus: a `Corpus`.
        split: the split whose pieces get gaps.
        preset: see `print_asked`.
        question: see there.
        as_json: see there.
    """
    from keras_pianogen.judging.infilling import evaluate_gaps

    with counting_bar("Reading") as report:
        found = evaluate_gaps(
            model,
            corpus,
            split,
            gaps=question.gaps,
            seed=question.seed,
            progress=report,
        )
    if as_json:
        values = dataclasses.asdict(found)
        say_json({"preset": preset, "split": split} | values)
        return
    rows = [
        [f"given {way}", f"{nats:.4f}"]
        for way, nats in found.nats_per_note.items()
    ]
    columns = ["notes in gaps", "nats per note"]
    say_table(
        columns, rows, title=f"{preset} on {split}", names="notes in gaps"
    )
    interval = ""
    if found.gain_interval is not None:
        low, high = found.gain_interval
        interval = f" ({low:.1%} to {high:.1%}, 95 % over pieces)"
    say(
        f"Both sides save {found.gain:.1%}{interval} of what stands before; "
        f"{found.num_gaps:,} gaps, {found.num_notes:,} notes"
    )


def print_fillings(model, corpus, split, preset, question, as_json):
    """Measure and print what fillings have in common with what stood there.

    Args:
        model: see `print_asked`.
        corpus: a `Corpus`.
        split: the split whose pieces get gaps.
        preset: see `print_asked`.
        question: see there.
        as_json: see there.
    """
    from keras_pianogen.judging import fillings

    with counting_bar("Filling") as report:
        found = fillings.evaluate_fillings(
            model,
            corpus,
            split,
            pieces=question.fillings,
            seed=question.seed,
            progress=report,
        )
    figures = {
        player: {
            "pitch classes in common": found.mean_overlap(player),
            "notes, of those that stood there": found.density_ratio(player),
        }
        for player in fillings.PLAYERS
    }
    if as_json:
        say_json({"preset": preset, "split": split, "figures": figures})
        return
    rows = []
    for player, of_player in figures.items():
        shown = [
            f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            for mean, (low, high) in of_player.values()
        ]
        rows.append([player, *shown])
    title = f"{preset} on {split}, {len(found.true)} gaps"
    columns = ["music", "pitch classes", "notes, true: 1"]
    say_table(columns, rows, title=title, names="music")
