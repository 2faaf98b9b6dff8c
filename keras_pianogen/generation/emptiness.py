"""Pieces that are nearly empty, which are drawn again. Times in seconds.

Now and then a model stops and can't find its way back into the music. New
music that has fewer than a tenth of the notes of real music, or of those that
are asked of a gap, is drawn again with a seed of its own. A warning tells that
seed, which gives the same music by itself.
"""

import logging

import numpy as np

from keras_pianogen.generation.draws import next_seed

SHARE = 0.1  # Fewer than this share of the usual notes are nearly none.
USUAL_NOTES_A_SECOND = 10.0  # MAESTRO has 9.9.
# Shorter pieces may be empty for good reasons.
LEAST_SECONDS = 4.0
# How often a piece is drawn again at most.
REDRAWS = 3

logger = logging.getLogger(__name__)


def fewest_notes(seconds):
    """How many notes a piece has at least, or it is nearly empty.

    Args:
        seconds: float. Length of the new music.

    Examples:
        >>> fewest_notes(40.0), fewest_notes(1.0)
        (40.0, 0.0)
    """
    return SHARE * USUAL_NOTES_A_SECOND * seconds * (seconds >= LEAST_SECONDS)


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
        if notes >= request.fewest_notes:
            break
        if first is None:
            first = next_seed(request.sampler)
        words = (first % 2**32, index, attempt)
        seed = int(np.random.SeedSequence(words).generate_state(1)[0])
        logger.warning(
            "Nearly empty: %d new notes%s, fewer than a tenth of what is "
            "usual there. They are drawn again with seed %d",
            notes,
            "" if request.seed is None else f" with seed {request.seed}",
            seed,
        )
        request = request.alone(0, seed)
        (piece,) = draw(request)
    return piece
