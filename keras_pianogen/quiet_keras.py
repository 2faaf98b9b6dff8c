"""Keras and KerasHub, imported here first, without TensorFlow's chatter."""

from keras_pianogen.chatter import import_quietly

import_quietly("keras", "keras_hub")
