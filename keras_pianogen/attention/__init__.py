"""Relative attention on each backend, over sequences and over a cache."""
