"""Presets by name: their folders and the hashes of their files."""

import contextlib
import functools
import os
import pathlib
import warnings

import keras
import keras_hub

from keras_pianogen.layers.ranges import checked
from keras_pianogen.models.configs import KINDS
from keras_pianogen.models.configs import check_configs
from keras_pianogen.models.configs import read_json
from keras_pianogen.models.sums import SUMS
from keras_pianogen.models.sums import read_sums
from keras_pianogen.models.sums import verify
from keras_pianogen.models.sums import write_sums
from keras_pianogen.models.weights import SHARDS
from keras_pianogen.models.weights import TASK_WEIGHTS
from keras_pianogen.models.weights import WEIGHTS
from keras_pianogen.models.weights import check_agreement
from keras_pianogen.models.weights import check_weight_files
from keras_pianogen.models.weights import shards_of
from keras_pianogen.notices.preset_names import FOLDER
from keras_pianogen.notices.preset_names import check_preset

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
    "note_transformer_maestro": {
        "metadata": {
            "description": (
                "4 layers, 3.4 million parameters, trained on MAESTRO v3.0.0 "
                "on two CPU cores; music as notes, 512 notes of context. It "
                "fills gaps, has controls and performs scores. "
                "CC BY-NC-SA 4.0."
            ),
            "params": 3_351_364,
        },
        "sha256": {
            "config.json": (
                "b751be6f314d1d0ee39841d26b98d6000920d30983f2cb95bd8aaacb92925568"
            ),
            "metadata.json": (
                "4a2efe6d6e5c5d503aa9e15e2c352374f8b77dc363895f3068e9dc007ed80137"
            ),
            "model.weights.h5": (
                "83c9109f68949799e8d58b2b66780387906cac3d47a3df5b98383cf2bdddd208"
            ),
            "preprocessor.json": (
                "c883934cd66bfd513be8425b40ddf92a76d4673fef6426c3c21352e8b7d88744"
            ),
            "task.json": (
                "64cebfb8a42c6a712da4cebf96532f3cb97c0f32a8ec34f567a5116b73caa034"
            ),
            "task.weights.h5": (
                "6e4cd6d9e4adeb00ff3076dc78c81f3f46addaa8cd4c3f2e56bd331f0cc608d1"
            ),
            "tokenizer.json": (
                "e4fea902d61e352af409ef8a9a2fbf0d59d425d0ddacd9d8cebcf84e716aa604"
            ),
        },
    },
}

REINSTALL = (
    "`git restore keras_pianogen/presets` in the project's folder, and there "
    "`pip install --force-reinstall --no-deps .`, bring the bundled presets "
    "back."
)


def bundled_presets(cls):
    """Class decorator: `from_preset` also takes the package's own presets."""
    cls = verified_presets(cls)
    cls.presets = PRESETS
    return cls


def verified_presets(cls):
    """Class decorator: what is loaded from a preset is checked beforehand.

    The files must be unchanged. The hashes of bundled presets are in
    `PRESETS`; folders and repositories bring theirs in a file `SHA256SUMS`,
    without which they are loaded with a warning. The configurations must
    describe objects of this package, with arguments in their ranges (see
    `configs`), and the weights must be finite.
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
            ValueError: if there is no such preset, if a file has changed
                since it was saved, or if something in a file is wrong.
        """
        folder, stored = _checked(preset)
        relative = _relative(cls, folder)
        if relative is not None:
            return relative.from_preset(preset, *args, **kwargs)
        with _naming(preset):
            loaded = inherited(cls, str(folder), *args, **kwargs)
            backbone = getattr(loaded, "backbone", loaded)
            if isinstance(backbone, keras_hub.models.Backbone):
                check_agreement(loaded, stored)
        return loaded

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
    return checked(cls)


def _relative(cls, folder):
    """The class of a preset, if `cls` loads it too; see `Generates`."""
    family = getattr(cls, "preset_family", None)
    if family is None or not (folder / "task.json").exists():
        return None
    name = read_json(folder / "task.json")["registered_name"]
    found = keras.saving.get_registered_object(name)
    is_other = not issubclass(found, cls) and issubclass(found, family)
    return found if is_other else None


