"""What can be asked of a model: measured, trained on, asked for, obtained."""

import dataclasses
import inspect

import keras
import numpy as np
import pytest
from command_line import TINY
from command_line import complaints
from command_line import fail
from command_line import invoke
from command_line import succeed
from note_models import build_note_model
from random_pieces import even_notes
from random_pieces import random_notes

from keras_pianogen.data import scales
from keras_pianogen.data.controls import NOT_ASKED
from keras_pianogen.data.controls import TAKEN
from keras_pianogen.data.controls import Controls
from keras_pianogen.data.controls import labels_of
from keras_pianogen.data.note_windows import NoteWindows
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.data.profiles import PROFILED
from keras_pianogen.data.profiles import Profile
from keras_pianogen.data.scales import SCALES
from keras_pianogen.data.scales import measured
from keras_pianogen.generation import pieces
from keras_pianogen.generation.asking import Asked
from keras_pianogen.generation.note_request import NoteRequest
from keras_pianogen.generation.steering import Steering
from keras_pianogen.judging import asking
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.models.extending import extended
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.note_tuples import rows_of as rows_of_notes
from keras_pianogen.notes import NOTE_DTYPE

FORM = NoteTuples()
CONTROLS = Controls(
    {"density": [2.0, 4.0, 8.0], "register": [50.0, 60.0, 70.0]},
    {"composer": ["Frédéric Chopin", "Johann Sebastian Bach", "J. C. Bach"]},
)


@pytest.fixture(scope="module")
def model():
    """A model whose controls make a difference."""
    model = extended(build_note_model(64), controls=CONTROLS)
    table = model.backbone.note_embedding.embedding.embeddings
    rng = np.random.default_rng(0)
    values = np.array(keras.ops.convert_to_numpy(table))
    rows = sum(x.num_classes + 1 for x in CONTROLS.inputs)
    values[-rows:] = rng.normal(size=(rows, values.shape[1]))
    table.assign(values)
    model.compile()
    return model


@pytest.fixture
def labelled(tmp_path):
    """Six pieces of two players, slow and low or fast and high."""
    folder, lines = tmp_path / "midi", ["file,player,split,mood"]
    folder.mkdir()
    for i in range(6):
        notes = even_notes(60 if i % 2 else 240, i)
        notes["pitch"] = 40 + 20 * (i % 2) + np.arange(len(notes)) % 12
        write_midi(notes, folder / f"{i}.mid")
        split = "validation" if i > 3 else "train"
        lines.append(f"{i},{'Ann' if i % 2 else 'Bob'},{split},")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return folder, tmp_path / "labels.csv"


@pytest.mark.one_backend
def test_scales_are_measured_over_the_seconds_that_follow():
    notes = random_notes(np.random.default_rng(3), 300, longest=2)
    found = measured(notes)
    last = notes["start"][-1]
    whole = notes["start"] <= last - 6
    for i in np.flatnonzero(whole):
        begin = notes["start"][i]
        part = notes[(notes["start"] >= begin) & (np.arange(300) >= i)]
        part = part[part["start"] < begin + 6]
        onsets = np.diff(notes["start"], prepend=-1) > 0.03
        starts = notes["start"][onsets]
        ratios = [
            np.log(max(n["end"] - n["start"], 0.01) / (after - n["start"]))
            for n in part
            for after in starts[starts > n["start"] + 0.03][:1]
        ]
        expected = {
            "pace": onsets[i : i + len(part)].sum() / 6,
            "legato": np.exp(np.mean(ratios)),
            "density": len(part) / 6,
            "loudness": part["velocity"].mean(),
            "register": part["pitch"].mean(),
            "polyphony": (part["end"] - part["start"]).sum() / 6,
        }
        for name, value in expected.items():
            assert found[name][i] == pytest.approx(value)
    assert whole.sum() > 50
    assert all(np.isfinite(found[name]).all() for name in SCALES)
    assert all(len(x) == 0 for x in measured(notes[:0]).values())


