"""Options of `train` and `train-gan`, read from the fields of their recipes.

A recipe's module loads Keras when it is imported, and `--help` must answer at
once. So the source of the module is parsed here and not run. What is read:
the names, types and defaults of a dataclass's fields, the text about each in
the `Args` section of its docstring, and constants that are literals.
"""

import ast
import pathlib
import re
from typing import Annotated
from typing import NamedTuple

import typer

from keras_pianogen import training
from keras_pianogen.cli.options import Options

TYPES = {"bool": bool, "float": float, "int": int, "str": str}


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


class Source:
    """The source of a module of `keras_pianogen.training`, by its name."""

    def __init__(self, module):
        path = pathlib.Path(training.__file__).with_name(f"{module}.py")
        self.text = path.read_text(encoding="utf-8")

    def constant(self, name):
        """The value of a constant that is a literal."""
        return ast.literal_eval(self._statement(f"{name} = ").value)

    def fields(self, name):
        """The fields of a dataclass, a list of `Field`."""
        node = self._statement(f"class {name}:")
        helps = arguments_of(ast.get_docstring(node))
        return [
            Field(
                field.target.id,
                TYPES[ast.unparse(field.annotation).removesuffix(" | None")],
                field.value and ast.literal_eval(field.value),
                helps[field.target.id],
            )
            for field in node.body
            if isinstance(field, ast.AnnAssign)
        ]

    def _statement(self, beginning):
        """The statement that begins like this. The rest isn't parsed."""
        further = r"(?:[ \t)\]}].*)?\n"  # indented, a bracket, or empty
        pattern = rf"^{re.escape(beginning)}.*\n(?:{further})*"
        (text,) = re.findall(pattern, self.text, re.MULTILINE)
        return ast.parse(text).body[0]


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
