"""Likelihoods: of splits, pieces and composers, by models and by n-grams."""

import keras
import numpy as np
import pytest
from small_runs import RECIPE

from keras_pianogen.judging.likelihood import Likelihood
from keras_pianogen.judging.likelihood import PieceLikelihood
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.judging.likelihood import evaluate_ngram
from keras_pianogen.judging.ngram import NGram
from keras_pianogen.judging.statistics import resampled_interval


@pytest.fixture(scope="module")
def model():
    """An untrained one."""
    return RECIPE.build_model()


def test_a_split_s_likelihood_equals_a_sum_over_its_pieces(model, small_corpus):
    vocabulary = model.preprocessor.tokenizer.vocabulary
    total = events = notes = 0
    for piece in small_corpus.split("validation"):
        ids = vocabulary.encode(small_corpus.notes(piece))
        x, y, _ = model.preprocessor.windows(ids, sequence_length=len(ids) + 1)
        losses = keras.losses.sparse_categorical_crossentropy(
            y, model.predict(x, verbose=0), from_logits=True
        )
        total += float(keras.ops.sum(losses))
        events += y.size
        notes += len(small_corpus.notes(piece))
    figures = evaluate(
        model, small_corpus, "validation", sequence_length=1024, stride=1024
    )
    assert figures.num_events == events
    assert figures.full_coverage
    np.testing.assert_allclose(
        figures.nats_per_event, total / events, rtol=1e-5
    )
    np.testing.assert_allclose(figures.nats_per_note, total / notes, rtol=1e-5)
    np.testing.assert_allclose(
        figures.perplexity, np.exp(total / events), rtol=1e-4
    )


def test_pieces_and_composers_make_up_the_split(model, small_corpus):
    whole = evaluate(model, small_corpus, "train")
    indices = small_corpus.split("train")
    assert [piece.path for piece in whole.pieces] == [
        small_corpus.pieces[i].path for i in indices
    ]
    for name in ("num_events", "num_notes"):
        total = sum(getattr(piece, name) for piece in whole.pieces)
        assert total == {"num_notes": 120 * len(indices)}.get(
            name, whole.num_events
        )
    total = sum(piece.nats for piece in whole.pieces)
    np.testing.assert_allclose(
        whole.nats_per_event, total / whole.num_events, rtol=1e-6
    )
    alone = evaluate(model, small_corpus, "test", batch_size=3)
    again = evaluate(model, small_corpus, "test", batch_size=1)
    np.testing.assert_allclose(
        alone.pieces[0].nats, again.pieces[0].nats, rtol=1e-5
    )
    low, high = whole.intervals["nats_per_event"]
    assert low < whole.nats_per_event < high
    composers = whole.by_composer()
    assert list(composers) == [""]  # This corpus says nothing of them.
    assert composers[""].nats_per_event == whole.nats_per_event


def test_ngrams_read_the_events_that_models_read(model, small_corpus):
    vocabulary = model.preprocessor.tokenizer.vocabulary
    ours = evaluate(model, small_corpus, "test")
    settings = {"vocabulary": vocabulary, "sequence_length": 16}
    orders = [
        evaluate_ngram(small_corpus, "test", order=n, **settings)
        for n in (1, 2, 3)
    ]
    for found in orders:
        assert found.num_events == ours.num_events
        assert [p.path for p in found.pieces] == [p.path for p in ours.pieces]
    # Piece by piece, as wholes.
    counts = NGram(3, len(vocabulary))
    ids = {
        index: np.r_[
            vocabulary.start_id,
            vocabulary.encode(small_corpus.notes(index)),
            vocabulary.end_id,
        ]
        for index in range(len(small_corpus))
    }
    counts.fit(ids[index] for index in small_corpus.split("train"))
    np.testing.assert_allclose(
        [piece.nats for piece in orders[-1].pieces],
        [counts.nats(ids[i]).sum() for i in small_corpus.split("test")],
        rtol=1e-6,
    )
    assert orders[-1].num_parameters == counts.num_parameters
    # Scales: the longer the history, the surer.
    nats = [found.nats_per_event for found in orders]
    assert nats == sorted(nats, reverse=True) and nats[-1] < nats[0] - 1


def test_composers_are_told_apart():
    pieces = tuple(
        PieceLikelihood(
            f"{i}.mid", composer, nats, 0.0, 100, 20, 10.0 * (i + 1)
        )
        for i, (composer, nats) in enumerate(
            [("Liszt", 300.0), ("Bach", 100.0), ("Liszt", 200.0)]
        )
    )
    split = Likelihood(2.0, 10.0, 10.0, 0.0, 300, 3, 512, True, 7, pieces)
    composers = split.by_composer()
    assert list(composers) == ["Bach", "Liszt"]
    liszt = composers["Liszt"]
    assert (liszt.nats_per_event, liszt.num_pieces) == (2.5, 2)
    assert (liszt.nats_per_note, liszt.nats_per_second) == (12.5, 12.5)
    assert split.intervals["nats_per_event"] == (1.0, 3.0)


def test_intervals_are_as_wide_as_theory_says():
    rng = np.random.default_rng(1)
    values = rng.normal(2.0, 0.5, size=400)
    low, high = resampled_interval(values, np.ones(400))
    width = 2 * 1.96 * values.std() / 20
    assert high - low == pytest.approx(width, rel=0.1)
    assert low < values.mean() < high


def test_part_of_a_split_is_near_all_of_it(model, small_corpus):
    whole = evaluate(model, small_corpus, "validation", batch_size=1)
    part = evaluate(
        model, small_corpus, "validation", batch_size=1, max_events=300
    )
    assert not part.full_coverage
    np.testing.assert_allclose(
        part.nats_per_event, whole.nats_per_event, rtol=0.1
    )


def test_an_untrained_model_knows_nothing(model, small_corpus):
    figures = evaluate(model, small_corpus, "validation")
    np.testing.assert_allclose(figures.nats_per_event, np.log(391), rtol=0.05)


def test_an_unknown_split_is_named(model, small_corpus):
    with pytest.raises(ValueError, match="nowhere"):
        evaluate(model, small_corpus, "nowhere")


@pytest.mark.slow_to_trace
def test_keys_are_averaged_as_a_slow_twin_does(model, small_corpus):
    vocabulary = model.preprocessor.tokenizer.vocabulary
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
