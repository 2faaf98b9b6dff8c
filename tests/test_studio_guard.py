"""What the studio's server refuses, and what it survives."""

import contextlib
import json
import random
import socket
import threading
import time

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("httpx2")

from studio_server import NOTES  # noqa: E402
from studio_server import wait_until  # noqa: E402
from studio_server import wish  # noqa: E402

from keras_pianogen.studio import connections  # noqa: E402
from keras_pianogen.studio import fields  # noqa: E402
from keras_pianogen.studio import server as studio_server  # noqa: E402
from keras_pianogen.studio import serving  # noqa: E402

pytest_plugins = ["studio_server"]
pytestmark = pytest.mark.one_backend


def test_every_answer_has_the_headers(client):
    for path in ("/", "/studio.js", "/status", "/nowhere"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers or headers["server"] == "uvicorn"


def test_the_page_names_no_other_host(client):
    parts = [x.name for x in studio_server.PAGE.iterdir()]
    for name in ("", *(x for x in parts if x.endswith((".js", ".css")))):
        text = client.get(f"/{name}").text
        text = text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "192.168.0.7:8765"},
        {"host": "localhost:"},
        {"host": "localhost:port"},
        {"host": "localhost:80:80"},
        {"host": "localhost:99999"},
        {"host": "127.0.0.1:8765@evil.example"},
        {"host": "127.0.0.1/evil.example"},
        {"host": "[::1"},
        {"host": "[::1]evil.example"},
        {"host": "[::1]]:80"},
        {"host": "[localhost]"},
        {"host": "[127.0.0.1]:80"},
        {"host": "::1"},
        {"host": "localhost."},
        {"origin": "evil://{}"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_sites_may_not_ask(client, headers):
    here = f"{client.base_url.host}:{client.base_url.port}"
    headers = {name: value.format(here) for name, value in headers.items()}
    answer = client.post("/midi", json={"notes": NOTES}, headers=headers)
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "host", ["LOCALHOST", "[::1]:80", "[0:0::1]", "127.0.0.1"]
)
def test_this_machine_s_names_are_known(client, host):
    answer = client.get("/status", headers={"host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"title": None},
        {"title": ""},
        {"notes": []},
        {"recipe": []},
        {"recipe": {"a": 1}},
        {"recipe": {str(i): "x" for i in range(21)}},
        {"recipe": {"a": 4001 * "x"}},
        {"prompt_seconds": -1},
        {"other": 1},
    ],
    ids=str,
)
def test_a_bad_page_is_refused_with_a_sentence(client, fields):
    message = {"notes": NOTES, "title": "x", "recipe": {"a": "b"}}
    assert client.post("/page", json=message).status_code == 200
    answer = client.post("/page", json=message | fields)
    assert answer.status_code == 400 and len(answer.json()["error"]) > 20


def test_a_body_is_counted_as_it_comes(client):
    def endless():
        for _ in range(50):
            yield bytes(100_000)

    for path, kind in (("/read", "audio/midi"), ("/write", "application/json")):
        answer = client.post(
            path, content=endless(), headers={"content-type": kind}
        )
        assert answer.status_code == 413


def test_a_broken_midi_file_is_explained(client):
    for data in (b"", b"no MIDI", b"MThd\0\0\0\6\0\1\0\1\1\0MTrk\0\0\0\4\0"):
        answer = client.post(
            "/read", content=data, headers={"content-type": "audio/midi"}
        )
        assert answer.status_code == 400
        assert len(answer.json()["error"]) > 20


