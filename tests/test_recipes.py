"""Recipes by size, and the models that they build."""

import json

import keras
import numpy as np
import pytest

from keras_pianogen.events import EventVocabulary
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.models import LSTMLanguageModel
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import TransformerLanguageModel
from keras_pianogen.models import load_language_model
from keras_pianogen.training.language_model import train
from keras_pianogen.training.recipe import ARCHITECTURES
from keras_pianogen.training.recipe import SIZES
from keras_pianogen.training.recipe import Recipe

CLASSES = {
    "music_transformer": MusicTransformerCausalLM,
    "transformer": TransformerLanguageModel,
    "lstm": LSTMLanguageModel,
}


def tiny(**changes):
    settings = {
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 16,
        "sequence_length": 32,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "dtype": "float32",
    }
    return Recipe.sized("tiny", **settings | changes)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_heads": 5},
        {"batch_size": 0},
        {"dropout": 3.0},
        {"warmup": -1.0},
        {"learning_rate": 0.0},
        {"global_clipnorm": 0.0},
        {"label_smoothing": 1.0},
        {"ema_momentum": 1.5},
        {"gradient_accumulation_steps": 0},
        {"weight_decay": -1.0},
        {"weight_decay": float("nan")},
        {"dtype": "float12"},
        {"optimizer": "sgd"},
        {"architecture": "gru"},
        {"vocabulary": "midi"},
        {"local_block_size": 0},
        {"local_block_size": 513},
        {"local_block_size": 257, "attend_previous_block": True},
        {"local_block_size": 16, "architecture": "transformer"},
        {"attend_previous_block": True},
    ],
)
def test_a_recipe_is_checked(settings):
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        Recipe(**settings)


def test_sizes_grow_and_what_is_given_counts():
    assert Recipe.sized() == Recipe.sized("small") == Recipe()
    recipes = [Recipe.sized(size) for size in SIZES]
    widths = [recipe.hidden_dim for recipe in recipes]
    assert widths == sorted(widths)
    rates = [recipe.learning_rate for recipe in recipes]
    assert rates == sorted(rates, reverse=True)
    # As published for the Music Transformer.
    base = Recipe.sized("base")
    assert (base.num_layers, base.num_heads, base.hidden_dim) == (6, 8, 512)
    assert (base.intermediate_dim, base.sequence_length) == (2048, 2048)
    wide = Recipe.sized("small", hidden_dim=384, learning_rate=1e-3)
    assert (wide.intermediate_dim, wide.learning_rate) == (1536, 1e-3)
    lstm = Recipe.sized("small", architecture="lstm")
    assert (lstm.num_layers, lstm.hidden_dim) == (3, 512)
    assert Recipe.sized("small", optimizer="adamw").learning_rate == 1e-3
    with pytest.raises(ValueError, match="size='huge'"):
        Recipe.sized("huge")


def test_the_rate_rises_from_nothing_and_falls_to_nothing():
    recipe = tiny(warmup=0.25, gradient_accumulation_steps=2)
    optimizer = recipe.build_optimizer(steps=80)  # 40 updates
    schedule = optimizer._learning_rate
    rates = [float(schedule(step)) for step in (0, 9, 10, 25, 40)]
    assert rates[0] < 0.2 * recipe.learning_rate
    assert rates[2] == pytest.approx(recipe.learning_rate, rel=1e-3)
    assert rates[3] == pytest.approx(recipe.learning_rate / 2, rel=1e-3)
    assert rates[4] == pytest.approx(0, abs=1e-6)
    for progress, rate in ((0.25, rates[2]), (0.625, rates[3]), (1.0, 0.0)):
        assert recipe.learning_rate_at(progress) == pytest.approx(
            rate, abs=1e-6
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_event_sees_those_after_it(architecture):
    model = tiny(architecture=architecture).build_model()
    ids = np.random.default_rng(0).integers(3, 391, (1, 32))
    changed = ids.copy()
    changed[0, 20] = 3 + (changed[0, 20] - 2) % 388
    mask = np.ones((1, 32), "bool")
    ours, theirs = (
        model.predict({"token_ids": x, "padding_mask": mask}, verbose=0)
        for x in (ids, changed)
    )
    np.testing.assert_allclose(ours[:, :20], theirs[:, :20], atol=1e-5)
    assert np.abs(ours[:, 20:] - theirs[:, 20:]).max(-1).min() > 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_is_trained_and_read_by_the_same_calls(
    architecture, small_corpus, tmp_path
):
    recipe = tiny(architecture=architecture)
    folder = tmp_path / "run"
    row = train(
        small_corpus, folder, recipe, steps=30, validations=1, samples=0
    )
    assert row["val_nats_per_event"] < 0.9 * np.log(391)
    config = json.loads((folder / "config.json").read_text())
    assert Recipe(**config["recipe"]) == recipe.on_device()
    model = load_language_model(folder / "preset")
    assert type(model) is CLASSES[architecture]
    figures = evaluate(model, small_corpus, "validation")
    np.testing.assert_allclose(
        figures.nats_per_event, row["val_nats_per_event"], rtol=1e-4
    )


def test_keys_are_averaged_as_a_slow_twin_does(small_corpus):
    model = tiny().build_model()
    vocabulary = EventVocabulary.named("magenta")
    keys = (0, -3, 2)
    found = evaluate(
        model, small_corpus, "test", transpositions=keys, sequence_length=2048
    )
    assert found.accuracy is None
    for piece, index in zip(
        found.pieces, small_corpus.split("test"), strict=True
    ):
        chances = []
        for semitones in keys:
            notes = small_corpus.notes(index)
            notes["pitch"] = notes["pitch"].astype(int) + semitones
            ids = vocabulary.encode(notes)
            x, y, _ = model.preprocessor.windows(
                ids, sequence_length=len(ids) + 1
            )
            nats = keras.losses.sparse_categorical_crossentropy(
                y, model.predict(x, verbose=0), from_logits=True
            )
            chances.append(np.exp(-keras.ops.convert_to_numpy(nats)))
        nats = -np.log(np.mean(chances, axis=0)).sum()
        np.testing.assert_allclose(piece.nats, nats, rtol=1e-4)
    with pytest.raises(ValueError, match="must hold 0"):
        evaluate(model, small_corpus, "test", transpositions=(1,))
