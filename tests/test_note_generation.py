"""What models of note tuples generate."""

import itertools

import keras
import numpy as np
import pytest
from note_models import FORM
from note_models import build_note_model
from random_pieces import random_notes

from keras_pianogen.attention import dispatch
from keras_pianogen.data.note_runs import batch_of
from keras_pianogen.data.note_runs import run_of
from keras_pianogen.generation.notewise import NoteGrammar
from keras_pianogen.generation.samplers import FieldSamplers
from keras_pianogen.layers.note_heads import split_fields
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.note_tuples import FIELDS

FREE = {"grammar": False, "output": "rows"}


@pytest.fixture(scope="module")
def model():
    return build_note_model()


@pytest.fixture(scope="module")
def prompt():
    rows = FORM.encode(random_notes(np.random.default_rng(1), 12, longest=3))
    rows["shift"] %= 40
    return FORM.encode(FORM.decode(rows))


def lag(model, rows, begin):
    """By how much the logits of the notes from `begin` on miss the highest.

    The whole piece is given to the model at once, without a cache.
    """
    x, y, _ = batch_of(FORM, [run_of(rows, 0, len(rows))], len(rows))
    logits = split_fields(FORM, keras.ops.convert_to_numpy(model(x)))
    lags = []
    for i, z in enumerate(map(keras.ops.convert_to_numpy, logits)):
        if FIELDS[i] == "duration":
            z = z[..., 1:]  # A duration of 0 is barred.
            y[..., i] -= 1
        chosen = np.take_along_axis(z, y[..., i, None], -1)
        lags.append((z.max(-1, keepdims=True) - chosen)[0, begin:])
    return np.concatenate(lags, -1)


def test_each_note_is_the_likeliest_that_the_whole_model_sees(model, prompt):
    rows = model.generate(prompt, max_length=30, sampler="greedy", **FREE)
    assert len(rows) == 29  # The length counts the start.
    np.testing.assert_array_equal(rows[:12], prompt)
    assert lag(model, rows, begin=12).max() < 1e-4
    assert len(np.unique(rows[12:])) > 2


def test_heads_of_one_note_are_those_of_a_whole_piece(model):
    heads, rng = model.heads, np.random.default_rng(0)
    window = heads.duration_copying.window
    window.assign(window + rng.normal(size=17))
    fast = dispatch.stepwise_heads(heads)
    assert (fast is heads) == (keras.config.backend() != "torch")
    left = np.zeros((3, 1, 128), "int32")
    left[0, 0, [40, 64, 90]], left[2, 0, 50] = [3, 900, 30_000], 4
    x = rng.normal(size=(3, 1, 16)).astype("float32")
    x = keras.ops.convert_to_tensor(x)
    ids, elapsed, last = (
        np.array(numbers, "int32")[:, None]
        for numbers in ([3, 0, 31], [0, 5, 0], [50, 60, 127])
    )
    for name, arguments in (
        ("shift", (x, left)),
        ("with_shift", (x, ids, left)),
        ("pitch", (x, left, elapsed, last)),
        ("with_pitch", (x, ids)),
        ("velocity", (x,)),
        ("with_velocity", (x, ids)),
        ("duration", (x, left)),
    ):
        one, other = (
            keras.ops.convert_to_numpy(getattr(each, name)(*arguments))
            for each in (heads, fast)
        )
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow_to_trace
def test_prompts_of_several_lengths_go_on_as_each_would_alone(model, prompt):
    options = {"max_length": 24, "sampler": "greedy", **FREE}
    together = model.generate([prompt, prompt[:5]], **options)
    alone = [model.generate(p, **options) for p in (prompt, prompt[:5])]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.one_backend
def test_a_seed_gives_one_piece_and_a_longer_prompt_than_the_window_goes_on(
    model,
):
    notes = random_notes(np.random.default_rng(2), 150, longest=1)
    long = FORM.encode(notes)
    pieces = [
        model.generate(long, seconds=4, seed=seed, output="rows")
        for seed in (3, 3, 4)
    ]
    np.testing.assert_array_equal(pieces[0], pieces[1])
    np.testing.assert_array_equal(pieces[0][:150], long)
    assert len(pieces[0]) > 150
    assert pieces[0][150:].tolist() != pieces[2][150:].tolist()


