"""Steering: models of notes are held to what is asked, by logits alone."""

import keras
import numpy as np
import pytest
from note_models import FORM
from note_models import build_note_model
from random_pieces import even_notes

from keras_pianogen.data import scales
from keras_pianogen.data.controls import NOT_ASKED
from keras_pianogen.data.controls import Controls
from keras_pianogen.data.fields import Fields
from keras_pianogen.data.profiles import Profile
from keras_pianogen.data.scales import SCALES
from keras_pianogen.generation.asking import LEANING
from keras_pianogen.generation.asking import Asked
from keras_pianogen.generation.note_request import NoteRequest
from keras_pianogen.generation.steering import COLUMNS
from keras_pianogen.generation.steering import Steering
from keras_pianogen.generation.steering import ops
from keras_pianogen.models.extending import extended

STEERED = Controls(
    {
        "density": [2.0, 4.0, 8.0],
        "loudness": [40.0, 60.0, 80.0],
        "register": [50.0, 60.0, 70.0],
        "polyphony": [1.0, 3.0, 6.0],
        "pace": [2.0, 4.0, 8.0],
        "legato": [0.5, 1.0, 2.0],
    },
    steered=["pace", "legato"],
)


@pytest.mark.slow_to_trace
@pytest.mark.parametrize(
    "asked",
    [
        {"density": 4, "loudness": 40, "register": 75},
        {"density": 11, "loudness": 95, "register": 50},
        {"polyphony": 2},
        {"polyphony": 6},
        {"density": 9, "pace": 5, "legato": 0.6},
        {"pace": 3},
        {"pace": 0.5},
    ],
)
def test_a_model_that_can_do_nothing_is_held_to_what_is_asked(held, asked):
    """A model that was never trained has no idea of any control."""
    (notes,) = held.generate(seconds=30, variations=1, seed=1, **asked)
    late = notes[notes["start"] >= 5]
    late["start"] -= 5
    late["end"] -= 5
    found = scales.overall(late, 25)
    for name, tolerance in (("loudness", 6), ("register", 4)):
        if name in asked:
            assert found[name] == pytest.approx(asked[name], abs=tolerance)
    for name in ("density", "polyphony", "pace", "legato"):
        if name in asked:
            assert found[name] == pytest.approx(asked[name], rel=0.25)


@pytest.fixture(scope="module")
def held():
    model = extended(build_note_model(64), controls=STEERED)
    model.compile()
    return model


@pytest.mark.one_backend
def test_a_change_is_followed(held):
    notes = held.generate(seconds=40, seed=2, register=(45, 85))
    half = notes["start"] < 20
    means = notes["pitch"][half].mean(), notes["pitch"][~half].mean()
    np.testing.assert_allclose(means, (55, 75), atol=4)


