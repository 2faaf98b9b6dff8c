"""Facts about `keras_pianogen.midi`: reading, its guard, and writing."""

import csv
import io
import logging
import pathlib
import struct
import time
import warnings

import fuzz_midi
import hypothesis
import hypothesis.strategies as st
import miditoolkit
import mido
import numpy as np
import pytest
import symusic

from keras_pianogen import midi
from keras_pianogen import notes as notes_module
from keras_pianogen.midi import parsing
from keras_pianogen.midi.track import AFTER_END
from keras_pianogen.midi.track import HELD
from keras_pianogen.midi.track import HIGH_BYTE
from keras_pianogen.midi.track import JUNK
from keras_pianogen.midi.track import LONG_NUMBER
from keras_pianogen.midi.track import RESTRIKES

pytestmark = pytest.mark.one_backend

DATA = pathlib.Path(__file__).parent / "data"
SMALL = sorted(DATA.glob("*.midi"))
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


# Reading: the guard.

KEY = b"\x00\x90\x3c\x40\x01\x3c\x00"
END = b"\x00\xff\x2f\x00"
LONG = b"\xff\xff\xff\x7f"  # the longest delta, 268,435,455 ticks


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
