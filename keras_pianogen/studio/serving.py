"""Runs the studio's server with the arguments of a command."""

import os
import socket
import urllib.parse

import uvicorn

from keras_pianogen.notices.hints import hinted
from keras_pianogen.notices.preset_names import BUNDLED
from keras_pianogen.notices.preset_names import check_preset
from keras_pianogen.rendering import fluidsynth
from keras_pianogen.studio.connections import PromptConnection
from keras_pianogen.studio.connections import Server
from keras_pianogen.studio.guard import is_loopback
from keras_pianogen.studio.server import make_app

MAX_CONNECTIONS = 100
MIN_TOKEN = 12  # characters


def find_presets(asked):
    """Check the presets that the page will offer.

    Args:
        asked: list of names, folders and handles.

    Returns:
        A list of them, each once. Folders become absolute paths, so that the
        commands that the page copies work in every folder.

    Raises:
        ValueError: if there is no such preset.
    """
    for name in asked:
        check_preset(name)
    found = [
        name if name in BUNDLED or "://" in name else os.path.abspath(name)
        for name in asked
    ]
    return list(dict.fromkeys(found))


def check_sound(soundfont=None):
    """Check that the SoundFont can be played.

    Args:
        soundfont: see `make_app`. Defaults to the one that the environment
            names.

    Raises:
        ValueError, OSError: if it can't.
    """
    try:
        fluidsynth.choose_soundfont(soundfont)
    except (OSError, ValueError) as error:
        if soundfont is not None:
            raise
        variable = fluidsynth.SOUNDFONT_VARIABLE
        raise hinted(
            ValueError(
                f"`{variable}` must be a SoundFont that can be played, or "
                f"{fluidsynth.BUILT_IN}. Received: {error}"
            ),
            f"{variable}={fluidsynth.BUILT_IN} plays without a SoundFont.",
        ) from error


def check_address(host, token):
    """Check that strangers can't use the server.

    Raises:
        ValueError: if other machines could use it without a token, or the
            token is too short.
    """
    if token is None and not is_loopback(host):
        raise hinted(
            ValueError(
                "`--host` must be 127.0.0.1, or `--token` be given: others "
                f"could use this machine. Received: --host {host}"
            ),
            "Without --host the page is for this machine alone.",
        )
    if token is not None and (
        len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()
    ):
        raise ValueError(
            f"`--token` must have {MIN_TOKEN} characters or more, of ASCII. "
            f"Received: {len(token)} of them"
        )


def serve(presets, soundfont, host, port, token, announce):
    """Run the server until Ctrl-C.

    Args:
        presets: see `make_app`.
        soundfont: see `make_app`.
        host: str. An address or a name of this machine.
        port: int. 0 takes a free port.
        token: see `make_app`.
        announce: a function that is called with the page's address when the
            server answers.

    Raises:
        OSError: if the address or the port is taken.
    """
    with _listen(host, port) as listener:
        app = make_app(presets, soundfont=soundfont, host=host, token=token)
        config = uvicorn.Config(
            app,
            http=PromptConnection,
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
        Server(config, app.close).run(sockets=[listener])


def _listen(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        error.add_note("--port chooses another port.")
        raise


def _address(host, port, token):
    name = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
    # A browser doesn't send the part behind "#".
    secret = f"#token={urllib.parse.quote(token, safe='')}" if token else ""
    return f"http://{name}:{port}/{secret}"
