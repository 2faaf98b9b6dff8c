"""Keras and KerasHub, imported here first, without TensorFlow's chatter."""

from keras_pianogen.notices.chatter import import_keras

import_keras("keras_hub")
