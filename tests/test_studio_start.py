"""How the studio starts: presets, compiled functions, and its command."""

import os
import socket
from types import SimpleNamespace

import numpy as np
import pytest
from command_line import fail

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")


from keras_pianogen.models.presets import PRESETS  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402
from keras_pianogen.studio import composer  # noqa: E402
from keras_pianogen.studio import jobs  # noqa: E402
from keras_pianogen.studio import serving  # noqa: E402

pytest_plugins = ["studio_server"]
pytestmark = pytest.mark.one_backend


def test_a_start_that_fails_says_why(monkeypatch):
    def fail(*_):
        raise ImportError("No backend.")

    made = composer.Composer(["any"])
    monkeypatch.setattr(
        composer, "importlib", SimpleNamespace(import_module=fail)
    )
    load, warm_up, _ = made.preparations
    with pytest.raises(ImportError):
        load()
    assert (made.state, made.failure) == ("failed", "No backend.")
    made.state, made.failure = "warming", None
    monkeypatch.setattr(made, "_compile_for", fail)
    with pytest.raises(ImportError):
        warm_up()
    assert (made.state, made.failure) == ("failed", "No backend.")


def test_a_job_that_was_first_leaves_the_studio_ready(monkeypatch):
    made = composer.Composer(["any"])
    monkeypatch.setattr(
        composer, "importlib", SimpleNamespace(import_module=str)
    )
    monkeypatch.setattr(made, "_model", str)
    load, *_ = made.preparations
    load()
    assert made.state == "warming"
    made.state = "ready"
    load()
    assert made.state == "ready"


def test_a_part_and_a_duet_show_what_loads_and_end_it(monkeypatch):
    def load(preset):
        shown.append((made.state, made.step[0]))
        return SimpleNamespace(infill=infill)

    def infill(*_, progress, **__):
        shown.append((made.state, made.step[0]))
        progress(1, 0.5)
        return np.zeros(0, NOTE_DTYPE)

    def play(*_, on_tuned):
        shown.append((made.state, made.step[0]))
        if shown[-1][0] == "warming":
            raise jobs.Stopped("stopped")
        on_tuned()

    gap = SimpleNamespace(
        preset="/a/run/preset",
        seeds=[1],
        notes=None,
        start=0.0,
        end=1.0,
        keep_melody=False,
        settings={},
    )
    job = jobs.Job(None, lambda message: None)
    made, shown = composer.Composer(["any", gap.preset]), []
    monkeypatch.setattr(made, "_model", load)
    monkeypatch.setattr(composer.duets, "play", play)
    made.state = "warming"  # The first preset.
    made.fill(gap, job)
    assert shown == [
        ("loading", "run/preset is loading …"),
        ("warming", "run/preset is being compiled …"),
    ]
    assert made.state == "ready" and made.loaded == [gap.preset]
    made.fill(gap, job)
    assert shown[2:] == 2 * [("ready", made.step[0])]
    with pytest.raises(jobs.Stopped):  # Nothing loads any longer.
        made.duet("any", None, None, job)
    assert shown[-1] == ("warming", "any is being compiled …")
    assert made.state == "ready" and made.loaded == [gap.preset]


def test_what_is_loaded_can_be_asked_while_a_preset_gets_ready(monkeypatch):
    class Preset(str):
        def __hash__(self):
            if is_asked:
                is_asked.clear()
                made.duet("another", None, None, None)
            return super().__hash__()

    is_asked, made = [], composer.Composer(["any"])
    monkeypatch.setattr(
        made, "_model", lambda preset: SimpleNamespace(infill=None)
    )
    monkeypatch.setattr(composer.duets, "play", lambda *_, on_tuned: on_tuned())
    made.duet(Preset("first"), None, None, None)
    is_asked.append(True)
    assert made.loaded == ["first"] and not is_asked
    assert made.loaded == ["another", "first"]


def test_every_preset_is_found_before_anything_is_served(preset, monkeypatch):
    assert set(serving.BUNDLED) == set(PRESETS)
    folder, name = os.path.split(preset)
    monkeypatch.chdir(folder)
    bundled = serving.BUNDLED[0]
    asked = [name, bundled, "hf://somebody/model", preset, bundled]
    found = serving.find_presets(asked)
    assert found == [preset, bundled, "hf://somebody/model"]
    for wrong in ("music_transformer_mestro", "no/folder", folder):
        with pytest.raises(ValueError, match="`preset` must be"):
            serving.find_presets([bundled, wrong])


def test_another_address_without_a_token_is_refused():
    error, _ = fail("serve", "--host", "0.0.0.0")
    assert "`--token`" in error


def test_a_soundfont_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setenv("PIANOGEN_SOUNDFONT", "/nowhere/piano.sf2")
    error, hint = fail("serve")
    assert "/nowhere/piano.sf2" in error
    assert "PIANOGEN_SOUNDFONT=built-in" in hint


def test_a_port_in_use_is_said_to_be():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error, hint = fail("serve", "--port", str(taken.getsockname()[1]))
    assert "--port chooses another" in error + hint
