"""How a model writes new music: requests, the decoding loop, samplers."""

import keras_pianogen.quiet_keras  # noqa: F401
