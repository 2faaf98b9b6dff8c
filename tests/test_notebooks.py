"""The notebooks of examples/, run cell by cell as Jupyter would, in small.

The cell with the tag "parameters" sets names. A test sets some of them anew
after it, as Papermill does.
"""

import ast
import json
import pathlib
import shutil

import pytest
from note_models import build_note_model

from keras_pianogen.data.controls import Controls
from keras_pianogen.midi.reading import read_notes
from keras_pianogen.models.extending import extended
from keras_pianogen.training import language_model as training

pytestmark = pytest.mark.one_backend

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
CONTROLS = Controls({"density": [2.0, 4.0, 8.0], "loudness": [40, 60, 80]}, {})


def cells_of(name):
    notebook = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text())
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]


def run_cell(source, names):
    """Runs a cell; returns the page of its last expression, if it has one."""
    *before, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        before, last = [*before, last], None
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    if last is None:
        return None
    value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    return value._repr_html_() if hasattr(value, "_repr_html_") else None


def run(name, **parameters):
    """Runs a notebook with other parameters; returns the pages it shows."""
    names, shown = {}, []
    for cell in cells_of(name):
        shown.append(run_cell("".join(cell["source"]), names))
        if "parameters" in cell["metadata"].get("tags", []):
            assert parameters.keys() <= names.keys()
            names.update(parameters)
    return [page for page in shown if page]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = json.loads(path.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in cells_of(path.stem):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
    first = "".join(cells_of(path.stem)[0]["source"])
    assert '"pip", "install"' in first


def test_the_first_notebook_makes_music(run_folder, tmp_path, monkeypatch):
    notes_preset = tmp_path / "notes"
    model = extended(build_note_model(64), 0.5, controls=CONTROLS)
    model.save_to_preset(notes_preset)
    monkeypatch.chdir(tmp_path)
    presets = {"preset": str(run_folder / "preset")}
    presets["notes_preset"] = str(notes_preset)
    shown = run("make_music", seconds=4, **presets)
    titles = ("A new piece", "Continued", "Second 1 to 3 is new", "From sparse")
    assert len(shown) == len(titles)
    for page, title in zip(shown, titles):
        assert title in page and "<svg" in page and "<audio" in page
    for name in ("piece", "filled", "rise"):
        assert len(read_notes(tmp_path / f"{name}.mid"))
        assert (tmp_path / f"{name}.wav").stat().st_size > 44


def test_the_second_notebook_trains_on_files(
    run_folder, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "my_midi_files"
    folder.mkdir()
    for path in (ROOT / "tests" / "data").glob("*.midi"):
        shutil.copy(path, folder)
    (folder / "broken.mid").write_bytes(b"This is no MIDI file.")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(training.LOOKS, "validation_events", 500)
    preset = str(run_folder / "preset")
    before, after = run(
        "train_on_your_own", minutes=0.02, seconds=2, preset=preset
    )
    assert "Before" in before and "After" in after
    printed = capsys.readouterr().out
    assert "broken.mid" in printed and "the loss is" in printed
    assert (tmp_path / "my_preset.zip").is_file()
    assert len(read_notes(tmp_path / "after.mid"))


@pytest.fixture
def run_folder(request):
    """The folder of a finished run; `run` is another name here."""
    return request.getfixturevalue("run")
