"""Strings that nobody struck, which sound with the others under the pedal.

While the sustain pedal is down, all dampers are up, and every string answers
what it hears (Lehtonen, Penttinen, Rauhala and Välimäki, "Analysis and
modeling of piano sustain-pedal effects", 2007). All strings together are one
impulse response: the sum of their first partials, which decay as those of
struck strings do. Sound that is played under the pedal is convolved with it,
and falls silent with the pedal's release. Times in seconds.
"""

import functools

import numpy as np
import numpy.typing as npt

from keras_pianogen.rendering.piano_strings import BLOCK
from keras_pianogen.rendering.piano_strings import GOLDEN
from keras_pianogen.rendering.piano_strings import PianoString

PITCHES = range(21, 109)
PARTIALS = 6  # of each string; higher ones are soon gone
SECONDS = 3.0
LEVEL = 10 ** (-30 / 20)  # of the direct sound's amplitude, for white noise
CHUNK = 5.0  # s that are convolved at once
RELEASE = 0.2  # s in which the dampers stop the strings


def add_strings(
    sound: npt.NDArray[np.float32], pedal: np.ndarray, sample_rate: int
) -> None:
    """Adds the strings to sound, in place.

    Args:
        sound: float32, (samples, 2), without reverberation.
        pedal: when the pedal is down, as `read_pedal` returns it.
        sample_rate: samples a second.
    """
    fade, chunk = _release(sample_rate), int(CHUNK * sample_rate)
    spans = [np.rint(pedal[side] * sample_rate) for side in ("start", "end")]
    # From the end to the beginning: an answer is never answered.
    for start, end in reversed(np.stack(spans, axis=1).astype(int).tolist()):
        for first in reversed(range(start, end, chunk)):
            played = sound[first : min(first + chunk, end)].mean(axis=1)
            if played.any():
                most = end - first + len(fade)
                answer = _answer(played, most, sample_rate)
                tail = answer[end - first :]
                tail *= fade[: len(tail)]
                part = sound[first : first + len(answer)]
                part += answer[: len(part)]


def _answer(
    played: npt.NDArray[np.float32], most: int, sample_rate: int
) -> npt.NDArray[np.float32]:
    """The first `most` samples of a convolution, (samples, 2)."""
    whole = len(played) + int(SECONDS * sample_rate)
    count = min(whole, most)
    # Of a short answer, the response's beginning is enough. Nothing may wrap.
    size = _fast_size(min(2 * count, whole))
    response = size // 2 if 2 * count < whole else int(SECONDS * sample_rate)
    spectrum = np.fft.rfft(played, size)
    spectrum = spectrum * _spectrum(response, size, sample_rate)
    return np.fft.irfft(spectrum, size)[:, :count].T.astype(np.float32)


def _fast_size(least: int) -> int:
    """The smallest size of a fast transform that is not below `least`."""
    power = 2 ** (least - 1).bit_length()
    return next(
        s for s in (power * 5 // 8, power * 3 // 4, power) if s >= least
    )


@functools.lru_cache(maxsize=6)
def _spectrum(
    samples: int, size: int, sample_rate: int
) -> npt.NDArray[np.complex64]:
    """That of the response's first samples, (channels, frequencies)."""
    response = impulse_response(sample_rate)[:samples]
    return np.fft.rfft(response.T, size).astype(np.complex64)


@functools.lru_cache(maxsize=2)
def impulse_response(sample_rate: int) -> npt.NDArray[np.float32]:
    """That of all strings together, (samples, 2)."""
    waves = np.concatenate([_waves(p, sample_rate) for p in PITCHES])
    chance = np.arange(len(waves)) * GOLDEN
    turns = np.exp(2j * np.pi * np.stack([chance, chance * 1.7]))
    time = np.arange(BLOCK) / sample_rate
    inside = np.exp(waves[:, None] * time) * turns[:, :, None]
    rows = np.concatenate([inside.real, -inside.imag], axis=1)
    time = np.arange(0, int(SECONDS * sample_rate), BLOCK) / sample_rate
    beginnings = np.exp(time[:, None] * waves)
    columns = np.concatenate([beginnings.real, beginnings.imag], axis=1)
    columns, rows = columns.astype(np.float32), rows.astype(np.float32)
    response = np.stack([columns @ side for side in rows], axis=-1)
    response = response.reshape(-1, 2)[: int(SECONDS * sample_rate)]
    response *= 1 - np.arange(len(response))[:, None] / len(response)
    energy = (response**2).sum(axis=0)
    return (LEVEL * response / np.sqrt(energy)).astype(np.float32)


def _waves(pitch: int, sample_rate: int) -> npt.NDArray[np.complex128]:
    """As `PianoString.waves`, of the aftersounds of the first partials."""
    string = PianoString(pitch, sample_rate)
    waves = string.waves[len(string.number) :][:PARTIALS]
    return np.array(waves, np.complex128)


def _release(sample_rate: int) -> npt.NDArray[np.float32]:
    along = np.arange(1, int(RELEASE * sample_rate) + 1) / sample_rate / RELEASE
    return (np.exp(-6 * along) * (1 - along))[:, None].astype(np.float32)
