"""Training windows are cuts of the pieces' true events."""

import keras
import numpy as np
import pytest
from random_pieces import MAGENTA
from random_pieces import PNO_AI
from random_pieces import VOCABULARIES
from random_pieces import all_ids
from random_pieces import find
from random_pieces import prepare_pieces
from random_pieces import random_corpus
from random_pieces import rows_of
from random_pieces import small

from keras_pianogen.data import training_windows
from keras_pianogen.data.cutting import Cutter
from keras_pianogen.data.maestro import Maestro
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.data.training_windows import EventWindows
from keras_pianogen.data.windows import EvaluationWindows
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return random_corpus(tmp_path_factory.mktemp("pieces"))


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


# The example of the module's docstring.


def example_windows(tmp_path, **options):
    """One pass over the nine notes of the example."""
    notes = np.zeros(9, NOTE_DTYPE)
    notes["start"] = 0.4 * np.arange(9)
    notes["end"] = notes["start"] + 0.2
    notes["end"][0] = 1.7
    notes["pitch"] = 60 + np.arange(9)
    notes["velocity"] = 64
    options = {"sequence_length": 20, "batch_size": 1, "seed": 2, **options}
    corpus = prepare_pieces([notes], tmp_path)
    return small(corpus, PNO_AI, augment=False, **options)


def letter(event_id):
    """An id as the example shows it: the number of a note, or a letter."""
    if event_id < PNO_AI.note_on_id:
        return "PSE"[event_id]
    if event_id >= PNO_AI.velocity_id:
        return "v"
    if event_id >= PNO_AI.shift_id:
        return "_"
    return str((event_id - PNO_AI.note_on_id) % 128 - 60)


def test_the_example_shows_the_windows_of_a_pass(tmp_path):
    windows = example_windows(tmp_path)
    ids = np.append(all_ids(windows.corpus, PNO_AI, 0), PNO_AI.pad_id)
    found = []
    for step in range(windows.steps):
        x, y, weights = windows.batch(step)
        place = find(np.append(x["token_ids"], y[0, -1]), ids)
        marks = "-" + "".join("-#"[int(weight)] for weight in weights[0])
        _, notes, first, until, *_ = windows.draw(step)
        found.append((place, marks, *notes, *first, *until))
    shown = [line.strip() for line in training_windows.__doc__.splitlines()]
    assert "ids       " + "".join(map(letter, ids)) in shown
    for number, (place, marks, *fields) in enumerate(sorted(found)):
        assert f"window {number}  {' ' * place}{marks}" in shown
        assert f"| {' | '.join(map(str, (number, *fields)))} |" in shown


def test_a_window_is_encoded_from_the_earliest_note_that_still_sounds(tmp_path):
    # Note 0 of the example sounds until after note 4 has begun.
    corpus = example_windows(tmp_path).corpus
    cutter = Cutter(corpus, "train", PNO_AI, sequence_length=20)
    assert cutter.lookback[0].tolist() == [0, 1, 2, 3, 4, 0, 0, 0, 0]


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
    pieces = []
    rng = np.random.default_rng(0)
    for _ in range(4):
        notes = np.zeros(3000, NOTE_DTYPE)
        clusters = np.sort(rng.integers(0, 100, 3000)) * 0.03
        notes["start"] = clusters + rng.uniform(0, 0.008, 3000)
        notes["end"] = notes["start"] + rng.uniform(0, 0.02, 3000)
        notes["pitch"] = rng.integers(21, 109, 3000)
        notes["velocity"] = 64
        pieces.append(notes)
    folder = tmp_path_factory.mktemp("dense")
    return prepare_pieces(pieces, folder, ticks_per_beat=5000)


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


def test_an_epoch_is_a_pass_over_the_split(maestro_corpus):
    windows = small(maestro_corpus)
    plain = EvaluationWindows(maestro_corpus, "train", vocabulary=MAGENTA)
    targets = sum(windows.batch(step)[2].sum() for step in range(len(windows)))
    assert 0.9 < targets / plain.num_events <= 1


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
    windows = small(prepare_pieces([notes] * 3, tmp_path))
    for step in range(20):
        for row in rows_of(windows.batch(step)):
            ons = row[(row >= 3) & (row < 3 + 128)] - 3
            assert set(ons) <= {5, 120}


def test_velocities_stay_in_range_however_far_they_are_moved(corpus):
    windows = small(corpus, velocity=200)
    draw = windows.draw(0)
    assert np.abs(draw.velocities).max() > 127
    assert_true_cuts(windows, steps=3)


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


def test_a_split_without_pieces_is_refused(corpus):
    with pytest.raises(
        ValueError, match="must have pieces in the split 'test'"
    ):
        small(corpus, split="test")
    with pytest.raises(ValueError, match="`name` must be one of"):
        small(corpus, split="dev")


def test_iteration_ends_with_the_epoch(corpus):
    windows = small(corpus)
    assert sum(1 for _ in windows) == len(windows)
    for index in (-1, len(windows)):
        with pytest.raises(IndexError, match="`index` must be 0 to"):
            windows[index]


# Windows within their pieces.


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


def test_whole_windows_need_no_pass(corpus, monkeypatch):
    monkeypatch.delattr(training_windows, "Tiling")
    windows = small(corpus, whole=True)
    assert_same(windows.from_step(2)[1], windows.batch(3))


def test_whole_windows_hold_no_special_ids(small_corpus):
    vocabulary = MAGENTA
    whole = EventWindows(
        small_corpus,
        vocabulary=vocabulary,
        sequence_length=200,
        batch_size=16,
        seed=1,
        whole=True,
    )
    redrawn = 0
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
        redrawn += bad.sum()
    assert redrawn > 0


def test_whole_windows_longer_than_any_piece_are_refused(small_corpus):
    windows = EventWindows(
        small_corpus,
        vocabulary=MAGENTA,
        sequence_length=5000,
        batch_size=2,
        whole=True,
    )
    with pytest.raises(ValueError, match="are too short"):
        windows.batch(0)
