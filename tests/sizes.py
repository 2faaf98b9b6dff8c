"""Sizes of the smallest models that tests and `behaviour.py` train."""

LANGUAGE_MODEL = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "sequence_length": 32,
}
GAN = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 8,
    "sequence_length": 16,
    "batch_size": 2,
    "noise_dim": 4,
}
