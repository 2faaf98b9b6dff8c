"""Keras and KerasHub, imported here first, without TensorFlow's chatter.

PyTorch's threads are told to spin for a while and then to sleep while they wait
for a busy core; a program that loads PyTorch before decides for itself.
"""

from keras_pianogen.notices.chatter import import_keras
from keras_pianogen.notices.threads import let_waiting_threads_sleep

let_waiting_threads_sleep()
import_keras("keras_hub")
