"""From a command line's arguments to a running server."""

import os
import pathlib
import socket
import urllib.parse

import uvicorn

from keras_pianogen.hints import hinted
from keras_pianogen.rendering import fluidsynth
from keras_pianogen.studio.connections import PromptConnection
from keras_pianogen.studio.connections import Server
from keras_pianogen.studio.guard import is_loopback
from keras_pianogen.studio.server import make_app

MAX_CONNECTIONS = 100
MIN_TOKEN = 12  # characters
# Presets inside the package, by their folders: `models` would load Keras.
BUNDLED = sorted(
    folder.name
    for folder in pathlib.Path(__file__).parents[1].glob("presets/*/")
)


def find_presets(asked):
    """What `from_preset` takes of each preset that is on offer.

    Args:
        asked: list of names, folders and handles.

    Returns:
        A list of str, each once. Folders are whole paths, so that what the
        page copies finds them from anywhere.

    Raises:
        ValueError: there is no such preset.
    """
    return list(dict.fromkeys(map(_find_preset, asked)))


def _find_preset(name):
    if name in BUNDLED or "://" in name:
        return name
    if os.path.isfile(os.path.join(name, "config.json")):
        return os.path.abspath(name)
    raise hinted(
        ValueError(
            "`preset` must be the name of a bundled preset "
            f"({', '.join(map(repr, BUNDLED))}), a handle, or a folder with a "
            f"preset in it. Received: {name!r}"
        ),
        "`pianogen train` saves a preset in RUN/preset.",
    )


def check_sound():
    """Refuse a SoundFont that was asked for and can't be played.

    Raises:
        ValueError: so it is.
    """
    try:
        fluidsynth.choose_soundfont()
    except (OSError, ValueError) as error:
        variable = fluidsynth.SOUNDFONT_VARIABLE
        raise hinted(
            ValueError(
                f"`{variable}` must be a SoundFont that can be played, or "
                f"{fluidsynth.BUILT_IN}. Received: {error}"
            ),
            f"{variable}={fluidsynth.BUILT_IN} plays without a SoundFont.",
        ) from error


def check_address(host, token):
    """Refuse what would be dangerous.

    Raises:
        ValueError: others could come in.
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
    with _listen(host, port) as listener:
        app = make_app(presets, host=host, token=token)
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
    # Behind "#" a browser keeps it to itself.
    secret = f"#token={urllib.parse.quote(token, safe='')}" if token else ""
    return f"http://{name}:{port}/{secret}"
