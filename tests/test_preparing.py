"""Preparing a corpus: files kept and skipped, splits, interruptions."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import miditoolkit
import numpy as np
import pytest
from performances import notes_of

from keras_pianogen.data import parts
from keras_pianogen.data import preparing
from keras_pianogen.data import workers as workers_module
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.maestro import Maestro
from keras_pianogen.data.packing import pack
from keras_pianogen.data.packing import unpack
from keras_pianogen.data.pieces import SPLITS
from keras_pianogen.data.pieces import Piece
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import MidiReport
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.notes import NOTE_DTYPE

pytestmark = pytest.mark.one_backend

ROOT = pathlib.Path(__file__).resolve().parents[1]


def random_notes(seed, count=40):
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.sort(rng.uniform(0, count / 5, count))
    notes["end"] = notes["start"] + rng.uniform(0.05, 1, count)
    notes["pitch"] = rng.integers(21, 109, count)
    notes["velocity"] = rng.integers(1, 128, count)
    return notes


def write_folder(folder, count=40):
    """A folder of small MIDI files, some of them in a folder below."""
    (folder / "below").mkdir(parents=True)
    for i in range(count):
        name = f"below/{i:02}.MIDI" if i % 3 == 0 else f"{i:02}.mid"
        write_midi(random_notes(i), folder / name)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("source") / "midi")


@pytest.fixture(scope="module")
def corpus(source, tmp_path_factory):
    return prepare_corpus(source, tmp_path_factory.mktemp("corpus"))


def files_of(folder):
    """The bytes of a corpus's two files."""
    return [
        (folder / name).read_bytes() for name in ("corpus.json", "notes.npy")
    ]


def names_in(folder):
    return {path.name for path in folder.iterdir()}


def count_reads(monkeypatch):
    """A list that grows by each path that is read."""
    paths = []

    def read(path, **options):
        paths.append(path)
        return read_notes(path, **options)

    monkeypatch.setattr(workers_module, "read_notes", read)
    return paths


def test_a_corpus_holds_the_notes_of_each_file(source, corpus):
    assert len(corpus) == len(corpus.pieces) == 40
    assert corpus.skipped == []
    assert [p.path for p in corpus.pieces] == sorted(
        p.relative_to(source).as_posix() for p in source.rglob("*.[mM]*")
    )
    for i, piece in enumerate(corpus.pieces):
        notes = read_notes(source / piece.path)
        np.testing.assert_array_equal(corpus.packed_notes(i), pack(notes))
        np.testing.assert_array_equal(corpus.notes(i), unpack(pack(notes)))
        assert piece.seconds == pytest.approx(notes["end"].max(), abs=1e-5)


def test_preparing_twice_gives_identical_bytes(source, corpus, tmp_path):
    again = prepare_corpus(source, tmp_path / "b", workers=1)
    assert files_of(again.folder) == files_of(corpus.folder)
    assert again.fingerprint == corpus.fingerprint


def test_a_copy_of_the_source_gives_identical_bytes(source, corpus, tmp_path):
    shutil.copytree(source, tmp_path / "copy", copy_function=shutil.copyfile)
    again = prepare_corpus(tmp_path / "copy", tmp_path / "b")
    assert files_of(again.folder) == files_of(corpus.folder)


def test_many_processes_give_the_same_bytes_as_one(
    source, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "FILES_A_PROCESS", 10)
    paths = count_reads(monkeypatch)
    again = prepare_corpus(source, tmp_path / "b", workers=2)
    assert paths == []  # none was read in this process
    assert files_of(again.folder) == files_of(corpus.folder)


def test_only_the_corpus_is_left_in_its_folder(corpus):
    assert names_in(corpus.folder) == {"corpus.json", "notes.npy", ".source"}


def test_progress_counts_up_to_all_files(source, tmp_path):
    calls = []
    prepare_corpus(source, tmp_path, progress=lambda *n: calls.append(n))
    assert calls == [(16, 40), (32, 40), (40, 40)]


# Files that cannot be read.


