"""An archive from a server: downloaded, checked by its SHA-256, unpacked.

A download that was cut goes on where it stopped. Nothing is unpacked before
the hash is right and every member of the archive is safe.

`pooch` and `keras.utils.get_file` also check a hash and unpack, but they start
a cut download from the beginning, and they don't refuse an archive for what it
holds. Beside them, both would still have to be written here.
"""

import contextlib
import http.client
import pathlib
import queue
import stat
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from collections.abc import Iterator

from keras_pianogen import files

# The most that an archive may hold. MAESTRO's has 1,280 files, 81 MB in all.
MAX_BYTES = 1_000_000_000
MAX_MEMBERS = 20_000
MAX_RATIO = 100  # bytes unpacked for each byte packed
TIMEOUT = 60.0  # seconds until the server answers, and without any byte
# Bytes a second, on average, after as long. So a download takes at most as
# long as its size says, and no server holds it open for ever.
LEAST_SPEED = 5_000

Progress = Callable[[int, int | None], object]


@contextlib.contextmanager
def fetched(
    url: str, path: pathlib.Path, sha256: str, progress: Progress | None = None
) -> Iterator[pathlib.Path]:
    """Finds an archive, or downloads it and removes it after use.

    Args:
        url: the archive's address.
        path: where an archive that was fetched by hand is.
        sha256: the archive's SHA-256, 64 hexadecimal digits.
        progress: see `download`.

    Yields:
        The path of the archive. If the block raises a `ValueError`, it is
        removed as well.

    Raises:
        OSError: the download failed.
        ValueError: the archive has another hash.
    """
    if path.exists():
        check_sha256(path, sha256)
        yield path
        return
    part = path.with_name(f"{path.name}.part")
    download(url, part, sha256, progress)
    try:
        yield part
    except ValueError:
        part.unlink()
        raise
    part.unlink()


def download(
    url: str, part: pathlib.Path, sha256: str, progress: Progress | None = None
) -> None:
    """Downloads a file, or what is still missing of it.

    Args:
        url: the file's address.
        part: where the file is written. The download goes on behind the bytes
            that are there already. If the file is whole, no connection is
            made.
        sha256: the file's SHA-256, 64 hexadecimal digits.
        progress: called with the bytes that are here and the bytes in all
            (`None` if the server does not say).

    Raises:
        OSError: the download failed; `part` keeps the bytes that have come.
        ValueError: the file has another hash; `part` is removed.
    """
    if part.exists():
        if files.sha256(part) == sha256.lower():
            return
        size = part.stat().st_size
        rest = _request(url, part, size) if size else None
        if rest is not None:
            _receive(url, rest, part, progress)
            if files.sha256(part) == sha256.lower():
                return
        # The server has no rest of it, or one of another version of the file.
    whole = _request(url, part)
    if whole is None:
        raise _refused(url, part, "a part was sent where all was asked for")
    _receive(url, whole, part, progress)
    try:
        check_sha256(part, sha256)
    except ValueError:
        part.unlink()
        raise


def check_sha256(path: pathlib.Path, expected: str) -> None:
    """Checks the SHA-256 of a file.

    Raises:
        ValueError: the file has another hash.
    """
    found = files.sha256(path)
    if found != expected.lower():
        raise ValueError(
            f"{path} is damaged, or is not the file that was published. "
            f"Nothing of it is used. If it is still there, remove it, and "
            f"download it again. Expected SHA-256: {expected}. Received: "
            f"{found}."
        )


