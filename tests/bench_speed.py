"""How fast the parts are, and how much faster than what they replace.

`make bench` prints one table. A ratio is of two things measured in turns, in
this run, each by its fastest round: the one that other programs disturbed
least. Times in seconds.
"""

import pathlib
import time

import keras
import miditoolkit
import numpy as np
import pytest
from keras import ops
from lengths import ATTENTIONS
from lengths import attention
from lengths import peak_memory
from lengths import training_step
from measuring import short

from keras_pianogen.data.maestro import Maestro
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import Windows
from keras_pianogen.events import EventVocabulary
from keras_pianogen.generation import decoding
from keras_pianogen.generation import grammar
from keras_pianogen.generation.draws import take
from keras_pianogen.generation.event_request import EventRequest
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.rendering.synthesis import synthesize
from keras_pianogen.training.language_model import train
from keras_pianogen.training.optimizers import build_optimizer
from keras_pianogen.training.recipe import Recipe

pytest_plugins = ["measuring"]

# A short performance of MAESTRO's: 882 notes, 66 seconds.
MAESTRO_FILE = pathlib.Path(__file__).parent / "data" / "scarlatti_k_525.midi"
CONTEXT = 1024  # events
SAMPLED = 64  # events of one call
STEPS = 10  # training steps of a round
RUN = 800  # steps of a whole run
WARM_UP = 50  # steps
BATCH = 4  # of training steps with other attentions
PIECE = 20  # seconds
SEED = 1  # of the first piece
PIECES = 4  # written one after another, since seeds differ in density


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


