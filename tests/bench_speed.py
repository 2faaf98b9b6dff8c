"""How fast the parts are, and how much faster than what they replace.

`make bench` prints one table. A ratio is of two things measured in turns, in
this run, each by its fastest round: the one that other programs disturbed
least. Times in seconds.
"""

import os
import pathlib
import time

import keras
import miditoolkit
import numpy as np
import pytest
from keras import ops
from rich.console import Console
from rich.table import Table

from keras_pianogen.corpus import prepare_corpus
from keras_pianogen.events import EventVocabulary
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.maestro import Maestro
from keras_pianogen.midi import NOTE_DTYPE
from keras_pianogen.midi import read_notes
from keras_pianogen.midi import write_midi
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.training import Recipe
from keras_pianogen.windows import EventWindows

# A short performance of MAESTRO's: 882 notes, 66 seconds.
MAESTRO_FILE = pathlib.Path(__file__).parent / "data" / "scarlatti_k_525.midi"
CONTEXT = 1024  # events
SAMPLED = 64  # events of one call
STEPS = 10  # training steps of a round


# Measuring.


class Summary:
    """The table at the end; a plugin of pytest."""

    def __init__(self):
        self.table = Table(
            title=(
                f"keras_pianogen on {keras.config.backend()}, "
                f"Keras {keras.__version__}, {os.cpu_count()} cores"
            )
        )
        self.table.add_column("what")
        for name in ("speed", "against", "ratio"):
            self.table.add_column(name, justify="right", no_wrap=True)

    def pytest_terminal_summary(self, terminalreporter):
        console = Console(width=120)
        with console.capture() as capture:
            console.print(self.table)
        terminalreporter.write_line("")
        terminalreporter.write(capture.get())


@pytest.fixture(scope="module")
def summary(request):
    summary = Summary()
    request.config.pluginmanager.register(summary)
    return summary


@pytest.fixture
def measure(benchmark, summary):
    """Measures `ours`, in turns with `other`, and adds a row to the table.

    A row bears the name `what`, and speeds: `count` of `unit` in a call's
    time, `other_count` in the other's.
    """

    def measure(
        what, unit, count, ours, against="", other=None, other_count=None, n=5
    ):
        spent = []

        def time_other():
            if other is not None:
                began = time.perf_counter()
                other()
                spent.append(time.perf_counter() - began)

        for function in (ours, time_other):  # Compile, and warm caches up.
            function()
        del spent[:]
        benchmark.pedantic(ours, setup=time_other, rounds=n)
        speed = count / benchmark.stats["min"]
        row = [what, f"{_short(speed)} {unit}"]
        benchmark.extra_info[f"{unit}"] = speed
        if spent:
            other_speed = (other_count or count) / min(spent)
            benchmark.extra_info["ratio"] = speed / other_speed
            row += [
                f"{against} {_short(other_speed)}",
                f"{_short(speed / other_speed)} x",
            ]
        summary.table.add_row(*row)

    return measure


def _short(number):
    """Two or three significant digits."""
    digits = 0 if number >= 20 else 1
    return f"{number:,.{digits}f}"


# The parts.


def test_reading(measure):
    measure(
        "reading a MIDI file of 882 notes",
        "files/s",
        1,
        lambda: read_notes(MAESTRO_FILE),
        "miditoolkit alone",
        lambda: miditoolkit.MidiFile(MAESTRO_FILE),
        n=30,
    )


@pytest.fixture(scope="module")
def long_piece():
    return some_notes(10_000, seed=0)


def some_notes(count, seed):
    """A performance as dense as MAESTRO's, of random notes."""
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.cumsum(rng.exponential(0.1, count))
    notes["end"] = notes["start"] + rng.exponential(0.5, count) + 0.02
    notes["pitch"] = rng.integers(30, 100, count)
    notes["velocity"] = rng.integers(20, 110, count)
    return notes


def test_encoding(measure, long_piece):
    vocabulary = EventVocabulary.named("magenta")
    ids = vocabulary.encode(long_piece)
    measure(
        "encoding 10,000 notes",
        "events/s",
        len(ids),
        lambda: vocabulary.encode(long_piece),
        n=30,
    )


