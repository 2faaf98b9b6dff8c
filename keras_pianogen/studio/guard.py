"""What stands before the server: who may ask, how much, and what goes back.

A page on one's own machine can be reached by any web site that the same
browser shows. So the name that was asked for is checked (a foreign name may
have been made to lead here), as is the origin of what is sent; and the page
itself may load nothing from elsewhere. Sizes in bytes, times in seconds.
"""

import asyncio
import hmac
import ipaddress
import json
import re
import socket

from starlette.requests import ClientDisconnect

MAX_BODY = 4_000_000  # `messages.MAX_NOTES` of them, in numbers' full length
BODY_TIMEOUT = 20.0

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), "
    "midi=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
# A Host header after RFC 9110: a name, an IPv4 address, or an IPv6 address in
# brackets; and a port.
HOST = re.compile(
    r"(?:(?P<name>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)|\[(?P<ipv6>[0-9a-f:.]+)\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Refused(Exception):
    """A request that gets a status and a sentence.

    Args:
        status: HTTP status, 400 to 499, or 503.
        sentence: str.
    """

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status


class Guard:
    """ASGI middleware: checks each request's head, adds `HEADERS` to answers.

    Args:
        app: the ASGI application behind it.
        host: str. The address that the server is bound to.
        token: str or `None`. Who asks for anything but the page's own files
            has to know it.
        open_paths: the paths of those files.
        close: a function that ends all jobs. Defaults to `None`.
    """

    def __init__(
        self, app, host="127.0.0.1", token=None, open_paths=(), close=None
    ):
        self.app = app
        self.close = close
        self.host = host
        self.token = token
        self.open_paths = frozenset(open_paths)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message):
            if message["type"] == "http.response.start":
                added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message = message | {"headers": message["headers"] + added}
            await send(message)

        try:
            self._check(scope)
        except Refused as refusal:
            await _answer(send_guarded, refusal)
            return
        await self.app(scope, receive, send_guarded)

    def _check(self, scope):
        headers = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        names = headers.get(b"host", [])
        if len(names) != 1 or not self._is_ours(names[0]):
            raise Refused(403, "The page is not known by that name.")
        origins = headers.get(b"origin", [])
        ours = {f"{scheme}://{names[0]}" for scheme in ("http", "https")}
        if not ours.issuperset(origins):
            raise Refused(403, "Other pages may not ask.")
        if headers.get(b"sec-fetch-site", ["none"])[0] == "cross-site":
            if scope["method"] not in ("GET", "HEAD"):
                raise Refused(403, "Other pages may not ask.")
        if self.token is None or scope["path"] in self.open_paths:
            return
        given = headers.get(b"authorization", [""])[0].encode("latin-1")
        wanted = f"Bearer {self.token}".encode()
        if not hmac.compare_digest(given, wanted):
            raise Refused(401, "The server's token is needed.")

    def _is_ours(self, name):
        """Whether a Host header names this server."""
        name = _without_port(name)
        if name is None:
            return False
        if name in LOOPBACK or name == self.host:
            return True
        if self.host in LOOPBACK:
            return False
        # Bound to more than one address: by number, or by the machine's name.
        if name == socket.gethostname().lower():
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


async def read_body(request, limit=MAX_BODY, timeout=BODY_TIMEOUT):
    """A request's body, which is counted while it comes.

    Args:
        request: a Starlette request.
        limit: int. Bytes at most.
        timeout: float. Seconds until all of it must be there.

    Raises:
        Refused: if it is too long or comes too slowly.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise Refused(413, f"At most {limit:,} bytes may be sent.")
    except ClientDisconnect:
        raise Refused(400, "Not all of it came.") from None
    except TimeoutError:
        raise Refused(408, "What was sent came too slowly.") from None
    return bytes(body)


def check_type(request, expected):
    """Refuse a body of another media type; forms can't send these."""
    received = request.headers.get("content-type", "")
    if received.partition(";")[0].strip().lower() != expected:
        raise Refused(415, f"The Content-Type must be {expected}.")


def is_loopback(host):
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _without_port(name):
    """The host in a Host header, or `None` if the header isn't well formed."""
    found = HOST.fullmatch(name.lower())
    if found is None or int(found["port"] or 0) > 65_535:
        return None
    if found["ipv6"] is None:
        return found["name"]
    try:
        return str(ipaddress.IPv6Address(found["ipv6"]))
    except ValueError:
        return None


async def _answer(send, refusal):
    body = json.dumps({"error": str(refusal)}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": headers,
        }
    )
    await send({"type": "http.response.body", "body": body})
