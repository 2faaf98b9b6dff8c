"""Gaps are filled: windows, model, and the seams of what is written."""

import pathlib
import types

import keras
import numpy as np
import pytest
from command_line import fail
from command_line import succeed
from note_models import build_note_model
from random_pieces import random_corpus
from random_pieces import random_notes

from keras_pianogen.data.controls import Controls
from keras_pianogen.data.fields import Fields
from keras_pianogen.data.gaps import AFTER
from keras_pianogen.data.gaps import NO_GAP
from keras_pianogen.data.gaps import Gap
from keras_pianogen.data.gaps import check_span
from keras_pianogen.data.note_runs import RunWithGap
from keras_pianogen.data.note_runs import batch_of
from keras_pianogen.data.note_runs import run_of
from keras_pianogen.data.note_windows import NoteWindows
from keras_pianogen.generation import emptiness
from keras_pianogen.generation import infilling
from keras_pianogen.generation import notewise
from keras_pianogen.generation import pieces
from keras_pianogen.generation.asking import Asked
from keras_pianogen.generation.phrases import phrases_of
from keras_pianogen.generation.phrases import phrases_to_write
from keras_pianogen.judging import infilling as judging
from keras_pianogen.judging.fillings import evaluate_fillings
from keras_pianogen.judging.infilling import evaluate_gaps
from keras_pianogen.layers.note_embedding import row_classes
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.models import note_causal_lm
from keras_pianogen.models.extending import extended
from keras_pianogen.models.losses import field_nats
from keras_pianogen.note_tuples import NO_NOTE
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import check_notes

FORM = NoteTuples()
DATA = pathlib.Path(__file__).parent / "data"


def piece_of(count, seed):
    """Short notes of ten seconds."""
    notes = random_notes(np.random.default_rng(seed), count, longest=1)
    notes["start"] = np.linspace(0, 9.5, count)
    notes["end"] = notes["start"] + 0.3
    return notes


@pytest.fixture(scope="module")
def model():
    model = extended(build_note_model(max_sequence_length=64), 0.5)
    model.compile()
    return model


@pytest.mark.one_backend
def test_a_window_with_a_gap_holds_what_follows_then_what_precedes(tmp_path):
    corpus = random_corpus(tmp_path)
    settings = {"form": FORM, "sequence_length": 96, "augment": False}
    plain = NoteWindows(corpus, **settings)
    gapped = NoteWindows(corpus, infilling=1.0, **settings)
    seen = 0
    for step in range(12):
        whole, (x, y, weight) = plain.batch(step)[1], gapped.batch(step)
        for i in range(len(y)):
            notes, gap = x["notes"][i, :, :4], x["notes"][i, :, 4]
            begin = int(np.argmax((notes[:, 0] == NO_NOTE) & (gap != AFTER)))
            in_gap = np.flatnonzero(gap > 0)
            if not len(in_gap):
                continue
            seen += 1
            assert (gap[:begin] == AFTER).all()
            assert (gap[begin : in_gap[0]] == NO_GAP).all()
            # The gap's notes and its end follow one another as in the piece.
            made = y[i, in_gap]
            assert made[-1, 0] == FORM.end_class
            count = len(made) - 1
            assert any(
                (whole[i, at : at + count] == made[:-1]).all()
                for at in range(len(whole[i]) - count + 1)
            )
            # The time to the gap's end falls.
            assert (np.diff(gap[in_gap]) <= 0).all()
            # No target is a key that sounds.
            left = x["sounding"][i] - x["elapsed"][i][:, None]
            there = np.flatnonzero(y[i, :, 1] >= 0)
            assert (left[there, y[i, there, 1]] <= 0).all()
            assert (weight[i] == (y[i, :, 0] >= 0)).all()
    assert seen > 20


@pytest.mark.one_backend
def test_without_a_share_windows_are_as_before(tmp_path):
    corpus = random_corpus(tmp_path)
    settings = {"form": FORM, "sequence_length": 40}
    plain = NoteWindows(corpus, **settings).batch(3)
    some = NoteWindows(corpus, infilling=1e-9, **settings).batch(3)
    np.testing.assert_array_equal(plain[1], some[1])
    np.testing.assert_array_equal(plain[0]["notes"], some[0]["notes"][..., :4])
    assert (some[0]["notes"][..., 4] == NO_GAP).all()


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.5), (2.0, 5.0), (7.5, 9.0)])
def test_all_that_stands_outside_a_gap_stays(model, start, end):
    notes = piece_of(60, 2)
    filled = model.infill(notes, start, end, variations=3, seed=1)
    outside = notes[(notes["start"] < start) | (notes["start"] >= end)]
    for piece in filled:
        assert np.isin(outside, piece).all()
        new = piece[~np.isin(piece, outside)]
        assert ((new["start"] >= start) & (new["start"] < end)).all()
        for pitch in range(128):
            of_key = piece[piece["pitch"] == pitch]
            fresh = np.isin(of_key, new)
            over = of_key["end"][:-1] > of_key["start"][1:] + 1e-9
            assert not (over & (fresh[:-1] | fresh[1:])).any()
    assert any(len(piece) > len(outside) for piece in filled)
    again = model.infill(notes, start, end, variations=3, seed=1)
    assert all(map(np.array_equal, filled, again))


