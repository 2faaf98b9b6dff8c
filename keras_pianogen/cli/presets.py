"""The command `presets`: the presets that come with the package."""

import pathlib

from keras_pianogen.cli.app import command
from keras_pianogen.cli.loading import loading
from keras_pianogen.cli.options import AsJson
from keras_pianogen.cli.printing import say
from keras_pianogen.cli.printing import say_json
from keras_pianogen.cli.printing import stdout
from keras_pianogen.notices.hints import hinted


@command("Nothing was changed.")
def presets(as_json: AsJson = False):
    """List the bundled presets, and verify each file of theirs."""
    with loading():
        from keras_pianogen.models import presets as bundled

    rows, damaged = {}, []
    for name, entry in bundled.PRESETS.items():
        try:
            folder = pathlib.Path(bundled.locate(name))
        except ValueError as error:
            damaged.append(error)
        else:
            rows[name] = _describe(entry, folder)
    if as_json:
        say_json(rows)
    else:
        _print(rows)
    if damaged:
        (hint,) = {note for error in damaged for note in error.__notes__}
        raise hinted(ValueError(". ".join(map(str, damaged))), hint)


def _describe(entry, folder):
    size = sum((folder / file).stat().st_size for file in entry["sha256"])
    return entry["metadata"] | {
        "bytes": size,
        "folder": str(folder),
        "card": str(folder / "README.md"),
    }


def _print(rows):
    for name, row in rows.items():
        size = f"{row['bytes'] / 1e6:.1f} MB"
        stdout.print(f"[bold]{name}[/]  {size}, verified")
        say(row["description"])
        say(f"Card: {row['card']}")
