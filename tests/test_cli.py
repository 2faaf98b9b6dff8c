"""The program, as a user meets it: its help, its errors, and how it loads."""

import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest
from command_line import complaints
from command_line import fail
from command_line import invoke
from command_line import start
from command_line import succeed

from keras_pianogen.cli.backends import NAMES
from keras_pianogen.cli.loading import loading
from keras_pianogen.data.corpus import Corpus

DATA = pathlib.Path(__file__).parent / "data"
COMMANDS = ("prepare", "train", "generate", "render", "evaluate")
BACKEND = os.environ.get("KERAS_BACKEND") or "tensorflow"
CHATTER = "I0000 00:00:1795356181.122278   22469 port.cc:153] oneDNN is on.\n"


@pytest.mark.one_backend
def test_help_names_the_commands_and_their_options():
    printed = succeed("--help")
    assert all(command in printed for command in COMMANDS)
    for command in COMMANDS:
        assert "--help" in succeed(command, "--help")


@pytest.mark.one_backend
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


@pytest.mark.one_backend
def test_an_option_that_is_no_number_is_refused():
    result = invoke("generate", "--out", "x.mid", "--temperature", "warm")
    assert result.exit_code == 2
    assert "--temperature" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.one_backend
def test_prepare_prints_the_table_and_names_what_it_skipped(
    midi_folder, tmp_path
):
    printed = succeed("prepare", midi_folder, "--out", tmp_path / "corpus")
    corpus = Corpus(tmp_path / "corpus")
    assert printed.startswith(str(corpus))
    assert len(corpus) == 3
    assert "Skipped 1 of 4 files:\n  broken.mid: is not a MIDI" in printed


@pytest.mark.one_backend
def test_prepare_prints_what_was_repaired_by_kind(shared, tmp_path):
    source, out = shared / "data" / "reported-midi", tmp_path / "corpus"
    printed = succeed("prepare", source, "--out", out)
    repairs = Corpus(out).report.repairs
    assert len(repairs) >= 5
    for kind, count in repairs.items():
        assert f"\n  {count} {kind}\n" in printed
    assert "\n  1 pedals that never lift\n" in printed
    # A corpus that is there already is described as well.
    assert "pedals that never lift" in succeed("prepare", source, "--out", out)
    succeed("prepare", source, "--out", tmp_path / "b", "--max-ring", "0.25")
    assert Corpus(tmp_path / "b").max_ring == 0.25


@pytest.mark.one_backend
def test_prepare_says_that_one_file_leaves_none_for_validation(
    midi_folder, tmp_path
):
    files = sorted(midi_folder.glob("*.midi"))
    for path in files[1:]:
        path.unlink()
    printed = succeed("prepare", midi_folder, "--out", tmp_path / "one")
    assert "\nNo piece is left for validation" in printed
    shutil.copy(files[0], midi_folder / "two.mid")
    printed = succeed("prepare", midi_folder, "--out", tmp_path / "two")
    assert "No piece is left" not in printed


@pytest.mark.one_backend
def test_prepare_draws_the_splits_that_were_asked_for(midi_folder, tmp_path):
    options = ["--validation-fraction", "0", "--test-fraction", "0"]
    out = tmp_path / "corpus"
    succeed("prepare", midi_folder, "--out", out, *options)
    assert len(Corpus(out).split("train")) == 3


@pytest.mark.one_backend
@pytest.mark.parametrize("make", [False, True])
def test_prepare_refuses_a_folder_without_midi_files(tmp_path, make):
    source = tmp_path / "nothing here"
    if make:
        source.mkdir()
    error, hint = fail("prepare", source, "--out", tmp_path / "corpus")
    assert str(source) in error
    assert "--download" in hint
    assert not (tmp_path / "corpus" / "corpus.json").exists()


@pytest.mark.one_backend
def test_prepare_replaces_another_corpus_only_when_told(midi_folder, tmp_path):
    out = tmp_path / "corpus"
    succeed("prepare", midi_folder, "--out", out)
    again = ["prepare", midi_folder, "--out", out, "--seed", "5"]
    error, hint = fail(*again)
    assert str(out) in error
    assert "--overwrite" in hint
    succeed(*again, "--overwrite")


@pytest.mark.one_backend
def test_prepare_stopped_by_ctrl_c_goes_on_from_there(
    midi_folder, tmp_path, monkeypatch
):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    out = tmp_path / "corpus"
    with monkeypatch.context() as patch:
        patch.setattr("keras_pianogen.data.workers.read_notes", interrupt)
        result = invoke("prepare", midi_folder, "--out", out)
    assert result.exit_code == 130
    assert result.stderr == "Stopped. The same command goes on from there.\n"
    assert not (out / "corpus.json").exists()
    succeed("prepare", midi_folder, "--out", out)
    Corpus(out).verify()


