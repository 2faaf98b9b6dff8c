"""The studio's piano sounds as the built-in piano of `render`."""

import numpy as np
import pytest
from page_piano import play_in_page
from performances import notes_of

from keras_pianogen.rendering.piano_strings import PianoString
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
