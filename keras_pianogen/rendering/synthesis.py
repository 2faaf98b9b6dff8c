"""Performances as sound: a piano synthesised in NumPy, or a SoundFont.

Sound is an array of float32, (samples, 2), left and right, 1 at full scale. It
is levelled to -20 LUFS by ITU-R BS.1770-4, however softly a piece is played,
and no sample is beyond -1 dBFS (`loudness`). Times in seconds.

The built-in piano is additive (`piano_strings`). It computes one tone for each
pitch and brightness in a piece, and every note uses as much of its tone as it
needs. A note's loudness follows Dannenberg, "The Interpretation of MIDI
Velocity" (2006). The pedal is part of the notes' ends. The highest keys have no
dampers, as on a piano: they ring until they have died away. Where a pedal is
given, the strings that nobody struck sound along under it (`sympathetic`).
Where its movements are given too, dampers press less under a pedal that is half
pressed (`dampers`).
"""

import os
import pathlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from keras_pianogen.files import whole
from keras_pianogen.midi.movements import MAX_NOTES
from keras_pianogen.midi.movements import MAX_SECONDS
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import check_pedal
from keras_pianogen.rendering import dampers
from keras_pianogen.rendering import fluidsynth
from keras_pianogen.rendering import loudness
from keras_pianogen.rendering import room
from keras_pianogen.rendering import sympathetic
from keras_pianogen.rendering.piano_strings import BRIGHTNESSES
from keras_pianogen.rendering.piano_strings import PianoString
from keras_pianogen.rendering.wav import write_wav

# Two hours at the highest are 4 GB, the most that a WAV file can hold.
SAMPLE_RATES = (8_000, 96_000)
DYNAMIC_RANGE = 50.0  # dB between velocities 1 and 127
UNDAMPED = 90  # F♯6: this key and all above it have no dampers
RING = 4.0  # s; a tone without a damper has lost 45 dB then
TAIL = 1e-4  # of the peak; fainter sound after the last note is cut off


def synthesize(
    notes: np.ndarray,
    sample_rate: int = 44_100,
    *,
    pedal: np.ndarray | None = None,
    moves: np.ndarray | None = None,
    pedalled: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.float32]:
    """Plays notes on the built-in piano.

    The same notes give the same sound, in any order. On another machine or
    with another number of threads, its last bits may differ.

    Args:
        notes: A performance, as `read_notes` returns; at least one note.
        sample_rate: Samples a second, 8,000 to 96,000.
        pedal: When the sustain pedal is down, as `read_pedal` returns it. All
            strings sound along as long. Defaults to never.
        moves: How the pedal moves, as `read_parts` returns it. While it is
            half pressed, tones are damped more slowly. Defaults to not at all.
        pedalled: Which notes the movements govern, (notes,) booleans in the
            order of `notes`. At the ends of the others, dampers fall at once.
            Defaults to all.

    Returns:
        Sound, (samples, 2), -20 LUFS, no sample beyond -1 dBFS. It begins at
        0 s, and ends when the last note has died away.

    Raises:
        ValueError: If `notes` are none, not notes, or beyond two hours, the
            sample rate is out of its range, `pedal` is no pedal, or `pedalled`
            has another length than `notes`.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> sound = synthesize(notes)
        >>> sound.shape[1], bool(len(sound) > 2 * 44_100)
        (2, True)
    """
    notes, pedalled = _check(notes, sample_rate, pedalled)
    pedal = None if pedal is None else check_pedal(pedal)
    sound = _play(notes, sample_rate, pedal, moves, pedalled)
    loudness.level(sound, sample_rate)
    return sound


