"""The commands generate and render, as a user meets them.

They run once, on one backend: what music each writes is tested elsewhere.
"""

import html
import os
import pathlib
import re
import shlex
import signal
import types
import wave

import miditoolkit
import numpy as np
import pytest
from command_line import complaints
from command_line import fail
from command_line import invoke
from command_line import succeed

from keras_pianogen.cli import generation
from keras_pianogen.cli.options import DEFAULT_PRESET
from keras_pianogen.cli.options import NOTE_PRESET
from keras_pianogen.cli.progress import Speed
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.reading import read_pedal
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

DATA = pathlib.Path(__file__).parent / "data"


# generate


def test_a_seed_repeats_its_piece_and_another_gives_another(generate, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 1000)):
        generate("--seed", str(seed), out=f"{name}.mid")
    a, b, c = ((tmp_path / f"{name}.mid").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_the_seed_that_was_drawn_is_printed_and_repeats_the_piece(
    generate, tmp_path
):
    printed, notes = generate(out="drawn.mid")
    figures, path = printed.splitlines()
    assert figures.startswith(f"{len(notes)} notes, ")
    assert path == str(tmp_path / "drawn.mid")
    seed = re.search(r"seed (\d+)$", figures)[1]
    generate("--seed", seed, out="again.mid")
    drawn, again = (tmp_path / f"{n}.mid" for n in ("drawn", "again"))
    assert drawn.read_bytes() == again.read_bytes()


def write_pedal(notes, path):
    """Write notes, and a pedal that is pressed twice in two seconds."""
    file = write_midi(notes)
    file.instruments[0].control_changes = [
        miditoolkit.ControlChange(64, value, time)
        for time, value in ((100, 127), (300, 0), (1000, 90), (1800, 0))
    ]
    file.dump(path)


@pytest.fixture
def prompt(tmp_path):
    """Eight notes in two seconds, which are in prompt.mid too."""
    notes = np.zeros(8, NOTE_DTYPE)
    notes["start"] = 0.25 * np.arange(8)
    notes["end"] = notes["start"] + 0.2
    notes["pitch"] = 60 + np.arange(8)
    notes["velocity"] = 80
    write_midi(notes, tmp_path / "prompt.mid")
    return notes


def test_a_prompt_comes_first_and_new_notes_follow(generate, prompt, tmp_path):
    options = ["--prompt", tmp_path / "prompt.mid", "--seed", "1"]
    printed, notes = generate(
        *options, "--picture", tmp_path / "new" / "roll.png"
    )
    assert len(notes) > 8
    np.testing.assert_array_equal(notes["pitch"][:8], prompt["pitch"])
    np.testing.assert_allclose(notes["start"][:8], prompt["start"], atol=0.006)
    assert notes["start"][8:].min() >= 1.95
    picture = tmp_path / "new" / "roll.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert os.listdir(picture.parent) == ["roll.png"]
    assert printed.splitlines()[-1] == str(picture)


def test_the_prompt_is_left_at_the_second_that_was_asked_for(
    generate, prompt, tmp_path, monkeypatch
):
    borders = []
    monkeypatch.setattr(
        "keras_pianogen.rendering.pianoroll.plot_piano_roll",
        lambda piece, path, prompt_seconds, pedal: (
            borders.append(prompt_seconds),
            path.touch(),
        ),
    )
    options = ["--prompt", tmp_path / "prompt.mid", "--seed", "1"]
    options += ["--picture", tmp_path / "roll.png", "--prompt-seconds"]
    _, notes = generate(*options, "1.22")
    kept = prompt[prompt["start"] < 1.22]
    np.testing.assert_array_equal(notes["pitch"][: len(kept)], kept["pitch"])
    assert notes["start"][len(kept) :].min() >= 1.22
    generate(*options, "60")
    # What was asked for, and the end, which comes soon after the last note.
    np.testing.assert_allclose(borders, [1.22, 1.95], atol=0.006)


def test_the_prompt_s_pedal_is_drawn_as_far_as_it_is_kept(
    generate, prompt, tmp_path, monkeypatch
):
    pedals = []
    monkeypatch.setattr(
        "keras_pianogen.rendering.pianoroll.plot_piano_roll",
        lambda piece, path, prompt_seconds, pedal: pedals.append(pedal),
    )
    write_pedal(prompt, tmp_path / "pedal.mid")
    options = ["--seed", "1", "--picture", tmp_path / "roll.png"]
    generate(*options, "--prompt", tmp_path / "pedal.mid")
    assert pedals[0].tolist() == [(0.1, 0.3), (1.0, 1.8)]
    cut = ["--prompt", tmp_path / "pedal.mid", "--prompt-seconds", "1.3"]
    generate(*options, *cut)
    np.testing.assert_allclose(
        pedals[1].tolist(), [(0.1, 0.3), (1.0, 1.3)], atol=0.006
    )
    generate(*options, "--prompt", tmp_path / "prompt.mid")
    assert not len(pedals[2])
    generate(*options)
    assert pedals[3] is None


def test_a_piece_is_not_written_over_its_prompt(prompt, tmp_path):
    path = tmp_path / "prompt.mid"
    (tmp_path / "link.mid").symlink_to(path)
    before = path.read_bytes()
    for out in ("prompt.mid", "link.mid"):
        error, _ = fail("generate", "--out", tmp_path / out, "--prompt", path)
        assert "`--out` must not be the file of `--prompt`" in error
    (tmp_path / "prompt-2.mid").write_bytes(before)
    options = ["--prompt", tmp_path / "prompt-2.mid", "--variations", "2"]
    error, _ = fail("generate", "--out", path, *options)
    assert "prompt-2.mid" in error
    assert path.read_bytes() == before


def test_variations_are_pieces_of_one_seed_in_files_of_their_own(run, tmp_path):
    folder = tmp_path / "new"
    options = ["--preset", run / "preset", "--seconds", "10", "--seed", "1"]
    options += ["--out", folder / "a.mid", "--picture", folder / "a.svg"]
    printed = succeed("generate", *options, "--variations", "3").splitlines()
    names = [f"a-{i}.{kind}" for i in (1, 2, 3) for kind in ("mid", "svg")]
    assert sorted(os.listdir(folder)) == names
    # How fast they came is measured from the second call of the model on.
    line = r"3 pieces, [\d,]+ events a second, seed 1"
    assert re.fullmatch(line, printed[0])
    pieces = [read_notes(folder / f"a-{i}.mid") for i in (1, 2, 3)]
    assert len({piece.tobytes() for piece in pieces}) == 3
    for i, piece in enumerate(pieces):
        path, figures = printed[1 + 2 * i].rsplit(": ", 1)
        assert path == str(folder / names[2 * i])
        assert figures == f"{len(piece)} notes, {piece['end'].max():.1f} s"
        assert printed[2 + 2 * i] == str(folder / names[2 * i + 1])


def test_one_variation_is_the_piece_of_the_seed(generate, run, tmp_path):
    generate("--seed", "1", out="a.mid")
    options = ["--preset", run / "preset", "--seconds", "4", "--seed", "1"]
    options += ["--variations", "1", "--out", tmp_path / "a.mid"]
    printed = succeed("generate", *options).splitlines()
    assert printed[1] == str(tmp_path / "a-1.mid")
    alone, first = (tmp_path / f"{name}.mid" for name in ("a", "a-1"))
    assert alone.read_bytes() == first.read_bytes()


def test_an_ending_comes_near_the_length_and_no_note_goes_past_it(generate):
    _, notes = generate("--ending", "--seed", "1", "--seconds", "10")
    assert 8.4 <= notes["end"].max() <= 11.1


def test_a_repeat_penalty_spreads_the_pitches(generate):
    options = ["--seed", "1", "--seconds", "16", "--repeat-penalty"]
    _, plain = generate(*options, "0")
    _, spread = generate(*options, "100")

    def distinct(notes):
        """How many pitches the first eighty notes have."""
        return len(np.unique(notes["pitch"][:80]))

    assert min(len(plain), len(spread)) >= 80
    assert distinct(spread) > distinct(plain)


def test_no_note_is_longer_than_the_longest_that_was_asked_for(generate):
    _, notes = generate("--seed", "1", "--max-note-seconds", "0.5")
    lengths = notes["end"] - notes["start"]
    assert len(notes) > 20 and 0.3 < lengths.max() < 0.5 + 0.01


def test_without_a_grammar_another_piece_comes(generate, tmp_path):
    for name, option in (("a", []), ("b", ["--no-grammar"])):
        generate("--seed", "1", *option, out=f"{name}.mid")
    a, b = ((tmp_path / f"{name}.mid").read_bytes() for name in "ab")
    assert a != b


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "command",
    [
        ["generate", "--out", "a.mid", "--seconds", "0"],
        ["generate", "--out", "a.mid", "--seconds", "9000"],
        ["generate", "--out", "a.mid", "--temperature", "0"],
        ["generate", "--out", "a.mid", "--top-k", "0"],
        ["generate", "--out", "a.mid", "--variations", "0"],
        ["generate", "--out", "a.mid", "--repeat-penalty", "-1"],
        ["evaluate", "corpus", "--novelty", "2", "--seconds", "-1"],
        ["compare", "real", "other", "--seconds", "0"],
        ["compare", "real", "other", "--splits", "0"],
        ["tell-apart", "corpus", "--context-length", "128"],
    ],
)
def test_arguments_are_checked_before_anything_is_loaded_or_read(command):
    error, _ = fail(*command)
    assert f"`{command[-2]}`" in error or f"`{command[-2][2:]}`" in error
    # No backend was named, and the folders that aren't there weren't missed.
    assert invoke(*command).stderr.startswith("Error: ")