BAD_WISHES = [
    {"preset": "../../etc"},
    {"preset": 3},
    {"seconds": 0},
    {"seconds": 1e9},
    {"seconds": "5"},
    {"seconds": True},
    {"seeds": []},
    {"seeds": [1] * 5},
    {"seeds": [-1]},
    {"seeds": [1.5]},
    {"temperature": 0},
    {"temperature": None},
    {"min_p": 2},
    {"top_p": 0},
    {"min_p": 0.1, "top_p": 0.9},
    {"max_note_seconds": 0},
    {"prompt_seconds": -1},
    {"prompt_seconds": "end"},
    {"max_note_seconds": "8"},
    {"notes": None},
    {"notes": [[0, 1, 60]]},
    {"notes": [[0, 1, 60, "80"]]},
    {"notes": [[1, 0, 60, 80]]},
    {"notes": [[0, 1, 128, 80]]},
    {"notes": [[0, 1, 60, 0]]},
    {"notes": [[0, 1, 60.5, 80]]},
    {"notes": [[0, 1e8, 60, 80]]},
    {"notes": [[0, 7199, 60, 80]]},
    {"notes": [[-1, 1, 60, 80]]},
    {"notes": [[0, 10**400, 60, 80]]},
    {"more": 1},
    {"seconds": "\ud800"},
    {"seeds": ["\udfff"]},
    {"preset": "\ud800"},
    {"\ud800": 1},
]


@pytest.mark.parametrize(
    "fields",
    [
        {"preset": "x"},
        {"notes": []},
        {"notes": [[1, 0, 60, 8]]},
        {"seeds": [1]},
        {"prompt_seconds": None},
    ],
    ids=str,
)
def test_a_bad_prompt_is_refused_with_a_sentence(client, fields):
    message = {"preset": "nowhere", "notes": NOTES} | fields
    answer = client.post("/prompt", json=message)
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 15


