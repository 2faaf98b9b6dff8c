"""Reading MIDI files and objects: notes, sustain and time."""

import csv
import io
import logging

import miditoolkit
import mido
import numpy as np
import pytest
import symusic
from midi_bytes import SMALL
from midi_bytes import control
from midi_bytes import file_bytes
from midi_bytes import off
from midi_bytes import on
from midi_bytes import pedal_spans
from midi_bytes import program
from midi_bytes import repairs
from midi_bytes import spans
from midi_bytes import tempo

from keras_pianogen import midi
from keras_pianogen.midi.track import HELD
from keras_pianogen.midi.track import RESTRIKES

pytestmark = pytest.mark.one_backend

# miditoolkit and symusic take separate songs for one, lose notes whose running
# status goes on after a system exclusive event, and pair overlapping strokes
# of a key first in, first out.
DIFFERENT = {
    "0x09-NoteOn.mid",
    "Sandstorm.mid",
    "example.mid",
    "test-2-tracks-type-2.mid",
    "test-running-status-sysex.mid",
}


# Reading: the rules.


def test_a_note_has_its_seconds_pitch_and_velocity():
    track = [on(500, 60, 81), off(250, 60)]
    assert midi.read_notes(file_bytes(track)).tolist() == [(0.5, 0.75, 60, 81)]


def test_notes_are_sorted_by_start_then_pitch():
    track = [
        on(0, 70),
        on(0, 60),
        on(9, 50),
        off(1, 70),
        off(0, 60),
        off(0, 50),
    ]
    assert spans(track) == [(0, 10, 60), (0, 10, 70), (9, 10, 50)]


def test_an_overlapping_note_of_the_same_pitch_survives():
    track = [on(0, 60), on(100, 60), off(100, 60), off(100, 60)]
    assert spans(track) == [(0, 100, 60), (100, 200, 60)]


def test_a_note_takes_no_note_off_of_a_later_stroke():
    track = [on(0, 60), on(500, 60), off(100, 60), on(900, 60), off(100, 60)]
    assert spans(track) == [(0, 500, 60), (500, 600, 60), (1500, 1600, 60)]
    assert repairs(track) == {RESTRIKES: 1}


def test_a_note_off_after_the_next_stroke_s_note_on_in_a_tick_is_the_older_s():
    track = [on(0, 60), on(100, 60), off(0, 60), off(300, 60)]
    assert spans(track) == [(0, 100, 60), (100, 400, 60)]
    assert repairs(track) == {}


def test_a_stroke_that_lasts_no_tick_has_no_length():
    track = [on(100, 60), off(0, 60), on(100, 62), off(100, 62)]
    assert spans(track) == [(100, 100, 60), (200, 300, 62)]


def test_notes_of_one_pitch_and_start_become_the_longest_and_loudest():
    left = [on(0, 60, 50), off(300, 60)]
    right = [on(0, 60, 90), off(100, 60)]
    notes, report = midi.read_notes(file_bytes(left, right), return_report=True)
    assert notes.tolist() == [(0.0, 0.3, 60, 90)]
    assert report == midi.MidiReport(merged_notes=1)


def test_a_key_that_is_held_to_the_end_ends_with_its_track():
    track = [on(0, 60), on(0, 62), off(10, 62), control(90, 0)]
    assert spans(track) == [(0, 100, 60), (0, 10, 62)]
    assert repairs(track) == {HELD: 1}
    assert spans(track, [on(500, 64), off(1, 64)])[0] == (0, 100, 60)


@pytest.mark.parametrize(
    ("value", "end"), [(63, 100), (64, 500), (100, 500), (127, 500)]
)
def test_the_pedal_is_down_at_64_and_above(value, end):
    track = [control(0, value), on(0, 60), off(100, 60), control(400, 0)]
    assert spans(track) == [(0, end, 60)]


