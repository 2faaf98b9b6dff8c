"""The tone of one struck piano key, as the sum of its partials.

Frequencies in hertz, times in seconds. Nothing here knows of performances. A
key is struck and rings as long as it can. A partial at time t is

    a · exp(-t · d) · cos(2π · f · t + φ)

- f, the frequency, is higher than that of the harmonic, because the string is
  stiff (Fletcher 1964).
- d, the decay, is the sum of the string's own and of one that grows with f²
  (Chaigne and Askenfelt 1994).
- a, the amplitude, depends on the point where the hammer strikes, on its
  hardness (Hall 1986), and on the soundboard's radiation.

Each partial is the sum of two: a prompt sound, and an aftersound that is weak,
decays slowly and is a little out of tune, because a key has two or three
strings (Weinreich 1977). The hammer's knock is a sum of such waves too: the
modes of the wood, which are gone in 50 ms. So a tone is completely described
by its waves, and a web page can compute the same tone from them. The numbers
were chosen by ear and by the measurements in those papers. They were not
fitted to one instrument.

A tone is one product of matrices. A partial at the time `t + u` is its value
at `t` times its value at `u`, so a block of samples is the partials at the
beginning of the block, times the partials within one block.
"""

import functools
import math

import numpy as np
import numpy.typing as npt

from keras_pianogen.rendering.dampers import damping
from keras_pianogen.rendering.dampers import damping_seconds

BRIGHTNESSES = 16  # steps of hammer hardness, 8 velocities to each
MAX_PARTIALS = 80
MAX_FREQUENCY = 13_000.0  # Hz: just above the highest MIDI pitch
MAX_SECONDS = 30.0  # the tone of a low string is cut off there
INAUDIBLE = 10 ** (-75 / 20)  # of the loudest partial

DAMPING = 3e-7  # 1/s for a squared hertz
SLOPE = 1.4  # a partial's amplitude falls with this power of its number
CUTOFF = 3000.0  # Hz, of a C4 struck at half of the hardness
HARDNESS = 6.0  # octaves between the cutoffs of softest and hardest stroke
CUTOFF_RISE = 40  # semitones in which the cutoff rises by an octave
STRIKING_POINT = 1 / 8.3  # of the string's length
AFTERSOUND = 0.16  # of the prompt sound's amplitude
AFTERSOUND_DECAY = 0.35  # of the prompt sound's decay
AFTERSOUND_FALL = 10  # semitones above C5 in which the aftersound halves
BRILLIANCE = 2000.0  # Hz, from which the soundboard radiates better and better
TREBLE = -2.0  # dB an octave, above C5
DETUNING = 2.5e-4  # of the frequency, at most: 0.4 cents
KNOCK = 0.12  # the hammer's noise, of a hard stroke's amplitude
KNOCK_MODES = 24
KNOCK_FREQUENCIES = (60.0, 900.0)  # Hz, of the lowest and the highest mode
KNOCK_DECAY = 200.0  # 1/s
BLOCK = 256  # samples
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples are spread evenly, modulo 1


def frequency(pitch: int) -> float:
    """Hertz of a MIDI pitch, equal temperament, A4 (69) at 440."""
    return 440.0 * 2 ** ((pitch - 69) / 12)


def inharmonicity(pitch: int) -> float:
    """B of a string, which raises partial n by the factor √(1 + B n²).

    A curve through measured pianos that falls towards the tenor and rises in
    the treble (Young 1952; Rigaud, David and Daudet 2013, their start values).
    """
    return math.exp(0.0926 * pitch - 13.64) + math.exp(-0.0847 * pitch - 5.82)


def hammer_cutoff(pitch: int, brightness: float) -> float:
    """Hertz above which a hammer's spectrum falls.

    A harder stroke is shorter, and therefore brighter. Far above the cutoff,
    the amplitude falls by 12 dB an octave.

    Args:
        pitch: MIDI pitch, 0 to 127.
        brightness: 0 to `BRIGHTNESSES` - 1, from the softest to the hardest.
    """
    hardness = (brightness + 0.5) / BRIGHTNESSES - 0.5
    return CUTOFF * 2 ** (HARDNESS * hardness + (pitch - 60) / CUTOFF_RISE)


