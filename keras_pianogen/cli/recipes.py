"""Options of `train` and `train-gan`, made from the fields of their recipes.

The help of an option is the text about its field in the `Args` section of the
recipe's docstring.
"""

import dataclasses
import inspect
import re
import typing
from typing import Annotated
from typing import NamedTuple

import typer

from keras_pianogen.cli.options import Options


class Field(NamedTuple):
    """A field of a recipe: its name, type, default and help."""

    name: str
    type: type
    default: object
    help: str

    def option(self, panel, default):
        """An option that is `None` where the user doesn't give it.

        Args:
            panel: the panel of `--help` that has the option.
            default: what `--help` says of the default.
        """
        flags = ()
        if self.type is bool:
            name = self.name.replace("_", "-")
            flags = (f"--{name}/--no-{name}" if self.default else f"--{name}",)
        option = typer.Option(
            *flags, help=self.help, show_default=default, rich_help_panel=panel
        )
        return Annotated[self.type | None, option]


def fields_of(recipe):
    """The fields of a recipe's class, a list of `Field`."""
    helps = arguments_of(inspect.getdoc(recipe))
    return [
        Field(
            field.name,
            next(iter(typing.get_args(field.type)), field.type),
            None if field.default is dataclasses.MISSING else field.default,
            helps[field.name],
        )
        for field in dataclasses.fields(recipe)
    ]


def arguments_of(docstring):
    """What the `Args` section of a docstring says of each argument, a dict."""
    section = docstring.partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE)
    return {name: _plain(text) for name, text in found}


def _plain(text):
    """A text about an argument, as a sentence about an option."""
    text = " ".join(text.split()).replace("`None`", "no value")
    if text[0] not in '`"':
        text = text[0].upper() + text[1:]
    text = text.replace(". no value", ". No value")
    return text.replace("`", "").replace('"', "")


def make_options(fields, defaults, panel_of=lambda name: None):
    """A kind of `Options` with an option for each field of a recipe.

    Args:
        fields: list of `Field`.
        defaults: a dict of names, and what `--help` says of the default where
            that is not the field's own.
        panel_of: a function from a field's name to the panel of `--help` that
            has its option. Defaults to one panel for all options.
    """
    annotations = {
        field.name: field.option(
            panel_of(field.name),
            defaults.get(field.name, _shown(field.default)),
        )
        for field in fields
    }
    attributes = dict.fromkeys(annotations) | {"__annotations__": annotations}
    return type("RecipeOptions", (Options,), attributes)


def _shown(default):
    nothing = default is None or isinstance(default, bool)
    return False if nothing else str(default)
