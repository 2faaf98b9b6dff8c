"""Preparing a corpus: what is read, skipped and named."""

import os
import shutil
import subprocess

import miditoolkit
import numpy as np
import pytest
from performances import notes_of
from sources import count_reads
from sources import files_of
from sources import names_in

from keras_pianogen.data import parts
from keras_pianogen.data import workers as workers_module
from keras_pianogen.data.corpus import Corpus
from keras_pianogen.data.packing import pack
from keras_pianogen.data.packing import unpack
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.midi.movements import MidiError
from keras_pianogen.midi.reading import MidiReport
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi

pytest_plugins = ["sources"]
pytestmark = pytest.mark.one_backend


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
