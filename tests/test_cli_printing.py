"""What commands print: names from outside are shown as they are."""

import json
import shutil

import pytest
from command_line import fail
from command_line import invoke
from command_line import succeed

from keras_pianogen.cli.printing import plain

pytestmark = pytest.mark.one_backend

NAMES = {
    "a\x1b[2Jb.mid": r"a\x1b[2Jb.mid",
    ":smile: [red].mid": ":smile: [red].mid",
    "two\nlines.mid": r"two\nlines.mid",
    "turned \u202edim.mid": r"turned \u202edim.mid",
    "half\udc80.mid": r"half\udc80.mid",
    "Étude n\u00ba 3 — 練習曲.mid": "Étude n\u00ba 3 — 練習曲.mid",
}


def test_names_of_files_reach_the_terminal_as_they_are(midi_folder, tmp_path):
    for name in NAMES:
        (midi_folder / name).write_text("no music")
    printed = succeed("prepare", midi_folder, "--out", tmp_path / "corpus")
    lines = printed.splitlines()
    for shown in NAMES.values():
        assert f"  {shown}: is not a MIDI file" in "\n".join(lines)
    assert "\x1b" not in printed and "\u202e" not in printed
    result = invoke("compare", midi_folder, midi_folder, "--no-embeddings")
    for shown in NAMES.values():
        assert f"  {shown}: is not a MIDI" in result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_errors_show_names_as_they_are(tmp_path, name):
    error, _ = fail("describe", tmp_path / name)
    assert NAMES[name].replace(r"\n", " ") in error


def test_tables_and_json_show_names_as_they_are(capsys):
    from keras_pianogen.cli import printing

    printing.say_table(["name"], [[name] for name in NAMES], title=":smile:")
    printing.say_json(list(NAMES))
    *_, line = (printed := capsys.readouterr().out).splitlines()
    for shown in NAMES.values():
        assert shown in printed
    assert ":smile:" in printed.splitlines()[0]
    assert json.loads(line) == list(NAMES)


def test_warnings_of_the_package_are_lines_of_a_command(
    shared, midi_folder, tmp_path
):
    source = shared / "data" / "reported-midi" / "pedal_never_up.mid"
    prompt = tmp_path / "a\x1b.mid"
    shutil.copy(source, prompt)
    result = invoke("render", prompt, "--out", tmp_path / "a.wav")
    assert result.exit_code == 0
    assert rf"{tmp_path}/a\x1b.mid: 1 pedals that never lift" in result.stderr


def test_what_is_seen_stays():
    text = "é ñ ß “quoted” ♪ 日本 \u00a0"
    assert plain(text) == text
