"""Features of pieces, excerpts, and distances between sets."""

import numpy as np
import pytest
from melodies import NAMES
from melodies import PEDAL_NAMES
from melodies import chord
from melodies import melody
from melodies import of

from keras_pianogen.judging.distances import compare_distances
from keras_pianogen.judging.distances import frechet_distance
from keras_pianogen.judging.distances import kl_divergence
from keras_pianogen.judging.distances import overlapping_area
from keras_pianogen.judging.features import FEATURES
from keras_pianogen.judging.features import cut
from keras_pianogen.judging.features import draw_begin
from keras_pianogen.judging.features import measure
from keras_pianogen.judging.features import seconds_of_pedal
from keras_pianogen.judging.features import shuffle_pitches
from keras_pianogen.notes import NOTE_DTYPE
from keras_pianogen.notes import PEDAL_DTYPE

pytestmark = pytest.mark.one_backend


def excerpt(notes, seconds, seed):
    return cut(notes, draw_begin(notes, seconds, seed), seconds)


# Features.


def test_shares_sum_to_one_and_identical_pieces_are_0_apart():
    shares = measure(melody(0))
    assert list(shares) == NAMES
    for feature in FEATURES:
        values = shares[feature.name]
        assert len(values) == len(feature.edges) - 1
        assert values.sum() == pytest.approx(1) and (values >= 0).all()
        assert kl_divergence(values, values) == 0
        assert overlapping_area(values, values) == pytest.approx(1)


def test_features_of_a_known_piece():
    """A chord of C and G, held under a D half a second later."""
    notes = np.array(chord(60, 67) + chord(74, start=0.5, end=1.5), NOTE_DTYPE)
    assert of(notes, "pitch class")[[0, 2, 7]].tolist() == [1 / 3] * 3
    np.testing.assert_array_equal(
        np.flatnonzero(of(notes, "interval")) - 24, [7]
    )  # Both steps are fifths.
    # The notes of the chord are a fifth apart, and the D stands alone.
    assert of(notes, "chord")[[0, 8]].tolist() == [0.5, 0.5]
    inter_onset = FEATURES[NAMES.index("inter-onset time")]
    assert inter_onset.values(notes).tolist() == [0, 0.5]
    assert of(notes, "polyphony")[:3].tolist() == [0, 2 / 3, 1 / 3]
    # Half of the chord sounds on under the D; nothing follows the D.
    overlap = FEATURES[NAMES.index("overlap")]
    np.testing.assert_allclose(overlap.values(notes), [0.5, 0.5, 0])
    density = FEATURES[NAMES.index("density")]
    assert density.values(notes).tolist() == [3]


def test_an_octave_is_found_in_the_pitch_alone():
    """KL is 0, and the area 1, for features that an octave doesn't change."""
    higher = melody(0)
    higher["pitch"] += 12
    ours, others = measure(melody(0)), measure(higher)
    changed = {
        name
        for name in NAMES
        if kl_divergence(ours[name], others[name]) > 1e-12
        or overlapping_area(ours[name], others[name]) < 1 - 1e-12
    }
    assert changed == {"pitch"}
    assert overlapping_area(ours["pitch"], others["pitch"]) < 0.5


def test_a_slower_piece_differs_in_times_alone():
    slower = melody(0)
    for field in ("start", "end"):
        slower[field] *= 2
    ours, others = measure(melody(0)), measure(slower)
    same = {n for n in NAMES if kl_divergence(ours[n], others[n]) < 1e-12}
    assert {"pitch", "pitch class", "interval", "velocity"} <= same
    assert not same & {"inter-onset time", "duration", "density"}


def test_shuffling_keeps_all_but_the_order_of_pitches():
    notes, shuffled = melody(0), shuffle_pitches(melody(0), seed=1)
    assert (notes["pitch"] != shuffled["pitch"]).any()
    ours, others = measure(notes), measure(shuffled)
    changed = {n for n in NAMES if kl_divergence(ours[n], others[n]) > 1e-12}
    assert changed == {"interval"}  # There are no chords.


def test_excerpts_are_as_long_as_asked_and_keep_their_seed():
    notes = melody(0)
    part = excerpt(notes, 10, seed=3)
    assert part["start"][0] == 0 and part["end"].max() <= 10
    assert part["start"].max() > 9
    np.testing.assert_array_equal(part, excerpt(notes, 10, seed=3))
    whole = excerpt(notes, 1000, seed=3)
    assert len(whole) == len(notes)
    np.testing.assert_allclose(np.diff(whole["start"]), np.diff(notes["start"]))
    assert len(cut(notes, 1e4, 5)) == 0