@pytest.mark.parametrize(
    ("options", "expected", "received"),
    [
        (["--temperature", "0"], "above 0", "0.0"),
        (["--min-p", "0.1", "--top-k", "5"], "at most one", "'top_k': 5"),
        (["--top-p", "1.5"], "at most 1", "1.5"),
        (["--seconds", "0"], "above 0", "seconds=0.0"),
        (["--preset", "no such"], DEFAULT_PRESET, "'no such'"),
        (["--picture", "roll.jpg"], ".png", "roll.jpg"),
        (["--out", "piece.wav"], ".mid, .midi", "piece.wav"),
        (["--variations", "0"], "a positive integer", "--variations=0"),
        (["--repeat-penalty", "-1"], "0 or above", "--repeat-penalty=-1.0"),
        (
            ["--no-grammar", "--repeat-penalty", "0.5"],
            "needs the grammar",
            "--repeat-penalty 0.5 and --no-grammar",
        ),
        (["--max-note-seconds", "0"], "above 0", "--max-note-seconds=0.0"),
        (
            ["--no-grammar", "--max-note-seconds", "9"],
            "needs the grammar",
            "--max-note-seconds 9.0 and --no-grammar",
        ),
        (["--audio", "piece.mp3"], ".wav", "piece.mp3"),
        (["--soundfont", "a.sf2"], "needs `--audio`", "a.sf2 alone"),
        (["--prompt-seconds", "3"], "needs `--prompt`", "3.0 alone"),
        (
            ["--prompt", DATA / "none.mid", "--prompt-seconds", "-1"],
            "0 or above",
            "-1.0",
        ),
    ],
)
def test_generate_says_what_it_expected_and_received(
    run, tmp_path, options, expected, received
):
    out = tmp_path / "new" / "piece.mid"
    preset = [] if "--preset" in options else ["--preset", run / "preset"]
    error, _ = fail("generate", "--out", out, *preset, *options)
    assert expected in error
    assert received in error.partition("Received")[2]
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], DEFAULT_PRESET),
        (["--temperature", "0.9"], DEFAULT_PRESET),
        (["--density", "6"], NOTE_PRESET),
        (["--control", "mood=calm"], NOTE_PRESET),
        (["--density", "6", "--preset", DEFAULT_PRESET], DEFAULT_PRESET),
    ],
)
def test_without_a_preset_one_is_taken_that_can_be_asked(
    monkeypatch, tmp_path, options, expected
):
    def load(preset):
        raise ValueError(f"loads {preset}")

    monkeypatch.setattr(generation, "load_model", load)
    result = invoke("generate", "--out", tmp_path / "piece.mid", *options)
    assert f"loads {expected}" in result.stderr


