"""Mutates real MIDI files byte by byte and reads what comes of it.

Every mutant must be read or refused with `MidiError`, in at most a second of
CPU time. Mutants are read in a child process, so that a crash or a hang is
found too, and reported with the number of its mutant: the same seed and
number make the same bytes (`mutant(bases(), seed, number)`).

    python tests/fuzz_midi.py --mutations 100000 --seed 0
"""

import argparse
import collections
import io
import multiprocessing
import pathlib
import random
import re
import sys
import time

import mido
import numpy as np

from keras_pianogen import midi

DATA = pathlib.Path(__file__).parent / "data"
SLOW = 1.0  # seconds of CPU time for one mutant
HANG = 20.0  # seconds without a word from the child, on a busy machine
TELLING = (0x00, 0x01, 0x7F, 0x80, 0x90, 0xB0, 0xC0, 0xF0, 0xF7, 0xFF)
LONG_DELTA = b"\xff\xff\xff\x7f"


def bases() -> list[bytes]:
    """Real performances: whole, as we write them, and their openings."""
    files = [path.read_bytes() for path in sorted(DATA.glob("*.midi"))]
    return files + [_opening(file, 60) for file in files]


def _opening(file: bytes, events: int) -> bytes:
    """The same file with each track cut short after some events."""
    opening = mido.MidiFile(file=io.BytesIO(file))
    for track in opening.tracks:
        del track[events:]
    written = io.BytesIO()
    opening.save(file=written)
    return written.getvalue()


def mutant(files: list[bytes], seed: int, number: int) -> bytes:
    """One of the files with one to eight random edits."""
    rng = random.Random(seed * 1_000_003 + number)
    data = bytearray(rng.choice(files))
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        rng.choice(EDITS)(data, rng)
    track = data.rfind(b"MTrk")
    if track > 0 and rng.random() < 0.8:  # past the check of chunk lengths
        data[track + 4 : track + 8] = (len(data) - track - 8).to_bytes(4, "big")
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere, but every other time in the headers and the first events."""
    return rng.randrange(min(len(data), rng.choice((80, 10**9))) or 1)


def _set(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    data[place : place + 1] = bytes([rng.randrange(256)])


def _tell(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    data[place : place + 1] = bytes([rng.choice(TELLING)])


def _flip(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    if data:
        data[place] ^= 1 << rng.randrange(8)


def _insert(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    data[place:place] = rng.randbytes(rng.randint(1, 8))


def _delete(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    del data[place : place + rng.randint(1, 8)]


def _lengthen(data: bytearray, rng: random.Random) -> None:
    place = _place(data, rng)
    data[place : place + rng.choice((0, 1, 4))] = LONG_DELTA


def _repeat(data: bytearray, rng: random.Random) -> None:
    start, end = _place(data, rng), _place(data, rng)
    data[end:end] = data[start : start + rng.randint(1, 64)]


def _truncate(data: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.2:
        del data[_place(data, rng) :]


EDITS = (_set, _tell, _flip, _insert, _delete, _lengthen, _repeat, _truncate)


def outcome(data: bytes) -> str:
    """What becomes of a mutant: read, refused and why, or failed and how."""
    began = time.process_time()
    try:
        notes = midi.read_notes(data, return_report=True)[0]
        told = _fault(notes) or "read"
    except midi.MidiError as error:
        told = "refused: " + re.sub(r"[\d,]+|b'.*'", "N", str(error))
    except Exception as error:
        told = f"failed: {type(error).__name__}: {error}"
    if time.process_time() - began > SLOW:
        told = f"failed: took {time.process_time() - began:.1f} s"
    return told


def _fault(notes: np.ndarray) -> str:
    """What is wrong with notes that were read; nothing should be."""
    if not np.array_equal(notes, midi.check_notes(notes)):
        return "failed: not sorted by start, then pitch"
    notes = np.sort(notes, order=("pitch", "start"))
    same = notes["pitch"][1:] == notes["pitch"][:-1]
    if (notes["end"][:-1] > notes["start"][1:])[same].any():
        return "failed: notes of one pitch overlap"
    return ""
