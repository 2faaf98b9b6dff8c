"""The studio's piano roll: its handle, its view, regions and edits."""

import re

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")

from studio_pages import DONE  # noqa: E402
from studio_pages import ON_THE_PAGE  # noqa: E402
from studio_pages import choose  # noqa: E402
from studio_pages import expect  # noqa: E402
from studio_pages import once  # noqa: E402

from keras_pianogen.midi.writing import write_midi  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402

pytest_plugins = ["studio_server", "studio_pages"]
pytestmark = ON_THE_PAGE

STARTS = np.arange(0, 20, 0.25)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Twenty seconds of notes, a second of rest, and a chord that rings."""
    notes = [(x, x + 0.2, 60 + i % 12, 80) for i, x in enumerate(STARTS)]
    notes += [(21, 26, pitch, 80) for pitch in (48, 55, 64)]
    path = tmp_path_factory.mktemp("midi") / "finished.mid"
    write_midi(np.array(notes, NOTE_DTYPE), path)
    return path


@pytest.fixture
def page(open_page, file):
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
    sent = []
    page.on("request", lambda r: r.post_data and sent.append(r.post_data_json))
    assert value(page) == 21
    drag(page, 21, 13)
    assert value(page) == pytest.approx(13, abs=0.1)
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("ArrowLeft")
    handle = value(page)
    assert handle == pytest.approx(13.9, abs=0.1)
    expect(page.locator("#piece-about")).to_contain_text("83 notes")
    choose(page, candidates=1, seconds=2)
    page.locator("#write").click()
    # A prompt that was sent before is named, so that either may tell.
    expect(page.locator(".card")).to_have_count(1, **DONE)
    message = next(m for m in sent[::-1] if m.get("prompt_seconds") == handle)
    starts = [note[0] for note in message["notes"]]
    assert starts[-2] < handle <= starts[-1] < handle + 0.3
    expect(page.locator("#progress")).to_contain_text("Done")
    page.locator(".card .continue").click()
    expect(page.locator("#piece-about")).not_to_contain_text("83 notes")
    page.locator("#undo").click()
    expect(page.locator("#piece-about")).to_contain_text("83 notes")
    assert value(page) == handle


def seen(page):
    """The first and the last second that the roll shows."""
    return page.evaluate(
        "import('/panel.js').then(({ roll }) => [roll.begin, roll.end])"
    )


def seen_once(page, is_right):
    """What the roll shows as soon as that is right."""
    return once(page, lambda: seen(page), lambda view: is_right(*view))


# Once the bar has the length of the latest zoom, which is drawn a frame later.
SCROLL_TO_THE_END = """async (bar) => {
  await new Promise(requestAnimationFrame);
  await new Promise(requestAnimationFrame);
  bar.scrollLeft = 1e6;
}"""


def test_the_roll_is_zoomed_and_scrolled_by_all_means(page):
    box = page.locator("#piece-roll").bounding_box()
    middle = box["x"] + box["width"] / 2

    assert seen(page) == [0, 26]
    page.mouse.move(middle, box["y"] + 90)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    begin, end = seen_once(page, lambda begin, end: end - begin < 15)
    assert begin + end == pytest.approx(26, abs=0.1)
    page.keyboard.press("PageDown")
    assert seen(page)[0] > begin
    page.keyboard.press("0")
    page.locator("#zoom-in").click()
    page.keyboard.press("+")
    begin, end = seen(page)
    assert end - begin == pytest.approx(26 / 1.6**2) and begin == 0
    page.locator("#scroll").evaluate(SCROLL_TO_THE_END)
    seen_once(page, lambda _, end: end == pytest.approx(26, abs=0.1))
    page.locator("#zoom-all").click()
    # Drawn a frame later: before that, the handle is in the middle.
    expect(page.locator("#scroll")).to_be_hidden(**DONE)
    page.mouse.click(middle, box["y"] + 90)
    page.locator("body").press("ArrowRight")
    place = re.compile(r"13\.[01]\d")  # Half a pixel off, or not.
    expect(page.locator("#piece-roll")).to_have_attribute(
        "aria-valuenow", place, **DONE
    )


# A view that changes between the page's own scrolling and the bar's event.
ZOOMED_TWICE = """async () => {
  const { roll } = await import("/panel.js");
  const { zoom } = await import("/zoom.js");
  const frame = () => new Promise(requestAnimationFrame);
  zoom(4, 13);
  await frame();
  zoom(2, 13);
  const wanted = [roll.begin, roll.end];
  await frame();
  await frame();
  return [wanted, [roll.begin, roll.end]];
}"""


def test_the_scroll_bar_s_own_event_leaves_the_view_where_it_is(page):
    wanted, is_seen = page.evaluate(ZOOMED_TWICE)
    assert wanted == pytest.approx([13 - 26 / 16, 13 + 26 / 16])
    assert is_seen == wanted


def test_a_zoomed_roll_follows_what_plays_and_a_loop_comes_round(page):
    page.evaluate("import('/zoom.js').then(({ zoom }) => zoom(20))")
    assert seen(page)[0] == 0
    page.keyboard.press("Space")
    seen_once(page, lambda begin, _: begin > 1)
    page.keyboard.press("Space")
    page.keyboard.press("0")
    drag(page, 5, 6.5, keys=["Shift"])
    page.locator("#loop").check()
    expect(page.locator("#piece-play")).to_have_attribute(
        "aria-label", "Pause your piece"
    )
    places = page.evaluate(
        """() => new Promise((resolve) => {
          const places = [];
          const look = setInterval(() => {
            places.push(Number(document.querySelector("#piece-roll")
              .getAttribute("aria-valuenow")));
            if (places.at(-1) < places.at(-2)) { // A loop comes round.
              clearInterval(look); resolve(places);
            }
          }, 60);
        })"""
    )
    assert 4.9 <= min(places) and max(places) <= 8
    assert places[-1] < places[-2] - 0.5


def test_a_region_is_written_anew_and_deleted(page):
    drag(page, 5, 8, keys=["Shift"])
    start, end = (
        float(page.locator(x).input_value())
        for x in ("#region-start", "#region-end")
    )
    assert (start, end) == (
        pytest.approx(5, abs=0.1),
        pytest.approx(8, abs=0.1),
    )
    expect(page.locator("#anew-about")).to_contain_text("preset writes it")
    choose(page, candidates=1)
    with page.expect_request("**/infill") as asked:
        page.locator("#anew").click()
    assert asked.value.post_data_json["end"] == end
    expect(page.locator("#progress")).to_contain_text("Done", **DONE)
    page.locator(".card .continue").click()
    expect(page.locator("#piece-about")).to_contain_text("Candidate 1")
    notes = page.evaluate(
        "import('/work.js').then(({ work }) => work.base.notes)"
    )
    outside = [x for x in notes if not start <= x["start"] < end]
    assert len(outside) == 83 - sum(start <= x < end for x in STARTS)
    page.locator("#undo").click()
    page.keyboard.press("Delete")
    expect(page.locator("#toast")).to_contain_text("Deleted: ")
    expect(page.locator(".card")).to_have_count(1)
    expect(page.locator("#piece-about")).to_contain_text(
        f"{len(outside)} notes"
    )
    page.keyboard.press("Control+z")
    expect(page.locator("#piece-about")).to_contain_text("83 notes")


def place(page, time, pitch):
    """Where a time and a pitch are on the screen."""
    return page.evaluate(
        """async ([time, pitch]) => {
          const { roll } = await import("/panel.js");
          const box = roll.canvas.getBoundingClientRect();
          const { high, row } = roll.pitches;
          return [box.left + roll.x(time),
            box.top + roll.top + (high - pitch + 0.5) * row];
        }""",
        [time, pitch],
    )


def drag_note(page, start, end):
    page.mouse.move(*place(page, *start))
    page.mouse.down()
    page.mouse.move(*place(page, *end), steps=3)
    page.mouse.up()


def notes_of(page):
    return page.evaluate(
        "import('/work.js').then(({ work }) => work.base.notes)"
    )


def test_notes_are_added_moved_stretched_struck_harder_and_deleted(page):
    def notes(pitch):
        every = page.evaluate(
            "import('/work.js').then(({ work }) => work.base.notes)"
        )
        return [x for x in every if x["pitch"] == pitch]

    about = page.locator("#piece-about")
    page.get_by_text("Edit", exact=True).click()
    drag_note(page, (22, 50), (24, 50))  # Adds a note and stretches it.
    (note,) = notes(50)
    assert note["start"] == pytest.approx(22, abs=0.05)
    assert note["end"] == pytest.approx(24, abs=0.05)
    drag_note(page, (22.5, 50), (23.5, 52))  # Moves it,
    (moved,) = notes(52)
    assert moved["start"] == pytest.approx(note["start"] + 1, abs=0.05)
    assert not notes(50)
    drag_note(page, (moved["end"] - 0.05, 52), (26.5, 52))  # and stretches it.
    (long,) = notes(52)
    assert long["start"] == moved["start"] and long["end"] > 26
    page.locator("#piece-roll").press("ArrowUp")
    page.locator("#piece-roll").press("ArrowLeft")
    (higher,) = notes(53)
    assert higher["start"] == pytest.approx(long["start"] - 0.01)
    page.get_by_label("velocity", exact=True).fill("111")
    page.get_by_label("velocity", exact=True).press("Enter")
    assert notes(53)[0]["velocity"] == 111
    page.get_by_role("button", name="Next note").focus()
    page.keyboard.press("Delete")
    expect(about).to_contain_text("83 notes")
    page.keyboard.press("Control+z")
    assert notes(53)[0]["velocity"] == 111
    for _ in range(6):
        page.keyboard.press("Control+z")
    expect(about).to_contain_text("finished.mid: 83 notes")
    page.keyboard.press("Control+Shift+z")
    assert notes(50)[0]["end"] == note["end"]  # One gesture, one step.


def test_the_whole_of_a_drag_is_kept_over_a_refresh(page):
    saved = page.locator("#saved")
    page.get_by_text("Edit", exact=True).click()
    page.mouse.move(*place(page, 22, 50))
    page.mouse.down()  # Adds a note,
    expect(saved).to_have_text("Kept in this browser", **DONE)
    page.mouse.move(*place(page, 25, 50), steps=3)  # and stretches it.
    page.mouse.up()
    notes = notes_of(page)
    assert max(x["end"] for x in notes if x["pitch"] == 50) > 24
    expect(saved).to_have_text("Kept in this browser", **DONE)
    page.reload()
    expect(page.locator("#state")).to_contain_text("Ready", **DONE)
    assert notes_of(page) == notes


def test_an_edit_ends_a_duet_and_its_notes(open_page):
    page = open_page()
    page.locator("#duet-go").click()
    state = page.locator("#duet-state")
    expect(state).to_have_text("The partner listens.", **DONE)
    page.keyboard.down("s")
    expect(page.locator("#piece-about")).to_contain_text("1 note,")
    page.get_by_text("Edit", exact=True).click()
    page.locator("#note-add").click()
    expect(page.locator("#duet-go")).to_have_text("Play a duet")
    page.keyboard.up("s")
    notes = notes_of(page)
    assert len(notes) == 2 and all(x["end"] for x in notes)


def test_two_fingers_zoom_and_do_nothing_else(open_page, file):
    page = open_page(has_touch=True)
    page.locator("#file").set_input_files(file)
    expect(page.locator("#piece-about")).to_contain_text("83 notes")
    page.get_by_text("Edit", exact=True).click()
    box = page.locator("#piece-roll").bounding_box()
    middle, y = box["x"] + box["width"] / 2, box["y"] + 90
    fingers = page.context.new_cdp_session(page)

    def touch(kind, *distances):
        points = [
            {"x": middle + x, "y": y, "id": int(x > 0)} for x in distances
        ]
        fingers.send(
            "Input.dispatchTouchEvent", {"type": kind, "touchPoints": points}
        )

    touch("touchStart", -40)
    touch("touchStart", -40, 40)
    for apart in range(50, 161, 10):
        touch("touchMove", -apart, apart)
    touch("touchEnd")
    begin, end = seen_once(
        page, lambda begin, end: end - begin == pytest.approx(26 / 4, abs=0.5)
    )
    assert begin + end == pytest.approx(26, abs=0.5)
    expect(page.locator("#piece-about")).to_contain_text("83 notes")
