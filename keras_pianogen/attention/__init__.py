"""Relative attention on each backend, over sequences and over a cache."""

from keras_pianogen.notices.chatter import import_keras

import_keras()
