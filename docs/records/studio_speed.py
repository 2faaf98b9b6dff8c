"""Measure the studio in Debian's Chromium: ready, first note, zoom.

    python docs/records/studio_speed.py PROMPT.mid ...

It starts `pianogen serve` and prints, as a table:

- seconds from the command to "Ready" on the page, with nothing compiled kept
  from before, and once more;
- milliseconds from a click on *Write* to the first new note on the page, from
  nothing and after each prompt: at once after the file was opened, and the
  median and the largest of ten further clicks;
- while the last prompt is zoomed for 120 frames: the median and the 95th
  percentile of the time between two frames, and the main thread's work a
  frame.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from playwright.sync_api import Error
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.table import Table

CLICKS = 10
PATIENCE = 180_000  # ms

# Clicks, and waits for the frame that shows the first note that was not in the
# prompt: then the page says how long it took until it came.
FIRST_NOTE = """() => new Promise(done => {
  const { dataset } = document.querySelector("#progress");
  delete dataset.firstNote;
  const began = performance.now();
  document.querySelector("#write").click();
  const look = () => {
    if (dataset.firstNote) done(performance.now() - began);
    else requestAnimationFrame(look);
  };
  look();
})"""
# Zooms in and out about the middle, once a frame.
ZOOM = """() => new Promise(done => {
  const roll = document.querySelector("#piece-roll");
  const { left, width, top } = roll.getBoundingClientRect();
  const frames = [];
  const step = now => {
    frames.push(now);
    if (frames.length > 120) return done(frames);
    const deltaY = frames.length % 60 < 30 ? -40 : 40;
    roll.dispatchEvent(new WheelEvent("wheel", {
      deltaY, ctrlKey: true, bubbles: true, cancelable: true,
      clientX: left + width / 2, clientY: top + 20,
    }));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


class Studio:
    """A studio that runs, and a browser for it."""

    def __init__(self, playwright, compiled):
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": compiled}
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [pathlib.Path(sys.executable).parent / "pianogen", "serve",
             "--port", "8791"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )

    def open(self, **context):
        """A new visitor's page, when the studio is ready."""
        page = self.browser.new_context(**context).new_page()
        page.set_default_timeout(PATIENCE)
        while True:
            if self.process.poll() is not None:
                raise RuntimeError("The studio ended: is its port in use?")
            try:
                page.goto("http://127.0.0.1:8791/")
                break
            except Error:  # It doesn't listen yet.
                time.sleep(0.1)
        page.locator("#state", has_text="Ready").wait_for()
        return page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.browser.close()
        self.process.terminate()
        self.process.wait()


def click(page):
    """Milliseconds from a click on *Write* to the first note."""
    spent = page.evaluate(FIRST_NOTE)
    page.locator("#stop").click()
    page.locator("#stop[aria-disabled=true]").wait_for()
    while page.locator("#cards .discard").count():
        page.locator("#cards .discard").first.click()
    return spent


def clicks(page, count=CLICKS):
    found = [click(page) for _ in range(count)]
    return f"{statistics.median(found):.0f}, at most {max(found):.0f}"


def zoomed(page):
    """Milliseconds between frames, and of the main thread a frame."""
    tool = page.context.new_cdp_session(page)
    tool.send("Performance.enable")

    def busy():
        found = tool.send("Performance.getMetrics")["metrics"]
        return {x["name"]: x["value"] for x in found}["TaskDuration"] * 1000

    before = busy()
    frames = page.evaluate(ZOOM)
    work = (busy() - before) / (len(frames) - 1)
    between = sorted(b - a for a, b in zip(frames, frames[1:], strict=False))
    middle, late = (between[int(len(between) * x)] for x in (0.5, 0.95))
    return f"{middle:.1f}, 95 % under {late:.1f}; main thread {work:.1f}"


def main(prompts):
    table = Table("what", "measured")
    with tempfile.TemporaryDirectory() as compiled, sync_playwright() as plays:
        for kept in ("nothing kept", "kept"):
            with Studio(plays, compiled) as studio:
                page = studio.open()
                spent = time.perf_counter() - studio.began
                table.add_row(f"ready, {kept}", f"{spent:.1f} s")
                if kept == "nothing kept":
                    continue
                click(page)
                table.add_row("first note, from nothing", clicks(page) + " ms")
                for prompt in prompts:
                    page = studio.open()
                    page.locator("#file").set_input_files(prompt)
                    page.locator("#piece-play:not([disabled])").wait_for()
                    name = pathlib.Path(prompt).stem
                    at_once = click(page)
                    table.add_row(
                        f"first note after {name}",
                        f"{clicks(page)} ms; at once {at_once:.0f} ms",
                    )
                table.add_row("frames while zooming", zoomed(page) + " ms")
    Console(width=110).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
