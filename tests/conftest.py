"""Fixtures shared by the tests, and the order in which backends load."""

import os
import pathlib

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if os.environ.get("KERAS_BACKEND") == "torch":
    # Torch loaded after TensorFlow can crash the interpreter.
    import torch  # noqa: F401

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared():
    """The folder of data beside the repository; tests skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"needs {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def maestro_folder(shared):
    """MAESTRO v3.0.0, MIDI and metadata."""
    return shared / "data" / "maestro-v3.0.0"