def test_an_excerpt_has_two_notes_where_the_piece_has_them_in_time():
    """Notes are ten seconds apart, but for two that are 0.2 s apart."""
    notes = melody(0, count=40)
    notes["start"] = 10.0 * np.arange(40)
    notes["start"][20] -= 9.8
    notes["end"] = notes["start"] + 0.1
    for seed in range(20):
        part = excerpt(notes, 0.5, seed)
        np.testing.assert_allclose(part["start"], [0, 0.2])
    alone = np.delete(notes, 20)
    assert len(excerpt(alone, 0.5, seed=0)) == 1
    assert len(excerpt(notes[:1], 0.5, seed=0)) == 1


def test_the_pedal_in_each_second_is_that_of_a_slow_count():
    rng = np.random.default_rng(0)
    edges = np.cumsum(rng.uniform(0, 1.5, 60))
    edges[10] = edges[9]  # A release and a press at one moment.
    pedal = np.zeros(30, PEDAL_DTYPE)
    pedal["start"], pedal["end"] = edges[::2], edges[1::2]
    found = seconds_of_pedal(pedal, 3.5, 20.2)
    assert len(found) == 21
    for i, (down, presses) in enumerate(found.tolist()):
        low, high = 3.5 + i, 4.5 + i
        held = np.minimum(pedal["end"], high) - np.maximum(pedal["start"], low)
        assert down == pytest.approx(held.clip(0).sum())
        inside = (pedal["start"] >= low) & (pedal["start"] < high)
        assert presses == inside.sum()
    none = seconds_of_pedal(pedal[:0], 0, 3)
    assert none.tolist() == [(0, 0)] * 3


def test_a_pedal_s_features_are_shares_of_its_seconds():
    pedal = np.array([(0, 1), (1, 1.25), (1.5, 1.75)], PEDAL_DTYPE)
    shares = measure(melody(0), seconds_of_pedal(pedal, 0, 4))
    assert list(shares) == NAMES + PEDAL_NAMES
    down, presses = (shares[name] for name in PEDAL_NAMES)
    assert down[[0, 5, 9]].tolist() == [0.5, 0.25, 0.25]
    assert presses.tolist() == [0.5, 0.25, 0.25, 0, 0, 0]


# Distances.


def test_divergence_and_area_of_known_shares():
    p, q = np.array([0.5, 0.5, 0, 0]), np.array([0, 0.5, 0.25, 0.25])
    assert overlapping_area(p, q) == 0.5
    mixed = [0.99 * x + 0.0025 for x in (p, q)]
    expected = sum(a * np.log(a / b) for a, b in zip(*mixed))
    assert kl_divergence(p, q) == pytest.approx(expected)
    assert kl_divergence(q, p) != pytest.approx(expected)


def test_distances_within_and_between_agree_where_the_sets_do():
    rng = np.random.default_rng(0)
    real, same = rng.normal(size=(2, 60, 5))
    kl, area = compare_distances(real, same)
    assert kl < 0.02 and area > 0.93
    kl, area = compare_distances(real, same + 8)
    assert kl > 1 and area < 0.1
    alike = np.ones((4, 5))
    kl, area = compare_distances(alike, alike)
    assert kl == pytest.approx(0) and area == pytest.approx(1)


def test_frechet_distance_meets_the_closed_form():
    """For Gaussians in one dimension it is (m₁ - m₂)² + (s₁ - s₂)²."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    x = (x - x.mean(0)) @ np.linalg.inv(
        np.linalg.cholesky(np.cov(x, rowvar=False)).T
    )  # mean 0 and covariance 1, exactly
    deviations = np.array([1, 2, 0.5, 3, 1, 0.1])
    shift = np.array([0, 1, 0, -2, 0.5, 0])
    expected = np.sum(shift**2) + np.sum((deviations - 1) ** 2)
    assert frechet_distance(x, x * deviations + shift) == pytest.approx(
        expected
    )
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    # With fewer vectors than dimensions, no covariance has full rank.
    few = rng.normal(size=(4, 6))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, few + 1) == pytest.approx(6)
