"""Scores: deadpan twins of performances, and performances of scores."""

import numpy as np
import pytest
from command_line import fail
from command_line import succeed
from keras import ops
from note_models import build_note_model

from keras_pianogen.data.fields import Fields
from keras_pianogen.data.note_runs import batch_of
from keras_pianogen.data.note_runs import run_of
from keras_pianogen.data.scores import deadpan
from keras_pianogen.generation import deviations
from keras_pianogen.generation import performing
from keras_pianogen.generation import pieces
from keras_pianogen.judging import performing as judging
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models.extending import extended
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes
from keras_pianogen.notes import cut_overlaps

FORM = NoteTuples()


def score_of(chords, seed=0, seconds=0.25):
    """Chords of one to four notes in a steady rhythm, keys struck again."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(chords):
        for pitch in rng.choice(np.arange(50, 70), rng.integers(1, 5), False):
            begin = 0.5 + i * seconds
            rows.append(
                (begin, begin + seconds * rng.integers(1, 3), pitch, 64)
            )
    notes = check_notes(np.array(rows, NOTE_DTYPE))
    notes["end"] = cut_overlaps(notes)
    return notes


@pytest.fixture(scope="module")
def model():
    model = extended(build_note_model(max_sequence_length=64), performing=0.5)
    model.compile()
    return model


@pytest.mark.one_backend
def test_a_twin_has_chords_and_simple_rhythms():
    rng = np.random.default_rng(1)
    steps = rng.choice([0.25, 0.5, 0.5, 0.5, 1.0], 60)
    beats = np.cumsum(steps)
    played = beats * 100 + 10 * np.sin(beats) + rng.normal(0, 1, 60)
    starts = np.repeat(np.rint(played), 3) + np.tile([0, 1, 2], 60)
    starts = starts.astype(int)
    lasts = np.full(180, 40)
    begins, lengths = deadpan(FORM, starts, lasts, np.random.default_rng(0))
    assert (begins.reshape(60, 3) == begins[::3, None]).all()
    ratios = np.diff(begins[::3]) / np.diff(starts[::3])
    assert (np.abs(ratios - 1) < 0.25).all()
    # Steps of one length in the score have nearly one length in the twin.
    for step in (0.25, 0.5, 1.0):
        found = np.diff(begins[::3])[steps[1:] == step]
        real = np.diff(played)[steps[1:] == step]
        assert found.std() < real.std()
    assert (lengths > 0).all()


@pytest.mark.one_backend
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_twin_of_few_notes(count):
    starts = np.arange(count) * 30
    begins, lasts = deadpan(
        FORM, starts, np.full(count, 20), np.random.default_rng(0)
    )
    assert len(begins) == len(lasts) == count


def test_every_note_of_a_score_is_kept(model):
    score = score_of(60)
    performed = model.perform(score, variations=2, seed=1, temperature=2.0)
    assert not np.array_equal(*performed)
    for notes in performed:
        assert sorted(notes["pitch"]) == sorted(score["pitch"])
        assert (notes["end"] > notes["start"]).all()
        for pitch in range(50, 70):
            of_key = notes[notes["pitch"] == pitch]
            assert (of_key["end"][:-1] <= of_key["start"][1:] + 1e-9).all()
    again = model.perform(score, variations=2, seed=1, temperature=2.0)
    assert all(map(np.array_equal, performed, again))


@pytest.mark.one_backend
def test_with_no_amount_a_score_stays_as_it_is(model):
    score = score_of(20)
    same = model.perform(score, 0.0, seed=3)
    for field in ("pitch", "velocity"):
        np.testing.assert_array_equal(same[field], score[field])
    np.testing.assert_allclose(same["start"], score["start"])
    whole = model.perform(score, 1.0, seed=3)
    half = model.perform(score, 0.5, seed=3)

    def by_pitch(notes):
        return notes[np.lexsort((notes["start"], notes["pitch"]))]

    means = [by_pitch(x)["start"] for x in (same, whole)]
    np.testing.assert_allclose(by_pitch(half)["start"], np.mean(means, axis=0))


@pytest.mark.slow_to_trace
def test_training_and_generation_write_a_score_alike(model, monkeypatch):
    drawn = []

    def draw(request, **options):
        drawn.extend(pieces.draw(request, **options))
        return drawn

    monkeypatch.setattr(performing, "draw", draw)
    score = score_of(30)
    model.perform(score, seed=1)
    (tokens,) = drawn
    fields = Fields(performing=True)
    ordered, onsets = performing._in_order(FORM, score)
    from keras_pianogen.data.scores import score_classes

    classes = score_classes(
        FORM,
        np.diff(onsets, prepend=onsets[:1]),
        ordered["pitch"],
        FORM.to_ticks(ordered["end"] - ordered["start"]),
    )
    # Each row says what the score has next, and the last one nothing.
    np.testing.assert_array_equal(tokens[:-1, fields.score], classes)
    assert (tokens[-1, fields.score] == -1).all()
    np.testing.assert_array_equal(tokens[1:, 1], ordered["pitch"])
    run = run_of(FORM.encode(score), 0, 40)
    run = run.with_score(FORM, np.random.default_rng(0))
    x, y, _ = batch_of(FORM, [run], 40, fields)
    there = y[0, :, 1] >= 0
    # In training, too, a position is given the pitch that it predicts.
    np.testing.assert_array_equal(
        x["notes"][0, there, fields.score.start + 1], y[0, there, 1]
    )
    assert (x["notes"][0, ~there, fields.score] == -1).all()


@pytest.mark.one_backend
def test_the_command_performs_a_file(model, tmp_path):
    model.save_to_preset(str(tmp_path / "preset"))
    score = score_of(20)
    write_midi(score, tmp_path / "score.mid")
    command = ["perform", tmp_path / "score.mid", "--out", tmp_path / "out.mid"]
    preset = ["--preset", tmp_path / "preset"]
    printed = succeed(*command, "--seed", "1", *preset)
    assert f"{len(score)} notes, seed 1" in printed
    made = read_notes(tmp_path / "out.mid")
    assert sorted(made["pitch"]) == sorted(score["pitch"])
    corpus = tmp_path / "corpus"
    shares = ["--validation-fraction", "0.4"]
    pieces = [score_of(80, seed) for seed in range(4)]
    (tmp_path / "pieces").mkdir()
    for i, piece in enumerate(pieces):
        write_midi(piece, tmp_path / "pieces" / f"{i}.mid")
    succeed("prepare", tmp_path / "pieces", "--out", corpus, *shares)
    printed = succeed("evaluate", corpus, *preset, "--scores", "2")
    assert "100.0% of the notes were kept" in printed and "noise" in printed
    error, _ = fail(*command, "--amount", "2", *preset)
    assert "`--amount` must be from 0 to 1" in error
    error, _ = fail(*command, "--preset", "music_transformer_small_maestro")
    assert "A preset of notes is needed" in error


@pytest.mark.one_backend
def test_scores_that_make_no_sense_are_refused(model):
    with pytest.raises(ValueError, match="must have notes"):
        model.perform(score_of(3)[:0])
    with pytest.raises(ValueError, match="trained to perform scores"):
        build_note_model().perform(score_of(3))
    with pytest.raises(ValueError, match="`amount` must be from 0 to 1"):
        model.perform(score_of(3), 1.5)


@pytest.mark.one_backend
def test_a_pianist_is_nearest_to_themself_and_the_score_is_further():
    class Copy:
        """A performer who knows how the piece was played."""

        backbone = build_note_model().backbone

        def __init__(self, real):
            self.real = real

        def perform(self, score, seed):
            return self.real if self.real is not None else score

    rng = np.random.default_rng(0)
    real = score_of(80)
    real["velocity"] = rng.integers(30, 100, len(real))
    real["start"] += rng.normal(0, 0.01, len(real)).clip(-0.02, 0.02)
    real = check_notes(real)
    real["end"] = cut_overlaps(real)
    for performer, is_near in ((Copy(real), True), (Copy(None), False)):
        found = judging._of_piece(performer, FORM, real, 1)
        assert found["kept"] == len(real)
        for aspect in ("loudness", "timing"):
            distance = judging._distance(
                found["model"][aspect], found["human"][aspect]
            )
            assert (distance < 0.05) == is_near


@pytest.mark.one_backend
def test_rhythms_keep_their_ratios_and_chords_stay_together(model):
    score = score_of(60)
    notes = model.perform(score, seed=4, temperature=5.0)
    # The first chord of the score begins where it does in the score.
    assert notes["start"][0] == score["start"][0]
    chord = np.rint((score["start"] - 0.5) / 0.25).astype(int)
    played = np.empty(len(score))
    for pitch in np.unique(score["pitch"]):
        of_key = score["pitch"] == pitch
        played[of_key] = notes["start"][notes["pitch"] == pitch]
    first = np.array([played[chord == i].min() for i in range(60)])
    last = np.array([played[chord == i].max() for i in range(60)])
    assert (last - first).max() < 0.051
    # All chords are one pulse apart: 3/4 and 4/3 of it are other rhythms.
    between = np.diff(first)
    assert 0.25 * np.sqrt(3 / 4) - 0.016 < between.min()
    assert between.max() < 0.25 * np.sqrt(4 / 3) + 0.016
    # No grid of ticks is left.
    assert len(np.unique(np.rint(1e5 * between) % 1000)) > 40


@pytest.mark.one_backend
def test_rhythms_have_bounds_around_them():
    # A triplet among quavers, and a pause longer than all ratios.
    steps = np.array([60] * 30 + [40] * 3 + [60] * 30 + [6000])
    onsets = np.repeat(np.cumsum(np.append(0, steps)), 2)
    bounds = deviations.bounds_of_rhythms(onsets)
    least, most = bounds.T
    assert ((least < steps) & (steps < most)).all()
    np.testing.assert_allclose(bounds[30], 60 * np.sqrt([1 / 3, 1 / 2]))
    np.testing.assert_allclose(bounds[-1], [60 * np.sqrt(24 * 32), 7500])
    of_notes = deviations.bounds_of_shifts(FORM, onsets)
    np.testing.assert_array_equal(of_notes[::2][1:], np.rint(bounds))
    assert (of_notes[1::2] == [0, 4]).all() and (of_notes[0] == [0, 4]).all()


@pytest.mark.one_backend
def test_what_a_score_says_of_lengths_is_followed():
    onsets = np.arange(40) * 25
    held = deviations.touches(onsets, np.tile([25, 50], 20))
    np.testing.assert_array_equal(held[:, 1:], [deviations.HELD] * 40)
    lengths = np.full(40, 25)
    lengths[7] = 200
    free = deviations.touches(onsets, lengths)
    expected = np.tile(deviations.FREE, (40, 1))
    expected[7] = deviations.LONG
    np.testing.assert_array_equal(free[:, 1:], expected)
    np.testing.assert_allclose(free[:, 0], np.log(lengths), rtol=1e-6)


def test_durations_are_tilted_towards_the_score():
    touch = deviations.Touch(FORM)
    row = np.array([np.log(50), -5, -8], "float32")
    row = deviations.ops.convert_to_tensor(row)
    tilt = ops.convert_to_numpy(touch.tilt(row))
    expected = [-8 * np.log(2), 0, -5 * np.log(2)]
    np.testing.assert_allclose(tilt[[25, 50, 100]], expected, atol=1e-5)
