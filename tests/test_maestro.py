"""MAESTRO's table on the real metadata; its download from 127.0.0.1."""

import csv
import hashlib
import http.server
import io
import pathlib
import stat
import threading
import zipfile

import pytest

from keras_pianogen.data import maestro as maestro_module
from keras_pianogen.data.maestro import COLUMNS
from keras_pianogen.data.maestro import NAME
from keras_pianogen.data.maestro import SHA256
from keras_pianogen.data.maestro import SPLITS
from keras_pianogen.data.maestro import URL
from keras_pianogen.data.maestro import Maestro

pytestmark = pytest.mark.one_backend

ROWS = [
    ("Frédéric Chopin", 'Études, Op. 10, "Black Keys"', "train", 2018, 61.5),
    ("Franz Liszt", "Années\nde pèlerinage", "validation", 2004, 120.0),
    ("J. S. Bach", "Prelude and Fugue, WTC I", "test", 2011, 3600.0),
]


def metadata(rows=ROWS, columns=COLUMNS):
    """The metadata of small pieces, as CSV text."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, extrasaction="ignore")
    table.writeheader()
    for i, (composer, title, split, year, duration) in enumerate(rows):
        cells = (composer, title, split, year, f"{year}/{i}.midi", duration)
        table.writerow(dict(zip(COLUMNS, cells, strict=True)))
    return text.getvalue()


def make_folder(folder, text=None, files=3):
    """A data set of small pieces in `folder`; the files hold no music."""
    folder.mkdir(parents=True, exist_ok=True)
    text = metadata() if text is None else text
    (folder / f"{NAME}.csv").write_text(text, encoding="utf-8", newline="")
    for i, row in enumerate(ROWS[:files]):
        path = folder / str(row[3]) / f"{i}.midi"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"MThd")
    return folder


def make_zip(extra=()):
    """The small data set as a zip, with members that are added to it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}/{NAME}.csv", metadata())
        for i, row in enumerate(ROWS):
            noise = b"".join(
                hashlib.sha256(b"%d %d" % (i, j)).digest() for j in range(4096)
            )
            archive.writestr(f"{NAME}/{row[3]}/{i}.midi", noise)
        for member, data in extra:
            archive.writestr(member, data)
    return file.getvalue()


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `data` to any path, as well or badly as it is told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.data = make_zip()
        self.tag = '"first"'
        self.status = 200
        self.ranges = True
        self.heeds_if_range = True
        self.says_length = True
        self.cut = None  # bytes sent before the connection is closed
        self.requests = []  # (Range asked for or None, status answered)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/{NAME}-midi.zip"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        start, status = 0, server.status
        fresh = self.headers.get("If-Range") in (None, server.tag)
        if asked and server.ranges and (fresh or not server.heeds_if_range):
            start, status = int(asked[len("bytes=") : -1]), 206
        if start >= len(server.data):
            status = 416
        server.requests.append((asked, status))
        if status >= 400:
            self.send_error(status)
            return
        body = server.data[start:]
        self.send_response(status)
        if status == 206:
            end = len(server.data) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{end + 1}")
        if server.tag:
            self.send_header("ETag", server.tag)
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.cut is None else body[: server.cut])

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


