# mypy: allow-untyped-defs, allow-incomplete-defs
"""A classifier two-sample test of a model's music against real music.

A model continues real windows from their first events. A classifier that the
model was not trained against learns to tell the continuations from real
windows, and is then tested on pieces that it was not trained on (Lopez-Paz &
Oquab, 2017). An accuracy of one half means that it can't tell them apart. The
same test with real music in place of the continuations is the floor.
"""

import dataclasses
import functools
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from keras_pianogen.data.windows import whole_windows
from keras_pianogen.gan.continuation import bars
from keras_pianogen.gan.continuation import continue_events
from keras_pianogen.judging.statistics import resampled_interval
from keras_pianogen.models import MusicTransformerDiscriminator

REAL = "real music"  # the name of the floor among the results
CONTINUED = 64  # windows in a batch that a model continues
BATCH = 32  # windows in a step of the classifier


@dataclasses.dataclass(frozen=True)
class TwoSample:
    """A classifier's answers on pieces that it was not trained on.

    Args:
        right: bool array (windows,), whether each answer was right.
        pieces: int array (windows,), the index of each window's piece.
    """

    right: np.ndarray
    pieces: np.ndarray

    @property
    def accuracy(self):
        """Share of right answers, 0 to 1."""
        return float(self.right.mean())

    def interval(self, other=None):
        """95 % interval of the accuracy, a pair, by resampling pieces.

        Args:
            other: a `TwoSample` of the same windows. With it, the interval is
                that of the difference, this accuracy less the other's.
        """
        values = self.right.astype(float)
        if other is not None:
            values = values - other.right
        _, piece = np.unique(self.pieces, return_inverse=True)
        return resampled_interval(
            np.bincount(piece, values), np.bincount(piece)
        )


def judge_continuations(
    models,
    corpus,
    *,
    train_windows=8192,
    test_windows=4096,
    sequence_length=128,
    context_length=32,
    pretrained=True,
    epochs=1,
    learning_rate=2e-4,
    seed=0,
    progress=None,
):
    """Tests how well a classifier tells models' continuations from real music.

    All models continue the same windows with the same random numbers, at a
    temperature of 1 and without the grammar that `generate` follows, because
    the test is of the model itself. The classifier is trained on pieces of the
    training split and tested on pieces of the validation split.

    Args:
        models: dict from name to `MusicTransformerCausalLM`, all with one
            vocabulary.
        corpus: a `keras_pianogen.Corpus` with both splits.
        train_windows: int. Number of real windows that the classifier is
            trained on, with as many continuations.
        test_windows: int. Number of real windows that it is tested on, with
            as many continuations.
        sequence_length: int. Number of events in a window.
        context_length: int. Number of events in a window before the
            continuation begins.
        pretrained: bool. Whether each classifier starts from the weights of
            the first model. It is then more accurate with fewer windows.
        epochs: int. Number of passes over the classifier's training windows.
        learning_rate: float. Adam's highest learning rate, which falls along
            a cosine.
        seed: int. Seed of the classifier, of the order of its windows, and of
            the continuations.
        progress: a function called with the name of a stage, and the share of
            it that is done, 0 to 1.

    Returns:
        A dict from name to `TwoSample`. The first is `"real music"`, real
        music against other real music.

    Raises:
        ValueError: if vocabularies differ, or a split has too few windows.
    """
    if not 0 < context_length < sequence_length:
        raise ValueError(
            "`context_length` must be above 0 and below `sequence_length`. "
            f"Received: context_length={context_length}, "
            f"sequence_length={sequence_length}"
        )
    vocabulary = _one_vocabulary(models)
    first = next(iter(models.values()))
    tell = progress or (lambda stage, done: None)
    counts = {"train": train_windows, "validation": test_windows}
    real = {
        split: _real_windows(corpus, split, count, vocabulary, sequence_length)
        for split, count in counts.items()
    }
    results = {}
    for name, model in {REAL: None, **models}.items():
        if model is None:
            others = {split: windows.others for split, windows in real.items()}
        else:
            others = _continue(name, model, real, context_length, seed, tell)
        keras.utils.set_random_seed(seed)
        classifier = _classifier(first, sequence_length, pretrained)
        _train(
            classifier,
            real["train"].rows,
            others["train"],
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            tell=functools.partial(tell, f"a classifier learns {name}"),
        )
        test = real["validation"]
        right = _right(classifier, test.rows, others["validation"])
        results[name] = TwoSample(right, np.tile(test.pieces, 2))
    return results