@pytest.mark.parametrize("number", [1, 4, 11, 65, 66, 67, 69])
def test_no_other_controller_sustains(number):
    pedal = [control(0, 127, number), on(0, 60), off(100, 60)]
    assert spans([*pedal, control(400, 0, number)]) == [(0, 100, 60)]


def test_a_sustained_note_ends_at_the_next_start_of_its_pitch():
    again = [on(100, 60), off(100, 60), control(200, 0)]
    track = [control(0, 127), on(0, 60), off(100, 60), *again]
    assert spans(track) == [(0, 200, 60), (200, 500, 60)]


@pytest.mark.parametrize(
    ("events", "end"),
    [
        ([off(100, 60), control(0, 127), control(200, 0)], 100),
        ([control(100, 127), off(0, 60), control(200, 0)], 300),
        ([control(50, 99), off(50, 60), control(0, 0), control(0, 99)], 100),
        ([control(50, 99), control(50, 0), control(0, 99), off(0, 60)], 200),
    ],
    ids=["key, pedal", "pedal, key", "key, pedal twice", "pedal twice, key"],
)
def test_events_of_one_tick_count_in_the_order_of_the_file(events, end):
    last = control(100, 0) if end == 200 else control(900, 0)
    assert spans([on(0, 60), *events, last]) == [(0, end, 60)]


def test_tracks_count_in_order_within_a_tick():
    pedal = [control(100, 127), control(200, 0)]
    key = [on(0, 60), off(100, 60)]
    assert spans(pedal, key) == [(0, 300, 60)]
    assert spans(key, pedal) == [(0, 100, 60)]
    longer = [control(0, 5, number=7) for _ in range(100)]
    assert spans(key, [*pedal, *longer]) == [(0, 100, 60)]


@pytest.mark.parametrize("longer", [0, 1])
@pytest.mark.parametrize(("values", "end"), [((0, 127), 200), ((127, 0), 100)])
def test_pedals_move_on_one_tick_in_the_order_of_their_tracks(
    values, end, longer
):
    first, second = (control(50, value) for value in values)
    tracks = [[on(0, 60), first, off(50, 60)], [second, control(150, 0)]]
    # More bytes in a track don't move its events.
    tracks[longer][:0] = [tempo(0, 500_000)] * 20
    assert spans(*tracks) == [(0, end, 60)]


def test_a_pedal_released_at_the_tick_of_a_key_does_not_sustain():
    track = [control(0, 127), on(0, 60), control(100, 0), off(0, 60)]
    assert spans(track) == [(0, 100, 60)]


def test_changing_the_pedal_at_one_tick_ends_what_it_held():
    change = [control(300, 0), control(0, 127), control(100, 0)]
    track = [control(0, 127), on(0, 60), off(100, 60), *change]
    assert spans(track) == [(0, 400, 60)]


def test_a_pedal_never_released_ends_with_the_last_movement():
    track = [control(0, 127), on(0, 60), off(100, 60), on(100, 62), off(50, 62)]
    assert spans(track) == [(0, 250, 60), (200, 250, 62)]
    assert spans([*track, control(50, 127)])[0] == (0, 300, 60)


def test_a_pedal_acts_on_its_channel_alone():
    pedal = [control(0, 127, channel=1), control(500, 0, channel=1)]
    keys = [on(0, 60), on(0, 64, 64, 1), off(100, 60), off(0, 64, 1)]
    assert spans(pedal, keys) == [(0, 100, 60), (0, 500, 64)]


def test_a_pedal_acts_on_its_channel_in_every_track():
    pedal = [control(0, 127), control(500, 0)]
    right, left = [on(0, 60), off(100, 60)], [on(50, 40), off(100, 40)]
    assert spans(pedal, right, left) == [(0, 500, 60), (50, 500, 40)]


def test_all_sound_off_ends_what_sounds_and_leaves_the_pedal_down():
    track = [control(0, 127), on(0, 60), off(100, 60), on(0, 62)]
    track += [control(100, 0, 120), on(100, 64), off(100, 64), control(100, 0)]
    assert spans(track) == [(0, 200, 60), (100, 200, 62), (300, 500, 64)]
    assert repairs(track) == {}


