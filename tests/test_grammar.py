"""What is sampled is valid, ends when asked to, and never stops streaming."""

import io
import itertools

import keras
import miditoolkit
import numpy as np
import pytest
import symusic
from small_models import build_model
from small_models import random_ids
from small_models import random_notes
from small_models import the_model

from keras_pianogen.events import EventVocabulary
from keras_pianogen.generation import grammar
from keras_pianogen.generation.grammar import CompiledGrammar
from keras_pianogen.generation.host_grammar import HostGrammar
from keras_pianogen.generation.lifetimes import ONE_OF
from keras_pianogen.generation.lifetimes import TABLE
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import EventGrammar

MAGENTA = EventVocabulary.named("magenta")


@pytest.fixture(scope="module")
def model():
    return the_model()


def row_of(pitch):
    """The row of a pitch's lifetimes: octaves, and all below MIDI 36."""
    return min(max(pitch // 12, 2), 8) - 2


def allowed_twin(vocabulary, ids, max_notes, lifetimes, remaining):
    """The rules, from all events so far, in plain Python."""
    sounding, struck, now = {}, {}, 0
    for event in ids:
        pitch = (event - vocabulary.note_on_id) % 128
        if vocabulary.shift_id <= event < vocabulary.velocity_id:
            now += event - vocabulary.shift_id + 1
        elif vocabulary.note_on_id <= event < vocabulary.note_off_id:
            sounding[pitch] = struck[pitch] = now
        elif vocabulary.note_off_id <= event < vocabulary.shift_id:
            sounding.pop(pitch, None)
    after_velocity = len(ids) > 0 and ids[-1] >= vocabulary.velocity_id
    left = {
        pitch: start + lifetimes[start % 1000][row_of(pitch)] - now
        for pitch, start in sounding.items()
    }
    first = min(left.values(), default=1000)
    count, allowed = len(sounding), set()
    for pitch in range(128):
        if pitch in sounding:
            if (first > 0 or left[pitch] <= 0) and not after_velocity:
                allowed.add(vocabulary.note_off_id + pitch)
        elif struck.get(pitch, -1) < now and (
            after_velocity
            or (count < max_notes and count + 2 <= remaining and first > 0)
        ):
            allowed.add(vocabulary.note_on_id + pitch)
    if after_velocity or first <= 0:
        return allowed
    if count < remaining:
        for ticks in range(1, vocabulary.max_shift + 1):
            if ticks <= first:
                allowed.add(vocabulary.shift_id + ticks - 1)
    if count < max_notes and count + 3 <= remaining:
        if len(struck) < 128 or min(struck.values()) < now:
            allowed |= set(range(vocabulary.velocity_id, len(vocabulary)))
    return allowed


ONCE = pytest.mark.one_backend


@pytest.mark.parametrize(
    "name", ["magenta", pytest.param("pno-ai", marks=ONCE)]
)
def test_the_grammar_allows_what_its_plain_twin_allows(name):
    vocabulary = EventVocabulary.named(name)
    rng = np.random.default_rng(0)
    few, many = EventGrammar(max_note_seconds=0.4), EventGrammar()
    # Lifetimes a tenth as long are over within so few events.
    short = (many.lifetimes(vocabulary) + 9) // 10
    for max_notes, lifetimes in ((3, few.lifetimes(vocabulary)), (64, short)):
        ids, length = [vocabulary.start_id], 120
        state = grammar.initial_state(vocabulary, [np.array(ids)])
        limits = limits_of(
            1, max_notes, lifetimes, remaining=length, max_silence=grammar.NEVER
        )
        rules = CompiledGrammar(vocabulary, len(vocabulary), state, limits)
        state = rules.carried
        for i in range(length):
            bias = rules.bias(state, keras.ops.convert_to_tensor(i))
            allowed = np.flatnonzero(keras.ops.convert_to_numpy(bias)[0] > -1)
            expected = allowed_twin(
                vocabulary, ids, max_notes, lifetimes, length - i
            )
            assert set(allowed.tolist()) == expected
            ids.append(int(rng.choice(allowed)))
            events = keras.ops.convert_to_tensor(np.array(ids[-1:], "int32"))
            state = rules.advance(state, events)
        again = grammar.initial_state(vocabulary, [np.array(ids)])
        for ours, theirs in zip(state, again, strict=True):
            ours = keras.ops.convert_to_numpy(ours)
            np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        report = vocabulary.decode(ids, return_report=True)[1]
        assert report.unended_notes == report.stray_offs == 0


def read_back(notes):
    """Notes of both libraries, from the bytes of a MIDI file."""
    content = io.BytesIO()
    write_midi(notes).dump(file=content)
    theirs = miditoolkit.MidiFile(file=io.BytesIO(content.getvalue()))
    ours = symusic.Score.from_midi(content.getvalue())
    return len(theirs.instruments[0].notes), len(ours.tracks[0].notes)


@pytest.mark.slow_to_trace
@pytest.mark.parametrize("seconds", [None, 3.0])
def test_a_thousand_pieces_from_random_weights_are_valid(model, seconds):
    pieces = model.generate(
        variations=500,
        max_length=None if seconds else 100,
        seconds=seconds,
        sampler="random",
        seed=0,
        output="ids",
    )
    for ids in pieces:
        notes, report = MAGENTA.decode(ids, return_report=True)
        assert (report.stray_offs, report.unended_notes) == (0, 0)
        assert (report.restruck_notes, report.unknown_ids) == (0, 0)
        assert len(ids) < 100 or seconds
        if len(notes):
            assert read_back(notes) == (len(notes), len(notes))


@pytest.mark.slow_to_trace
def test_the_caps_on_notes_are_kept(model):
    rules = EventGrammar(max_notes=4, max_note_seconds=0.5)
    notes = model.generate(
        max_length=1000, grammar=rules, sampler="random", seed=1,
        stop_token_ids=None,
    )  # fmt: skip
    assert len(notes) > 50
    assert (notes["end"] - notes["start"]).max() <= 0.5 + 1e-9
    times = np.unique(notes["start"])
    sounding = (notes["start"] <= times[:, None]) & (
        notes["end"] > times[:, None]
    )
    assert 2 <= sounding.sum(axis=1).max() <= 4


@pytest.mark.one_backend
@pytest.mark.parametrize("name", ["magenta", "pno-ai"])
def test_held_notes_end_as_often_as_the_long_notes_of_maestro(name):
    vocabulary = EventVocabulary.named(name)
    start = grammar.initial_state(vocabulary, [np.array([1])])
    limits = limits_of(
        1, lifetimes=EventGrammar(max_note_seconds=60.0).lifetimes(vocabulary)
    )
    rules = HostGrammar(vocabulary, len(vocabulary), start, limits)
    rng, ids, pitches = np.random.default_rng(0), [], [50, 64]
    for made in range(12_000):
        may = rules.bias((), made)[0] > -1
        # A player who holds every note for as long as the grammar lets it,
        # and strikes it again after a while.
        ons = [p for p in pitches if may[vocabulary.note_on_id + p]]
        shifts = np.flatnonzero(may[vocabulary.shift_id :][:90])
        if ons and rng.random() < 0.3:
            event = vocabulary.note_on_id + ons[0]
        elif len(shifts):
            event = vocabulary.shift_id + rng.choice(shifts)
        else:
            event = int(np.flatnonzero(may)[0])
        ids.append(int(event))
        rules.advance((), np.array([event]))
    notes = vocabulary.decode(ids)
    for pitch, row in ((50, 2), (64, 3)):
        own = notes[notes["pitch"] == pitch][:-1]
        lengths = own["end"] - own["start"]
        assert len(lengths) > 250
        assert lengths.min() > TABLE[row][0] - 0.01
        for one_of, seconds in zip(ONE_OF[1:], TABLE[row][1:], strict=True):
            expected = 100 / one_of  # of the longest hundredth
            found = (lengths > seconds + 0.01).mean()
            spread = (expected * (1 - expected) / len(lengths)) ** 0.5
            assert abs(found - expected) < 3 * spread + 0.01


def test_a_prompt_s_open_notes_are_ended(model):
    prompt = random_notes(8)
    prompt["end"] += 5.0
    ids = MAGENTA.encode(prompt)
    cut = ids[MAGENTA.times(ids) <= 1.5]
    assert MAGENTA.decode(cut, return_report=True)[1].unended_notes > 2
    piece = model.generate(
        prompt, prompt_seconds=1.5, seconds=2.0, seed=0, output="ids"
    )
    np.testing.assert_array_equal(piece[: len(cut)], cut)
    assert len(piece) > len(cut)
    report = MAGENTA.decode(piece, return_report=True)[1]
    assert (report.stray_offs, report.unended_notes) == (0, 0)


def longest_silence(notes, start=0.0):
    """Seconds in which nothing sounds, up to the last note's start."""
    ends = np.maximum.accumulate(np.append(start, notes["end"]))
    return (notes["start"] - ends[:-1]).max()


def test_silence_is_bounded():
    model = build_model()
    first, last = MAGENTA.shift_id, MAGENTA.velocity_id
    embeddings = model.backbone.token_embedding.embeddings
    # Long shifts above all, whatever came before.
    bias = np.zeros((391, 16), "float32")
    bias[last - 1] = 5.0
    model.backbone.layer_norm.beta.assign(np.ones(16, "float32"))
    embeddings.assign(keras.ops.convert_to_numpy(embeddings) + bias)
    settings = {"seconds": 60, "sampler": "greedy", "output": "ids"}
    free = EventGrammar(max_silence_seconds=None)
    ids = model.generate(grammar=free, **settings)
    assert set(ids.tolist()) <= set(range(first, last))
    for seconds in (5.0, 0.6):
        rules = EventGrammar(max_notes=8, max_silence_seconds=seconds)
        ids = model.generate(grammar=rules, **settings)
        notes = MAGENTA.decode(ids)
        assert longest_silence(notes) <= seconds + 1e-9
        assert len(notes) >= 2 and MAGENTA.duration(ids) >= 59
        # Where a note sounds, time passes by whole seconds.
        assert (ids == last - 1).any()


def test_progress_counts_the_events_of_all_pieces(model):
    reports = []
    pieces = model.generate(
        variations=3, seconds=10.0, seed=0, output="ids", strip_prompt=True,
        progress=lambda *report: reports.append(report),
    )  # fmt: skip
    events, seconds = zip(*reports, strict=True)
    closing = 3 * 64  # At most so many note-offs end the pieces.
    kept = sum(map(len, pieces))
    assert len(reports) > 2 and list(events) == sorted(events)
    assert kept - closing <= events[-1] <= kept
    assert events[0] == 3 * 64  # What one call makes of each.
    assert seconds[-1] == min(map(MAGENTA.duration, pieces))


def test_an_ending_comes_near_the_wanted_length(model):
    pieces = model.generate(
        variations=3, seconds=4.0, ending=True, seed=0, output="ids"
    )
    lengths = [MAGENTA.duration(ids) for ids in pieces]
    assert all(0.84 * 4 <= length <= 1.1 * 4 for length in lengths), lengths
    assert len({round(length, 2) for length in lengths}) > 1
    for ids in pieces:
        assert MAGENTA.decode(ids, return_report=True)[1].unended_notes == 0


def test_variations_differ_and_keep_their_prompt(model):
    prompt = random_ids(20)
    pieces = model.generate(
        prompt, variations=3, max_length=60, seed=0, output="ids"
    )
    assert len(pieces) == 3
    for piece, other in itertools.combinations(pieces, 2):
        np.testing.assert_array_equal(piece[:20], prompt)
        assert not np.array_equal(piece, other)


@pytest.mark.slow_to_trace
def test_a_penalty_ends_loops_on_one_note(model):
    stuck = model.preprocessor.tokenizer.vocabulary.note_on_id + 60

    def commonest(penalty):
        # A model that wants one note above all, and everything else alike.
        bias = np.zeros((1, 391), "float32")
        bias[0, [stuck, stuck + 128]] = 5.0
        rules = CompiledGrammar(
            MAGENTA,
            391,
            grammar.initial_state(MAGENTA, [np.array([1])]),
            limits_of(1, repeat_penalty=penalty, max_silence=grammar.NEVER),
        )
        state, rng, struck = rules.carried, np.random.default_rng(0), []
        for _ in range(600):
            logits = bias + keras.ops.convert_to_numpy(rules.bias(state, 0))
            noise = rng.gumbel(size=391)
            event = int(np.argmax(logits[0] + noise))
            struck += [event] if 3 <= event < 131 else []
            events = keras.ops.convert_to_tensor(np.array([event], "int32"))
            state = rules.advance(state, events)
        return np.mean(np.array(struck) == stuck)

    assert commonest(0.0) > 1.5 * commonest(1.0) > 0


def test_a_stream_is_the_piece_and_goes_on_past_the_trained_length(model):
    settings = {"sampler": "greedy", "grammar": False}
    prompt = random_ids(10)
    piece = model.generate(
        prompt, max_length=151, stop_token_ids=None, output="ids", **settings
    )
    stream = model.stream(prompt, **settings)
    events = list(itertools.islice(stream, 100))
    # Another piece in between changes nothing.
    model.generate(max_length=20, seed=5)
    events += list(itertools.islice(stream, 40))
    np.testing.assert_array_equal(events, piece[10:])


@pytest.mark.parametrize("rules", [True, pytest.param(False, marks=ONCE)])
def test_where_a_streamed_piece_ends_another_begins(rules):
    model = build_model()
    # A model that ends often: 3 nats more for it.
    model.backbone.layer_norm.beta.assign(np.ones(16, "float32"))
    weights = keras.ops.convert_to_numpy(
        model.backbone.token_embedding.embeddings
    ).copy()
    weights[MAGENTA.end_id] += 3 / 16
    model.backbone.token_embedding.embeddings.assign(weights)
    prompt = [MAGENTA.note_on_id + 60]
    stream = model.stream(prompt, sampler="random", grammar=rules, seed=0)
    events = np.array(prompt + list(itertools.islice(stream, 400)))
    pieces = np.split(events, np.flatnonzero(events == MAGENTA.end_id) + 1)
    assert len(pieces) > 3 and max(map(len, pieces)) > 10
    for piece in pieces[:-1]:
        report = MAGENTA.decode(piece, return_report=True)[1]
        assert report.unended_notes == 0
        assert report.stray_offs == 0 or not rules


@pytest.mark.slow_to_trace
def test_streamed_draws_go_on(model):
    stream = model.stream(sampler="random", seed=1)
    events = list(itertools.islice(stream, 300))
    assert not np.array_equal(events[:100], events[100:200])
    again = model.stream(sampler="random", seed=1)
    assert events == list(itertools.islice(again, 300))
    report = MAGENTA.decode(events, return_report=True)[1]
    assert (report.stray_offs, report.restruck_notes) == (0, 0)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"ending": True}, "`ending` needs `seconds`"),
        ({"variations": 0}, "positive integer.*variations=0"),
        ({"inputs": [[], []], "variations": 2}, "one prompt.*list of 2"),
        ({"inputs": [5], "prompt_seconds": -1}, "0 or above.*seconds=-1"),
        ({"prompt_seconds": 1}, "needs a prompt.*prompt_seconds=1"),
        ({"seconds": 7000, "ending": True}, "at most 7200.*0.0 and 7700"),
        ({"inputs": 4 * [102 + 256], "seconds": 7199}, "4.0 and 7199"),
        (
            {"grammar": "strict"},
            "bool or an instance of `EventGrammar`.*'strict'",
        ),
        ({"repeat_penalty": -1}, "0 or above.*repeat_penalty=-1"),
        ({"repeat_penalty": 1, "grammar": False}, "needs the grammar"),
        ({"max_note_seconds": 0}, "above 0.*max_note_seconds=0"),
        ({"max_note_seconds": 1, "grammar": False}, "needs the grammar"),
        ({"max_note_seconds": 1, "grammar": EventGrammar()}, "own settings"),
    ],
)
def test_a_bad_argument_is_named(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**arguments)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prompt_seconds": 1}, "needs a prompt.*prompt_seconds=1"),
        ({"inputs": [5], "prompt_seconds": -1}, "0 or above.*seconds=-1"),
    ],
)
def test_a_stream_names_a_bad_argument_at_once(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model.stream(**arguments)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_notes": 0},
        {"max_note_seconds": 0.0},
        {"max_silence_seconds": 0.0},
        {"max_silence_seconds": -1},
        {"max_silence_seconds": float("inf")},
        {"max_note_seconds": float("inf")},
        {"max_note_seconds": float("nan")},
        {"max_notes": 2.5},
    ],
)
def test_a_grammar_s_settings_are_checked(settings):
    with pytest.raises(ValueError, match="Received"):
        EventGrammar(**settings)