@pytest.mark.slow_to_trace
def test_a_melody_is_kept_and_stays_the_highest_line(model):
    notes = piece_of(60, 6)
    melody = infilling.is_melody(notes)
    in_gap = (notes["start"] >= 3) & (notes["start"] < 6)
    (piece,) = model.infill(
        notes, 3.0, 6.0, keep_melody=True, variations=1, seed=4
    )
    assert 2 < (melody & in_gap).sum() < in_gap.sum()
    stays = notes[melody | ~in_gap]
    assert np.isin(stays, piece).all()
    new = piece[~np.isin(piece, stays)]
    kept = notes[melody & in_gap]
    assert len(new) and ((new["start"] >= 3) & (new["start"] < 6)).all()
    for note in new:
        before = kept[kept["start"] <= note["start"] + 1e-9]
        limit = before[-1] if len(before) else kept[0]
        assert note["pitch"] < limit["pitch"]


@pytest.mark.one_backend
def test_a_filling_is_as_dense_as_the_music_around_it(monkeypatch):
    """By a model that was never trained, so that nothing else makes it so."""
    model = build_note_model(max_sequence_length=256)
    free = extended(model, 0.5)
    held = extended(free, controls=Controls({"density": [2.0, 4.0, 8.0]}))
    count = 100
    notes = random_notes(np.random.default_rng(3), count, longest=1)
    notes["start"] = np.linspace(0, 20, count, endpoint=False)
    notes["end"] = notes["start"] + 0.1

    def made(model, **settings):
        model.preprocessor.sequence_length = 256
        model.compile()
        starts = model.infill(notes, 6, 14, seed=1, **settings)["start"]
        return ((starts >= 6) & (starts < 14)).sum()

    assert made(free) > 70
    assert made(free, keep_melody=True) > 70
    assert made(held) == pytest.approx(40, rel=0.5)
    assert made(held, keep_melody=True) == pytest.approx(40, rel=0.3)
    assert made(held, density=10) == pytest.approx(80, rel=0.3)
    # A phrase that is varied is as dense as it was, and not as its neighbours.
    more = notes[30:70]
    more["start"] += 0.1
    more["end"] += 0.1
    dense = check_notes(np.concatenate([notes, more]))
    monkeypatch.setattr(note_causal_lm, "phrases_to_write", phrase_at_6)
    starts = held.vary(dense, seed=1)["start"]
    assert ((starts >= 6) & (starts < 14)).sum() == pytest.approx(80, rel=0.3)


def phrase_at_6(notes, keep):
    return [(6.0, 14.0)]


@pytest.mark.one_backend
def test_a_gap_that_stays_nearly_empty_is_filled_again(monkeypatch, caplog):
    model = extended(
        build_note_model(64),
        0.5,
        controls=Controls({"density": [2.0, 4.0, 8.0]}),
    )
    model.compile()
    notes = piece_of(60, 2)

    reports = []

    def fill(seed):
        reports.clear()
        return model.infill(
            notes, 2.0, 5.0, seed=seed, progress=lambda *x: reports.append(x)
        )

    plain = fill(4)
    assert not caplog.records
    first = list(reports)
    monkeypatch.setattr(emptiness, "REDRAWS", 1)
    monkeypatch.setattr(emptiness, "SHARE", 9.0)  # Nothing is enough.
    again = fill(4)
    # The second drawing reports as well, so that it can be stopped.
    assert reports[: len(first)] == first and len(reports) > len(first)
    (record,) = caplog.records
    told = int(record.getMessage().rsplit("seed ", 1)[1])
    monkeypatch.setattr(emptiness, "SHARE", 0.0)
    assert not np.array_equal(again, plain)
    assert np.array_equal(again, fill(told))


@pytest.mark.one_backend
def test_nothing_is_steered_before_the_first_note_of_a_gap():
    controls = Controls({"density": [2.0, 4.0], "register": [50.0, 60.0]})
    model = extended(build_note_model(64), 0.5, controls=controls)
    rows = np.array([notewise.START, (30, 80, 20, 50)], "int32")
    rows = np.pad(rows, ((0, 0), (0, 3)))
    for begin, is_in_gap in ((0, True), (40, False)):
        request = infilling.InfillRequest(
            model=model,
            prompts=[rows],
            gap=Gap(1, 1, 400),
            begin=begin,
            sampler=model.sampler,
            asked=Asked(controls, {"register": 60}),
        )
        only_start, both = (
            request.initial_state([rows[:count]]).strengths for count in (1, 2)
        )
        assert not only_start.any()
        assert both.any() == is_in_gap


