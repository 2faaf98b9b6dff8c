"""Sets of pieces compared: what is told apart, and what is not."""

import base64
import dataclasses
import io
import json
import os
import re
import xml.etree.ElementTree as ET

import matplotlib.image
import miditoolkit
import numpy as np
import pytest
from melodies import NAMES
from melodies import PEDAL_NAMES
from melodies import chord
from melodies import melodies
from melodies import melody
from melodies import pedalled
from scipy import stats
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen.judging.comparison import compare
from keras_pianogen.judging.comparison import read_folder
from keras_pianogen.judging.distances import kl_divergence
from keras_pianogen.judging.features import FEATURES
from keras_pianogen.judging.features import shuffle_pitches
from keras_pianogen.judging.statistics import classifier_accuracy
from keras_pianogen.judging.statistics import holm
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

# With this many relabellings, a p-value that is corrected for 14 tests can fall
# below 0.05.
ENOUGH = 299


def test_the_classifier_keeps_pieces_apart():
    """All rows of a piece are equal, and the labels are arbitrary."""
    marks = np.repeat(np.eye(40), 6, axis=0).reshape(40, 6, 40)
    found = [
        classifier_accuracy(marks[::2], marks[1::2], seed=seed)
        for seed in range(5)
    ]
    assert np.mean(found) < 0.6  # It would be 1 if folds mixed rows.


def test_the_classifier_tells_what_can_be_told():
    rng = np.random.default_rng(0)
    real, same = rng.normal(size=(2, 30, 3, 8))
    assert abs(classifier_accuracy(real, same) - 0.5) < 0.15
    assert classifier_accuracy(real, same + 3) == 1
    uneven = [*(same + 3), np.full((200, 8), 3.0)]
    assert classifier_accuracy(real, uneven) > 0.98


# Sets of pieces.


def test_other_melodies_of_a_kind_are_not_told_apart():
    found = compare(
        melodies(16), melodies(16, first=50), permutations=ENOUGH, seed=2
    )
    assert found.size == 8
    assert not [name for name in found.p_values if found.told_apart(name)]
    assert abs(found.mean("classifier", "floor") - 0.5) < 0.2
    assert abs(found.mean("classifier", "other") - 0.5) < 0.25
    assert found.mean("classifier", "shuffled") > 0.95
    for of in ("floor", "other"):
        assert found.mean("interval.kl", "shuffled") > 5 * found.mean(
            "interval.kl", of
        )