def test_bad_files_are_skipped_and_named(source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "midi")
    (folder / "empty.mid").write_bytes(b"")
    (folder / "zz text.mid").write_text("not music")
    (folder / "gone.mid").symlink_to(tmp_path / "nowhere")
    (folder / "notes.txt").write_text("is not asked about")
    mixed = prepare_corpus(folder, tmp_path / "corpus")
    assert len(mixed) == 40
    reasons = {file.path: file.reason for file in mixed.skipped}
    assert list(reasons) == ["empty.mid", "gone.mid", "zz text.mid"]
    assert all(reasons.values())
    assert not any(str(tmp_path) in reason for reason in reasons.values())
    assert reasons["gone.mid"] == "No such file or directory"


def test_only_regular_files_are_opened(source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "midi")
    os.mkfifo(folder / "pipe.mid")
    (folder / "device.mid").symlink_to("/dev/zero")
    (folder / "maestro-v9.csv").mkdir()
    mixed = prepare_corpus(folder, tmp_path / "corpus")
    assert len(mixed) == 40
    assert {file.path: file.reason for file in mixed.skipped} == {
        name: "is a pipe or a device. Expected a MIDI file"
        for name in ("device.mid", "pipe.mid")
    }
    with pytest.raises(MidiError, match="pipe.mid is a pipe or a device"):
        read_notes(folder / "pipe.mid")


def test_linked_folders_are_entered_once_and_loops_are_named(source, tmp_path):
    folder, other = tmp_path / "midi", tmp_path / "other"
    shutil.copytree(source, folder / "real")
    shutil.copytree(source / "below", other / "one")
    (folder / "a link to real").symlink_to(folder / "real")
    (folder / "linked").symlink_to(other)
    (folder / "linked again").symlink_to(other)
    loops = ["loop", "real/below/loop", "linked/loop", "linked/one/loop"]
    for loop, target in zip(
        loops, (folder, tmp_path, other, other / "one"), strict=True
    ):
        (folder / loop).symlink_to(target)
    (folder / "itself").symlink_to("itself")
    mixed = prepare_corpus(folder, tmp_path / "corpus")
    firsts = [piece.path.split("/")[0] for piece in mixed.pieces]
    assert firsts == ["linked"] * 14 + ["real"] * 40
    skipped = {file.path: file.reason for file in mixed.skipped}
    assert skipped.pop("itself") == "Too many levels of symbolic links"
    assert set(skipped) == set(loops)
    assert set(skipped.values()) == {"is a link to a folder that it lies in"}


def nest(top, name, depth, file):
    """Folders one in the other, and a file in the last of them."""
    home = os.getcwd()
    os.mkdir(top)
    os.chdir(top)
    try:
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
        shutil.copy(file, ".")
    finally:
        os.chdir(home)


def test_folders_may_lie_in_each_other_as_deep_as_paths_can(source, tmp_path):
    top = tmp_path / "d"
    nest(top, "d", 1500, source / "01.mid")
    deep = prepare_corpus(top, tmp_path / "corpus")
    assert [piece.path for piece in deep.pieces] == ["d/" * 1500 + "01.mid"]
    subprocess.run(["rm", "-r", top], check=True)
    # Paths of more than 4,096 bytes can't be opened.
    nest(top, 200 * "d", 25, source / "01.mid")
    shutil.copy(source / "02.mid", top)
    some = prepare_corpus(top, tmp_path / "corpus", overwrite=True)
    assert [piece.path for piece in some.pieces] == ["02.mid"]
    assert [file.reason for file in some.skipped] == ["File name too long"]
    subprocess.run(["rm", "-r", top], check=True)


def test_odd_files_are_read_or_skipped(shared, tmp_path):
    odd = prepare_corpus(shared / "data" / "odd-midi", tmp_path / "odd")
    assert len(odd) > 20
    assert len(odd.skipped) > 20
    assert all(file.reason for file in odd.skipped)
    for i in range(len(odd)):
        assert len(odd.notes(i)) == odd.pieces[i].num_notes > 0


