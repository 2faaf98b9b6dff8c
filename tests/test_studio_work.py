"""What the studio keeps: over refreshes, tabs, and its server's death."""

import json

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api")

from studio_pages import DONE  # noqa: E402
from studio_pages import ON_THE_PAGE  # noqa: E402
from studio_pages import cursor_of  # noqa: E402
from studio_pages import expect  # noqa: E402
from studio_pages import once  # noqa: E402
from studio_pages import play_notes  # noqa: E402
from studio_pages import write  # noqa: E402

from keras_pianogen.midi.writing import write_midi  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402

pytest_plugins = ["studio_server", "studio_pages"]
pytestmark = ON_THE_PAGE


def load_again(page):
    expect(page.locator("#saved")).to_have_text("Kept in this browser")
    page.reload()
    expect(page.locator("#state")).to_contain_text("Ready")


def test_a_refresh_and_a_closed_tab_lose_nothing(open_page):
    page = open_page()
    asked = []
    page.on("dialog", lambda dialog: (asked.append(1), dialog.accept()))
    play_notes(page)
    write(page, candidates=2, seconds=3)
    about = page.locator(".card .about").all_text_contents()
    page.locator(".card .continue").first.click()
    load_again(page)
    expect(page.locator("#piece-about")).to_contain_text("Candidate 1")
    assert page.locator("#seconds").input_value() == "3"
    assert page.locator("#candidates").input_value() == "2"
    assert page.locator("#seed").input_value() == "7"
    page.locator("#undo").click()
    assert page.locator(".card .about").all_text_contents() == about
    expect(page.locator("#saved")).to_have_text("Kept in this browser")
    page.close(run_before_unload=True)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#piece-about")).to_contain_text("Played: 4 notes")
    other.locator("#redo").click()
    expect(other.locator("#piece-about")).to_contain_text("Candidate 1")
    assert not asked


def test_what_was_just_played_survives_a_page_that_goes_at_once(
    open_page,
):
    page = open_page()
    play_notes(page)
    page.reload()
    expect(page.locator("#piece-about")).to_contain_text("4 notes")


def test_two_tabs_do_not_overwrite_each_other(open_page):
    first = open_page()
    play_notes(first)
    expect(first.locator("#saved")).to_have_text("Kept in this browser")
    other = first.context.new_page()
    other.goto(first.url)
    expect(other.locator("#state")).to_contain_text("Ready")
    expect(other.locator("#hint")).to_be_visible()  # A work of its own.
    other.locator("[data-pitch='60']").click()
    expect(other.locator("#piece-about")).to_contain_text("1 note,")
    load_again(other)
    expect(other.locator("#piece-about")).to_contain_text("1 note,")
    load_again(first)
    expect(first.locator("#piece-about")).to_contain_text("4 notes")


def test_saved_work_is_opened_in_another_browser(
    open_page,
    tmp_path,
):
    page = open_page()
    play_notes(page)
    write(page, candidates=1)
    about = page.locator(".card .about").text_content()
    with page.expect_download() as download:
        page.locator("#save-work").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    other = open_page()
    other.locator("#file").set_input_files(path)
    expect(other.locator("#piece-about")).to_contain_text("Played: 4 notes")
    expect(other.locator(".card .about")).to_have_text(about)
    other.locator("#undo").click()
    expect(other.locator("#hint")).to_be_visible()
    content = json.loads(path.read_bytes())
    content["notes"] = {name: ["no"] for name in content["notes"]}
    path.write_text(json.dumps(content))
    other.locator("#file").set_input_files(path)
    expect(other.locator("#toast")).to_contain_text("is no work")


def test_a_server_that_is_gone_is_told_and_its_return_too(
    open_page,
):
    page = open_page()
    state = page.locator("#state")
    status = page.evaluate("fetch('/status').then((x) => x.json())")
    page.route("**/status", lambda route: route.abort())
    expect(state).to_contain_text("does not answer", **DONE)
    page.route("**/write", lambda route: route.abort())
    page.locator("#write").click()
    expect(page.locator("#progress")).to_contain_text("does not answer")
    expect(page.locator("#write")).to_be_enabled()
    page.unroute("**/status")
    step = {"state": "loading", "step": ["The model is loading …", 0.5]}
    loading = json.dumps(status | step)
    page.route("**/status", lambda route: route.fulfill(body=loading))
    expect(state).to_have_text("The model is loading …", **DONE)
    bar = page.get_by_role("progressbar", name="The model is loading …")
    expect(bar).to_have_attribute("aria-valuenow", "50")
    page.unroute("**/status")
    expect(state).to_contain_text("Ready", **DONE)


def test_a_page_without_a_token_shows_no_loading_bar(open_page):
    page = open_page()
    status = page.evaluate("fetch('/status').then((x) => x.json())")
    step = {"state": "loading", "step": ["The model is loading …", 0.5]}
    loading = json.dumps(status | step)
    page.route("**/status", lambda route: route.fulfill(body=loading))
    expect(page.locator("#loading")).to_be_visible(**DONE)
    page.unroute("**/status")
    refusal = {"status": 401, "body": json.dumps({"error": "No token."})}
    page.route("**/status", lambda route: route.fulfill(**refusal))
    expect(page.locator("#door")).to_be_visible(**DONE)
    expect(page.locator("#loading")).to_be_hidden()
    expect(page.locator("#state")).to_have_text("No token.")