# The same rules in compiled loops and in PyTorch's.

WALKS = {
    "plain": {},
    "few notes, soon overdue": {"max_notes": 2, "lifetimes": 30},
    "notes of a register": {"lifetimes": np.arange(20, 90, 10)},
    "notes of a tick": {"lifetimes": np.arange(1, 1001)[:, None]},
    "one note": {"max_notes": 1, "lifetimes": 1},
    "an ending": {"end_from": 150, "end_by": 250},
    "an ending at any time": {"end_from": 0},
    "little silence": {"max_silence": 7, "max_notes": 2, "lifetimes": 90},
    "a penalty": {"repeat_penalty": 0.3, "end_from": 20, "end_by": 20},
    "few events": {"remaining": 25},
}  # fmt: skip


def limits_of(pieces, max_notes=64, lifetimes=3000, **given):
    """The limits of a batch, whose pieces' own differ by 10 ticks."""
    bounds = {}
    for key in ("until", "end_from", "end_by"):
        bound = given.get(key, grammar.NEVER)
        later = 0 if bound == grammar.NEVER else 10
        bounds[key] = (bound + later * np.arange(pieces)).astype("int32")
    return grammar.Limits(
        max_notes=np.int32(max_notes),
        lifetimes=np.broadcast_to(np.int32(lifetimes), (1000, 7)),
        max_silence=np.int32(given.get("max_silence", 500)),
        repeat_penalty=np.float32(given.get("repeat_penalty", 0.0)),
        remaining=np.int32(given.get("remaining", grammar.NEVER)),
        **bounds,
    )


