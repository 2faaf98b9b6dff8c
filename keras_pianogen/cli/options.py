"""Options that several commands take, and options that belong together."""

import copy
import inspect
import os
import pathlib
import typing
from typing import Annotated

import typer

DEFAULT_PRESET = "music_transformer_maestro"
NOTE_PRESET = "note_transformer_maestro"

CorpusFolder = Annotated[
    pathlib.Path,
    typer.Argument(help="A corpus that `pianogen prepare` made."),
]
Preset = Annotated[
    str, typer.Option(help="A bundled preset's name, or a preset's folder.")
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one line of JSON instead.")
]
Seed = Annotated[int, typer.Option(help="Seed of all random choices.")]
# Of commands that write music; `check_writing` chooses a seed that isn't given.
WritingSeed = Annotated[
    int | None,
    typer.Option(
        help="The same seed gives the same notes.",
        show_default="a random one, which is printed",
    ),
]
Variations = Annotated[
    int | None,
    typer.Option(
        help="Number of versions to write at once. Their files are OUT with "
        "-1, -2, … before the suffix.",
        show_default="one, in OUT itself",
    ),
]


def flag(name):
    """The option of a command that has a parameter of this name."""
    return f"--{name.replace('_', '-')}"


class Options:
    """Options that belong together, declared once.

    A subclass has an annotated attribute for each option. Where a parameter
    of a command is annotated with the subclass, the command has all of its
    options, and receives one object, whose attributes are their values.
    `panel` is the panel of `--help` that has the options.
    """

    panel = None

    def __init__(self, **values):
        vars(self).update(values)
        self.check()

    def check(self):
        """Refuses values that don't fit each other, before a command begins."""

    def given(self):
        """The options that have a value, as a dict."""
        return {k: v for k, v in vars(self).items() if v is not None}

    def refuse_together(self, name, *others):
        """Refuses an option that can't be given with any of the others."""
        both = [other for other in others if getattr(self, other)]
        if getattr(self, name) and both:
            raise ValueError(
                f"`{flag(name)}` can't be given together with "
                f"{' or '.join(map(flag, others))}. Received: "
                f"{' and '.join(map(flag, [name, *both]))}"
            )

    @classmethod
    def parameters(cls):
        """The options, as parameters of a function."""
        return [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(cls, name, inspect.Parameter.empty),
                annotation=_in_panel(annotation, cls.panel),
            )
            for name, annotation in inspect.get_annotations(cls).items()
        ]


def check_arguments(options):
    """Check those of the options that are arguments of `generate`."""
    from keras_pianogen.generation import arguments

    arguments.check_arguments(vars(options), spell=flag)


def check_writing(options):
    """Check options of a command that writes music; choose a missing seed."""
    check_arguments(options)
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(4), "little")


def _in_panel(annotation, panel):
    if panel is None:
        return annotation
    kind, option = typing.get_args(annotation)
    option = copy.copy(option)
    option.rich_help_panel = panel
    return Annotated[kind, option]


def flatten(function):
    """The signature of a command, with each option of its `Options` in it."""
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        if _is_options(parameter):
            parameters += parameter.annotation.parameters()
        else:
            parameters.append(parameter.replace(kind=parameter.KEYWORD_ONLY))
    return inspect.Signature(parameters)


def gather(function, values):
    """The arguments of a command, made of the values of all its options."""
    arguments = dict(values)
    for name, parameter in inspect.signature(function).parameters.items():
        if _is_options(parameter):
            kind = parameter.annotation
            names = [option.name for option in kind.parameters()]
            arguments[name] = kind(**{n: arguments.pop(n) for n in names})
    return arguments


def _is_options(parameter):
    kind = parameter.annotation
    return isinstance(kind, type) and issubclass(kind, Options)
