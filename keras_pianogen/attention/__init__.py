"""Relative attention on each backend: whole sequences, and a ring cache."""
