"""The built-in piano: its strings, its room and its files."""

import os
import subprocess
import sys
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from performances import notes_of
from performances import random_notes
from sounds import RATE
from sounds import cents
from sounds import played
from sounds import read_wav
from sounds import rms
from sounds import spectrum

from keras_pianogen.midi.parts import MOVEMENT_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE
from keras_pianogen.rendering import room
from keras_pianogen.rendering import sympathetic
from keras_pianogen.rendering import synthesis
from keras_pianogen.rendering.dampers import Dampers
from keras_pianogen.rendering.piano_strings import PianoString
from keras_pianogen.rendering.piano_strings import frequency
from keras_pianogen.rendering.synthesis import render
from keras_pianogen.rendering.synthesis import synthesize

pytestmark = pytest.mark.one_backend

# The built-in piano.


@pytest.mark.parametrize("pitch", [45, 57, 69, 81, 93, 105])
def test_the_loudest_peak_near_a_pitch_is_on_it(pitch):
    hertz, magnitude = spectrum(synthesize(notes_of((0, 2, pitch, 80))))
    expected = frequency(pitch)
    near = np.abs(cents(np.maximum(hertz, 1), expected)) < 200
    found = hertz[near][magnitude[near].argmax()]
    assert abs(cents(found, expected)) < 3


def test_a4_is_its_strongest_partial_and_440_hertz():
    hertz, magnitude = spectrum(synthesize(notes_of((0, 2, 69, 80))))
    assert abs(cents(hertz[magnitude.argmax()], 440)) < 3


def test_partials_are_sharp_as_those_of_a_stiff_string():
    string = PianoString(60, RATE)
    sharp = cents(string.frequency, string.number * string.frequency[0])
    assert abs(sharp[0]) < 1e-9 and (np.diff(sharp) > 0).all()
    assert 10 < sharp[9] < 60  # cents, of a C4's tenth partial


@pytest.mark.parametrize("pitch", [24, 48, 60, 72, 96])
def test_a_higher_velocity_is_louder_and_brighter(pitch):
    levels, centroids = [], []
    for velocity in (10, 30, 50, 70, 90, 110, 127):
        sound = played((0, 2, pitch, velocity))
        hertz, magnitude = spectrum(sound, 0.06)
        levels.append(rms(sound, 0.05, 1))
        centroids.append((hertz * magnitude).sum() / magnitude.sum())
    assert (np.diff(levels) > 0).all()
    assert 20 < 20 * np.log10(levels[-1] / levels[0]) < 50
    assert (np.diff(centroids) > 0).all()


def test_a_loud_c4_has_several_times_the_share_above_1_khz_of_a_soft_one():
    shares = []
    for velocity in (20, 110):
        hertz, magnitude = spectrum(played((0, 2, 60, velocity)), 0)
        energy = magnitude**2
        shares.append(energy[hertz > 1000].sum() / energy.sum())
    assert 0.01 < 3 * shares[0] < shares[1] < 0.3


def test_every_velocity_is_louder_than_the_one_below():
    gain = synthesis.gain_of(np.arange(1, 128, dtype=np.uint8))
    assert (np.diff(gain) > 0).all() and gain[-1] == pytest.approx(1)
    assert 20 * np.log10(gain[0]) == pytest.approx(-50, abs=0.01)


@pytest.mark.parametrize("pitch", [21, 45, 69, 93, 108])
def test_a_held_key_decays_without_end_or_growth(pitch):
    sound = played((0, 6, pitch, 80))
    levels = [rms(sound, t, t + 0.5) for t in (0.1, 1, 2, 4)]
    assert (np.diff(levels) < 0).all()


def test_a_high_key_decays_faster_than_a_low_one():
    kept = []
    for pitch in range(21, 109, 12):
        sound = played((0, 6, pitch, 80))
        kept.append(rms(sound, 2, 2.5) / rms(sound, 0.1, 0.6))
    assert (np.diff(kept) < 0).all() and kept[-1] < 0.01 < 0.2 < kept[0]


