"""The blind listening test: its page, its key and its commands."""

import json
import re
import wave

import numpy as np
import pytest
from listening_pages import CONDITIONS
from listening_pages import RATE
from listening_pages import TASTES
from listening_pages import make
from listening_pages import piece
from listening_pages import render
from listening_pages import save
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen.listening import Key
from keras_pianogen.listening import simulate_listeners
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

pytest_plugins = ["listening_pages"]
pytestmark = pytest.mark.one_backend


# The page.


def test_nothing_in_the_page_tells_a_condition_or_a_piece(page):
    folder, key = page
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    kept = json.loads(key.read_text())
    assert len(files) == 4 + 9
    words = [*kept["conditions"], "chopin", "made-", "anchor"]
    words += [kept["seed"]] if len(kept["seed"]) > 4 else []
    for path in files:
        text = f"{path.relative_to(folder)} ".encode() + path.read_bytes()
        for word in words:
            assert word.encode() not in text.lower(), (path, word)
    assert len({path.stat().st_mtime for path in folder.rglob("*")}) == 1
    sounds = [path for path in files if path.suffix == ".wav"]
    assert len({path.stat().st_size for path in sounds}) == 1
    assert all(re.fullmatch("[0-9a-f]{16}", path.stem) for path in sounds)


def test_the_list_is_in_the_order_of_random_names(page):
    folder, key = page
    text = (folder / "items.js").read_text()
    told = json.loads(text.removeprefix("window.STUDY = ").rstrip(";\n"))
    assert set(told) == {"study", "seconds", "items"}
    assert told["items"] == sorted(told["items"])
    kept = json.loads(key.read_text())
    assert list(kept["items"]) == told["items"]
    conditions = [item["condition"] for item in kept["items"].values()]
    assert conditions != sorted(conditions)
    assert {c: conditions.count(c) for c in conditions} == {
        "genuine": 3, "machine": 3, "shuffled": 3,
    }  # fmt: skip


def test_sounds_are_as_long_as_asked_and_fade(page):
    for path in (page[0] / "sounds").iterdir():
        with wave.open(str(path)) as file:
            assert file.getnframes() == 5 * RATE
            sound = np.frombuffer(file.readframes(5 * RATE), "<i2")
        assert np.abs(sound[:RATE]).max() > 8000
        assert np.abs(sound[-20:]).max() < 100


def test_the_anchor_is_of_pieces_that_are_not_heard_as_they_are(page):
    items = json.loads(page[1].read_text())["items"].values()
    genuine = {i["piece"] for i in items if i["condition"] == "genuine"}
    shuffled = {i["piece"] for i in items if i["condition"] == "shuffled"}
    assert (
        len(genuine) == 3 and set(CONDITIONS["genuine"]) - genuine <= shuffled
    )


