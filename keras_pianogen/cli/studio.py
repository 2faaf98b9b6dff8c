"""The command `serve`: the studio in a browser."""

import os
import sys
from typing import Annotated

import typer

from keras_pianogen.cli.app import command
from keras_pianogen.cli.backends import WRITING
from keras_pianogen.cli.backends import choose_backend
from keras_pianogen.cli.loading import without_chatter
from keras_pianogen.cli.options import DEFAULT_PRESET
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import stderr
from keras_pianogen.cli.rendering import SoundFont

CLOSED = "The page is closed."


@command(CLOSED)
def serve(
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port; 0 takes any free one."),
    ] = 8765,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen at. Any but this machine's own needs "
            "--token."
        ),
    ] = "127.0.0.1",
    token: Annotated[
        str | None,
        typer.Option(help="Secret that a browser must know to open the page."),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            help="A bundled preset's name, or a preset's folder. May be "
            "repeated.",
            show_default="all bundled presets",
        ),
    ] = None,
    soundfont: SoundFont = None,
):
    """Open the studio: a page in the browser that writes and plays music."""
    from keras_pianogen.studio import serving

    presets = serving.find_presets(preset or [DEFAULT_PRESET, *serving.BUNDLED])
    serving.check_address(host, token)
    serving.check_sound(soundfont)
    choose_backend(WRITING)

    def announce(place):
        say(f"The studio is at {place}")

    try:
        with without_chatter():  # The model is loaded while the page is open.
            serving.serve(presets, soundfont, host, port, token, announce)
    except KeyboardInterrupt:
        say(f"Stopped. {CLOSED}", to=stderr)
        sys.stdout.flush()
        # The worker's thread may be inside a library's call, such as a
        # compilation. It can't be stopped, and Python's own end would wait
        # for it, or crash under it.
        os._exit(130)
