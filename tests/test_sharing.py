"""A piece as one web page: it is whole, it plays, and it asks for nothing."""

import json
import re
import time

import numpy as np
import pytest
from command_line import succeed
from performances import notes_of
from performances import random_notes

from keras_pianogen.midi.reading import read_notes
from keras_pianogen.midi.writing import write_midi
from keras_pianogen.studio.sharing import save_page

pytestmark = pytest.mark.one_backend

RECIPE = {"Preset": "a <b> preset", "Seed": 7, "Command": "pianogen & co"}


def notes_in(page):
    """The notes that a page plays."""
    text = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text[1])["notes"]


def test_a_page_plays_its_piece_and_loads_nothing(browser, tmp_path):
    notes = random_notes(20, 4)
    path = save_page(
        notes, tmp_path / "p.html", title="A <piece>", recipe=RECIPE
    )
    asked, errors = [], []
    page = browser.new_page(offline=True)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert page.title() == page.locator("h1").inner_text() == "A <piece>"
    assert page.locator("dd").all_inner_texts() == list(
        map(str, RECIPE.values())
    )
    page.get_by_role("button", name="Play").click()
    # The page allows no code in strings, which `wait_for_function` needs.
    deadline = time.monotonic() + 60
    while float(page.locator("#position").input_value()) <= 0.2:
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    cursor = page.locator("#roll .cursor").first
    assert cursor.get_attribute("visibility") == "visible"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Pause").click()
    page.locator("#position").fill("2")
    assert page.locator("#time").inner_text().startswith("0:02")
    with page.expect_download() as download:
        page.get_by_role("link", name="MIDI").click()
    download.value.save_as(tmp_path / "piece.mid")
    page.close()
    assert errors == []
    assert all(u.startswith(("file:", "blob:", "data:")) for u in asked)
    assert sum(u.startswith("file:") for u in asked) == 1
    np.testing.assert_allclose(
        read_notes(tmp_path / "piece.mid")["start"], notes["start"], atol=1e-3
    )


def test_render_writes_a_page_of_all_notes(tmp_path):
    notes = random_notes(9, 2)
    write_midi(notes, tmp_path / "mine.mid")
    succeed("render", tmp_path / "mine.mid", "--page", tmp_path / "mine.html")
    assert len(notes_in(tmp_path / "mine.html")) == len(notes)
    assert "<title>mine</title>" in (tmp_path / "mine.html").read_text()


def test_only_an_html_file_with_notes_is_written(tmp_path):
    with pytest.raises(ValueError, match="`path` must end in .html"):
        save_page(random_notes(3, 1), tmp_path / "piece.htm")
    with pytest.raises(ValueError, match="0 notes"):
        save_page(notes_of(), tmp_path / "piece.html")
    assert not list(tmp_path.iterdir())