def test_a_file_that_kills_its_worker_is_skipped(
    source, corpus, tmp_path, monkeypatch
):
    folder = shutil.copytree(source, tmp_path / "midi")
    shutil.copy(folder / "01.mid", folder / "deadly.mid")
    monkeypatch.setattr(parts, "FILES_A_PROCESS", 10)
    monkeypatch.setattr(
        workers_module,
        "SERVE",
        """
import os
from keras_pianogen.data import workers
read = workers.read_file
workers.read_file = lambda p: os._exit(9) if "deadly" in str(p) else read(p)
workers.serve()
""",
    )
    mixed = prepare_corpus(folder, tmp_path / "corpus", workers=2)
    assert [file.path for file in mixed.skipped] == ["deadly.mid"]
    assert "exit code 9" in mixed.skipped[0].reason
    np.testing.assert_array_equal(mixed.packed, corpus.packed)


def test_where_no_process_starts_files_are_read_all_the_same(
    source, corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(parts, "FILES_A_PROCESS", 10)
    monkeypatch.setattr(workers_module, "SERVE", "raise SystemExit(1)")
    again = prepare_corpus(source, tmp_path / "b", workers=2)
    assert files_of(again.folder) == files_of(corpus.folder)


@pytest.mark.parametrize("name", ["one.mid", "one.txt"])
def test_a_source_without_a_readable_file_is_refused(tmp_path, name):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / name).write_text("not music")
    with pytest.raises(ValueError, match="`source` must hold MIDI files"):
        prepare_corpus(tmp_path / "source", tmp_path / "corpus")
    with pytest.raises(ValueError, match="`folder` must be a corpus"):
        Corpus(tmp_path / "corpus")


def test_a_source_that_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`source` must be a folder"):
        prepare_corpus(tmp_path / "nowhere", tmp_path / "corpus")


# How files are read.


def write_ringing(folder, count=40):
    """Notes of 0.5 s that a pedal, never lifted, holds to the end of 60 s."""
    folder.mkdir()
    for i in range(count):
        file = write_midi(notes_of((0, 0.5, 60, 80), (59, 60, 62, 80)))
        pedal = miditoolkit.ControlChange(64, 127, 10)
        file.instruments[0].control_changes = [pedal]
        file.dump(folder / f"{i:02}.mid")
    return folder


def lengths(corpus):
    notes = unpack(corpus.packed)
    return set(np.round(notes["end"] - notes["start"], 3).tolist())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_limit_of_ringing_is_kept_with_the_corpus(
    tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(parts, "FILES_A_PROCESS", 10)
    midi = write_ringing(tmp_path / "midi")
    free = prepare_corpus(midi, tmp_path / "a", workers=workers)
    assert (free.max_ring, lengths(free)) == (None, {60.0, 1.0})
    held = prepare_corpus(midi, tmp_path / "b", workers=workers, max_ring=8)
    assert (held.max_ring, lengths(held)) == (8, {8.5, 1.0})
    assert Corpus(held.folder).max_ring == 8
    with pytest.raises(ValueError, match="must not hold another"):
        prepare_corpus(midi, held.folder)


@pytest.mark.parametrize("max_ring", [0, -1, float("nan")])
def test_a_limit_of_ringing_is_above_0(source, tmp_path, max_ring):
    with pytest.raises(ValueError, match="`max_ring` must be above 0"):
        prepare_corpus(source, tmp_path, max_ring=max_ring)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_corpus_has_the_reports_of_all_its_files(
    shared, tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(parts, "FILES_A_PROCESS", 4)
    folder = shared / "data" / "reported-midi"
    made = prepare_corpus(folder, tmp_path / "corpus", workers=workers)
    reports = [
        read_notes(folder / piece.path, return_report=True)[1]
        for piece in made.pieces
    ]
    assert made.report == sum(reports, MidiReport())
    assert Corpus(made.folder).report == made.report
    kind = "notes whose key was struck again before its note-off"
    assert made.report.repairs[kind] == 1


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


# Splits.


def split_sizes(corpus):
    return [len(corpus.split(name)) for name in SPLITS]


def test_every_piece_has_one_split(corpus):
    indices = np.concatenate([corpus.split(name) for name in SPLITS])
    assert sorted(indices) == list(range(40))


def test_splits_follow_the_names_and_the_seed(source, corpus, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in source.rglob("*.[mM]*"):
        shutil.copy(path, flat)
    moved = prepare_corpus(flat, tmp_path / "a")
    other = prepare_corpus(flat, tmp_path / "b", seed=1)

    def splits(corpus):
        return {pathlib.Path(p.path).name: p.split for p in corpus.pieces}

    assert splits(moved) == splits(corpus) != splits(other)


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [1, 0, 0]), (2, [1, 1, 0]), (3, [1, 1, 1])]
)
def test_three_files_are_enough_for_three_splits(tmp_path, count, sizes):
    write_folder(tmp_path / "midi", count)
    small = prepare_corpus(tmp_path / "midi", tmp_path / "corpus")
    assert split_sizes(small) == sizes


