"""The paper's figure 11 again: what ten people say, and what that can tell.

    python examples/paper_ratings.py --condition real=sets/real_a \\
        --condition transformer=generated \\
        --condition gan=runs/gan/straight-through/joined --seconds 15

makes a blind page of these folders of MIDI files, and of an anchor, real
pieces with their pitches shuffled; lets simulated listeners judge it, whose
tastes are known; and reports what they said, beside what the paper's ten
people said. It takes about as long as playing the pieces, 20 of 15 seconds.

Nobody was asked: the simulated ratings show what such a test can find with
so many listeners, and say nothing about the music. For people, put `page` on a
web server, and run `pianogen listen report` on what they send back.

Expected: the paper's 5 of 10 is anything from 24 % to 76 %. Ten listeners with
the tastes below, five pieces of each kind: `real` and `transformer` are told
from `gan` and `shuffled` (p about 0.02), but not from each other, nor are
those (p about 0.9).
"""

import argparse
import json
import pathlib

from rich.console import Console
from rich.table import Table

from keras_pianogen.judging.comparison import read_folder
from keras_pianogen.judging.statistics import wilson
from keras_pianogen.listening import Key
from keras_pianogen.listening import make_page
from keras_pianogen.listening import read_ratings
from keras_pianogen.listening import report
from keras_pianogen.listening import simulate_listeners
from keras_pianogen.listening.picture import plot_report
from keras_pianogen.rendering.synthesis import render

# Figure 11 and section 5 of the paper: answers of ten people.
PEOPLE = 10
PAPER = {"good": 5, "average": 4, "bad": 1, "inspiring": 6}
# Chances of good, average, bad; and of inspiring. Made up, but for
# `transformer`, whose are the paper's shares.
TASTES = {
    "real": (0.7, 0.25, 0.05, 0.6),
    "transformer": (0.5, 0.4, 0.1, 0.6),
    "gan": (0.1, 0.3, 0.6, 0.1),
    "shuffled": (0.05, 0.25, 0.7, 0.05),
}
SPREAD = 0.2  # how much listeners differ


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--condition",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help=f"of {', '.join(TASTES)}; the real music first",
    )
    parser.add_argument(
        "--out", type=pathlib.Path, default="runs/ratings", help="results"
    )
    parser.add_argument("--listeners", type=int, default=PEOPLE)
    parser.add_argument("--pieces", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pairs = [text.partition("=")[::2] for text in arguments.condition]
    arguments.folders = dict(pairs)
    for name in arguments.folders:
        if name not in TASTES or name == "shuffled":
            parser.error(f"no tastes are known for the condition {name!r}")
    if (arguments.out / "page").exists():
        parser.error(
            f"a page isn't made over: remove {arguments.out}, or give another "
            "--out"
        )
    return arguments


def simulate(key, arguments):
    """Files as the page saves them, in `ratings`."""
    folder = arguments.out / "ratings"
    folder.mkdir()
    listeners = simulate_listeners(
        key, TASTES, arguments.listeners, spread=SPREAD, seed=arguments.seed
    )
    for place, answers in enumerate(listeners):
        path = folder / f"simulated-{place:02}.json"
        path.write_text(json.dumps(answers))
    return folder


def print_shares(found):
    """Shares in percent, with 95 % intervals."""
    table = Table("condition", "", *PAPER)
    people = [
        show(count / PEOPLE, *wilson(count / PEOPLE, PEOPLE))
        for count in PAPER.values()
    ]
    table.add_row("the paper's", f"{PEOPLE} people", *people)
    table.add_section()
    for condition, shares in found.shares.items():
        truth = [f"{chance:.0%}" for chance in TASTES[condition]]
        table.add_row(condition, "their taste", *truth)
        said = [
            show(shares[answer].share, shares[answer].low, shares[answer].high)
            for answer in PAPER
        ]
        table.add_row("", f"{found.listeners} simulated", *said)
    Console(width=100).print(table)


def show(share, low, high):
    return f"{share:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def print_pairs(found):
    for pair in found.quality:
        told = "told apart" if pair.differ else "not told apart"
        print(
            f"{pair.first} less {pair.second}: {pair.difference:+.2f}, "
            f"p = {pair.p_value:.3f}, {told}"
        )


def main():
    arguments = parse_arguments()
    key_file = arguments.out / "key.json"
    make_page(
        {
            name: read_folder(folder).notes
            for name, folder in arguments.folders.items()
        },
        arguments.out / "page",
        key_file,
        render=render,
        seconds=arguments.seconds,
        pieces=arguments.pieces,
        seed=arguments.seed,
        progress=lambda done, count: print(
            f"\rplayed {done} of {count}", end="", flush=True
        ),
    )
    print()
    key = Key.read(key_file)
    found = report(read_ratings([simulate(key, arguments)], key))
    print_shares(found)
    print_pairs(found)
    plot_report(found, arguments.out / "figure_11.png")
    print(f"Wrote {arguments.out}/page/index.html, key.json and figure_11.png")


if __name__ == "__main__":
    main()
