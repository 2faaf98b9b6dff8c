"""Notes played by FluidSynth with a SoundFont, where both are installed.

FluidSynth is a program, `fluidsynth`. A SoundFont is a file of recorded
instruments, .sf2 or .sf3. This module finds both and never downloads them.
Debian's packages are `fluidsynth` and `fluid-soundfont-gm` or
`timgm6mb-soundfont`.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

import numpy as np
import numpy.typing as npt

from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notices.hints import hinted

PROGRAM = "fluidsynth"
BUILT_IN = "built-in"  # in place of a SoundFont: the built-in piano
SOUNDFONT_VARIABLE = "PIANOGEN_SOUNDFONT"
FOLDERS = (  # in Debian, Fedora, Arch, and Homebrew
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
GAIN = 0.2  # FluidSynth's own default; sound is levelled afterwards
# FluidSynth may take this many seconds, and as many more as the music lasts.
MIN_SECONDS = 60.0
# If its output has one of these, it used another SoundFont or failed to play.
SIGNS = (
    f"{PROGRAM}: error",
    f"{PROGRAM}: panic",
    "Failed to load",
    "not a SoundFont",
)
WITHOUT = "The built-in piano needs no SoundFont: --soundfont built-in."
SILENT = 1e-6  # of full scale; the dither of FluidSynth's reverb is lower


def choose_soundfont(
    asked: str | os.PathLike[str] | None = None,
) -> pathlib.Path | None:
    """Chooses the SoundFont to play with, and checks it.

    If the argument or the environment names a SoundFont that can't be used, an
    error says why. An installed SoundFont that nobody named is used only if
    `fluidsynth` is installed too.

    Args:
        asked: A SoundFont's path, or `"built-in"`. Defaults to the value of
            the environment's `PIANOGEN_SOUNDFONT`, or else to an installed
            SoundFont.

    Returns:
        Its path, or None for the built-in piano.

    Raises:
        ValueError: If the file is no SoundFont.
        OSError: If the file can't be read, or `fluidsynth` isn't installed.
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
        error = ValueError(
            f"`soundfont` must be a SoundFont, .sf2 or .sf3. Received: {path}"
        )
        raise hinted(error, WITHOUT)
    if shutil.which(PROGRAM) is None:
        raise hinted(
            FileNotFoundError(
                f"`{PROGRAM}` must be installed to play a SoundFont. Found "
                f"none on the path. Received: {path}"
            ),
            f"`apt install {PROGRAM}` installs it. {WITHOUT}",
        )
    return path


def _installed_soundfont() -> pathlib.Path | None:
    """The first of `SOUNDFONTS` that is in one of `FOLDERS`."""
    paths = (
        pathlib.Path(folder, name) for name in SOUNDFONTS for folder in FOLDERS
    )
    return next((path for path in paths if path.is_file()), None)


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
        OSError: If `fluidsynth` fails, makes no sound, or takes too long.
    """
    seconds = MIN_SECONDS + float(notes["end"].max(initial=0))
    with tempfile.TemporaryDirectory() as folder:
        midi, raw = pathlib.Path(folder, "in.mid"), pathlib.Path(folder, "out")
        write_midi(notes, midi)
        # No MIDI input, no interactive shell, no user's settings, no chorus.
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
        error = f"`{PROGRAM}` must make a sound. Received: silence"
        raise hinted(OSError(error), WITHOUT)
    return sound


def _run(command: list[str | pathlib.Path], seconds: float) -> None:
    """Runs FluidSynth, whose exit status is 0 after most errors too."""
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
        message = f"`{PROGRAM}` must end within {seconds:.0f} s. It was stopped"
        raise hinted(OSError(message), WITHOUT) from error
    said = [line for line in result.stderr.splitlines() if line.strip()]
    wrong = [line for line in said if any(sign in line for sign in SIGNS)]
    if result.returncode or wrong:
        found = wrong or said or [f"exit code {result.returncode}"]
        message = f"`{PROGRAM}` must play the notes. It said: {found[-1]}"
        raise hinted(OSError(message), WITHOUT)