@pytest.mark.one_backend
@pytest.mark.parametrize("time_step", [0.008, 0.01])
@pytest.mark.parametrize(("ticks", "onsets"), [(3, 1), (4, 2)])
def test_notes_at_most_30_ms_apart_are_one_onset_at_any_time(
    time_step, ticks, onsets
):
    rows = np.tile([[997, 60, 20, 5], [ticks, 64, 20, 5]], (300, 1))
    form = NoteTuples(time_step=time_step)
    notes = form.decode(rows_of_notes(rows))
    assert (Steering(form).together < ticks) == (onsets == 2)
    assert scales.overall(notes, 300.0)["pace"] == onsets
    # Each six seconds hold one pair, but for the last.
    found = measured(notes)["pace"][:-2:2]
    np.testing.assert_allclose(found, onsets / 6)


@pytest.mark.one_backend
def test_the_same_time_is_spent_in_each_class(labelled, tmp_path, caplog):
    folder, labels = labelled
    corpus = prepare_corpus(folder, tmp_path / "corpus", labels=labels)
    controls = Controls.of(corpus, ["player", "density"])
    assert "Received fewer of: Ann, Bob" in caplog.text
    assert controls.names == ("density", "player")
    assert controls.labels["player"] == ("Ann", "Bob")
    assert not controls.profiles
    notes = np.concatenate([corpus.notes(i) for i in corpus.split("train")])
    assert len(notes) == 2 * (60 + 240)
    # Half of the time has 3 notes a second, the other half 12.
    edges = np.array(controls.scales["density"])
    assert (edges[:9] < 3.5).all() and (edges[11:] > 11).all()
    with pytest.raises(ValueError, match=r"labels of the corpus, player\. R"):
        Controls.of(corpus, ["emotion"])


@pytest.mark.one_backend
def test_windows_say_what_is_asked_of_each_note(labelled, tmp_path):
    folder, labels = labelled
    corpus = prepare_corpus(folder, tmp_path / "corpus", labels=labels)
    controls = Controls.of(corpus, ["density", "register", "player"])
    settings = {"form": FORM, "sequence_length": 48, "augment": False}
    plain = NoteWindows(corpus, **settings)
    windows = NoteWindows(
        corpus, infilling=0.3, performing=0.3, controls=controls, **settings
    )
    asked = np.zeros(3)
    for step in range(20):
        x, y, _ = windows.batch(step)
        fields = x["notes"][..., -3:]
        is_there = x["padding_mask"]
        for i in range(len(y)):
            given = fields[i][is_there[i]]
            after = x["notes"][i, is_there[i], 4] == 0
            given = given[~after]  # Nothing is asked of what follows a gap.
            is_asked = (given != NOT_ASKED).all(axis=0)
            assert (is_asked == (given != NOT_ASKED).any(axis=0)).all()
            asked += is_asked
            if is_asked[2]:
                assert len(set(given[:, 2])) == 1
            if is_asked[1] and is_asked[2]:
                # Ann plays high, Bob low.
                is_high = given[0, 1] > 9
                assert is_high == (given[0, 2] == 0)
    shares = asked / (20 * len(y))
    assert ((shares > 0.2) & (shares < 0.5)).all()
    assert plain.batch(0)[0]["notes"].shape[-1] == 4


@pytest.mark.one_backend
def test_files_of_labels_that_make_no_sense_are_refused(labelled, tmp_path):
    folder, labels = labelled
    out = tmp_path / "corpus"
    for text, match in (
        ("file\n1.mid", "names of two columns or more"),
        ("file,mood\nno.mid,sad", "must name files of the source, such as 0"),
        ("file,mood\n1.mid,sad\n1,happy", r"one line for 1\.mid"),
        ("file,mood\n1,sad\n1,happy", "line 3: expected a file that no line"),
        ("file,mood\n1,sad,2", "line 2: expected"),
        ("file,split\n1,trian", "`split` must be one of train"),
        (b"\xff\xfe,", "CSV file in UTF-8"),
    ):
        data = text if isinstance(text, bytes) else text.encode()
        labels.write_bytes(data)
        with pytest.raises(ValueError, match=match):
            prepare_corpus(folder, out, labels=labels)


