"""Pieces that differ in one thing."""

import numpy as np

from keras_pianogen.judging.features import FEATURES
from keras_pianogen.judging.features import PEDAL_FEATURES
from keras_pianogen.judging.features import measure
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE

NAMES = [feature.name for feature in FEATURES]


PEDAL_NAMES = [feature.name for feature in PEDAL_FEATURES]


def melody(seed, count=250):
    """A walk in C major that stays in two octaves, with a pulse and swells."""
    rng = np.random.default_rng(seed)
    scale = np.array([0, 2, 4, 5, 7, 9, 11])
    place = 7 + np.abs(np.cumsum(rng.integers(-2, 3, count)) % 14 - 7)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.cumsum(rng.choice([0.1, 0.2], count))
    notes["end"] = notes["start"] + rng.choice([0.1, 0.3], count)
    notes["pitch"] = 48 + 12 * (place // 7) + scale[place % 7]
    notes["velocity"] = 64 + 20 * np.sin(np.arange(count) / 9)
    return notes


def melodies(count, first=0):
    return {f"{i}.mid": melody(i) for i in range(first, first + count)}


def pedalled(pieces, share, a_minute=30):
    """Makes a pedal for each piece, which is down for a share of the time."""
    pedals = {}
    for i, name in enumerate(pieces):
        rng = np.random.default_rng(i)
        pedal = np.zeros(40 * a_minute // 60, PEDAL_DTYPE)
        every = 60 / a_minute
        pedal["start"] = every * (np.arange(len(pedal)) + rng.uniform(0, 0.1))
        pedal["end"] = pedal["start"] + share * every
        pedals[name] = pedal
    return pedals


def of(notes, name):
    return measure(notes)[name]


def chord(*pitches, start=0.0, end=1.0, velocity=64):
    return [(start, end, pitch, velocity) for pitch in pitches]
