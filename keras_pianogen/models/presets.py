"""Presets by name: their folders and the hashes of their files."""

import importlib.util
import os
import pathlib
import warnings

from keras_pianogen.files import sha256
from keras_pianogen.files import whole
from keras_pianogen.hints import hinted

# The presets inside the package, with the sha256 of each file that is read
# when they load.
PRESETS = {
    "music_transformer_maestro": {
        "metadata": {
            "description": (
                "6 layers, 3.9 million parameters, trained on MAESTRO v3.0.0; "
                "magenta vocabulary, 1,024 events of context. "
                "CC BY-NC-SA 4.0."
            ),
            "params": 3_853_824,
        },
        "sha256": {
            "config.json": (
                "8050c3bd1d6173e7a914cac3181674da3ecd8837419c5ccc7996a3a65db63767"
            ),
            "metadata.json": (
                "8cd93771e7c2d72cded3ca9aea7d5c377d25197d34d20c8d43de4831d1eac1a6"
            ),
            "model.weights.h5": (
                "15102f60f339fbde35cb2a49a45e56da0edd77c4e0f5856234f738feb73b5e92"
            ),
            "preprocessor.json": (
                "15eecdf4bbb88b0b85ba7ef36b1b461b259ad91b68ce72ee4a0be0b5377fe5b1"
            ),
            "task.json": (
                "7366148f0cef15e24805e9188c3788ce71d2f49aa3d5ea6849e489b27246340c"
            ),
            "tokenizer.json": (
                "1c376a5cba6232d047125eba13455d78e0593760d2ec046ed31dc7bd64e07c11"
            ),
        },
    },
    "music_transformer_small_maestro": {
        "metadata": {
            "description": (
                "4 layers, 2.2 million parameters, trained on MAESTRO v3.0.0 "
                "on two CPU cores; magenta vocabulary, 512 events of context. "
                "CC BY-NC-SA 4.0."
            ),
            "params": 2_248_128,
        },
        "sha256": {
            "config.json": (
                "46fc9e887371e9a7c967938fdbf2ddf352203a7692ac67a74cb1160d4250d51b"
            ),
            "metadata.json": (
                "6b30c8bd754ad648086aba22f9c37a85a235e9264092e115d3910c2e7a27c995"
            ),
            "model.weights.h5": (
                "6a2100afbeec9eee82949e32dca393bd48b432bf893c932486a008ff1213991b"
            ),
            "preprocessor.json": (
                "30049ee47876af5bc2c9f5a127bf3398d2688ac8219a54a4b11d58e1bfd69964"
            ),
            "task.json": (
                "00c077c965b50c33dea52713302902226b420a474d9ced9fee8a8b1bc80902a0"
            ),
            "tokenizer.json": (
                "1c376a5cba6232d047125eba13455d78e0593760d2ec046ed31dc7bd64e07c11"
            ),
        },
    },
}

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "presets"

# The file of a saved preset that lists the sha256 of its other files, in the
# format of the program `sha256sum`.
SUMS = "SHA256SUMS"

REINSTALL = (
    "`pip install --force-reinstall --no-deps keras_pianogen` installs the "
    "bundled presets again."
)


def bundled_presets(cls):
    """Class decorator: `from_preset` also takes the package's own presets."""
    cls = verified_presets(cls)
    cls.presets = PRESETS
    return cls


def verified_presets(cls):
    """Class decorator: presets are loaded only if their files are unchanged.

    The hashes of bundled presets are in `PRESETS`. Folders and Hugging Face
    repositories bring theirs in a file `SHA256SUMS`. A preset without that
    file, or from another source, is loaded unchecked, with a warning.
    """
    inherited = cls.from_preset.__func__
    inherited_save = cls.save_to_preset

    @classmethod
    def from_preset(cls, preset, *args, **kwargs):
        """Load from a preset.

        Args:
            preset: a bundled preset's name (see `cls.presets`), a local
                folder, or a `hf://`, `kaggle://` or `modelscope://` handle.
            *args: passed on to KerasHub's `from_preset`.
            **kwargs: passed on to KerasHub's `from_preset`; for models
                `load_weights` and `dtype`.

        Returns:
            An object of this class.

        Raises:
            ValueError: if there is no such preset, or if a file has changed
                since it was saved.
        """
        return inherited(cls, locate(preset), *args, **kwargs)

    def save_to_preset(self, preset_dir, *args, **kwargs):
        """Save as a preset, a folder that `from_preset` takes.

        Args:
            preset_dir: path of the folder, which is created.
            *args: passed on to KerasHub's `save_to_preset`.
            **kwargs: passed on to KerasHub's `save_to_preset`, such as
                `max_shard_size`.
        """
        inherited_save(self, preset_dir, *args, **kwargs)
        write_sums(preset_dir)

    cls.from_preset = from_preset
    cls.save_to_preset = save_to_preset
    return cls


