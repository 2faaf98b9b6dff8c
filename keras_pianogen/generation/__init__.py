"""How a model writes new music: requests, the decoding loop, samplers.

Importing this room loads no Keras, because commands check their arguments
with it before they choose a backend.
"""
