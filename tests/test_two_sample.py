"""The classifier two-sample test."""

import json

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen.data.windows import whole_windows
from keras_pianogen.events import EventVocabulary
from keras_pianogen.judging.two_sample import REAL
from keras_pianogen.judging.two_sample import TwoSample
from keras_pianogen.judging.two_sample import continue_windows
from keras_pianogen.judging.two_sample import judge_continuations
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer

pytestmark = pytest.mark.one_backend

VOCABULARY = EventVocabulary.named("pno-ai")
SMALL = {
    "train_windows": 40,
    "test_windows": 20,
    "sequence_length": 24,
    "context_length": 8,
}


def language_model(vocabulary=VOCABULARY, seed=0):
    keras.utils.set_random_seed(seed)
    backbone = MusicTransformerBackbone(
        len(vocabulary), 1, 2, 16, 16, max_sequence_length=32
    )
    return MusicTransformerCausalLM(
        backbone,
        MusicTransformerCausalLMPreprocessor(
            PerformanceTokenizer.from_vocabulary(vocabulary),
            sequence_length=32,
        ),
    )


def windows(corpus, count=1000, length=24, split="train"):
    return whole_windows(
        corpus,
        split,
        vocabulary=VOCABULARY,
        sequence_length=length,
        count=count,
    )


def test_windows_lie_whole_in_their_pieces(small_corpus):
    rows, pieces = windows(small_corpus)
    assert len(rows) > 50 and (rows >= VOCABULARY.note_on_id).all()
    for index in np.unique(pieces):
        ours = rows[pieces == index].reshape(-1)
        events = VOCABULARY.encode(small_corpus.notes(index))
        np.testing.assert_array_equal(ours, events[: len(ours)])
        assert len(events) - len(ours) < 24
    assert {small_corpus.pieces[i].split for i in pieces} == {"train"}


def test_fewer_windows_come_from_all_pieces(small_corpus):
    every, _ = windows(small_corpus)
    rows, pieces = windows(small_corpus, count=9)
    assert len(rows) == 9 and len(np.unique(pieces)) >= 5
    assert {tuple(row) for row in rows} <= {tuple(row) for row in every}
    assert windows(small_corpus, length=4000)[0].shape == (0, 4000)


def test_continuations_keep_the_context_and_the_seed(small_corpus):
    rows, _ = windows(small_corpus, count=10)
    model = language_model()
    first = continue_windows(model, rows, 8, seed=1, batch_size=4)
    again = continue_windows(model, rows, 8, seed=1, batch_size=4)
    other = continue_windows(model, rows, 8, seed=2, batch_size=4)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first[:, :8], rows[:, :8])
    assert (first[:, 8:] != other[:, 8:]).any()
    assert (first >= VOCABULARY.note_on_id).all()


def test_events_are_drawn_by_the_models_own_probabilities(small_corpus):
    """A model that gives all probability to one event draws no other."""
    model = language_model()
    embedding = model.backbone.token_embedding.embeddings
    value = np.zeros(embedding.shape, "float32")
    value[77] = 50.0
    embedding.assign(value)
    model.backbone.layer_norm.beta.assign(np.ones(16, "float32"))
    rows, _ = windows(small_corpus, count=4)
    drawn = continue_windows(model, rows, 8)
    assert (drawn[:, 8:] == 77).all()


def test_random_weights_are_told_from_music(small_corpus):
    """The classifier tells noise from scales, but not scales from scales."""
    heard = []
    results = judge_continuations(
        {"random": language_model()},
        small_corpus,
        **SMALL,
        epochs=20,
        learning_rate=1e-2,
        progress=lambda what, done: heard.append((what, done)),
    )
    assert list(results) == [REAL, "random"]
    noise, floor = results["random"], results[REAL]
    assert noise.accuracy > 0.9
    assert floor.accuracy < 0.75
    low, high = noise.interval()
    assert low <= noise.accuracy <= high
    low, high = noise.interval(floor)
    assert 0 < low <= noise.accuracy - floor.accuracy <= high
    assert heard[-1] == ("a classifier learns random", 1.0)
    train = windows(small_corpus)[1]
    assert not set(noise.pieces) & set(train)


def test_intervals_widen_when_pieces_agree():
    right = np.tile([True, False], 200)
    apart = TwoSample(right, np.arange(400))
    alike = TwoSample(np.sort(right), np.arange(400) // 20)
    assert apart.accuracy == alike.accuracy == 0.5
    width = np.diff(apart.interval())[0]
    assert 0.08 < width < 0.12  # 2 · 1.96 · 0.5 / √400 = 0.098
    assert np.diff(alike.interval())[0] > 3 * width
    assert apart.interval(apart) == (0.0, 0.0)


def test_one_vocabulary_is_asked_for(small_corpus):
    models = {
        "a": language_model(),
        "b": language_model(EventVocabulary.named("magenta")),
    }
    with pytest.raises(ValueError, match="must have one vocabulary"):
        judge_continuations(models, small_corpus, **SMALL)
    with pytest.raises(ValueError, match="must have one model"):
        judge_continuations({}, small_corpus, **SMALL)
    with pytest.raises(ValueError, match="two windows of 4000 events"):
        judge_continuations(
            {"a": language_model()},
            small_corpus,
            **SMALL | {"sequence_length": 4000},
        )


@pytest.mark.parametrize("context_length", [0, 24])
def test_contexts_that_leave_nothing_are_refused(small_corpus, context_length):
    with pytest.raises(ValueError, match="`context_length` must be"):
        judge_continuations(
            {"a": language_model()},
            small_corpus,
            **SMALL | {"context_length": context_length},
        )


def test_the_command_prints_a_row_each(small_corpus, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        language_model(seed=seed).save_to_preset(str(tmp_path / name))
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()
    ]

    def printed(*presets):
        presets = [f"--preset={tmp_path / name}" for name in presets]
        command = ["tell-apart", str(small_corpus.folder), *presets, *options]
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == 0, result.output
        return result.stdout

    options += ["--no-pretrained"]
    table = printed("a", "b")
    assert "real music" in table and "less the first" in table
    options += ["--json"]
    rows = json.loads(printed("b"))
    assert list(rows) == [REAL, f"{tmp_path}/b"]
    for row in rows.values():
        assert 0 <= row["accuracy"] <= 1 and row["windows"] == 40
