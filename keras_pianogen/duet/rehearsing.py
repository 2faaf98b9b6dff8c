"""Rules of takeovers, tried on pieces that nobody should interrupt."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Takeovers:
    """Where a rule would have taken over.

    Attributes:
        false: takeovers in pauses that were shorter than a real one.
        right: takeovers in real pauses, and at the end of a piece.
        delay: mean time from the beginning of a real pause to its takeover, in
            seconds.
        minutes: how much music it was.
    """

    false: int
    right: int
    delay: float
    minutes: float


def rehearse(pieces, rule, pause=2.0):
    """Try a rule on performances.

    Args:
        pieces: arrays of `NOTE_DTYPE` whose notes end when their keys are
            released, see `max_ring` of `read_notes`.
        rule: an `AtSilence`.
        pause: float. All keys are up for so long in a real pause.

    Returns:
        A `Takeovers`.
    """
    false, delays, seconds = 0, [], 0.0
    for notes in pieces:
        if not len(notes):
            continue
        seconds += float(notes["end"].max() - notes["start"][0])
        for silence, patience in _pauses(notes, rule):
            if silence >= max(pause, patience):
                delays.append(patience)
            else:
                false += int(silence > patience)
    delay = float(np.mean(delays)) if delays else float("nan")
    return Takeovers(false, len(delays), delay, seconds / 60)


def _pauses(notes, rule):
    """Each time when all keys go up: how long, and the rule's patience."""
    starts, up = notes["start"], np.maximum.accumulate(notes["end"])
    silences = np.append(starts[1:], np.inf) - up
    for i in np.flatnonzero(silences > 0):
        yield silences[i], rule.patience(starts[: i + 1], up[i])
