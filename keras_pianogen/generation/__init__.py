"""How a model writes new music: requests, the decoding loop, samplers."""
