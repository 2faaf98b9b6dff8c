"""What is heard of notes, measured."""

import pathlib
import wave

import numpy as np
from performances import notes_of

from keras_pianogen.rendering import synthesis

RATE = 44_100


PIECE = pathlib.Path(__file__).parent / "data" / "scarlatti_k_525.midi"


def played(*rows):
    """Notes as the built-in piano plays them, before they are levelled."""
    return synthesis._play(notes_of(*rows), RATE)


def rms(sound, start, end):
    """Root mean square between two times in seconds."""
    part = sound[int(start * RATE) : int(end * RATE)].astype(float)
    return np.sqrt((part**2).mean())


def spectrum(sound, start=0.1, end=1.1):
    """Frequencies and magnitudes, Hann-windowed, padded to 16 s."""
    part = sound[int(start * RATE) : int(end * RATE)].mean(axis=1)
    magnitude = np.abs(np.fft.rfft(part * np.hanning(len(part)), 16 * RATE))
    return np.fft.rfftfreq(16 * RATE, 1 / RATE), magnitude


def cents(found, expected):
    return 1200 * np.log2(found / expected)


def read_wav(path):
    """A WAV file's parameters and samples, 1 at full scale."""
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getparams(), data.reshape(-1, 2) / 32768
