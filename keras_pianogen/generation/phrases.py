"""Phrases of a performance, cut where it pauses. Times in seconds."""

import numpy as np

from keras_pianogen.data.gaps import GAP_SECONDS

PHRASE = (3.0, 8.0)  # the shortest and the longest


def phrases_to_write(notes, keep):
    """The phrases that are written anew if a share of them is to stay.

    They are spread evenly.

    Args:
        notes: array of `NOTE_DTYPE`, sorted by start.
        keep: float, 0 to 1, the share that stays.

    Returns:
        A list of pairs, see `phrases_of`.
    """
    phrases = phrases_of(notes)
    # The number of phrases that are to be written up to each one.
    due = np.floor((1 - keep) * np.arange(1, len(phrases) + 1) + 1e-9)
    is_due = np.diff(due, prepend=0) > 0
    return [p for p, new in zip(phrases, is_due, strict=True) if new]


def phrases_of(notes):
    """Cut a piece where it pauses longest, every 3 to 8 seconds.

    Args:
        notes: array of `NOTE_DTYPE`, sorted by start.

    Returns:
        A list of pairs, where each phrase begins and ends, in seconds; not
        those with a rest that is longer than the longest gap.
    """
    if not len(notes):
        return []
    onsets = np.unique(notes["start"])
    bounds, end = [float(onsets[0])], float(notes["end"].max())
    shortest, longest = PHRASE
    pauses = np.diff(onsets, prepend=onsets[0])
    while end - bounds[-1] > longest:
        since = onsets - bounds[-1]
        places = np.flatnonzero((since >= shortest) & (since <= longest))
        if not len(places):  # A long rest: the phrase ends with it.
            places = np.flatnonzero(since > longest)[:1]
        if not len(places):
            break
        bounds.append(float(onsets[places[np.argmax(pauses[places])]]))
    phrases = zip(bounds, [*bounds[1:], end], strict=True)
    return [(a, b) for a, b in phrases if b - a <= GAP_SECONDS[1]]
