"""The studio's page in Debian's headless Chromium, and what is done there.

A file of tests names this module in `pytest_plugins`, after `studio_server`.
Each test process makes one server of two presets.
"""

import time

import keras
import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")
sync_api = pytest.importorskip("playwright.sync_api")

from miditoolkit import ControlChange  # noqa: E402
from note_models import build_note_model  # noqa: E402
from studio_server import PATIENCE  # noqa: E402
from studio_server import Served  # noqa: E402

from keras_pianogen.midi.writing import write_midi  # noqa: E402
from keras_pianogen.models.extending import extended  # noqa: E402
from keras_pianogen.notes import NOTE_DTYPE  # noqa: E402
from keras_pianogen.studio import composer  # noqa: E402
from keras_pianogen.studio.server import make_app  # noqa: E402

expect = sync_api.expect
DONE = {"timeout": 1000 * PATIENCE}  # Playwright counts milliseconds.


ON_THE_PAGE = [
    # The page is the same on all backends.
    pytest.mark.skipif(
        keras.config.backend() != "jax", reason="on the studio's own choice"
    ),
    # Which of Playwright's pipes is collected when is not ours to say.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),
]


# Listens in where the page's sound goes to, and stands in for a MIDI keyboard.
LISTEN = """
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...more) {
  if (to instanceof AudioDestinationNode) {
    const ear = new AnalyserNode(this.context);
    connect.call(this, ear);
    window.heard = () => {
      const samples = new Float32Array(ear.fftSize);
      ear.getFloatTimeDomainData(samples);
      return [this.context.currentTime, Math.max(...samples.map(Math.abs))];
    };
  }
  return connect.call(this, to, ...more);
};
window.keyboard = { name: "Toy keys", state: "connected", type: "input" };
window.access = { inputs: new Map([["a", window.keyboard]]) };
navigator.requestMIDIAccess = async () => window.access;
"""


# Keeps all that is said in a place, however short it stands there.
WATCH = """place => {
  window.told = new Set();
  new MutationObserver(() => {
    const about = document.querySelector(place);
    if (about) window.told.add(about.textContent);
  }).observe(document.body, {
    subtree: true, childList: true, characterData: true,
  });
}"""


@pytest.fixture(scope="session")
def pace():
    """Seconds that each few events take at least."""
    return {"seconds": 0.0}


@pytest.fixture(scope="session")
def notes_preset(tmp_path_factory):
    """Another preset, of notes, which fills gaps."""
    folder = tmp_path_factory.mktemp("run") / "preset"
    extended(build_note_model(), infilling=0.5).save_to_preset(str(folder))
    return folder


@pytest.fixture(scope="session")
def studio(preset, notes_preset, pace):
    call = composer._Feed.__call__

    def wait(self, pieces):
        time.sleep(pace["seconds"])
        call(self, pieces)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composer._Feed, "__call__", wait)
        served = Served(make_app([preset, str(notes_preset)]))
        yield served
        served.close()


@pytest.fixture
def open_page(new_page, studio, pace):
    """Opens pages of the studio, which may ask for what its policy allows."""
    home = f"http://{studio.address}/"

    def open_page(**kwargs):
        page = new_page(
            (home, f"blob:{home}"),
            lambda message: "Content Security" in message.text,
            **kwargs,
        )
        page.context.add_init_script(LISTEN)
        page.goto(home)
        expect(page.locator("#state")).to_contain_text("Ready", **DONE)
        return page

    pace["seconds"] = 0.0
    yield open_page
    pace["seconds"] = 0.0


def once(page, found, is_right):
    """What is found on a page as soon as it is right, or after long."""
    deadline = time.monotonic() + PATIENCE
    while not is_right(value := found()):
        assert time.monotonic() < deadline, value
        page.wait_for_timeout(20)
    return value


def cursor_of(roll):
    """Where the cursor of a roll is, in seconds."""
    return float(roll.get_attribute("aria-valuenow"))


def play_notes(page):
    """Four notes by the letters of the keyboard."""
    page.locator("#keys button").first.focus()
    for letter in "adgk":
        page.keyboard.down(letter)
        page.wait_for_timeout(60)
        page.keyboard.up(letter)
    expect(page.locator("#piece-about")).to_contain_text("4 notes")


def open_pedalled(page, folder):
    """A file in which the pedal holds the first of two notes."""
    notes = np.array([(0, 0.2, 60, 80), (0.5, 0.9, 64, 80)], NOTE_DTYPE)
    file = write_midi(notes)
    file.instruments[0].control_changes = [
        ControlChange(64, value, tick)
        for value, tick in ((30, 50), (90, 100), (127, 110), (0, 700))
    ]
    file.dump(folder / "pedalled.mid")
    page.locator("#file").set_input_files(folder / "pedalled.mid")
    expect(page.locator("#piece-about")).to_contain_text("pressed 1 time")


def choose(page, seconds=4, candidates=2, seed="7"):
    page.locator("#seconds").fill(str(seconds))
    page.locator("#candidates").select_option(str(candidates))
    page.locator("#seed").fill(seed)


def write(page, **kwargs):
    choose(page, **kwargs)
    page.locator("#write").click()
    expect(page.locator("#progress")).to_contain_text("Done", **DONE)