@pytest.mark.one_backend
def test_strengths_and_tilts_are_those_of_a_slow_twin():
    rng = np.random.default_rng(0)
    rows = [[30, 70, 20, 50], [0, 40, 3, 700], [10, 50, 9, 90]]
    none = np.nan
    targets = np.array(
        [
            [6, 80, 60, none, 4, 2],
            [none, 30, none, 2, none, none],
            [0.5, none, none, none, 0.2, none],
        ],
        "float32",
    )
    shares = np.full((3, 12), np.nan)
    shares[0, 1:] = rng.dirichlet(np.ones(11))
    shares[0, 0] = 0  # C isn't to come, and no warning either.
    targets = np.concatenate([targets, shares], 1, dtype="float32")
    strengths = rng.normal(size=(3, COLUMNS)).astype("float32")
    strengths[np.isnan(targets)] = 0
    strengths[2, [0, 4]] = -5, -14.95  # Beyond 3, because it is slow.
    chords = np.array([[2, -0.5], [1, 0.3], [1, 0]], "float32")
    steering = Steering(FORM)
    tensors = [
        ops.convert_to_tensor(x)
        for x in (strengths, targets, np.array(rows, "int32"), chords)
    ]
    found = keras.ops.convert_to_numpy(steering.follow(*tensors))
    for i, (shift, pitch, bin_, duration) in enumerate(rows):
        density, loudness, register, polyphony, pace, legato = targets[i, :6]
        is_onset = shift > 3
        count, lasted = chords[i]
        overlap = lasted - count * np.log(max(shift / 100, 0.01))
        wait, rings = shift / 100, duration / 100
        velocity = float(FORM.to_velocities(np.array([bin_]))[0])
        change = [
            0.2 * (density * wait - 1) * min(1, 5 / density) / min(1, density),
            0.1 * (loudness - velocity) / 16,
            0.06 * (register - pitch) / 12,
            0.05 * (wait - rings / polyphony) / 0.1,
            0.2 * (pace * wait - is_onset) * min(1, 5 / pace) / min(1, pace),
            0.05 * is_onset * (count * np.log(legato) - overlap),
            *(0.5 * (targets[i, 6:] - (np.arange(12) == pitch % 12))),
        ]
        most = np.full(COLUMNS, 3.0)
        most[[0, 4]] /= np.minimum([density, pace], 1)
        expected = np.clip(strengths[i] + change, -most, most)
        expected[np.isnan(targets[i])] = 0
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-5)
    left = ops.convert_to_tensor(np.array([0, 30, 0], "int32"))
    shifts = keras.ops.convert_to_numpy(
        steering.tilt_of_shifts(*tensors[:2], left)
    )
    pitches = keras.ops.convert_to_numpy(steering.tilt("pitch", tensors[0]))
    # 20 ticks, at 6 notes and 4 onsets a second, and for a polyphony of 2.
    denser, faster = strengths[0, [0, 4]]
    expected = -denser * 1.2 + faster * (1 - 0.8)
    assert shifts[0, 20] == pytest.approx(expected, rel=1e-4)
    expected = -denser * 0.18 - faster * 0.12
    assert shifts[0, 3] == pytest.approx(expected, rel=1e-4)
    assert shifts[1, 20] == pytest.approx(-strengths[1, 3] * 0.2, rel=1e-5)
    # At 0.5 notes and 0.2 onsets a second.
    sparser, slower = strengths[2, [0, 4]]
    expected = -sparser * 0.1 - slower * 0.04 - 3 * 0.2
    assert shifts[2, 20] == pytest.approx(expected, rel=1e-4)
    assert shifts[0, -1] == 0
    assert shifts[1, -1] == pytest.approx(-strengths[1, 3] * 0.3, rel=1e-5)
    octave = pitches[:, 72] - pitches[:, 60]
    np.testing.assert_allclose(octave, strengths[:, 2], rtol=1e-5)
    fifth = pitches[:, 67] - pitches[:, 60]
    expected = strengths[:, 13] - strengths[:, 6] + strengths[:, 2] * 7 / 12
    np.testing.assert_allclose(fifth, expected, rtol=1e-5)
    chord = steering.chord_after(tensors[3], tensors[2])
    chord = keras.ops.convert_to_numpy(chord)
    # The first note begins an onset, the second one joins it.
    expected = [[1, np.log(0.5)], [2, 0.3 + np.log(7)], [1, np.log(0.9)]]
    np.testing.assert_allclose(chord, expected, rtol=1e-5)


@pytest.mark.one_backend
def test_a_label_is_heard_in_scales_and_intervals(held):
    """A model that was never trained has no idea of a player either."""
    intervals = np.full(49, -2.0)
    intervals[24 + 7] = intervals[24 - 7] = 2.0
    profile = {
        "means": [np.log(8), 90, 70, np.log(3)],
        "covariance": (0.01 * np.eye(4)).tolist(),
        "intervals": intervals.tolist(),
    }
    controls = Controls(
        STEERED.scales, {"player": ["Ann"]}, {"player": [profile]}
    )
    model = extended(held, controls=controls)
    again = type(model.backbone).from_config(model.backbone.get_config())
    assert again.controls == controls
    (free,) = model.generate(seconds=20, variations=1, seed=1)
    (made,) = model.generate(seconds=20, variations=1, seed=1, player="Ann")
    (soft,) = model.generate(
        seconds=20, variations=1, seed=1, player="Ann", loudness=30
    )
    late = made[made["start"] >= 5]
    assert len(late) / 15 == pytest.approx(8, rel=0.25)
    assert late["velocity"].mean() == pytest.approx(90, abs=6)
    assert soft["velocity"][soft["start"] >= 5].mean() < 45
    fifths = [(np.abs(np.diff(x["pitch"])) == 7).mean() for x in (free, made)]
    assert fifths[1] > 3 * fifths[0]
    # What goes on from music has its scales, and the intervals of the label.
    prompt = even_notes(40, 2)
    request = NoteRequest.from_music(
        model, [prompt], seconds=5, asked=Asked(controls, {"player": "Ann"})
    )
    assert np.isnan(request.limits.targets).all()
    assert request.limits.intervals.max() == pytest.approx(2 * LEANING)


