"""How long notes may sound, as long notes of MAESTRO do. Times in seconds.

A model forgets a note that it struck long ago, and would hold it for the rest
of the piece. `TABLE` tells which notes of MAESTRO are still held: of 100 notes
of a register, 1 lasts longer than the first of its numbers, and of 10,000, 1
lasts longer than the last one. The longest hundredth of the notes is what a
model may not exceed: `lifetimes` deals these lengths out, to each note one, by
its register and the time of its start. So the chance that a held note is
released rises with its age as it does in MAESTRO.

`docs/records/note_lengths.py CORPUS` measures the table on the 5,659,329 notes
of MAESTRO's train split, sustain included. This module knows nothing of events.
"""

import numpy as np

# Column i of `TABLE`: one note in ONE_OF[i] lasts longer than this.
ONE_OF = (100, 300, 1_000, 3_000, 10_000)
# The registers are octaves: below MIDI 36, from 36, 48, 60, 72, 84, and 96 up.
LOWEST, HIGHEST = 2, 8
TABLE = (
    (5.6, 9.3, 15.3, 21.7, 33.6),
    (4.3, 6.8, 11.8, 16.5, 30.6),
    (3.5, 5.6, 9.4, 13.9, 22.9),
    (3.3, 5.3, 8.8, 13.5, 18.9),
    (3.2, 5.3, 9.0, 13.5, 19.0),
    (4.0, 6.5, 10.6, 15.7, 25.2),
    (5.6, 8.8, 13.3, 23.6, 39.6),
)
# Lengths that are dealt out in turn, tick by tick, to the notes that start.
TURNS = 1_000


def registers(pitches):
    """The row of `TABLE` of each pitch.

    Args:
        pitches: int array of MIDI numbers.

    Examples:
        >>> registers(np.array([21, 36, 60, 108])).tolist()
        [0, 1, 3, 6]
    """
    return np.clip(pitches // 12, LOWEST, HIGHEST) - LOWEST


def lifetimes(most=np.inf):
    """The lengths that are dealt out.

    They are quantiles of the longest hundredth of MAESTRO's notes at shares
    that the golden ratio spreads evenly, however few of them are looked at.

    Args:
        most: float. The longest that a note may last.

    Returns:
        A float array of shape (TURNS, registers).

    Examples:
        >>> lifetimes().shape
        (1000, 7)
        >>> float(lifetimes(most=8.0).max())
        8.0
    """
    golden = (1 + np.arange(TURNS)) * (5**0.5 - 1) / 2
    one_of = np.log(ONE_OF[0] / (1 - golden % 1))
    rows = [np.interp(one_of, np.log(ONE_OF), row) for row in TABLE]
    return np.minimum(np.transpose(rows), most)