@pytest.mark.one_backend
def test_the_highest_line_is_what_no_higher_key_covers():
    notes = np.array(
        [
            (0.0, 2.0, 60, 64),
            (0.02, 1.0, 72, 64),
            (0.5, 0.8, 67, 64),
            (1.2, 1.5, 65, 64),
            (1.9, 2.5, 55, 64),
            (2.2, 2.5, 50, 64),
        ],
        NOTE_DTYPE,
    )
    found = infilling.is_melody(notes).tolist()
    assert found == [False, True, False, True, True, False]


@pytest.mark.slow_to_trace
def test_a_variation_keeps_every_other_phrase(model):
    notes = piece_of(80, 7)
    gaps = phrases_to_write(notes, 0.5)
    phrases = phrases_of(notes)
    assert gaps == phrases[1::2] and len(gaps)
    made = model.vary(notes, seed=3)
    inside = np.zeros(len(notes), bool)
    for start, end in gaps:
        inside |= (notes["start"] >= start) & (notes["start"] < end)
    assert np.isin(notes[~inside], made).all()
    assert not np.isin(notes[inside], made).all()
    assert np.array_equal(model.vary(notes, 1.0), notes)


@pytest.mark.one_backend
def test_phrases_are_cut_where_a_piece_pauses_longest():
    starts = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 13, 14, 60, 61]
    notes = np.zeros(len(starts), NOTE_DTYPE)
    notes["start"], notes["pitch"] = starts, 60
    notes["end"] = notes["start"] + 0.5
    assert phrases_of(notes) == [(0, 6), (6, 13), (60, 61.5)]
    assert phrases_to_write(notes, 2 / 3) == [(60, 61.5)]
    assert phrases_to_write(notes, 0) == phrases_of(notes)
    assert phrases_of(notes[:0]) == []


@pytest.mark.slow_to_trace
def test_training_and_generation_write_a_gap_alike(model, monkeypatch):
    drawn = []

    def draw(request, progress=None):
        drawn.extend(pieces.draw(request))
        return drawn

    monkeypatch.setattr(infilling, "draw", draw)
    notes = piece_of(50, 3)
    made = model.infill(notes, 2.0, 4.0, seed=2)
    (tokens,) = drawn
    rows, starts = FORM.encode(made), FORM.to_ticks(made["start"])
    first, stop = np.searchsorted(starts, FORM.to_ticks(np.array([2.0, 4.0])))
    at = int(np.argmax(tokens[:, 0] == NO_NOTE))
    run = RunWithGap(
        run_of(rows, 0, len(rows)),
        Gap(int(first), int(stop), 400),
        kept=int((tokens[at:, 4] == NO_GAP).sum()),
        after=at,
    )
    x, _, _ = batch_of(FORM, [run], 64, Fields(infilling=True))
    found = keras.ops.convert_to_numpy(
        row_classes(FORM, tokens, infilling=True)
    )
    size = min(len(found), int(x["padding_mask"].sum()))
    assert stop > first
    # Durations may end earlier, where a key is struck again.
    for field in (0, 1, 2, 4):
        np.testing.assert_array_equal(
            x["notes"][0, :size, field], found[:size, field]
        )


@pytest.mark.one_backend
def test_the_same_notes_of_gaps_count_in_every_way_of_reading(model, tmp_path):
    corpus = random_corpus(tmp_path)
    found = evaluate_gaps(model, corpus, "train", gaps=2)
    assert found.num_gaps > 10 and found.num_notes > found.num_gaps
    before, timed, both = found.nats_per_note.values()
    # The model has not learned what gaps are: their embeddings are 0.
    np.testing.assert_allclose(timed, before, rtol=0.02)
    assert found.gain == pytest.approx((before - both) / before)
    # One gap, predicted by hand from what stands before it.
    rows = FORM.encode(corpus.notes(corpus.split("train")[-1]))
    plain = run_of(rows, 20, 12)
    x, y, _ = batch_of(FORM, [plain], 64, Fields(infilling=True))
    weight = np.zeros((1, 64), "float32")
    weight[:, 4:9] = 1
    by_hand = sum(
        keras.ops.convert_to_numpy(nats)[0, 4:9].sum()
        for nats in field_nats(FORM, y, model(x))
    )
    windows = judging._GapWindows(
        FORM, [(plain, 4, 5)], 64, 8, Fields(infilling=True)
    )
    (scored,) = windows
    np.testing.assert_array_equal(scored[2], weight)
    assert judging.ModelScorer(model).score(windows).nats == pytest.approx(
        by_hand, rel=1e-4
    )
    with pytest.raises(ValueError, match="must be one that fills gaps"):
        evaluate_gaps(build_note_model(), corpus)


