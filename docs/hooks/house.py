"""The rooms and files of the package, listed in these pages by themselves.

`<!-- house: rooms -->` in a page becomes a list of all rooms and files, each
with the first sentence of its docstring. `<!-- house: order -->` becomes the
order of imports, as `pyproject.toml` has it for import-linter. So a new file
needs no entry anywhere.
"""

import ast
import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "keras_pianogen"
SENTENCE = re.compile(r".*?[.](?=\s+[A-Z`]|$)")


def on_page_markdown(markdown, **_):
    """Puts the lists in the places of their marks."""
    for mark, lines in (("rooms", rooms), ("order", order)):
        comment = f"<!-- house: {mark} -->"
        if comment in markdown:
            markdown = markdown.replace(comment, "\n".join(lines()))
    return markdown


def rows():
    """The rows of the import contract, from the top down."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for contract in settings["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "layers":
            return contract["layers"]
    raise ValueError("pyproject.toml must have a contract of layers")


def order():
    return ["```text", *rows(), "```"]


def rooms():
    """A list of files for each room, in the order in which data flows."""
    yield f"- `__init__.py`: {summary(PACKAGE / '__init__.py')}"
    for row in reversed(rows()):
        for name in row.split(" | "):
            folder = PACKAGE / name
            if not folder.is_dir():
                yield f"- `{name}.py`: {summary(folder.with_suffix('.py'))}"
                continue
            yield f"- **`{name}/`**: {summary(folder / '__init__.py')}"
            for path in sorted(folder.glob("*.py")):
                if path.name != "__init__.py":
                    yield f"    - `{path.name}`: {summary(path)}"


def summary(path):
    """The first sentence of a file's docstring, which is on its first line."""
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    sentence = SENTENCE.match(docstring.partition("\n")[0])
    if sentence is None:
        raise ValueError(
            "The first line of a docstring must hold a sentence. Received: "
            f"{docstring[:80]!r} in {path}"
        )
    return sentence[0]