def test_chance_alone_tells_sets_apart_once_in_twenty_times():
    """Tests of two halves of one set are positive no more often than 5 %."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(8), size=(150, 20))
    below = [
        stats.permutation_test(
            np.split(np.arange(20), 2),
            lambda a, b, s=s: kl_divergence(s[a].mean(0), s[b].mean(0)),
            n_resamples=99,
            vectorized=False,
            alternative="greater",
            rng=np.random.default_rng(i),
        ).pvalue
        <= 0.05
        for i, s in enumerate(shares)
    ]
    assert np.mean(below) < 0.1


def test_shuffled_pieces_are_told_by_their_intervals():
    shuffled = {
        name: shuffle_pitches(notes)
        for name, notes in melodies(12, first=50).items()
    }
    found = compare(melodies(12), shuffled, permutations=ENOUGH, seed=2)
    told = {name for name in found.p_values if found.told_apart(name)}
    assert told == {"interval.kl", "classifier"}  # There are no chords.
    assert found.mean("classifier", "other") > 0.95


def test_a_set_an_octave_higher_is_found_in_its_pitches_alone():
    higher = melodies(16, first=50)
    for notes in higher.values():
        notes["pitch"] += 12
    found = compare(melodies(16), higher, permutations=ENOUGH, seed=2)
    told = {name for name in found.p_values if found.told_apart(name)}
    assert told == {"pitch.kl", "classifier"}
    assert found.mean("pitch.overlap", "other") < 0.6
    assert found.mean("pitch.distances_overlap", "other") < 0.6
    for name in set(NAMES) - {"pitch"}:
        assert found.mean(f"{name}.overlap", "other") > 0.8, name
    assert found.mean("classifier", "other") > 0.95


def test_holm_corrects_as_in_his_example():
    found = holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06, "d": 0.02})


def test_notes_that_are_held_have_a_row_of_their_own():
    notes = np.array(chord(60, end=12.5) + chord(62, start=1), NOTE_DTYPE)
    feature = FEATURES[NAMES.index("held notes")]
    assert feature.values(notes).tolist() == list(range(13))
    forgotten = melodies(12, first=50)
    for piece in forgotten.values():
        piece["end"][::10] += 20
    found = compare(melodies(12), forgotten, splits=1, permutations=ENOUGH)
    assert found.told_apart("held notes.kl")
    assert "held notes, KL in nats" in [row[0] for row in found.rows()]


def test_sets_too_small_for_the_tests_are_said_to_be():
    def warn(real, other, permutations):
        sets = melodies(real), melodies(other, first=50)
        found = compare(*sets, splits=1, permutations=permutations)
        assert found.to_dict()["warning"] == found.warning()
        assert min(found.p_values.values()) >= found.smallest_p
        return found.warning()

    # Of 6 and 2 pieces there are 28 relabellings, for 12 tests.
    warning = warn(6, 2, 999)
    assert "can't find any difference" in warning
    assert "no p could be below 0.429" in warning
    # With nineteen relabellings no p can be below a twentieth, either.
    assert "or more permutations" in warn(8, 8, 19)
    warning = warn(8, 8, ENOUGH)
    assert "find only large differences" in warning
    assert "With 8 real pieces and 8 others" in warning
    few = compare(melodies(4), melodies(4, first=50), splits=1, permutations=9)
    pieces = {"real": 20, "other": 20}
    enough = dataclasses.replace(few, smallest_p=0.01, pieces=pieces)
    assert enough.warning() is None


def test_embeddings_give_a_frechet_distance():
    seen = []

    def embed(pieces):
        seen.append(len(pieces))
        return [
            np.stack([notes["pitch"][:40:2], notes["pitch"][1:40:2]], 1)
            for notes in pieces
        ]

    higher = melodies(5, first=50)
    for notes in higher.values():
        notes["pitch"] += 12
    found = compare(
        melodies(8), higher, embed=embed, splits=3, permutations=ENOUGH
    )
    assert seen == [8 + 5 + 8] and found.size == 4
    assert len(found.values["frechet"]["other"]) == 3
    assert found.told_apart("frechet")
    bare = compare(melodies(4), higher, splits=1, permutations=9)
    assert "frechet" not in bare.values and "frechet" not in bare.p_values


def test_another_pedal_is_found_in_its_features_alone():
    real, other = melodies(12), melodies(12, first=50)
    found = compare(
        real,
        other,
        pedals=(pedalled(real, 0.8), pedalled(other, 0.25, 60)),
        splits=2,
        permutations=ENOUGH,
        seed=2,
    )
    told = {name for name in found.p_values if found.told_apart(name)}
    assert told == {"pedal down.kl", "pedal presses.kl", "classifier"}
    assert set(found.values) >= {"pedal down.overlap"}
    assert found.note() == (
        "Pedal: real down 80 % of the time, 30 presses a minute, in 12 of 12 "
        "pieces; other down 25 % of the time, 60 presses a minute, in 12 of 12 "
        "pieces"
    )
    # The anchor has the pedal of the pieces that it shuffles.
    for name in PEDAL_NAMES:
        sets = found.values[f"{name}.kl"]
        assert sets["shuffled"] == sets["floor"]


def test_a_pedal_of_one_set_alone_is_not_compared_and_that_is_said():
    real, other = melodies(4), melodies(4, first=50)
    settings = dict(splits=1, permutations=9)
    bare = compare(real, other, **settings)
    found = compare(real, other, pedals=(pedalled(real, 0.8), {}), **settings)
    assert found.values == bare.values and found.p_values == bare.p_values
    assert "isn't compared: other had none" in found.note()
    assert "isn't compared: real and other had none" in bare.note()
    values = found.to_dict()
    assert set(values["edges"]) == set(NAMES)
    assert values["pedal"]["real"]["pieces"] == 4
    assert values["pedal"]["other"] == {"pieces": 0, "down": 0, "presses": 0}


def test_pieces_without_two_notes_in_time_are_left_out_and_named():
    real, other = melodies(4), melodies(2, first=50)
    settings = dict(splits=1, permutations=9)
    bare = other | {"bare.mid": melody(0)[:1], "none.mid": melody(0)[:0]}
    found = compare(real, bare, **settings)
    assert found.left_out == {"real": [], "other": ["bare.mid", "none.mid"]}
    assert found.pieces == {"real": 4, "other": 2}
    assert found.values == compare(real, other, **settings).values


def test_in_a_notebook_it_is_its_table_and_its_picture():
    sets = melodies(4), melodies(4, first=50)
    found = compare(*sets, splits=1, permutations=9)
    page = found._repr_html_()
    root = ET.fromstring(page)
    cells = [[cell.text for cell in row] for row in root.iter("tr")]
    assert cells[0] == ["measure", "real", "other", "shuffled", "p"]
    assert [tuple(row) for row in cells[1:]] == [
        tuple(cell or None for cell in row) for row in found.rows()
    ]
    assert "isn't compared" in "".join(root.itertext())
    (image,) = root.iter("img")
    kind, _, data = image.get("src").partition(",")
    assert kind == "data:image/png;base64"
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(data)))
    assert picture.std() > 0.05
    assert not re.search(r"//|<script|<link", page.replace(data, ""))


def test_the_same_seed_gives_the_same_comparison():
    sets = melodies(6), melodies(4, first=50)
    first, again, other = (
        compare(*sets, splits=2, permutations=19, seed=seed).to_dict()
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "change, words",
    [
        ({"real": melodies(3)}, "`real` must have 4 pieces"),
        ({"other": melodies(1)}, r"`other` must have 2 pieces .*0\.mid"),
        ({"seconds": 0}, "`seconds` must be"),
        ({"splits": 0}, "`splits` must be"),
        ({"permutations": 0}, "`permutations` must be"),
        (
            {"other": melodies(1) | {"bare.mid": melody(0)[:1]}},
            "`other` must have 2 .* 1 .0.mid; too few notes in bare.mid",
        ),
    ],
)
def test_what_can_not_be_compared_is_refused(change, words):
    settings = {"real": melodies(4), "other": melodies(4)} | change
    with pytest.raises(ValueError, match=words):
        compare(**settings)


# The command.


def save(pieces, folder):
    for name, notes in pieces.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_midi(notes, folder / name)
    return folder


def press_pedal(path, *spans):
    """Adds a pedal, in milliseconds, to a file."""
    file = miditoolkit.MidiFile(str(path))
    file.instruments[0].control_changes = [
        miditoolkit.ControlChange(64, value, time)
        for span in spans
        for value, time in zip((127, 0), span, strict=True)
    ]
    file.dump(path)


def test_folders_are_read_to_their_depths_and_broken_files_skipped(tmp_path):
    save({"b/2.MID": melody(0), "1.midi": melody(1)}, tmp_path)
    press_pedal(tmp_path / "1.midi", (100, 900), (1000, 2000))
    (tmp_path / "notes.txt").write_text("no music")
    (tmp_path / "bad.mid").write_bytes(b"no music")
    (tmp_path / "b" / "._2.mid").write_bytes(b"\0\5\x16\7" + bytes(40))
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.mid")
    found = read_folder(tmp_path)
    assert list(found.notes) == list(found.pedals) == ["1.midi", "b/2.MID"]
    assert found.pedals["1.midi"].tolist() == [(0.1, 0.9), (1, 2)]
    assert not len(found.pedals["b/2.MID"])
    skipped = ["loop", "b/._2.mid", "bad.mid", "pipe.mid"]
    assert list(found.skipped) == skipped
    assert found.skipped["bad.mid"].startswith("is not a MIDI file")
    for name in ("1.midi", "b/2.MID"):
        (tmp_path / name).unlink()
    with pytest.raises(ValueError, match="with 4 that can't; loop: is a link"):
        read_folder(tmp_path)
    with pytest.raises(ValueError, match="nowhere, which doesn't exist"):
        read_folder(tmp_path / "nowhere")


def test_the_command_prints_a_table_and_draws(tmp_path):
    folders = [
        save(melodies(6), tmp_path / "a"),
        save(melodies(4, first=9), tmp_path / "b"),
    ]
    command = ["compare", *map(str, folders), "--no-embeddings"]
    command += ["--splits=2", "--permutations=99"]
    picture = tmp_path / "drawn" / "compared.png"
    result = CliRunner().invoke(cli.app, [*command, f"--picture={picture}"])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    for words in (*NAMES, "classifier", "floor", "shuffled"):
        assert words in result.stdout
    assert "pedal isn't compared" in result.stdout
    (folders[1] / "._9.mid").write_bytes(b"no music")
    press_pedal(folders[0] / "1.mid", (100, 900))
    result = CliRunner().invoke(cli.app, [*command, "--json"])
    first, second = result.stderr.splitlines()
    assert first == f"Skipped 1 of 5 files in {folders[1]}:"
    assert second.startswith("  ._9.mid: is not a MIDI file")
    rows = json.loads(result.stdout)
    assert list(rows["other"]["skipped"]) == ["._9.mid"]
    assert rows["other"]["pieces"] == 4
    assert rows["pedal"]["real"]["pieces"] == 1
    assert "other had none" in rows["pedal"]["note"]
    assert rows["size"] == 3 and rows["splits"] == 2
    assert set(rows["measures"]["pitch.kl"]) == {"floor", "other", "shuffled"}
    assert 0 < rows["p_values"]["classifier"] <= 1


def test_the_command_says_what_a_folder_lacks(tmp_path):
    folder = save(melodies(4), tmp_path / "a")
    empty, alone = tmp_path / "empty", save(melodies(1), tmp_path / "alone")
    empty.mkdir()
    for other, words in (
        (empty, "must be a folder with .mid"),
        (alone, "must have 2 pieces"),
    ):
        command = ["compare", str(folder), str(other), "--no-embeddings"]
        result = CliRunner().invoke(cli.app, command)
        assert result.exit_code == 2
        error, hint = result.stderr.splitlines()
        assert words in error and hint.startswith("Hint: ")
