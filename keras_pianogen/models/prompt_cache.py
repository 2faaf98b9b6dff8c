"""What a model has read of its latest prompts. Lengths count events."""

import numpy as np

from keras_pianogen.layers.relative_attention import check_sizes


class PromptCache:
    """Keeps what was read of the latest prompts, so that none is read twice.

    `generate` with a prompt that was read begins at once, and one that goes on
    where such a prompt ends reads the new part alone. It works for one prompt
    a call, in any number of variations, and changes nothing but the time.

    It is for one model, with the weights that it has now: `clear` it when they
    have changed. A prompt takes as much memory as the keys and values of
    `max_sequence_length` events: 13 MB for `music_transformer_maestro`.

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
        self._readings = []

    def clear(self):
        """Forget everything."""
        self._readings = []

    def find(self, ids):
        """The longest reading that `ids` begin with, or `None`."""
        ids = np.asarray(ids)
        found = [
            reading
            for reading in self._readings
            if len(reading.ids) <= len(ids)
            and (reading.ids == ids[: len(reading.ids)]).all()
        ]
        return max(found, key=lambda reading: len(reading.ids), default=None)

    def keep(self, reading, instead_of=None):
        """Keep a reading, as the latest, and drop another."""
        kept = [r for r in self._readings if r is not instead_of]
        self._readings = [*kept, reading][-self.size :]


class Reading:
    """A cache of keys and values, and the events that it has seen.

    Attributes:
        first: int. The event of `ids` that the cache begins with.
        ids: array of shape (events,).
        cache: see `MusicTransformerCausalLM.build_cache`.
    """

    def __init__(self, first, ids, cache):
        self.first, self.ids, self.cache = first, ids, cache