class PianoString:
    """The tones of one key, for soft and hard strokes.

    Args:
        pitch: MIDI pitch, 0 to 127.
        sample_rate: samples a second.
        longest: largest number of samples of a tone, held and released.
            Defaults to all that can be heard.

    Attributes:
        samples: largest number of samples for which a tone is held.
        release: the damper's gain after the key is released, (samples, 1).
    """

    def __init__(
        self, pitch: int, sample_rate: int, longest: int | None = None
    ) -> None:
        self.pitch = pitch
        self.sample_rate = sample_rate
        self.number, self.frequency = self._partials()  # (partials,)
        # A C4 loses 60 dB in 7 s, its tenth partial in 1 s.
        own = 0.3 + 0.7 * 2 ** ((pitch - 60) / 24)
        self.decay = own + DAMPING * self.frequency**2  # 1/s
        self.samples = self._audible_samples()
        if longest is not None:
            self.samples = min(self.samples, int(longest))
        self.release = self._release()

    def _audible_samples(self) -> int:
        slowest = AFTERSOUND_DECAY * self.decay.min(initial=1e6)
        seconds = math.log(AFTERSOUND / INAUDIBLE) / slowest
        return int(min(seconds, MAX_SECONDS) * self.sample_rate)

    def _release(self) -> npt.NDArray[np.float32]:
        """Gain from 1 to 0."""
        count = int(damping_seconds(self.pitch) * self.sample_rate)
        return damping(np.arange(1, count + 1)[:, None] / count)

    def tone(self, brightness: int, samples: int) -> npt.NDArray[np.float32]:
        """The sound of one stroke. All brightnesses have the same energy.

        Args:
            brightness: 0 to `BRIGHTNESSES` - 1.
            samples: number of samples.

        Returns:
            Sound, (samples, 2), left and right.
        """
        if not len(self.number):  # all partials are above the highest frequency
            return np.zeros((samples, 2), np.float32)
        count = -(-samples // BLOCK)
        inside = self._inside * self.amplitudes(brightness)[..., None]
        inside = inside.transpose(1, 2, 0)  # (waves, samples, channels)
        rows = np.concatenate([inside.real, -inside.imag])
        rows = rows.reshape(len(rows), -1).astype(np.float32)
        tone = self._beginnings[:count] @ rows  # (blocks, samples x channels)
        tone = tone.reshape(-1, 2)[:samples]
        self._strike(tone, brightness)
        return tone

    def _partials(self) -> tuple[npt.NDArray, npt.NDArray]:
        """Numbers and frequencies of partials. The first is in tune."""
        number = np.arange(1, MAX_PARTIALS + 1)
        stiffness = inharmonicity(self.pitch)
        sharp = np.sqrt((1 + stiffness * number**2) / (1 + stiffness))
        frequencies = frequency(self.pitch) * number * sharp
        heard = frequencies < min(MAX_FREQUENCY, 0.45 * self.sample_rate)
        return number[heard], frequencies[heard]

    @functools.cached_property
    def waves(self) -> npt.NDArray[np.complex128]:
        """Logarithm of the factor of each wave over one second, (waves,).

        Waves are the prompt sounds of all partials, then their aftersounds.
        """
        drift = DETUNING * (0.3 + 0.7 * (self.number * GOLDEN % 1))
        prompt = -self.decay + 2j * np.pi * self.frequency
        out_of_tune = self.frequency * (1 - drift)
        after = -AFTERSOUND_DECAY * self.decay + 2j * np.pi * out_of_tune
        return np.concatenate([prompt, after])  # (waves,)

    @functools.cached_property
    def _inside(self) -> npt.NDArray[np.complex128]:
        """Each wave within one block, (1, waves, samples)."""
        time = np.arange(BLOCK) / self.sample_rate
        return np.exp(self.waves[:, None] * time)[None]

    @functools.cached_property
    def _beginnings(self) -> npt.NDArray[np.float32]:
        """Each wave at the beginnings of blocks, (blocks, real and imag)."""
        count = -(-(self.samples + len(self.release)) // BLOCK)
        time = np.arange(count) * (BLOCK / self.sample_rate)
        waves = np.exp(time[:, None] * self.waves)
        return np.concatenate([waves.real, waves.imag], 1).astype(np.float32)

    def amplitudes(self, brightness: float) -> npt.NDArray[np.complex128]:
        """Amplitudes and phases of waves, (channels, waves)."""
        number, hertz = self.number, self.frequency
        above = hertz - hertz[0]
        beyond = above / hammer_cutoff(self.pitch, brightness)
        amplitude = 1 / (1 + beyond + beyond**2 / 2)
        amplitude *= np.abs(np.sin(np.pi * STRIKING_POINT * number))
        amplitude /= number**SLOPE
        amplitude /= 1 + (90 / hertz) ** 2  # the soundboard's radiation
        amplitude *= np.sqrt(1 + (hertz / BRILLIANCE) ** 2)
        weaker = 10 ** (max(self.pitch - 72, 0) / 12 * TREBLE / 20)
        amplitude *= weaker / math.sqrt((amplitude**2).sum())
        chance = number * GOLDEN + self.pitch * GOLDEN**2
        both = []
        for weight, turn in ((1.0, 0.0), (self.aftersound, 0.5)):
            # Bass is at the left, as the player hears it. Partials are spread.
            spread = 0.2 * np.sin(2 * np.pi * (chance + turn))
            angle = np.pi / 4 + 0.25 * (self.pitch - 64) / 44 + spread
            pan = np.stack([np.cos(angle), np.sin(angle)])
            apart = 0.4 * np.sin(2 * np.pi * (chance * 1.7 + turn))
            phase = 2 * np.pi * (chance**2 + turn) + np.stack([-apart, apart])
            both.append(weight * amplitude * pan * np.exp(1j * phase))
        return np.concatenate(both, axis=1)

    @property
    def aftersound(self) -> float:
        """Amplitude of the aftersound, of the prompt sound's.

        It is weaker in the treble, so that the highest strings are soon still.
        """
        fall = max(self.pitch - 72, 0) / AFTERSOUND_FALL
        return AFTERSOUND * 2**-fall

    @property
    def attack(self) -> float:
        """Seconds until the tone has its full strength."""
        return 0.0015 + 0.003 * 2 ** (-max(self.pitch - 21, 0) / 24)

    @functools.cached_property
    def knock_waves(self) -> npt.NDArray[np.complex128]:
        """As `waves`, those of the hammer's knock, (modes,)."""
        low, high = KNOCK_FREQUENCIES
        mode = np.arange(1, KNOCK_MODES + 1)
        share = (mode * GOLDEN + self.pitch * GOLDEN**2) % 1
        hertz = low + (high - low) * share
        return np.array(-KNOCK_DECAY + 2j * np.pi * hertz, np.complex128)

    @functools.cached_property
    def knock_amplitudes(self) -> npt.NDArray[np.complex128]:
        """Those of the hardest stroke, (channels, modes)."""
        mode = np.arange(1, KNOCK_MODES + 1)
        turns = [(mode + 0.5 * side) * GOLDEN**2 for side in range(2)]
        size = KNOCK * math.sqrt(2 / KNOCK_MODES)
        waves = size * np.exp(2j * np.pi * np.stack(turns))
        return np.array(waves, np.complex128)

    @staticmethod
    def knock_gain(brightness: float) -> float:
        """How loud the knock is beside the tone, nearly 1 for hard strokes."""
        return 10 ** ((brightness / BRIGHTNESSES - 1) / 4)

    def _strike(self, tone: npt.NDArray[np.float32], brightness: int) -> None:
        """Adds the hammer's knock, and fades the tone in, in place."""
        count = min(len(tone), len(self._knock))
        gain = np.float32(self.knock_gain(brightness))
        tone[:count] += gain * self._knock[:count]
        count = min(len(tone), int(self.attack * self.sample_rate))
        along = np.arange(count)[:, None] / max(count, 1)
        tone[:count] *= (0.5 - 0.5 * np.cos(np.pi * along)).astype(np.float32)

    @functools.cached_property
    def _knock(self) -> npt.NDArray[np.float32]:
        """The knock of the hardest stroke, (samples, channels)."""
        step = self.knock_waves[:, None] / self.sample_rate
        inside = np.exp(step * np.arange(BLOCK))  # (modes, samples)
        count = -(-self.sample_rate // 20 // BLOCK)
        starts = np.exp(step * BLOCK * np.arange(count))  # (modes, blocks)
        begin = self.knock_amplitudes[..., None] * starts
        knock = begin.transpose(0, 2, 1) @ inside  # (channels, blocks, samples)
        return knock.real.reshape(2, -1).T.astype(np.float32)