@pytest.mark.parametrize("pitch", [21, 60, 89])
def test_a_key_let_go_falls_silent(pitch):
    held, released = played((0, 3, pitch, 90)), played((0, 0.5, pitch, 90))
    same = slice(RATE // 2)
    np.testing.assert_allclose(held[same], released[same], atol=1e-6)
    assert rms(released, 1.1, 1.2) < 0.1 * rms(released, 0.3, 0.5)
    assert rms(released, 1.5, 1.6) < 0.03 * rms(released, 0.3, 0.5)
    # The room's response ends too, so that the rest is exactly 0.
    assert len(released) < 2.2 * RATE


def moves_of(*rows):
    return np.array([(time, 64, value) for time, value in rows], MOVEMENT_DTYPE)


def test_a_half_pedal_damps_more_slowly_and_a_whole_one_not(monkeypatch):
    def released(value):
        moves = moves_of((0, value), (3, 0))
        return synthesis._play(notes_of((0, 1, 48, 90)), RATE, None, moves)

    monkeypatch.setattr(room, "add_room", lambda *_: None)
    at_once, half, most, free = map(released, (0, 32, 56, 64))
    plain, held = played((0, 1, 48, 90)), played((0, 3, 48, 90))
    np.testing.assert_allclose(at_once[: len(plain)], plain, atol=1e-5)
    first = slice(3 * RATE)
    np.testing.assert_allclose(free[first], held[first], atol=1e-6)
    rests = [rms(sound, 1.15, 1.2) for sound in (at_once, half, most, free)]
    least = len(PianoString(48, RATE).release) / RATE
    ways = np.outer([1, 1 / 2, 1 / 8, 0], np.linspace(0.15, 0.2)) / least
    gains = np.exp(-6 * ways) * (1 - ways)
    expected = np.sqrt((gains**2).mean(axis=1))
    assert np.divide(rests, rests[-1]) == pytest.approx(expected, rel=0.05)


def test_half_of_the_pressure_takes_twice_as_long():
    def way(end, *rows):
        return Dampers(moves_of(*rows)).way(end, 0.2)

    assert way(1) == [(0, 0), (0.2, 1)]
    assert way(1, (0, 32)) == [(0, 0), (0.4, 1)]
    assert way(1, (0, 48)) == [(0, 0), (0.8, 1)]
    # Pressed again half-way, and let go at last.
    assert np.allclose(
        way(1, (1.1, 127), (2, 0)), [(0, 0), (0.1, 0.5), (1, 0.5), (1.1, 1)]
    )
    # Under a pedal that stays down, the damper comes all the same, but late.
    assert np.allclose(
        way(1, (1.1, 127)), [(0, 0), (0.1, 0.5), (2.8, 0.5), (3, 1)]
    )
    # All-sound-off lowers it under any pedal. Moves may come in any order.
    off = np.array([(1.5, 120, 0), (0, 64, 127)], MOVEMENT_DTYPE)
    assert Dampers(off).way(1.5, 0.2) == [(0, 0), (0.2, 1)]
    assert np.allclose(Dampers(off).way(1, 0.2), [(0, 0), (0.5, 0), (0.7, 1)])
    # A pedal that moves where the note ends counts as moved.
    assert way(1, (0, 127), (1.0004, 0)) == [(0, 0), (0.2, 1)]


def test_a_key_that_is_struck_again_stops_its_string_under_any_pedal():
    notes = notes_of((0, 1, 48, 90), (1, 2, 48, 1))
    plain, pedalled = (
        synthesis._play(notes, RATE, None, moves)
        for moves in (None, moves_of((0, 60)))
    )
    np.testing.assert_allclose(
        plain[: 2 * RATE], pedalled[: 2 * RATE], atol=1e-6
    )


def test_a_pedal_s_movements_govern_the_notes_that_are_said():
    notes = notes_of((1, 2, 48, 90), (0, 0.5, 60, 90))
    moves, plain = moves_of((0, 60)), synthesize(notes)
    pedalled = synthesize(notes, moves=moves, pedalled=[False, True])
    one = synthesize(notes[::-1], moves=moves, pedalled=[True, False])
    np.testing.assert_array_equal(pedalled, one)
    neither = synthesize(notes, moves=moves, pedalled=[False, False])
    np.testing.assert_array_equal(neither, plain)
    assert rms(pedalled, 0.8, 0.9) > 3 * rms(plain, 0.8, 0.9)
    with pytest.raises(ValueError, match="`pedalled` must .* 2 notes"):
        synthesize(notes, moves=moves, pedalled=[True])


@pytest.mark.parametrize("pitch", [90, 108])
def test_the_highest_keys_have_no_dampers(pitch):
    held, released = played((0, 3, pitch, 90)), played((0, 0.5, pitch, 90))
    np.testing.assert_allclose(held, released, atol=1e-6)


def test_strings_sound_along_while_the_pedal_is_down():
    notes = notes_of((0, 0.5, 60, 90), (3, 3.1, 60, 1))
    dry = synthesis._play(notes, RATE)
    wet = synthesis._play(notes, RATE, np.array([(0, 2)], PEDAL_DTYPE))
    along = wet - dry
    assert rms(along, 1.9, 2) > 10 * rms(dry, 1.9, 2)
    assert rms(along, 1.9, 2) < 0.1 * rms(dry, 0.1, 0.5)
    assert rms(along, 2.8, 2.9) < 0.1 * rms(along, 1.9, 2)
    # They sing with what was played: a C is answered, not a C sharp.
    hertz, answer = spectrum(along, 1, 2)
    played, beside = (answer[np.abs(hertz - f) < 3].max() for f in (523, 554))
    assert played > 3 * beside


def test_strings_answer_a_long_pedal_as_one_convolution(monkeypatch):
    sound = np.random.default_rng(0).normal(size=(8_000, 2)).astype("f4")
    sounds = [sound.copy(), sound.copy()]
    pedal = np.array([(0.1, 0.6)], PEDAL_DTYPE)
    for seconds, made in zip((10.0, 0.13), sounds):
        monkeypatch.setattr(sympathetic, "CHUNK", seconds)
        sympathetic.add_strings(made, pedal, 8_000)
    np.testing.assert_allclose(*sounds, atol=1e-4)
    assert np.abs(sounds[0] - sound).max() > 0.01
    assert (sounds[0][:800] == sound[:800]).all()


def test_a_key_let_go_makes_no_click():
    string = PianoString(60, RATE)
    assert 0.98 < string.release[0, 0] <= 1 and string.release[-1, 0] == 0
    assert np.abs(np.diff(string.release[:, 0])).max() < 0.01


def test_nothing_sounds_before_the_first_note():
    sound = synthesize(notes_of((0.75, 1, 60, 100)))
    assert np.abs(sound[: int(0.75 * RATE)]).max() < 1e-7
    assert rms(sound, 0.75, 0.8) > 0.01


def test_notes_begin_where_they_are_written():
    starts = [0.0, 0.51, 1.03, 1.504]
    sound = played(*((start, start + 0.02, 72, 100) for start in starts))
    for start in starts[1:]:
        before, after = (
            rms(sound, start - 0.01, start),
            rms(sound, start + 0.002, start + 0.012),
        )
        assert after > 5 * before


def test_notes_add_up():
    first, second = (0.0, 0.4, 60, 80), (0.2, 0.9, 67, 50)
    both = played(first, second)
    alone = np.zeros_like(both)
    for note in (first, second):
        sound = played(note)
        alone[: len(sound)] += sound
    np.testing.assert_allclose(both, alone, atol=1e-5)


def test_a_tone_is_the_sum_of_its_partials_written_out():
    string = PianoString(52, RATE, 3000)
    tone = string.tone(9, 3000)
    time = np.arange(3000) / RATE
    slow = string.amplitudes(9) @ np.exp(string.waves[:, None] * time)
    knock = string.knock_amplitudes @ np.exp(string.knock_waves[:, None] * time)
    slow = (slow + string.knock_gain(9) * knock).real.T
    ramp = RATE // 100
    np.testing.assert_allclose(tone[ramp:], slow[ramp:], atol=2e-5)


def test_low_keys_stand_left_and_high_keys_right():
    low, high = (synthesize(notes_of((0, 1, p, 80))) for p in (30, 100))
    for sound, louder in ((low, 0), (high, 1)):
        assert sound.std(axis=0).argmax() == louder
        assert sound.std(axis=0).min() > 0.3 * sound.std(axis=0).max()


def test_the_same_notes_in_any_order_give_the_same_sound():
    notes = random_notes(60, 5)
    before = notes.copy()
    sound = synthesize(notes)
    np.testing.assert_array_equal(sound, synthesize(notes[::-1]))
    assert (notes == before).all()
    assert sound.dtype == np.float32 and sound.shape[1] == 2


def test_the_pitch_is_the_same_at_another_sample_rate():
    sound = synthesize(notes_of((0, 2, 69, 80)), 16_000)
    part = sound[1600:17600].mean(axis=1)
    magnitude = np.abs(np.fft.rfft(part * np.hanning(16_000), 256_000))
    near = slice(16 * 392, 16 * 494)  # within two semitones
    assert abs(cents(magnitude[near].argmax() / 16 + 392, 440)) < 3


def test_what_a_sample_rate_cannot_hold_is_silent():
    assert not synthesize(notes_of((0, 1, 127, 80)), 8_000).any()


@given(
    st.lists(
        st.tuples(
            st.floats(0, 2),
            st.floats(0, 2),
            st.integers(0, 127),
            st.integers(1, 127),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=25, deadline=None)
def test_any_notes_give_finite_sound_below_full_scale(rows):
    notes = notes_of(*((start, start + d, p, v) for start, d, p, v in rows))
    sound = synthesize(notes, 32_000)  # which holds every pitch
    assert np.isfinite(sound).all() and 0 < np.abs(sound).max() < 0.9
    assert len(sound) > notes["end"].max() * 32_000


def test_a_note_of_no_length_is_heard():
    sound = played((0.2, 0.2, 60, 100))
    assert rms(sound, 0.2, 0.25) > 0.001


def test_a_note_held_for_minutes_dies_away():
    sound = played((0, 120, 60, 100))
    assert 120 * RATE < len(sound) < 123 * RATE
    assert (sound[60 * RATE :] == 0).all() or rms(sound, 60, 120) < 1e-6


# The room.


def test_the_room_is_a_convolution(monkeypatch):
    rng = np.random.default_rng(0)
    sound = rng.normal(size=(30_000, 2)).astype(np.float32)
    response = room.impulse_response(8_000)
    slow = [
        np.convolve(channel, wall)[: len(sound)] + channel
        for channel, wall in zip(sound.T, response, strict=True)
    ]
    monkeypatch.setattr(room, "TRANSFORM", 2**14)
    room.add_room(sound, 8_000)
    np.testing.assert_allclose(sound.T, slow, atol=1e-4)


def test_the_room_dies_away():
    response = room.impulse_response(RATE)
    loud, faint = response[:, : RATE // 5], response[:, RATE:]
    assert np.abs(faint).max() < 0.01 * np.abs(loud).max()


# Files.


@pytest.mark.parametrize("rate", [22_050, 44_100])
def test_a_file_is_stereo_of_16_bits_and_what_was_played(tmp_path, rate):
    notes = random_notes(30, 4)
    path = tmp_path / "piece.wav"
    player = render(notes, path, soundfont="built-in", sample_rate=rate)
    assert player == "the built-in piano"
    params, samples = read_wav(path)
    assert (params.nchannels, params.sampwidth) == (2, 2)
    assert params.framerate == rate
    np.testing.assert_allclose(samples, synthesize(notes, rate), atol=1e-4)
    assert path.stat().st_size == 44 + 4 * len(samples)


def test_the_same_notes_give_the_same_file(tmp_path):
    notes = random_notes(30, 3)
    for name in ("a.wav", "b.WAV"):
        render(notes, tmp_path / name, soundfont="built-in")
    one, other = tmp_path / "a.wav", tmp_path / "b.WAV"
    assert one.read_bytes() == other.read_bytes()


def test_a_file_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "piece.wav"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(wave.Wave_write, "writeframesraw", fail)
    with pytest.raises(OSError, match="disk full"):
        render(random_notes(5, 2), path, soundfont="built-in")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["piece.wav"]


def test_sound_starts_no_backend():
    code = (
        "import sys, keras_pianogen.rendering.synthesis;"
        "print([m for m in ('keras', 'torch', 'jax', 'tensorflow', 'scipy', "
        "'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


# What is refused.


@pytest.mark.parametrize("play", [synthesize, lambda n: render(n, "x.wav")])
def test_no_notes_are_refused(play):
    with pytest.raises(ValueError, match="Received: 0 notes"):
        play(notes_of())


def test_what_is_not_notes_is_refused():
    with pytest.raises(ValueError, match="`notes` must be a one-dim"):
        synthesize(np.zeros(3))


def test_notes_beyond_two_hours_are_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match="end by 7,200 s.*1,000,000,000"):
        synthesize(notes_of((0, 1e9, 60, 64)))


@pytest.mark.parametrize("rate", [0, -1, 7_999, 96_001, 44_100.5, float("nan")])
def test_a_sample_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="`sample_rate` must be .*Received"):
        synthesize(notes_of((0, 1, 60, 64)), rate)


@pytest.mark.parametrize("name", ["piece.mp3", "piece", "wav"])
def test_another_format_than_wav_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="`path` must end in .wav"):
        render(random_notes(5, 2), tmp_path / name)
    assert not os.listdir(tmp_path)
