"""What a model has read of its latest prompts. Lengths count events."""

import weakref

import numpy as np
from keras import ops

from keras_pianogen.layers.building import check_sizes


class PromptCache:
    """Keeps what was read of the latest prompts, so that none is read twice.

    `generate` with a prompt that was read begins at once, and one that goes on
    where such a prompt ends reads the new part alone. It works for one prompt
    a call, in any number of variations, with samplers that draw event by event,
    and changes nothing but the time, up to rounding.

    It is for one model at a time: of another one, or once its weights have
    changed, everything is read anew. A prompt takes as much memory as the keys
    and values of `max_sequence_length` events: 13 MB for
    `music_transformer_maestro`.

    Args:
        size: int. Prompts that are kept; the one used least recently goes
            first. Defaults to `4`.

    Raises:
        ValueError: if `size` isn't a positive integer.

    Examples:
        ```python
        cache = PromptCache()
        for seed in range(4):
            notes = model.generate("prompt.mid", seed=seed, prompt_cache=cache)
        ```
    """

    def __init__(self, size=4):
        check_sizes(size=size)
        self.size = size
        self._model, self._sums = None, None
        self._readings = []

    def open(self, model):
        """Drop what another model, or one of other weights, has read."""
        weights = [ops.cast(w, "float32") for w in model.backbone.weights]
        sums = ops.convert_to_numpy(ops.stack([ops.sum(w) for w in weights]))
        same = self._model is not None and self._model() is model
        if not same or not np.array_equal(sums, self._sums):
            self._readings = []
        self._model, self._sums = weakref.ref(model), sums

    def find(self, ids, first=0):
        """The longest `Reading` that `ids` begin with, or `None`.

        Args:
            ids: array of shape (events,).
            first: int. The earliest event that matters.
        """
        found = [
            reading
            for reading in self._readings
            if reading.first <= first <= len(reading.ids)
            and np.array_equal(reading.ids, ids[: len(reading.ids)])
        ]
        return max(found, key=lambda reading: len(reading.ids), default=None)

    def keep(self, reading, instead_of=None):
        """Keep a `Reading`, as the latest, and drop another."""
        kept = [r for r in self._readings if r is not instead_of]
        self._readings = [*kept, reading][-self.size :]


class Reading:
    """A cache of keys and values, and the events that it has seen.

    Args:
        first: int. The event of `ids` that the cache begins with.
        ids: array of shape (events,).
        cache: see `MusicTransformerCausalLM.build_cache`.
        whole: bool. Whether a prompt ends here, and not only what was read of
            it so far.
    """

    def __init__(self, first, ids, cache, whole):
        self.first, self.ids, self.cache = first, ids, cache
        self.whole = whole