def _explain_bundled(base):
    """Makes KerasHub's own `from_preset` say how to load a bundled preset."""
    inherited = base.from_preset.__func__

    @classmethod
    @functools.wraps(inherited)
    def from_preset(cls, preset, *args, **kwargs):
        if preset in PRESETS:
            raise ValueError(
                f"{preset!r} is a preset of keras_pianogen. Load it with "
                "`keras_pianogen.models.MusicTransformerCausalLM.from_preset("
                f"{preset!r})`, or with another class of these models."
            )
        return inherited(cls, preset, *args, **kwargs)

    base.from_preset = from_preset


# KerasHub knows no presets of other packages, and would only call the name
# unknown.
for _base in (
    keras_hub.models.Backbone,
    keras_hub.models.Task,
    keras_hub.models.Preprocessor,
    keras_hub.tokenizers.Tokenizer,
):
    _explain_bundled(_base)


@contextlib.contextmanager
def _naming(preset):
    """Makes any error a `ValueError` that names the preset."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"The preset in {os.fspath(preset)} can't be loaded: {error}"
        ) from error


def locate(preset):
    """Find a preset and check its files.

    Args:
        preset: see `from_preset`.

    Returns:
        A string, the preset's folder.

    Raises:
        ValueError: if there is no such preset, if a file has changed since it
            was saved, or if something in a file is wrong.
        ConnectionError: if a preset can't be downloaded.
    """
    folder, _ = _checked(preset)
    return str(folder)


def _checked(preset):
    """The folder of a preset and the number of its weights, both checked."""
    check_preset(preset)
    name = os.fspath(preset)
    if name in PRESETS:
        folder, sums = FOLDER / name, PRESETS[name]["sha256"]
        verify(f"{name!r}", folder, sums, REINSTALL)
    else:
        folder = _find(name)
        _verify_own_sums(name, folder)
    with _naming(preset):
        check_configs(folder)
        return folder, check_weight_files(folder)


def _find(name):
    """The folder of a preset that isn't bundled."""
    scheme, _, repository = name.partition("://")
    if repository and scheme in DOWNLOADS:
        return pathlib.Path(DOWNLOADS[scheme](name, repository))
    return pathlib.Path(name)


def _verify_own_sums(name, folder):
    """Compare files with the preset's own `SUMS`; warn if it has none."""
    if (folder / SUMS).exists():
        is_download = "://" in name
        hint = "Clear the cache and load it" if is_download else "Copy it"
        verify(f"in {name}", folder, read_sums(folder), f"{hint} again.")
    elif (folder / "config.json").exists():
        warnings.warn(
            f"The preset in {name} is loaded unchecked, because it has no "
            f"{SUMS} to compare its files with.",
            stacklevel=4,
        )


def _download_from_hugging_face(handle, repository):
    """Download a preset's files. Returns their folder."""
    sums = _fetch(handle, repository, SUMS)
    if sums is not None:
        folder = pathlib.Path(sums).parent
        for file in read_sums(folder):
            _fetch(handle, repository, file)  # `verify` names missing files.
        return folder
    files = [*KINDS, TASK_WEIGHTS, WEIGHTS]
    paths = [_fetch(handle, repository, file) for file in files]
    if paths[0] is None:
        raise ValueError(f"{handle} must have a {files[0]}, and has none.")
    folder = pathlib.Path(paths[0]).parent
    if paths[-1] is None and _fetch(handle, repository, SHARDS):
        with _naming(handle):
            for file in shards_of(folder):
                _fetch(handle, repository, file)
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


def _download_from_kaggle(handle, repository):
    import kagglehub

    return kagglehub.model_download(repository)


def _download_from_modelscope(handle, repository):
    from modelscope.hub.snapshot_download import snapshot_download

    return snapshot_download(repository)


# How presets of a handle are downloaded: functions of the handle and of what
# follows "://".
DOWNLOADS = {
    "hf": _download_from_hugging_face,
    "kaggle": _download_from_kaggle,
    "modelscope": _download_from_modelscope,
}