UNDO = """async ([steps, moves]) => {
  const { newPiece } = await import("/pieces.js");
  const { reachable } = await import("/records.js");
  const { work } = await import("/work.js");
  const begin = work.base;
  for (let i = 0; i < steps; i++) {
    const { offers } = work.base; // Edits share them.
    work.goOn(newPiece({ moves: Array(moves), offers, notes: [i] }));
    const candidate = { from: work.base, notes: [], made: {} };
    if (!i) offers.pieces.push(newPiece(candidate));
  }
  const [candidate] = work.base.offers.pieces;
  const kept = reachable(work.base).length;
  const isThere = candidate.from.notes[0] === 0;
  let undone = 0;
  while (work.canUndo) {
    work.undo();
    undone += 1;
  }
  return [kept, isThere, undone, work.base === begin];
}"""


def test_what_undo_keeps_is_bounded_in_steps_and_in_size(open_page):
    page = open_page()
    address = f"{page.url}status"  # The page's modules alone keep nothing.

    def undo(*wanted):
        page.goto(address)
        return page.evaluate(UNDO, wanted)

    # The first piece, a candidate, and five steps.
    assert undo(5, 100) == [1 + 1 + 5, True, 5, True]
    # The piece, its steps, a candidate, and what that was written for.
    assert undo(150, 100) == [1 + 100 + 1 + 1, True, 100, False]
    assert undo(50, 200_000) == [1 + 10 + 1 + 1, True, 10, False]


def test_candidates_are_starred_compared_discarded_and_brought_back(
    open_page,
):
    page = open_page()
    play_notes(page)
    write(page, candidates=2, seconds=8)
    cards = page.locator(".card")
    cards.nth(1).locator(".star").click()
    load_again(page)
    expect(cards.nth(1).locator(".star")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(cards.nth(0).locator(".star")).to_have_attribute(
        "aria-pressed", "false"
    )
    first, second = (cards.nth(i).locator(".roll") for i in (0, 1))
    begin = cursor_of(second)
    cards.nth(0).locator(".play").click()
    heard = once(page, lambda: cursor_of(first), lambda now: now > begin + 0.5)
    cards.nth(1).locator(".play").click()
    # It goes on where the first was, and not where it would begin.
    assert (
        once(page, lambda: cursor_of(second), lambda now: now > begin) >= heard
    )
    cards.nth(0).locator(".discard").click()
    expect(cards).to_have_count(1)
    page.keyboard.press("Control+z")
    expect(cards.locator("h3")).to_have_text(["Candidate 1", "Candidate 2"])
    cards.nth(1).locator(".discard").click()
    page.locator("#toast-action").click()
    expect(cards.locator("h3")).to_have_text(["Candidate 1", "Candidate 2"])
    expect(page.locator(".primary:visible")).to_have_count(1)


def test_a_nearly_empty_candidate_is_told_and_offered_again(
    open_page,
    tmp_path,
):
    notes = np.zeros(80, NOTE_DTYPE)
    notes["start"] = np.arange(80) / 4
    notes["end"], notes["pitch"] = notes["start"] + 0.2, 60 + np.arange(80) % 9
    notes["velocity"] = 80
    write_midi(notes, tmp_path / "full.mid")
    page, seeds = open_page(), []
    page.locator("#file").set_input_files(tmp_path / "full.mid")
    expect(page.locator("#piece-about")).to_contain_text("80 notes")

    def answer(route):
        message = route.request.post_data_json
        seeds.append(message["seeds"])
        rows = [*notes.tolist(), [19.9, 20.5, 62, 80]]
        about = {"candidate": 0, "seed": message["seeds"][0]}
        lines = [about | {"start": 19.8}, about | {"notes": rows}]
        lines.append({"end": "done"})
        route.fulfill(body="".join(json.dumps(x) + "\n" for x in lines))

    page.route("**/write", answer)
    write(page, candidates=1, seconds=8)
    expect(page.locator(".card .empty")).to_be_visible()
    page.unroute("**/write")
    with page.expect_request("**/write") as asked:
        page.locator(".card .again").click()
    assert asked.value.post_data_json["seeds"] != seeds[0]
    expect(page.locator("#progress")).to_contain_text("Done", timeout=60_000)
    expect(page.locator(".card h3")).to_have_text(["Candidate 2"])


def test_notes_played_while_it_writes_are_kept_and_hide_nothing(
    open_page,
    pace,
):
    page = open_page()
    write(page, candidates=1)
    pace["seconds"] = 0.1
    page.locator("#write").click()
    expect(page.locator(".card")).to_have_count(2)
    play_notes(page)
    expect(page.locator(".card")).to_have_count(2)
    pace["seconds"] = 0.0
    expect(page.locator("#progress")).to_contain_text("Done", timeout=60_000)
    expect(page.locator("#piece-about")).to_contain_text("4 notes")
    expect(page.locator(".card")).to_have_count(2)


def test_a_key_that_goes_up_beside_shift_is_let_go(open_page):
    page = open_page()
    down = page.locator("#keys .down")
    for _ in range(2):
        page.keyboard.down(";")
        expect(down).to_have_count(1)
        page.keyboard.down("Shift")
        page.keyboard.up(":")  # The same key's name beside Shift.
        page.keyboard.up("Shift")
        expect(down).to_have_count(0)
