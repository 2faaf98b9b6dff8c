"""Repeat the paper's figure 9: batch sizes 8 and 16, dropout, five epochs.

    pianogen prepare maestro-v3.0.0 --paper-subset --out corpora/paper
    KERAS_BACKEND=torch python examples/paper_transformer.py corpora/paper

The settings are those of the paper: its 100 files, the vocabulary of 413
events, 8 heads, Adam, cross-entropy, 5 epochs, batch sizes 8 and 16, and
dropout 0.01, 0.1 and 0.2. The paper doesn't give the width. The code that it
is based on, pno-ai, has width 64, with 256 in the feed-forward networks. Two
settings are smaller here than in pno-ai, so that a laptop is enough:
--num-layers is 2 (pno-ai: 4) and --sequence-length is 256 (pno-ai: 1,024). One
setting is trained from two seeds. A difference no larger than the one between
these two runs can be chance.

An epoch has 1.45 million events, and the five runs read 36 million. With
PyTorch that takes about 80 minutes of one core, at 7,500 events per second. If
the script is run again, it goes on where it was. Runs that are named by --runs
can be trained at the same time, each in its own process.

Expected validation losses in nats per event: 3.02 with batch size 16, from
either seed; 2.90 with batch size 8, in twice as many steps; 2.93 with dropout
0.01; and 3.14 with dropout 0.2. After one epoch (--epochs 1) they are 3.79,
3.49, 3.73 and 3.83. Trigrams have 3.76. docs/paper.md says which results
agree with the paper.
"""

import argparse
import csv
import json
import pathlib

import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from keras_pianogen import Corpus
from keras_pianogen import EventVocabulary
from keras_pianogen import EventWindows
from keras_pianogen import evaluation
from keras_pianogen import write_midi
from keras_pianogen.judging.statistics import resampled_interval
from keras_pianogen.models import from_preset
from keras_pianogen.training import Recipe
from keras_pianogen.training import train
from keras_pianogen.training.curves import draw_losses
from keras_pianogen.training.curves import read_history

# The settings of each run that differ from batch size 16, dropout 0.1, seed 0.
BASE = "batch-16"
RUNS = {
    BASE: {},
    "batch-8": {"batch_size": 8},
    "dropout-0.01": {"dropout": 0.01},
    "dropout-0.2": {"dropout": 0.2},
    "seed-1": {"seed": 1},
}
PANELS = {
    "batch size": (BASE, "batch-8", "seed-1"),
    "dropout": ("dropout-0.01", BASE, "dropout-0.2", "seed-1"),
}
COLOURS = dict(
    zip(RUNS, ("#1d4ed8", "#c2410c", "#047857", "#7c3aed", "#94a3b8"))
)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="a corpus that `pianogen prepare` made")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default="runs/paper",
        help="folder for the results",
    )
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=[*RUNS])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--num-layers", type=int, default=2)
    parser.add_argument("--hidden-dim", type=int, default=64)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument(
        "--validation-events",
        type=int,
        default=30_000,
        help="events of each of the ten validations of a run; in the end, "
        "the whole split is read",
    )
    parser.add_argument(
        "--seconds", type=float, default=30, help="length of the new piece"
    )
    return parser.parse_args()


def recipe_of(name, arguments):
    settings = {"batch_size": 16, "dropout": 0.1, "seed": 0} | RUNS[name]
    return Recipe(
        vocabulary="pno-ai",
        num_layers=arguments.num_layers,
        num_heads=8,
        hidden_dim=arguments.hidden_dim,
        intermediate_dim=4 * arguments.hidden_dim,
        sequence_length=arguments.sequence_length,
        optimizer="adamw",
        weight_decay=0.0,  # AdamW without weight decay is Adam.
        learning_rate=arguments.learning_rate,
        **settings,
    )


def steps_of(recipe, corpus, epochs):
    windows = EventWindows(
        corpus,
        vocabulary=EventVocabulary.named(recipe.vocabulary),
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size,
    )
    return epochs * windows.steps


