"""The weights of a preset, checked before a model reads them."""

import contextlib
import pathlib
import reprlib

import h5py
import keras
import numpy as np

from keras_pianogen.models.configs import read_json

WEIGHTS = "model.weights.h5"
TASK_WEIGHTS = "task.weights.h5"  # of what a task adds to its backbone
SHARDS = "model.weights.json"  # which names files, if the weights have several


def check_weight_files(folder):
    """Check that a preset's weights are finite numbers in its own files.

    Returns:
        A pair: the numbers of weights of the backbone and of what the task
        adds to it. Each is `None` if there is no file.

    Raises:
        ValueError: if they aren't.
    """
    backbone = task = None
    if (folder / WEIGHTS).exists():
        backbone = _count(folder / WEIGHTS)
    elif (folder / SHARDS).exists():
        backbone = sum(_count(folder / file) for file in shards_of(folder))
    if (folder / TASK_WEIGHTS).exists():
        task = _count(folder / TASK_WEIGHTS)
    return backbone, task


def _count(path):
    """Count the weights in a file, after a check that all are finite."""
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


def check_agreement(model, stored):
    """Check that a model has as many weights as its preset stores.

    Keras refuses files with fewer weights, and ignores those that are more.

    Args:
        model: a backbone or a task that was loaded.
        stored: the pair of `check_weight_files`.

    Raises:
        ValueError: if the files hold more.
    """
    backbone = getattr(model, "backbone", model)
    # The parts of a GAN are stored once for each way to them.
    if any(isinstance(x, keras.Model) for x in backbone.layers):
        return
    counts = {"config.json": backbone.count_params()}
    if backbone is not model:
        added = model.count_params() - backbone.count_params()
        counts["task.json"] = added
    for (file, count), expected in zip(counts.items(), stored):
        if expected not in (None, count):
            raise ValueError(
                f"{file} must describe the {expected:,} weights that are "
                f"stored. Received: {count:,} weights"
            )
