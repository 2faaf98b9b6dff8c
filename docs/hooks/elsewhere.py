"""Files that stand elsewhere in the repository, as parts of these pages.

The card of each bundled preset becomes the page `presets/NAME.md`, and each
notebook of `examples/` a file to download, `notebooks/NAME.ipynb`. Both are
written once, where they belong, and appear here when the pages are built.
"""

import pathlib

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRESETS = ROOT / "keras_pianogen" / "presets"


def on_files(files, config):
    """Adds the files to those of the pages."""
    for card in sorted(PRESETS.glob("*/README.md")):
        add(files, config, f"presets/{card.parent.name}.md", card)
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        add(files, config, f"notebooks/{notebook.name}", notebook)
    return files


def add(files, config, uri, path):
    files.append(File.generated(config, uri, content=path.read_text()))
