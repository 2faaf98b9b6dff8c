"""Files that stand elsewhere in the repository, as parts of these pages.

The card of each bundled preset becomes the page `presets/NAME.md`, each
notebook of `examples/` a file to download, `notebooks/NAME.ipynb`, and
CHANGELOG.md the page `changelog.md`. They are written once, where they belong,
and appear here when the pages are built. The version in the footer of every
page is that of pyproject.toml.
"""

import pathlib
import tomllib

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[2]
PRESETS = ROOT / "keras_pianogen" / "presets"


def on_config(config):
    """Puts the version into the footer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    config.copyright = f"{config.site_name} {project['version']}"
    return config


def on_files(files, config):
    """Adds the files to those of the pages."""
    for card in sorted(PRESETS.glob("*/README.md")):
        add(files, config, f"presets/{card.parent.name}.md", card)
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        add(files, config, f"notebooks/{notebook.name}", notebook)
    changes = (ROOT / "CHANGELOG.md").read_text().replace("](docs/", "](")
    files.append(File.generated(config, "changelog.md", content=changes))
    return files


def add(files, config, uri, path):
    files.append(File.generated(config, uri, content=path.read_text()))
