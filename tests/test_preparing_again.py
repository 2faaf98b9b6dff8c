"""Preparing goes on after kills, and makes again what changed."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from sources import ROOT
from sources import count_reads
from sources import files_of
from sources import names_in
from sources import random_notes

from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.midi.writing import write_midi

pytest_plugins = ["sources"]
pytestmark = pytest.mark.one_backend


# Interruptions.

KILLED = """
import os, signal, sys
from keras_pianogen.data.preparing import prepare_corpus

def die(done, total):
    if done >= 16:
        os.kill(os.getpid(), signal.SIGKILL)

prepare_corpus(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), progress=die)
"""


FEW_FILES_A_PROCESS = """
from keras_pianogen.data import parts
parts.FILES_A_PROCESS = 10

"""


@pytest.mark.parametrize("workers", [1, 2])
def test_after_kill_9_only_what_was_left_is_read(
    source, corpus, tmp_path, monkeypatch, workers
):
    folder = tmp_path / "corpus"
    code = KILLED.replace("def die", FEW_FILES_A_PROCESS + "def die")
    killed = subprocess.run(
        [sys.executable, "-c", code, source, folder, str(workers)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(ValueError, match="`folder` must be a corpus"):
        Corpus(folder)
    paths = count_reads(monkeypatch)
    prepare_corpus(source, folder, workers=1)
    assert len(paths) <= 24
    assert files_of(folder) == files_of(corpus.folder)
    assert names_in(folder) == names_in(corpus.folder)


def test_ctrl_c_is_passed_on_and_loses_nothing(
    source, corpus, tmp_path, monkeypatch
):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_corpus(source, tmp_path, workers=1, progress=interrupt)
    paths = count_reads(monkeypatch)
    prepare_corpus(source, tmp_path)
    assert len(paths) <= 24
    assert files_of(tmp_path) == files_of(corpus.folder)


def test_ctrl_c_in_a_terminal_leaves_no_noise_of_processes(source, tmp_path):
    # A terminal sends it to all processes of the group.
    code = KILLED.replace(
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.killpg(0, signal.SIGINT)",
    ).replace("def die", FEW_FILES_A_PROCESS + "def die")
    stopped = subprocess.run(
        [sys.executable, "-c", code, source, tmp_path, "2"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        capture_output=True,
        text=True,
    )
    assert stopped.returncode == -signal.SIGINT
    assert stopped.stderr.count("Traceback") == 1
    assert stopped.stderr.endswith("KeyboardInterrupt\n")


def test_a_file_that_changed_since_the_interruption_is_read_again(
    source, tmp_path, monkeypatch
):
    folder = shutil.copytree(source, tmp_path / "midi")

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_corpus(
            folder, tmp_path / "corpus", workers=1, progress=interrupt
        )
    write_midi(random_notes(99, count=7), folder / "01.mid")
    mixed = prepare_corpus(folder, tmp_path / "corpus")
    counts = {piece.path: piece.num_notes for piece in mixed.pieces}
    assert counts["01.mid"] == 7


def test_a_damaged_part_is_read_again(source, corpus, tmp_path):
    def interrupt(done, total):
        for part in (tmp_path / ".parts").iterdir():
            part.write_bytes(part.read_bytes()[:-30])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_corpus(source, tmp_path, progress=interrupt)
    prepare_corpus(source, tmp_path)
    assert files_of(tmp_path) == files_of(corpus.folder)


# Kills and full disks while a corpus takes another one's place.

OVERWRITTEN = """
import errno, json, os, shutil, signal, sys
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.preparing import prepare_corpus

source, old, folder, way = sys.argv[1:]
place = os.path.realpath(folder)
changes = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
count, last = 0, 0


def watch(event, arguments):
    # Every change of a file in the folder counts. At one of them the process
    # is killed, or the disk is full from then on.
    global count
    if event not in changes or not last or place not in str(arguments[0]):
        return
    if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
        return
    count += 1
    if count >= last:
        if way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


