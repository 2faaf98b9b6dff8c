"""Models of note tuples in runs and commands, from a corpus to a piece."""

import dataclasses
import json

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
    model = keras_pianogen.from_preset(folder / "preset")
    with pytest.raises(
        ValueError, match="Transpositions need a model of events"
    ):
        evaluate(model, small_corpus, transpositions=(0, 1))


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
