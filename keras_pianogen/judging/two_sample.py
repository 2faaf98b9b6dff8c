# mypy: allow-untyped-defs, allow-incomplete-defs
"""A classifier two-sample test: can a model's music be told from real music?

Real windows of some pieces are continued by a model from their first events.
A classifier that the model never met learns to tell the two apart, and is
then asked about pieces that it never met either (Lopez-Paz & Oquab, 2017).
Being right half of the time, it can't tell. The same test of real music
against other real music is the floor.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_pianogen.data.windows import whole_windows
from keras_pianogen.gan.continuation import bars
from keras_pianogen.gan.continuation import continue_events
from keras_pianogen.judging.statistics import resampled_interval
from keras_pianogen.models import MusicTransformerDiscriminator

# The row of real music against real music.
REAL = "real music"
# Windows continued at once, and windows of a step of the classifier.
CONTINUED = 64
BATCH = 32


@dataclasses.dataclass(frozen=True)
class TwoSample:
    """How often a classifier was right about pieces it had not met.

    Args:
        right: bool array (windows,), whether it was.
        pieces: int array (windows,), the piece of each window.
    """

    right: np.ndarray
    pieces: np.ndarray

    @property
    def accuracy(self):
        """Share of windows that were named rightly, 0 to 1."""
        return float(self.right.mean())

    def interval(self, other=None):
        """95 % interval of the accuracy, a pair; resampled over pieces.

        Args:
            other: a `TwoSample` of the same windows, of whose accuracy ours
                is then the difference.
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
    """How well the continuations of models are told from real music.

    Each model continues the same windows with the same random numbers, at a
    temperature of 1 and without the grammar that `generate` holds to: it is
    the model itself that is judged. The classifier learns on pieces of the
    training split and is asked about those of the validation split.

    Args:
        models: dict of name to `MusicTransformerCausalLM`, all of one
            vocabulary.
        corpus: a `keras_pianogen.Corpus` with both splits.
        train_windows: int. Real windows that the classifier learns from; it
            sees as many that were generated.
        test_windows: int. Real windows that it is asked about, and as many
            others.
        sequence_length: int. Events of a window.
        context_length: int. Events of it that a model continues.
        pretrained: bool. Whether each classifier begins with the weights of
            the first model. It is then better at it, with fewer windows.
        epochs: int. Passes over the windows that the classifier learns from.
        learning_rate: float. Adam's highest; it follows a cosine.
        seed: int. Of the classifier, of its order, and of the continuations.
        progress: a function called with (what is done, share of it, 0 to 1).

    Returns:
        A dict of name to `TwoSample`, that of real music against real music
        first, as `"real music"`.

    Raises:
        ValueError: if vocabularies differ, or a split has no window.
    """
    if not 0 < context_length < sequence_length:
        raise ValueError(
            "`context_length` must be above 0 and below `sequence_length`. "
            f"Received: context_length={context_length}, "
            f"sequence_length={sequence_length}"
        )
    vocabulary = _one_vocabulary(models)
    tell = progress or (lambda what, done: None)
    sides = {
        split: _sides(corpus, split, count, vocabulary, sequence_length)
        for split, count in (
            ("train", train_windows),
            ("validation", test_windows),
        )
    }
    results = {}
    for name, model in {REAL: None, **models}.items():
        pairs = {
            split: (
                real,
                others
                if model is None
                else continue_windows(
                    model,
                    real,
                    context_length,
                    seed=seed,
                    progress=lambda done, total, split=split, name=name: tell(
                        f"{name} continues {split} windows", done / total
                    ),
                ),
            )
            for split, (real, others, _) in sides.items()
        }
        keras.utils.set_random_seed(seed)
        classifier = _classifier(
            next(iter(models.values())), sequence_length, pretrained
        )
        _train(
            classifier,
            *pairs["train"],
            epochs=epochs,
            learning_rate=learning_rate,
            seed=seed,
            tell=lambda done, name=name: tell(
                f"a classifier learns {name}", done
            ),
        )
        results[name] = TwoSample(
            _right(classifier, *pairs["validation"]),
            np.tile(sides["validation"][2], 2),
        )
    return results


def continue_windows(
    model, windows, context_length, *, seed=0, batch_size=CONTINUED,
    progress=None,
):  # fmt: skip
    """What a model writes after the first events of windows.

    Args:
        model: a `MusicTransformerCausalLM` with a preprocessor.
        windows: int array (windows, time).
        context_length: int. Events that are kept.
        seed: int. The same seed and windows give the same random numbers to
            any model of this vocabulary.
        batch_size: int. Windows continued at once.
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
        name: model.preprocessor.tokenizer.vocabulary
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


def _sides(corpus, split, count, vocabulary, length):
    """Real windows, other real windows of the same pieces, their pieces."""
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
    return rows[:half:2], rows[1:half:2], pieces[:half:2]


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
    """Learn from both sides, mixed."""
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
    ids = np.concatenate([real, others])
    logits = classifier.predict(ids, batch_size=BATCH, verbose=0)[:, 0]
    return (logits > 0) == (np.arange(len(ids)) < len(real))
