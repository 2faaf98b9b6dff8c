"""Mutates real MIDI files byte by byte and reads what comes of it.

Every mutant must be read or refused with `MidiError`, in at most a second of
CPU time. Mutants are read in a child process, so that a crash or a hang is
found too, and reported with the number of its mutant: the same seed and
number make the same bytes (`mutant(bases(), seed, number)`).

    python tests/fuzz_midi.py --mutations 100000 --seed 0
"""

import argparse
import io
import multiprocessing
import pathlib
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection

import mido
import numpy as np

from keras_pianogen import midi
from keras_pianogen import notes as notes_module

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
    if (
        0 < track <= len(data) - 8 and rng.random() < 0.8
    ):  # past the check of chunk lengths
        data[track + 4 : track + 8] = (len(data) - track - 8).to_bytes(4, "big")
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """Anywhere, but often in the headers and the first events."""
    return rng.randrange(min(len(data), rng.choice((60, 10**6, 10**6))) or 1)


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


def outcome(data: bytes) -> tuple[str, float]:
    """What becomes of a mutant (read, or why not), and its CPU seconds."""
    began = time.process_time()
    try:
        notes, _ = midi.read_notes(data, return_report=True)
        told = fault(notes) or "read"
    except midi.MidiError as error:
        told = "refused: " + re.sub(r"b['\"].*|\d[\d,]*", "N", str(error))
    except Exception as error:
        told = f"failed: {type(error).__name__}: {error}"
    seconds = time.process_time() - began
    return "failed: slow" if seconds > SLOW else told, seconds


def fault(notes: np.ndarray) -> str:
    """What is wrong with notes that were read; nothing should be."""
    if not np.array_equal(notes, notes_module.check_notes(notes)):
        return "failed: not sorted by start, then pitch"
    notes = np.sort(notes, order=("pitch", "start"))
    same = notes["pitch"][1:] == notes["pitch"][:-1]
    if (notes["end"][:-1] > notes["start"][1:])[same].any():
        return "failed: notes of one pitch overlap"
    return ""


def work(pipe: Connection, seed: int, first: int, last: int) -> None:
    """The child: reads the mutants and tells of each as it is done."""
    files = bases()
    for number in range(first, last):
        pipe.send(outcome(mutant(files, seed, number)))


def outcomes(seed: int, mutations: int) -> Iterator[tuple[str, float]]:
    """The outcome of each mutant; a dead or silent child is started anew."""
    context = multiprocessing.get_context("spawn")
    number = 0
    while number < mutations:
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(
            target=work, args=(theirs, seed, number, mutations)
        )
        child.start()
        theirs.close()
        try:
            while number < mutations:
                if ours.poll(HANG):
                    yield ours.recv()
                else:
                    yield "failed: hangs", HANG
                    number += 1
                    break
                number += 1
        except EOFError:
            child.join()
            yield f"failed: crashes the process ({child.exitcode})", 0.0
            number += 1
        finally:
            child.kill()
            child.join()


def fuzz(seed: int, mutations: int) -> tuple[Counter, dict[int, str], float]:
    """Counts the outcomes, and keeps the failures and the slowest time."""
    counts: Counter = Counter()
    failures, slowest = {}, 0.0
    for number, (told, seconds) in enumerate(outcomes(seed, mutations)):
        counts[told] += 1
        slowest = max(slowest, seconds)
        if told.startswith("failed"):
            failures[number] = told
        if sys.stderr.isatty() and number % 500 == 0:
            print(f"\r{number:,} of {mutations:,}", end="", file=sys.stderr)
    return counts, failures, slowest


def main() -> int:
    """Runs from the command line; exits with 1 where a mutant failed."""
    parser = argparse.ArgumentParser(description="Fuzzes the MIDI reader.")
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.perf_counter()
    counts, failures, slowest = fuzz(arguments.seed, arguments.mutations)
    print(f"{'mutants':>9}  outcome")
    for told, count in counts.most_common(30):
        print(f"{count:9,}  {told}")
    for number, told in list(failures.items())[:30]:
        print(f"mutant {number} of seed {arguments.seed}: {told}")
    print(
        f"{arguments.mutations:,} mutants in "
        f"{time.perf_counter() - began:.0f} s, slowest "
        f"{slowest * 1000:.0f} ms, {counts['read']:,} read, "
        f"{len(failures):,} failed"
    )
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