@pytest.mark.parametrize("fields", BAD_WISHES, ids=str)
def test_a_bad_wish_is_refused_with_a_sentence(client, fields):
    content = json.dumps(wish("nowhere", **fields))
    answer = client.post(
        "/write", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400
    assert len(answer.json()["error"]) > 15


def test_many_notes_are_checked_while_others_are_answered(client, monkeypatch):
    checked = threading.Event()

    def check(notes):
        assert checked.wait(10)
        return notes

    monkeypatch.setattr(fields, "check_notes", check)
    sent = threading.Thread(
        target=client.post, args=("/midi",), kwargs={"json": {"notes": NOTES}}
    )
    sent.start()
    try:
        assert client.get("/status").status_code == 200
    finally:
        checked.set()
        sent.join()


def test_a_sound_whose_client_left_is_stopped_and_dropped(
    serve_slow, monkeypatch
):
    begun, ended = [], []

    def render(notes, path, *, progress, **_):
        begun.append(path)
        try:
            while True:
                time.sleep(0.01)
                progress(0.5)
        finally:
            ended.append(path)

    monkeypatch.setattr(studio_server.synthesis, "render", render)
    server = serve_slow(max_waiting=4)
    where = server.address.split(":")
    clients = [socket.create_connection(where) for _ in range(5)]
    for client in clients:
        client.sendall(wav_request(server.address))
    wait_until(lambda: begun)
    refused = server.client.post("/wav", json={"notes": NOTES})
    for client in clients:
        client.close()
    assert server.write(**wish("slow", seconds=0.1))[-1] == {"end": "done"}
    # A job may begin before its own client is missed, but not all of them do.
    assert 1 <= len(begun) == len(ended) < len(clients)
    assert refused.status_code == 503


def test_a_head_that_does_not_come_closes_the_connection(
    serve_slow, monkeypatch
):
    monkeypatch.setattr(connections, "HEAD_TIMEOUT", 0.3)
    address = serve_slow().address
    whole = f"GET /icon.svg HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()

    def answer(sent, times=1):
        """All that comes back until the connection is closed."""
        host, port = address.split(":")
        received = b""
        with (
            socket.create_connection((host, int(port)), 5) as client,
            contextlib.suppress(ConnectionResetError),
        ):
            for _ in range(times):
                client.sendall(sent)
                time.sleep(0.2)
            while part := client.recv(10_000):
                received += part
        return received

    assert answer(b"") == answer(b"GET /") == answer(whole[:-2]) == b""
    assert answer(whole + b"GET /").count(b"HTTP/1.1 200 OK") == 1
    # A client that asks again and again is kept until it begins in vain.
    assert answer(whole, 3).count(b"HTTP/1.1 200 OK") == 3


def test_an_answer_that_nobody_reads_closes_the_connection(
    serve_slow, monkeypatch
):
    monkeypatch.setattr(connections, "READ_TIMEOUT", 0.3)

    def render(notes, path, *, progress, **_):
        path.write_bytes(bytes(30_000_000))

    monkeypatch.setattr(studio_server.synthesis, "render", render)
    server = serve_slow()
    answer = server.client.post("/wav", json={"notes": NOTES})
    assert len(answer.content) == 30_000_000
    server.client.close()
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(wav_request(server.address))
        open_ones = server.server.server_state.connections
        wait_until(lambda: open_ones)
        wait_until(lambda: not open_ones)


def wav_request(address):
    body = json.dumps({"notes": NOTES}).encode()
    head = (
        f"POST /wav HTTP/1.1\r\nHost: {address}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def test_two_hundred_bad_requests_give_no_5xx(client):
    rng = random.Random(0)
    good = json.dumps(wish("nowhere", notes=NOTES)).encode()
    bodies = [b"", b"{}", b"[]", b"null", b"NaN", b"[" * 5000, b"\xff\xfe"]
    bodies += [
        b'{"notes": [[1e999, 1, 1, 1]]}',
        b'{"job": null}',
        b'{"a":' * 99,
    ]
    codes = set()
    for turn in range(200):
        body = rng.choice(bodies)
        if turn % 2:
            at = rng.randrange(len(good))
            body = good[:at] + rng.randbytes(3) + good[at + rng.randrange(9) :]
        answer = client.request(
            rng.choice(["POST", "POST", "POST", "GET", "PUT", "DELETE"]),
            rng.choice(
                ["/write", "/stop", "/read", "/midi", "/wav", "/", "/../x"]
                + ["/prompt", "/infill", "/status", "/%00", "/write/1"]
                + ["/page", "/duet", "/keys"]
                + ["/studio.js/..%2f"]
            ),
            content=body,
            headers={
                "content-type": rng.choice(
                    ["application/json", "audio/midi", "text/plain", "a"]
                )
            },
        )
        assert answer.status_code < 500, (turn, body)
        codes.add(answer.status_code)
    assert {200, 400, 404, 405, 415} <= codes


def test_raw_nonsense_gives_no_5xx(client):
    where = client.base_url.host, client.base_url.port
    for data in (
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n",
        b"POST /write HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ):
        with socket.create_connection(where, 5) as connection:
            connection.sendall(data)
            answer = connection.recv(100)
        assert answer[9:10] in (b"", b"2", b"4"), data


def test_a_token_is_asked_for_but_not_for_the_page_itself(serve_slow):
    token = "a long enough token"
    client = serve_slow(host="0.0.0.0", token=token).client
    assert client.get("/").status_code == 200
    assert client.get("/status").status_code == 401
    wrong = {"authorization": "Bearer a long enough tokem"}
    assert client.get("/status", headers=wrong).status_code == 401
    right = {"authorization": f"Bearer {token}"}
    assert client.get("/status", headers=right).status_code == 200


def test_other_addresses_need_a_token():
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        serving.check_address(host, None)
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org"):
        with pytest.raises(ValueError, match="--token"):
            serving.check_address(host, None)
        serving.check_address(host, "a long enough token")
    with pytest.raises(ValueError, match="12 characters"):
        serving.check_address("0.0.0.0", "short")


def test_a_title_that_can_t_be_written_is_no_fault_of_the_server(client):
    title = {"title": "\ud800", "notes": NOTES, "recipe": {"Seed": "\udfff"}}
    answer = client.post(
        "/page",
        content=json.dumps(title),
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 200 and "<h1>?" in answer.text


def test_a_duet_needs_a_preset_of_notes(server, preset):
    wish = {"preset": preset, "takeover": "pause"}
    with server.client.stream("POST", "/duet", json=wish) as answer:
        *_, last = answer.iter_lines()
    assert "must be one of notes" in json.loads(last)["error"]
