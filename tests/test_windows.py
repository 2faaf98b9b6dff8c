"""Windows are cuts of the pieces' true events: all of them, when evaluating."""

import keras
import numpy as np
import pytest

from keras_pianogen.data.maestro import Maestro
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import EvaluationWindows
from keras_pianogen.events import EventVocabulary
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

PNO_AI = EventVocabulary.named("pno-ai")
MAGENTA = EventVocabulary.named("magenta")
VOCABULARIES = pytest.mark.parametrize(
    "vocabulary", [PNO_AI, MAGENTA], ids=["413", "388"]
)


def random_notes(rng, count, longest=20):
    """Chords, long pedalled notes, short ones and silences."""
    notes = np.zeros(count, NOTE_DTYPE)
    gaps = rng.choice(
        [0, 0.003, 0.05, 0.2, 3], count, p=[0.3, 0.2, 0.3, 0.15, 0.05]
    )
    notes["start"] = 0.7 + np.cumsum(gaps)
    notes["end"] = notes["start"] + rng.choice(
        [0.004, 0.1, 0.5, longest], count
    )
    notes["pitch"] = rng.integers(30, 100, count)
    notes["velocity"] = rng.integers(1, 128, count)
    return notes


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Pieces of 1 to 900 notes."""
    folder = tmp_path_factory.mktemp("midi")
    rng = np.random.default_rng(0)
    for i, count in enumerate([1, 2, 3, 10, 50, 100, 200, 400, 600, 900] * 2):
        write_midi(random_notes(rng, count), folder / f"{i}.mid")
    return prepare_corpus(
        folder,
        tmp_path_factory.mktemp("corpus"),
        validation_fraction=0.3,
        test_fraction=0,
    )


@pytest.fixture(scope="module")
def maestro_corpus(maestro_folder, tmp_path_factory):
    """A handful of real performances."""
    maestro = Maestro(maestro_folder)
    pieces = sorted(maestro.pieces, key=lambda piece: piece.duration)[
        100:900:80
    ]
    return prepare_corpus(
        Maestro(maestro_folder, pieces=pieces), tmp_path_factory.mktemp("real")
    )


def small(corpus, vocabulary=MAGENTA, **options):
    options = {"sequence_length": 64, "batch_size": 8, "workers": 0, **options}
    return EventWindows(corpus, vocabulary=vocabulary, **options)


def all_ids(corpus, vocabulary, index, stretch=1, semitones=0, velocity=0):
    """Start id, events and end id of an augmented piece."""
    notes = corpus.notes(index)
    notes["start"] *= stretch
    notes["end"] *= stretch
    notes["pitch"] = notes["pitch"].astype(int) + semitones
    louder = notes["velocity"].astype(int) + velocity
    notes["velocity"] = np.clip(louder, 1, 127)
    events = vocabulary.encode(notes)
    return np.concatenate([[vocabulary.start_id], events, [vocabulary.end_id]])


def find(row, ids):
    """Where a row without padding lies in a piece's ids, or None."""
    views = np.lib.stride_tricks.sliding_window_view(ids, len(row))
    places = np.flatnonzero((views == row).all(axis=1))
    return int(places[0]) if len(places) else None


def rows_of(batch):
    """Rows of `x` and the last of `y`, without padding."""
    x, y, _ = batch
    rows = np.concatenate([x["token_ids"], y[:, -1:]], axis=1)
    return [row[row != 0] for row in rows]


def assert_true_cuts(windows, steps):
    """Each window is a cut of its piece's events, and long enough."""
    for step in range(steps):
        draw = windows.draw(step)
        for i, row in enumerate(rows_of(windows.batch(step))):
            piece = draw.pieces[i]
            assert windows.corpus.pieces[piece].split == windows.split
            # Held within the piano, a transposition may come out smaller.
            wanted = int(draw.semitones[i])
            for semitones in range(min(wanted, 0), max(wanted, 0) + 1):
                ids = all_ids(
                    windows.corpus,
                    windows.vocabulary,
                    piece,
                    draw.stretches[i],
                    semitones,
                    draw.velocities[i],
                )
                if len(row) <= len(ids) and find(row, ids) is not None:
                    break
            else:
                pytest.fail(f"step {step}, row {i} is no cut of piece {piece}")
            if len(row) < windows.sequence_length + 1:
                assert row[-1] == windows.vocabulary.end_id
            assert (row[0] == 1) == (draw.notes[i] < 0)