def test_a_folder_that_is_no_preset_is_refused(tmp_path):
    out = tmp_path / "piece.mid"
    error, hint = fail("generate", "--out", out, "--preset", tmp_path)
    assert str(tmp_path) in error
    assert "RUN/preset" in hint


def test_a_broken_or_missing_prompt_is_named(midi_folder, tmp_path):
    for prompt in (midi_folder / "broken.mid", midi_folder / "none.mid"):
        out = tmp_path / "piece.mid"
        error, _ = fail("generate", "--out", out, "--prompt", prompt)
        assert str(prompt) in error
        assert not out.exists()


@pytest.mark.parametrize("option", ["--out", "--picture"])
def test_generate_refuses_a_place_where_it_cannot_write(tmp_path, option):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "folder.png", tmp_path / "file" / "piece.png"):
        out = {"--out": tmp_path / "piece.mid", option: path}
        error, _ = fail("generate", *(x for pair in out.items() for x in pair))
        assert option in error
        assert str(path) in error
    assert not (tmp_path / "piece.mid").exists()


@pytest.mark.parametrize("option", ["--out", "--picture"])
def test_every_place_of_a_variation_is_checked(tmp_path, option):
    name = {"--out": "roll{}.mid", "--picture": "roll{}.png"}[option]
    (tmp_path / name.format("-2")).mkdir()
    out = {"--out": tmp_path / "a.mid", option: tmp_path / name.format("")}
    options = [x for pair in out.items() for x in pair]
    error, _ = fail("generate", *options, "--variations", "2")
    assert f"`{option}` must be a file" in error
    assert str(tmp_path / name.format("-2")) in error
    assert os.listdir(tmp_path) == [name.format("-2")]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write"
)
def test_generate_refuses_a_folder_it_may_not_write_to(tmp_path):
    tmp_path.chmod(0o500)
    error, _ = fail("generate", "--out", tmp_path / "new" / "piece.mid")
    assert "Permission denied" in error


