"""Film the studio: a piece is opened, continued three times, and one is kept.

    PIANOGEN_SOUNDFONT=built-in python docs/records/studio_clip.py \\
        docs/images/studio.mp4

It plays the page of `pianogen serve` in Debian's Chromium, with seed 7. The
program `ffmpeg` joins the frames that the browser draws. On a busy machine
there are fewer frames.
"""

import base64
import pathlib
import subprocess
import sys
import tempfile

from playwright.sync_api import sync_playwright
from studio_speed import Studio

PIECE = "tests/data/scarlatti_k_525.midi"
SIZE = {"width": 1200, "height": 1100}  # All of it is seen at once.
RATE = 20  # frames a second
# A pointer, because a browser without a screen draws none.
POINTER = """() => {
  const dot = document.createElement("div");
  dot.style.cssText = "position: fixed; z-index: 9; width: 22px; height: 22px;"
    + "margin: -11px; border-radius: 50%; pointer-events: none;"
    + "background: #e6862299; border: 2px solid #fff; transition: scale .15s";
  document.body.append(dot);
  addEventListener("pointermove", ({ clientX, clientY }) => {
    dot.style.left = `${clientX}px`;
    dot.style.top = `${clientY}px`;
  }, true);
  addEventListener("pointerdown", () => { dot.style.scale = "0.6"; }, true);
  addEventListener("pointerup", () => { dot.style.scale = "1"; }, true);
}"""


class Film:
    """Keeps each frame that a page draws, with its time in seconds."""

    def __init__(self, page):
        self.frames = []
        self._tool = page.context.new_cdp_session(page)
        self._tool.on("Page.screencastFrame", self._keep)
        self._tool.send(
            "Page.startScreencast", {"format": "jpeg", "quality": 92}
        )

    def _keep(self, frame):
        self.frames.append(
            (frame["metadata"]["timestamp"], base64.b64decode(frame["data"]))
        )
        self._tool.send(
            "Page.screencastFrameAck", {"sessionId": frame["sessionId"]}
        )

    def write(self, path):
        """Write a film of H.264."""
        self._tool.send("Page.stopScreencast")
        times = [time for time, _ in self.frames]
        lengths = [b - a for a, b in zip(times, times[1:], strict=False)]
        with tempfile.TemporaryDirectory() as folder:
            rows = ["ffconcat version 1.0"]
            for i, (_, data) in enumerate(self.frames):
                pathlib.Path(folder, f"{i}.jpg").write_bytes(data)
                seconds = [*lengths, 1.0][i]
                rows += [f"file {i}.jpg", f"duration {seconds:.4f}"]
            rows.append(f"file {len(self.frames) - 1}.jpg")
            table = pathlib.Path(folder, "frames")
            table.write_text("\n".join(rows))
            options = f"-r {RATE} -c:v libx264 -crf 27 -preset veryslow"
            options += " -pix_fmt yuv420p -movflags +faststart -y"
            subprocess.run(
                ["ffmpeg", "-loglevel", "error", "-i", table, *options.split(),
                 path],
                check=True,
            )  # fmt: skip


def play(page):
    """What somebody does who opens a piece and continues it."""

    def click(place, pause=500):
        page.locator(place).first.scroll_into_view_if_needed()
        box = page.locator(place).first.bounding_box()
        x, y = (
            box[a] + box[b] / 2 for a, b in (("x", "width"), ("y", "height"))
        )
        page.mouse.move(x, y, steps=15)
        page.mouse.down()
        page.wait_for_timeout(120)
        page.mouse.up()
        page.wait_for_timeout(pause)

    page.wait_for_timeout(800)
    page.locator("#file").set_input_files(PIECE)
    page.locator("#piece-play:not([disabled])").wait_for()
    page.wait_for_timeout(1500)
    click("#write", 4500)
    page.locator("#progress", has_text="Done").wait_for()
    click(".card:nth-child(2) .play", 2500)
    click(".card:nth-child(2) .star")
    click(".card:nth-child(2) .continue", 1200)
    click("#zoom-in")
    click("#zoom-in", 1500)


def main(path):
    with (
        sync_playwright() as plays,
        tempfile.TemporaryDirectory() as compiled,
        Studio(plays, compiled) as studio,
    ):
        page = studio.open(viewport=SIZE)
        page.locator("#seed").fill("7")
        page.locator("#seconds").fill("8")
        page.locator("#seconds").dispatch_event("input")
        page.locator("#write").click()  # All is compiled when the film begins.
        page.locator("#progress", has_text="Done").wait_for()
        while page.locator(".card .discard").count():
            page.locator(".card .discard").first.click()
        page.locator("#toast").wait_for(state="hidden")
        page.evaluate("scrollTo(0, 0)")
        page.evaluate(POINTER)
        film = Film(page)
        play(page)
        film.write(path)


if __name__ == "__main__":
    main(sys.argv[1])