class _RealWindows(NamedTuple):
    """Windows of a split.

    Attributes:
        rows: ids, (windows, time).
        others: ids of as many other windows of the same pieces.
        pieces: the index of each row's piece, (windows,).
    """

    rows: np.ndarray
    others: np.ndarray
    pieces: np.ndarray


def _continue(name, model, real, context_length, seed, tell):
    """A model's continuations of the windows of each split."""
    return {
        split: continue_windows(
            model,
            windows.rows,
            context_length,
            seed=seed,
            progress=lambda done, total, split=split: tell(
                f"{name} continues {split} windows", done / total
            ),
        )
        for split, windows in real.items()
    }


def continue_windows(
    model, windows, context_length, *, seed=0, batch_size=CONTINUED,
    progress=None,
):  # fmt: skip
    """Windows whose first events are kept and continued by a model.

    Args:
        model: a `MusicTransformerCausalLM` with a preprocessor.
        windows: int array (windows, time).
        context_length: int. Number of events that are kept.
        seed: int. With the same seed and windows, every model of this
            vocabulary gets the same random numbers.
        batch_size: int. Number of windows continued at a time.
        progress: a function called with (windows done, windows in all).

    Returns:
        An int32 array (windows, time).
    """
    special = model.preprocessor.tokenizer.special_token_ids
    size = model.backbone.vocabulary_size
    barred = bars(size, special)
    continued = np.array(windows, "int32")
    length = windows.shape[1] - context_length
    for begin in range(0, len(windows), batch_size):
        rng = np.random.default_rng((seed, begin))
        context = continued[begin : begin + batch_size, :context_length]
        noise = rng.gumbel(size=(len(context), length, size))
        new = continue_events(
            model,
            ops.convert_to_tensor(context),
            ops.convert_to_tensor(noise.astype("float32") + barred),
        )
        continued[begin : begin + batch_size, context_length:] = (
            ops.convert_to_numpy(new)
        )
        if progress is not None:
            progress(begin + len(context), len(windows))
    return continued


def _one_vocabulary(models):
    if not models:
        raise ValueError("`models` must have one model at least.")
    if REAL in models:
        raise ValueError(f"A model can't be named {REAL!r}, as the floor is.")
    vocabularies = {
        name: model.preprocessor.form.events_for(f"Continuations by {name!r}")
        for name, model in models.items()
    }
    first = next(iter(vocabularies.values()))
    for name, vocabulary in vocabularies.items():
        if vocabulary != first:
            raise ValueError(
                "`models` must have one vocabulary. Received: "
                f"{next(iter(models))!r} with {first}, {name!r} with "
                f"{vocabulary}"
            )
    return first


def _real_windows(corpus, split, count, vocabulary, length):
    rows, pieces = whole_windows(
        corpus,
        split,
        vocabulary=vocabulary,
        sequence_length=length,
        count=2 * count,
    )
    if len(rows) < 2:
        raise ValueError(
            f"`corpus` must have two windows of {length} events in the split "
            f"{split!r}. Received: {corpus.folder}, with {len(rows)}"
        )
    half = len(rows) // 2 * 2
    return _RealWindows(rows[:half:2], rows[1:half:2], pieces[:half:2])


def _classifier(model, length, pretrained):
    backbone = model.backbone
    if pretrained:
        return MusicTransformerDiscriminator.from_music_transformer(
            backbone, max_sequence_length=length, dropout=0.0
        )
    return MusicTransformerDiscriminator(
        backbone.vocabulary_size,
        num_layers=backbone.num_layers,
        num_heads=backbone.num_heads,
        hidden_dim=backbone.hidden_dim,
        intermediate_dim=backbone.intermediate_dim,
        max_sequence_length=length,
        bidirectional=True,
    )


def _train(classifier, real, others, *, epochs, learning_rate, seed, tell):
    """Trains a classifier on real and other windows, in random order."""
    ids = np.concatenate([real, others])
    labels = np.repeat([1.0, 0.0], len(real))[:, None]
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(ids)) for _ in range(epochs)])
    steps = -(-len(order) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps,
        warmup_target=learning_rate,
        warmup_steps=max(1, steps // 20),
    )
    classifier.compile(
        keras.optimizers.Adam(schedule),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    report = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: tell((batch + 1) / steps)
    )
    classifier.fit(
        ids[order],
        labels[order],
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=[report],
    )


def _right(classifier, real, others):
    """Whether each answer is right, of all real windows, then all others."""
    ids = np.concatenate([real, others])
    logits = classifier.predict(ids, batch_size=BATCH, verbose=0)[:, 0]
    return (logits > 0) == (np.arange(len(ids)) < len(real))
