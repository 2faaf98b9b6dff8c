"""The backend of a command: the fastest for its work, named in its first line.

Nothing here loads another backend.
"""

import importlib
import json
import os
import pathlib
import platform
import sys
from types import SimpleNamespace

import keras
import pytest
from command_line import invoke
from command_line import start

from keras_pianogen.cli import backends
from keras_pianogen.cli import compiled
from keras_pianogen.cli import training
from keras_pianogen.cli.backends import READING
from keras_pianogen.cli.backends import TRAINING
from keras_pianogen.cli.backends import TRAINING_ON_A_GPU
from keras_pianogen.cli.backends import WRITING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.backends import training_work
from keras_pianogen.notices import light_start

pytestmark = pytest.mark.one_backend


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A function that sets what a machine has, before Keras is loaded."""

    started_light = []

    def have(installed, asked="", file=None):
        there = {"tensorflow", *installed.split()}
        monkeypatch.setattr(backends, "_is_installed", there.__contains__)
        monkeypatch.delitem(sys.modules, "keras", raising=False)
        monkeypatch.setattr(backends, "_start_light", started_light.append)
        monkeypatch.setenv("KERAS_BACKEND", asked)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path))
        if file is not None:
            (tmp_path / "keras.json").write_text(file)
        return started_light

    return have


@pytest.mark.parametrize(
    "work, installed, expected, said",
    [
        (WRITING, "jax torch", "jax", "Backend: JAX (the fastest here to "),
        (WRITING, "torch", "tensorflow", "JAX would be faster: `pip install "),
        (READING, "jax torch", "jax", "KERAS_BACKEND overrules"),
        (TRAINING, "jax torch", "torch", "Backend: PyTorch (the fastest here"),
        (TRAINING, "jax", "tensorflow", "PyTorch would be faster"),
        (TRAINING_ON_A_GPU, "jax torch", "jax", "to train on a GPU"),
        (training_work(data_parallel=True), "jax torch", "jax", "several"),
    ],
)
def test_the_fastest_backend_for_the_work_is_chosen(
    work, installed, expected, said, machine, capsys
):
    started_light = machine(installed)
    choose_backend(work)
    assert os.environ["KERAS_BACKEND"] == expected
    assert started_light == ([expected] if work == WRITING else [])
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "asked, file, installed, expected",
    [
        ("tensorflow", '{"backend": "torch"}', "jax torch", "tensorflow"),
        ("torch", None, "jax torch", "torch"),
        ("", '{"backend": "torch"}', "jax torch", "torch"),
        ("", '{"backend": "torch"}', "jax", "jax"),
        ("", '{"backend": "tensorflow"}', "jax torch", "jax"),
        ("", '{"backend"', "jax torch", "jax"),
        ("", "[]", "jax torch", "jax"),
        ("torch", None, "jax", ModuleNotFoundError),
        ("numpy", None, "jax", ValueError),
    ],
)
def test_the_variable_and_then_keras_s_own_file_overrule(
    asked, file, installed, expected, machine
):
    machine(installed, asked, file)
    if isinstance(expected, str):
        choose_backend(WRITING)
        assert os.environ["KERAS_BACKEND"] == expected
    else:
        with pytest.raises(expected, match=asked):
            choose_backend(WRITING)


def test_a_run_goes_on_on_its_own_backend_unless_told(machine, capsys):
    machine("jax torch", file='{"backend": "tensorflow"}')
    choose_backend(TRAINING, of_run="jax")
    assert os.environ["KERAS_BACKEND"] == "jax"
    assert "as the run before" in capsys.readouterr().err
    machine("jax torch", asked="torch")
    choose_backend(TRAINING, of_run="jax")
    assert os.environ["KERAS_BACKEND"] == "torch"


@pytest.mark.parametrize(
    "config, expected",
    [
        ('{"backend": "jax"}', "jax"),
        ('{"backend": "jax", "resumes": [{"backend": "torch"}]}', "torch"),
        ('{"backend": "jax", "resumes": 3}', None),
        ("[]", None),
        ("{", None),
        (None, None),
    ],
)
def test_the_backend_of_a_run_is_that_of_its_last_part(
    config, expected, tmp_path
):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    assert training._backend_of_run(tmp_path) == expected


def test_what_is_loaded_already_is_what_is_named(monkeypatch, capsys):
    loaded = keras.config.backend()
    other = next(name for name in backends.NAMES if name != loaded)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    choose_backend(WRITING, of_run=other)
    assert os.environ["KERAS_BACKEND"] == loaded
    printed = capsys.readouterr().err
    assert printed == f"Backend: {backends.NAMES[loaded]} (loaded already)\n"


def test_commands_choose_the_backend_before_anything_loads_one(tmp_path):
    file = pathlib.Path(__file__).parent / "data" / "scarlatti_k_525.midi"
    file, out = str(file), ["--out", str(tmp_path / "a.mid")]
    commands = [
        ("duet", "duet", "--input", file, "--output", out[1]),
        ("generation", "generate", *out),
        ("infilling", "infill", file, "--from", "1", "--to", "2", *out),
        ("infilling", "vary", file, *out),
        ("performing", "perform", file, *out),
        ("studio", "serve", "--port", "0"),
    ]
    code = f"""
