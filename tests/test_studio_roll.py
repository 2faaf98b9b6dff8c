"""The studio's piano roll: its handle, its view, regions and edits."""

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")

from test_studio import preset  # noqa: E402, F401
from test_studio_browser import choose  # noqa: E402
from test_studio_browser import expect  # noqa: E402
from test_studio_browser import open_page  # noqa: E402, F401
from test_studio_browser import pace  # noqa: E402, F401
from test_studio_browser import pytestmark  # noqa: E402, F401
from test_studio_browser import second  # noqa: E402, F401
from test_studio_browser import server  # noqa: E402, F401

from keras_pianogen.midi.writing import write_midi  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Twenty seconds of notes, a second of rest, and a chord that rings."""
    starts = np.arange(0, 20, 0.25)
    notes = [(x, x + 0.2, 60 + i % 12, 80) for i, x in enumerate(starts)]
    notes += [(21, 26, pitch, 80) for pitch in (48, 55, 64)]
    path = tmp_path_factory.mktemp("midi") / "finished.mid"
    write_midi(np.array(notes, NOTE_DTYPE), path)
    return path


@pytest.fixture
def page(open_page, file):  # noqa: F811
    page = open_page()
    page.locator("#file").set_input_files(file)
    expect(page.locator("#piece-about")).to_contain_text("83 notes, 26.0 s")
    return page


def value(page, place="#handle"):
    return float(page.locator(place).get_attribute("aria-valuenow"))


def drag(page, start, end, *, keys=(), at=0.5, place="#piece-roll"):
    """Drag over a roll between two times of its whole."""
    box = page.locator(place).bounding_box()
    last = float(page.locator(place).get_attribute("aria-valuemax"))
    xs = [box["x"] + box["width"] * time / last for time in (start, end)]
    y = box["y"] + box["height"] * at
    for key in keys:
        page.keyboard.down(key)
    page.mouse.move(xs[0], y)
    page.mouse.down()
    page.mouse.move(xs[1], y, steps=4)
    page.mouse.up()
    for key in keys:
        page.keyboard.up(key)


def test_a_file_goes_on_before_its_last_chord_and_the_handle_destroys_nothing(
    page,
):
    assert value(page) == 21
    drag(page, 21, 13)
    assert value(page) == pytest.approx(13, abs=0.1)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowLeft")
    handle = value(page)
    assert handle == pytest.approx(13.9, abs=0.1)
    expect(page.locator("#piece-about")).to_contain_text("83 notes")
    choose(page, candidates=1, seconds=2)
    with page.expect_request("**/write") as asked:
        page.locator("#write").click()
    message = asked.value.post_data_json
    assert message["prompt_seconds"] == handle
    starts = [note[0] for note in message["notes"]]
    assert starts[-2] < handle <= starts[-1] < handle + 0.3
    expect(page.locator("#progress")).to_contain_text("Done")
    page.locator(".card .continue").click()
    expect(page.locator("#piece-about")).not_to_contain_text("83 notes")
    page.locator("#undo").click()
    expect(page.locator("#piece-about")).to_contain_text("83 notes")
    assert value(page) == handle
