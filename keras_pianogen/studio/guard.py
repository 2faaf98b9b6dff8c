"""Protects the server: checks requests, and adds headers to answers.

Any web site that a browser shows can send requests to a server on the same
machine. So the guard checks the `Host` header, because a foreign name may lead
to this machine, and the `Origin` header. Its own headers forbid the page to
load anything from elsewhere. Sizes are in bytes, times in seconds.
"""

import asyncio
import hmac
import ipaddress
import json
import re
import socket

from starlette.requests import ClientDisconnect

MAX_BODY = 4_000_000  # `fields.MAX_NOTES` notes, with all digits
# The same with the release of each key, and `fields.MAX_MOVEMENTS` movements.
MAX_PIECE = 10_000_000
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
    """A request is answered with an error.

    Args:
        status: HTTP status, 400 to 499, or 503.
        sentence: str. The reason, for the user.
    """

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status


class Guard:
    """ASGI middleware that checks each request and guards each answer.

    Args:
        app: the ASGI application that it protects.
        host: str. The address that the server is bound to.
        token: str or `None`. A secret that a request must have, unless it is
            for one of `open_paths`.
        open_paths: paths that need no token, those of the page's files.
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
            raise Refused(403, "The server has another name.")
        origins = headers.get(b"origin", [])
        ours = {f"{scheme}://{names[0]}" for scheme in ("http", "https")}
        if not ours.issuperset(origins):
            raise Refused(403, "Other web sites may not use the server.")
        if headers.get(b"sec-fetch-site", ["none"])[0] == "cross-site":
            if scope["method"] not in ("GET", "HEAD"):
                raise Refused(403, "Other web sites may not use the server.")
        if self.token is None or scope["path"] in self.open_paths:
            return
        given = headers.get(b"authorization", [""])[0].encode("latin-1")
        wanted = f"Bearer {self.token}".encode()
        if not hmac.compare_digest(given, wanted):
            raise Refused(401, "The server needs its token.")

    def _is_ours(self, name):
        """Whether a Host header names this server."""
        name = _without_port(name)
        if name is None:
            return False
        if name in LOOPBACK or name == self.host:
            return True
        if self.host in LOOPBACK:
            return False
        # The server may be bound to several addresses. It is then known by
        # the machine's name, and by any address.
        if name == socket.gethostname().lower():
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


async def read_body(request, limit=MAX_BODY, timeout=BODY_TIMEOUT):
    """Read a request's body.

    Args:
        request: a Starlette request.
        limit: int. The most bytes of a body.
        timeout: float. The most seconds until the body has arrived.

    Raises:
        Refused: if the body is too long, or arrives too slowly.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for part in request.stream():
                body += part
                if len(body) > limit:
                    raise Refused(413, f"At most {limit:,} bytes may be sent.")
    except ClientDisconnect:
        raise Refused(400, "The request broke off.") from None
    except TimeoutError:
        raise Refused(408, "The request arrived too slowly.") from None
    return bytes(body)


def check_type(request, expected):
    """Refuse a body of another media type than the expected one.

    The form of a foreign web site can't send the expected types.
    """
    received = request.headers.get("content-type", "")
    if received.partition(";")[0].strip().lower() != expected:
        raise Refused(415, f"The Content-Type must be {expected}.")


def is_loopback(host):
    """Whether only this machine can reach an address."""
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
