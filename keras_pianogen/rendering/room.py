"""The reverberation of a room, by convolution with its impulse response.

The response is noise that decays exponentially, high frequencies first, as
that of a room does after its first reflections (Moorer, "About This
Reverberation Business", 1979). Left and right have noise of their own. Times
in seconds.
"""

import numpy as np
import numpy.typing as npt

SECONDS = 1.2
REVERBERATION = 1.1  # s until low frequencies have lost 60 dB
HIGH_REVERBERATION = 0.45  # s, of frequencies above `CROSSOVER`
CROSSOVER = 1_500.0  # Hz
DELAY = 0.012  # s until the first reflection
LEVEL = 10 ** (-13 / 20)  # of the direct sound's amplitude
TRANSFORM = 2**18  # samples of one Fourier transform
SEED = 1


def impulse_response(sample_rate: int) -> npt.NDArray[np.float32]:
    """The room's impulse response, (channels, samples)."""
    count = int(SECONDS * sample_rate)
    noise = np.random.default_rng(SEED).normal(size=(2, count))
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(count, 1 / sample_rate)
    share = 1 / (1 + (hertz / CROSSOVER) ** 4)  # of low frequencies
    low = np.fft.irfft(spectrum * share, count)
    high = np.fft.irfft(spectrum * (1 - share), count)
    time = np.arange(count) / sample_rate
    response = low * 10 ** (-3 * time / REVERBERATION)
    response += high * 10 ** (-3 * time / HIGH_REVERBERATION)
    response *= 1 - np.arange(count) / count  # so that it ends without a step
    response[:, time < DELAY] = 0
    energy = (response**2).sum(axis=1, keepdims=True)
    return (LEVEL * response / np.sqrt(energy)).astype(np.float32)


def add_room(sound: npt.NDArray[np.float32], sample_rate: int) -> None:
    """Adds the room to sound, in place. What rings past its end is lost.

    Args:
        sound: float32, (samples, 2), with `SECONDS` of silence at its end.
        sample_rate: samples a second.
    """
    response = impulse_response(sample_rate)
    step = TRANSFORM - response.shape[1] + 1
    spectrum = np.fft.rfft(response, TRANSFORM)
    carried = np.zeros((2, response.shape[1] - 1), np.float32)
    for first in range(0, len(sound), step):
        part = sound[first : first + step]
        wet = np.fft.irfft(np.fft.rfft(part.T, TRANSFORM) * spectrum)
        wet[:, : carried.shape[1]] += carried
        part += wet[:, : len(part)].T
        carried = wet[:, step:]
