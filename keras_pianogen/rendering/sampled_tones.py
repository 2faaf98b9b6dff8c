"""A SoundFont's piano as samples, which a web page plays.

FluidSynth plays them, as it plays for `render`. The page has every third pitch,
struck softly and hard. A note of the page plays the nearest pitch and the
nearer stroke: it never mixes two recordings, because they would cancel each
other. All samples have the level of the built-in piano's hardest stroke;
`velocities` has the gain of each velocity, measured at C4. Dampers are the
built-in piano's.

Times in seconds.
"""

import functools
import json
import pathlib
import threading

import numpy as np
import numpy.typing as npt

from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.rendering import fluidsynth
from keras_pianogen.rendering.dampers import damping_seconds
from keras_pianogen.rendering.piano_strings import BRIGHTNESSES
from keras_pianogen.rendering.piano_strings import PianoString
from keras_pianogen.rendering.tones import FAINT
from keras_pianogen.rendering.tones import LONGEST
from keras_pianogen.rendering.tones import PITCHES
from keras_pianogen.rendering.tones import SAMPLE_RATE
from keras_pianogen.rendering.tones import release_curve

VELOCITIES = (48, 108)  # of the soft and the hard stroke
BETWEEN = 80  # from this velocity on, the hard stroke is the nearer one
C4 = 60
MEASURED = range(7, 128, 8)  # velocities whose loudness is measured
WINDOW = 0.3  # of a tone, in which its loudness is measured
SHORTEST = 4.0  # the highest string is held so long, and the lowest `LONGEST`
APART = 3.0  # between two tones, for release and reverberation
FADE = 0.05  # at a tone's end
HEADROOM = 0.2  # of 16 bits, for a tone of the level 1


class SampledPiano:
    """The samples of one SoundFont, played when they are first asked for.

    Threads may share it.

    Args:
        soundfont: a path from `fluidsynth.choose_soundfont`.
    """

    def __init__(self, soundfont: pathlib.Path) -> None:
        self.soundfont = soundfont
        self._samples: dict[tuple[int, bool], bytes] = {}
        self._playing = threading.Lock()

    def json(self) -> str:
        """All that a page needs besides the samples.

        Returns:
            An object like that of `tones.piano_json`, except that each of its
            `tones` has only a `pitch` and a `release`. `step` is the value of
            one step of the samples' integers. There is no `room`, because the
            samples have it.

        Raises:
            OSError: as `fluidsynth.play` does.
        """
        with self._playing:
            gains = self._gains
        content = {
            "name": f"FluidSynth with {self.soundfont.name}",
            "rate": SAMPLE_RATE,
            "step": 1 / (32767 * HEADROOM),
            "velocities": [
                [round(float(gain), 5), int(velocity >= BETWEEN)]
                for velocity, gain in enumerate(gains)
            ],
            "undamped": 128,
            "release": release_curve(),
            "tones": [
                {"pitch": pitch, "release": damping_seconds(pitch)}
                for pitch in PITCHES
            ],
        }
        return json.dumps(content, separators=(",", ":"))

    def samples(self, pitch: int, hard: bool) -> bytes:
        """One tone.

        Args:
            pitch: MIDI pitch, one of `PITCHES`.
            hard: whether it is struck hard.

        Returns:
            Integers of 16 bits, little-endian, left and right in turn.

        Raises:
            OSError: as `fluidsynth.play` does.
        """
        with self._playing:
            if (pitch, hard) not in self._samples:
                self._play_like(pitch, hard)
            return self._samples[pitch, hard]

    def _play_like(self, pitch: int, hard: bool) -> None:
        """Plays this pitch and others in one go.

        C in all octaves comes first on a page, and then the rest.
        """
        is_c = pitch % 12 == 0
        pitches = [p for p in PITCHES if (p % 12 == 0) == is_c]
        velocity = VELOCITIES[hard]
        scale = HEADROOM * self._level / self._gains[velocity]
        tones = self._play([(p, velocity, _held(p)) for p in pitches])
        for p, tone in zip(pitches, tones, strict=True):
            steps = np.rint(32767 * (scale * _until_faint(tone)).clip(-1, 1))
            self._samples[p, hard] = steps.astype("<i2").tobytes()

    @functools.cached_property
    def _loudness(self) -> npt.NDArray[np.float64]:
        """Root mean square of C4 at `MEASURED`."""
        tones = self._play([(C4, v, 2 * WINDOW) for v in MEASURED])
        return np.array([_loudness_of(tone) for tone in tones])

    @functools.cached_property
    def _gains(self) -> npt.NDArray[np.float64]:
        """Amplitude of velocities 0 to 127, 1 at the highest."""
        measured = np.maximum.accumulate(self._loudness)
        gains = np.interp(np.arange(128), [0, *MEASURED], [0, *measured])
        return gains / measured[-1]

    @functools.cached_property
    def _level(self) -> float:
        """What brings C4 to the level of the built-in piano's."""
        string = PianoString(C4, SAMPLE_RATE)
        built_in = string.tone(BRIGHTNESSES - 1, int(WINDOW * SAMPLE_RATE))
        return _loudness_of(built_in) / float(self._loudness[-1])

    def _play(
        self, strokes: list[tuple[int, int, float]]
    ) -> list[npt.NDArray[np.float32]]:
        """The sound of each stroke: pitch, velocity, seconds until its end."""
        notes = np.zeros(len(strokes), NOTE_DTYPE)
        notes["pitch"], notes["velocity"], held = np.array(strokes).T
        notes["start"] = np.cumsum([0, *held[:-1] + APART])
        notes["end"] = notes["start"] + held
        sound = fluidsynth.play(notes, self.soundfont, SAMPLE_RATE)
        spans = np.rint(
            np.stack([notes["start"], notes["end"]], 1) * SAMPLE_RATE
        )
        return [sound[start:end] for start, end in spans.astype(int)]


_piano_of = functools.lru_cache(maxsize=1)(SampledPiano)
_choosing = threading.Lock()  # two threads at once would make two pianos


def sampled_piano(soundfont: pathlib.Path) -> SampledPiano:
    """The `SampledPiano` of a SoundFont, the same one in all threads."""
    with _choosing:
        return _piano_of(soundfont)


def _held(pitch: int) -> float:
    along = (pitch - PITCHES[0]) / (PITCHES[-1] - PITCHES[0])
    return LONGEST + (SHORTEST - LONGEST) * along


def _loudness_of(tone: npt.NDArray[np.float32]) -> float:
    start = tone[: int(WINDOW * SAMPLE_RATE)].astype(np.float64)
    return float(np.sqrt((start**2).mean()))


def _until_faint(tone: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The part of a tone that can be heard, with its end faded out."""
    size = np.abs(tone).max(axis=1)
    heard = np.flatnonzero(size > FAINT * size.max())[-1] + 1
    tone = tone[:heard].copy()
    fade = min(int(FADE * SAMPLE_RATE), heard)
    tone[heard - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return tone
