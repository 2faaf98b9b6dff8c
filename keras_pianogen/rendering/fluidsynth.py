"""Notes played by FluidSynth with a SoundFont, where both are installed.

FluidSynth is a program of its own, `fluidsynth`, and a SoundFont a file of
recorded instruments, .sf2 or .sf3. Both are found, never downloaded. Debian's
packages are `fluidsynth` and `fluid-soundfont-gm` or `timgm6mb-soundfont`.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import numpy.typing as npt

from keras_pianogen.midi.writing import write_midi

PROGRAM = "fluidsynth"
BUILT_IN = "built-in"  # where a SoundFont may be named: none, play it here
SOUNDFONT_VARIABLE = "PIANOGEN_SOUNDFONT"
FOLDERS = (  # of Debian, Fedora, Arch, and Homebrew
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)
# General MIDI, whose first program is a piano; the best piano first.
SOUNDFONTS = (
    "FluidR3_GM.sf2",
    "MuseScore_General.sf3",
    "FluidR3Mono_GM.sf3",
    "default-GM.sf2",
    "default-GM.sf3",
    "default.sf2",
    "TimGM6mb.sf2",
)
GAIN = 0.2  # FluidSynth's own default: sound is levelled afterwards
MIN_SECONDS = 60.0  # that FluidSynth may take, and so long as the music lasts
# In what it says: it fell back on another SoundFont, or didn't play at all.
SIGNS = (
    f"{PROGRAM}: error",
    f"{PROGRAM}: panic",
    "Failed to load",
    "not a SoundFont",
)
SILENT = 1e-6  # of full scale; the dither of FluidSynth's reverb is below


def choose_soundfont(
    asked: str | os.PathLike[str] | None = None,
) -> pathlib.Path | None:
    """The SoundFont to play with, checked; None for the built-in piano.

    One that somebody named, by argument or environment, is taken, so that an
    error says what is wrong with it; one that was merely found needs the
    program to be there.

    Args:
        asked: A SoundFont's path, or `"built-in"`. Defaults to what the
            environment's `PIANOGEN_SOUNDFONT` says, or else an installed one.

    Returns:
        Its path, or None.

    Raises:
        ValueError: The file is no SoundFont.
        OSError: It can't be read, or there is no `fluidsynth`.
    """
    asked = asked or os.environ.get(SOUNDFONT_VARIABLE)
    if not asked:
        return _installed_soundfont() if shutil.which(PROGRAM) else None
    if os.fspath(asked) == BUILT_IN:
        return None
    path = pathlib.Path(asked).absolute()
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
        raise ValueError(
            f"`soundfont` must be a SoundFont, .sf2 or .sf3. Received: {path}"
        )
    if shutil.which(PROGRAM) is None:
        raise FileNotFoundError(
            f"`{PROGRAM}` must be installed to play a SoundFont. Found none "
            f"on the path. Received: {path}"
        )
    return path


def _installed_soundfont() -> pathlib.Path | None:
    """The first of `SOUNDFONTS` that is in one of `FOLDERS`."""
    places = (
        pathlib.Path(folder, name) for name in SOUNDFONTS for folder in FOLDERS
    )
    return next((place for place in places if place.is_file()), None)


def play(
    notes: np.ndarray, soundfont: pathlib.Path, sample_rate: int
) -> npt.NDArray[np.float32]:
    """Plays notes on the SoundFont's first program, a piano.

    Args:
        notes: A performance, as `read_notes` returns.
        soundfont: A path from `choose_soundfont`.
        sample_rate: Samples a second, 8,000 to 96,000.

    Returns:
        Sound, (samples, 2), of any loudness.

    Raises:
        OSError: `fluidsynth` fails, is silent or takes too long.
    """
    seconds = MIN_SECONDS + float(notes["end"].max(initial=0))
    with tempfile.TemporaryDirectory() as folder:
        midi, raw = pathlib.Path(folder, "in.mid"), pathlib.Path(folder, "out")
        write_midi(notes, midi)
        # No MIDI input, no shell of its own, no user's commands, no chorus.
        options = f"-ni -q -f {os.devnull} -C 0 -g {GAIN} -r {sample_rate}"
        output = ["-T", "raw", "-O", "float", "-E", "little", "-F", str(raw)]
        _run([PROGRAM, *options.split(), *output, soundfont, midi], seconds)
        sound = np.fromfile(raw, "<f4") if raw.exists() else np.empty(0)
    sound = (
        sound[: len(sound) // 2 * 2]
        .reshape(-1, 2)
        .astype(np.float32, copy=False)
    )
    if not max(sound.max(initial=0), -sound.min(initial=0)) > SILENT:
        raise OSError(f"`{PROGRAM}` must make a sound. Received: silence")
    return sound


def _run(command: list[str | pathlib.Path], seconds: float) -> None:
    """Runs FluidSynth, which exits with 0 after most of its errors too."""
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=seconds,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(
            f"`{PROGRAM}` must end within {seconds:.0f} s. It was stopped"
        ) from error
    said = [line for line in result.stderr.splitlines() if line.strip()]
    wrong = [line for line in said if any(sign in line for sign in SIGNS)]
    if result.returncode or wrong:
        found = wrong or said or [f"exit code {result.returncode}"]
        raise OSError(f"`{PROGRAM}` must play the notes. It said: {found[-1]}")
