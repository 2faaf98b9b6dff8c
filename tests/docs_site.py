"""Tests the built documentation in Debian's headless Chromium.

`make docs-test` builds the documentation in site/ and runs these tests.
"""

import functools
import http.server
import pathlib
import runpy
import shutil
import threading
import types
import urllib.parse

import pytest
from mkdocs.exceptions import PluginError

from keras_pianogen.midi.reading import read_notes

sync_api = pytest.importorskip("playwright.sync_api")

ROOT = pathlib.Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
PAGES = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))
CHROMIUM = shutil.which("chromium")
TIMEOUT = 60_000  # ms; the machine may be busy

pytestmark = [
    # Playwright's pipes are garbage-collected at any time.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Handler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Debian's chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    context = browser.new_context()
    context.set_default_timeout(TIMEOUT)
    yield context.new_page()
    context.close()


def test_no_page_loads_anything_from_another_host(page, address):
    assert "index.html" in PAGES
    requested, errors = [], []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    for name in PAGES:
        page.goto(f"{address}/{name}", wait_until="load")
    ours = urllib.parse.urlsplit(address).netloc
    hosts = {urllib.parse.urlsplit(url).netloc for url in requested}
    assert hosts <= {ours, ""} and len(requested) > len(PAGES)
    assert not errors


def test_every_sound_is_small_and_as_long_as_its_piece(page, address):
    page.goto(f"{address}/index.html")
    sounds = sorted((SITE / "pieces").glob("*.mp3"))
    assert sounds
    for sound in sounds:
        assert sound.stat().st_size < 500_000
        seconds = page.evaluate(
            """url => new Promise((resolve, reject) => {
              const audio = new Audio(url);
              audio.onloadedmetadata = () => resolve(audio.duration);
              audio.onerror = () => reject(audio.error.message);
            })""",
            f"pieces/{sound.name}",
        )
        notes = read_notes(sound.with_suffix(".mid"))
        # The highest strings have no dampers, and ring on.
        assert notes["end"].max() - 0.1 < seconds < notes["end"].max() + 8


def test_a_click_on_a_roll_plays_from_there_and_moves_the_cursor(page):
    # Opened from disk, because Python's server can't send a part of a file.
    page.goto((SITE / "index.html").as_uri())
    figure = page.locator("figure.piece").first
    cursor = figure.locator(".cursor").first
    assert cursor.get_attribute("visibility") == "hidden"
    row = figure.locator("svg.row").first
    box = row.bounding_box()
    length = row.evaluate("row => row.viewBox.baseVal.width")
    row.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    positions = []
    for _ in range(2):
        page.wait_for_function(
            """([cursor, after]) => {
              const moved = cursor.getAttribute("transform") || "(0";
              return parseFloat(moved.split("(")[1]) > after;
            }""",
            arg=[cursor.element_handle(), positions[-1] if positions else 0],
        )
        moved = cursor.get_attribute("transform")
        positions.append(float(moved.removeprefix("translate(").rstrip(")")))
    assert positions[0] < positions[1]
    assert length / 2 - 0.5 < positions[0] < length
    assert cursor.get_attribute("visibility") == "visible"


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("temperature", "guides/samplers.html"),
        ("colab", "guides/notebooks.html"),
        ("token", "troubleshooting.html"),
    ],
)
def test_a_search_finds_the_guide_before_the_api(page, address, word, found):
    page.goto(f"{address}/index.html?q={word}")
    first = page.locator(".md-search-result__link").first
    first.wait_for()
    assert first.get_attribute("href").startswith(f"{address}/{found}")


@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_is_wider_than_the_window(browser, address, width):
    context = browser.new_context(viewport={"width": width, "height": 800})
    context.set_default_timeout(TIMEOUT)
    page = context.new_page()
    wide = []
    for name in PAGES:
        page.goto(f"{address}/{name}")
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wide.append(name)
    context.close()
    assert not wide


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("seed: 3\nsedonds: 9", "No such option: --sedonds"),
        ("seed: three", "--seed"),
        ("seconds: 9", "must have a seed"),
        ("seed: 3\nvariations: 2", "and no variations"),
        ("seed: 3\nprompt: b.mid", "no b.mid in"),
        ("seed: 3\npreset: mine", "is 'mine'"),
        ("pianogen generate", "must have options"),
        ("seed: [3", "some/page.md"),
        ("file: b.mid", "no b.mid in"),
        ("file: b.mid\nseed: 3", "no options but `caption`"),
        ("file: b.mid\ncommand: pianogen sing a.mid", "no command"),
        ("file: b.mid\ncommand: pianogen vary a.mid", "--out"),
    ],
)
def test_a_piece_that_cannot_be_made_ends_the_build(options, message):
    hook = runpy.run_path(str(ROOT / "docs" / "hooks" / "pieces.py"))
    page = types.SimpleNamespace(
        file=types.SimpleNamespace(src_path="some/page.md"), url=""
    )
    text = f"Text.\n\n```piece\n{options}\n```\n"
    with pytest.raises(PluginError, match="some/page.md") as error:
        hook["on_page_markdown"](text, page, None, None)
    assert message in str(error.value)