sys.addaudithook(watch)
before = Corpus(old).fingerprint
after = None
seen = []
for at in range(1, 1000):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(old, folder)
    child = os.fork()
    if not child:
        last = at
        try:
            prepare_corpus(source, folder, workers=1, overwrite=True)
        except OSError:
            pass
        os._exit(count < last)
    _, status = os.waitpid(child, 0)
    seen.append(Corpus(folder).fingerprint)
    whole = prepare_corpus(source, folder, workers=1, overwrite=True)
    assert after in (None, whole.fingerprint)
    after = whole.fingerprint
    left = sorted(os.listdir(folder))
    assert left == [".source", "corpus.json", "notes.npy"], left
    if os.waitstatus_to_exitcode(status) == 1:
        break
assert set(seen) == {before, after}, (before, after, seen)
assert seen == sorted(seen, key=[before, after].index)
print(len(seen) - 1)
"""


@pytest.mark.parametrize("way", ["kill", "full disk"])
def test_an_old_corpus_is_there_until_the_new_one_is_whole(
    source, corpus, tmp_path, way
):
    result = subprocess.run(
        [
            *(sys.executable, "-c", OVERWRITTEN),
            *(source / "below", corpus.folder, tmp_path / "folder", way),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 17


def test_two_cannot_prepare_in_one_folder_at_once(source, corpus, tmp_path):
    def prepare_too(done, total):
        with pytest.raises(ValueError, match="another process prepares"):
            prepare_corpus(source / "below", tmp_path, overwrite=True)

    first = prepare_corpus(source, tmp_path, progress=prepare_too)
    assert files_of(first.folder) == files_of(corpus.folder)


def test_parts_of_a_source_that_was_given_up_are_cleared(source, tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    finished = prepare_corpus(source, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        prepare_corpus(
            source / "below", tmp_path, overwrite=True, progress=interrupt
        )
    assert ".parts" in names_in(tmp_path)
    again = prepare_corpus(source, tmp_path)
    assert again.fingerprint == finished.fingerprint
    assert names_in(tmp_path) == {"corpus.json", "notes.npy", ".source"}


# A folder that holds a corpus already.


@pytest.mark.parametrize("name", ["corpus.json", "notes.npy"])
def test_a_damaged_corpus_is_made_again_from_its_source(
    source, corpus, tmp_path, name
):
    folder = shutil.copytree(corpus.folder, tmp_path / "corpus")
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(ValueError, match="damaged|can't be read"):
        prepare_corpus(source / "below", folder)
    prepare_corpus(source, folder)
    assert files_of(folder) == files_of(corpus.folder)
    (folder / name).unlink()
    prepare_corpus(source, folder)
    assert files_of(folder) == files_of(corpus.folder)


def test_a_damaged_corpus_of_unknown_source_needs_overwrite(
    source, corpus, tmp_path
):
    folder = shutil.copytree(corpus.folder, tmp_path / "corpus")
    (folder / "corpus.json").write_bytes(b"{}")
    (folder / ".source").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="must be a corpus") as error:
        prepare_corpus(source, folder)
    assert "--overwrite" in error.value.__notes__[0]
    prepare_corpus(source, folder, overwrite=True)
    assert files_of(folder) == files_of(corpus.folder)


def test_preparing_an_unchanged_source_again_reads_nothing(
    source, corpus, monkeypatch
):
    paths = count_reads(monkeypatch)
    again = prepare_corpus(source, corpus.folder)
    assert paths == []
    assert again.fingerprint == corpus.fingerprint


def test_another_corpus_is_replaced_only_when_told_to(source, tmp_path):
    first = prepare_corpus(source, tmp_path)
    with pytest.raises(ValueError, match="`folder` must not hold another"):
        prepare_corpus(source / "below", tmp_path)
    assert Corpus(tmp_path).fingerprint == first.fingerprint
    second = prepare_corpus(source / "below", tmp_path, overwrite=True)
    assert len(second) == 14
