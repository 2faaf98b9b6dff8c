"""Writing MIDI files, and checking the notes that are written."""

import pathlib
import warnings

import hypothesis
import hypothesis.strategies as st
import miditoolkit
import mido
import numpy as np
import pytest
import symusic
from midi_bytes import SMALL
from midi_bytes import performance

from keras_pianogen import midi
from keras_pianogen import notes as notes_module

pytestmark = pytest.mark.one_backend

# Writing.


def both_readings(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [
            midi.read_notes(symusic.Score(path)),
            midi.read_notes(miditoolkit.MidiFile(path)),
            midi.read_notes(path),
        ]


def test_real_notes_survive_writing_within_half_a_tick(tmp_path):
    for path in SMALL:
        notes = midi.read_notes(path)
        midi.write_midi(notes, tmp_path / "again.mid")
        for again in both_readings(tmp_path / "again.mid"):
            np.testing.assert_array_equal(again["pitch"], notes["pitch"])
            np.testing.assert_array_equal(again["velocity"], notes["velocity"])
            for field in ("start", "end"):
                error = np.abs(again[field] - notes[field]).max()
                assert error <= 0.0005 + 1e-9


NOTES = st.lists(
    st.tuples(
        st.floats(0, 100),
        st.floats(0, 10),
        st.integers(58, 62),
        st.integers(1, 127),
    ),
    min_size=1,
    max_size=40,
)


@hypothesis.given(NOTES)
@hypothesis.settings(max_examples=60, deadline=None)
def test_no_note_is_lost_in_writing(rows):
    rows = [(start, start + size, p, v) for start, size, p, v in rows]
    notes = notes_module.check_notes(performance(*rows))
    again = midi.read_notes(midi.write_midi(notes))
    assert sorted(again["pitch"]) == sorted(notes["pitch"])
    assert (again["end"] - again["start"] > 0.0009).all()
    np.testing.assert_array_equal(
        midi.read_notes(midi.write_midi(again)), again
    )


def test_notes_of_one_pitch_on_one_tick_are_written_a_tick_apart():
    rows = [(1.0, 2.0, 60, 10), (1.0001, 2.0, 60, 20), (1.0002, 2.0, 60, 30)]
    again = midi.read_notes(midi.write_midi(performance(*rows)))
    assert again.tolist() == [
        (1.0, 1.001, 60, 10),
        (1.001, 1.002, 60, 20),
        (1.002, 2.0, 60, 30),
    ]


def test_times_on_the_grid_of_8_or_10_milliseconds_are_written_exactly():
    for step in (0.008, 0.01):
        start = np.arange(500) * step
        rows = zip(start, start + step, [60] * 500, [64] * 500, strict=True)
        notes = performance(*rows)
        again = midi.read_notes(midi.write_midi(notes))
        np.testing.assert_allclose(again["start"], notes["start"], atol=1e-12)


def test_a_written_file_is_a_named_piano_on_channel_0(tmp_path):
    path = tmp_path / "one.mid"
    midi.write_midi(performance((0, 1, 60, 64)), path, name="Étude")
    track = mido.MidiFile(path).tracks[-1]
    assert track.name == "Étude"
    assert {m.channel for m in track if not m.is_meta} == {0}
    assert [m.program for m in track if m.type == "program_change"] == [0]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "piece.mid"
    notes = performance((0, 1, 60, 64))
    midi.write_midi(notes, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(pathlib.Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        midi.write_midi(notes[:0], path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_performance_is_a_valid_file(tmp_path):
    path = tmp_path / "silence.mid"
    midi.write_midi(performance(), path)
    assert len(mido.MidiFile(path).tracks) == 2
    with pytest.raises(midi.MidiError, match="no piano notes"):
        midi.read_notes(path)


def test_the_longest_performance_that_is_written_is_read():
    notes = performance((0, 7_200, 60, 64))
    assert midi.read_notes(midi.write_midi(notes)).tolist() == notes.tolist()


@pytest.mark.parametrize("end", [7_200.5, 7_200.999, 7_200.999_999])
@pytest.mark.parametrize("ticks_per_beat", [1, 500, 32_767])
def test_notes_of_the_last_second_are_written_and_read(
    end, ticks_per_beat, tmp_path
):
    strokes = [(7_199.5, end, 60, 64), *[(end, end, 61, v) for v in (1, 2, 3)]]
    path = tmp_path / "long.mid"
    midi.write_midi(performance(*strokes), path, ticks_per_beat=ticks_per_beat)
    read, report = midi.read_notes(path, return_report=True)
    assert len(read) == 4
    assert "ends of track" not in str(report)
    assert read["end"].max() == pytest.approx(end, abs=2 / ticks_per_beat)
    written = midi.write_midi(read, ticks_per_beat=ticks_per_beat)
    assert midi.read_notes(written).tolist() == read.tolist()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ticks_per_beat": 0}, "ticks_per_beat=0"),
        ({"ticks_per_beat": 32_768}, "ticks_per_beat=32768"),
        ({"program": 128}, "program=128"),
        ({"name": "練習曲"}, "Latin-1"),
    ],
)
def test_writing_names_a_wrong_argument(options, expected):
    with pytest.raises(ValueError, match=expected):
        midi.write_midi(performance((0, 1, 60, 64)), **options)


def test_what_could_not_be_read_is_not_written():
    with pytest.raises(ValueError, match=r"up to 7,200 seconds"):
        midi.write_midi(performance((0, 7_201, 60, 64)))
    many = np.tile(performance((0, 1, 60, 64)), 200_001)
    with pytest.raises(ValueError, match="at most 200,000"):
        midi.write_midi(many)


# Checking.


def test_checking_sorts_a_copy():
    notes = performance((1, 2, 60, 1), (0, 1, 62, 2), (0, 1, 61, 3))
    before = notes.copy()
    assert notes_module.check_notes(notes)["pitch"].tolist() == [61, 62, 60]
    np.testing.assert_array_equal(notes, before)


def test_checking_accepts_other_number_types():
    wide = [(name, "f8") for name in midi.NOTE_DTYPE.names]
    notes = np.array([(0, 1, 60, 64)], dtype=wide)
    assert notes_module.check_notes(notes).dtype == midi.NOTE_DTYPE


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((-1, 1, 60, 64), "starts of 0 s or later. Received: start=-1.0"),
        ((np.nan, 1, 60, 64), "start=nan in note 1"),
        ((2, 1, 60, 64), "ends at or after starts. Received: end=1.0"),
        ((0, np.inf, 60, 64), "end=inf"),
        ((0, 1, 128, 64), "pitches from 0 to 127. Received: pitch=128"),
        ((0, 1, 60.5, 64), "pitch=60.5"),
        ((0, 1, 60, 0), "velocity=0"),
    ],
)
def test_checking_names_the_first_value_out_of_range(row, expected):
    wide = [(name, "f8") for name in midi.NOTE_DTYPE.names]
    notes = np.array([(0, 1, 60, 64), row], dtype=wide)
    with pytest.raises(ValueError, match=expected):
        notes_module.check_notes(notes)


@pytest.mark.parametrize(
    "notes",
    [[(0, 1, 60, 64)], np.zeros((3, 4)), np.zeros((2, 2), midi.NOTE_DTYPE)],
)
def test_checking_refuses_what_is_no_array_of_notes(notes):
    with pytest.raises(ValueError, match="fields start, end, pitch, velocity"):
        notes_module.check_notes(notes)