def test_a_reset_of_all_controllers_lifts_the_pedal():
    track = [control(0, 127), on(0, 60), off(100, 60), control(100, 0, 121)]
    track += [on(100, 62), off(100, 62), control(100, 0)]
    assert spans(track) == [(0, 200, 60), (300, 400, 62)]
    assert pedal_spans(track) == [(0, 200)]


@pytest.mark.parametrize("number", [123, 124, 125, 126, 127])
def test_all_notes_off_releases_the_keys_of_its_channel(number):
    keys = [on(0, 60), on(0, 64, 64, 1), control(100, 0, number)]
    assert spans([*keys, off(100, 64, 1), off(0, 60)]) == [
        (0, 100, 60),
        (0, 200, 64),
    ]
    held = [control(0, 127), *keys, off(50, 64, 1), control(100, 0)]
    assert spans(held) == [(0, 250, 60), (0, 150, 64)]


def test_a_limit_on_ringing_counts_from_the_release_of_the_key():
    track = [control(0, 127), on(0, 60), off(100, 60), control(50_000, 0)]
    assert spans(track) == [(0, 50_100, 60)]
    assert spans(track, max_ring=5) == [(0, 5_100, 60)]
    assert spans(track, max_ring=5, sustain=False) == [(0, 100, 60)]
    with pytest.raises(ValueError, match="above 0 s. Received: max_ring=0"):
        spans(track, max_ring=0)


def test_a_pedal_that_never_lifts_is_told_and_one_that_does_is_not():
    track = [control(0, 76), on(0, 60), off(100, 60), control(30_000, 95)]
    data = file_bytes(track)
    _, report = midi.read_notes(data, return_report=True)
    assert (report.ringing_notes, report.unlifted_pedals) == (1, 1)
    assert len(report.warnings()) == 2
    data = file_bytes([*track, control(0, 0), on(9, 62), off(9, 62)])
    _, report = midi.read_notes(data, return_report=True)
    assert (report.ringing_notes, report.unlifted_pedals) == (1, 0)


def test_without_sustain_a_note_ends_where_its_key_does():
    track = [control(0, 127), on(0, 60), off(100, 60), control(400, 0)]
    assert spans(track, sustain=False) == [(0, 100, 60)]


def test_tempos_of_all_tracks_count_in_order_of_time():
    keys = [on(500, 60), off(1000, 60), on(500, 62), off(500, 62)]
    tempos = [tempo(0, 1_000_000), tempo(1000, 250_000)]
    assert spans(tempos, keys) == [(1000, 2250, 60), (2500, 2750, 62)]
    assert spans([tempo(1000, 250_000)], keys)[0] == (500, 1250, 60)


def test_ticks_become_seconds_with_one_rounding():
    tempos = [tempo(0, 499_999)] + [tempo(1, 500_001 + k) for k in range(999)]
    track = [*tempos, on(1, 60), off(1, 60)]
    notes = midi.read_notes(file_bytes(track, ticks_per_beat=384))
    exact = 499_999 + sum(500_001 + k for k in range(999))
    assert notes["start"][0] == exact / 384e6


def test_drums_are_left_out_and_said(caplog):
    drums = [on(0, 36, 99, 9), off(10, 36, 9)]
    data = file_bytes([on(0, 60), off(100, 60), *drums])
    with caplog.at_level(logging.WARNING, "keras_pianogen.midi.reading"):
        assert midi.read_notes(data)["pitch"].tolist() == [60]
    assert "1 drum notes left out" in caplog.text
    assert midi.read_notes(data, return_report=True)[1].drum_notes == 1
    with pytest.raises(midi.MidiError, match=r"no piano notes.*1 drum notes"):
        midi.read_notes(file_bytes(drums))


