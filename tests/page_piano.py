"""The studio's piano, played by its own modules in Debian's Chromium.

No server is needed: the browser gets the page's files and the piano's waves as
it asks for them. An `OfflineAudioContext` stands for the loudspeaker, so that
sound comes back as an array.
"""

import base64
import pathlib

import numpy as np

from keras_pianogen.rendering.tones import piano_json

PAGE = pathlib.Path(__file__).parents[1] / "keras_pianogen/studio/page"
ADDRESS = "http://piano.test/"
TYPES = {".js": "text/javascript", ".html": "text/html"}

PLAY = """async ([notes, moves, seconds, rate, dry, wait]) => {
  let context;
  window.AudioContext = class extends OfflineAudioContext {
    constructor() {
      super(2, Math.ceil(seconds * rate), rate);
      context = this;
    }
    async resume() {}
  };
  const { audio, load, release, strike } = await import("/sound.js");
  const { damperOf } = await import("/pedal.js");
  const { computeTones } = await import("/computing.js");
  const { fetchTones } = await import("/tones.js");
  const piano = await (await fetch("/tones")).json();
  piano.tones = piano.tones.filter(({ pitch }) =>
    notes.some((note) => Math.abs(note[2] - pitch) < 2));
  if (dry) {
    DynamicsCompressorNode = GainNode;
    piano.room = null;
  }
  const begin = performance.now();
  if (wait) await new Promise((resolve) => {
    let left = 2 * piano.tones.length;
    addEventListener("tone", () => { if (--left === 0) resolve(); });
    load(piano, piano.step ? fetchTones : computeTones("/tone_worker.js"));
  });
  const computed = (performance.now() - begin) / 1000;
  await audio();
  for (const [start, end, pitch, velocity] of notes) {
    release(strike(pitch, velocity, start), end,
      moves ? (least) => damperOf(moves, end, least) : undefined);
  }
  const sound = await context.startRendering();
  const bytes = [0, 1].map((i) => new Blob([sound.getChannelData(i)]));
  const text = await Promise.all(bytes.map((blob) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(blob);
  })));
  return [computed, ...text];
}"""


def play_in_page(
    browser,
    notes,
    seconds,
    rate,
    dry=False,
    wait=True,
    sampled=None,
    moves=None,
):
    """Plays notes in a page of their own.

    Args:
        browser: Playwright's Chromium.
        notes: a performance.
        seconds: length of the sound.
        rate: samples a second.
        dry: whether room and limiter are left out.
        wait: whether the tones are there before the first note.
        sampled: a `SampledPiano` in place of the built-in piano.
        moves: rows of time, controller and value, under which the notes are
            damped.

    Returns:
        Sound, (samples, 2), and the seconds in which its tones were computed.
    """
    page = browser.new_page()
    page.on("pageerror", lambda error: print("page:", error))
    page.route(f"{ADDRESS}**", lambda route: _answer(route, sampled))
    page.goto(ADDRESS)
    computed, *channels = page.evaluate(
        PLAY, [notes.tolist(), moves, seconds, rate, dry, wait]
    )
    page.close()
    decoded = [np.frombuffer(base64.b64decode(c), "<f4") for c in channels]
    return np.stack(decoded, axis=1), computed


def _answer(route, sampled):
    name = route.request.url.removeprefix(ADDRESS)
    if name == "tones":
        body = piano_json() if sampled is None else sampled.json()
        route.fulfill(body=body, content_type="application/json")
    elif name == "tone":
        route.fulfill(body=sampled.samples(**route.request.post_data_json))
    elif (PAGE / name).suffix in TYPES:
        kind = TYPES[(PAGE / name).suffix]
        route.fulfill(body=(PAGE / name).read_text(), content_type=kind)
    else:
        route.fulfill(body="<!doctype html>", content_type="text/html")
