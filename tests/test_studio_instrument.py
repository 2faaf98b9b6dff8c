"""The studio plays an instrument at a MIDI port in place of the page."""

import pytest

pytest.importorskip("playwright.sync_api")

from studio_pages import ON_THE_PAGE  # noqa: E402
from studio_pages import expect  # noqa: E402
from studio_pages import once  # noqa: E402
from studio_pages import open_pedalled  # noqa: E402
from studio_pages import write  # noqa: E402

pytest_plugins = ["studio_server", "studio_pages"]
pytestmark = ON_THE_PAGE

ON, OFF, CONTROL = 0x90, 0x80, 0xB0
PIANO = """
window.sent = [];
window.piano = {
  id: "p", name: "Toy piano", state: "connected", type: "output",
  send: (message, at) => window.sent.push([...message, at]),
};
window.keyboard.name = "Toy piano";  // One instrument has both ports.
window.access.outputs = new Map([["p", window.piano]]);
"""
HIDE = """
Object.defineProperty(document, "hidden", { get: () => true });
document.dispatchEvent(new Event("visibilitychange"));
"""


def sent_until(page, wanted):
    """What went to the port, once a message is among it."""
    return once(
        page,
        lambda: page.evaluate("sent"),
        lambda sent: wanted in [message[:3] for message in sent],
    )


def test_a_piece_sounds_at_a_port_with_its_pedal_and_falls_silent(
    open_page,
    tmp_path,
):
    page = open_page()
    page.evaluate(PIANO)
    page.locator("#use-midi").click()
    expect(page.locator("#piano")).to_contain_text("Sounds as")
    page.locator("#output").select_option(label="Toy piano")
    expect(page.locator("#piano")).to_be_hidden()
    open_pedalled(page, tmp_path)
    page.locator("#piece-play").click()
    sent = sent_until(page, [OFF, 64, 0])
    of_keys = [m[:3] for m in sent if m[0] != CONTROL]
    assert of_keys == [[ON, 60, 80], [OFF, 60, 0], [ON, 64, 80], [OFF, 64, 0]]
    times = {tuple(m[:3]): m[3] for m in sent}
    begin = times[ON, 60, 80]
    # Keys go up when they went up, and the pedal holds the strings.
    assert times[OFF, 60, 0] - begin == pytest.approx(200, abs=2)
    assert times[CONTROL, 64, 127] - begin == pytest.approx(110, abs=2)
    assert page.evaluate("heard()")[1] == 0  # The page is silent meanwhile.

    expect(page.locator("#piece-play")).to_have_attribute(
        "aria-label", "Play your piece"
    )
    page.evaluate("sent.length = 0")
    # What is played on the instrument itself isn't sent back to it.
    page.evaluate("keyboard.onmidimessage({ data: [0x90, 72, 80] })")
    page.locator("[data-pitch='60']").hover()
    page.mouse.down()
    expect(page.locator("#keys .down")).to_have_count(2)
    page.evaluate(HIDE)
    sent = sent_until(page, [CONTROL, 123, 0])
    assert [OFF, 60, 0] in [message[:3] for message in sent]
    assert all(message[1] != 72 for message in sent)
    page.mouse.up()


def test_music_that_is_written_for_a_hidden_page_sounds_at_no_port(
    open_page,
):
    page = open_page()
    page.evaluate(PIANO)
    page.locator("#use-midi").click()
    page.locator("#output").select_option(label="Toy piano")
    page.evaluate(HIDE)
    page.evaluate("sent.length = 0")
    write(page, candidates=1, seconds=2)
    assert page.evaluate("sent") == []
    play = page.locator(".card .play")
    expect(play).to_have_attribute("aria-label", "Play Candidate 1")
    page.locator("#output").select_option(label="this page")
    write(page, candidates=1, seconds=9)  # The page itself plays when hidden.
    expect(play.first).to_have_attribute("aria-label", "Pause Candidate 2")


