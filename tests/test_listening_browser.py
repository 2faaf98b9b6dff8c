"""The listening page in Debian's headless Chromium, as listeners use it."""

import functools
import http.server
import json
import threading

import pytest
from listening_pages import piece
from listening_pages import render

from keras_pianogen.listening import Key
from keras_pianogen.listening import make_page
from keras_pianogen.listening import read_ratings
from keras_pianogen.listening import report

sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect

pytestmark = [
    pytest.mark.one_backend,
    # Playwright closes its pipes whenever the garbage collector runs.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]

# The answers of the listeners in these tests.
TASTES = {"genuine": ("Good", "Yes"), "shuffled": ("Bad", "No")}
SOUNDS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page of four sounds of three seconds, and its key."""
    folder = tmp_path_factory.mktemp("listening")
    pieces = {f"{i}.mid": piece(i) for i in range(SOUNDS)}
    make_page(
        {"genuine": pieces},
        folder / "page",
        folder / "key.json",
        render=render,
        seconds=3,
        pieces=SOUNDS // 2,
    )
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """The address of the page on a static web server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=folder / "page")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def open_page(new_page, folder):
    """Opens pages. None may have an error."""

    def open_page(place=None, **kwargs):
        place = place or (folder / "page").as_uri() + "/"
        own = (place, "data:", "blob:")
        page = new_page(own, lambda m: m.type == "error", **kwargs)
        page.goto(place + "index.html")
        return page

    return open_page


def hurry(page):
    """Speeds up the playback of all following pieces."""
    page.evaluate("sound.defaultPlaybackRate = 16")


def taste(page, folder):
    """The answers for the piece that is heard."""
    sound = page.locator("#sound").get_attribute("src")
    item = sound.removeprefix("sounds/").removesuffix(".wav")
    return TASTES[Key.read(folder / "key.json").items[item]]


def expect_heard(page):
    expect(page.locator("#sound")).to_have_js_property("ended", True)


def rate_by_keys(page, folder):
    """Rates one piece with Tab, Space, the arrows and Enter alone."""
    quality, inspiring = taste(page, folder)
    page.keyboard.press("Tab")
    expect(page.locator("#sound")).to_be_focused()
    expect(page.locator("#sound")).to_have_js_property("readyState", 4)
    page.keyboard.press("Space")
    expect_heard(page)
    while page.evaluate("document.activeElement.name") != "quality":
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    for _ in range(["Good", "Average", "Bad"].index(quality)):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Space" if inspiring == "Yes" else "ArrowLeft")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")


def rate_by_clicks(page, folder):
    page.locator("#sound").click(position={"x": 28, "y": 27})
    expect_heard(page)
    for answer in taste(page, folder):
        page.get_by_label(answer, exact=True).check()
    page.locator("#next").click()


def save(page, folder):
    expect(page.locator("#thanks")).to_be_focused()
    with page.expect_download() as download:
        page.locator("#save").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_what_two_listeners_say_by_keys_and_by_clicks_is_reported(
    open_page, folder, address, tmp_path
):
    files = []
    for place, rate in ((None, rate_by_keys), (address, rate_by_clicks)):
        page = open_page(place)
        hurry(page)
        page.locator("#start").focus()
        page.keyboard.press("Enter")
        for number in range(1, SOUNDS + 1):
            words = f"Piece {number} of {SOUNDS}"
            expect(page.locator("#heading")).to_have_text(words)
            rate(page, folder)
        files.append(save(page, tmp_path))
    found = report(read_ratings(files, Key.read(folder / "key.json")))
    assert (found.listeners, found.simulated) == (2, False)
    shares = {
        condition: {answer: share.share for answer, share in of.items()}
        for condition, of in found.shares.items()
    }
    assert shares == {
        "genuine": {"good": 1, "average": 0, "bad": 0, "inspiring": 1},
        "shuffled": {"good": 0, "average": 0, "bad": 1, "inspiring": 0},
    }
    # Four sounds have 24 orders: one pair of listeners in 24 has the same.
    orders = [json.loads(path.read_text())["order"] for path in files]
    orders += [page.evaluate("begin().order") for _ in range(8)]
    assert len(set(map(tuple, orders))) > 1
    assert {tuple(sorted(order)) for order in orders} == {
        tuple(sorted(Key.read(folder / "key.json").items))
    }


def test_half_of_a_piece_is_heard_before_it_is_judged(open_page):
    page = open_page()
    hurry(page)
    page.locator("#start").click()
    missing, following = page.locator("#missing"), page.locator("#next")
    following.click()
    expect(missing).to_have_text(
        "Please listen to half of the piece or more, and say how you find it, "
        "and say whether it is inspiring."
    )
    for answer in ("Average", "No"):
        page.get_by_label(answer, exact=True).check()
    following.click()
    unheard = "Please listen to half of the piece or more."
    expect(missing).to_have_text(unheard)
    # A jump to its end does not count as hearing it.
    page.evaluate("sound.currentTime = 2.6")
    page.locator("#sound").press("Space")
    expect_heard(page)
    following.click()
    expect(missing).to_have_text(unheard)
    expect(page.locator("#heading")).to_have_text(f"Piece 1 of {SOUNDS}")
    page.evaluate("sound.currentTime = 0")
    page.locator("#sound").press("Space")
    expect_heard(page)
    following.click()
    expect(page.locator("#heading")).to_have_text(f"Piece 2 of {SOUNDS}")


def test_answers_are_kept_until_they_are_forgotten(open_page, folder):
    page = open_page()
    hurry(page)
    page.locator("#start").click()
    rate_by_clicks(page, folder)
    again = page.context.new_page()
    page.close()
    again.goto((folder / "page" / "index.html").as_uri())
    expect(again.locator("#heading")).to_have_text(f"Piece 2 of {SOUNDS}")
    listener = again.evaluate("state.listener")
    again.evaluate("showEnd()")
    again.on("dialog", lambda dialog: dialog.accept())
    again.locator("#again").click()
    expect(again.locator("#intro")).to_be_visible()
    again.reload()
    expect(again.locator("#intro")).to_be_visible()
    assert again.evaluate("state.listener") != listener


@pytest.mark.parametrize(
    "scheme, ground",
    [("light", "rgb(246, 245, 242)"), ("dark", "rgb(20, 22, 27)")],
)
def test_a_phone_shows_all_of_it_in_its_width(open_page, scheme, ground):
    page = open_page(
        viewport={"width": 320, "height": 640}, color_scheme=scheme
    )
    for part, act in (
        ("#intro", ""),
        ("#piece", "showPiece(), form.requestSubmit()"),
        ("#end", "showEnd()"),
    ):
        page.evaluate(act)
        expect(page.locator(part)).to_be_visible()
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width == 320, part
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == ground