@VOCABULARIES
@pytest.mark.parametrize("length", [1, 7, 64, 500])
@pytest.mark.parametrize("augment", [False, True])
def test_windows_are_cuts_of_their_pieces_events(
    corpus, vocabulary, length, augment
):
    windows = small(
        corpus, vocabulary, sequence_length=length, augment=augment, stretch=0.5
    )
    assert_true_cuts(windows, steps=12)


@pytest.fixture(scope="module")
def dense_corpus(tmp_path_factory):
    """Clusters at every third tick: two events a note, much at once."""
    folder = tmp_path_factory.mktemp("dense")
    rng = np.random.default_rng(0)
    for i in range(4):
        notes = np.zeros(3000, NOTE_DTYPE)
        clusters = np.sort(rng.integers(0, 100, 3000)) * 0.03
        notes["start"] = clusters + rng.uniform(0, 0.008, 3000)
        notes["end"] = notes["start"] + rng.uniform(0, 0.02, 3000)
        notes["pitch"] = rng.integers(21, 109, 3000)
        notes["velocity"] = 64
        write_midi(notes, folder / f"{i}.mid", ticks_per_beat=5000)
    return prepare_corpus(folder, tmp_path_factory.mktemp("corpus"))


@VOCABULARIES
@pytest.mark.parametrize("length", [20, 600])
def test_windows_of_dense_music_are_long_enough_and_true(
    dense_corpus, vocabulary, length
):
    windows = small(
        dense_corpus, vocabulary, sequence_length=length, stretch=0.5
    )
    assert_true_cuts(windows, steps=15)


@VOCABULARIES
@pytest.mark.parametrize("augment", [False, True])
def test_windows_of_maestro_are_cuts_of_its_events(
    maestro_corpus, vocabulary, augment
):
    windows = small(
        maestro_corpus, vocabulary, sequence_length=512, augment=augment
    )
    assert_true_cuts(windows, steps=6)


def test_a_batch_has_the_form_that_keras_takes(corpus):
    x, y, sample_weight = small(corpus)[0]
    assert x["token_ids"].shape == y.shape == sample_weight.shape == (8, 64)
    assert x["token_ids"].dtype == y.dtype == np.int32
    assert x["padding_mask"].dtype == bool
    assert sample_weight.dtype == np.float32
    np.testing.assert_array_equal(x["token_ids"][:, 1:], y[:, :-1])
    np.testing.assert_array_equal(x["padding_mask"], x["token_ids"] != 0)
    assert set(np.unique(sample_weight)) == {0, 1}
    assert (sample_weight <= (y != 0)).all()


def test_padding_follows_only_the_end_id(corpus):
    windows = small(corpus)
    padded = 0
    for step in range(30):
        x, y, _ = windows.batch(step)
        ids = np.concatenate([x["token_ids"], y[:, -1:]], axis=1)
        assert (ids[:, 0] != 0).all()
        before_padding = ids[:, :-1][ids[:, 1:] == 0]
        assert set(before_padding.tolist()) <= {0, MAGENTA.end_id}
        padded += len(before_padding)
    assert padded


def test_the_same_seed_and_step_give_the_same_batch(corpus):
    forth, back = small(corpus), small(corpus)
    batches = [forth.batch(step) for step in range(6)]
    for step in reversed(range(6)):
        assert_same(back.batch(step), batches[step])


