"""Sound as WAV files of 16 bits."""

import io
import typing
import wave

import numpy as np
import numpy.typing as npt

PART = 1_000_000  # samples that are converted at a time


def write_wav(
    sound: npt.NDArray[np.floating],
    file: typing.IO[bytes],
    sample_rate: int,
) -> None:
    """Writes sound to an open file.

    Args:
        sound: float array, (samples, channels), 1 at full scale.
        file: a binary file.
        sample_rate: samples a second.
    """
    with wave.open(file, "wb") as writer:
        writer.setnchannels(sound.shape[1])
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.setnframes(len(sound))
        for first in range(0, len(sound), PART):
            part = sound[first : first + PART] * np.float32(32767)
            writer.writeframesraw(np.rint(part).astype("<i2").tobytes())


def wav_bytes(sound: npt.NDArray[np.floating], sample_rate: int) -> bytes:
    """A WAV file in memory.

    Args:
        sound: float array, (samples, channels), 1 at full scale.
        sample_rate: samples a second.

    Examples:
        >>> len(wav_bytes(np.zeros((100, 2)), 8_000)) == 44 + 100 * 2 * 2
        True
    """
    file = io.BytesIO()
    write_wav(sound, file, sample_rate)
    return file.getvalue()