def test_other_programs_are_played_and_counted():
    violin = [program(40, 1), on(0, 76, 64, 1), off(10, 76, 1)]
    data = file_bytes([program(3), on(0, 60), off(10, 60)], violin)
    notes, report = midi.read_notes(data, return_report=True)
    assert notes["pitch"].tolist() == [60, 76]
    assert report.other_programs == {40: 1}


def test_reading_equals_a_slow_twin(shared):
    odd = (shared / "data" / "odd-midi").rglob("*.mid")
    odd = [path for path in odd if path.stat().st_size < 30_000]
    compared = 0
    for path in [*SMALL, *odd]:
        expected = slow_twin(path)
        if expected:
            compared += 1
            assert midi.read_notes(path).tolist() == expected, path
    assert compared > 100


def slow_twin(path):
    """The rules of the module again, event by event; `None` for odd files."""
    try:
        file = mido.MidiFile(path)
    except Exception:
        return None
    if file.type == 2 or file.ticks_per_beat > 0x7FFF:
        return None
    events, tempos = [], []
    for track, messages in enumerate(file.tracks):
        tick = 0
        for place, message in enumerate(messages):
            tick += message.time
            if message.type == "set_tempo":
                tempos.append((tick, track, message.tempo))
            if not message.is_meta and message.type != "sysex":
                events.append((tick, track, place, message))
            last = tick, track, 1 << 30, None
        events.append(last)
    events.sort(key=lambda event: event[:3])
    keys, pedals = [], []
    held = {}
    for at in range(len(events)):
        slow_step(events, at, held, keys, pedals)
    return slow_notes(keys, pedals, slow_clock(tempos, file.ticks_per_beat))


def slow_step(events, at, held, keys, pedals):
    """One event: `keys` get (start, end, moment, pitch, velocity, channel)."""
    tick, track, place, message = events[at]

    def release(key):
        start, velocity = held.pop(key)
        keys.append((start, tick, at, key[2], velocity, key[1]))

    if message is None:
        for key in [key for key in held if key[0] == track]:
            release(key)
    elif message.type in ("note_on", "note_off"):
        key = track, message.channel, message.note
        if message.type == "note_off" or not message.velocity:
            if key in held:
                release(key)
            return
        if key in held:
            release(key)
            later = next_of_key(events, at)
            if later is not None:  # The older stroke's note-off: none now.
                events[later] = (*events[later][:3], mido.Message("clock"))
        held[key] = tick, message.velocity
    elif message.type == "control_change":
        pedals.append((at, tick, message.channel, message))
        if message.control in (120, 123, 124, 125, 126, 127):
            for key in [key for key in held if key[1] == message.channel]:
                release(key)


def next_of_key(events, at):
    """The next event of this key, if it is a note-off on the same tick."""
    tick, track, _, struck = events[at]
    for later in range(at + 1, len(events)):
        when, where, _, message = events[later]
        if when != tick:
            return None
        if where == track and getattr(message, "note", None) == struck.note:
            if message.channel == struck.channel:
                ends = message.type == "note_off" or not message.velocity
                return later if ends else None
    return None


def slow_clock(tempos, ticks_per_beat):
    tempos = sorted(tempos)

    def seconds(tick):
        total, since, tempo = 0, 0, 500_000
        for when, _, new in tempos:
            if when > tick:
                break
            total += (when - since) * tempo
            since, tempo = when, new
        return (total + (tick - since) * tempo) / (ticks_per_beat * 1e6)

    return seconds


