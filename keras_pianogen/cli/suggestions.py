"""What a mistyped option may have meant."""

import difflib

import typer.core

# Names that other programs give to options, and ours.
ELSEWHERE = {
    "--checkpoint": "--preset",
    "--duration": "--seconds",
    "--epochs": "--steps",
    "--input": "--prompt",
    "--length": "--seconds",
    "--model": "--preset",
    "--output": "--out",
    "--time": "--seconds",
}
ALIKE = 0.8  # the least similarity of a name to what it may have meant


class SuggestingCommand(typer.core.TyperCommand):
    """A command that suggests few options for an unknown one, or none."""

    def parse_args(self, ctx, args):
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            # Typer has no public name for the class of this error.
            if hasattr(error, "option_name") and hasattr(
                error, "possibilities"
            ):
                options = [x for p in self.params for x in p.opts]
                error.possibilities = suggest(error.option_name, options)
            raise


def suggest(name, options):
    """The options that a name may have meant, a list.

    Args:
        name: what was typed, such as `--lr`.
        options: list of the known names.

    Examples:
        >>> options = ["--learning-rate", "--num-layers", "--out", "--min-p"]
        >>> suggest("--lr", options), suggest("--layers", options)
        (['--learning-rate'], ['--num-layers'])
        >>> suggest("--outt", options), suggest("--minutes", options)
        (['--out'], [])
        >>> suggest("--lenght", ["--seconds"])  # as `--length`
        ['--seconds']
    """
    name = name.replace("_", "-")
    words = name.strip("-").split("-")
    for means in (
        lambda option: option == name,
        lambda option: option == ELSEWHERE.get(name),
        lambda option: set(words) <= set(option.strip("-").split("-")),
        lambda option: name == f"--{_initials(option)}",
    ):
        meant = [option for option in options if means(option)]
        if meant:
            return meant
    elsewhere = {of: ours for of, ours in ELSEWHERE.items() if ours in options}
    known = [*options, *elsewhere]
    close = difflib.get_close_matches(name, known, n=1, cutoff=ALIKE)
    return [elsewhere.get(option, option) for option in close]


def _initials(option):
    return "".join(word[0] for word in option.strip("-").split("-"))