def locate(preset):
    """Find a preset and verify its files.

    Args:
        preset: see `from_preset`.

    Returns:
        A string, the preset's folder or its handle.

    Raises:
        ValueError: if there is no such preset, or if a file has changed since
            it was saved.
        ConnectionError: if a preset can't be downloaded.
    """
    name = os.fspath(preset)
    if name in PRESETS:
        folder, sums = FOLDER / name, PRESETS[name]["sha256"]
        _verify(f"{name!r}", folder, sums, REINSTALL)
        return str(folder)
    if "://" in name:
        folder, hint = _download(name), "Clear the cache and load it again."
    elif os.path.isdir(name):
        folder, hint = pathlib.Path(name), "Copy it again."
    else:
        raise hinted(
            ValueError(
                "`preset` must be the name of a bundled preset "
                f"({', '.join(map(repr, PRESETS))}), a folder, or a handle "
                f"such as 'hf://user/model'. Received: preset={name!r}"
            ),
            "`pianogen train` saves a preset in RUN/preset.",
        )
    if folder is not None and (folder / SUMS).exists():
        _verify(f"in {name}", folder, _read_sums(folder), hint)
        return str(folder)
    if folder is None or (folder / "config.json").exists():
        warnings.warn(
            f"The preset in {name} is loaded unchecked, because it has no "
            f"{SUMS} to compare its files with.",
            stacklevel=3,
        )
    return name


def _download(handle):
    """Download a preset from Hugging Face.

    Returns:
        The folder, or `None` for KerasHub to load the preset itself: if it
        has no `SUMS` or its handle is of another site.
    """
    scheme, _, repository = handle.partition("://")
    if scheme != "hf" or not importlib.util.find_spec("huggingface_hub"):
        return None
    sums = _fetch(handle, repository, SUMS)
    if sums is None:
        return None
    folder = pathlib.Path(sums).parent
    for file in _read_sums(folder):
        _fetch(handle, repository, file)  # `_verify` names missing files.
    return folder


def _fetch(handle, repository, file):
    """Download one file. Returns its path, or `None` if there is none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils import EntryNotFoundError
    from huggingface_hub.utils import LocalEntryNotFoundError

    try:
        return hf_hub_download(repository, file)
    except LocalEntryNotFoundError as error:
        raise ConnectionError(
            f"The preset {handle} can't be downloaded, and no complete copy "
            f"is in the cache: {error}"
        ) from error
    except EntryNotFoundError:
        return None


def write_sums(folder):
    """Write the sha256 of each file of a preset to its `SUMS`."""
    folder = pathlib.Path(folder)
    lines = [
        f"{sha256(path)}  {path.relative_to(folder).as_posix()}\n"
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".json", ".h5")
    ]
    with whole(folder / SUMS) as part:
        part.write_text("".join(lines))


def _read_sums(folder):
    """Read `SUMS`. Returns a dict of each file's sha256."""
    try:
        text = (folder / SUMS).read_text()
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The preset in {folder} is damaged: {SUMS} can't be read: {error}"
        ) from error
    sums = {}
    for line in text.splitlines() or [""]:
        expected, _, file = line.partition("  ")
        if len(expected) != 64 or not file:
            raise ValueError(
                f"The preset in {folder} is damaged: {SUMS} must have lines "
                f"of a sha256 and a file's name. Received: {line!r}"
            )
        sums[file] = expected
    return sums


def _verify(name, folder, sums, hint):
    for file, expected in sums.items():
        try:
            received = sha256(folder / file)
        except OSError as error:
            message = f"The preset {name} is incomplete: {error}"
            raise hinted(ValueError(message), hint) from error
        if received != expected:
            message = (
                f"The preset {name} is damaged: {folder / file} must have "
                f"the sha256 {expected}. Received: {received}"
            )
            raise hinted(ValueError(message), hint)
