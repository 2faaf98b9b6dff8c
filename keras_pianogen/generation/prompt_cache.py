"""Key-value caches of the latest prompts. Lengths count events."""

import threading
import weakref

import numpy as np
from keras import ops

from keras_pianogen.layers.building import check_sizes


class PromptCache:
    """Keeps the prefill of the latest prompts, so that none is repeated.

    `generate` begins at once with a prompt that is in the cache. If a prompt
    continues one that is in the cache, only its new part is prefilled. The
    cache serves calls with one prompt, in any number of variations, and
    samplers that draw event by event. It saves time and changes nothing else,
    except for rounding.

    A cache serves one model at a time. It is emptied if it is used with
    another model, or if the model's weights have changed. A prompt takes as
    much memory as the keys and values of `max_sequence_length` events: 13 MB
    for `music_transformer_maestro`.

    Args:
        size: int. Number of prompts that are kept. The one used least recently
            is dropped first. Defaults to `4`.
        shortest: int. Events that are prefilled at the least. Fewer cost the
            loop that samples little time. Defaults to `64`.

    Raises:
        ValueError: if `size` or `shortest` isn't a positive integer.

    Examples:
        ```python
        cache = PromptCache()
        for seed in range(4):
            notes = model.generate("prompt.mid", seed=seed, prompt_cache=cache)
        ```
    """

    def __init__(self, size=4, shortest=64):
        check_sizes(size=size, shortest=shortest)
        self.size, self.shortest = size, shortest
        self._shelf, self._opening = None, threading.Lock()

    def of(self, model):
        """The `Shelf` of a model, empty if the last one was of another model
        or of other weights."""
        # In NumPy, which shares the memory of weights on a CPU: a sum by the
        # backend takes longer to begin than to compute.
        weights = map(ops.convert_to_numpy, model.backbone.weights)
        sums = np.array([np.sum(w, dtype="float64") for w in weights])
        with self._opening:
            if self._shelf is None or not self._shelf.serves(model, sums):
                self._shelf = Shelf(self.size, model, sums)
            return self._shelf


class Shelf:
    """What a `PromptCache` keeps for one model; several threads may use it.

    Args:
        size: see `PromptCache`.
        model: a `MusicTransformerCausalLM`.
        sums: array of shape (weights,), the sum of each of its weights.
    """

    def __init__(self, size, model, sums):
        self.size, self._sums = size, sums
        self._model = weakref.ref(model)
        self._kept, self._using = [], threading.Lock()

    def serves(self, model, sums):
        """Whether this is the shelf of a model with these sums of weights."""
        return self._model() is model and np.array_equal(sums, self._sums)

    def find(self, ids, first=0):
        """Find the longest `Prefilled` that `ids` begin with, or `None`.

        Args:
            ids: array of shape (events,).
            first: int. The earliest event that matters.
        """
        with self._using:
            found = [
                kept
                for kept in self._kept
                if kept.first <= first <= len(kept.ids)
                and np.array_equal(kept.ids, ids[: len(kept.ids)])
            ]
            if not found:
                return None
            longest = max(found, key=lambda kept: len(kept.ids))
            self._kept.remove(longest)
            self._kept.append(longest)  # It is the one used last.
            return longest

    def keep(self, prefilled, instead_of=None):
        """Add a `Prefilled`, in place of the part of it that was there."""
        with self._using:
            others = [
                kept
                for kept in self._kept
                if kept is not instead_of or kept.is_whole
            ]
            self._kept = [*others, prefilled][-self.size :]


class Prefilled:
    """A key-value cache and the events that it has seen.

    Args:
        first: int. The event of `ids` that the cache begins with.
        ids: array of shape (events,).
        cache: see `MusicTransformerCausalLM.build_cache`.
        is_whole: bool. Whether a prompt ends here, so that this is not only a
            part of a prefill. Defaults to `False`.
    """

    def __init__(self, first, ids, cache, is_whole=False):
        self.first, self.ids, self.cache = first, ids, cache
        self.is_whole = is_whole
