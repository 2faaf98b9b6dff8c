"""Pieces that are nearly empty, which are drawn again. Times in seconds.

Now and then a model stops and can't find its way back into the music. A piece
that is asked for in seconds, and that has fewer than a tenth of the notes of
real music, is drawn again with a seed of its own. A warning tells that seed,
which gives the same piece by itself.
"""

import logging

import numpy as np

from keras_pianogen.generation.draws import next_seed

# MAESTRO has 9.9 notes a second.
LEAST_NOTES_A_SECOND = 1.0
# Shorter pieces may be empty for good reasons.
LEAST_SECONDS = 4.0
# How often a piece is drawn again at most.
REDRAWS = 3

logger = logging.getLogger(__name__)


def is_nearly_empty(notes, seconds):
    """Whether a piece has fewer than a tenth of the notes of real music.

    Args:
        notes: int. Number of new notes.
        seconds: float. Length of the new music.

    Examples:
        >>> is_nearly_empty(24, 40.0), is_nearly_empty(60, 40.0)
        (True, False)
    """
    return seconds >= LEAST_SECONDS and notes < LEAST_NOTES_A_SECOND * seconds


def fill(pieces, request, draw):
    """Draw the nearly empty pieces of a request again.

    Args:
        pieces: list of arrays of tokens.
        request: the `Request` that they answer.
        draw: a function of a `Request`, which returns its pieces.

    Returns:
        A list of arrays of tokens.
    """
    return [
        _fill(piece, request.alone(index), index, draw)
        for index, piece in enumerate(pieces)
    ]


def _fill(piece, request, index, draw):
    prompt, first = request.prompts[0], request.seed
    for attempt in range(REDRAWS):
        notes = request.count_notes(piece[len(prompt) :])
        if not is_nearly_empty(notes, request.seconds):
            break
        if first is None:
            first = next_seed(request.sampler)
        words = (first % 2**32, index, attempt)
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        logger.warning(
            "Nearly empty: %d new notes in %g s, fewer than a tenth of real "
            "music%s. The piece is drawn again with seed %d",
            notes,
            request.seconds,
            "" if request.seed is None else f" (seed {request.seed})",
            seed,
        )
        request = request.alone(0, seed)
        (piece,) = draw(request)
    return piece
