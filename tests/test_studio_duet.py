"""A duet in the studio: what is played is answered, and a key ends it."""

import json

import pytest
from note_models import build_note_model

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")

from studio_server import Served  # noqa: E402

from keras_pianogen.studio.server import make_app  # noqa: E402

pytestmark = pytest.mark.one_backend

ON, OFF, CONTROL = 0x90, 0x80, 0xB0
SIGNAL = [[CONTROL, 67, 127], [CONTROL, 67, 0]]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("preset") / "notes")
    build_note_model(64).save_to_preset(folder)
    served = Served(make_app([folder]))
    served.preset = folder
    yield served
    served.close()


def play(server, takeover, on_line):
    """The lines of a duet, each given to a function as it comes."""
    wish = {"preset": server.preset, "takeover": takeover}
    lines = []
    with server.client.stream("POST", "/duet", json=wish) as answer:
        for line in answer.iter_lines():
            lines.append(json.loads(line))
            on_line(lines[-1], lines)
    return lines


def test_a_phrase_is_answered_and_a_key_silences_the_partner(server):
    post = server.client.post

    def act(line, lines):
        job = lines[0]["job"]
        if line.get("said") == "The partner listens.":
            notes = [[s, p, 80] for p in (60, 64, 67) for s in (ON, OFF)]
            if sum("said" in x for x in lines) < 4:
                keys = {"job": job, "midi": notes + SIGNAL}
                assert post("/keys", json=keys).status_code == 202
            else:
                post("/stop", json={"job": job})
        elif sum("midi" in x for x in lines) == 2:
            post("/keys", json={"job": job, "midi": [[ON, 50, 80]]})

    lines = play(server, "signal", act)
    said = [x["said"] for x in lines if "said" in x]
    assert said[1] == "The partner listens." and "answers" in said[2]
    assert lines[-1] == {"end": "stopped"}
    midi = [x["midi"] for x in lines if "midi" in x]
    down = set()
    for status, pitch, _ in midi:
        (down.add if status == ON else down.discard)(pitch)
    assert midi and not down  # Every key of the partner is up again.
    over = {"job": lines[0]["job"], "midi": SIGNAL}
    assert post("/keys", json=over).status_code == 404


@pytest.mark.parametrize(
    "fields",
    [
        {"midi": []},
        {"midi": [[ON, 60]]},
        {"midi": [[ON, 60, 128]]},
        {"midi": [[0xF0, 1, 2]]},
        {"midi": [[ON, 60, True]]},
        {"job": ""},
        {"more": 1},
    ],
    ids=str,
)
def test_bad_keys_are_refused_with_a_sentence(server, fields):
    message = {"job": "x", "midi": SIGNAL} | fields
    answer = server.client.post("/keys", json=message)
    assert answer.status_code == 400 and len(answer.json()["error"]) > 20


@pytest.mark.parametrize("takeover", [None, "key"])
def test_a_takeover_that_is_none_is_refused(server, takeover):
    message = {"preset": server.preset, "takeover": takeover}
    answer = server.client.post("/duet", json=message)
    assert answer.status_code == 400 and "takeover" in answer.json()["error"]