def test_of_two_tabs_the_one_last_used_hears_the_keyboard(open_page):
    first = open_page()
    other = first.context.new_page()
    other.goto(first.url)
    strike = "data => keyboard.onmidimessage({ data })"
    down = [page.locator("[data-pitch='60']") for page in (first, other)]

    def expect_heard_by(*heard):
        for page, key, is_heard in zip((first, other), down, heard):
            page.evaluate(strike, [ON, 60, 99])
            expect(key).to_have_class("white down" if is_heard else "white")
            page.evaluate(strike, [OFF, 60, 0])

    first.locator("#use-midi").click()
    other.evaluate("dispatchEvent(new Event('focus'))")  # It uses no keyboard.
    first.evaluate(strike, [ON, 60, 99])
    expect(down[0]).to_have_class("white down")
    other.locator("#use-midi").click()
    expect(down[0]).to_have_class("white")  # What it held is let go.
    expect_heard_by(False, True)
    first.evaluate("dispatchEvent(new Event('focus'))")
    expect_heard_by(True, False)


PAUSED = """async () => {
  const { Instrument } = await import("/instrument.js");
  const { audio } = await import("/sound.js");
  const sent = [];
  const instrument = new Instrument({ send: (message) => sent.push(message) });
  const now = audio().currentTime;
  for (const number of [64, 7, 91]) instrument.control(number, 20, now);
  instrument.control(64, 127, now + 60);
  instrument.rest();
  instrument.close();
  return [sent, instrument.waiting.length];
}"""
AT_THE_SEAM = """async () => {
  const { playedMoves } = await import("/pedal.js");
  const moves = [[0, 7, 20], [1, 64, 127], [9, 64, 0]];
  const notes = [{ start: 1, up: 2 }, { start: 5 }, { start: 6 }];
  const of = (border, gap) => playedMoves({ notes, moves, border, gap });
  return [of(5), of(0).length, of(5, { start: 5, end: 6 }).length];
}"""


STANDS_STILL = """Object.defineProperties(BaseAudioContext.prototype, {
  state: { get: () => "suspended" }, currentTime: { get: () => 0 },
})"""


def test_that_a_browser_plays_no_sound_is_said(
    open_page,
    tmp_path,
):
    page = open_page()
    open_pedalled(page, tmp_path)
    page.evaluate(STANDS_STILL)
    page.locator("#piece-play").click()
    expect(page.locator("#toast")).to_contain_text("plays no sound")


DAMPED = """async () => {
  const { player } = await import("/transport.js");
  const moves = [[0, 64, 32]];
  const [first, again, other] = [[0, 1, 60], [1, 2, 60], [1, 2, 61]]
    .map(([start, end, pitch]) => ({ start, end, up: end, pitch }));
  player.piece = { notes: [first, again, other], moves };
  const damper = player.damper(other);
  const { up, ...unread } = other;
  const { movesUntil } = await import("/pedal.js");
  return [player.damper(first), player.damper(unread),
    damper(0.2).seconds, damper(0.2).ways.at(-1),
    movesUntil([[0, 64, 32], [0, 67, 0], [3, 66, 90]], 2).slice(2)];
}"""


def test_a_file_s_notes_are_damped_under_its_pedal(open_page):
    # Neither a note that is struck again, nor one that is of no file.
    found = open_page().evaluate(DAMPED)
    assert found[:2] == [None, None]
    assert found[2:4] == pytest.approx([0.4, 1])
    assert found[4] == [[2, 64, 0]]  # New music goes on without it.


def test_controllers_come_to_rest_where_a_file_s_music_stops(open_page):
    page = open_page()
    sent, waiting = page.evaluate(PAUSED)
    moved = [[CONTROL, number, 20] for number in (64, 7, 91)]
    at_pause = [[CONTROL, 64, 0], [CONTROL, 7, 100]]
    at_close = [[CONTROL, number, 0] for number in (64, 66, 67, 123)]
    assert (sent, waiting) == (moved + at_pause + at_close, 0)
    goes_on, *others = page.evaluate(AT_THE_SEAM)
    assert goes_on == [[0, 7, 20], [1, 64, 127], [5, 64, 0], [5, 7, 100]]
    assert others == [3, 3]  # A file alone, and one with a part written anew.
