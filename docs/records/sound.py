"""Measures the sound of the three players: page, built-in piano, FluidR3.

The page plays in Debian's Chromium, by its own modules, see
`tests/page_piano.py`. FluidR3 is Debian's `fluid-soundfont-gm`. The table of
`docs/pictures.md` is this script's output:

    python docs/records/sound.py tests/data/scarlatti_k_525.midi
"""

import pathlib
import sys

import numpy as np
from playwright.sync_api import sync_playwright

from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.rendering import fluidsynth
from keras_pianogen.rendering import synthesis

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests"))
from page_piano import play_in_page  # noqa: E402

RATE = 44_100
SECONDS = 30.0  # of the piece
CHROMIUM = "/usr/bin/chromium"
PITCHES = (36, 48, 60, 72, 84, 96)  # C2 to C7
HOP = 0.05  # s between two values of an envelope


def note(pitch, velocity=80, seconds=8.0):
    return np.array([(0, seconds, pitch, velocity)], NOTE_DTYPE)


def spectrum(sound):
    """Frequencies and energies, the channels' added."""
    power = (np.abs(np.fft.rfft(sound, axis=0)) ** 2).sum(axis=1)
    return np.fft.rfftfreq(len(sound), 1 / RATE), power


def share_above(sound, hertz):
    """Share of the energy above a frequency, in per cent."""
    frequencies, power = spectrum(sound)
    return 100 * power[frequencies > hertz].sum() / power.sum()


def centroid(sound):
    """Mean frequency, weighted by energy."""
    frequencies, power = spectrum(sound)
    return (frequencies * power).sum() / power.sum()


def envelope(sound):
    """Level of each `HOP`, dB below the loudest."""
    size = int(HOP * RATE)
    rows = sound[: len(sound) // size * size].reshape(-1, size * 2)
    level = 10 * np.log10((rows.astype(float) ** 2).mean(axis=1) + 1e-20)
    return level - level.max()


def fundamental(sound, pitch):
    """Envelope of partial 1 alone, by multiplication with its frequency."""
    time = np.arange(len(sound)) / RATE
    turn = np.exp(-2j * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time)
    size = int(HOP * RATE)
    rows = (sound.sum(axis=1) * turn)[: len(sound) // size * size]
    rows = rows.reshape(-1, size) @ np.hanning(size)
    level = 20 * np.log10(np.abs(rows) + 1e-12)
    return level - level.max()


def decay_rate(level, begin=0.2, end=1.4):
    """dB a second over a stretch, by least squares."""
    time = np.arange(len(level)) * HOP
    part = (time >= begin) & (time < end)
    return -np.polyfit(time[part], level[part], 1)[0]


def figures(play, piece, pedal):
    """The cells of one player's column, each with the name of its row."""
    partials = [fundamental(play(note(p)), p) for p in PITCHES]
    yield (
        "early T60 of partial 1, C2 to C7 (s)",
        " ".join(
            f"{60 / max(decay_rate(level), 1e-9):.1f}" for level in partials
        ),
    )
    rates = [decay_rate(envelope(play(note(p)))) for p in (24, 104)]
    yield "decay of C1 → G♯7 (dB/s)", " → ".join(f"{r:.1f}" for r in rates)
    level = envelope(play(note(60)))
    levels = [level[int(t / HOP)] for t in (1.4, 2.3, 4.5, 7.5)]
    yield (
        "a held C4 after 1.4, 2.3, 4.5, 7.5 s (dB)",
        " ".join(f"{value:.0f}" for value in levels),
    )
    shares = [share_above(play(note(60, v, 2)), 1000) for v in (20, 110)]
    yield (
        "C4 above 1 kHz, velocity 20 → 110 (%)",
        " → ".join(f"{share:.1f}" for share in shares),
    )
    sound = play(piece, pedal)
    yield "a piece: centroid (Hz)", f"{centroid(sound):.0f}"
    yield "above 1 kHz (%)", f"{share_above(sound, 1000):.1f}"
    yield "above 4 kHz (%)", f"{share_above(sound, 4000):.2f}"


def players(browser):
    """Functions that play notes, and a pedal where they know one."""

    def page(notes, pedal=None):
        return play_in_page(browser, notes, notes["end"].max() + 2, RATE)[0]

    def built_in(notes, pedal=None):
        return synthesis.synthesize(notes, RATE, pedal=pedal)

    yield "page", page
    yield "built-in", built_in
    font = fluidsynth.choose_soundfont()
    if font is not None:
        yield (
            font.stem,
            lambda notes, _=None: fluidsynth.play(notes, font, RATE),
        )


def opening(path):
    """The first `SECONDS` of a piece, its notes and its pedal."""
    notes, pedal = read_notes(path), read_pedal(path)
    notes = notes[notes["start"] < SECONDS]
    notes["end"] = np.minimum(notes["end"], SECONDS)
    return notes, pedal[pedal["end"] < SECONDS]


def main(path):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        columns = {
            name: dict(figures(play, *opening(path)))
            for name, play in players(browser)
        }
        browser.close()
    print("| | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for row in next(iter(columns.values())):
        cells = (column[row] for column in columns.values())
        print(f"| {row} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(*sys.argv[1:])
