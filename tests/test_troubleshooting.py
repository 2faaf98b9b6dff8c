"""What docs/troubleshooting.md quotes is what the programs print.

A block that begins with `$` is a command and what it prints. Any other block is
the message of a library, whose text holds the part in `OF_LIBRARIES`.
"""

import importlib.util
import pathlib
import re
import shlex
import shutil
import socket
import sys

import pytest
from command_line import COURSE
from command_line import invoke

from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.rendering.fluidsynth import SOUNDFONT_VARIABLE

pytestmark = pytest.mark.one_backend

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
BLOCKS = re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
TRANSCRIPTS = [block[2:] for block in BLOCKS if block.startswith("$ ")]
MESSAGES = [block.strip() for block in BLOCKS if not block.startswith("$ ")]
# Parts of messages, and the package and its file that prints each. The numbers
# in two of them were seen on 2026-11-29.
OF_LIBRARIES = {
    "requires a different Python": (
        "pip",
        "_internal/resolution/legacy/resolver.py",
    ),
    "externally-managed-environment": ("pip", "_internal/exceptions.py"),
    "CUDA-enabled jaxlib is not installed. Falling back to": (
        "jax",
        "_src/xla_bridge.py",
    ),
    "RESOURCE_EXHAUSTED": ("tensorflow", "python/framework/errors_impl.py"),
}
# Seen, because the shell and Python itself print them.
SEEN = ("Killed", "ImportError: cannot import name")
MISSING = {
    "KERAS_BACKEND=torch": "torch",
    "pianogen serve\nError: uvicorn": "uvicorn",
    "pianogen duet": "rtmidi",
    "pianogen render mine.mid --soundfont": "fluidsynth",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the page names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(SOUNDFONT_VARIABLE, raising=False)
    (tmp_path / "broken.mid").write_bytes(b"This is no MIDI file.")
    (tmp_path / "song.mp3").write_bytes(b"ID3\4\0\0\0\0\0\0" + bytes(50))
    (tmp_path / "piano.sf2").write_bytes(b"RIFF\0\0\1\0sfbkLIST")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "list.txt").write_text("Two photos.")
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    own = ROOT / "tests" / "data" / "scarlatti_k_525.midi"
    for path in ("mine.mid", "my_midi_files/mine.mid"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(own, tmp_path / path)
    return tmp_path


@pytest.fixture
def port():
    """The studio's port, taken by this test or by another program."""
    with socket.socket() as taken:
        try:
            taken.bind(("127.0.0.1", 8765))
            taken.listen()
        except OSError:
            pass
        yield


def take_away(name, monkeypatch):
    """Makes a package or a program as good as not installed."""
    if name == "fluidsynth":
        monkeypatch.setenv("PATH", "")
        return
    if name == "rtmidi" and importlib.util.find_spec(name):
        pytest.skip("python-rtmidi is installed")
    for loaded in list(sys.modules):
        if loaded.startswith("keras_pianogen.studio"):
            monkeypatch.delitem(sys.modules, loaded)
    if name != "rtmidi":
        monkeypatch.setitem(sys.modules, name, None)


def said(output):
    """The lines about an error, without the frame of a terminal."""
    lines = (line.strip("│ ") for line in output.splitlines())
    kept = (x for x in lines if not x.startswith(COURSE + ("Usage", "Try ")))
    return " ".join(x for x in kept if x and not x.startswith(("╭", "╰")))


@pytest.mark.parametrize("transcript", TRANSCRIPTS)
def test_the_page_quotes_what_a_command_prints(
    transcript, folder, port, monkeypatch
):
    command, _, quoted = transcript.partition("\n")
    if " train " in command:
        prepare_corpus(folder / "my_midi_files", folder / "corpora" / "mine")
    for beginning, name in MISSING.items():
        if transcript.startswith(beginning):
            take_away(name, monkeypatch)
    first, *words = shlex.split(command)
    if first != "pianogen":
        monkeypatch.setenv(*first.split("="))
        words = words[1:]
    result = invoke(*words)
    assert result.exit_code == 2, result.output
    printed = said(result.output).replace(str(folder), "/music")
    assert printed == " ".join(quoted.split())


def test_the_page_quotes_what_libraries_print():
    for message in MESSAGES:
        if message.startswith(SEEN):
            continue
        (part,) = (x for x in OF_LIBRARIES if x in message)
        package, file = OF_LIBRARIES[part]
        place = pathlib.Path(importlib.util.find_spec(package).origin).parent
        source = (place / file).read_text()
        # A message is broken into strings in a library's source.
        assert part in re.sub(r'"\s*f?"', "", source)


def test_an_installed_python_is_refused_as_the_page_says():
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.11,<3.14"' in pyproject
    assert "not in '<3.14,>=3.11'" in PAGE
