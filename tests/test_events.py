"""Notes to event ids and back, held against a slow twin in plain Python."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from keras_pianogen.events import DecodeReport
from keras_pianogen.events import EventVocabulary
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

PNO_AI = EventVocabulary.named("pno-ai")
MAGENTA = EventVocabulary.named("magenta")

vocabularies = st.one_of(
    st.sampled_from([PNO_AI, MAGENTA]),
    st.builds(
        EventVocabulary,
        time_step=st.sampled_from([0.001, 0.0125, 0.02, 0.1, 1.0]),
        max_shift=st.integers(1, 200),
        velocity_bins=st.integers(1, 127),
        velocity_on_change=st.booleans(),
    ),
)


@st.composite
def performances(draw):
    """Notes that crowd few pitches, so that they overlap and coincide."""
    time = st.one_of(
        st.integers(0, 40).map(lambda n: n * 0.004),
        st.floats(0, 3, allow_subnormal=False),
    )
    note = st.tuples(
        time,
        time,
        st.one_of(st.integers(58, 62), st.integers(0, 127)),
        st.integers(1, 127),
    )
    notes = [(s, s + d, p, v) for s, d, p, v in draw(st.lists(note))]
    return np.array(notes, NOTE_DTYPE)


def cut_overlaps(notes):
    """Notes by start, then pitch, each ended where its pitch is restruck."""
    notes = sorted(notes.tolist(), key=lambda n: (n[0], n[2]))
    for i, (start, end, pitch, velocity) in enumerate(notes):
        nexts = [n[0] for n in notes[i + 1 :] if n[2] == pitch]
        notes[i] = (start, min([end, *nexts]), pitch, velocity)
    return notes


def slow_encode(vocabulary, notes):
    """What the module's docstring says, one tick after the other."""
    v = vocabulary
    width = math.ceil(127 / v.velocity_bins)
    by_tick = {}
    for index, (start, end, pitch, velocity) in enumerate(cut_overlaps(notes)):
        on, off = (math.floor(t / v.time_step + 0.5) for t in (start, end))
        news = by_tick.setdefault(on, ([], []))[1]
        news.append((pitch, index, (velocity - 1) // width, on == off))
        if on != off:
            by_tick.setdefault(off, ([], []))[0].append(pitch)
    ids, now, last_bin = [], 0, None
    for tick in sorted(by_tick):
        gap, now = tick - now, tick
        while gap > 0:
            ids.append(v.shift_id + min(gap, v.max_shift) - 1)
            gap -= v.max_shift
        olds, news = by_tick[tick]
        ids += [v.note_off_id + pitch for pitch in sorted(olds)]
        for pitch, _, velocity_bin, is_short in sorted(news):
            if velocity_bin != last_bin or not v.velocity_on_change:
                ids.append(v.velocity_id + velocity_bin)
            last_bin = velocity_bin
            ids.append(v.note_on_id + pitch)
            if is_short:
                ids.append(v.note_off_id + pitch)
    return ids


def slow_decode(vocabulary, ids):
    """One event after the other, as a synthesizer would."""
    v = vocabulary
    width = math.ceil(127 / v.velocity_bins)
    now, velocity, sounding, notes = 0, 64, {}, []
    stray = restruck = unknown = 0
    for i in ids:
        if v.note_on_id <= i < v.note_off_id:
            pitch = i - v.note_on_id
            if pitch in sounding:
                restruck += 1
                notes[sounding[pitch]][1] = now
            sounding[pitch] = len(notes)
            notes.append([now, None, pitch, velocity])
        elif v.note_off_id <= i < v.shift_id:
            pitch = i - v.note_off_id
            if pitch in sounding:
                notes[sounding.pop(pitch)][1] = now
            else:
                stray += 1
        elif v.shift_id <= i < v.velocity_id:
            now += i - v.shift_id + 1
        elif v.velocity_id <= i < len(v):
            low = min((i - v.velocity_id) * width + 1, 127)
            velocity = (low + min(low + width - 1, 127)) // 2
        elif not 0 <= i < 3:
            unknown += 1
    for index in sounding.values():
        notes[index][1] = now
    step = v.time_step
    notes = [(s * step, e * step, p, vel) for s, e, p, vel in notes]
    notes.sort(key=lambda n: (n[0], n[2]))
    return notes, DecodeReport(stray, len(sounding), restruck, unknown)


def by_tick(vocabulary, notes):
    """Notes in the order in which `decode` gives them back."""
    notes = np.array(cut_overlaps(notes), NOTE_DTYPE)
    ticks = vocabulary.to_ticks(notes["start"])
    return notes[np.lexsort((notes["start"], notes["pitch"], ticks))]


def assert_round_trip(vocabulary, notes, tolerance=1e-9):
    """No note lost or added, and each within the vocabulary's precision."""
    decoded, report = vocabulary.decode(
        vocabulary.encode(notes), return_report=True
    )
    assert report == DecodeReport()
    assert len(decoded) == len(notes)
    half = vocabulary.time_step / 2 + tolerance
    for field in ("start", "end"):
        assert np.abs(decoded[field] - notes[field]).max(initial=0) <= half
    np.testing.assert_array_equal(decoded["pitch"], notes["pitch"])
    np.testing.assert_array_equal(
        vocabulary.to_bins(decoded["velocity"]),
        vocabulary.to_bins(notes["velocity"]),
    )


def test_the_named_vocabularies_have_the_published_sizes():
    assert (PNO_AI.num_events, len(PNO_AI)) == (413, 416)
    assert (MAGENTA.num_events, len(MAGENTA)) == (388, 391)


def test_pad_start_and_end_are_no_events():
    notes = np.array([(0, 1, p, 64) for p in range(128)], NOTE_DTYPE)
    ids = MAGENTA.encode(notes)
    specials = [MAGENTA.pad_id, MAGENTA.start_id, MAGENTA.end_id]
    assert specials == [0, 1, 2]
    assert ids.min() >= 3
    mixed = np.concatenate([[1], ids[:300], [0], ids[300:], [2, 0, 0]])
    assert MAGENTA.decode(mixed).tolist() == MAGENTA.decode(ids).tolist()


@given(vocabularies, performances())
def test_encoding_equals_the_slow_twin(vocabulary, notes):
    ids = vocabulary.encode(notes)
    assert ids.dtype == np.int32
    assert ids.tolist() == slow_encode(vocabulary, notes)


@given(vocabularies, st.data())
def test_any_ids_decode_as_by_the_slow_twin(vocabulary, data):
    anything = st.one_of(
        st.integers(0, len(vocabulary) - 1),
        st.sampled_from([3 + 60, 131 + 60, 3 + 61, 131 + 61]),
        st.integers(-5, len(vocabulary) + 5),
    )
    ids = data.draw(st.lists(anything, max_size=200))
    notes, report = vocabulary.decode(ids, return_report=True)
    expected, expected_report = slow_decode(vocabulary, ids)
    assert notes.dtype == NOTE_DTYPE
    assert notes.tolist() == expected
    assert report == expected_report


@given(vocabularies, performances())
def test_no_note_is_lost_or_added_on_the_way_there_and_back(vocabulary, notes):
    assert_round_trip(vocabulary, by_tick(vocabulary, notes))


@given(vocabularies, performances())
def test_what_was_decoded_encodes_to_the_same_ids(vocabulary, notes):
    ids = vocabulary.encode(notes)
    again = vocabulary.encode(vocabulary.decode(ids))
    assert again.tolist() == ids.tolist()


@given(vocabularies, st.lists(st.integers(-5, 420), max_size=200))
def test_what_any_ids_decode_to_survives_another_round(vocabulary, ids):
    notes = vocabulary.decode(ids)
    again = vocabulary.decode(vocabulary.encode(notes))
    for field in ("start", "end", "pitch"):
        np.testing.assert_array_equal(again[field], notes[field])


@given(st.lists(performances(), max_size=6), vocabularies)
def test_encoding_several_runs_equals_encoding_each(runs, vocabulary):
    runs = [np.array(cut_overlaps(notes), NOTE_DTYPE) for notes in runs] or [
        np.empty(0, NOTE_DTYPE)
    ]
    notes = np.concatenate(runs)
    encoded = vocabulary.encode_runs(
        *(notes[field] for field in NOTE_DTYPE.names),
        np.array([len(notes) for notes in runs]),
    )
    for i, run in enumerate(runs):
        ids = encoded.ids[encoded.bounds[i] : encoded.bounds[i + 1]]
        assert ids.tolist() == vocabulary.encode(run).tolist()
    expected = vocabulary.note_on_id + notes["pitch"]
    np.testing.assert_array_equal(encoded.ids[encoded.ons], expected)


def test_a_run_can_start_its_clock_late():
    notes = np.array([(100.0, 100.5, 60, 80)], NOTE_DTYPE)
    fields = [notes[field] for field in NOTE_DTYPE.names]
    late = PNO_AI.encode_runs(
        *fields, np.array([1]), PNO_AI.to_ticks(np.array([99.9]))
    )
    notes["start"] -= 99.9
    notes["end"] -= 99.9
    assert late.ids.tolist() == PNO_AI.encode(notes).tolist()


def test_errors_do_not_accumulate_over_hours_of_music():
    rng = np.random.default_rng(0)
    start = np.cumsum(rng.uniform(0.1001, 0.5007, 20_000))
    notes = np.zeros(len(start), NOTE_DTYPE)
    notes["start"], notes["end"] = start, start + 0.1
    notes["pitch"], notes["velocity"] = 60, 64
    assert start[-1] > 1.5 * 3600
    for vocabulary in (PNO_AI, MAGENTA):
        assert_round_trip(vocabulary, notes)


def test_a_long_gap_becomes_longest_shifts_and_the_remainder():
    notes = np.array([(2.6, 2.7, 60, 64)], NOTE_DTYPE)
    words = [MAGENTA.describe(i) for i in MAGENTA.encode(notes)]
    assert words[:3] == ["shift 1000 ms", "shift 1000 ms", "shift 600 ms"]


def test_velocity_comes_on_change_or_before_every_note():
    notes = np.array(
        [(0, 1, 60, 64), (0, 1, 64, 63), (0, 1, 67, 100)], NOTE_DTYPE
    )
    counts = []
    for vocabulary in (PNO_AI, MAGENTA):
        ids = vocabulary.encode(notes)
        counts.append(int((ids >= vocabulary.velocity_id).sum()))
    assert counts == [3, 2]


@pytest.mark.parametrize("bins", range(1, 128))
def test_a_bins_velocity_lies_in_its_own_bin(bins):
    vocabulary = EventVocabulary(velocity_bins=bins)
    velocities = np.arange(1, 128, dtype=np.uint8)
    found = vocabulary.to_bins(velocities)
    assert 0 <= found.min() and found.max() < bins
    again = vocabulary.to_bins(vocabulary.to_velocities(found))
    np.testing.assert_array_equal(again, found)


def test_32_bins_are_those_of_the_published_models():
    # "bin_size = ceil(127 / 32)", (velocity - 1) // bin_size: 4 to a bin.
    velocities = np.array([1, 4, 5, 64, 65, 124, 125, 127], np.uint8)
    found = PNO_AI.to_bins(velocities)
    assert found.tolist() == [0, 0, 1, 15, 16, 30, 31, 31]


def test_simultaneous_restruck_and_vanishing_notes_all_survive():
    notes = np.array(
        [
            (1.0, 1.001, 60, 10),  # vanishes
            (1.0, 1.0, 72, 20),  # has no length at all
            (1.001, 1.5, 60, 30),  # struck again in the same tick
            (1.5, 2.0, 60, 40),  # and where it ends
        ],
        NOTE_DTYPE,
    )
    for vocabulary in (PNO_AI, MAGENTA):
        assert_round_trip(vocabulary, by_tick(vocabulary, notes))


def test_overlapping_notes_of_a_pitch_are_cut_at_the_next():
    notes = np.array([(0.0, 2.0, 60, 64), (1.0, 1.5, 60, 64)], NOTE_DTYPE)
    decoded = MAGENTA.decode(MAGENTA.encode(notes))
    np.testing.assert_allclose(decoded["end"], [1.0, 1.5])


def test_the_order_of_the_notes_given_does_not_matter():
    rng = np.random.default_rng(1)
    notes = np.zeros(50, NOTE_DTYPE)
    notes["start"] = rng.permutation(50) * 0.1
    notes["end"] = notes["start"] + 0.3
    notes["pitch"], notes["velocity"] = rng.integers(21, 109, (2, 50))
    ids = PNO_AI.encode(notes)
    assert ids.tolist() == PNO_AI.encode(rng.permutation(notes)).tolist()


def test_nothing_encodes_to_nothing_and_back():
    nothing = np.empty(0, NOTE_DTYPE)
    assert MAGENTA.encode(nothing).tolist() == []
    assert MAGENTA.decode([]).tolist() == []
    assert MAGENTA.duration([]) == 0
    assert MAGENTA.times([]).tolist() == []


def test_times_are_when_each_event_happens():
    notes = np.array([(0.5, 0.75, 60, 80), (3.0, 4.0, 62, 80)], NOTE_DTYPE)
    ids = MAGENTA.encode(notes)
    times = MAGENTA.times(ids)
    np.testing.assert_allclose(times[ids == 3 + 60], [0.5])
    np.testing.assert_allclose(times[ids == 131 + 62], [4.0])
    assert MAGENTA.duration(ids) == pytest.approx(4.0)


def test_ids_of_any_integer_type_decode_alike():
    ids = PNO_AI.encode(np.array([(0.5, 0.75, 60, 80)], NOTE_DTYPE))
    expected = PNO_AI.decode(ids).tolist()
    for kind in (np.uint16, np.int64, np.uint64, ">i4"):
        assert PNO_AI.decode(ids.astype(kind)).tolist() == expected
    assert PNO_AI.decode(np.array([63, 100, 120], np.int8)).size == 3
    _, report = PNO_AI.decode([2**63, -(2**70), 2**62, 5], return_report=True)
    assert report == DecodeReport(unended_notes=1, unknown_ids=3)


@pytest.mark.parametrize("ids", [[1.5], [[1, 2]], ["a"], [[]], 3, [None]])
def test_ids_that_are_no_sequence_of_integers_are_refused(ids):
    with pytest.raises(ValueError, match="`ids` must be"):
        PNO_AI.decode(ids)


def test_notes_beyond_a_day_are_refused():
    notes = np.array([(0, 1e9, 60, 80)], NOTE_DTYPE)
    with pytest.raises(ValueError, match="`notes` must end within 86400 s"):
        PNO_AI.encode(notes)


@pytest.mark.parametrize(
    "setting",
    [
        {"time_step": 0},
        {"time_step": math.nan},
        {"max_shift": 0},
        {"max_shift": 1.5},
        {"velocity_bins": 0},
        {"velocity_bins": 128},
    ],
)
def test_a_setting_out_of_range_is_named(setting):
    (name,) = setting
    with pytest.raises(ValueError, match=f"`{name}` must be.*Received"):
        EventVocabulary(**setting)


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"\['pno-ai', 'magenta'\]"):
        EventVocabulary.named("remi")


@given(vocabularies)
def test_the_config_restores_the_vocabulary(vocabulary):
    config = vocabulary.get_config()
    assert EventVocabulary.from_config(config) == vocabulary


@given(vocabularies)
@settings(max_examples=20)
def test_every_id_has_its_own_description(vocabulary):
    words = {vocabulary.describe(i) for i in range(len(vocabulary))}
    used = int(vocabulary.to_bins(np.array([127], np.uint8))[0]) + 1
    unused = vocabulary.velocity_bins - used
    assert len(words) >= len(vocabulary) - unused
    for beyond in (-1, len(vocabulary)):
        with pytest.raises(ValueError, match="`event_id` must be 0 to"):
            vocabulary.describe(beyond)


def test_the_vocabulary_prints_itself_as_a_table():
    assert str(MAGENTA).splitlines() == [
        "kind        ids         count  meaning",
        "pad         0               1  fills a row of a batch",
        "start       1               1  a piece begins",
        "end         2               1  a piece is over",
        "note on     3 to 130      128  MIDI pitch 0 to 127",
        "note off    131 to 258    128  MIDI pitch 0 to 127",
        "time shift  259 to 358    100  10 ms to 1000 ms go by",
        "velocity    359 to 390     32  "
        "1 to 127 in bins of 4, before changes of velocity",
        "in all                    391",
    ]


def test_a_vocabulary_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PNO_AI.time_step = 1.0


@pytest.mark.parametrize("vocabulary", [PNO_AI, MAGENTA], ids=["413", "388"])
def test_maestro_survives_the_round_trip(vocabulary, maestro_folder):
    files = sorted(maestro_folder.glob("*/*.midi"))[::21]
    assert len(files) == 61
    for path in files:
        notes = read_notes(path)
        ticks = vocabulary.to_ticks(notes["start"])
        order = np.lexsort((notes["start"], notes["pitch"], ticks))
        assert_round_trip(vocabulary, notes[order])


def test_transposed_ids_are_those_of_transposed_notes():
    rng = np.random.default_rng(3)
    notes = np.zeros(200, NOTE_DTYPE)
    notes["start"] = np.sort(rng.uniform(0, 20, 200).round(1))
    notes["end"] = notes["start"] + rng.uniform(0.05, 3, 200)
    notes["pitch"] = rng.integers(30, 90, 200)
    notes["velocity"] = rng.integers(1, 128, 200)
    for name in ("magenta", "pno-ai"):
        vocabulary = EventVocabulary.named(name)
        ids = vocabulary.encode(notes)
        for semitones in (-7, 0, 5):
            there = notes.copy()
            there["pitch"] = there["pitch"].astype(int) + semitones
            np.testing.assert_array_equal(
                vocabulary.transpose(ids, semitones), vocabulary.encode(there)
            )
        with pytest.raises(ValueError, match="semitones=60"):
            vocabulary.transpose(ids, 60)
