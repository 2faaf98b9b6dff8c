"""Recipes by size, and the models that they build."""

import json

import numpy as np
import pytest

from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.models import LSTMLanguageModel
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import TransformerLanguageModel
from keras_pianogen.models import from_preset
from keras_pianogen.training import train
from keras_pianogen.training.optimizers import learning_rate_at
from keras_pianogen.training.optimizers import schedule
from keras_pianogen.training.recipe import FINE_TUNING_RATE
from keras_pianogen.training.recipe import SIZES
from keras_pianogen.training.recipe import Recipe

CLASSES = {
    "music_transformer": MusicTransformerCausalLM,
    "transformer": TransformerLanguageModel,
    "lstm": LSTMLanguageModel,
}


def tiny(**changes):
    settings = {
        "num_layers": 1,
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


def test_fine_tuning_is_gentle_where_no_rate_is_given():
    assert Recipe.of(None, fine_tuning=True).learning_rate == FINE_TUNING_RATE
    for recipe in ({"learning_rate": 0.1}, tiny(learning_rate=0.1)):
        assert Recipe.of(recipe, fine_tuning=True).learning_rate == 0.1
    assert Recipe.of({"size": "tiny"}).learning_rate > FINE_TUNING_RATE


def test_the_rate_rises_from_nothing_and_falls_to_nothing():
    recipe = tiny(warmup=0.25, gradient_accumulation_steps=2)
    rate_of = schedule(recipe, steps=80)  # 40 updates
    rates = [float(rate_of(step)) for step in (0, 9, 10, 25, 40)]
    assert rates[0] < 0.2 * recipe.learning_rate
    assert rates[2] == pytest.approx(recipe.learning_rate, rel=1e-3)
    assert rates[3] == pytest.approx(recipe.learning_rate / 2, rel=1e-3)
    assert rates[4] == pytest.approx(0, abs=1e-6)
    for progress, rate in ((0.25, rates[2]), (0.625, rates[3]), (1.0, 0.0)):
        found = learning_rate_at(recipe, progress)
        assert found == pytest.approx(rate, abs=1e-6)


@pytest.fixture(
    scope="module",
    params=[
        # Its runs are tested on each backend in `test_training.py`.
        pytest.param("music_transformer", marks=pytest.mark.one_backend),
        "transformer",
        "lstm",
    ],
)
def trained(request, small_corpus, tmp_path_factory):
    """A recipe, a run's folder and last row, and the model that it left."""
    recipe = tiny(architecture=request.param)
    folder = tmp_path_factory.mktemp(request.param) / "run"
    row = train(
        small_corpus, folder, recipe, steps=30, validations=1, samples=0
    )
    return recipe, folder, row, from_preset(folder / "preset")


def test_no_event_sees_those_after_it(trained):
    model = trained[-1]
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


def test_every_architecture_is_trained_and_read_by_the_same_calls(
    trained, small_corpus
):
    recipe, folder, row, model = trained
    assert row["val_nats_per_event"] < 0.9 * np.log(391)
    config = json.loads((folder / "config.json").read_text())
    assert Recipe(**config["recipe"]) == recipe.on_device()
    assert type(model) is CLASSES[recipe.architecture]
    figures = evaluate(model, small_corpus, "validation")
    np.testing.assert_allclose(
        figures.nats_per_event, row["val_nats_per_event"], rtol=1e-4
    )
