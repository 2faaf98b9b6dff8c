"""Prompts that the server has read, each by a name.

A page sends a long piece once, and then writes candidates for it by its name.
"""

import collections
import secrets
import threading

from keras_pianogen.studio.guard import Refused

KEPT = 8


class Prompts:
    """Keeps the latest prompts; several threads may use it."""

    def __init__(self):
        self._kept = collections.OrderedDict()
        self._using = threading.Lock()

    def keep(self, wish):
        """Keep the prompt of a `messages.Wish`; returns its name."""
        name = secrets.token_urlsafe(16)  # Nobody else can guess it.
        with self._using:
            self._kept[name] = wish.notes, wish.prompt_seconds
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return name

    def find(self, name):
        """The notes of a prompt, and where new music begins.

        Raises:
            Refused: if there is no such prompt, or no longer.
        """
        with self._using:
            if name not in self._kept:
                raise Refused(410, "The server has this prompt no longer.")
            self._kept.move_to_end(name)
            return self._kept[name]
