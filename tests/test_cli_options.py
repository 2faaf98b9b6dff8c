"""Options: those of the recipes, and those that belong together."""

import dataclasses
import typing
from typing import Annotated

import pytest
import typer
from command_line import invoke
from command_line import succeed

import keras_pianogen
from keras_pianogen import cli
from keras_pianogen import training
from keras_pianogen.cli import options
from keras_pianogen.cli.recipes import arguments_of
from keras_pianogen.cli.recipes import fields_of
from keras_pianogen.cli.training import SETUPS
from keras_pianogen.cli.training import SIZES

pytestmark = pytest.mark.one_backend


def commands(group=None, name="pianogen"):
    """Each command's name, and its Click object."""
    group = group or typer.main.get_command(cli.app)
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def parameters(name):
    return {p.name: p for p in dict(commands())[f"pianogen {name}"].params}


# Options of the recipes.


@pytest.mark.parametrize("recipe", [training.Recipe, training.GanRecipe])
def test_a_field_has_one_type_its_default_and_a_help(recipe):
    own = {field.name: field for field in dataclasses.fields(recipe)}
    found = {field.name: field for field in fields_of(recipe)}
    assert found.keys() == own.keys()
    for field in found.values():
        assert field.type in (bool, float, int, str)
        assert field.default is None or isinstance(field.default, field.type)
        assert len(field.help.split()) > 1
    assert found["seed"] == ("seed", int, 0, own_help(recipe, "seed"))


def own_help(recipe, name):
    line = next(x for x in recipe.__doc__.splitlines() if f" {name}: " in x)
    return line.split(": ", 1)[1]


@pytest.mark.parametrize(
    ("command", "recipe", "more"),
    [("train", "Recipe", {"size"}), ("train-gan", "GanRecipe", set())],
)
def test_each_setting_of_a_recipe_is_an_option(command, recipe, more):
    fields = dataclasses.fields(getattr(training, recipe))
    assert {field.name for field in fields} | more <= parameters(command).keys()


def test_help_says_which_defaults_follow_from_the_size():
    found = parameters("train")
    recipes = [training.Recipe.sized(size) for size in SIZES]
    for field in dataclasses.fields(training.Recipe):
        if len({getattr(recipe, field.name) for recipe in recipes}) > 1:
            shown = found[field.name].show_default
            assert "by size" in shown or "--hidden-dim" in shown


def test_help_says_which_defaults_follow_from_the_setup():
    found = parameters("train-gan")
    recipes = [training.GanRecipe.named(setup) for setup in SETUPS]
    for field in dataclasses.fields(training.GanRecipe)[1:]:
        if len({getattr(recipe, field.name) for recipe in recipes}) > 1:
            assert found[field.name].show_default == "by setup"


def test_every_option_has_a_sentence_of_help():
    for name, command in commands():
        for parameter in command.params:
            assert parameter.help.endswith("."), name


def test_no_option_is_cut_off_in_a_terminal_of_80_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name, command in commands():
        printed = succeed(*name.split()[1:], "--help")
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert not option.startswith("-") or f"{option} " in printed


def test_the_text_about_an_argument_becomes_a_sentence():
    docstring = (
        "A class.\n\nArgs:\n"
        "    rate: float, 0 to 1. `None` for\n"
        "        no `rate`.\n"
        '    name: `"a"` or `"b"`.\n\n'
        "Returns:\n    other: nothing."
    )
    assert arguments_of(docstring) == {
        "rate": "Float, 0 to 1. No value for no rate.",
        "name": "a or b.",
    }


@pytest.fixture
def asked(monkeypatch):
    """What the commands that train hand on, in place of training."""
    found = {}

    def train(corpus, out, recipe, **settings):
        found.update(settings, recipe=recipe)
        return {"step": 0}

    monkeypatch.setattr(training, "train_gan", train)
    return found


def test_train_gan_uses_every_setting_it_is_given(asked, small_corpus):
    train = ["train-gan", small_corpus.folder, "--out", "run"]
    settings = {
        "loss": "hinge",
        "num_layers": 1,
        "noise_dim": 8,
        "generator_steps": 2,
        "augment": True,
        "bidirectional": True,
        "gradient_clipping": 0.5,
        "seed": 3,
    }
    words = ["--setup", "paper", "--augment", "--bidirectional"]
    for name, value in settings.items():
        if value is not True:
            words += [f"--{name.replace('_', '-')}", str(value)]
    succeed(*train, "--steps", "4", *words)
    assert asked["recipe"] == training.GanRecipe.named("paper", **settings)
    assert asked["steps"] == 4 and asked["resume"] is False
    words = ["--setup", "straight-through", "--no-augment"]
    succeed(*train, *words)
    assert asked["recipe"].augment is False
    succeed(*train, "--resume", "--seed", "3")
    assert asked["recipe"] == {"seed": 3} and asked["resume"] is True


# Options that belong together.


class Size(options.Options):
    """Two options, one of which is needed."""

    panel = "Size"
    width: Annotated[int, typer.Option(help="Width.")]
    height: Annotated[int | None, typer.Option(help="Height.")] = None

    def check(self):
        self.refuse_together("width", "height")


def test_a_command_receives_an_object_for_options_that_belong_together():
    def draw(name, *, size: Size, border: int = 1):
        raise AssertionError("is only looked at")

    signature = options.flatten(draw)
    assert list(signature.parameters) == ["name", "width", "height", "border"]
    width = signature.parameters["width"]
    assert width.default is width.empty
    assert typing.get_args(width.annotation)[1].rich_help_panel == "Size"
    values = {"name": "a", "width": 3, "height": None, "border": 2}
    found = options.gather(draw, values)
    assert found.keys() == {"name", "size", "border"}
    assert vars(found["size"]) == {"width": 3, "height": None}
    assert found["size"].given() == {"width": 3}


def test_options_that_exclude_each_other_are_named():
    expected = "`--width` can't be given together with --height"
    with pytest.raises(ValueError, match=expected):
        Size(width=3, height=4)


# Options that there aren't.


@pytest.mark.parametrize(
    "command, mistyped, meant",
    [
        ("generate", "--temprature", "--temperature"),
        ("generate", "--sed", "--seed"),
        ("generate", "--top_p", "--top-p"),
        ("generate", "--length", "--seconds"),
        ("generate", "--lenght", "--seconds"),
        ("generate", "--model", "--preset"),
        ("train", "--lr", "--learning-rate"),
        ("train", "--layers", "--num-layers"),
        ("train", "--batch", "--batch-size"),
        ("train", "--epochs", "--steps"),
        ("train-gan", "--output", "--out"),
        ("generate", "--minutes", None),
        ("train", "--xyzzy", None),
    ],
)
def test_a_mistyped_option_suggests_what_it_meant_or_nothing(
    command, mistyped, meant, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    result = invoke(command, mistyped, "3")
    assert result.exit_code == 2
    assert f"No such option: {mistyped}" in result.stderr
    suggested = f"(Possible options: {meant})" in result.stderr
    assert suggested if meant else "Possible" not in result.stderr


def test_the_program_says_its_version():
    assert succeed("--version") == f"pianogen {keras_pianogen.__version__}\n"