@pytest.mark.one_backend
def test_evaluate_prints_one_line_of_json(run, small_corpus):
    evaluate = ["evaluate", small_corpus.folder, "--preset", run / "preset"]
    printed = succeed(*evaluate, "--split", "test", "--json")
    assert printed.count("\n") == 1
    figures = json.loads(printed)
    assert figures["split"] == "test"
    assert figures["num_pieces"] == len(small_corpus.split("test"))
    assert figures["full_coverage"] is True
    assert figures["perplexity"] == math.exp(figures["nats_per_event"])
    assert {
        "preset",
        "nats_per_note",
        "nats_per_second",
        "accuracy",
        "num_events",
        "context",
    } <= figures.keys()
    assert len(figures["pieces"]) == figures["num_pieces"]
    assert set(figures["intervals"]) == {
        "nats_per_event",
        "nats_per_note",
        "nats_per_second",
    }
    for name, (low, high) in figures["intervals"].items():
        assert low <= figures[name] <= high
    printed = succeed(*evaluate, "--split", "test", "--by", "piece")
    for piece in figures["pieces"]:
        assert piece["path"] in printed
    assert "95 % over pieces" in printed
    printed = succeed(*evaluate, "--split", "test")
    assert f"{figures['nats_per_event']:.4f}" in printed


@pytest.mark.one_backend
def test_presets_are_listed_with_their_cards():
    printed = json.loads(succeed("presets", "--json"))
    row = printed["music_transformer_maestro"]
    assert 1_000_000 < row["bytes"] < 10_000_000
    assert "MAESTRO" in pathlib.Path(row["card"]).read_text()
    printed = succeed("presets")
    assert "music_transformer_maestro" in printed and "verified" in printed


@pytest.mark.one_backend
def test_a_damaged_preset_is_named_and_the_others_listed(tmp_path, monkeypatch):
    from keras_pianogen.models import presets

    shutil.copytree(presets.FOLDER, tmp_path / "presets")
    monkeypatch.setattr(presets, "FOLDER", tmp_path / "presets")
    damaged, *others = presets.PRESETS
    (tmp_path / "presets" / damaged / "task.json").write_text("{}")
    result = invoke("presets", "--json")
    assert list(json.loads(result.stdout)) == others
    assert result.exit_code == 2
    assert f"'{damaged}' is damaged" in result.stderr
    assert "pip install" in result.stderr


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
    extra = BACKEND if BACKEND == "tensorflow" else f"'.[{BACKEND}]'"
    assert f"pip install {extra}" in hint


@pytest.mark.one_backend
def test_a_backend_that_is_none_of_ours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    error, _ = fail("generate", "--out", tmp_path / "piece.mid")
    assert "tensorflow, jax, torch" in error
    assert "'numpy'" in error


@pytest.mark.one_backend
def test_a_process_names_its_backend_and_prints_its_own_lines_alone(
    run, tmp_path, monkeypatch
):
    here, there = tmp_path / "here.mid", tmp_path / "there.mid"
    options = ["--preset", run / "preset", "--seconds", "4", "--seed", "1"]
    succeed("generate", "--out", here, *options)
    (tmp_path / "keras.json").write_text(json.dumps({"backend": BACKEND}))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    code = """
from keras_pianogen.cli import app
try:
    app()
finally:
    import keras
    print(keras.config.backend())
"""
    process = start("generate", "--out", there, *options, code=code)
    printed, errors = process.communicate()
    assert (process.returncode, complaints(errors)) == (0, "")
    figures, path, backend = printed.splitlines()
    assert re.fullmatch(r"\d+ notes, .*seed 1", figures)
    assert path == str(there)
    # Keras was loaded after the choice, or nothing would have been chosen.
    assert errors.startswith(f"Backend: {NAMES[backend]} (")
    assert "loaded already" not in errors
    if backend == BACKEND:  # TensorFlow is no choice, but what nobody chose.
        assert here.read_bytes() == there.read_bytes()


def log_while_loading(text, error=None):
    with loading():
        os.write(2, text.encode())
        if error is not None:
            raise error


@pytest.mark.one_backend
def test_loading_keeps_back_chatter_and_nothing_else(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    log_while_loading(CHATTER + "real trouble\n")
    assert capfd.readouterr().err == "real trouble\n"
    with pytest.raises(ValueError):
        log_while_loading(CHATTER, ValueError("an error of the user's"))
    assert capfd.readouterr().err == ""
    os.write(2, b"as before\n")
    assert capfd.readouterr().err == "as before\n"


@pytest.mark.one_backend
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


@pytest.mark.one_backend
def test_a_crash_while_loading_leaves_a_trace():
    code = """
import os, resource
from keras_pianogen.cli.backends import NAMES
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


@pytest.mark.one_backend
def test_an_error_that_is_a_bug_keeps_its_traceback(midi_folder, monkeypatch):
    def broken(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'other'", name="other")

    monkeypatch.setattr("keras_pianogen.data.preparing.prepare_corpus", broken)
    result = invoke("prepare", midi_folder, "--out", midi_folder / "corpus")
    assert isinstance(result.exception, ModuleNotFoundError)


@pytest.mark.one_backend
def test_in_python_a_preset_loads_and_computes_without_chatter():
    code = """
import keras_pianogen
keras_pianogen.from_preset('music_transformer_small_maestro')
import keras
keras.ops.zeros(1)
import keras_pianogen.gan
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ
        | {"TF_CPP_MIN_LOG_LEVEL": "1", "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
