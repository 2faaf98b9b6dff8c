"""The studio's server in tests: fixtures, and who asks it.

A file of tests names this module in `pytest_plugins`. Each test process makes
one server.
"""

import json
import socket
import threading
import time

import keras
import pytest

pytest.importorskip("starlette")
uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx2")

from keras_pianogen.events import EventVocabulary  # noqa: E402
from keras_pianogen.models import MusicTransformerBackbone  # noqa: E402
from keras_pianogen.models import MusicTransformerCausalLM  # noqa: E402
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor  # noqa: E402
from keras_pianogen.models import PerformanceTokenizer  # noqa: E402
from keras_pianogen.studio import composer  # noqa: E402
from keras_pianogen.studio import connections  # noqa: E402
from keras_pianogen.studio import server as studio_server  # noqa: E402
from keras_pianogen.studio.server import make_app  # noqa: E402

PATIENCE = 60  # seconds; the machine may be busy
NOTES = [[0.0, 0.5, 60, 80], [0.5, 1.0, 64, 70], [1.0, 1.5, 67, 75]]


@pytest.fixture(scope="session")
def preset(tmp_path_factory):
    """The folder of a tiny, untrained preset, called as somebody might."""
    keras.utils.set_random_seed(0)
    vocabulary = EventVocabulary.named("magenta")
    model = MusicTransformerCausalLM(
        MusicTransformerBackbone(
            vocabulary_size=len(vocabulary),
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
            max_sequence_length=128,
        ),
        MusicTransformerCausalLMPreprocessor(
            PerformanceTokenizer.from_vocabulary(vocabulary),
            sequence_length=64,
        ),
    )
    folder = tmp_path_factory.mktemp("preset") / "my <b>tiny<i>'s ü [1] & 2"
    model.save_to_preset(folder)
    return str(folder)


class Served:
    """A server in a thread of its own, and a client of it."""

    def __init__(self, app):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            http=connections.PromptConnection,
            lifespan="on",
            ws="none",
            log_level="error",
            timeout_keep_alive=1,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.listener]}
        )
        self.thread.start()
        self.client = httpx.Client(
            base_url=f"http://{self.address}", timeout=60, trust_env=False
        )

    def write(self, on_line=None, **fields):
        """Every line that the server answers to a wish."""
        lines = []
        with self.client.stream("POST", "/write", json=fields) as answer:
            if answer.status_code != 200:
                answer.read()
                return answer
            for line in answer.iter_lines():
                lines.append(json.loads(line))
                if on_line is not None:
                    on_line(lines[-1])
        return lines

    def close(self):
        self.client.close()
        self.server.should_exit = True
        self.thread.join(20)
        self.listener.close()
        assert not self.thread.is_alive()


class Slow:
    """In a composer's place: writes 0.1 s of silence every 20 ms."""

    presets = ["slow"]
    state, step, failure = "ready", ("", 1.0), None
    preparations = loaded = ()
    steps = 0  # of all jobs

    def write(self, wish, job):
        for step in range(round(10 * wish.settings["seconds"])):
            time.sleep(0.02)
            job.check()
            Slow.steps += 1
            job.report({"candidate": 0, "events": [], "until": step / 10})


@pytest.fixture(scope="session")
def model(preset):
    return MusicTransformerCausalLM.from_preset(preset)


@pytest.fixture(scope="session")
def server(preset):
    """A server of the tiny preset."""
    served = Served(make_app([preset]))
    served.client.get("/status")  # It has started.
    yield served
    served.close()


@pytest.fixture
def serve_slow(monkeypatch):
    """Makes servers that write slowly, and closes them."""
    monkeypatch.setattr(studio_server, "Composer", lambda presets: Slow())
    made = []

    def serve(**kwargs):
        made.append(Served(make_app(["slow"], **kwargs)))
        return made[-1]

    yield serve
    for served in made:
        served.close()


def wish(name, /, **fields):
    return {"preset": name, "notes": [], "seconds": 2, "seeds": [1]} | fields


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="session")
def client():
    """A client of a server whose preset is not there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composer.Composer, "preparations", ())
        served = Served(make_app(["nowhere"]))
        served.client.get("/status")  # It has started.
    yield served.client
    served.close()
