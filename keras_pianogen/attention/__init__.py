"""Relative attention on each backend, over sequences and over a cache."""

from keras_pianogen.chatter import import_quietly

import_quietly("keras")