@pytest.mark.one_backend
def test_a_gap_is_held_to_the_pitch_classes_around_it(held):
    filling = extended(held, 0.5)
    notes = even_notes(200, 5)
    notes["pitch"] = 60 + np.array([0, 4, 7, 12])[np.arange(200) % 4]
    pieces = filling.infill(notes, 6, 14, variations=8, seed=2)
    # This model writes 24 notes; the strengths grow with the first of them.
    new = np.concatenate([x[~np.isin(x, notes)][10:] for x in pieces])
    classes = np.bincount(new["pitch"] % 12, minlength=12) / len(new)
    assert len(new) > 40
    assert classes[[0, 4, 7]].sum() > 0.6
    assert classes[0] == pytest.approx(0.35, abs=0.1)


@pytest.mark.one_backend
def test_steered_controls_are_no_inputs_of_the_model():
    plain = Controls(
        {name: STEERED.scales[name] for name in ("density", "register")}
    )
    profile = Profile([0] * 4, np.eye(4).tolist(), [0] * 49)
    new = Controls(
        {"pace": [2, 4]},
        {"period": ["Baroque"]},
        {"period": [profile]},
        steered=["pace", "period"],
    )
    both = plain.joined(new)
    assert both.names == ("density", "register", "pace", "period")
    assert both.inputs == plain.inputs
    assert Controls.from_config(both.get_config()) == both
    assert len(Fields(controls=both)) == len(Fields(controls=plain)) == 6
    # Trained with one of them later, a model reads it.
    trained = both.joined(Controls({"pace": [3, 5]}))
    assert [x.name for x in trained.inputs] == ["density", "register", "pace"]
    asked = Asked(both, {"pace": 3, "period": "baroque"})
    assert (asked.plan() == NOT_ASKED).all()
    assert (asked.targets()[:, list(SCALES).index("pace")] == 3).all()
    # What is drawn beside a pace doesn't contradict it.
    dense = asked.also("pace", (20.0, 20.0)).drawn(np.random.default_rng(0))
    assert dense.values["density"] == (20.0, 20.0)
    for label in ("player", "composer"):
        with pytest.raises(ValueError, match="labels that have profiles"):
            Controls(labels={"player": ["Ann"]}, steered=[label])


def requested(model, guidance=1.0, **values):
    asked = Asked(model.controls, values, guidance)
    return NoteRequest.from_music(model, None, seconds=9, seed=1, asked=asked)


@pytest.mark.one_backend
def test_guidance_counts_only_where_an_input_is_asked_for(held):
    profile = Profile([0] * 4, np.eye(4).tolist(), [0] * 49)
    period = Controls(
        labels={"period": ["Baroque"]},
        profiles={"period": [profile]},
        steered=["period"],
    )
    model = extended(held, controls=STEERED.joined(period))
    model.compile()
    for values, rows in (
        ({"pace": 3}, 1),
        ({"pace": 3, "loudness": 60}, 2),
        ({"period": "Baroque"}, 2),  # Its scales are inputs.
    ):
        assert len(requested(model, 2.0, **values).batch) == rows
        assert len(requested(model, **values).batch) == 1
    settings = {"seconds": 3, "seed": 1, "pace": 3}
    plain = model.generate(**settings)
    assert len(plain) > 3
    assert np.array_equal(plain, model.generate(guidance=2.0, **settings))


@pytest.mark.one_backend
def test_music_that_is_asked_to_be_sparse_is_not_drawn_again(held):
    for name, is_drawn in (("pace", 0), ("density", 0), ("register", 1)):
        request = requested(held, **{name: 30})
        assert request.can_be_drawn_again == is_drawn