@pytest.mark.one_backend
def test_other_labels_make_another_corpus(labelled, tmp_path):
    folder, labels = labelled
    out = tmp_path / "corpus"
    first = prepare_corpus(folder, out, labels=labels)
    assert prepare_corpus(folder, out, labels=labels).pieces == first.pieces
    assert [piece.labels["player"] for piece in first.pieces[:2]] == [
        "Bob",
        "Ann",
    ]
    assert {piece.split for piece in first.pieces[4:]} == {"validation"}
    labels.write_text(labels.read_text().replace("Ann", "Cleo"))
    with pytest.raises(ValueError, match="must not hold another corpus"):
        prepare_corpus(folder, out, labels=labels)


def test_a_model_with_controls_continues_as_before_if_nothing_is_asked():
    plain, notes = build_note_model(64), even_notes(40, 1)
    logits = []
    for one in (plain, extended(plain, 0.5, 0.5, CONTROLS)):
        x, _, _ = one.preprocessor(notes)
        x = {name: array[None] for name, array in x.items()}
        logits.append(keras.ops.convert_to_numpy(one(x)))
    np.testing.assert_allclose(*logits, atol=1e-5)


def rows_of(model, prompt=None, seconds=12.0, **values):
    asked = Asked(CONTROLS, values)
    request = NoteRequest.from_music(
        model, prompt, seconds=seconds, seed=1, asked=asked
    )
    (rows,) = pieces.draw(request)
    return rows, asked


