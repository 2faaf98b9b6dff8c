"""MIDI files as bytes, and what is read from them."""

import io
import pathlib
import struct

import mido
import numpy as np

from keras_pianogen import midi

DATA = pathlib.Path(__file__).parent / "data"


SMALL = sorted(DATA.glob("*.midi"))


def on(delta, pitch, velocity=64, channel=0):
    return mido.Message(
        "note_on", time=delta, note=pitch, velocity=velocity, channel=channel
    )


def off(delta, pitch, channel=0):
    return on(delta, pitch, 0, channel)


def control(delta, value, number=64, channel=0):
    return mido.Message(
        "control_change",
        time=delta,
        control=number,
        value=value,
        channel=channel,
    )


def program(number, channel=0):
    return mido.Message("program_change", program=number, channel=channel)


def tempo(delta, microseconds):
    return mido.MetaMessage("set_tempo", time=delta, tempo=microseconds)


def file_bytes(*tracks, ticks_per_beat=500):
    """A file of these tracks; a tick is a millisecond unless told."""
    file = mido.MidiFile(ticks_per_beat=ticks_per_beat)
    file.tracks.extend(mido.MidiTrack(track) for track in tracks)
    written = io.BytesIO()
    file.save(file=written)
    return written.getvalue()


def raw_file(track, kind=0, tracks=1, division=500, length=6):
    """A file put together by hand, for what mido refuses to write."""
    header = struct.pack(">4sIHHH", b"MThd", length, kind, tracks, division)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + track


def spans(*tracks, **options):
    """(start, end, pitch) in milliseconds, as read from these tracks."""
    notes = midi.read_notes(file_bytes(*tracks), **options)
    return [
        (round(n["start"] * 1000), round(n["end"] * 1000), int(n["pitch"]))
        for n in notes
    ]


def repairs(*tracks):
    return midi.read_notes(file_bytes(*tracks), return_report=True)[1].repairs


def pedal_spans(*tracks):
    """(start, end) in milliseconds, as read from these tracks."""
    pedal = midi.read_pedal(file_bytes(*tracks))
    assert pedal.dtype == midi.PEDAL_DTYPE
    return [(round(a * 1000), round(b * 1000)) for a, b in pedal.tolist()]


def performance(*rows):
    return np.array(list(rows), dtype=midi.NOTE_DTYPE)


# Reading: the guard.

KEY = b"\x00\x90\x3c\x40\x01\x3c\x00"


END = b"\x00\xff\x2f\x00"


LONG = b"\xff\xff\xff\x7f"  # the longest delta, 268,435,455 ticks
