"""How good music is: likelihood, novelty, distances, statistical tests."""
