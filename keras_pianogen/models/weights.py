"""The weights of a preset, checked before a model reads them."""

import contextlib
import pathlib
import reprlib

import h5py
import keras
import numpy as np

from keras_pianogen.models.configs import read_json

WEIGHTS = "model.weights.h5"
SHARDS = "model.weights.json"  # which names files, if the weights have several


def check_weight_files(folder):
    """Check that a preset's weights are finite numbers in its own files.

    Returns:
        The number of weights in them, or `None` if there are no files.

    Raises:
        ValueError: if they aren't.
    """
    if (folder / WEIGHTS).exists():
        return _count(folder / WEIGHTS)
    if (folder / SHARDS).exists():
        return sum(_count(folder / file) for file in shards_of(folder))
    return None


def _count(path):
    """The number of weights in a file, each of which must be finite."""
    if not h5py.is_hdf5(path):
        raise ValueError(f"{path.name} is missing, or is no HDF5 file.")
    links, items = [], []
    with contextlib.closing(h5py.File(path)) as file:
        file.visititems_links(lambda *link: links.append(link))
        for name, link in links:
            if not isinstance(link, h5py.HardLink):
                raise ValueError(
                    f"weights must be in {path.name} itself. Received: "
                    f"{name}, a link to {reprlib.repr(link.path)}"
                )
        file.visititems(lambda *item: items.append(item))
        weights = [x for x in items if isinstance(x[1], h5py.Dataset)]
        for name, dataset in weights:
            _check_finite(f"{name} of {path.name}", dataset)
        return sum(dataset.size for _, dataset in weights)


def _check_finite(name, weights):
    """Refuse weights that the file only refers to, or that aren't finite."""
    if (
        weights.external is not None
        or weights.dtype.kind not in "fiu"
        or weights.id.get_storage_size() != weights.nbytes
    ):
        raise ValueError(
            f"{name} must be numbers that are in the file, uncompressed. "
            f"Received: {weights.dtype} of shape {weights.shape}, "
            f"{weights.id.get_storage_size():,} bytes"
        )
    if not np.isfinite(weights[()]).all():
        raise ValueError(f"{name} must be finite, and is not.")


def shards_of(folder):
    """The names of the files that hold the weights, a sorted list."""
    content = read_json(folder / SHARDS)
    places = content.get("weight_map") if isinstance(content, dict) else None
    places = places.values() if isinstance(places, dict) else [None]
    files = set()
    for place in places:
        files.update(place if isinstance(place, list) else [place])
    for file in files:
        if not isinstance(file, str) or pathlib.Path(file).name != file:
            raise ValueError(
                f"{SHARDS} must name files of its own folder. "
                f"Received: {reprlib.repr(file)}"
            )
    return sorted(files)


def check_agreement(backbone, stored):
    """Check that a backbone has as many weights as its preset stores.

    Keras refuses files with fewer weights, and ignores those that are more.

    Args:
        backbone: a backbone that was loaded.
        stored: int. The number of weights in the preset's files, or `None`
            if there are no files.

    Raises:
        ValueError: if the files hold more.
    """
    # The parts of a GAN are stored once for each way to them.
    is_whole = not any(isinstance(x, keras.Model) for x in backbone.layers)
    if is_whole and stored not in (None, backbone.count_params()):
        raise ValueError(
            f"config.json must describe the {stored:,} weights that are "
            f"stored. Received: {backbone.count_params():,} weights"
        )
