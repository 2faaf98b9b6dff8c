"""What is found out of a prompt before it is continued, to begin soon.

A page's prompt is read ahead, and then continued by several candidates. What
takes long is kept: the keys and values of the prompt, and the state of the
grammar after it. This loads Keras.
"""

import collections

import keras
import numpy as np

from keras_pianogen.models import PromptCache

KEPT = 8  # states of prompts


class LastingCache(PromptCache):
    """A `PromptCache` of one model, whose weights stay as they are."""

    _shelf_of_model = None

    def of(self, model):
        """See `PromptCache.of`, which sums up all weights at each call."""
        if self._shelf_of_model is None:
            self._shelf_of_model = super().of(model)
        return self._shelf_of_model


def remembering(kind):
    """A class of requests that keeps the latest states after prompts.

    Args:
        kind: `Request` or a class of it.
    """
    states = collections.OrderedDict()

    class Remembering(kind):
        def initial_state(self, pieces):
            """See `Request.initial_state`."""
            key = tuple(piece.tobytes() for piece in pieces)
            if key not in states:
                states[key] = super().initial_state(pieces)
            states.move_to_end(key)
            while len(states) > KEPT:
                states.popitem(last=False)
            # Copies, because PyTorch's loop writes to what it is given.
            return keras.tree.map_structure(np.copy, states[key])

    return Remembering
