"""The examples in the docstrings, run as written."""

import doctest
import importlib
import pkgutil

import pytest

import keras_pianogen

pytestmark = pytest.mark.one_backend


def module_names():
    """Every module but the command line, which has no examples."""
    prefix = "keras_pianogen."
    found = pkgutil.walk_packages(keras_pianogen.__path__, prefix)
    return sorted(m.name for m in found if m.name != "keras_pianogen.cli")


@pytest.mark.parametrize("name", module_names())
def test_the_examples_in_the_docstrings_hold(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.testmod(module, optionflags=flags).failed == 0