import importlib, sys
from keras_pianogen.cli import app
def choose(work):
    print({{"keras", "tensorflow", "jax", "torch"}} & set(sys.modules))
    raise KeyboardInterrupt
for module, *command in {commands!r}:
    module = importlib.import_module("keras_pianogen.cli." + module)
    module.choose_backend = choose
    try:
        app(command)
    except SystemExit as end:
        assert end.code == 130
"""
    printed, errors = start(code=code).communicate()
    assert printed == len(commands) * "set()\n", errors


def test_the_first_line_of_commands_names_the_backend(
    run, small_corpus, tmp_path
):
    preset = ["--preset", run / "preset"]
    first = f"Backend: {backends.NAMES[keras.config.backend()]}"
    for command in (
        ["generate", "--seconds", "1", "--out", tmp_path / "a.mid", *preset],
        ["evaluate", small_corpus.folder, "--json", *preset],
        ["train", small_corpus.folder, "--out", run, "--resume"],
    ):
        result = invoke(*command)
        assert result.exit_code == 0, result.output
        assert result.stderr.startswith(first)
        assert result.stderr.count("Backend: ") == 1


# === A light start ===


LIGHT = """
import sys
from keras_pianogen.cli import backends, loading

backends.choose_backend(backends.WRITING)
loading.load_model("music_transformer_small_maestro")
print([name for name in ("tensorflow", "matplotlib") if sys.modules.get(name)])
import matplotlib
"""


def test_music_is_written_without_tensorflow_and_matplotlib(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    process = start(code=LIGHT)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert printed == "[]\n"


def test_jax_keeps_what_it_compiles_in_a_folder_that_does_not_grow(
    monkeypatch, tmp_path
):
    variable = "JAX_COMPILATION_CACHE_DIR"
    monkeypatch.setenv(variable, "chosen")
    compiled.keep()
    assert os.environ[variable] == "chosen"
    monkeypatch.delenv(variable)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
    most = "JAX_COMPILATION_CACHE_MAX_SIZE"
    monkeypatch.setenv(most, "1")
    monkeypatch.delenv(most)
    monkeypatch.setattr(platform, "system", lambda: "Linux")

    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", no_home)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    compiled.keep()
    assert variable not in os.environ
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiled.keep()
    assert pathlib.Path(os.environ[variable]).is_relative_to(tmp_path)
    assert os.environ[most] == str(compiled.MOST)


def test_tensorflow_is_left_out_where_another_backend_computes(monkeypatch):
    for backend, loaded, left in (
        ("jax", {}, {"tensorflow": None}),
        ("torch", {"tensorflow": "loaded"}, {"tensorflow": "loaded"}),
        ("tensorflow", {}, {}),
    ):
        modules = SimpleNamespace(modules=loaded)
        monkeypatch.setattr(light_start, "sys", modules)
        light_start.leave_tensorflow_out(backend)
        assert loaded == left


def test_a_hidden_module_is_found_again_and_a_loaded_one_stays(monkeypatch):
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with light_start.hidden("this", "json"):
        assert importlib.import_module("json") is json
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("this")
    assert importlib.util.find_spec("this") is not None