def slow_notes(keys, pedals, seconds):
    keys = [key for key in keys if key[5] != 9]
    moves = [m for m in pedals if m[3].control in (64, 120, 121) and m[2] != 9]
    last = max([k[1] for k in keys] + [tick for _, tick, _, _ in moves] + [0])
    notes = {}
    for start, end, at, pitch, velocity, channel in keys:
        mine = [m for m in moves if m[2] == channel]
        down = [
            m[3].control == 64 and m[3].value >= 64
            for m in mine
            if m[0] < at and m[3].control != 120
        ]
        if down and down[-1]:
            ups = (
                m[1]
                for m in mine
                if m[0] > at and (m[3].control != 64 or m[3].value < 64)
            )
            end = next(ups, last)
        other = notes.get((start, pitch), (0, 0))
        notes[start, pitch] = max(end, other[0]), max(velocity, other[1])
    rows = []
    for (start, pitch), (end, velocity) in sorted(notes.items()):
        later = [s for s, p in notes if p == pitch and s > start]
        end = min([end, *later])
        rows.append((seconds(start), seconds(end), pitch, velocity))
    return rows


# Reading: the kinds of source and the two libraries.


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_every_kind_of_source_gives_the_same_notes(path):
    notes = midi.read_notes(path)
    data = path.read_bytes()
    for source in (
        str(path),
        data,
        bytearray(data),
        symusic.Score(path),
        miditoolkit.MidiFile(path),
    ):
        np.testing.assert_array_equal(midi.read_notes(source), notes)


def test_both_libraries_agree_note_for_note_on_maestro(maestro_folder):
    for path in sorted(maestro_folder.glob("*/*.midi"))[100:1276:300]:
        notes = midi.read_notes(path)
        by_miditoolkit = midi.read_notes(miditoolkit.MidiFile(path))
        np.testing.assert_array_equal(by_miditoolkit, notes)


def test_maestro_has_as_many_notes_as_mido_reads(maestro_folder):
    with (maestro_folder / "maestro-v3.0.0.csv").open() as table:
        files = [
            maestro_folder / row["midi_filename"]
            for row in csv.DictReader(table)
            if row["split"] == "validation"
        ]
    assert sum(len(midi.read_notes(file)) for file in files) == 639_425


def test_odd_files_read_alike_in_both_libraries_or_raise_midi_error(shared):
    folder = shared / "data" / "odd-midi"
    files = [path for path in folder.glob("*/**/*") if path.is_file()]
    assert len(files) == 386
    for path in files:
        notes = read_or_none(path)
        if notes is None or path.name in DIFFERENT:
            continue
        for library in (miditoolkit.MidiFile, symusic.Score):
            try:
                source = library(path)
            except Exception:
                continue  # this library can't read it
            np.testing.assert_array_equal(read_or_none(source), notes, path)


def read_or_none(source):
    try:
        return midi.read_notes(source)
    except midi.MidiError:
        return None


def test_a_score_in_seconds_or_quarters_is_read():
    score = symusic.Score(SMALL[0])
    notes = midi.read_notes(score)
    for unit in ("second", "quarter"):
        again = midi.read_notes(score.to(unit))
        np.testing.assert_allclose(again["start"], notes["start"], atol=2e-3)


@pytest.mark.parametrize("number", [120, 121, 123])
def test_objects_obey_controllers_that_end_what_sounds(number):
    track = [control(0, 127), on(0, 60), off(100, 60), on(0, 62)]
    track += [control(100, 0, number), off(100, 62), control(100, 0)]
    data = file_bytes(track)
    notes = midi.read_notes(data)
    for source in (
        miditoolkit.MidiFile(file=io.BytesIO(data)),
        symusic.Score.from_midi(data),
    ):
        np.testing.assert_array_equal(midi.read_notes(source), notes)


def test_objects_take_parts_of_one_program_to_share_a_pedal():
    right = [control(0, 127), on(0, 60), off(100, 60), control(400, 0)]
    data = file_bytes(right, [on(0, 40), off(100, 40)])
    for source in (
        miditoolkit.MidiFile(file=io.BytesIO(data)),
        symusic.Score.from_midi(data),
    ):
        notes = midi.read_notes(source)
        assert notes["end"].tolist() == [0.5, 0.5]


def test_reading_leaves_an_object_as_it_was():
    file = miditoolkit.MidiFile(SMALL[0])
    first, second = midi.read_notes(file), midi.read_notes(file)
    np.testing.assert_array_equal(first, second)