def test_sound(benchmark, summary, long_piece):
    """Against real time, on one core: by the CPU time of all threads."""
    seconds = float(long_piece["end"].max())
    spent = []

    def play():
        began = time.process_time()
        synthesize(long_piece)
        spent.append(time.process_time() - began)

    benchmark.pedantic(play, rounds=3, warmup_rounds=1)
    speed = seconds / min(spent)
    summary.table.add_row(
        f"playing 10,000 notes, {seconds:,.0f} s, built-in piano",
        f"{short(speed)} s/s",
        "real time, on one core",
        f"{short(speed)} x",
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
    model.compile(optimizer=build_optimizer(recipe, steps=1000))
    windows = EventWindows(
        corpus,
        vocabulary=model.preprocessor.tokenizer.vocabulary,
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size,
        steps=STEPS,
    )
    measure(
        f"windows of {recipe.batch_size} x {recipe.sequence_length} events, "
        "one core",
        "events/s",
        STEPS * recipe.batch_size * recipe.sequence_length,
        lambda: [windows.batch(step) for step in range(STEPS)],
        "training on them, default recipe",
        lambda: model.fit(windows, verbose=0),
        n=3,
    )


class Repeated(Windows):
    """One batch, again and again."""

    def __init__(self, batch):
        super().__init__()
        self.again = batch

    def __len__(self):
        return WARM_UP

    def __getitem__(self, index):
        return self.again


class Clock(keras.callbacks.Callback):
    """Seconds of the last epoch's steps."""

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.began


def test_the_whole_command(summary, corpus, tmp_path):
    """Data, validation, checkpoints and records against the bare step.

    Both are compiled by then: the second half of a run is measured, with as
    much validation for its steps as in a run of 8,000.
    """
    recipe = Recipe()
    model = recipe.build_model()
    recipe.compile(model, RUN)
    windows = EventWindows(
        corpus,
        vocabulary=model.preprocessor.tokenizer.vocabulary,
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size,
    )
    repeated = Repeated(windows.batch(0))
    events = recipe.batch_size * recipe.sequence_length
    clock, halves = Clock(), {}

    def bare():
        model.fit(repeated, verbose=0, callbacks=[clock])
        return WARM_UP * events / clock.seconds

    def report(row, done):
        if row["val_nats_per_event"]:
            halves[row["step"]] = time.perf_counter()

    bare()
    before = bare()
    train(
        corpus,
        tmp_path / "run",
        recipe,
        steps=RUN,
        validations=2,
        samples=0,
        progress=report,
    )
    ended = time.perf_counter()
    spent = ended - halves[RUN // 2]
    speed, other = RUN / 2 * events / spent, (before + bare()) / 2
    summary.table.add_row(
        f"{RUN // 2} steps of a run with all that belongs to it",
        f"{short(speed)} events/s",
        f"the bare step {short(other)}",
        f"{speed / other:.2f} x",
    )


# Attention.


@pytest.mark.parametrize(
    "name, against",
    [
        ("textbook", "textbook skewing, same model"),
        ("plain", "no relative attention, Keras's own"),
    ],
)
def test_training_step(measure, name, against):
    ours, other = (
        training_step(each, CONTEXT, BATCH) for each in ("ours", name)
    )
    if name == "textbook":
        np.testing.assert_allclose(ours()[0], other()[0], rtol=1e-4)
    measure(
        f"training, 6 layers, width 256, {BATCH} x {CONTEXT:,}",
        "events/s",
        BATCH * CONTEXT,
        ours,
        against,
        other,
        n=6,
    )


def test_local_attention(measure):
    measure(
        "training, local attention, blocks of 128 and the one before",
        "events/s",
        BATCH * CONTEXT,
        training_step(
            "ours",
            CONTEXT,
            BATCH,
            local_block_size=128,
            attend_previous_block=True,
        ),
        "global attention",
        training_step("ours", CONTEXT, BATCH),
        n=4,
    )


def test_memory(summary):
    ours = {length: peak_memory("ours", length) for length in (4096, 8192)}
    for what, length, against, other in (
        ("1 x 4,096", 4096, "textbook", peak_memory("textbook", 4096)),
        ("1 x 8,192", 8192, "itself at 4,096", ours[4096]),
    ):
        summary.table.add_row(
            f"peak memory of a training step, {what}",
            f"{ours[length]:,.0f} MiB",
            f"{against} {other:,.0f}",
            f"{ours[length] / other:.2f} x",
        )


# Sampling: one call of the compiled loop, the cache full.


@pytest.fixture(scope="module")
def preset():
    return MusicTransformerCausalLM.from_preset("music_transformer_maestro")


def sampling(model, batch=1, position=CONTEXT, rules=True):
    """A function that samples 64 events of each of `batch` pieces."""
    vocabulary = model.preprocessor.tokenizer.vocabulary
    rng = np.random.default_rng(0)
    ids = rng.integers(3, len(vocabulary), (batch, CONTEXT), "int32")
    request = EventRequest.from_music(
        model, ids[0], variations=batch, grammar=rules, stop_token_ids=None
    )
    _, _, cache = model.call_with_cache(ids, model.build_cache(batch), 0)
    token_ids = np.zeros((batch, 1 + SAMPLED), "int32")
    token_ids[:, 0] = 1
    inputs = decoding.Sampling(
        token_ids=token_ids,
        given=token_ids > 0,
        done=np.zeros(batch, "bool"),
        cache=cache,
        position=np.int32(position),
        state=grammar.initial_state(vocabulary, request.prompts),
        limits=request.limits or (),  # Without them the state is not used.
        bias=np.zeros(len(vocabulary), "float32"),
        draws=take(model.sampler, 0),
    )
    function = model.decoder.sampling(model.sampler)
    return lambda: ops.convert_to_numpy(function(inputs, ()).token_ids)


@pytest.mark.parametrize("position", [1_000, 10_000])
def test_sampling_far_on(measure, preset, position):
    measure(
        f"sampling one piece at {position:,} events, bundled preset",
        "events/s",
        SAMPLED,
        sampling(preset, position=position),
        "at 100 events",
        sampling(preset, position=100),
        n=8,
    )


@pytest.mark.parametrize("name", ["ours", "textbook"])
def test_sampling_against_full_forwards(measure, preset, name):
    ids = np.random.default_rng(0).integers(3, 391, (1, 1_000), "int32")
    x = {"token_ids": ids, "padding_mask": np.ones(ids.shape, "bool")}
    # Compiled for each attention anew.
    other = MusicTransformerCausalLM(preset.backbone, preset.preprocessor)

    def forward():
        with attention(ATTENTIONS[name]):
            return other.predict_on_batch(x)

    measure(
        "sampling one piece at 1,000 events, bundled preset",
        "events/s",
        SAMPLED,
        sampling(preset, position=1_000),
        f"a full forward for each, attention {name}",
        forward,
        other_count=1,
        n=6,
    )


def test_the_grammar(measure, preset):
    measure(
        "sampling with the grammar",
        "events/s",
        SAMPLED,
        sampling(preset),
        "without",
        sampling(preset, rules=False),
        n=12,
    )


def test_sixteen_pieces(measure, preset):
    measure(
        "sampling 16 pieces at once",
        "events/s",
        16 * SAMPLED,
        sampling(preset, batch=16),
        "one piece",
        sampling(preset),
        other_count=SAMPLED,
        n=6,
    )


@pytest.fixture(scope="module")
def of_notes():
    return NoteTransformerCausalLM.from_preset("note_transformer_maestro")


@pytest.mark.parametrize("pieces", [1, 16])
def test_notes_against_events(measure, preset, of_notes, pieces):
    """Whole pieces of the two bundled presets, whose sizes are alike."""
    calls = PIECES if pieces == 1 else 1

    def write(model):
        return lambda: [
            model.generate(seconds=PIECE, variations=pieces, seed=SEED + call)
            for call in range(calls)
        ]

    measure(
        f"writing {pieces} piece(s) of {PIECE} seconds at once, by notes",
        "s of music/s",
        calls * pieces * PIECE,
        write(of_notes),
        "by events",
        write(preset),
        n=3 if pieces == 1 else 1,  # Sixteen by events take long.
    )
