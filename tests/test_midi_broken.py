"""Broken MIDI files: what is repaired and counted, and what is refused."""

import struct
import time

import fuzz_midi
import pytest
from midi_bytes import END
from midi_bytes import KEY
from midi_bytes import LONG
from midi_bytes import performance
from midi_bytes import raw_file

from keras_pianogen import midi
from keras_pianogen.midi import parsing
from keras_pianogen.midi.track import AFTER_END
from keras_pianogen.midi.track import HIGH_BYTE
from keras_pianogen.midi.track import JUNK
from keras_pianogen.midi.track import LONG_NUMBER

pytestmark = pytest.mark.one_backend


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty"),
        (b"RIFF....RMIDdata", "begins with b'MThd'"),
        (b"MThd", "a header of 14 bytes"),
        (bytes(5_000_001), "at most 5,000,000 bytes"),
        (raw_file(KEY + END, division=0), "a division above 0"),
        (raw_file(KEY + END, length=5), "a header length of 6.* Found 5"),
        (raw_file(KEY + END, division=0xE700), "SMPTE.*Found 25 of 0"),
        (raw_file(KEY + END, division=0xEF28), "SMPTE.*Found 17 of 40"),
        (raw_file(KEY + END, kind=2, tracks=2), "one piece .format 0 or 1."),
        (raw_file(KEY + END, kind=9), "one piece .format 0 or 1."),
        (raw_file(KEY + END)[:14], "a track"),
        (raw_file(KEY + END)[:-1], "whole events to the end"),
        (raw_file(b"") + b"MTrk\0\0\0\0" * 64, "at most 64 tracks"),
        (raw_file(END), "holds no piano notes. Found none"),
        (raw_file(KEY[:-1]), "whole events"),
        (raw_file(b"\x00\xff\x01\x7fabc"), "whole events"),
        (raw_file(KEY[:1] + KEY[2:]), "a status byte"),
        (raw_file(b"\x00\xf4" + KEY + END), "a status byte"),
        (raw_file(b"\x00\x90\xbc\x40" + END), "data bytes up to 127"),
        (raw_file(b"\x00\x90\x3c\xbc" + KEY), "data bytes up to 127"),
        (raw_file(b"\x80\x80\x80\x80\x80" + KEY), "at most 5 bytes"),
        (raw_file(b"\x00\xff\x51\x02\x07\xa1" + KEY), "a tempo of 3 bytes"),
        (raw_file(b"\x00\xff\x51\x03\0\0\0" + KEY), "microseconds a beat"),
        (raw_file((LONG + KEY[1:4] + KEY[4:]) * 9), "ticks up to 2,147,483"),
        (raw_file(KEY + b"\xff\xff\x7f" + KEY[1:], division=1), "7,200 sec"),
        (raw_file(KEY + b"\x00\xf8" * 1_000_001), "at most 1,000,000 events"),
        (raw_file(KEY + KEY[4:].join([b"\0\x3c\x40"] * 200_001)), "200,000"),
    ],
)
def test_a_broken_file_is_refused_with_what_was_expected(
    data, expected, tmp_path
):
    path = tmp_path / "odd name.mid"
    path.write_bytes(data)
    with pytest.raises(midi.MidiError, match=expected) as raised:
        midi.read_notes(path)
    assert str(raised.value).startswith(str(path))


TRACK_END_INSIDE = KEY + END + b"\x05\x90\x3e\x40\x05\x3e\x00"


TWO = b"\x00\x90\x3e\x40\x01\x3e\x00"


def with_length(data, change):
    """A file of one track whose length is said to be another."""
    size = struct.unpack_from(">I", data, 18)[0] + change
    return data[:18] + struct.pack(">I", size) + data[22:]


def rmid(data):
    chunk = b"data" + struct.pack("<I", len(data)) + data
    info = b"LIST\x03\0\0\0abc\0"
    size = struct.pack("<I", len(info) + len(chunk) + 4)
    return b"RIFF" + size + b"RMID" + info + chunk


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (rmid(raw_file(KEY + END)), parsing.WRAPPED, [(0, 1, 60)]),
        (
            raw_file(KEY + END, division=0xE728),
            parsing.SMPTE,
            [(0, 1, 60)],
        ),
        (
            raw_file(b"", length=8)[:14] + b"\0\0" + raw_file(KEY + END)[14:],
            parsing.HEADER,
            [(0, 1, 60)],
        ),
        (
            raw_file(TRACK_END_INSIDE + END),
            AFTER_END,
            [(0, 1, 60), (6, 11, 62)],
        ),
        (raw_file(KEY + END + b"\0\0\xf4"), JUNK, [(0, 1, 60)]),
        (raw_file(KEY + LONG + END[1:]), parsing.LATE_END, None),
        (
            raw_file(b"\x00\x90\x3c\x40" + LONG + END[1:]),
            parsing.LATE_END,
            [(0, 0, 60)],
        ),
        (
            raw_file(b"\x80\x80\x80\x80\x01" + KEY[1:] + END),
            LONG_NUMBER,
            [(1, 2, 60)],
        ),
        (
            raw_file(b"\x00\xb0\x07\x80" + KEY + END),
            HIGH_BYTE,
            [(0, 1, 60)],
        ),
        (
            raw_file(b"\x00\x90\x3c\xff\x01\x3c\x00" + END),
            HIGH_BYTE,
            [(0, 1, 60)],
        ),
        (
            with_length(raw_file(KEY + END), 99),
            parsing.TRACK_LENGTH,
            [(0, 1, 60)],
        ),
        (
            with_length(raw_file(KEY + END), -3),
            parsing.TRACK_LENGTH,
            [(0, 1, 60)],
        ),
        (
            with_length(raw_file(KEY + END, kind=1, tracks=2), 9)
            + raw_file(TWO + END)[14:],
            parsing.TRACK_LENGTH,
            [(0, 1, 60), (0, 1, 62)],
        ),
        (
            raw_file(KEY + END, kind=1, tracks=2)
            + b"\0\1\2"
            + raw_file(TWO + END)[14:],
            parsing.STRAY,
            [(0, 1, 60), (0, 1, 62)],
        ),
        (raw_file(KEY + END) * 2, parsing.ANOTHER, [(0, 1, 60)]),
    ],
)
def test_a_file_with_one_clear_meaning_is_read_and_the_repair_counted(
    data, kind, expected
):
    notes, report = midi.read_notes(data, return_report=True)
    found = [(round(a * 1000), round(b * 1000), c) for a, b, c, _ in notes]
    assert expected is None or found == expected
    assert report.repairs[kind] >= 1
    assert any(kind in line for line in report.warnings())


