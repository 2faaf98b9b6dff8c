"""The list of the package's files in docs/contributing.md makes itself."""

import pathlib
import re
import runpy

import pytest

pytestmark = pytest.mark.one_backend

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "keras_pianogen"
FILES = sorted(PACKAGE.rglob("*.py"))
HOUSE = runpy.run_path(str(ROOT / "docs" / "hooks" / "house.py"))


@pytest.fixture(scope="module")
def page():
    """The page, with its lists."""
    markdown = (ROOT / "docs" / "contributing.md").read_text()
    return HOUSE["on_page_markdown"](markdown, page=None)


def test_every_file_opens_with_a_sentence_of_a_line(page):
    for path in FILES:
        sentence = HOUSE["summary"](path)
        assert len(sentence) <= 80, path
        assert f": {sentence}\n" in page, path


def test_every_file_is_listed_once_in_its_room(page):
    listed, room = [], PACKAGE
    for indent, name in re.findall(r"^( *)- \**`([\w/.]+)`\**: ", page, re.M):
        if name.endswith("/"):
            room = PACKAGE / name
            listed.append(room / "__init__.py")
        else:
            listed.append((room if indent else PACKAGE) / name)
    assert sorted(listed) == FILES


def test_the_rooms_stand_in_the_order_of_the_data(page):
    places = [
        page.index(f"**`{room}/`**")
        for room in ("midi", "data", "models", "judging", "cli")
    ]
    assert places == sorted(places)
    assert "\ncli\ntraining | " in page


@pytest.mark.parametrize("docstring", ["", "No full stop", "Is this one?"])
def test_a_file_without_a_sentence_ends_the_build(tmp_path, docstring):
    path = tmp_path / "file.py"
    path.write_text(f'"""{docstring}"""\n')
    with pytest.raises(ValueError, match=r"sentence.*file\.py"):
        HOUSE["summary"](path)
