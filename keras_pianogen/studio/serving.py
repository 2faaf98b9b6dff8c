"""From a command line's arguments to a running server."""

import importlib.util
import os
import socket
import urllib.parse

import uvicorn

from keras_pianogen.studio.guard import is_loopback
from keras_pianogen.studio.server import make_app

MAX_CONNECTIONS = 100
MIN_TOKEN = 12  # characters


def check(presets, host, token):
    """Refuse what would be found out late, or would be dangerous.

    Raises:
        ValueError: a folder is not there, or others could come in.
    """
    for preset in presets:
        if (
            os.sep in preset
            and "://" not in preset
            and not os.path.isdir(preset)
        ):
            raise ValueError(
                "`preset` must be the name of a bundled preset or a folder. "
                f"Received: {preset!r}"
            )
    if token is None and not is_loopback(host):
        raise ValueError(
            "`--host` must be 127.0.0.1, or `--token` be given: others could "
            f"use this machine. Received: --host {host}"
        )
    if token is not None and (
        len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()
    ):
        raise ValueError(
            f"`--token` must have {MIN_TOKEN} characters or more, of ASCII. "
            f"Received: {len(token)} of them"
        )


def choose_backend():
    """JAX, where it is installed and nothing else is asked for.

    It compiles the loop over events and samples fastest.
    """
    if not os.environ.get("KERAS_BACKEND"):
        found = importlib.util.find_spec("jax") is not None
        os.environ["KERAS_BACKEND"] = "jax" if found else "tensorflow"


def serve(presets, host, port, token, announce):
    """Answer until Ctrl-C.

    Args:
        presets: list of names or folders.
        host: str. An address of this machine, or its name.
        port: int, 0 for any that is free.
        token: str or `None`.
        announce: a function of the page's address, called once it answers.

    Raises:
        OSError: the address or port can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        config = uvicorn.Config(
            make_app(presets, host=host, token=token),
            lifespan="on",
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
        )
        announce(_address(host, listener.getsockname()[1], token))
        uvicorn.Server(config).run(sockets=[listener])


def _address(host, port, token):
    name = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
    # Behind "#" a browser keeps it to itself.
    secret = f"#token={urllib.parse.quote(token, safe='')}" if token else ""
    return f"http://{name}:{port}/{secret}"