def test_29_smpte_frames_are_those_of_television():
    data = raw_file(b"\x00\x90\x3c\x40\x83\x60\x3c\x00" + END, division=0xE310)
    assert midi.read_notes(data)["end"].tolist() == [480 / 16 * 1001 / 30000]


def test_tempos_change_nothing_where_time_is_in_smpte_frames():
    slow = b"\x00\xff\x51\x03\xff\xff\xff"
    data = raw_file(slow + KEY + END, division=0xE728)
    assert midi.read_notes(data)["end"].tolist() == [0.001]


REPORTED = {
    "eot_mid_tempo": [(0, 1000, 60), (1250, 1500, 62)],
    "held_to_end": [(0, 500, 60), (500, 1500, 64), (500, 1500, 67)],
    "huge_delta_eot": [(0, 500, 60), (500, 1000, 64), (1000, 1500, 67)],
    "lost_off": [
        (0, 500, 60),
        (500, 625, 60),
        (2083, 2188, 60),
        (5208, 5312, 60),
    ],
    "off_then_repedal": [(0, 500, 53), (500, 1000, 60)],
    "pedal_own_track": [(0, 750, 60), (1000, 1250, 62)],
    "rmid": [(0, 500, 60), (500, 1000, 64), (1000, 1500, 67)],
    "smpte_25_40": [(0, 500, 60), (500, 1000, 62)],
}


@pytest.mark.parametrize("name", REPORTED)
def test_a_file_that_was_reported_has_its_right_notes(name, shared):
    notes = midi.read_notes(shared / "data" / "reported-midi" / f"{name}.mid")
    found = [(round(a * 1000), round(b * 1000), c) for a, b, c, _ in notes]
    assert found == REPORTED[name]


def test_a_small_file_that_claims_days_is_refused_in_milliseconds():
    track = b"\x00\xff\x51\x03\xff\xff\xff"  # 16.8 seconds a beat
    track += (LONG + b"\x90\x3c\x40" + LONG + b"\x80\x3c\x00") * 39 + END
    bomb = raw_file(track, division=1) + b"\0" * 4
    assert len(bomb) == 583
    times = []
    for _ in range(5):
        began = time.perf_counter()
        with pytest.raises(midi.MidiError, match="expected ticks up to"):
            midi.read_notes(bomb)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.01


def test_junk_after_the_last_track_is_ignored():
    notes = midi.read_notes(raw_file(KEY + END) + b"junk, and a lot of it")
    assert len(notes) == 1


def test_running_status_goes_on_after_a_system_event():
    sysex = b"\x00\xf0\x05\x7e\x7f\x06\x01\xf7"
    track = KEY + sysex + b"\x00\x3e\x40\x01\x3e\x00" + END
    assert midi.read_notes(raw_file(track))["pitch"].tolist() == [60, 62]


def test_2000_mutants_are_read_or_refused():
    counts, failures, _ = fuzz_midi.fuzz(seed=0, mutations=2000)
    assert not failures
    assert sum(counts.values()) == 2000
    assert counts["read"] > 200


def test_a_missing_file_a_folder_and_a_wrong_type_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.mid"):
        midi.read_notes(tmp_path / "nowhere.mid")
    with pytest.raises(OSError, match=tmp_path.name):
        midi.read_notes(tmp_path)
    with pytest.raises(TypeError, match="Received: int"):
        midi.read_notes(5)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"start": -1}, "note starts"),
        ({"start": 20}, "note lengths"),
        ({"end": 10**40}, "numbers up to"),
        ({"end": float("nan")}, "numbers up to"),
        ({"end": "late"}, "numbers"),
        ({"end": 2**31 - 1}, "7,200 seconds"),
        ({"pitch": 128}, "pitches from 0 to 127. Found 128"),
        ({"velocity": 0}, "velocities from 1 to 127. Found 0"),
    ],
)
def test_an_object_set_to_nonsense_is_refused(change, expected):
    file = midi.write_midi(performance((0, 0.01, 60, 64)))
    vars(file.instruments[0].notes[0]).update(change)
    with pytest.raises(midi.MidiError, match=f"<MidiFile>.*{expected}"):
        midi.read_notes(file)


@pytest.mark.parametrize("tempo", [0, -120, 1e-9, float("nan")])
def test_an_object_with_an_impossible_tempo_is_refused(tempo):
    file = midi.write_midi(performance((0, 0.01, 60, 64)))
    file.tempo_changes[0].tempo = tempo
    with pytest.raises(midi.MidiError):
        midi.read_notes(file)