def unpack(archive: pathlib.Path, folder: str) -> None:
    """Unpacks a zip, once all of its members are known to be safe.

    Args:
        archive: the zip.
        folder: where to unpack it.

    Raises:
        ValueError: the zip is damaged, or not safe. In the second case
            nothing was unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            _check_members(members)
            members.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{archive} is not a sound zip: {error}") from error


def leads_out(name: str) -> bool:
    """Whether a relative path may leave its folder on any operating system."""
    parts = name.replace("\\", "/").split("/")
    return ".." in parts or not parts[0] or ":" in name or "\0" in name


def _receive(
    url: str,
    answer: http.client.HTTPResponse,
    part: pathlib.Path,
    progress: Progress | None,
) -> None:
    """Appends the rest of a file to `part`, or writes all of it."""
    error: Exception | None = None
    done = part.stat().st_size if answer.status == 206 else 0
    progress = progress or (lambda done, total: None)
    with answer, part.open("ab" if done else "wb") as file:
        length = answer.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else None
        progress(done, total)
        try:
            for block in _blocks(answer):
                file.write(block)
                done += len(block)
                progress(done, total)
                if done > MAX_BYTES:
                    break
        except (OSError, http.client.HTTPException) as stopped:
            error = stopped
    if done > MAX_BYTES:
        part.unlink()
        raise ValueError(f"{url} sends more than {MAX_BYTES:,} bytes.")
    if error or (total is not None and done < total):
        of_all = "" if total is None else f" of {total:,}"
        raise ConnectionError(
            f"The download stopped at {done:,}{of_all} bytes "
            f"({error or 'the connection was closed'}). They are kept in "
            f"{part}: run it again and it goes on from there."
        ) from error


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """The blocks of an answer as they come; refuses to wait for a drip."""
    began, done = time.monotonic(), 0
    while block := answer.read1(1 << 16):
        yield block
        done += len(block)
        seconds = time.monotonic() - began
        if seconds > TIMEOUT and done < LEAST_SPEED * seconds:
            raise TimeoutError(f"less than {LEAST_SPEED:,} bytes came a second")


def _request(
    url: str, part: pathlib.Path, start: int = 0
) -> http.client.HTTPResponse | None:
    """Asks for a file from byte `start` on.

    Returns:
        The answer, of status 200 for all of the file or 206 for the rest; or
        `None` if the server sends some other part of the file, or none.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    try:
        answer = _opened(urllib.request.Request(url, headers=headers))
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            if start and error.code == 416:  # `part` is longer than the file
                return None
        raise _refused(url, part, error) from error
    sent = answer.headers.get("Content-Range", "").partition("-")[0]
    if answer.status == 206 and not (start and sent == f"bytes {start}"):
        answer.close()
        return None
    return answer


def _opened(request: urllib.request.Request) -> http.client.HTTPResponse:
    """The answer to a request, whose head must come within `TIMEOUT`.

    `urlopen` has its timeout for each byte anew.
    """
    found: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()

    def open_it() -> None:
        try:
            found.put(urllib.request.urlopen(request, timeout=TIMEOUT))
        except Exception as error:
            found.put(error)

    threading.Thread(target=open_it, daemon=True).start()
    try:
        answer = found.get(timeout=TIMEOUT)
    except queue.Empty:
        raise TimeoutError(f"no answer within {TIMEOUT:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _refused(url: str, part: pathlib.Path, reason: object) -> OSError:
    return OSError(
        f"{url} cannot be downloaded: {reason}. Check the address and the "
        f"connection; or fetch the file yourself, put it at "
        f"{part.with_suffix('')} and run this again."
    )


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES or len(members) > MAX_MEMBERS:
        raise ValueError(
            f"{archive.filename} is refused: it must unpack to at most "
            f"{MAX_BYTES:,} bytes in {MAX_MEMBERS:,} files. Received: "
            f"{size:,} bytes in {len(members):,} files."
        )
    for member in members:
        if danger := _danger(member):
            raise ValueError(
                f"{archive.filename} is refused, and nothing of it was "
                f"unpacked: its member {member.orig_filename!r} {danger}."
            )


def _danger(member: zipfile.ZipInfo) -> str:
    """Why a member must not be unpacked, or an empty string."""
    kind = stat.S_IFMT(member.external_attr >> 16)
    if leads_out(member.orig_filename):
        return "leads out of the folder"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device, not a file"
    if member.file_size > MAX_RATIO * max(member.compress_size, 1):
        return f"grows more than {MAX_RATIO} times when unpacked"
    if member.flag_bits & 1:
        return "is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is neither stored nor deflated"
    return ""