def test_generate_stopped_by_ctrl_c_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupt(self, events):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Speed, "report", interrupt)
    out = tmp_path / "new" / "piece.mid"
    options = ["--preset", run / "preset", "--out", out, "--variations", "2"]
    result = invoke("generate", *options)
    assert result.exit_code == 130
    stopped = complaints(result.stderr)
    assert stopped == "Stopped. No half file is left.\n"
    assert not out.parent.exists()


def test_the_speed_counts_what_is_drawn_again_too(monkeypatch):
    speed, seconds = Speed(), iter(range(4))
    clock = types.SimpleNamespace(monotonic=lambda: next(seconds))
    monkeypatch.setattr("keras_pianogen.cli.progress.time", clock)
    for events in (64, 128, 64, 128):
        speed.report(events)
    assert speed() == 64


def test_a_page_s_command_writes_the_piece_again(generate, prompt, tmp_path):
    _, notes = generate(
        *("--prompt", tmp_path / "prompt.mid", "--prompt-seconds", "1"),
        *("--seed", "1", "--no-grammar", "--page", tmp_path / "a.html"),
    )
    page = (tmp_path / "a.html").read_text()
    command = html.unescape(re.search(r'class="command">(.*?)</dd>', page)[1])
    _, _, *words = shlex.split(command)
    assert {"--seed", "--no-grammar"} < set(words) and "--page" not in words
    succeed(*words, "--out", tmp_path / "again.mid")
    np.testing.assert_array_equal(read_notes(tmp_path / "again.mid"), notes)


def test_generate_plays_each_piece_that_it_writes(run, tmp_path):
    options = ["--preset", run / "preset", "--seconds", "4", "--seed", "1"]
    options += ["--out", tmp_path / "a.mid", "--variations", "2"]
    options += ["--audio", tmp_path / "new" / "a.wav"]
    printed = succeed("generate", *options, "--soundfont", "built-in")
    for i in (1, 2):
        path = tmp_path / "new" / f"a-{i}.wav"
        assert f"{path}: the built-in piano" in printed.splitlines()
        last = read_notes(tmp_path / f"a-{i}.mid")["end"].max()
        assert last < wav_seconds(path) < last + 6  # Treble strings ring on.
    assert sorted(os.listdir(tmp_path / "new")) == ["a-1.wav", "a-2.wav"]