def render(
    notes: np.ndarray,
    path: str | os.PathLike[str],
    *,
    soundfont: str | os.PathLike[str] | None = None,
    sample_rate: int = 44_100,
    pedal: np.ndarray | None = None,
    moves: np.ndarray | None = None,
    pedalled: npt.NDArray[np.bool_] | None = None,
    progress: Callable[[float], object] | None = None,
) -> str:
    """Plays notes to a WAV file: stereo, 16 bits.

    FluidSynth plays if it and a SoundFont are installed; otherwise the
    built-in piano plays. Both are levelled. The file appears whole or not at
    all.

    Args:
        notes: A performance, as `read_notes` returns; at least one note.
        path: File to write, ending in `.wav`. An older file is replaced.
        soundfont: A SoundFont's path, or `"built-in"` for the built-in piano
            in any case. Defaults to the environment's `PIANOGEN_SOUNDFONT`,
            or to a SoundFont in the system's folders, if FluidSynth is
            installed.
        sample_rate: Samples a second, 8,000 to 96,000.
        pedal: When the sustain pedal is down, as `read_pedal` returns it. All
            strings of the built-in piano sound along as long; FluidSynth plays
            the notes alone. Defaults to never.
        moves: How the pedal moves, see `synthesize`; FluidSynth ignores it.
        pedalled: Which notes the movements govern, see `synthesize`.
        progress: A function that is called again and again with the share of
            the playing that is done, 0 to 1. An exception that it raises ends
            the call. FluidSynth reports only its begin and its end.

    Returns:
        The instrument in words: `"the built-in piano"`, or FluidSynth with
        the SoundFont's name.

    Raises:
        ValueError: If an argument is out of its range, or `soundfont` is no
            SoundFont.
        OSError: If the file can't be written, the SoundFont that is named
            or FluidSynth is missing, or FluidSynth fails.

    Examples:
        >>> from keras_pianogen.notes import NOTE_DTYPE
        >>> notes = np.array([(0, 1, 60, 64), (1, 2, 67, 96)], NOTE_DTYPE)
        >>> render(notes, "piece.wav", soundfont="built-in")
        'the built-in piano'
    """
    path = pathlib.Path(path)
    if path.suffix.lower() != ".wav":
        raise ValueError(f"`path` must end in .wav. Received: {path}")
    notes, pedalled = _check(notes, sample_rate, pedalled)
    pedal = None if pedal is None else check_pedal(pedal)
    font = fluidsynth.choose_soundfont(soundfont)
    tell = progress or (lambda done: None)
    tell(0.0)
    if font is None:
        sound = _play(notes, sample_rate, pedal, moves, pedalled, tell)
        player = "the built-in piano"
    else:
        sound = fluidsynth.play(notes, font, sample_rate)
        sound = _without_tail(sound, float(notes["end"].max()) * sample_rate)
        player = f"FluidSynth with {font.name}"
    tell(1.0)
    loudness.level(sound, sample_rate)
    with whole(path) as part, part.open("wb") as file:
        write_wav(sound, file, sample_rate)
    return player


def _check(
    notes: np.ndarray,
    sample_rate: int,
    pedalled: npt.NDArray[np.bool_] | None,
) -> tuple[np.ndarray, npt.NDArray[np.bool_] | None]:
    """Notes as `check_notes` sorts them, and which of them are pedalled."""
    low, high = SAMPLE_RATES
    if not (low <= sample_rate <= high and sample_rate % 1 == 0):
        raise ValueError(
            f"`sample_rate` must be a whole number from {low:,} to {high:,}. "
            f"Received: {sample_rate}"
        )
    unsorted, notes = notes, check_notes(notes)
    last = notes["end"].max(initial=0)
    if not 1 <= len(notes) <= MAX_NOTES or last > MAX_SECONDS:
        raise ValueError(
            f"`notes` must be 1 to {MAX_NOTES:,}, and end by "
            f"{MAX_SECONDS:,.0f} s. Received: {len(notes):,} notes, up to "
            f"{last:,.1f} s"
        )
    if pedalled is None:
        return notes, None
    if np.shape(pedalled) != notes.shape:
        raise ValueError(
            "`pedalled` must have a boolean for each note. Received: shape "
            f"{np.shape(pedalled)} for {len(notes):,} notes"
        )
    order = np.lexsort((unsorted["pitch"], unsorted["start"]))
    return notes, np.asarray(pedalled, bool)[order]


# The built-in piano.


