"""The commands, as a user meets them: what they print, leave and refuse."""

import csv
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pytest
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen.cli.app import DEFAULT_PRESET
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.progress import generation_bar
from keras_pianogen.corpus import Corpus
from keras_pianogen.midi import NOTE_DTYPE
from keras_pianogen.midi import read_notes
from keras_pianogen.midi import write_midi

DATA = pathlib.Path(__file__).parent / "data"
COMMANDS = ("prepare", "train", "generate", "render", "evaluate")
TINY = (
    "--num-layers 1 --num-heads 2 --hidden-dim 16 --intermediate-dim 32 "
    "--sequence-length 32 --batch-size 2 --validation-events 500 --samples 0"
).split()
BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"


def invoke(*args):
    return CliRunner().invoke(cli.app, [os.fspath(a) for a in args])


def succeed(*args):
    """What a command prints, which goes well and has nothing to complain of."""
    result = invoke(*args)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def fail(*args):
    """The error and the hint of a command that refuses, a line each."""
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    error, hint = result.stderr.splitlines()
    assert error.startswith("Error: ")
    assert hint.startswith("Hint: ")
    assert result.stdout == ""
    return error, hint


def start(*args, code="from keras_pianogen.cli import app; app()"):
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(os.fspath, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def midi_folder(tmp_path):
    """Three MIDI files and one that only has the name of one."""
    folder = tmp_path / "midi"
    folder.mkdir()
    for path in DATA.glob("*.midi"):
        shutil.copy(path, folder)
    (folder / "broken.mid").write_bytes(b"This is no MIDI file.")
    return folder


@pytest.fixture(scope="module")
def run(small_corpus, tmp_path_factory):
    """The folder of a finished run of four steps; not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "run"
    # Steps so small leave a model that draws nearly at random.
    options = ["--steps", "4", "--seed", "7", *TINY]
    options += ["--optimizer", "adamw", "--learning-rate", "0.003"]
    printed = succeed("train", small_corpus.folder, "--out", folder, *options)
    assert re.match(r"4 steps, 256 events in .* nats per event\n", printed)
    left = ("history.csv", "curves.png", "preset")
    assert printed.splitlines()[1:] == [str(folder / name) for name in left]
    return folder


@pytest.fixture
def generate(run, tmp_path):
    """Calls `generate` with the run's preset: (what it printed, notes)."""

    def generate(*args, out="piece.mid"):
        options = ["--preset", run / "preset", "--seconds", "4", *args]
        printed = succeed("generate", "--out", tmp_path / out, *options)
        return printed, read_notes(tmp_path / out)

    return generate


# Help.


def test_help_names_the_commands_and_their_options():
    printed = succeed("--help")
    assert all(command in printed for command in COMMANDS)
    for command in COMMANDS:
        assert "--help" in succeed(command, "--help")


def test_help_loads_nothing_heavy():
    code = f"""
import sys
from keras_pianogen.cli import app
for command in {[[], *([c] for c in COMMANDS)]!r}:
    try:
        app([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0
heavy = {{"keras", "keras_hub", "numpy", "matplotlib", "symusic", "miditoolkit",
    "tensorflow", "jax", "torch"}}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    printed, errors = start(code=code).communicate()
    assert errors == ""
    assert printed.endswith("loaded: []\n")


def test_an_option_that_is_no_number_is_refused():
    result = invoke("generate", "--out", "x.mid", "--temperature", "warm")
    assert result.exit_code == 2
    assert "--temperature" in result.stderr
    assert "Traceback" not in result.stderr


# prepare


def test_prepare_prints_the_table_and_names_what_it_skipped(
    midi_folder, tmp_path
):
    printed = succeed("prepare", midi_folder, "--out", tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    assert printed.startswith(str(corpus))
    assert len(corpus) == 3
    assert "Skipped 1 of 4 files:\n  broken.mid: is not a MIDI" in printed


def test_prepare_draws_the_splits_that_were_asked_for(midi_folder, tmp_path):
    options = ["--validation-fraction", "0", "--test-fraction", "0"]
    out = tmp_path / "corpus"
    succeed("prepare", midi_folder, "--out", out, *options)
    assert len(Corpus(out).split("train")) == 3


@pytest.mark.parametrize("make", [False, True])
def test_prepare_refuses_a_folder_without_midi_files(tmp_path, make):
    source = tmp_path / "nothing here"
    if make:
        source.mkdir()
    error, hint = fail("prepare", source, "--out", tmp_path / "corpus")
    assert str(source) in error
    assert "--download" in hint
    assert not (tmp_path / "corpus" / "corpus.json").exists()


def test_prepare_replaces_another_corpus_only_when_told(midi_folder, tmp_path):
    out = tmp_path / "corpus"
    succeed("prepare", midi_folder, "--out", out)
    again = ["prepare", midi_folder, "--out", out, "--seed", "5"]
    error, hint = fail(*again)
    assert str(out) in error
    assert "--overwrite" in hint
    succeed(*again, "--overwrite")


def test_prepare_stopped_by_ctrl_c_goes_on_from_there(
    midi_folder, tmp_path, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    out = tmp_path / "corpus"
    with monkeypatch.context() as patch:
        patch.setattr("keras_pianogen.corpus.read_notes", interrupt)
        result = invoke("prepare", midi_folder, "--out", out)
    assert result.exit_code == 130
    assert result.stderr == "Stopped. The same command goes on from there.\n"
    assert not (out / "corpus.json").exists()
    succeed("prepare", midi_folder, "--out", out)
    Corpus(out).verify()


# train


def test_train_leaves_a_history_and_a_preset(run):
    with open(run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert float(rows[-1]["best_val_nats_per_event"]) > 0
    assert (run / "preset" / "config.json").is_file()


def test_train_uses_every_setting_it_is_given(run):
    config = json.loads((run / "config.json").read_text())
    expected = {
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 16,
        "intermediate_dim": 32,
        "sequence_length": 32,
        "batch_size": 2,
        "seed": 7,
        "dropout": 0.0,
        "optimizer": "adamw",
        "learning_rate": 0.003,
    }
    assert expected.items() <= config["recipe"].items()
    assert config["steps"] == 4


def test_train_leaves_a_preset_with_local_attention(small_corpus, tmp_path):
    folder = tmp_path / "run"
    options = ["--steps", "2", "--local-block-size", "16", *TINY]
    train = ["train", small_corpus.folder, "--out", folder, *options]
    succeed(*train, "--attend-previous-block")
    config = json.loads((folder / "preset" / "config.json").read_text())
    expected = {"local_block_size": 16, "attend_previous_block": True}
    assert expected.items() <= config["config"].items()
    options = ["--preset", folder / "preset", "--seconds", "1", "--seed", "1"]
    succeed("generate", "--out", tmp_path / "piece.mid", *options)


def test_train_and_evaluate_take_baselines_too(small_corpus, tmp_path):
    folder = tmp_path / "run"
    options = ["--architecture", "lstm", "--size", "tiny", "--hidden-dim", "8"]
    train = ["train", small_corpus.folder, "--out", folder, "--steps", "2"]
    succeed(*train, *options, "--sequence-length", "16")
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["architecture"] == "lstm"
    assert config["recipe"]["num_layers"] == 3
    assert not (folder / "samples").exists()
    evaluate = ["evaluate", small_corpus.folder, "--preset", folder / "preset"]
    plain = json.loads(succeed(*evaluate, "--split", "test", "--json"))
    keys = succeed(*evaluate, "--split", "test", "--json", "--transpose", "2")
    keys = json.loads(keys)
    assert keys["num_events"] == plain["num_events"]
    assert 0 < abs(keys["nats_per_event"] - plain["nats_per_event"]) < 0.5


@pytest.mark.parametrize("logger", ["tensorboard", "wandb"])
def test_a_logger_is_used_or_its_absence_named(logger, small_corpus, tmp_path):
    folder = tmp_path / "run"
    train = ["train", small_corpus.folder, "--out", folder, "--steps", "2"]
    train += [*TINY, f"--{logger}"]
    if importlib.util.find_spec(logger) is None:
        error, hint = fail(*train)
        assert logger in error and f"pip install {logger}" in hint
        assert not folder.exists()
    elif logger == "tensorboard":
        succeed(*train)
        assert list((folder / "tensorboard").rglob("events.out.*"))


def test_train_says_which_sizes_there_are(small_corpus, tmp_path):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run"]
    error, _ = fail(*train, "--size", "huge")
    assert "'tiny', 'small', 'base', 'large'" in error and "huge" in error
    if BACKEND != "jax":
        error, _ = fail(*train, *TINY, "--data-parallel")
        assert "needs the backend JAX" in error


@pytest.mark.parametrize(
    ("options", "expected", "received"),
    [
        (["--local-block-size", "0"], "positive", "local_block_size=0"),
        (["--local-block-size", "33"], "at least", "sequence_length=32"),
        (["--attend-previous-block"], "needs", "local_block_size=None"),
    ],
)
def test_train_says_what_blocks_it_expected_and_received(
    small_corpus, tmp_path, options, expected, received
):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run", *TINY]
    error, hint = fail(*train, *options)
    assert expected in error
    assert received in error.partition("Received")[2]
    assert "--sequence-length" in hint
    assert not (tmp_path / "run").exists()


def test_train_goes_on_with_a_run_only_with_resume(run, small_corpus, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    train = ["train", small_corpus.folder, "--out", folder]
    error, hint = fail(*train, "--steps", "4")
    assert str(folder) in error
    assert "--resume" in hint
    printed = succeed(*train, "--resume")
    assert printed.startswith("4 steps")
    assert "long already; --steps" in printed
    printed = succeed(*train, "--resume", "--steps", "6")
    assert printed.startswith("6 steps")


def test_resume_takes_no_other_settings(run, small_corpus):
    train = ["train", small_corpus.folder, "--out", run, "--resume"]
    error, hint = fail(*train, "--hidden-dim", "32", "--preset", "mine")
    assert "hidden_dim, preset" in error
    assert "--preset" in hint


def test_resume_needs_a_run(small_corpus, tmp_path):
    error, hint = fail(
        "train", small_corpus.folder, "--out", tmp_path / "run", "--resume"
    )
    assert "no run" in error
    assert "Without --resume" in hint


def test_train_takes_one_length(small_corpus, tmp_path):
    train = ["train", small_corpus.folder, "--out", tmp_path / "run"]
    error, _ = fail(*train, "--steps", "4", "--minutes", "1")
    assert "steps=4, minutes=1.0" in error
    error, _ = fail(*train, "--steps", "0")
    assert "steps=0" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_missing_corpus_is_named_and_prepare_makes_one(tmp_path, command):
    out = ["--out", tmp_path / "run"] if command == "train" else []
    error, hint = fail(command, tmp_path / "nowhere", *out)
    assert str(tmp_path / "nowhere") in error
    assert "pianogen prepare" in hint


def test_ctrl_c_ends_training_so_that_it_can_go_on(small_corpus, tmp_path):
    folder = tmp_path / "run"
    train = ["train", small_corpus.folder, "--out", folder]
    process = start(*train, "--minutes", "9", *TINY)
    deadline = time.monotonic() + 120
    while not (folder / "history.csv").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    stopped = re.search(
        r"^Stopped at step (\d+); go on with --resume$", printed, re.MULTILINE
    )
    step = int(stopped[1])
    assert (folder / "preset" / "config.json").is_file()
    assert f"step-{step:09}" in os.listdir(folder / "checkpoints")
    printed = succeed(*train, "--resume", "--steps", str(step + 2))
    assert printed.startswith(f"{step + 2} steps")


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
        "keras_pianogen.pianoroll.plot_piano_roll",
        lambda piece, path, prompt_seconds: (
            borders.append(prompt_seconds),
            path.touch(),
        ),
    )
    options = ["--prompt", tmp_path / "prompt.mid", "--seed", "1"]
    options += ["--picture", tmp_path / "roll.png", "--prompt-seconds"]
    _, notes = generate(*options, "1.22")
    kept = prompt[prompt["start"] < 1.22]
    np.testing.assert_array_equal(notes["pitch"][: len(kept)], kept["pitch"])
    assert notes["start"][len(kept) :].min() >= 1.195
    generate(*options, "60")
    # The events last kept: the ends of the fifth note and of the eighth.
    np.testing.assert_allclose(borders, [1.2, 1.95], atol=0.006)


def test_variations_are_pieces_of_one_seed_in_files_of_their_own(run, tmp_path):
    folder = tmp_path / "new"
    options = ["--preset", run / "preset", "--seconds", "4", "--seed", "1"]
    options += ["--out", folder / "a.mid", "--picture", folder / "a.svg"]
    printed = succeed("generate", *options, "--variations", "3").splitlines()
    names = [f"a-{i}.{kind}" for i in (1, 2, 3) for kind in ("mid", "svg")]
    assert sorted(os.listdir(folder)) == names
    # How fast they came is said where it could be measured.
    assert re.fullmatch(
        r"3 pieces(, [\d,]+ events a second)?, seed 1", printed[0]
    )
    pieces = [read_notes(folder / f"a-{i}.mid") for i in (1, 2, 3)]
    assert len({piece.tobytes() for piece in pieces}) == 3
    for i, piece in enumerate(pieces):
        path, figures = printed[1 + 2 * i].rsplit(": ", 1)
        assert path == str(folder / names[2 * i])
        assert figures == f"{len(piece)} notes, {piece['end'].max():.1f} s"
        assert printed[2 + 2 * i] == str(folder / names[2 * i + 1])


def test_variations_say_how_fast_they_came(run, tmp_path):
    options = ["--preset", run / "preset", "--seconds", "60", "--seed", "1"]
    options += ["--variations", "2", "--out", tmp_path / "a.mid"]
    line = succeed("generate", *options).splitlines()[0]
    assert re.fullmatch(r"2 pieces, [\d,]+ events a second, seed 1", line)


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
    options = ["--seed", "1", "--seconds", "60", "--repeat-penalty"]
    _, plain = generate(*options, "0")
    _, spread = generate(*options, "100")

    def distinct(notes):
        """How many pitches the first eighty notes have."""
        return len(np.unique(notes["pitch"][:80]))

    assert min(len(plain), len(spread)) >= 80
    assert distinct(spread) > distinct(plain)


def test_without_a_grammar_another_piece_comes(generate, tmp_path):
    for name, option in (("a", []), ("b", ["--no-grammar"])):
        generate("--seed", "1", *option, out=f"{name}.mid")
    a, b = ((tmp_path / f"{name}.mid").read_bytes() for name in "ab")
    assert a != b


@pytest.mark.parametrize(
    ("options", "expected", "received"),
    [
        (["--temperature", "0"], "above 0", "0.0"),
        (["--min-p", "0.1", "--top-k", "5"], "at most one", "'top_k': 5"),
        (["--top-p", "1.5"], "at most 1", "1.5"),
        (["--seconds", "0"], "above 0", "seconds=0.0"),
        (["--preset", "no such"], DEFAULT_PRESET, "'no such'"),
        (["--picture", "roll.jpg"], ".png", "roll.jpg"),
        (["--variations", "0"], "1 or more", "0"),
        (["--repeat-penalty", "-1"], "0 or above", "repeat_penalty=-1.0"),
        (
            ["--no-grammar", "--repeat-penalty", "0.5"],
            "needs the grammar",
            "--repeat-penalty 0.5 and --no-grammar",
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
    (tmp_path / "roll-2.png").mkdir()
    out = {"--out": tmp_path / "a.mid", option: tmp_path / "roll.png"}
    options = [x for pair in out.items() for x in pair]
    error, _ = fail("generate", *options, "--variations", "2")
    assert f"`{option}` must be a file" in error
    assert str(tmp_path / "roll-2.png") in error
    assert os.listdir(tmp_path) == ["roll-2.png"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write"
)
def test_generate_refuses_a_folder_it_may_not_write_to(tmp_path):
    tmp_path.chmod(0o500)
    error, _ = fail("generate", "--out", tmp_path / "new" / "piece.mid")
    assert "Permission denied" in error


def test_generate_stopped_by_ctrl_c_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupt(self, events, seconds):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(generation_bar, "_report", interrupt)
    out = tmp_path / "new" / "piece.mid"
    options = ["--preset", run / "preset", "--out", out, "--variations", "2"]
    result = invoke("generate", *options)
    assert result.exit_code == 130
    assert result.stderr == "Stopped. No half file is left.\n"
    assert not out.parent.exists()


def test_generate_plays_each_piece_that_it_writes(run, tmp_path):
    options = ["--preset", run / "preset", "--seconds", "4", "--seed", "1"]
    options += ["--out", tmp_path / "a.mid", "--variations", "2"]
    options += ["--audio", tmp_path / "new" / "a.wav"]
    printed = succeed("generate", *options, "--soundfont", "built-in")
    for i in (1, 2):
        path = tmp_path / "new" / f"a-{i}.wav"
        assert f"{path}: the built-in piano" in printed.splitlines()
        last = read_notes(tmp_path / f"a-{i}.mid")["end"].max()
        assert last < wav_seconds(path) < last + 3
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
    assert last < wav_seconds(path) < last + 3


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


# evaluate


def test_evaluate_prints_one_line_of_json(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    printed = succeed(*evaluate, "--split", "test", "--json")
    assert printed.count("\n") == 1
    figures = json.loads(printed)
    assert figures["split"] == "test"
    assert figures["num_pieces"] == len(small_corpus.split("test"))
    assert figures["full_coverage"] is True
    assert figures["perplexity"] == np.exp(figures["nats_per_event"])
    assert {
        "preset",
        "nats_per_note",
        "nats_per_second",
        "accuracy",
        "num_events",
        "context",
    } <= figures.keys()
    assert len(figures["pieces"]) == figures["num_pieces"]
    low, high = figures["interval"]
    assert low <= figures["nats_per_event"] <= high
    printed = succeed(*evaluate, "--split", "test", "--by", "piece")
    for piece in figures["pieces"]:
        assert piece["path"] in printed
    assert "95 % over pieces" in printed
    printed = succeed(*evaluate, "--split", "test")
    assert f"{figures['nats_per_event']:.4f}" in printed


def test_evaluate_counts_ngrams(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    printed = succeed(*evaluate, "--split", "test", "--n-gram", "2", "--json")
    figures = json.loads(printed)
    assert figures["preset"] == "2-grams" and figures["accuracy"] is None
    assert 0 < figures["nats_per_event"] < 6
    assert "2-grams on test" in succeed(
        *evaluate, "--split", "test", "--n-gram", "2", "--by", "composer"
    )
    error, _ = fail(*evaluate, "--n-gram", "2", "--max-events", "100")
    assert "--max-events" in error


def test_evaluate_looks_for_copies(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    evaluate += ["--novelty", "2", "--seconds", "3"]
    figures = json.loads(succeed(*evaluate, "--json"))
    assert [row["piece"] for row in figures["pieces"]] == [1, 2]
    assert len(figures["real"]) == 500
    for row in figures["pieces"]:
        assert row["suspect"] == (row["shared_notes"] > figures["usual"])
    assert "99 % of excerpts" in succeed(*evaluate)
    error, _ = fail(*evaluate, "--by", "piece")
    assert "--novelty" in error


def test_presets_are_listed_with_their_cards():
    printed = json.loads(succeed("presets", "--json"))
    row = printed["music_transformer_maestro"]
    assert 1_000_000 < row["bytes"] < 10_000_000
    assert "MAESTRO" in pathlib.Path(row["card"]).read_text()
    printed = succeed("presets")
    assert "music_transformer_maestro" in printed and "verified" in printed


def test_attention_is_drawn_of_a_piece(run, tmp_path):
    piece = next(DATA.glob("*.midi"))
    picture = tmp_path / "attention.png"
    attention = ["attention", piece, "--out", picture]
    attention += ["--preset", run / "preset", "--max-events", "50"]
    assert succeed(*attention, "--head", "0", "1") == f"{picture}\n"
    assert picture.stat().st_size > 10_000
    error, _ = fail(*attention, "--head", "1", "0")
    assert "layer from 0 to 0" in error


def test_curves_of_runs_are_drawn_in_one_picture(run, tmp_path):
    picture = tmp_path / "pictures" / "curves.png"
    lines = ["--line", "3-grams=3.65", "--line", "2-grams=3.96"]
    assert succeed("curves", run, "--out", picture, *lines) == f"{picture}\n"
    assert picture.stat().st_size > 10_000
    error, _ = fail("curves", run, "--out", picture, "--line", "3-grams")
    assert "NAME=LOSS" in error
    error, _ = fail("curves", tmp_path, "--out", picture)
    assert str(tmp_path) in error
    error, _ = fail("curves", run, "--out", tmp_path / "curves.gif")
    assert ".png" in error


def test_evaluate_names_the_splits_there_are(small_corpus):
    error, _ = fail("evaluate", small_corpus.folder, "--split", "holdout")
    assert "train, validation, test" in error
    assert "'holdout'" in error


# Loading.


def test_a_backend_that_is_missing_is_named_with_its_command(tmp_path):
    code = f"""
import sys
sys.modules[{BACKEND!r}] = None
from keras_pianogen.cli import app
app()
"""
    process = start("generate", "--out", tmp_path / "piece.mid", code=code)
    printed, errors = process.communicate()
    assert (process.returncode, printed) == (2, "")
    error, hint = errors.splitlines()
    assert error == f"Error: The backend {BACKEND} is not installed."
    assert f"pip install {BACKEND}" in hint


def test_a_backend_that_is_none_of_ours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    error, _ = fail("generate", "--out", tmp_path / "piece.mid")
    assert "tensorflow, jax, torch" in error
    assert "'numpy'" in error


def test_generate_prints_its_own_lines_alone_and_its_seed_holds_elsewhere(
    run, tmp_path
):
    here, there = tmp_path / "here.mid", tmp_path / "there.mid"
    options = ["--preset", run / "preset", "--seconds", "4", "--seed", "1"]
    process = start("generate", "--out", there, *options)
    printed, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    figures, path = printed.splitlines()
    assert re.fullmatch(r"\d+ notes, .*seed 1", figures)
    assert path == str(there)
    succeed("generate", "--out", here, *options)
    assert here.read_bytes() == there.read_bytes()


CHATTER = "I0000 00:00:1795356181.122278   22469 port.cc:153] oneDNN is on.\n"


def log_while_loading(text, error=None):
    with loading():
        os.write(2, text.encode())
        if error is not None:
            raise error


def test_loading_keeps_back_chatter_and_nothing_else(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    log_while_loading(CHATTER + "real trouble\n")
    assert capfd.readouterr().err == "real trouble\n"
    with pytest.raises(ValueError):
        log_while_loading(CHATTER, ValueError("an error of the user's"))
    assert capfd.readouterr().err == ""
    os.write(2, b"as before\n")
    assert capfd.readouterr().err == "as before\n"


def test_loading_keeps_back_nothing_where_it_fails_or_is_told_not_to(
    capfd, monkeypatch
):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with pytest.raises(ImportError):
        log_while_loading(CHATTER, ImportError("a library is broken"))
    assert capfd.readouterr().err == CHATTER
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    log_while_loading(CHATTER)
    assert capfd.readouterr().err == CHATTER


def test_a_crash_while_loading_leaves_a_trace():
    code = """
import os, resource
from keras_pianogen.cli.loading import loading
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
with loading():
    os.abort()
"""
    process = start(code=code)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in errors


def test_ctrl_c_that_a_library_swallows_while_loading_is_heeded():
    with pytest.raises(KeyboardInterrupt), loading():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
    with pytest.raises(KeyboardInterrupt), loading():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("half loaded") from error
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_that_is_a_bug_keeps_its_traceback(midi_folder, monkeypatch):
    def broken(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr("keras_pianogen.corpus.prepare_corpus", broken)
    result = invoke("prepare", midi_folder, "--out", midi_folder / "corpus")
    assert isinstance(result.exception, ModuleNotFoundError)
