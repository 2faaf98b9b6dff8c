"""The pedal's own spans, read from MIDI files."""

import miditoolkit
import numpy as np
import pytest
import symusic
from midi_bytes import DATA
from midi_bytes import SMALL
from midi_bytes import control
from midi_bytes import file_bytes
from midi_bytes import off
from midi_bytes import on
from midi_bytes import pedal_spans
from midi_bytes import performance

from keras_pianogen import midi
from keras_pianogen import notes as notes_module

pytestmark = pytest.mark.one_backend

# Reading: the pedal by itself.

ONE_NOTE = [on(0, 60), off(100, 60)]


@pytest.mark.parametrize(
    ("movements", "expected"),
    [
        ([], []),
        ([control(100, 127), control(300, 0)], [(100, 400)]),
        ([control(0, 63), control(100, 64), control(100, 63)], [(100, 200)]),
        # Down stays down; up stays up.
        (
            [control(0, 0), control(10, 70), control(10, 90), control(10, 9)],
            [(10, 30)],
        ),
        # Changed at one tick, and pressed for none.
        (
            [control(0, 99), control(50, 0), control(0, 99), control(50, 0)],
            [(0, 50), (50, 100)],
        ),
        ([control(10, 99), control(0, 0)], []),
        # Never released: until the last key or pedal.
        ([control(20, 127)], [(20, 100)]),
        ([control(20, 127), control(200, 100)], [(20, 220)]),
        # CC66 and CC67 are not sustain.
        ([control(0, 99, 66), control(0, 99, 67)], []),
    ],
)
def test_the_pedal_s_spans_are_its_movements(movements, expected):
    assert pedal_spans(ONE_NOTE, movements) == expected


def test_pedals_of_channels_with_notes_are_one():
    tracks = [
        [on(0, 60, 64, c), off(1000, 60, c), control(0, 0, 64, c)]
        for c in (0, 1)
    ]
    left = [control(100, 99), control(200, 0), control(300, 99)]
    right = [control(200, 99, 64, 1), control(200, 0, 64, 1)]
    silent = [control(0, 99, 64, 2), control(900, 0, 64, 2)]
    drums = [control(0, 99, 64, 9), control(900, 0, 64, 9)]
    expected = [(100, 400), (600, 1000)]
    assert pedal_spans(*tracks, left, right, silent, drums) == expected


def test_the_pedal_holds_the_notes_that_it_lengthens():
    path = DATA / "scarlatti_k_525.midi"
    pedal = midi.read_pedal(path)
    keys, notes = (midi.read_notes(path, sustain=s) for s in (False, True))
    held = notes["end"] > keys["end"]
    place = np.searchsorted(pedal["start"], keys["end"], side="right") - 1
    inside = (place >= 0) & (keys["end"] < pedal["end"][place])
    assert held.sum() > 100
    assert inside[held].all()
    assert (notes["end"][held] <= pedal["end"][place][held]).all()
    assert (pedal["start"] < pedal["end"]).all()
    assert (pedal["end"][:-1] <= pedal["start"][1:]).all()


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_the_pedal_of_a_file_is_that_of_its_objects(path):
    pedal = midi.read_pedal(path)
    for source in (
        path.read_bytes(),
        miditoolkit.MidiFile(str(path)),
        symusic.Score(str(path)),
    ):
        np.testing.assert_allclose(
            midi.read_pedal(source)["start"], pedal["start"], atol=1e-4
        )


def test_what_is_written_has_no_pedal_and_broken_files_have_errors(tmp_path):
    notes = performance((0, 1, 60, 64))
    midi.write_midi(notes, tmp_path / "a.mid")
    assert not len(midi.read_pedal(tmp_path / "a.mid"))
    with pytest.raises(midi.MidiError, match="not a MIDI file"):
        midi.read_pedal(b"no music, and no pedal either")
    with pytest.raises(midi.MidiError, match="no piano notes"):
        midi.read_pedal(file_bytes([control(0, 99), control(9, 0)]))


@pytest.mark.parametrize(
    ("pedal", "words"),
    [
        (np.zeros(3), "float64"),
        ([(0, 1)], "list"),
        (np.array([(1, 0.5)], midi.PEDAL_DTYPE), r"\(1.0, 0.5\)"),
        (np.array([(-1, 0.5)], midi.PEDAL_DTYPE), "-1"),
        (np.array([(0, np.inf)], midi.PEDAL_DTYPE), "inf"),
        (np.array([(1, 3), (0, 2)], midi.PEDAL_DTYPE), "overlap"),
    ],
)
def test_what_is_no_pedal_is_refused(pedal, words):
    with pytest.raises(ValueError, match=f"`pedal` must .*{words}"):
        notes_module.check_pedal(pedal)
