"""The command generate leaves the music that it continues as it was."""

import pathlib

import miditoolkit
import numpy as np
import pytest

from keras_pianogen.generation.own_music import OwnMusic
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

DATA = pathlib.Path(__file__).parent / "data"


def played(path):
    """Keys and movements of the pedal in a file's first track, in seconds."""
    file = miditoolkit.MidiFile(path)
    times = file.get_tick_to_time_mapping()
    part = file.instruments[0]
    keys = [(n.start, n.end, n.pitch, n.velocity) for n in part.notes]
    sustain = [c for c in part.control_changes if c.number == 64]
    moves = [(c.time, c.value) for c in sustain]
    return (
        [(times[a], times[b], *rest) for a, b, *rest in sorted(keys)],
        [(times[a], value) for a, value in moves],
    )


@pytest.mark.parametrize("name", ["bach", "scarlatti"])
def test_what_is_continued_stays_as_it_was(generate, tmp_path, name):
    (path,) = DATA.glob(f"{name}*.midi")
    own, (keys, moves) = read_notes(path), played(path)
    printed, notes = generate("--prompt", path, "--seed", "1")
    last = own["start"].max()
    assert f"goes on from {min(last + 0.5, own['end'].max()):.1f} s" in printed
    # Nothing is lost: each note, each velocity, the pedal as it moved.
    for field in ("pitch", "velocity"):
        np.testing.assert_array_equal(notes[field][: len(own)], own[field])
    starts = notes["start"][: len(own)]
    np.testing.assert_allclose(starts, own["start"], atol=0.001)
    assert notes["start"][len(own) :].min() > last
    kept, pedal = played(tmp_path / "piece.mid")
    assert len(pedal) == len(moves) > 100
    np.testing.assert_allclose(pedal, moves, atol=0.001)
    ends = np.array(kept[: len(keys)])[:, 1] - np.array(keys)[:, 1]
    again = notes["start"][len(own) :].min()
    changed = np.abs(ends) > 0.002
    assert not changed[np.array(keys)[:, 1] < again].any()


def test_the_part_of_a_file_that_is_continued_stays_as_it_was(
    generate, tmp_path
):
    (path,) = DATA.glob("bach*.midi")
    own, moves = read_notes(path), played(path)[1]
    cut = 6.5
    _, notes = generate("--prompt", path, "--prompt-seconds", str(cut))
    own = own[own["start"] < cut]
    ended = own["end"] <= cut
    for field in ("start", "end", "pitch", "velocity"):
        found = notes[field][: len(own)]
        np.testing.assert_allclose(
            found[ended], own[field][ended], atol=0.002, err_msg=field
        )
    assert notes["start"][len(own) :].min() >= cut - 0.001
    _, pedal = played(tmp_path / "piece.mid")
    moves = [move for move in moves if move[0] < cut]
    np.testing.assert_allclose(pedal[: len(moves)], moves, atol=0.001)
    assert pedal[len(moves) :] in ([], [(cut, 0)])


@pytest.mark.parametrize("volume", [100, 0])
def test_all_pedals_and_other_controllers_stay_as_they_were(volume):
    """Volume is 100 at first; after a fade-out, new notes stand apart."""
    notes = np.array([(0, 1, 60, 80), (1, 2, 62, 80)], NOTE_DTYPE)
    moves = [
        (7, 90, 0),
        (10, 40, 0),
        (7, 100, 0),
        (66, 127, 100),
        (67, 70, 200),
        (64, 90, 300),
    ]
    moves += [(64, 0, 900), (67, 0, 900), (66, 0, 950), (7, volume, 1400)]
    file = write_midi(notes)
    part = file.instruments[0]
    part.control_changes = [miditoolkit.ControlChange(*move) for move in moves]
    own, new = OwnMusic.of(file), np.array([(2, 3, 64, 80)], NOTE_DTYPE)
    first, *others = own.until().to_midi(own.continued(new, {})).instruments
    kept = [(c.number, c.value, c.time) for c in first.control_changes]
    assert kept == moves
    assert len(others) == (volume == 0)
    for other in others:  # It is as loud, and stands where the first note did.
        found = [(c.number, c.value) for c in other.control_changes]
        assert found == [(10, 40), (7, 100)]
    first = own.until(0.5).to_midi(own.until(0.5).notes).instruments[0]
    kept = [(c.number, c.value, c.time) for c in first.control_changes]
    assert kept == [*moves[:6], (64, 0, 500), (66, 0, 500), (67, 0, 500)]


def test_a_half_pedal_does_not_reach_new_notes():
    file = write_midi(np.array([(0, 1, 60, 80), (1, 2, 62, 80)], NOTE_DTYPE))
    moves = [(64, 127, 100), (64, 40, 300)]  # It sustains nothing, and rests.
    file.instruments[0].control_changes = [
        miditoolkit.ControlChange(*move) for move in moves
    ]

    def written(own):
        new = np.array([(2, 3, 64, 80)], NOTE_DTYPE)
        tracks = own.to_midi(own.continued(new, {})).instruments
        return [
            (
                [note.pitch for note in track.notes],
                [(x.number, x.value, x.time) for x in track.control_changes],
            )
            for track in tracks
        ]

    whole, cut = OwnMusic.of(file).until(), OwnMusic.of(file).until(1.5)
    # Either it stays as it is and new notes have a channel of their own,
    assert written(whole) == [([60, 62], moves), ([64], [])]
    # or it is lifted where the rest of the music was cut away.
    assert written(cut) == [([60, 62, 64], [*moves, (64, 0, 1500)])]


def test_a_prompt_that_is_cut_in_a_rest_is_continued_from_there(
    generate, shared
):
    path = shared / "data" / "reported-midi" / "rest_prompt.mid"
    own = read_notes(path)
    own = own[own["start"] < 10]
    assert own["end"].max() < 9.11
    for seconds in (9.5, 10):
        options = ["--prompt", path, "--prompt-seconds", str(seconds)]
        _, notes = generate(*options, "--seed", "3")
        assert notes["start"][len(own) :].min() >= seconds