def test_decoding(measure, long_piece):
    vocabulary = EventVocabulary.named("magenta")
    ids = vocabulary.encode(long_piece)
    measure(
        "decoding them",
        "events/s",
        len(ids),
        lambda: vocabulary.decode(ids),
        n=30,
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The paper's hundred files of MAESTRO, or as much of random notes."""
    folder = tmp_path_factory.mktemp("corpus")
    data = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data"
    if (data / "maestro-v3.0.0").is_dir():
        source = Maestro(data / "maestro-v3.0.0").paper_subset()
    else:
        source = folder / "midi"
        source.mkdir()
        for i in range(20):
            write_midi(some_notes(5_000, seed=i), source / f"{i:02}.mid")
    return prepare_corpus(source, folder / "corpus")


def test_windows(measure, corpus):
    windows = EventWindows(
        corpus,
        vocabulary=EventVocabulary.named("magenta"),
        sequence_length=CONTEXT,
        batch_size=16,
        workers=0,
    )
    steps = iter(range(10**9))
    measure(
        "windows of 16 x 1,024 events, one core",
        "events/s",
        16 * CONTEXT,
        lambda: windows.batch(next(steps)),
        n=50,
    )


def test_training(measure, corpus):
    recipe = Recipe()
    model = recipe.build_model()
    model.compile(optimizer=recipe.build_optimizer(steps=1000))
    windows = EventWindows(
        corpus,
        vocabulary=model.preprocessor.tokenizer.vocabulary,
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size,
        steps=STEPS,
    )
    measure(
        "windows of 4 x 256 events, one core",
        "events/s",
        STEPS * recipe.batch_size * recipe.sequence_length,
        lambda: [windows.batch(step) for step in range(STEPS)],
        "training on them, default recipe",
        lambda: model.fit(windows, verbose=0),
        n=3,
    )


class TextbookAttention(keras.layers.Layer):
    """Huang et al.'s skewing as published: all queries, all keys, at once.

    Args:
        layer: a `RelativeGlobalAttention`, whose weights it uses.
    """

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, input_shape):
        self.layer.build(input_shape)

    def call(self, inputs):
        """Section 3.4.1 of the paper, on the whole (time, time) matrix."""
        layer, time = self.layer, inputs.shape[1]
        query, key, value = (
            ops.transpose(
                ops.reshape(
                    project(inputs), (-1, time, layer.num_heads, layer.key_dim)
                ),
                (0, 2, 1, 3),
            )
            for project in (layer.query, layer.key, layer.value)
        )  # (batch, heads, time, key_dim)
        relative = layer.relative_embeddings[-time:]
        skewed = ops.matmul(query, ops.transpose(relative, (1, 2, 0)))
        skewed = ops.pad(skewed, ((0, 0), (0, 0), (0, 0), (1, 0)))
        skewed = ops.reshape(skewed, (-1, layer.num_heads, time + 1, time))
        logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        logits = (logits + skewed[:, :, 1:]) * layer.key_dim**-0.5
        logits = ops.where(np.tri(time, dtype="bool"), logits, -1e9)
        outputs = ops.matmul(ops.softmax(logits), value)
        outputs = ops.transpose(outputs, (0, 2, 1, 3))
        width = layer.num_heads * layer.key_dim
        return layer.attention_output(
            ops.reshape(outputs, (-1, time, width))
        )  # (batch, time, features)


def attention_model(textbook):
    """One layer of the bundled preset's size, to be trained step by step."""
    layer = RelativeGlobalAttention(
        num_heads=8, key_dim=32, max_distance=CONTEXT
    )
    model = keras.Sequential(
        [
            keras.Input((CONTEXT, 256)),
            TextbookAttention(layer) if textbook else layer,
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    return model


def test_attention(measure):
    ours, textbook = attention_model(False), attention_model(True)
    textbook.set_weights(ours.get_weights())
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, CONTEXT, 256)).astype("float32")
    np.testing.assert_allclose(
        ours.predict_on_batch(x), textbook.predict_on_batch(x), atol=1e-4
    )
    measure(
        "relative attention, 4 x 1,024 events, forward and backward",
        "events/s",
        4 * CONTEXT,
        lambda: ours.train_on_batch(x, x),
        "the textbook's skewing",
        lambda: textbook.train_on_batch(x, x),
        n=5,
    )


def test_sampling(measure):
    model = MusicTransformerCausalLM.from_preset("music_transformer_maestro")
    vocabulary = model.preprocessor.tokenizer.vocabulary
    rng = np.random.default_rng(0)
    ids = rng.integers(3, len(vocabulary), (1, CONTEXT), "int32")
    generate = model.make_generate_function()
    inputs = {
        "token_ids": np.zeros((1, 1 + SAMPLED), "int32"),
        "padding_mask": np.zeros((1, 1 + SAMPLED), "bool"),
        "cache": generate({"prompt": ids})["cache"],
        "position": np.int32(CONTEXT),
        "done": np.zeros(1, "bool"),
        "logit_bias": np.zeros(len(vocabulary), "float32"),
    }
    inputs["token_ids"][:, 0] = inputs["padding_mask"][:, 0] = 1
    batch = {"token_ids": ids, "padding_mask": np.ones(ids.shape, "bool")}

    def sample():
        outputs = generate(inputs, stop_token_ids=())
        return ops.convert_to_numpy(outputs["token_ids"])

    measure(
        "sampling after 1,024 events, bundled preset",
        "events/s",
        SAMPLED,
        sample,
        "a full forward for each",
        lambda: model.predict_on_batch(batch),
        other_count=1,
        n=5,
    )
