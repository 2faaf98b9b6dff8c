"""MIDI files to training batches: data sets, corpora, windows."""