def draw(rng, vocabulary, bias, wild):
    """An event that may come, of any kind alike; or a `wild` one, any."""
    if wild:
        return int(rng.integers(len(vocabulary)))
    kinds = np.split(
        np.arange(len(vocabulary)),
        [3, vocabulary.note_off_id, vocabulary.shift_id,
         vocabulary.velocity_id],
    )  # fmt: skip
    kinds = [kind[bias[kind] > -1e8] for kind in kinds]
    kinds = [kind for kind in kinds if len(kind)]
    return int(rng.choice(kinds[rng.integers(len(kinds))]))


@pytest.mark.parametrize(
    "wild",
    [pytest.param(0.0, id="valid", marks=ONCE), pytest.param(0.2, id="wild")],
)
@pytest.mark.parametrize("walk", WALKS)
@pytest.mark.parametrize(
    "name", ["magenta", pytest.param("pno-ai", marks=ONCE)]
)
def test_pytorch_s_grammar_is_that_of_compiled_loops(name, walk, wild):
    vocabulary = EventVocabulary.named(name)
    size, count = len(vocabulary) + 5, 3
    rng = np.random.default_rng(0)
    limits = limits_of(count, **WALKS[walk])
    prompts = [
        rng.integers(0, len(vocabulary), length) for length in (0, 1, 40)
    ]
    state = grammar.initial_state(vocabulary, prompts)
    host = HostGrammar(vocabulary, size, state, limits)
    compiled = CompiledGrammar(vocabulary, size, state, limits)
    state, to_numpy = compiled.carried, keras.ops.convert_to_numpy
    going_on = keras.ops.zeros((count,), "bool")
    for made in range(min(int(limits.remaining), 60)):
        expected = to_numpy(
            compiled.bias(state, keras.ops.convert_to_tensor(made))
        )
        found = host.bias((), made)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        events = [
            draw(rng, vocabulary, bias, rng.random() < wild)
            for bias in expected
        ]
        events = np.array(events, "int32")
        state = compiled.advance(state, keras.ops.convert_to_tensor(events))
        host.advance((), events)
        np.testing.assert_array_equal(
            host.end(to_numpy(going_on), ()),
            to_numpy(compiled.end(going_on, state)),
        )
    for ours, theirs in zip(host.state(()), state, strict=True):
        theirs = to_numpy(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
        assert ours.dtype == theirs.dtype