def names(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def part_of(folder):
    return folder / f"{NAME}-midi.zip.part"


# The table.


def test_real_metadata_agrees_with_the_published_statistics(maestro_folder):
    maestro = Maestro(maestro_folder)
    counts = [len(maestro.split(name)) for name in SPLITS]
    assert len(maestro) == 1276
    assert counts == [962, 137, 177]
    assert maestro.summary().splitlines() == [
        "split       performances   hours",
        "train                962   159.2",
        "validation           137    19.4",
        "test                 177    20.0",
        "total              1,276   198.7",
    ]


def test_real_pieces_have_files_years_and_durations(maestro_folder):
    for piece in Maestro(maestro_folder).pieces:
        assert piece.path.suffix == ".midi"
        assert 2004 <= piece.year <= 2018
        assert 30 < piece.duration < 3600


def test_a_folder_one_above_is_the_same_data_set(maestro_folder):
    above = Maestro(maestro_folder.parent)
    assert above.folder == maestro_folder
    assert above.pieces == Maestro(maestro_folder).pieces


def test_commas_quotes_newlines_and_accents_survive(tmp_path):
    pieces = Maestro(make_folder(tmp_path)).pieces
    assert [
        (p.composer, p.title, p.split, p.year, p.duration) for p in pieces
    ] == ROWS
    assert pieces[0].path == tmp_path / "2018" / "0.midi"


def test_a_byte_order_mark_changes_nothing(tmp_path):
    plain = Maestro(make_folder(tmp_path))
    marked = Maestro(make_folder(tmp_path, "\ufeff" + metadata()))
    assert marked.pieces == plain.pieces


def test_splits_share_no_piece_and_leave_none_out(tmp_path):
    maestro = Maestro(make_folder(tmp_path))
    together = [p for name in SPLITS for p in maestro.split(name)]
    assert together == list(maestro.pieces)


def test_table_has_a_line_for_each_piece(tmp_path):
    maestro = Maestro(make_folder(tmp_path), pieces=())
    assert len(maestro.table().splitlines()) == 1
    chosen = Maestro(make_folder(tmp_path)).pieces[::2]
    table = Maestro(tmp_path, pieces=chosen).table().splitlines()
    assert table[1:] == [
        'train       2018     1:02  Frédéric Chopin: Études, Op. 10, "Black'
        ' Keys"',
        "test        2011    60:00  J. S. Bach: Prelude and Fugue, WTC I",
    ]


def test_an_unknown_split_is_named(tmp_path):
    maestro = Maestro(make_folder(tmp_path))
    with pytest.raises(ValueError, match="train, validation, test.*'dev'"):
        maestro.split("dev")


# The paper's subset.


def test_paper_subset_is_70_15_15_within_the_published_splits(maestro_folder):
    maestro = Maestro(maestro_folder)
    subset = maestro.paper_subset()
    assert [len(subset.split(name)) for name in SPLITS] == [70, 15, 15]
    for name in SPLITS:
        assert set(subset.split(name)) <= set(maestro.split(name))


def test_the_published_splits_share_five_titles(maestro_folder):
    maestro = Maestro(maestro_folder)
    train, validation, test = (
        {(p.composer, p.title) for p in maestro.split(name)} for name in SPLITS
    )
    shared = train & validation | train & test | validation & test
    assert len(shared) == 5


def test_a_seed_draws_the_same_files_and_another_draws_others(maestro_folder):
    maestro = Maestro(maestro_folder)
    assert maestro.paper_subset(1).pieces == maestro.paper_subset(1).pieces
    assert maestro.paper_subset(1).pieces != maestro.paper_subset(2).pieces
    # Pinned: a seed must not come to mean other files.
    drawn = "".join(p.path.name for p in maestro.paper_subset(0).pieces)
    assert digest(drawn.encode())[:16] == "46ea17f00d673dd4"


def test_too_small_a_data_set_has_no_paper_subset(tmp_path):
    with pytest.raises(ValueError, match="70 pieces .*'train'.* with 1"):
        Maestro(make_folder(tmp_path)).paper_subset()


# What is missing or wrong.


def test_missing_metadata_says_what_was_expected_and_found(tmp_path):
    (tmp_path / "maestro-v2.0.0.csv").touch()
    with pytest.raises(FileNotFoundError) as error:
        Maestro(tmp_path)
    assert f"{NAME}.csv" in str(error.value)
    assert "Found there: maestro-v2.0.0.csv" in str(error.value)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Maestro(tmp_path / "absent")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_missing_column_is_named(tmp_path, column):
    kept = [name for name in COLUMNS if name != column]
    make_folder(tmp_path, metadata(columns=kept))
    with pytest.raises(ValueError, match=f"lacks the columns {column}. "):
        Maestro(tmp_path)


def test_missing_midi_files_are_counted_and_the_first_named(tmp_path):
    make_folder(tmp_path, files=1)
    with pytest.raises(FileNotFoundError, match="2 of the 3 .*1.midi"):
        Maestro(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        ("A", "B", "dev", 2018, 1.0),
        ("A", "B", "train", "MMXVIII", 1.0),
        ("A", "B", "train", 2018, "long"),
        ("A", "B", "train", "../2018", 1.0),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, wrong):
    make_folder(tmp_path, metadata([ROWS[0], wrong]))
    with pytest.raises(ValueError, match="csv, line 3: .*Found: "):
        Maestro(tmp_path)


def test_a_short_row_is_named_by_its_line(tmp_path):
    make_folder(tmp_path, metadata([ROWS[0]]) + "A,B\n")
    with pytest.raises(ValueError, match="csv, line 3: "):
        Maestro(tmp_path)


def test_a_file_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    text = metadata().replace("2018/0.midi", "../../0.midi")
    with pytest.raises(ValueError, match="line 2: .*leads out"):
        Maestro(make_folder(tmp_path, text))


def test_metadata_that_is_no_table_is_refused(tmp_path):
    path = make_folder(tmp_path) / f"{NAME}.csv"
    for content in (b"\xff\xfe\x00", b'a,"b\n', b"", metadata([]).encode()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{NAME}.csv"):
            Maestro(tmp_path)


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


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_changed_is_not_spliced(server, tmp_path, heeds_if_range):
    server.heeds_if_range = heeds_if_range
    server.cut = 100_000
    with pytest.raises(ConnectionError):
        download(server, tmp_path)
    server.cut, server.tag = None, '"second"'
    server.data = make_zip([(f"{NAME}/LICENSE", "CC BY-NC-SA 4.0")])
    assert len(download(server, tmp_path)) == 3
    assert server.requests[-1][1] == 200


@pytest.mark.parametrize("tag", ["", 'W/"weak"'])
def test_a_file_that_cannot_be_told_apart_starts_over(server, tmp_path, tag):
    server.tag, server.cut = tag, 100_000
    with pytest.raises(ConnectionError):
        download(server, tmp_path)
    server.cut = None
    assert len(download(server, tmp_path)) == 3
    assert server.requests[1:] == [(None, 200)]


def test_a_part_that_is_too_long_starts_over(server, tmp_path):
    server.cut = 100_000
    with pytest.raises(ConnectionError):
        download(server, tmp_path)
    part_of(tmp_path).write_bytes(server.data + b"more")
    server.cut = None
    assert len(download(server, tmp_path)) == 3
    assert [status for _, status in server.requests[1:]] == [416, 200]


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
    monkeypatch.setattr(maestro_module, "MAX_BYTES", 100_000)
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
    ids=str,
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
    monkeypatch.setattr(maestro_module, "MAX_BYTES", 300_000)
    with pytest.raises(ValueError, match="at most 300,000 bytes"):
        download(server, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(maestro_module, "MAX_MEMBERS", 3)
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