def test_the_same_seed_gives_the_same_page(tmp_path):
    made = [
        make(tmp_path / name, seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", None), ("d", None))
    ]
    assert made[0] == made[1]
    assert made[2]["study"] != made[3]["study"]
    assert not set(made[2]["items"]) & set(made[3]["items"])
    for path in (tmp_path / "a" / "page").rglob("*.*"):
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()


def test_the_page_loads_nothing_from_other_hosts(page):
    html = (page[0] / "index.html").read_text()
    policy = re.search('Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy
    for name in ("index.html", "page.css", "page.js"):
        text = (page[0] / name).read_text()
        assert "//" not in re.sub("^// .*|[^:]// .*", "", text, flags=re.M)
    assert " style=" not in html and " onclick" not in html


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"key": "page/key.json"}, "`key` must lie outside"),
        ({"pieces": 4}, "pieces=4, and 3 in machine"),
        ({"pieces": 0}, "`pieces` must be"),
        ({"seconds": 2.5}, "`seconds` of a sound"),
        (
            {"seconds": 30},
            "last 28 s .* and 0 in genuine; chopin-0.mid lasts 12.5. s from "
            "its first note, not 28; .*; .*2.mid .*; and 1 more",
        ),
        ({"conditions": {}}, "`conditions` must be"),
        ({"conditions": {"shuffled": CONDITIONS["machine"]}}, "the anchor's"),
        ({"conditions": CONDITIONS | {"": {}}}, "must have a name"),
    ],
)
def test_a_page_that_would_not_do_is_not_made(tmp_path, changes, words):
    if "key" in changes:
        changes = changes | {"key": tmp_path / changes["key"]}
    with pytest.raises(ValueError, match=words):
        make(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_what_was_generated_to_a_pages_length_is_not_told_by_its_end(tmp_path):
    """It ends a little earlier, where excerpts of longer pieces go on."""
    heard = []

    def listen(notes, path):
        heard.append((notes["start"].min(), notes["end"].max()))
        render(notes, path)

    made = {f"made-{i}.mid": piece(20 + i)[8:39] for i in range(3)}
    assert made["made-0.mid"]["end"].max() == pytest.approx(4.95)
    conditions = CONDITIONS | {"machine": made}
    key = make(tmp_path, conditions=conditions, render=listen)
    assert key["left_out"] == {"genuine": {}, "machine": {}}
    assert set(heard) == {(0, 3)} and len(heard) == 9


MISFITS = {
    "late.mid": piece(30)[85:],
    "sparse.mid": piece(31)[::25],
    "silent.mid": piece(32)[:0],
}


@pytest.mark.parametrize("seed", range(3))
def test_pieces_that_do_not_fit_are_left_out_and_named(tmp_path, seed):
    genuine = CONDITIONS["genuine"] | MISFITS
    key = make(tmp_path, conditions={"genuine": genuine}, seed=seed)
    assert key["left_out"]["genuine"] == {
        "late.mid": "lasts 1.95 s from its first note, not 3",
        "sparse.mid": "has fewer than 8 notes in any 3 s",
        "silent.mid": "lasts 0.00 s from its first note, not 3",
    }
    drawn = {item["piece"] for item in key["items"].values()}
    assert drawn == set(CONDITIONS["genuine"])
    assert json.loads((tmp_path / "key.json").read_text()) == key


def test_an_excerpt_has_enough_notes_if_any_stretch_has_them(tmp_path):
    """Most of these notes are followed by seconds without any."""
    notes = piece(0, 60)
    notes["start"][:50] *= 30
    notes["start"][50:] += 190
    notes["end"] = notes["start"] + 0.2
    notes = np.append(notes, np.array([(230, 231, 60, 64)], NOTE_DTYPE))
    counts = []
    make(
        tmp_path,
        conditions={"genuine": {"a.mid": notes}},
        render=lambda notes, path: (
            counts.append(len(notes)),
            render(notes, path),
        ),
        pieces=1,
    )
    assert min(counts) >= 8


def test_a_page_without_a_key_is_not_made(tmp_path):
    (tmp_path / "file").touch()
    played = []
    with pytest.raises(OSError, match="file"):
        make(
            tmp_path,
            key=tmp_path / "file" / "key.json",
            render=lambda notes, path: played.append(path),
        )
    assert not played and not (tmp_path / "page").exists()


def test_a_key_without_a_page_is_not_made(tmp_path):
    def meddle(notes, path):
        render(notes, path)
        (tmp_path / "page").mkdir(exist_ok=True)
        (tmp_path / "page" / "other.txt").touch()

    with pytest.raises(OSError, match="page"):
        make(tmp_path, render=meddle)
    left = [path.name for path in tmp_path.rglob("*")]
    assert sorted(left) == ["other.txt", "page"]


def test_neither_a_page_nor_a_key_is_written_over(page):
    with pytest.raises(ValueError, match="`out` must be a new folder"):
        make(page[0].parent, key=page[0].parent / "other.json")
    with pytest.raises(ValueError, match="`key` must be a new file"):
        make(page[0].parent, out=page[0].parent / "other")


def test_a_sound_that_fails_leaves_nothing(tmp_path):
    def fails(notes, path):
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        make(tmp_path, render=fails)
    assert not list(tmp_path.iterdir())


# The commands.


def test_the_commands_make_a_page_and_report_on_it(tmp_path, monkeypatch):
    stand_in = type("synthesis", (), {"render": staticmethod(render)})
    monkeypatch.setitem(
        __import__("sys").modules,
        "keras_pianogen.rendering.synthesis",
        stand_in,
    )
    for condition, pieces in CONDITIONS.items():
        for name, notes in pieces.items():
            (tmp_path / condition).mkdir(exist_ok=True)
            write_midi(notes, tmp_path / condition / name)
    write_midi(piece(0, 20), tmp_path / "machine" / "[b].mid")
    page, key = tmp_path / "page", tmp_path / "key.json"
    command = ["listen", "make", str(page), "--key", str(key)]
    for condition in CONDITIONS:
        command += ["--condition", f"{condition}={tmp_path / condition}"]
    command += ["--seconds=5", "--pieces=2"]
    result = CliRunner().invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "6 sounds of 5 s: genuine, machine, shuffled",
        "Left out 1 of 4 in machine:",
        "  [b].mid lasts 2.58 s from its first note, not 3",
        f"For listeners: {page / 'index.html'}",
        f"Not for them:  {key}",
    ]
    again = CliRunner().invoke(cli.app, command)
    assert again.exit_code == 2 and "must be a new folder" in again.stderr

    sent = save(
        simulate_listeners(Key.read(key), TASTES, 12), tmp_path / "sent"
    )
    command = ["listen", "report", str(sent), "--key", str(key)]
    picture = tmp_path / "bars.png"
    result = CliRunner().invoke(cli.app, [*command, f"--picture={picture}"])
    assert result.exit_code == 0, result.output
    assert "12 simulated listeners" in result.stdout
    assert "genuine less shuffled" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    values = json.loads(
        CliRunner().invoke(cli.app, [*command, "--json"]).stdout
    )
    assert values["simulated"] is True and values["listeners"] == 12
    assert set(values["shares"]["genuine"]) == {
        "good", "average", "bad", "inspiring",
    }  # fmt: skip
    (sent / "3.json").write_text("{}")
    result = CliRunner().invoke(cli.app, command)
    error, hint = result.stderr.splitlines()
    assert "3.json is not a file of ratings" in error
    assert hint == "Hint: Give the files that listeners saved from the page."