def test_fractions_are_kept_in_the_long_run():
    pieces = [Piece(f"{i}.mid") for i in range(20_000)]
    pieces = preparing._draw_splits(pieces, 0.1, 0.2, seed=3)
    names = [piece.split for piece in pieces]
    shares = [names.count(name) / len(names) for name in SPLITS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


def test_fractions_of_nothing_leave_all_to_train_on(source, tmp_path):
    whole = prepare_corpus(
        source, tmp_path, validation_fraction=0, test_fraction=0
    )
    assert split_sizes(whole) == [40, 0, 0]


@pytest.mark.parametrize("fractions", [(-0.1, 0), (0.5, 0.5), (0, 1.5)])
def test_fractions_that_leave_nothing_are_refused(source, tmp_path, fractions):
    with pytest.raises(ValueError, match="`validation_fraction` and `test"):
        prepare_corpus(
            source,
            tmp_path,
            validation_fraction=fractions[0],
            test_fraction=fractions[1],
        )


# MAESTRO.


def test_maestros_own_table_gives_splits_and_titles(maestro_folder, tmp_path):
    table = (maestro_folder / "maestro-v3.0.0.csv").read_text().splitlines()
    rows = [table[0], table[1], table[3], table[9]]
    (tmp_path / "maestro").mkdir()
    (tmp_path / "maestro" / "maestro-v3.0.0.csv").write_text("\n".join(rows))
    for year in maestro_folder.glob("20*"):
        (tmp_path / "maestro" / year.name).symlink_to(year)
    small = prepare_corpus(tmp_path / "maestro", tmp_path / "corpus")
    berg = [p for p in small.pieces if p.year == 2018][0]
    assert berg.composer == "Alban Berg"
    assert berg.title == "Sonata Op. 1"
    assert berg.split == "train"
    assert len(small) == 3


def test_a_source_may_be_given_by_a_relative_path(
    maestro_folder, source, corpus, tmp_path, monkeypatch
):
    monkeypatch.chdir(source.parent)
    again = prepare_corpus(source.name, tmp_path / "a")
    assert files_of(again.folder) == files_of(corpus.folder)
    monkeypatch.chdir(maestro_folder.parent)
    maestro = Maestro(maestro_folder.name)
    few = Maestro(maestro_folder.name, pieces=maestro.pieces[:3])
    paths = [piece.path for piece in prepare_corpus(few, tmp_path / "b").pieces]
    assert all((maestro_folder / path).is_file() for path in paths)
    assert not any(path.startswith(maestro_folder.name) for path in paths)


def test_a_maestro_object_gives_its_pieces(maestro_folder, tmp_path):
    maestro = Maestro(maestro_folder).paper_subset()
    hundred = prepare_corpus(maestro, tmp_path, workers=1)
    assert split_sizes(hundred) == [70, 15, 15]
    durations = {p.path: p.duration for p in maestro.pieces}
    for piece in hundred.pieces:
        length = durations[maestro_folder / piece.path]
        assert piece.seconds == pytest.approx(length, abs=10)
        assert piece.composer and piece.title and piece.year > 2003


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("midi_filename,split\na.mid,train\n", "lacks the column"),
        (
            "midi_filename,split,canonical_composer,canonical_title,year\n"
            "a.mid,dev,B,S,2004\n",
            "line 2: .*`split` must be one of",
        ),
    ],
)
def test_a_broken_table_is_named(tmp_path, table, message):
    (tmp_path / "maestro-v3.0.0.csv").write_text(table)
    with pytest.raises(ValueError, match=message):
        prepare_corpus(tmp_path, tmp_path / "corpus")
