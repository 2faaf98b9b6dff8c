"""FluidSynth in place of the built-in piano, and what is said without it."""

import os

import numpy as np
import pytest
from performances import notes_of
from sounds import RATE
from sounds import cents
from sounds import read_wav
from sounds import spectrum

from keras_pianogen.rendering import fluidsynth
from keras_pianogen.rendering import loudness
from keras_pianogen.rendering.synthesis import render

pytestmark = pytest.mark.one_backend

# FluidSynth. A script stands for the program where its failures are tested.

FIND_FILE = 'while [ "$1" != -F ]; do shift; done; '


WRITE_NOISE = FIND_FILE + 'head -c 80000 "$0" | tr -c a b > "$2"; '


FAILURES = {
    "says nothing and fails": "exit 3",
    "says why and fails": "echo 'fluidsynth: error: no memory' >&2; exit 1",
    "says why and succeeds": WRITE_NOISE
    + "echo 'Failed to load the SoundFont a.sf2' >&2",
    "makes nothing": "exit 0",
    "makes silence": FIND_FILE + 'head -c 80000 /dev/zero > "$2"',
    "does not end": "exec sleep 60",
}


@pytest.fixture
def soundfont(tmp_path):
    """The first bytes of a SoundFont, enough for a script."""
    path = tmp_path / "-piano.sf2"  # A name that looks like an option.
    path.write_bytes(b"RIFF\0\0\0\0sfbk" + bytes(100))
    return path


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Puts a script `fluidsynth` first on the path."""

    def script(code):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "fluidsynth"
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return script


@pytest.mark.parametrize("failure", FAILURES)
def test_a_fluidsynth_that_fails_is_an_error_and_leaves_the_old_file(
    failure, soundfont, script, tmp_path, monkeypatch
):
    script(FAILURES[failure])
    monkeypatch.setattr(fluidsynth, "MIN_SECONDS", 0.5)
    path = tmp_path / "piece.wav"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="`fluidsynth` must .*"):
        render(notes_of((0, 0.1, 60, 64)), path, soundfont=soundfont)
    assert path.read_bytes() == b"old"


def test_what_fluidsynth_plays_is_levelled_and_cut_to_what_is_heard(
    soundfont, script, tmp_path
):
    samples = np.zeros((3 * RATE, 2), "<f4")
    samples[:RATE] = 0.001 * np.random.default_rng(0).normal(size=(RATE, 2))
    (tmp_path / "played").write_bytes(samples.tobytes())
    code = FIND_FILE
    code += "echo 'fluidsynth: warning: Failed to pin data to RAM' >&2; "
    script(code + f'cp "{tmp_path}/played" "$2"')
    path = tmp_path / "piece.wav"
    player = render(notes_of((0, 0.5, 60, 64)), path, soundfont=soundfont)
    assert player == "FluidSynth with -piano.sf2"
    _, samples = read_wav(path)
    assert len(samples) == RATE
    found = loudness.integrated_loudness(samples, RATE)
    assert abs(found - loudness.TARGET) < 0.5


def test_a_soundfont_that_is_not_there_is_named(tmp_path, script):
    script("exit 0")
    path = tmp_path / "none.sf2"
    with pytest.raises(FileNotFoundError, match="none.sf2"):
        render(notes_of((0, 1, 60, 64)), tmp_path / "x.wav", soundfont=path)


def test_a_soundfont_that_is_none_is_named(tmp_path, script):
    script("exit 0")
    path = tmp_path / "none.sf2"
    path.write_bytes(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(ValueError, match="`soundfont` must be .*none.sf2"):
        render(notes_of((0, 1, 60, 64)), tmp_path / "x.wav", soundfont=path)


def test_a_soundfont_needs_the_program(tmp_path, soundfont, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for asked in (soundfont, None):
        monkeypatch.setenv("PIANOGEN_SOUNDFONT", str(soundfont))
        with pytest.raises(OSError, match="`fluidsynth` must be installed"):
            render(
                notes_of((0, 1, 60, 64)), tmp_path / "x.wav", soundfont=asked
            )


def test_without_the_program_the_built_in_piano_plays(tmp_path, monkeypatch):
    monkeypatch.delenv("PIANOGEN_SOUNDFONT", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    notes = notes_of((0, 0.2, 60, 64))
    assert render(notes, tmp_path / "x.wav") == "the built-in piano"


def test_without_a_soundfont_the_built_in_piano_plays(
    tmp_path, monkeypatch, script
):
    monkeypatch.delenv("PIANOGEN_SOUNDFONT", raising=False)
    monkeypatch.setattr(fluidsynth, "FOLDERS", (str(tmp_path),))
    script("exit 1")
    notes = notes_of((0, 0.2, 60, 64))
    assert render(notes, tmp_path / "x.wav") == "the built-in piano"


def test_the_argument_chooses_then_the_environment_then_the_folders(
    tmp_path, monkeypatch, script, soundfont
):
    script("exit 1")
    choose = fluidsynth.choose_soundfont
    monkeypatch.delenv("PIANOGEN_SOUNDFONT", raising=False)
    monkeypatch.setattr(fluidsynth, "FOLDERS", (str(tmp_path),))
    (tmp_path / "TimGM6mb.sf2").touch()
    assert choose() == tmp_path / "TimGM6mb.sf2"
    (tmp_path / "FluidR3_GM.sf2").touch()
    assert choose() == tmp_path / "FluidR3_GM.sf2"
    monkeypatch.setenv("PIANOGEN_SOUNDFONT", str(soundfont))
    assert choose() == soundfont
    assert choose("built-in") is None
    monkeypatch.setenv("PIANOGEN_SOUNDFONT", "built-in")
    assert choose() is None
    assert choose(soundfont) == soundfont


# The real program, where it is installed.


@pytest.fixture
def real_soundfont(monkeypatch):
    monkeypatch.delenv("PIANOGEN_SOUNDFONT", raising=False)
    found = fluidsynth.choose_soundfont()
    if found is None:
        pytest.skip("needs FluidSynth and a SoundFont")
    return found


def test_the_real_fluidsynth_plays_the_pitch_at_the_loudness(
    real_soundfont, tmp_path
):
    path = tmp_path / "piece.wav"
    notes = notes_of(*((i, i + 1, 69, 30 + 30 * i) for i in range(3)))
    assert render(notes, path) == f"FluidSynth with {real_soundfont.name}"
    params, samples = read_wav(path)
    assert (params.nchannels, params.sampwidth, params.framerate) == (
        2,
        2,
        RATE,
    )
    assert 3 * RATE < len(samples) < 6 * RATE
    assert np.abs(samples).max() < 10 ** (-0.9 / 20)
    found = loudness.integrated_loudness(samples, RATE)
    assert abs(found - loudness.TARGET) < 0.5
    hertz, magnitude = spectrum(samples, 0.1, 0.9)
    assert abs(cents(hertz[magnitude.argmax()], 440)) < 10


def test_the_real_fluidsynth_says_what_is_wrong_with_a_soundfont(
    real_soundfont, soundfont, tmp_path
):
    with pytest.raises(OSError, match="`fluidsynth` must play the notes.*"):
        render(
            notes_of((0, 1, 60, 64)), tmp_path / "x.wav", soundfont=soundfont
        )
    assert not (tmp_path / "x.wav").exists()
