"""Models of note tuples in runs and commands, from a corpus to a piece."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from command_line import TINY
from command_line import fail
from command_line import succeed
from note_models import FORM
from small_runs import RECIPE
from small_runs import assert_same_variables
from small_runs import interrupt_at
from small_runs import read_history
from small_runs import train

import keras_pianogen
from keras_pianogen.judging.dynamic import DynamicRule
from keras_pianogen.judging.embeddings import embed_pieces
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import NoteTransformerCausalLM

pytestmark = pytest.mark.one_backend
NOTES = ("--architecture", "note_transformer")


@pytest.fixture(scope="module")
def folder(small_corpus, tmp_path_factory):
    """A run of 40 steps by the command line, which says what it counts."""
    folder = tmp_path_factory.mktemp("notes") / "run"
    options = ["--steps", "40", "--optimizer", "adamw", *TINY]
    options += ["--learning-rate", "0.02", "--validations", "2"]
    printed = succeed(
        "train", small_corpus.folder, "--out", folder, *NOTES, *options
    )
    assert "2,560 notes in" in printed and "nats per note" in printed
    return folder


def test_a_preset_of_notes_loads_by_its_own_class_and_by_two_more_doors(folder):
    own = NoteTransformerCausalLM.from_preset(folder / "preset")
    for load in (
        MusicTransformerCausalLM.from_preset,
        keras_pianogen.from_preset,
    ):
        model = load(folder / "preset")
        assert type(model) is NoteTransformerCausalLM
        for one, other in zip(model.weights, own.weights, strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_the_note_class_does_not_load_events(run):
    with pytest.raises(ValueError, match="NoteTransformerCausalLM"):
        NoteTransformerCausalLM.from_preset(run / "preset")


def test_nats_per_note_count_each_note_and_each_end_once(folder, small_corpus):
    model = keras_pianogen.from_preset(folder / "preset")
    found = evaluate(model, small_corpus)
    pieces = [small_corpus.notes(i) for i in small_corpus.split("validation")]
    assert found.num_events == sum(map(len, pieces)) + len(pieces)
    x, y, weights = model.preprocessor.windows(pieces)
    measured = model.evaluate(
        x, y, sample_weight=weights, return_dict=True, verbose=0
    )
    # Both see windows of 32 notes; those of `evaluate` overlap by half.
    assert found.nats_per_event <= measured["nats_per_note"]
    assert found.nats_per_event == pytest.approx(
        found.nats_per_note * sum(map(len, pieces)) / found.num_events
    )
    printed = succeed(
        "evaluate", small_corpus.folder, "--preset", folder / "preset", "--json"
    )
    assert json.loads(printed)["nats_per_note"] == pytest.approx(
        found.nats_per_note, rel=1e-4
    )


def test_generate_continues_a_file_and_keeps_its_notes(
    folder, small_corpus, tmp_path
):
    prompt = small_corpus.folder.parent / "00.mid"
    out = tmp_path / "piece.mid"
    succeed(
        "generate",
        *("--preset", folder / "preset", "--prompt", prompt, "--out", out),
        *("--prompt-seconds", "3", "--seconds", "2", "--seed", "1"),
    )
    before = keras_pianogen.read_notes(prompt)
    before = before[before["start"] < 3]
    piece = keras_pianogen.read_notes(out)
    np.testing.assert_array_equal(
        piece["start"][: len(before)], before["start"]
    )
    assert len(piece) > len(before)


def test_what_counts_events_refuses_a_model_of_notes(folder, small_corpus):
    error, _ = fail(
        *("evaluate", small_corpus.folder, "--n-gram", "2"),
        *("--preset", folder / "preset"),
    )
    assert "N-grams need a model of events" in error


def test_keys_of_notes_are_averaged_as_a_slow_twin_does(folder, small_corpus):
    model = keras_pianogen.from_preset(folder / "preset")
    keys = (0, -3, 2)
    found = evaluate(
        model, small_corpus, transpositions=keys, sequence_length=200
    )
    for piece, index in zip(
        found.pieces, small_corpus.split("validation"), strict=True
    ):
        chances = []
        for semitones in keys:
            notes = small_corpus.notes(index)
            notes["pitch"] = notes["pitch"].astype(int) + semitones
            length = len(notes) + 1
            x, y, _ = model.preprocessor.windows(notes, sequence_length=length)
            nats = model.loss.call(y, model.predict(x, verbose=0))
            chances.append(np.exp(-keras.ops.convert_to_numpy(nats)))
        nats = -np.log(np.mean(chances, axis=0)).sum()
        assert piece.nats == pytest.approx(nats, rel=1e-4)


def test_weights_that_follow_a_piece_begin_each_piece_anew(
    folder, small_corpus
):
    model = keras_pianogen.from_preset(folder / "preset")
    before = model.get_weights()
    plain = evaluate(model, small_corpus, "train")
    still = evaluate(model, small_corpus, "train", dynamic=1e-9)
    assert still.nats_per_note == pytest.approx(plain.nats_per_note, rel=1e-5)
    assert still.num_events == plain.num_events
    moved = evaluate(model, small_corpus, "train", dynamic=1e-3)
    assert moved.nats_per_note < plain.nats_per_note
    last = evaluate(model, small_corpus, "train", dynamic=1e-3, pieces=2)
    assert not last.full_coverage
    assert len(last.pieces) == 2
    for piece in last.pieces:
        (same,) = [x for x in moved.pieces if x.path == piece.path]
        assert piece.nats == pytest.approx(same.nats, rel=1e-5)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="a learning rate above 0"):
        evaluate(model, small_corpus, dynamic=0.0)
    with pytest.raises(ValueError, match="At most one of `transpositions`"):
        evaluate(model, small_corpus, dynamic=1e-3, transpositions=(0, 1))


def test_the_dynamic_rule_is_that_of_a_slow_twin():
    rng = np.random.default_rng(0)
    roots = rng.uniform(0, 2, 4)
    variable = keras.Variable(rng.normal(size=4), dtype="float32")
    rule = DynamicRule(0.1, [roots], decay=0.6)
    rule.build([variable])
    trained = expected = keras.ops.convert_to_numpy(variable).copy()
    for _ in range(3):
        gradient = rng.normal(size=4).astype("float32")
        back = np.minimum(0.6 * roots / roots.mean(), 1) * (trained - expected)
        step = 0.1 * gradient / (roots + roots.mean())
        expected = expected + back - step
        rule.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        found = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_embeddings_are_of_windows_of_notes(folder, small_corpus):
    model = keras_pianogen.from_preset(folder / "preset")
    pieces = [small_corpus.notes(0), small_corpus.notes(1)[:10]]
    found = embed_pieces(model, pieces)
    assert [x.shape for x in found] == [(3, 16), (1, 16)]
    alone = embed_pieces(model, pieces[1:])
    np.testing.assert_allclose(found[1], alone[0], atol=1e-6)


def test_a_run_goes_on_from_a_preset_of_notes(folder, small_corpus, tmp_path):
    row = train(
        small_corpus,
        tmp_path / "run",
        RECIPE,
        steps=4,
        preset=folder / "preset",
        validations=1,
    )
    assert row["unit"] == "note"
    assert row["preset_val_nats_per_event"] < 12
    model = keras_pianogen.from_preset(tmp_path / "run" / "preset")
    assert type(model) is NoteTransformerCausalLM


def test_a_stopped_run_of_notes_goes_on_as_if_it_had_not_stopped(
    small_corpus, tmp_path
):
    recipe = dataclasses.replace(RECIPE, architecture="note_transformer")
    settings = {"steps": 8, "validations": 1}
    train(small_corpus, tmp_path / "whole", recipe, **settings)
    parts, stop = tmp_path / "parts", interrupt_at(3)
    train(small_corpus, parts, recipe, progress=stop, **settings)
    assert len(read_history(parts)) == 3
    train(small_corpus, parts, resume=True)
    assert len(read_history(parts)) == 8
    assert_same_variables(tmp_path / "whole", parts)


def test_lora_trains_its_own_kernels_alone(folder):
    model = keras_pianogen.from_preset(folder / "preset")
    model.backbone.enable_lora(2)
    names = {w.name.split("_")[0] for w in model.backbone.trainable_weights}
    assert names == {"lora"}
    notes = FORM.decode(FORM.encode(model.generate(seconds=3, seed=1)))
    assert len(notes)