def _play(
    notes: np.ndarray,
    sample_rate: int,
    pedal: np.ndarray | None = None,
    moves: np.ndarray | None = None,
    pedalled: npt.NDArray[np.bool_] | None = None,
    tell: Callable[[float], object] = lambda done: None,
) -> npt.NDArray[np.float32]:
    """Adds every note to one sound, (samples, 2), pitch after pitch."""
    notes = _undamped(notes)
    if pedalled is None:
        pedalled = np.ones(len(notes), bool)
    places = [notes["pitch"] == pitch for pitch in np.unique(notes["pitch"])]
    pitches = [notes[place] for place in places]
    under = dampers.Dampers(moves)
    ways = [
        dampers.ways_of(mine, under, pedalled[place])
        for mine, place in zip(pitches, places, strict=True)
    ]
    last = max(
        end + way[-1][0]
        for mine, its_ways in zip(pitches, ways, strict=True)
        for end, way in zip(mine["end"].tolist(), its_ways, strict=True)
    )
    length = (
        max(last, float(notes["end"].max()) + dampers.MAX_RELEASE)
        + room.SECONDS
    )
    sound = np.zeros((int(length * sample_rate) + 2, 2), np.float32)
    for i, mine in enumerate(pitches):
        tell(i / len(pitches))
        _play_pitch(sound, mine, ways[i], sample_rate)
    if pedal is not None and len(pedal):
        sympathetic.add_strings(sound, pedal, sample_rate)
    room.add_room(sound, sample_rate)
    return sound


def _undamped(notes: np.ndarray) -> np.ndarray:
    """Notes that end when they are damped, or would have died away."""
    notes, free = notes.copy(), notes["pitch"] >= UNDAMPED
    ringing = notes["start"][free] + RING
    notes["end"][free] = np.maximum(notes["end"][free], ringing)
    return notes


def _play_pitch(
    sound: npt.NDArray[np.float32],
    notes: np.ndarray,
    ways: list[dampers.Way],
    sample_rate: int,
) -> None:
    """Adds all notes of one pitch, in place, from a tone per brightness."""
    start = np.rint(notes["start"] * sample_rate).astype(np.int64)
    held = np.rint(notes["end"] * sample_rate).astype(np.int64) - start
    gain = gain_of(notes["velocity"])
    brightness = brightness_of(notes["velocity"])
    rest = int(max(way[-1][0] for way in ways) * sample_rate) + 1
    string = PianoString(int(notes["pitch"][0]), sample_rate, held.max() + rest)
    held = np.minimum(held, string.samples)
    for layer in np.unique(brightness):
        mine = np.flatnonzero(brightness == layer)
        tone = string.tone(int(layer), int(held[mine].max()) + rest)
        for note in mine:
            release = dampers.release_along(ways[note], sample_rate)
            _add(sound, tone, start[note], held[note], gain[note], release)


def _add(
    sound: npt.NDArray[np.float32],
    tone: npt.NDArray[np.float32],
    start: int,
    held: int,
    gain: np.float32,
    release: npt.NDArray[np.float32],
) -> None:
    """Adds one note, in place: its tone while it is held, then its release."""
    sound[start : start + held] += gain * tone[:held]
    rest = tone[held : held + len(release)]
    end = start + held
    sound[end : end + len(rest)] += (gain * release[: len(rest)]) * rest


def gain_of(velocity: npt.NDArray) -> npt.NDArray[np.float32]:
    """Amplitude, 1 at velocity 127: the square of a straight line.

    Dannenberg (2006) found this relation in synthesisers.
    """
    softest = 10 ** (-DYNAMIC_RANGE / 40)
    line = softest + (1 - softest) * (velocity.astype(np.float32) - 1) / 126
    return (line**2).astype(np.float32)


def brightness_of(velocity: npt.NDArray) -> npt.NDArray[np.int64]:
    """The hammer's hardness, 0 to `BRIGHTNESSES` - 1."""
    return velocity.astype(np.int64) * BRIGHTNESSES // 128


# Sound.


def _without_tail(
    sound: npt.NDArray[np.float32], last: float
) -> npt.NDArray[np.float32]:
    """Cuts off sound after sample `last` that is too faint to be heard."""
    peak = max(sound.max(), -sound.min())  # needs no copy, as np.abs would
    rest = np.abs(sound[int(last) :]).max(axis=1)
    heard = np.flatnonzero(rest > TAIL * peak)
    return sound[: int(last) + heard.max(initial=0) + 1]
