"""MAESTRO is downloaded from 127.0.0.1, whole and as published."""

import concurrent.futures
import contextlib
import http.server
import io
import pathlib
import stat
import threading
import time
import zipfile

import pytest
from maestro_files import ROWS
from maestro_files import digest
from maestro_files import make_folder
from maestro_files import make_zip

from keras_pianogen.data import archives
from keras_pianogen.data.maestro import NAME
from keras_pianogen.data.maestro import SHA256
from keras_pianogen.data.maestro import URL
from keras_pianogen.data.maestro import Maestro

pytestmark = pytest.mark.one_backend


class Server(http.server.ThreadingHTTPServer):
    """Serves `data` to any path, as well or badly as it is told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = make_zip()
        self.status = 200
        self.ranges = True
        self.says_length = True
        self.cut = None  # bytes sent before the connection is closed
        self.range = None  # says that this part is sent, whatever is asked
        self.drip = None  # "head" or "body": a byte every 20 ms
        self.requests = []  # (Range asked for or None, status answered)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/{NAME}-midi.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        start, status = 0, server.status
        if asked and server.ranges:
            start, status = int(asked[len("bytes=") : -1]), 206
        if start >= len(server.data):
            status = 416
        server.requests.append((asked, status))
        if status >= 400:
            self.send_error(status)
            return
        body = server.data[start:]
        if server.drip == "head":
            self.send(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2000)
            return
        self.send_response(206 if server.range else status)
        if server.range:
            self.send_header("Content-Range", server.range)
        elif status == 206:
            end = len(server.data) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{end + 1}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.send(body if server.cut is None else body[: server.cut])

    def send(self, data):
        if self.server.drip is None:
            self.wfile.write(data)
            return
        for byte in data[:100]:  # Two seconds of it.
            with contextlib.suppress(OSError):
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            time.sleep(0.02)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def download(server, folder, **arguments):
    arguments.setdefault("sha256", digest(server.data))
    return Maestro.download(folder, url=server.url, **arguments)


def part_of(folder):
    return folder / f"{NAME}-midi.zip.part"


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


# The download.


def test_the_official_address_and_hash_are_whole():
    assert URL.endswith("/v3.0.0/maestro-v3.0.0-midi.zip")
    assert len(bytes.fromhex(SHA256)) == 32


def test_download_unpacks_and_leaves_the_data_set_alone(server, tmp_path):
    folder = tmp_path / "new" / "data"
    maestro = download(server, folder)
    assert maestro.folder == folder / NAME
    assert [p.title for p in maestro.pieces] == [row[1] for row in ROWS]
    assert len(maestro.pieces[0].path.read_bytes()) == 32 * 4096
    assert names(folder) == [NAME]


def test_download_again_asks_nothing_of_the_network(server, tmp_path):
    first = download(server, tmp_path)
    again = download(server, tmp_path)
    assert again.pieces == first.pieces
    assert download(server, tmp_path / NAME).pieces == first.pieces
    assert len(server.requests) == 1


def test_a_zip_fetched_by_hand_is_used_and_kept(server, tmp_path):
    by_hand = tmp_path / f"{NAME}-midi.zip"
    by_hand.write_bytes(server.data)
    assert len(download(server, tmp_path)) == 3
    assert server.requests == []
    assert names(tmp_path) == [NAME, by_hand.name]


def test_a_bad_zip_fetched_by_hand_is_refused_and_kept(server, tmp_path):
    by_hand = tmp_path / f"{NAME}-midi.zip"
    by_hand.write_bytes(server.data[:-1])
    with pytest.raises(ValueError, match=digest(server.data)):
        download(server, tmp_path)
    assert names(tmp_path) == [by_hand.name]


def test_progress_goes_from_nothing_to_all(server, tmp_path):
    seen = []
    download(server, tmp_path, progress=lambda *at: seen.append(at))
    done = [at[0] for at in seen]
    assert done == sorted(done)
    assert seen[0] == (0, len(server.data))
    assert seen[-1] == (len(server.data), len(server.data))


def test_a_server_that_hides_the_size_is_no_obstacle(server, tmp_path):
    server.says_length = False
    seen = []
    download(server, tmp_path, progress=lambda *at: seen.append(at))
    assert seen[-1] == (len(server.data), None)


def test_a_wrong_hash_unpacks_nothing_and_keeps_nothing(server, tmp_path):
    with pytest.raises(ValueError) as error:
        download(server, tmp_path, sha256="0" * 64)
    assert f"Expected SHA-256: {'0' * 64}" in str(error.value)
    assert f"Received: {digest(server.data)}" in str(error.value)
    assert names(tmp_path) == []


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.cut = 100_000
    for done in (100_000, 200_000):
        with pytest.raises(ConnectionError, match=f"{done:,} of .* run it ag"):
            download(server, tmp_path)
        assert part_of(tmp_path).read_bytes() == server.data[:done]
    server.cut = None
    seen = []
    download(server, tmp_path, progress=lambda *at: seen.append(at))
    assert seen[0] == (200_000, len(server.data))
    assert server.requests == [
        (None, 200),
        ("bytes=100000-", 206),
        ("bytes=200000-", 206),
    ]
    assert names(tmp_path) == [NAME]


def test_a_server_without_range_starts_over(server, tmp_path):
    server.cut = 100_000
    with pytest.raises(ConnectionError):
        download(server, tmp_path)
    server.cut, server.ranges = None, False
    assert len(download(server, tmp_path)) == 3
    assert server.requests[1:] == [("bytes=100000-", 200)]


def test_a_file_that_changed_is_not_spliced(server, tmp_path):
    published, server.data = server.data, server.data[::-1]
    server.cut = 100_000
    with pytest.raises(ConnectionError):
        download(server, tmp_path)
    server.cut, server.data = None, published
    assert len(download(server, tmp_path)) == 3
    assert server.requests[1:] == [("bytes=100000-", 206), (None, 200)]


def test_a_part_that_is_too_long_starts_over(server, tmp_path):
    server.cut = 100_000
    with pytest.raises(ConnectionError):
        download(server, tmp_path)
    part_of(tmp_path).write_bytes(server.data + b"more")
    server.cut = None
    assert len(download(server, tmp_path)) == 3
    assert [status for _, status in server.requests[1:]] == [416, 200]


@pytest.mark.parametrize("kept", [0, 1000])
@pytest.mark.parametrize("sent", ["bytes 0-9/10", "bytes 7-9/10", "", "x"])
def test_a_server_that_sends_parts_alone_is_asked_once_more(
    server, tmp_path, kept, sent
):
    part = part_of(tmp_path)
    if kept:
        part.write_bytes(server.data[:kept])
    server.range = sent or " "
    with pytest.raises(OSError, match="a part was sent where all was asked"):
        download(server, tmp_path)
    assert len(server.requests) == 1 + bool(kept)
    # What was there stays there, for a server that works.
    assert names(tmp_path) == [part.name] * bool(kept)
    server.range = None
    assert len(download(server, tmp_path)) == 3


@pytest.mark.parametrize("drip", ["head", "body"])
def test_a_drip_is_not_waited_for(server, tmp_path, monkeypatch, drip):
    monkeypatch.setattr(archives, "TIMEOUT", 0.3)
    server.drip = drip
    began = time.monotonic()
    with pytest.raises(OSError, match="no answer within|bytes came a second"):
        download(server, tmp_path)
    assert time.monotonic() - began < 1.5
    server.drip = None
    assert len(download(server, tmp_path)) == 3


def test_several_at_once_download_once(server, tmp_path):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(download, server, tmp_path) for _ in range(4)]
    assert {len(job.result()) for job in jobs} == {3}
    assert len(server.requests) == 1
    assert names(tmp_path) == [NAME]


def test_what_a_killed_process_left_is_cleared(server, tmp_path):
    (tmp_path / ".maestro-killed" / "2018").mkdir(parents=True)
    download(server, tmp_path)
    assert names(tmp_path) == [NAME]


def test_a_part_that_is_whole_is_used_without_the_network(server, tmp_path):
    part_of(tmp_path).write_bytes(server.data)
    assert len(download(server, tmp_path)) == 3
    assert server.requests == []
    assert names(tmp_path) == [NAME]


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_refusal_names_address_status_and_a_way_out(server, tmp_path, status):
    server.status = status
    with pytest.raises(OSError) as error:
        download(server, tmp_path)
    assert server.url in str(error.value)
    assert str(status) in str(error.value)
    assert str(tmp_path / f"{NAME}-midi.zip") in str(error.value)
    assert names(tmp_path) == []


def test_no_connection_names_the_address_and_a_way_out(server, tmp_path):
    server.server_close()
    with pytest.raises(OSError, match="127.0.0.1.*fetch the file yourself"):
        download(server, tmp_path)


def test_a_download_without_end_is_stopped(server, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 100_000)
    with pytest.raises(ValueError, match="more than 100,000 bytes"):
        download(server, tmp_path)
    assert names(tmp_path) == []


def test_a_data_set_that_is_not_whole_is_neither_used_nor_replaced(
    server, tmp_path
):
    make_folder(tmp_path / NAME, files=2)
    before = names(tmp_path / NAME)
    with pytest.raises(FileNotFoundError, match="move it away"):
        download(server, tmp_path)
    assert names(tmp_path / NAME) == before
    assert server.requests == []


# What must not be unpacked.


def linked(name, kind=stat.S_IFLNK):
    member = zipfile.ZipInfo(name)
    member.create_system = 3  # Unix
    member.external_attr = (kind | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("member", "data", "reason"),
    [
        ("../evil", b"x", "leads out"),
        (f"{NAME}/../../evil", b"x", "leads out"),
        ("..\\evil", b"x", "leads out"),
        ("/tmp/evil", b"x", "leads out"),
        ("\\evil", b"x", "leads out"),
        ("C:/evil", b"x", "leads out"),
        ("C:evil", b"x", "leads out"),
        (linked(f"{NAME}/link"), b"/etc/passwd", "a link or a device"),
        (linked(f"{NAME}/pipe", stat.S_IFIFO), b"", "a link or a device"),
        (f"{NAME}/bomb", bytes(1_000_000), "grows more than 100 times"),
    ],
    ids=lambda value: str(getattr(value, "filename", value))[:24],
)
def test_a_dangerous_member_is_refused_before_anything_is_written(
    server, tmp_path, monkeypatch, member, data, reason
):
    def extractall(*args):
        raise AssertionError("nothing may be unpacked")

    server.data = make_zip([(member, data)])
    monkeypatch.setattr(zipfile.ZipFile, "extractall", extractall)
    folder = tmp_path / "folder"
    with pytest.raises(ValueError, match="evil|link|pipe|bomb") as error:
        download(server, folder)
    assert reason in str(error.value)
    assert names(folder) == []
    assert names(tmp_path) == ["folder"]


def test_an_archive_that_unpacks_to_too_much_is_refused(
    server, tmp_path, monkeypatch
):
    (tmp_path / f"{NAME}-midi.zip").write_bytes(server.data)
    monkeypatch.setattr(archives, "MAX_BYTES", 300_000)
    with pytest.raises(ValueError, match="at most 300,000 bytes"):
        download(server, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    with pytest.raises(ValueError, match="in 3 files.* in 4 files"):
        download(server, tmp_path)
    assert names(tmp_path) == [f"{NAME}-midi.zip"]


def test_an_encrypted_member_is_refused(server, tmp_path):
    data = bytearray(server.data)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    server.data = bytes(data)
    with pytest.raises(ValueError, match="is encrypted"):
        download(server, tmp_path)


def test_a_file_that_is_no_zip_is_refused(server, tmp_path):
    server.data = b"<html>Sign in to the wireless network</html>"
    with pytest.raises(ValueError, match="not a sound zip"):
        download(server, tmp_path)
    assert names(tmp_path) == []


def test_a_member_that_is_damaged_leaves_no_data_set(server, tmp_path):
    data = bytearray(server.data)
    data[len(data) // 2] ^= 1
    server.data = bytes(data)
    with pytest.raises(ValueError, match="not a sound zip"):
        download(server, tmp_path)
    assert names(tmp_path) == []


def test_a_zip_of_something_else_leaves_nothing(server, tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "Not MAESTRO.")
    server.data = file.getvalue()
    with pytest.raises(ValueError, match=f"not all of {NAME}"):
        download(server, tmp_path)
    assert names(tmp_path) == []
