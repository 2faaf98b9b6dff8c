"""Fixtures shared by the tests, and the order in which backends load."""

import gc
import os
import pathlib
import re
import shutil
import signal

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # So it is where the tests are started in the background; some of them,
    # and what they start, are about Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if os.environ.get("KERAS_BACKEND") == "torch":
    # Torch loaded after TensorFlow can crash the interpreter.
    import torch  # noqa: F401

# Where Keras isn't loaded, a command that a test runs in its own process leaves
# TensorFlow out, for all tests after it.
import keras  # noqa: E402, F401

# Before a file of tests imports them.
pytest.register_assert_rewrite(
    "listening_pages", "measuring", "sources", "studio_pages", "studio_server"
)

DATA = pathlib.Path(__file__).parent / "data"
SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_finish(session):
    # Keras collects garbage for each layer that it quantizes, and pytest does
    # at the end. Neither need look through all that was imported.
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item):
    if item.get_closest_marker("slow_to_trace"):
        if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
            pytest.skip("runs on JAX and PyTorch: TensorFlow traces too long")
    if item.get_closest_marker("bit_for_bit"):
        from keras_pianogen import devices

        if devices.device_memory() is not None:
            pytest.skip("is promised on CPUs")


@pytest.fixture(scope="session")
def shared():
    """The folder of data beside the repository; tests skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def maestro_folder(shared):
    """MAESTRO v3.0.0, MIDI and metadata."""
    return shared / "data" / "maestro-v3.0.0"


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory):
    """A corpus of twelve short pieces: scales up and down, seeded."""
    import numpy as np

    from keras_pianogen.data.preparing import prepare_corpus
    from keras_pianogen.midi.writing import write_midi
    from keras_pianogen.notes import NOTE_DTYPE

    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for piece in range(12):
        notes = np.zeros(120, NOTE_DTYPE)
        notes["start"] = 0.125 * np.arange(120)
        notes["end"] = notes["start"] + 0.1
        scale = np.concatenate([np.arange(12), np.arange(12)[::-1]])
        notes["pitch"] = rng.integers(40, 70) + np.resize(scale, 120)
        notes["velocity"] = 64
        write_midi(notes, folder / f"{piece:02}.mid")
    return prepare_corpus(
        folder, folder / "corpus", validation_fraction=0.2, test_fraction=0.2
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
def browser():
    """Debian's headless Chromium; tests skip without it."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox"] if os.getuid() == 0 else [],
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser):
    """Makes empty pages that are watched: nothing they do may fail.

    A page has the beginnings of addresses that it may ask for, which lead to no
    other machine, and says which messages of its console are troubles.
    """
    contexts, troubles = [], []

    def new_page(own, is_trouble, **kwargs):
        contexts.append(browser.new_context(**kwargs))
        page = contexts[-1].new_page()
        page.on(
            "request",
            lambda r: r.url.startswith(own) or troubles.append(r.url),
        )
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda m: is_trouble(m) and troubles.append(m.text))
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="session")
def run(small_corpus, tmp_path_factory):
    """The folder of a finished run of four steps; not to be changed."""
    from command_line import TINY
    from command_line import succeed

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

    from command_line import succeed

    from keras_pianogen.midi.reading import read_notes

    def generate(*args, out="piece.mid"):
        options = ["--preset", run / "preset", "--seconds", "4", *args]
        printed = succeed("generate", "--out", tmp_path / out, *options)
        return printed, read_notes(tmp_path / out)

    return generate


@pytest.fixture(scope="session")
def finished(small_corpus, tmp_path_factory):
    """The folder of a run of 40 steps, never stopped; not to be changed."""
    from small_runs import RECIPE
    from small_runs import train

    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(small_corpus, folder, RECIPE, steps=40, validations=4)
    return folder


@pytest.fixture(scope="session")
def stopped(small_corpus, tmp_path_factory):
    """The folder of the same run, stopped at step 17; not to be changed."""
    from small_runs import RECIPE
    from small_runs import interrupt_at
    from small_runs import train

    folder = tmp_path_factory.mktemp("runs") / "stopped"
    settings = {"steps": 40, "validations": 4, "progress": interrupt_at(17)}
    train(small_corpus, folder, RECIPE, **settings)
    return folder