def check_rules(rows, max_notes, max_ticks, max_silence):
    clock, ends, last = 0, {}, (0, 0)
    for shift, pitch, _, duration in rows.tolist():
        clock += shift
        sounding = {p for p, end in ends.items() if end > clock}
        silent_since = max(ends.values(), default=0)
        assert pitch not in sounding
        assert len(sounding) < max_notes
        assert duration <= max_ticks
        assert clock - max(silent_since, last[0]) <= max_silence
        assert (clock, pitch) >= last
        ends[pitch], last = clock + duration, (clock, pitch)
    return ends


@pytest.mark.slow_to_trace
def test_pieces_keep_the_rules_of_the_grammar(model):
    grammar = NoteGrammar(
        max_notes=3, max_note_seconds=0.4, max_silence_seconds=0.2
    )
    pieces = model.generate(
        seconds=6, variations=3, seed=1, grammar=grammar, output="rows"
    )
    for rows in pieces:
        assert len(rows) > 20
        check_rules(rows, 3, 40, 20)
        assert rows["duration"].min() >= 1


@pytest.mark.one_backend
def test_new_music_begins_after_the_prompt_is_cut_and_lasts_its_seconds(
    model, prompt, tmp_path
):
    notes = FORM.decode(prompt)
    cut = float(notes["start"][-1]) + 1.5  # A rest before the cut.
    write_midi(notes, tmp_path / "prompt.mid")
    notes = read_notes(tmp_path / "prompt.mid")
    whole = model.generate(
        tmp_path / "prompt.mid", prompt_seconds=cut, seconds=3, seed=1
    )
    np.testing.assert_array_equal(whole[:12], notes)
    assert cut - 0.006 <= whole["start"][12] and len(whole) > 15
    assert cut + 2 < whole["start"][-1] <= cut + 3
    new = model.generate(
        tmp_path / "prompt.mid",
        prompt_seconds=cut,
        seconds=3,
        seed=1,
        strip_prompt=True,
    )
    np.testing.assert_allclose(
        new["start"], whole["start"][12:] - round(cut, 2), atol=1e-9
    )


@pytest.mark.one_backend
def test_a_piece_that_ends_does_so_near_its_length(model):
    for seed in range(3):
        notes = model.generate(seconds=4, ending=True, seed=seed)
        # Its last chord rings for half a second.
        assert 0.85 * 4 - 1.0 <= notes["start"][-1] <= 1.1 * 4 - 0.4
        assert notes["end"][-1] >= notes["start"][-1] + 0.4


@pytest.mark.one_backend
def test_a_stream_gives_notes_in_order_and_goes_on_from_its_prompt(
    model, prompt
):
    new = list(itertools.islice(model.stream(prompt, seed=2), 40))
    starts = [note["start"] for note in new]
    assert starts[0] >= FORM.decode(prompt)["start"][-1]
    assert sorted(starts[:10]) == starts[:10]
    again = list(itertools.islice(model.stream(prompt, seed=2), 40))
    assert new == again


@pytest.mark.one_backend
def test_each_field_can_have_a_sampler_of_its_own(model):
    still = FieldSamplers(pitch="greedy", velocity="greedy")
    rows = model.generate(seconds=4, sampler=still, seed=1, output="rows")
    free = model.generate(seconds=4, seed=1, output="rows")
    assert len(np.unique(free["velocity"])) > len(np.unique(rows["velocity"]))
    assert len(np.unique(rows["shift"])) > 3


@pytest.mark.one_backend
def test_wrong_arguments_are_named(model):
    with pytest.raises(ValueError, match="`output`.*'rows'.*ids"):
        model.generate(seconds=1, output="ids")
    with pytest.raises(ValueError, match="instance of `NoteGrammar`"):
        model.generate(seconds=1, grammar="strict")
    with pytest.raises(ValueError, match="`stop_token_ids` is for models of"):
        model.generate(seconds=1, stop_token_ids=[2])
    for sampler in ("beam", FieldSamplers(pitch="beam")):
        with pytest.raises(ValueError, match="note by note.*BeamSampler"):
            model.generate(seconds=1, sampler=sampler)
    with pytest.raises(ValueError, match="`max_notes` must be from 1 to 128"):
        NoteGrammar(max_notes=0)