@pytest.mark.one_backend
def test_fillings_are_compared_with_what_stood_there(tmp_path):
    corpus = random_corpus(tmp_path)

    class Copy:
        """It knows what stood in a gap, and continues with one note."""

        backbone = types.SimpleNamespace(infilling=True)

        def infill(self, notes, start, end, seed):
            return notes

        def generate(self, notes, prompt_seconds, seconds, seed):
            kept = notes[notes["start"] < prompt_seconds]
            new = np.array([(prompt_seconds, 1e4, 60, 64)], NOTE_DTYPE)
            return np.concatenate([kept, new])

    found = evaluate_fillings(Copy(), corpus, "train", pieces=9)
    assert len(found.true) > 3
    assert found.mean_overlap("filling")[0] == pytest.approx(1)
    assert found.density_ratio("filling")[0] == 1
    assert found.density_ratio("continuation")[0] < 0.5
    assert 0 < found.mean_overlap("before")[0] < 1


@pytest.mark.one_backend
def test_the_command_leaves_a_file_around_the_gap_as_it_was(model, tmp_path):
    (path,) = DATA.glob("bach*.midi")
    model.save_to_preset(str(tmp_path / "preset"))
    options = ["--from", "5", "--to", "7.5", "--seed", "1"]
    command = ["infill", path, *options, "--out", tmp_path / "new.mid"]
    printed = succeed(*command, "--preset", tmp_path / "preset")
    assert "in place of" in printed and "seed 1" in printed
    own, made = read_notes(path), read_notes(tmp_path / "new.mid")
    outside = own[(own["start"] < 5) | (own["start"] >= 7.5)]
    kept = made[(made["start"] < 4.999) | (made["start"] >= 7.499)]
    for field in ("pitch", "velocity"):
        np.testing.assert_array_equal(kept[field], outside[field])
    np.testing.assert_allclose(kept["start"], outside["start"], atol=0.001)
    options = ["--seed", "1", "--preset", tmp_path / "preset"]
    succeed("vary", path, "--out", tmp_path / "varied.mid", *options)
    varied = read_notes(tmp_path / "varied.mid")
    first = own[own["start"] < phrases_of(own)[1][0]]
    np.testing.assert_array_equal(varied["pitch"][: len(first)], first["pitch"])
    error, _ = fail(*command, "--preset", "music_transformer_small_maestro")
    assert "A preset of notes is needed" in error
    command = ["infill", path, "--out", tmp_path / "filled.mid"]
    for times in (["8", "3"], ["0", "31"], ["1", "1.001"]):
        # Known before a preset is looked for.
        error, _ = fail(
            *command, "--from", times[0], "--to", times[1], "--preset", "none"
        )
        assert f"--from={float(times[0])}" in error


def test_gaps_that_make_no_sense_are_refused(model):
    notes = piece_of(40, 4)
    length = notes["end"].max()
    with pytest.raises(ValueError, match="lie in the piece, from 0 to"):
        model.infill(notes, 1.0, length + 1)
    with pytest.raises(ValueError, match="lie in the piece"):
        model.infill(notes, 2.0, 1.0)
    with pytest.raises(ValueError, match="at least 0.01 seconds long"):
        model.infill(notes, 2.0, 2.005)
    check_span(notes, 2.0, 2.01)  # A tick, of 0.0099999999999998 s.
    with pytest.raises(TypeError, match="`start` must be a number of seconds"):
        model.infill(notes, "1", 2.0)
    with pytest.raises(ValueError, match="trained to fill gaps"):
        build_note_model().infill(notes, 1.0, 2.0)
    with pytest.raises(ValueError, match="must have notes"):
        model.infill(notes[:0], 1.0, 2.0)


@pytest.mark.slow_to_trace
def test_a_model_that_fills_gaps_is_saved_and_learns(model, tmp_path):
    model.save_to_preset(str(tmp_path / "preset"))
    loaded = NoteTransformerCausalLM.from_preset(str(tmp_path / "preset"))
    notes = piece_of(40, 5)
    found = [m.infill(notes, 1.0, 2.5, seed=3) for m in (model, loaded)]
    assert np.array_equal(*found)
    corpus = random_corpus(tmp_path)
    windows = loaded.preprocessor.form.training_windows(
        corpus, sequence_length=24, steps=3
    )
    history = loaded.fit(windows, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