def test_the_key_has_a_place_before_anything_is_read(tmp_path):
    (tmp_path / "file").touch()
    for place, words in (("file/key.json", "folder that can"), (".", "a file")):
        result = CliRunner().invoke(
            cli.app,
            ["listen", "make", str(tmp_path / "page")]
            + ["--key", str(tmp_path / place)]
            + ["--condition", f"real={tmp_path / 'nowhere'}"],
        )
        assert result.exit_code == 2
        assert "`--key` must be" in result.stderr and words in result.stderr


def test_names_in_brackets_are_no_markup(tmp_path):
    names = ["[/x]", "[red]", "$\\a$"]
    pieces = CONDITIONS["genuine"]
    make(tmp_path, conditions=dict.fromkeys(names, pieces), anchor=False)
    key = tmp_path / "key.json"
    tastes = dict(zip(names, TASTES.values()))
    sent = simulate_listeners(Key.read(key), tastes, 12)
    sent = save(sent, tmp_path / "sent")
    result = CliRunner().invoke(
        cli.app,
        ["listen", "report", str(sent), "--key", str(key)]
        + [f"--picture={tmp_path / 'bars.png'}"],
    )
    assert result.exit_code == 0, result.output
    assert "[/x] less [red]" in result.stdout


@pytest.mark.parametrize("condition", ["real", "=folder", "real="])
def test_a_condition_has_a_name_and_a_folder(tmp_path, condition):
    result = CliRunner().invoke(
        cli.app,
        ["listen", "make", str(tmp_path / "page"), "--key", "key.json"]
        + ["--condition", condition],
    )
    assert result.exit_code == 2
    assert "`--condition` must be NAME=FOLDER" in result.stderr
