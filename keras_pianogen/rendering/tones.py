"""The built-in piano as numbers, from which a web page computes its tones.

A tone is the sum of its waves (`piano_strings`), so a page needs the waves and
not the sound: 0.3 MB instead of 50. The page computes every third pitch, struck
softly and hard. Both have the same waves at the same phases, so a mixture of
them is the tone of any stroke between: its partials are 1 dB off on average.

Frequencies in hertz, times in seconds, decays in 1/s.
"""

import base64
import functools
import json
import math

import numpy as np
import numpy.typing as npt

from keras_pianogen.rendering import room
from keras_pianogen.rendering.piano_strings import AFTERSOUND
from keras_pianogen.rendering.piano_strings import AFTERSOUND_DECAY
from keras_pianogen.rendering.piano_strings import BRIGHTNESSES
from keras_pianogen.rendering.piano_strings import PianoString
from keras_pianogen.rendering.synthesis import UNDAMPED
from keras_pianogen.rendering.synthesis import brightness_of
from keras_pianogen.rendering.synthesis import gain_of
from keras_pianogen.rendering.wav import wav_bytes

PITCHES = range(21, 109, 3)
STROKES = (1, 13)  # brightnesses of the soft and the hard stroke
SAMPLE_RATE = 24_000  # of the page's tones
LONGEST = 12.0  # s: the lowest string has lost 35 dB then
FAINT = 10 ** (-55 / 20)  # where other tones end
RELEASE_STEPS = 32
ROOM_RATE = 16_000  # the room swallows what is above 8 kHz


@functools.cache
def piano_json() -> str:
    """All that a page needs to play the built-in piano, as JSON.

    Returns:
        An object with `name`, the piano in words; `rate`, the samples a
        second; `velocities`, a gain and the share of the hard stroke for each
        velocity from 0; `undamped`, the lowest pitch without a damper;
        `release`, the damper's gain after the release, in even steps; `room`,
        see `_room`; and `tones`, a `tone_of` for each of `PITCHES`.
    """
    content = {
        "name": "the built-in piano",
        "rate": SAMPLE_RATE,
        "velocities": _velocities(),
        "undamped": UNDAMPED,
        "release": release_curve(),
        "room": _room(),
        "tones": [tone_of(pitch) for pitch in PITCHES],
    }
    return json.dumps(content, separators=(",", ":"))


def tone_of(pitch: int) -> dict:
    """One key's tones.

    Args:
        pitch: MIDI pitch, 21 to 108.

    Returns:
        A dictionary with `pitch`; `seconds`, how long the tone is kept;
        `attack`, the seconds of its fade-in; `release`, the seconds of its
        damping; and `waves`. A wave is its frequency, its decay, the real and
        the imaginary part of its amplitude at the left and at the right for
        the hard stroke, and the soft stroke's amplitude as a share of that.
    """
    string = PianoString(pitch, SAMPLE_RATE)
    exponents = np.concatenate([string.waves, string.knock_waves])
    soft, hard = (_amplitudes(string, stroke) for stroke in STROKES)
    parts = [part for side in hard for part in (side.real, side.imag)]
    share = np.abs(soft[0]) / np.abs(hard[0])  # alike on both sides
    waves = np.stack(
        [exponents.imag / (2 * np.pi), -exponents.real, *parts, share]
    )
    return {
        "pitch": pitch,
        "seconds": _number(min(_seconds(string), LONGEST), 4),
        "attack": _number(string.attack, 4),
        "release": _number(len(string.release) / SAMPLE_RATE, 4),
        "waves": [
            [_number(row[0], 8), *(_number(value, 4) for value in row[1:])]
            for row in waves.T
        ],
    }


def _amplitudes(string: PianoString, brightness: float) -> npt.NDArray:
    """Those of strings and knock, (channels, waves)."""
    knock = string.knock_gain(brightness) * string.knock_amplitudes
    return np.concatenate([string.amplitudes(brightness), knock], axis=1)


def _seconds(string: PianoString) -> float:
    """Seconds until a tone is faint."""
    slowest = AFTERSOUND_DECAY * float(string.decay.min())
    return math.log(AFTERSOUND / FAINT) / slowest


def _velocities() -> list[list[float]]:
    velocity = np.arange(1, 128)
    hard = np.mean([_hard_shares(pitch) for pitch in PITCHES], axis=0)
    hard = hard.clip(0, 1)[brightness_of(velocity)]
    rows = np.stack([gain_of(velocity), hard], axis=1)
    return [[0, 0], *([_number(value, 4) for value in row] for row in rows)]


def _hard_shares(pitch: int) -> npt.NDArray:
    """For each brightness, the hard stroke's share in the nearest mixture.

    That is the mixture of the least squared error, (brightnesses,).
    """
    string = PianoString(pitch, SAMPLE_RATE)
    soft, hard = map(string.amplitudes, STROKES)
    apart = (hard - soft).ravel()
    all_of_them = map(string.amplitudes, range(BRIGHTNESSES))
    missing = np.stack([(one - soft).ravel() for one in all_of_them])
    return (missing @ apart.conj()).real / np.vdot(apart, apart).real


def release_curve() -> list[float]:
    """The damper's gain after a key is released, in even steps."""
    gain = PianoString(PITCHES[0], SAMPLE_RATE).release[:, 0]
    steps = np.linspace(0, len(gain) - 1, RELEASE_STEPS).round().astype(int)
    return [_number(value, 4) for value in gain[steps]]


def _room() -> dict:
    """The room's response as a WAV file in base64, and its gain.

    The gain is that of a convolution at one sample a second; a page divides
    it by its own sample rate.
    """
    response = room.impulse_response(ROOM_RATE).T
    peak = float(np.abs(response).max())
    file = wav_bytes(response / peak, ROOM_RATE)
    return {
        "wav": base64.b64encode(file).decode(),
        "gain": _number(peak * ROOM_RATE, 4),
    }


def _number(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