def test_a_piece_without_notes_is_not_played(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "keras_pianogen.models.MusicTransformerCausalLM.generate",
        lambda *_, **__: [np.zeros(0, NOTE_DTYPE)],
    )
    options = ["--preset", run / "preset", "--out", tmp_path / "a.mid"]
    printed = succeed("generate", *options, "--audio", tmp_path / "a.wav")
    assert "There are no notes to play." in printed
    assert os.listdir(tmp_path) == ["a.mid"]


def test_generate_looks_at_the_soundfont_before_it_writes(run, tmp_path):
    options = ["--preset", run / "preset", "--out", tmp_path / "a.mid"]
    options += ["--audio", tmp_path / "a.wav"]
    missing = tmp_path / "none.sf2"
    error, _ = fail("generate", *options, "--soundfont", missing)
    assert str(missing) in error
    assert os.listdir(tmp_path) == []


# render


def wav_seconds(path):
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        assert file.getframerate() == 44_100
        return file.getnframes() / 44_100


@pytest.fixture
def short_midi(midi_folder):
    """Ten seconds of a real piece."""
    notes = read_notes(sorted(midi_folder.glob("*.midi"))[0])
    write_midi(notes[notes["end"] < 10], midi_folder / "short.mid")
    return midi_folder / "short.mid"


def test_render_plays_a_file_beside_it(short_midi):
    printed = succeed("render", short_midi, "--soundfont", "built-in")
    notes = read_notes(short_midi)
    path = short_midi.with_suffix(".wav")
    last = notes["end"].max()
    figures = f"{len(notes)} notes, {last:.1f} s, the built-in piano"
    assert printed.splitlines() == [figures, str(path)]
    assert wav_seconds(path) > last


def test_render_draws_the_pedal_too(prompt, tmp_path, monkeypatch):
    from keras_pianogen.rendering import pianoroll

    drawn = []
    plot = pianoroll.plot_piano_roll

    def watched(notes, path, **settings):
        drawn.append(settings["pedal"])
        return plot(notes, path, **settings)

    monkeypatch.setattr(pianoroll, "plot_piano_roll", watched)
    midi = tmp_path / "pedal.mid"
    write_pedal(prompt, midi)
    picture = tmp_path / "new" / "roll.png"
    options = ["--out", tmp_path / "a.wav", "--picture", picture]
    printed = succeed("render", midi, *options, "--soundfont", "built-in")
    assert printed.splitlines()[-1] == str(picture)
    assert picture.stat().st_size > 5000
    np.testing.assert_array_equal(drawn[0], read_pedal(midi))
    assert len(drawn[0]) == 2


def test_render_without_fluidsynth_plays_by_itself(
    short_midi, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PIANOGEN_SOUNDFONT", raising=False)
    out = tmp_path / "new" / "a.wav"
    assert "the built-in piano" in succeed("render", short_midi, "--out", out)
    assert os.listdir(out.parent) == ["a.wav"]


def test_render_names_the_program_that_a_soundfont_needs(
    short_midi, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    font = tmp_path / "piano.sf2"
    font.write_bytes(b"RIFF\0\0\0\0sfbk")
    error, hint = fail("render", short_midi, "--soundfont", font)
    assert "`fluidsynth` must be installed" in error and str(font) in error
    assert "apt install fluidsynth" in hint
    assert not short_midi.with_suffix(".wav").exists()


def test_render_says_what_it_expected_and_received(midi_folder, tmp_path):
    broken, none = midi_folder / "broken.mid", midi_folder / "none.mid"
    for midi in (broken, none):
        error, _ = fail("render", midi)
        assert str(midi) in error
    error, hint = fail("render", broken, "--out", tmp_path / "a.mp3")
    assert "`--out` must end in .wav" in error and "a.mp3" in error
    assert ".wav" in hint
    broken.with_suffix(".sf2").write_bytes(b"no SoundFont at all")
    good = sorted(midi_folder.glob("*.midi"))[0]
    font = broken.with_suffix(".sf2")
    error, hint = fail("render", good, "--soundfont", font)
    assert "`soundfont` must be" in error and str(font) in error
    assert "built-in" in hint
    assert not list(midi_folder.glob("*.wav"))
