"""The studio's piano sounds as the piano of `render`."""

import json
import pathlib

import numpy as np
import pytest
from page_piano import play_in_page
from performances import notes_of

from keras_pianogen.midi.parts import MOVEMENT_DTYPE
from keras_pianogen.rendering import fluidsynth
from keras_pianogen.rendering.dampers import Dampers
from keras_pianogen.rendering.dampers import damping_seconds
from keras_pianogen.rendering.dampers import release_along
from keras_pianogen.rendering.piano_strings import PianoString
from keras_pianogen.rendering.piano_strings import frequency
from keras_pianogen.rendering.sampled_tones import SampledPiano
from keras_pianogen.rendering.synthesis import brightness_of
from keras_pianogen.rendering.synthesis import gain_of

pytestmark = pytest.mark.one_backend

RATE = 24_000  # that of the page's tones, so that none is resampled


@pytest.mark.parametrize(
    ("velocity", "most"), [(13, 1e-4), (64, 0.02), (108, 1e-4)]
)
def test_a_note_of_the_page_is_the_model_s_tone(browser, velocity, most):
    notes = notes_of((0, 3, 60, velocity))
    sound, _ = play_in_page(browser, notes, 4, RATE, dry=True)
    [brightness] = brightness_of(notes["velocity"])
    string = PianoString(60, RATE)
    tone = string.tone(int(brightness), 3 * RATE) * gain_of(notes["velocity"])
    held, after = np.split(sound, [3 * RATE])
    scale = (held * tone).sum() / (tone * tone).sum()
    assert ((held - scale * tone) ** 2).sum() < most * (held**2).sum()
    # It is damped as the model's, too.
    release = (
        string.release
        * string.tone(int(brightness), 3 * RATE + len(string.release))[
            3 * RATE :
        ]
    )
    expected = scale * gain_of(notes["velocity"]) * release
    rest = after[: len(expected)]
    assert ((rest - expected) ** 2).sum() < (most + 0.01) * (rest**2).sum()
    assert not after[len(expected) + 100 :].any()


@pytest.mark.parametrize(
    "rows",
    [
        [(0, 64, 40), (1.1, 64, 100), (1.3, 64, 20)],
        [(0, 64, 127), (1, 120, 0)],
        [(0, 64, 60), (1.4, 120, 0)],
    ],
)
def test_the_page_damps_under_a_pedal_as_the_model_does(browser, rows):
    notes = notes_of((0, 1, 60, 108))
    sound, _ = play_in_page(browser, notes, 3, RATE, dry=True, moves=rows)
    string = PianoString(60, RATE)
    dampers = Dampers(np.array(rows, MOVEMENT_DTYPE))
    release = release_along(dampers.way(1.0, damping_seconds(60)), RATE)
    tone = string.tone(13, RATE + len(release))
    held, after = np.split(sound, [RATE])
    scale = (held * tone[:RATE]).sum() / (tone[:RATE] ** 2).sum()
    expected = scale * release * tone[RATE:]
    rest = after[: len(expected)]
    assert ((rest - expected) ** 2).sum() < 0.01 * (rest**2).sum()
    assert not after[len(expected) + 100 :].any()


def test_the_highest_keys_of_the_page_have_no_dampers(browser):
    notes = notes_of((0, 0.2, 89, 80), (2, 2.2, 90, 80))
    sound, _ = play_in_page(browser, notes, 4, RATE, dry=True)
    energy = (sound.astype(float) ** 2).reshape(4, RATE, 2).sum(axis=(1, 2))
    assert energy[1] < 1e-6 * energy[0] and energy[3] > 1e-3 * energy[2]


def test_a_note_sounds_before_its_tone_is_computed(browser):
    notes = notes_of((0, 1, 60, 80))
    sound, _ = play_in_page(browser, notes, 2, RATE, dry=True, wait=False)
    energy = (sound.astype(float) ** 2).reshape(2, RATE, 2).sum(axis=(1, 2))
    assert energy[0] > 100 * energy[1] > 0


@pytest.fixture
def sampled(monkeypatch):
    """A SoundFont of sines, whose amplitude is the velocity's square."""

    def play(notes, soundfont, rate):
        sampled.calls += 1
        sound = np.zeros((int(notes["end"].max() * rate) + rate, 2), "f4")
        for start, end, pitch, velocity in notes.tolist():
            time = np.arange(int((end - start) * rate)) / rate
            wave = np.sin(2 * np.pi * frequency(pitch) * time)
            wave *= 1e-2 * velocity**2 / 127**2 * np.exp(-3 * time)
            first = round(start * rate)
            sound[first : first + len(wave)] += wave[:, None]
        return sound

    monkeypatch.setattr(fluidsynth, "play", play)
    sampled = SampledPiano(pathlib.Path("/fonts/sines.sf2"))
    sampled.calls = 0
    return sampled


def built_in_level(seconds):
    """Root mean square of the built-in piano's hardest C4."""
    tone = PianoString(60, RATE).tone(15, int(seconds * RATE))
    return np.sqrt((tone.astype(float) ** 2).mean())


def test_samples_of_a_soundfont_have_one_level_and_end_where_they_are_faint(
    sampled,
):
    content = json.loads(sampled.json())
    assert content["name"] == "FluidSynth with sines.sf2"
    gains, hard = np.array(content["velocities"]).T
    squares = np.arange(128) ** 2 / 127**2
    assert gains == pytest.approx(squares, abs=0.001)
    assert hard.tolist() == 80 * [0] + 48 * [1]
    for pitch, is_hard in ((60, True), (60, False), (36, True), (63, True)):
        steps = np.frombuffer(sampled.samples(pitch, is_hard), "<i2")
        tone = steps.reshape(-1, 2) * content["step"]
        level = np.sqrt((tone[: int(0.3 * RATE)] ** 2).mean())
        assert level == pytest.approx(built_in_level(0.3), rel=0.02)
        # It has fallen by 55 dB then.
        assert len(tone) / RATE == pytest.approx(np.log(10) * 55 / 60, abs=0.05)
    # One for the velocities, one each for C hard, C soft, and the others hard.
    assert sampled.calls == 4


def test_the_page_plays_a_soundfont_s_samples(browser, sampled):
    notes = notes_of((0, 1, 61, 64))
    sound, _ = play_in_page(browser, notes, 2, RATE, dry=True, sampled=sampled)
    held, after = np.split(sound, [RATE])
    spectrum = np.abs(np.fft.rfft(held[:, 0] * np.hanning(RATE)))
    assert spectrum.argmax() == pytest.approx(frequency(61), abs=1)
    level = np.sqrt((held[: int(0.3 * RATE)].astype(float) ** 2).mean())
    # The page plays everything by this factor, so that a piece isn't too loud.
    expected = 0.3 * built_in_level(0.3) * 64**2 / 127**2
    assert level == pytest.approx(expected, rel=0.03)
    assert not after[int(0.5 * RATE) :].any()  # It is damped.
