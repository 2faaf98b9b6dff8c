"""Loudness after ITU-R BS.1770, and the limiter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from performances import notes_of
from performances import random_notes
from sounds import PIECE
from sounds import RATE
from sounds import read_wav

from keras_pianogen.midi.reading import read_notes
from keras_pianogen.rendering import loudness
from keras_pianogen.rendering.synthesis import render
from keras_pianogen.rendering.synthesis import synthesize

pytestmark = pytest.mark.one_backend

# Loudness.


def filtered(signal, coefficients):
    """A second-order filter, sample by sample."""
    (b0, b1, b2), (_, a1, a2) = coefficients
    result = np.zeros_like(signal)
    for i in range(len(signal)):
        result[i] = b0 * signal[i]
        if i > 0:
            result[i] += b1 * signal[i - 1] - a1 * result[i - 1]
        if i > 1:
            result[i] += b2 * signal[i - 2] - a2 * result[i - 2]
    return result


def slow_loudness(sound, rate):
    """ITU-R BS.1770-4 as it is written, at 48 kHz alone."""
    sound = sound.astype(float)
    heard = filtered(filtered(sound, loudness.SHELF), loudness.HIGH_PASS)
    size, hop = 4 * rate // 10, rate // 10
    starts = range(0, len(sound) - size + 1, hop)
    z = [(heard[i : i + size] ** 2).mean(axis=0).sum() for i in starts]
    z = np.array(z)
    levels = -0.691 + 10 * np.log10(z)
    gate = -0.691 + 10 * np.log10(z[levels > -70].mean()) - 10
    return -0.691 + 10 * np.log10(z[(levels > -70) & (levels > gate)].mean())


def test_loudness_is_that_of_a_slow_twin():
    notes = read_notes(PIECE)
    sound = synthesize(notes[notes["end"] < 4], 48_000)
    sound = sound[: len(sound) // 4800 * 4800]
    measured = loudness.integrated_loudness(sound, 48_000)
    assert abs(measured - slow_loudness(sound, 48_000)) < 0.1


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_a_sine_of_997_hertz_has_the_loudness_that_bs_1770_gives_it(rate):
    sine = np.sin(2 * np.pi * 997 * np.arange(3 * rate) / rate)[:, None]
    found = loudness.integrated_loudness(sine.astype(np.float32), rate)
    assert found == pytest.approx(-3.01, abs=0.05)
    both = loudness.integrated_loudness(np.repeat(sine, 2, axis=1), rate)
    assert both == pytest.approx(0, abs=0.05)


def test_silence_between_notes_does_not_count():
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.normal(size=(2 * RATE, 2))).astype(np.float32)
    gap = np.concatenate([noise, np.zeros((20 * RATE, 2), np.float32)])
    found = loudness.integrated_loudness(gap, RATE)
    expected = loudness.integrated_loudness(noise, RATE)
    assert abs(found - expected) < 0.6
    assert loudness.integrated_loudness(gap[2 * RATE :], RATE) == -np.inf


@pytest.mark.parametrize("velocities", [(1, 12), (30, 50), (100, 127)])
def test_pieces_of_any_velocity_are_equally_loud(velocities):
    notes = random_notes(150, 15)
    low, high = velocities
    notes["velocity"] = low + notes["velocity"] * (high - low) // 127
    found = loudness.integrated_loudness(synthesize(notes), RATE)
    assert abs(found - loudness.TARGET) < 0.5


def test_a_real_piece_soft_or_loud_is_equally_loud():
    notes = read_notes(PIECE)
    notes = notes[notes["end"] < 20]
    for shift in (-40, 0, 30):
        moved = notes.copy()
        velocity = notes["velocity"].astype(int) + shift
        moved["velocity"] = np.clip(velocity, 1, 127)
        sound = synthesize(moved)
        found = loudness.integrated_loudness(sound, RATE)
        assert abs(found - loudness.TARGET) < 0.5
        assert np.abs(sound).max() <= loudness.CEILING * 1.0001


def test_a_hundred_loudest_notes_at_once_do_not_clip(tmp_path):
    notes = notes_of(*((1, 3, pitch, 127) for pitch in range(14, 114)))
    sound = synthesize(notes)
    assert len(notes) == 100
    assert 0.5 < np.abs(sound).max() <= loudness.CEILING * 1.0001
    render(notes, tmp_path / "loud.wav", soundfont="built-in")
    _, samples = read_wav(tmp_path / "loud.wav")
    assert np.abs(samples).max() < 10 ** (-0.9 / 20)


@given(
    st.lists(st.floats(0, 50), min_size=1, max_size=40),
    st.integers(1, 9000),
)
@settings(max_examples=50, deadline=None)
def test_the_limiter_holds_any_peaks(peaks, length):
    rng = np.random.default_rng(length)
    sound = rng.uniform(-0.5, 0.5, (length, 2)).astype(np.float32)
    sound[rng.integers(0, length, len(peaks)), 0] = peaks
    quiet = np.abs(sound).max() <= loudness.CEILING
    before = sound.copy()
    loudness.limit(sound)
    assert np.abs(sound).max() <= loudness.CEILING * (1 + 1e-6)
    if quiet:
        np.testing.assert_array_equal(sound, before)
    assert (np.abs(sound) <= np.abs(before)).all()


def test_the_limiter_leaves_alone_what_is_far_from_a_peak():
    sound = np.full((3 * RATE, 2), 0.1, np.float32)
    sound[RATE] = 3
    loudness.limit(sound)
    assert (sound[: RATE // 2] == np.float32(0.1)).all()
    assert (sound[2 * RATE :] == np.float32(0.1)).all()
    gain = np.delete(sound[:, 0], RATE) / 0.1
    assert np.abs(np.diff(gain)).max() < 0.001
