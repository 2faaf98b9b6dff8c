"""The loudness of sound: it is measured, levelled, and its peaks limited.

Sound is an array of float32, (samples, channels), 1 at full scale. Loudness is
in LUFS, peaks are in dBFS. Integrated loudness follows ITU-R BS.1770-4 (2015):
the mean square after a filter that imitates head and ear, over blocks of 400
ms, without the blocks that are silent or far below the rest.

One departure: the filter is applied to the spectrum of each tenth of a second,
because a recursion would be slow in Python. On piano music both agree within
0.1 dB.
"""

import math

import numpy as np
import numpy.typing as npt

TARGET = -20.0  # LUFS, about that of recordings of solo pianos
TOLERANCE = 0.1  # dB
CEILING = 10 ** (-1 / 20)  # -1 dBFS; no sample is louder
PASSES = 5  # of gain and limiter at most; the limiter lowers the loudness

# BS.1770-4, tables 1 and 2: both filters' coefficients at 48 kHz.
SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
HIGH_PASS = (
    (1.0, -2.0, 1.0),
    (1.0, -1.99004745483398, 0.99007225036621),
)
OFFSET = -0.691  # dB, equation 2, so that a sine of 997 Hz keeps its level
ABSOLUTE_GATE = -70.0  # LUFS
RELATIVE_GATE = -10.0  # dB below the blocks that pass the absolute gate

LIMITER_BLOCK = 64  # samples; the gain is a straight line within a block
LIMITER_REACH = 64  # blocks; the gain falls and rises within 0.1 s


def integrated_loudness(sound: npt.NDArray, sample_rate: int) -> float:
    """Measures loudness as ITU-R BS.1770-4 does.

    Args:
        sound: float array, (samples, channels), 1 at full scale.
        sample_rate: samples a second, at least 10.

    Returns:
        LUFS; minus infinity for silence.

    Examples:
        >>> time = np.arange(48_000) / 48_000
        >>> tone = np.sin(2 * np.pi * 997 * time)[:, None]
        >>> round(integrated_loudness(tone, 48_000), 1)
        -3.0
    """
    tenths = _weighted_energies(sound, sample_rate)
    energies = np.lib.stride_tricks.sliding_window_view(tenths, 4).mean(axis=1)
    energies = energies[_decibels(energies) > ABSOLUTE_GATE]
    if not len(energies):
        return -math.inf
    gate = float(_decibels(energies.mean())) + RELATIVE_GATE
    return float(_decibels(energies[_decibels(energies) > gate].mean()))


def level(sound: npt.NDArray[np.float32], sample_rate: int) -> None:
    """Brings sound to the loudness `TARGET`, in place.

    No sample is beyond `CEILING`. If both are impossible, as for a click in
    silence, the loudness stays below `TARGET`.

    Args:
        sound: float32, (samples, channels), contiguous.
        sample_rate: samples a second.
    """
    peak = _peaks(sound.reshape(1, -1)).max(initial=0)
    if peak == 0:
        return
    sound /= peak
    for _ in range(PASSES):
        lacking = TARGET - integrated_loudness(sound, sample_rate)
        if abs(lacking) < TOLERANCE or math.isinf(lacking):
            break
        sound *= np.float32(10 ** (lacking / 20))
        limit(sound)
    limit(sound)


def limit(sound: npt.NDArray[np.float32]) -> None:
    """Lowers peaks beyond `CEILING`, and the sound around them, in place.

    The gain is a smooth curve that begins to fall before each peak. It is
    straight between the edges of blocks, and at both edges of a block it is no
    higher than the block's peak allows, because it is a mean of minima over
    windows that all contain the peak.
    """
    blocks, rest = np.split(
        sound, [len(sound) // LIMITER_BLOCK * LIMITER_BLOCK]
    )
    blocks = blocks.reshape(-1, LIMITER_BLOCK, sound.shape[1])
    peaks = np.append(
        _peaks(blocks.reshape(-1, LIMITER_BLOCK * sound.shape[1])),
        _peaks(rest.reshape(1, -1)),
    )
    if peaks.max() <= CEILING:
        return
    gain = _gain_at_edges(peaks)
    moved = np.flatnonzero((gain[:-2] < 1) | (gain[1:-1] < 1))
    along = np.arange(LIMITER_BLOCK) / LIMITER_BLOCK
    for some in np.split(moved, range(1000, len(moved), 1000)):
        before, after = gain[some, None], gain[some + 1, None]
        ramps = before + (after - before) * along  # (blocks, samples)
        blocks[some] *= ramps[..., None].astype(np.float32)
    rest *= np.float32(min(gain[-2:]))


def _peaks(rows: npt.NDArray) -> npt.NDArray:
    """The largest magnitude in each row, found without copying the sound."""
    return np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0))


def _gain_at_edges(peaks: npt.NDArray) -> npt.NDArray:
    """Gain at the edges of blocks, (blocks + 1,)."""
    reach = LIMITER_REACH
    allowed = np.minimum(1, CEILING / np.maximum(peaks, CEILING))
    allowed = np.pad(allowed, 2 * reach - 1, constant_values=1)
    windows = np.lib.stride_tricks.sliding_window_view(allowed, 2 * reach)
    weights = np.hanning(2 * reach + 1)[1:-1]  # 2 reach - 1 of them
    return np.convolve(windows.min(axis=1), weights / weights.sum(), "valid")


def _weighted_energies(
    sound: npt.NDArray, sample_rate: int
) -> npt.NDArray[np.float64]:
    """Mean square of each tenth of a second after the filter, (tenths,).

    Those of the channels are added.
    """
    size = sample_rate // 10
    count = max(4, -(-len(sound) // size))
    weights = _power_response(np.fft.rfftfreq(size, 1 / sample_rate))
    weights[1 : (size + 1) // 2] *= 2  # counts negative frequencies too
    weights = (weights / size**2).astype(np.float32)
    energies = np.zeros(count)
    for first in range(0, count, 100):  # ten seconds at a time
        part = sound[first * size : (first + 100) * size]
        part = np.pad(part, ((0, -len(part) % size), (0, 0)))
        spectra = np.fft.rfft(part.T.reshape(part.shape[1], -1, size))
        power = spectra.real**2 + spectra.imag**2
        found = (power @ weights).sum(axis=0)  # (tenths,)
        energies[first : first + len(found)] = found
    return energies


def _power_response(frequencies: npt.NDArray) -> npt.NDArray:
    """The gain in power of BS.1770's two filters, those of 48 kHz."""
    delay = np.exp(-2j * np.pi * np.minimum(frequencies, 24_000) / 48_000)
    response = np.ones(len(frequencies))
    for above, below in (SHELF, HIGH_PASS):
        ratio = np.polyval(above[::-1], delay) / np.polyval(below[::-1], delay)
        response *= np.abs(ratio) ** 2
    return response


def _decibels(energy: npt.ArrayLike) -> npt.NDArray:
    with np.errstate(divide="ignore"):
        return OFFSET + 10 * np.log10(energy)