def assert_same(one, other):
    for a, b in zip(
        keras.tree.flatten(one), keras.tree.flatten(other), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_other_seeds_and_steps_give_other_batches(corpus):
    batches = [
        small(corpus, seed=seed).batch(step)[1].tobytes()
        for seed in range(3)
        for step in range(3)
    ]
    assert len(set(batches)) == 9


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_change_no_batch(corpus, workers):
    alone = small(corpus, steps=20)
    threads = small(corpus, steps=20, workers=workers)
    for index in [*range(12), 5, 19, 0]:
        assert_same(threads[index], alone[index])


def test_first_step_goes_on_where_a_run_stopped(corpus):
    assert_same(small(corpus, first_step=7)[3], small(corpus).batch(10))


# Augmentation.


def test_augmentation_draws_the_whole_range(corpus):
    windows = small(corpus, batch_size=2000)
    draw = windows.draw(0)
    assert set(draw.semitones) == set(range(-3, 4))
    assert set(draw.velocities) == set(range(-6, 7))
    assert 0.95 <= draw.stretches.min() < 0.951
    assert 1.049 < draw.stretches.max() <= 1.05


def test_no_augmentation_where_none_is_asked_for(corpus):
    draw = small(corpus, augment=False).draw(0)
    assert not draw.semitones.any() and not draw.velocities.any()
    assert (draw.stretches == 1).all()


def test_transposition_never_leaves_the_piano(corpus):
    windows = small(corpus, transpose=60, sequence_length=200)
    pitches = []
    for step in range(10):
        for row in rows_of(windows.batch(step)):
            pitches.append(row[(row >= 3) & (row < 3 + 128)] - 3)
    pitches = np.concatenate(pitches)
    assert pitches.min() == 21
    assert pitches.max() == 108


def test_notes_outside_the_piano_are_moved_no_further_out(tmp_path):
    notes = np.array([(0, 1, 5, 64), (0, 1, 120, 64)] * 3, NOTE_DTYPE)
    notes["start"] += np.arange(6)
    notes["end"] += np.arange(6)
    for i in range(3):
        (tmp_path / "midi").mkdir(exist_ok=True)
        write_midi(notes, tmp_path / "midi" / f"{i}.mid")
    windows = small(prepare_corpus(tmp_path / "midi", tmp_path / "corpus"))
    for step in range(20):
        for row in rows_of(windows.batch(step)):
            ons = row[(row >= 3) & (row < 3 + 128)] - 3
            assert set(ons) <= {5, 120}


def test_velocities_stay_in_range_however_far_they_are_moved(corpus):
    windows = small(corpus, velocity=200)
    draw = windows.draw(0)
    assert np.abs(draw.velocities).max() > 127
    assert_true_cuts(windows, steps=3)


# What is seen how often.


def seen(windows, index):
    """How often each id of the pieces is a target in a pass, by piece."""
    ids = {
        piece: all_ids(windows.corpus, windows.vocabulary, piece)
        for piece in windows.corpus.split("train")
    }
    counts = {piece: np.zeros(len(row), int) for piece, row in ids.items()}
    for step in range(index * len(windows), (index + 1) * len(windows)):
        batch = windows.batch(step)
        draw = windows.draw(step)
        for row, piece, weights in zip(
            rows_of(batch), draw.pieces, batch[2], strict=True
        ):
            places = find(row, ids[piece]) + 1 + np.flatnonzero(weights)
            counts[piece][places] += 1
    return counts


@VOCABULARIES
@pytest.mark.parametrize("length, least", [(8, 0.4), (64, 0.9), (3000, 0.99)])
def test_a_pass_has_no_event_twice_and_most_once(
    corpus, vocabulary, length, least
):
    windows = small(
        corpus, vocabulary, sequence_length=length, batch_size=1, augment=False
    )
    found = [seen(windows, i) for i in range(3)]
    passes = [np.concatenate([*counts.values()]) for counts in found]
    for counts in passes:
        assert counts.max() == 1
        assert counts.mean() > least
    if length < 3000:
        assert (passes[0] != passes[1]).any()
        # Beginnings are seen like all else.
        for piece in found[0]:
            counts = sum(counts[piece] for counts in found)
            assert counts[0] == 0 and counts[1] == 3


def test_ends_are_seen_like_all_else(corpus):
    windows = small(corpus, batch_size=1, augment=False)
    found = [seen(windows, i) for i in range(3)]
    for piece in found[0]:
        assert sum(counts[piece][-1] for counts in found) > 0


def test_windows_stretched_apart_share_no_note(tmp_path):
    # Each note has a pitch and a velocity of its own; many a one begins or
    # ends within a tick of another.
    rng = np.random.default_rng(0)
    notes = np.zeros(88 * 30, NOTE_DTYPE)
    gaps = rng.choice([0.002, 0.004, 0.2], len(notes), p=[0.2, 0.2, 0.6])
    notes["start"] = np.cumsum(gaps)
    notes["end"] = notes["start"] + rng.choice([0.1, 0.204], len(notes))
    order = rng.permutation(len(notes))
    notes["pitch"] = 21 + order % 88
    notes["velocity"] = 3 + 4 * (order // 88)
    (tmp_path / "midi").mkdir()
    write_midi(notes, tmp_path / "midi" / "a.mid", ticks_per_beat=5000)
    corpus = prepare_corpus(tmp_path / "midi", tmp_path / "corpus")
    windows = small(
        corpus,
        PNO_AI,
        sequence_length=400,
        batch_size=1,
        transpose=0,
        velocity=0,
        stretch=0.5,
    )
    ons, offs = {}, {}
    for step in range(len(windows)):
        x, y, weights = windows.batch(step)
        velocity, sounding = None, {}
        row = np.append(x["token_ids"][0, :1], y[0])
        for event, weight in zip(row, np.append(0, weights[0]), strict=True):
            if event >= PNO_AI.velocity_id:
                velocity = event
            elif 3 <= event < 3 + 128 and velocity is not None:
                note = sounding[event] = (event, velocity)
                ons[note] = ons.get(note, 0) + weight
            elif 3 + 128 <= event < 3 + 256 and event - 128 in sounding:
                note = sounding.pop(event - 128)
                offs[note] = offs.get(note, 0) + weight
    assert len(ons) > 2000
    assert max(ons.values()) == max(offs.values()) == 1


def test_whole_windows_begin_at_any_note(corpus):
    windows = small(corpus, batch_size=20_000, whole=True)
    draw = windows.draw(0)
    train = corpus.split("train")
    notes = np.array([corpus.pieces[i].num_notes for i in train])
    counts = np.array([(draw.pieces == i).sum() for i in train])
    np.testing.assert_allclose(
        counts / counts.sum(), notes / notes.sum(), atol=0.01
    )
    longest = train[np.argmax(notes)]
    places = draw.notes[draw.pieces == longest]
    assert (places.min(), places.max()) == (0, notes.max() - 1)


def test_windows_of_a_pass_follow_each_other(corpus):
    windows = small(corpus, batch_size=1)
    for index in (0, 1):
        steps = range(index * len(windows), (index + 1) * len(windows))
        draws = [windows.draw(step) for step in steps]
        for piece in corpus.split("train"):
            ours = [
                (d.first[0], d.until[0]) for d in draws if d.pieces == piece
            ]
            firsts, untils = zip(*sorted(ours), strict=True)
            assert firsts == (-1, *untils[:-1])
            assert untils[-1] == corpus.pieces[piece].num_notes
    pieces = [windows.draw(step).pieces[0] for step in steps]
    assert pieces != sorted(pieces)


def test_what_a_last_batch_leaves_out_is_chance(corpus):
    alone = small(corpus, batch_size=1)
    windows = small(corpus, batch_size=len(alone) - 3)
    assert len(windows) == 1
    left = []
    for step in range(2):
        draw = windows.draw(step)
        rows = set(zip(draw.pieces, draw.first, strict=True))
        assert len(rows) == len(alone) - 3
        left.append(rows)
    assert left[0] != left[1]


def test_a_batch_may_hold_more_than_the_split(corpus):
    windows = small(corpus, batch_size=1000, augment=False)
    assert len(windows) == 1
    assert (windows.draw(0).first == -1).sum() > 20


def test_an_epoch_is_a_pass_over_the_split(maestro_corpus):
    windows = small(maestro_corpus)
    plain = EvaluationWindows(maestro_corpus, "train", vocabulary=MAGENTA)
    targets = sum(windows.batch(step)[2].sum() for step in range(len(windows)))
    assert 0.9 < targets / plain.num_events <= 1


# Epochs.


class Bigrams(keras.Model):
    """Predicts from one id alone; keeps what it was trained on."""

    def __init__(self):
        super().__init__()
        self.logits = keras.layers.Embedding(len(MAGENTA), len(MAGENTA))
        self.batches = []

    def call(self, inputs, training=False):
        ids = inputs["token_ids"]
        if training and not isinstance(ids, keras.KerasTensor):
            self.batches.append(keras.ops.convert_to_numpy(ids).tobytes())
        return self.logits(ids)


def bigrams(**options):
    model = Bigrams()
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", cross_entropy, **options)
    return model


def trained_steps(windows, **options):
    """The steps whose batches `fit` trained on."""
    model = bigrams(run_eagerly=True)
    model(windows.batch(0)[0])
    model.fit(windows, verbose=0, **options)
    steps = {
        windows.batch(step)[0]["token_ids"].tobytes(): step
        for step in range(100)
    }
    return [steps[batch] for batch in model.batches]


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_three_epochs_train_on_each_step_once_and_in_order(
    corpus, shuffle, workers
):
    windows = small(
        corpus, sequence_length=8, batch_size=2, steps=5, workers=workers
    )
    steps = trained_steps(windows, epochs=3, shuffle=shuffle)
    assert steps == list(range(15))
    assert windows.first_step == 15


def test_a_stopped_run_goes_on_with_the_steps_it_has_not_seen(corpus):
    options = {"sequence_length": 8, "batch_size": 2, "steps": 5}
    whole = trained_steps(small(corpus, **options), epochs=2)
    rest = trained_steps(small(corpus, first_step=5, **options), epochs=1)
    assert rest == whole[5:]


# Evaluation.


def evaluation(corpus, vocabulary=MAGENTA, **options):
    options = {"sequence_length": 64, "batch_size": 4, **options}
    return EvaluationWindows(corpus, "train", vocabulary=vocabulary, **options)


@VOCABULARIES
@pytest.mark.parametrize(
    ("length", "stride"),
    [
        (64, None),
        (64, 64),
        (64, 1),
        (50, 13),
        (1, 1),
        (3000, 700),
        (3000, None),
    ],
)
def test_every_event_of_the_split_is_a_target_once_and_in_order(
    corpus, vocabulary, length, stride
):
    windows = evaluation(
        corpus,
        vocabulary,
        sequence_length=length,
        stride=stride,
        batch_size=4 if stride != 1 else 64,
    )
    targets = []
    for x, y, sample_weight in windows:
        assert y.shape == sample_weight.shape == (windows.batch_size, length)
        assert set(np.unique(sample_weight)) <= {0, 1}
        assert (y[sample_weight > 0] != 0).all()
        np.testing.assert_array_equal(x["token_ids"][:, 1:], y[:, :-1])
        np.testing.assert_array_equal(x["padding_mask"], x["token_ids"] != 0)
        targets.append(y[sample_weight > 0])
    targets = np.concatenate(targets)
    expected = [
        all_ids(corpus, vocabulary, i)[1:] for i in corpus.split("train")
    ]
    np.testing.assert_array_equal(targets, np.concatenate(expected))
    assert windows.num_events == len(targets)


def test_later_windows_see_the_events_before_their_first_target(corpus):
    windows = evaluation(corpus, sequence_length=64, stride=16)
    first = 0
    for x, _, sample_weight in windows:
        for ids, weights in zip(x["token_ids"], sample_weight, strict=True):
            if not weights.any():
                continue
            if ids[0] == MAGENTA.start_id:
                first += 1
                assert weights[0] == 1
            else:
                assert np.flatnonzero(weights)[0] == 48
                assert (ids[:48] != 0).all()
    assert first == len(corpus.split("train"))


def test_evaluation_knows_the_notes_and_seconds_of_its_split(corpus):
    windows = evaluation(corpus)
    pieces = [corpus.pieces[i] for i in corpus.split("train")]
    assert windows.num_notes == sum(piece.num_notes for piece in pieces)
    assert windows.seconds == pytest.approx(sum(p.seconds for p in pieces))


def test_a_weighted_metric_of_keras_is_the_mean_over_events(corpus):
    windows = evaluation(corpus)
    nats = keras.metrics.SparseCategoricalCrossentropy(
        name="nats", from_logits=True
    )
    model = bigrams(weighted_metrics=[nats])
    model(windows[0][0])
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(len(MAGENTA), len(MAGENTA))).astype("float32")
    model.logits.set_weights([logits])
    found = model.evaluate(windows, verbose=0, return_dict=True)["nats"]
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    pieces = [all_ids(corpus, MAGENTA, i) for i in corpus.split("train")]
    total = -sum(logits[ids[:-1], ids[1:]].sum() for ids in pieces)
    assert found == pytest.approx(total / windows.num_events, rel=1e-4)


# Arguments.


@pytest.mark.parametrize(
    "argument",
    [
        {"sequence_length": 0},
        {"batch_size": 0},
        {"steps": 0},
        {"seed": -1},
        {"first_step": -1},
        {"transpose": -1},
        {"velocity": -1},
        {"stretch": 0.6},
        {"stretch": float("nan")},
    ],
)
def test_an_argument_out_of_range_is_named(corpus, argument):
    (name,) = argument
    with pytest.raises(ValueError, match=f"`{name}` must be.*Received"):
        small(corpus, **argument)


@pytest.mark.parametrize("stride", [0, 65])
def test_a_stride_out_of_range_is_named(corpus, stride):
    with pytest.raises(ValueError, match="`stride` must be 1 to"):
        evaluation(corpus, stride=stride)


@pytest.mark.parametrize("kind", [EventWindows, EvaluationWindows])
def test_a_split_without_pieces_is_refused(corpus, kind):
    with pytest.raises(
        ValueError, match="must have pieces in the split 'test'"
    ):
        kind(corpus, "test", vocabulary=MAGENTA)
    with pytest.raises(ValueError, match="`name` must be one of"):
        kind(corpus, "dev", vocabulary=MAGENTA)


@pytest.mark.parametrize("make", [small, evaluation])
def test_iteration_ends_with_the_epoch(corpus, make):
    windows = make(corpus)
    assert sum(1 for _ in windows) == len(windows)
    for index in (-1, len(windows)):
        with pytest.raises(IndexError, match="`index` must be 0 to"):
            windows[index]


def test_whole_windows_hold_no_special_ids(small_corpus):
    vocabulary = EventVocabulary.named("magenta")
    whole = EventWindows(
        small_corpus,
        vocabulary=vocabulary,
        sequence_length=200,
        batch_size=16,
        seed=1,
        whole=True,
    )
    mended = 0
    for step in range(3):
        x, y, weight = whole.batch(step)
        assert min(x["token_ids"].min(), y.min()) >= vocabulary.note_on_id
        assert x["padding_mask"].all() and weight.all()
        again = whole.batch(step)[0]["token_ids"]
        np.testing.assert_array_equal(again, x["token_ids"])
        first_x, first_y, _ = whole.cut(whole.draw(step))
        ids = first_x["token_ids"]
        kept = (ids == x["token_ids"]).all(axis=1)
        bad = (np.minimum(ids, first_y) < vocabulary.note_on_id).any(axis=1)
        np.testing.assert_array_equal(kept, ~bad)
        mended += bad.sum()
    assert mended > 0


def test_whole_windows_longer_than_any_piece_are_refused(small_corpus):
    windows = EventWindows(
        small_corpus,
        vocabulary=EventVocabulary.named("magenta"),
        sequence_length=5000,
        batch_size=2,
        whole=True,
    )
    with pytest.raises(ValueError, match="are too short"):
        windows.batch(0)