def test_each_new_note_is_given_what_is_asked_of_its_time(model):
    rows, asked = rows_of(model, density=(1, 12), composer="chopin")
    clock = np.cumsum(np.maximum(rows[:, 0], 0))
    steps = np.minimum(clock * 64 // 1200, 63)
    made = rows[:, 0] >= 0
    assert made.sum() > 20
    expected = asked.plan()[steps[made]]
    np.testing.assert_array_equal(rows[made][:, -3:], expected)
    assert set(rows[made, -3]) == {0, 1, 2, 3}
    assert set(rows[made, -2]) == {NOT_ASKED}
    assert set(rows[made, -1]) == {0}


@pytest.mark.slow_to_trace
def test_notes_of_a_prompt_are_given_what_they_have(model):
    prompt = even_notes(60, 2, seconds=10)
    rows, _ = rows_of(model, prompt, seconds=2.0, density=1, composer="chopin")
    classes = CONTROLS.classes(FORM.decode(FORM.encode(prompt)))
    np.testing.assert_array_equal(rows[1:60, -3], classes[:-1, 0])
    assert rows[60, -3] == 0  # What is to come is asked for already.
    assert set(rows[1:61, -2]) == {NOT_ASKED}
    assert set(rows[:, -1]) == {0}
    assert set(rows[61:, -3]) == {0}


@pytest.mark.slow_to_trace
def test_guidance_is_the_difference_that_asking_makes(model):
    settings = {"seconds": 6, "seed": 4, "variations": 2}
    free = model.generate(**settings)
    asked = model.generate(composer="chopin", **settings)
    none = model.generate(composer="chopin", guidance=0, **settings)
    more = model.generate(composer="chopin", guidance=3, **settings)
    assert not np.array_equal(free[0], asked[0])
    assert not np.array_equal(asked[0], more[0])
    for one, other in zip(free, none, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.one_backend
def test_a_profile_draws_what_it_was_made_of():
    """Loud music is high here, and each note is a fifth above the last."""
    rng, music = np.random.default_rng(0), []
    for _ in range(20):
        loudness = rng.integers(20, 100)
        notes = even_notes(120, 1, seconds=30)
        notes["velocity"] = loudness
        notes["pitch"] = loudness // 2 + 7 * (np.arange(120) % 5)
        music.append(notes)
    usual = np.full(49, 1000)
    profile = Profile.of(music, usual)
    assert Profile(**profile.get_config()) == profile
    rows = [profile.draw({}, rng) for _ in range(500)]
    drawn = {name: np.array([row[name] for row in rows]) for name in PROFILED}
    assert np.corrcoef(drawn["loudness"], drawn["register"])[0, 1] > 0.98
    np.testing.assert_allclose(drawn["density"], 4, rtol=0.2)
    np.testing.assert_allclose(drawn["polyphony"], 0.8, rtol=0.25)
    loud = profile.draw({"loudness": 90}, rng)
    assert loud["loudness"] == pytest.approx(90)
    assert loud["register"] == pytest.approx(59, abs=3)
    # Four intervals of five are fifths upwards, and 20 more of each count.
    assert int(np.argmax(profile.intervals)) - 24 == 7
    share = (20 * 119 * 0.8 + 20) / (20 * 119 + 49 * 20)
    assert profile.intervals[31] == pytest.approx(np.log(49 * share), abs=0.02)
    everything = {"density": 4, "loudness": 90, "register": 59, "polyphony": 1}
    assert profile.draw(everything, rng) == everything
    assert Profile.of(music[:10], usual) is None
    with pytest.raises(ValueError, match="without negative eigenvalues"):
        Profile([0] * 4, (-np.eye(4)).tolist(), [0] * 49)


@pytest.mark.one_backend
def test_a_gap_is_asked_for_too(model):
    filling = extended(model, 0.5)
    filling.compile()
    notes = even_notes(60, 5)
    found = [
        filling.infill(notes, 4, 8, seed=2, **asked)
        for asked in ({}, {"density": 1}, {"density": 1, "guidance": 2})
    ]
    outside = notes[(notes["start"] < 4) | (notes["start"] >= 8)]
    assert all(np.isin(outside, piece).all() for piece in found)
    assert not np.array_equal(*found[:2])
    assert not np.array_equal(*found[1:])


@pytest.mark.one_backend
def test_what_can_not_be_asked_is_refused(model):
    for values, error, match in (
        ({"emotion": "sad"}, ValueError, "has density, register, composer"),
        ({"composer": "Liszt"}, ValueError, "one of Frédéric Chopin, Jo"),
        ({"composer": "bach"}, ValueError, "must be one of Frédéric"),
        ({"composer": 3}, TypeError, "`composer` must be a string"),
        ({"density": 0}, ValueError, "above 0, at most 60"),
        ({"density": "2:3:4"}, ValueError, "one number, or two"),
        ({"register": "deep"}, ValueError, "or one of low, middle, high"),
        ({"register": "10"}, ValueError, "a pitch of the piano"),
        ({"guidance": 2}, ValueError, "needs a control that is asked for"),
        ({"density": 3, "guidance": -1}, ValueError, "from 0 to 20"),
    ):
        with pytest.raises(error, match=match):
            model.generate(seconds=1, **values)
    controls = Controls(dict.fromkeys(SCALES, [1, 2]))
    for values, match in (
        ({"polyphony": 3, "legato": 1}, "at most one of them"),
        ({"density": (9, 3), "pace": 5}, "must be at least `pace`"),
    ):
        with pytest.raises(ValueError, match=match):
            Asked(controls, values)
    with pytest.raises(ValueError, match="which has no controls"):
        build_note_model().generate(seconds=1, density=3)
    names = [Asked(CONTROLS, {"composer": x}).values for x in ("J. C. Bach",)]
    assert names == [{"composer": 2}]


@pytest.mark.slow_to_trace
def test_controls_are_saved_and_learned_from(model, tmp_path):
    model.save_to_preset(str(tmp_path / "preset"))
    loaded = NoteTransformerCausalLM.from_preset(str(tmp_path / "preset"))
    assert loaded.controls == CONTROLS
    found = [m.generate(seconds=2, seed=1, density=3) for m in (model, loaded)]
    assert np.array_equal(*found)


@pytest.mark.one_backend
def test_one_trains_asks_and_measures_from_the_command_line(labelled, tmp_path):
    folder, labels = labelled
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    printed = succeed("prepare", folder, "--out", corpus, "--labels", labels)
    assert "Label player: 6 of 6 pieces, 2 values" in printed
    options = ["--architecture", "note_transformer", "--steps", "4", *TINY]
    options += ["--controls", "density, register,player"]
    result = invoke("train", corpus, "--out", run, *options)
    assert result.exit_code == 0, result.output
    assert "player gets no profile" in complaints(result.stderr)
    preset = ["--preset", run / "preset"]
    asked = ["--density", "2:9", "--control", "player=ann", "--guidance", "2"]
    out = tmp_path / "piece.mid"
    options = ["--seconds", "3", "--seed", "1", *asked, *preset]
    assert "seed 1" in succeed("generate", "--out", out, *options)
    options = ["--controls", "38", "--seconds", "2"]
    printed = succeed("evaluate", corpus, *preset, *options)
    assert "density" in printed and "player" in printed and "50.0%" in printed
    error, _ = fail("generate", "--out", out, "--control", "player", *preset)
    assert "NAME=VALUE" in error
    events = ["--preset", "music_transformer_maestro"]
    error, _ = fail("generate", "--out", out, "--density", "3", *events)
    assert "which has no controls" in error
    # Another run may add controls to those of a preset, and learn steered ones.
    model = NoteTransformerCausalLM.from_preset(run / "preset")
    paced = model.controls.joined(Controls({"pace": [3]}, steered=["pace"]))
    steered = str(tmp_path / "steered")
    extended(model, controls=paced).save_to_preset(steered)
    more = ["--controls", "loudness,pace", "--steps", "2", "--samples", "0"]
    more += ["--preset", steered]
    succeed("train", corpus, "--out", tmp_path / "more", *more)
    model = NoteTransformerCausalLM.from_preset(tmp_path / "more" / "preset")
    assert {control.name for control in model.controls.inputs} == {
        "density",
        "register",
        "loudness",
        "pace",
        "player",
    }


@pytest.mark.one_backend
def test_what_was_obtained_is_told_apart_from_what_was_not(monkeypatch):
    rng = np.random.default_rng(0)

    def generate(seconds, variations, density, **_):
        return [
            even_notes(round(density * seconds * rng.uniform(0.9, 1.1)), i)
            for i in range(variations)
        ]

    model = dataclasses.make_dataclass("Model", ["controls", "generate"])(
        CONTROLS, generate
    )
    found = asking.evaluate_scale(model, "density", pieces=40)
    assert found.correlation[0] > 0.95
    assert found.error < 1
    assert abs(found.drift["loudness"]) < 0.7
    model.generate = lambda seconds, variations, density, **_: [
        even_notes(100, i) for i in range(variations)
    ]
    still = asking.evaluate_scale(model, "density", pieces=40)
    assert still.error > found.error


@pytest.mark.one_backend
def test_a_scale_of_an_empty_piece_is_0():
    assert scales.overall(np.empty(0, NOTE_DTYPE), 5) == dict.fromkeys(
        SCALES, 0
    )


@pytest.mark.one_backend
def test_no_label_has_the_name_of_an_argument():
    methods = ("generate", "stream", "infill", "vary", "perform")
    names = {
        name
        for method in methods
        for name in inspect.signature(
            getattr(NoteTransformerCausalLM, method)
        ).parameters
    }
    assert names - TAKEN <= {"settings"}
    for name in ("seed", "density", "a,b", "a=b", ""):
        with pytest.raises(ValueError, match="A label's name must have no"):
            Controls({}, {name: ["x"]})


@pytest.mark.one_backend
def test_pieces_of_known_composers_have_a_period(tmp_path):
    for composer, period in (
        ("Claude Debussy", "20th century"),
        ("Franz Schubert / Franz Liszt", "Romantic"),
        ("Ludwig van Beethoven", "Classical"),
    ):
        labels = labels_of(Piece("a.mid", composer=composer))
        assert labels == {"composer": composer, "period": period}
    assert "period" not in labels_of(Piece("a.mid", composer="Anonymous"))
    own = Piece("a.mid", composer="Claude Debussy", labels={"period": "modern"})
    assert labels_of(own)["period"] == "modern"