def train_one(name, corpus, arguments, bar):
    """Train a run, or resume it, and evaluate it on all of validation."""
    folder = arguments.out / name
    recipe = recipe_of(name, arguments)
    task = bar.add_task(f"{name:12}", total=1.0)

    def report(row, done):
        text = f"{name:12} loss {row['loss']:.3f}"
        bar.update(task, completed=done, description=text)

    train(
        corpus,
        folder,
        recipe,
        steps=steps_of(recipe, corpus, arguments.epochs),
        resume=any((folder / "checkpoints").glob("step-*")),
        validation_events=arguments.validation_events,
        validations=10,
        samples=0,
        progress=report,
    )
    if not (folder / "validation.csv").exists():
        bar.update(task, description=f"{name:12} validation")
        model = from_preset(folder / "preset")
        write_pieces(
            evaluation.evaluate(model, corpus, "validation").pieces,
            folder / "validation.csv",
        )
        if name == BASE:
            notes = model.generate(seconds=arguments.seconds, seed=0)
            write_midi(notes, arguments.out / "piece.mid")


def write_pieces(pieces, path):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "nats", "num_events"))
        for piece in pieces:
            writer.writerow((piece.path, piece.nats, piece.num_events))


def read_pieces(path):
    """The nats and the number of events of each piece, two arrays."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        np.array([float(row[name]) for row in rows])
        for name in ("nats", "num_events")
    ]


def tabulate(folders):
    """A dict for each run: its loss, and the difference from that of `BASE`.

    The difference is taken piece by piece, and its interval is over pieces.
    """
    base, _ = read_pieces(folders[BASE] / "validation.csv")
    rows = []
    for name, folder in folders.items():
        nats, events = read_pieces(folder / "validation.csv")
        history = read_history(folder)
        losses = history["loss"]
        low, high = resampled_interval(nats - base, events)
        rows.append(
            {
                "run": name,
                "steps": int(history["step"][-1]),
                "minutes": history["seconds"][-1] / 60,
                "training": losses[-len(losses) // 20 :].mean(),
                "validation": nats.sum() / events.sum(),
                "difference": (nats - base).sum() / events.sum(),
                "low": low,
                "high": high,
            }
        )
    return rows


def print_table(rows):
    table = Table(
        "run",
        "steps",
        "minutes",
        "training",
        "validation",
        f"less {BASE}",
        "95 % over pieces",
    )
    for row in rows:
        table.add_row(
            row["run"],
            f"{row['steps']:,}",
            f"{row['minutes']:.0f}",
            f"{row['training']:.3f}",
            f"{row['validation']:.3f}",
            f"{row['difference']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
        )
    Console(width=100).print(table)


def draw(folders, path):
    """Draw losses over steps and over events: batch sizes above dropout.

    Faint lines are training losses, bold lines with dots validation losses.
    """
    histories = {name: read_history(at) for name, at in folders.items()}
    figure = Figure(figsize=(10, 7), layout="constrained")
    grid = figure.subplots(2, 2, sharey=True)
    for axes, (title, names) in zip(grid, PANELS.items(), strict=True):
        for axis, column, unit in zip(axes, ("step", "events"), (1, 1e6)):
            for name in names:
                if name in histories:
                    draw_losses(
                        axis,
                        histories[name],
                        column,
                        unit,
                        label=name,
                        color=COLOURS[name],
                    )
            axis.set_title(title, fontsize=10, loc="left")
            axis.grid(alpha=0.25)
        axes[0].set_ylabel("nats per event")
        axes[1].legend(frameon=False, fontsize=8)
    grid[1, 0].set_xlabel("steps")
    grid[1, 1].set_xlabel("events seen (millions)")
    # The losses of the first twentieth are not shown: they are so high that
    # the others would be too close together.
    parts = [
        np.array_split(history["loss"], min(20, len(history["loss"])))
        for history in histories.values()
    ]
    grid[0, 0].set_ylim(
        top=max(part[min(1, len(part) - 1)].max() for part in parts)
    )
    figure.savefig(path, dpi=80)


def main():
    arguments = parse_arguments()
    corpus = Corpus(arguments.corpus)
    print(corpus)
    with Progress(console=Console(stderr=True)) as bar:
        for name in arguments.runs:
            train_one(name, corpus, arguments, bar)
    folders = {
        name: arguments.out / name
        for name in RUNS
        if (arguments.out / name / "validation.csv").exists()
    }
    if BASE not in folders:
        print(f"The table and the figure need the run {BASE}")
        return
    rows = tabulate(folders)
    print_table(rows)
    (arguments.out / "table.json").write_text(json.dumps(rows, indent=1))
    draw(folders, arguments.out / "figure_9.png")
    print(f"Wrote {arguments.out}/figure_9.png, table.json and piece.mid")


if __name__ == "__main__":
    main()
