"""Repeat the paper's figure 11, a listening test, with simulated listeners.

    python examples/paper_ratings.py --condition real=sets/real_a \\
        --condition transformer=generated \\
        --condition gan=runs/gan/straight-through/joined --seconds 15

makes a blind page from these folders of MIDI files and from an anchor: real
pieces with their pitches shuffled. Simulated listeners, whose tastes are
known, rate the page. The ratings are reported beside those of the paper's ten
people. The script takes about as long as playing the pieces, 20 of 15 seconds.

No person was asked. The simulated ratings show what such a test can find with
this number of listeners, and say nothing about the music. To ask people, put
`page` on a web server, and run `pianogen listen report` on the files that they
send back.

Expected: with ten listeners, the paper's 5 votes are compatible with a true
share between 24 % and 76 %. With ten simulated listeners and five pieces of
each condition, `real` and `transformer` differ from `gan` and `shuffled` (p
about 0.02). `real` doesn't differ from `transformer`, nor `gan` from
`shuffled` (p about 0.9).
"""

import argparse
import json
import pathlib

from rich.console import Console
from rich.table import Table

from keras_pianogen import comparison
from keras_pianogen import render
from keras_pianogen.judging.statistics import wilson
from keras_pianogen.listening import Key
from keras_pianogen.listening import make_page
from keras_pianogen.listening import read_ratings
from keras_pianogen.listening import report
from keras_pianogen.listening import simulate_listeners
from keras_pianogen.listening.picture import plot_report

# The answers of ten people, from figure 11 and section 5 of the paper.
PEOPLE = 10
PAPER = {"good": 5, "average": 4, "bad": 1, "inspiring": 6}
# The probabilities of good, average and bad, and of inspiring. Those of
# `transformer` are the paper's shares. The others are invented.
TASTES = {
    "real": (0.7, 0.25, 0.05, 0.6),
    "transformer": (0.5, 0.4, 0.1, 0.6),
    "gan": (0.1, 0.3, 0.6, 0.1),
    "shuffled": (0.05, 0.25, 0.7, 0.05),
}
SPREAD = 0.2  # of the listeners' tastes


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
        help=f"a name ({', '.join(TASTES)}) and a folder of MIDI files; the "
        "real music first",
    )
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default="runs/ratings",
        help="folder for the results",
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
            parser.error(f"there is no taste for the condition {name!r}")
    if (arguments.out / "page").exists():
        parser.error(
            f"{arguments.out} has a page already: remove it, or give another "
            "--out"
        )
    return arguments


def simulate(key, arguments):
    """Write the ratings of simulated listeners, as the page saves them."""
    folder = arguments.out / "ratings"
    folder.mkdir()
    listeners = simulate_listeners(
        key, TASTES, arguments.listeners, spread=SPREAD, seed=arguments.seed
    )
    for number, answers in enumerate(listeners):
        path = folder / f"simulated-{number:02}.json"
        path.write_text(json.dumps(answers))
    return folder


def print_shares(found):
    """Print the share of each answer in percent, with 95 % intervals."""
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
            name: comparison.read_folder(folder).notes
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
