"""The package as a whole: what `import keras_pianogen` does and doesn't do."""

import ast
import importlib.metadata
import pathlib
import subprocess
import sys

import pytest

import keras_pianogen

pytestmark = pytest.mark.one_backend

PACKAGE = pathlib.Path(keras_pianogen.__file__).parent
BACKENDS = ("keras", "keras_hub", "tensorflow", "jax", "torch")


def run_python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_package_starts_no_backend_and_prints_nothing():
    code = f"""
import sys, keras_pianogen
loaded = [name for name in {BACKENDS} if name in sys.modules]
assert not loaded, loaded
"""
    assert run_python(code) == ""


def test_importing_the_package_imports_no_other():
    code = """
import sys
before = set(sys.modules)
import keras_pianogen
names = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*names - sys.stdlib_module_names)
"""
    assert run_python(code).split() == ["keras_pianogen"]


def test_reading_midi_starts_no_backend():
    code = f"""
import sys, keras_pianogen
keras_pianogen.read_notes, keras_pianogen.write_midi
keras_pianogen.EventVocabulary, keras_pianogen.Maestro
keras_pianogen.Corpus, keras_pianogen.prepare_corpus
keras_pianogen.plot_piano_roll, keras_pianogen.render
loaded = [name for name in {BACKENDS} if name in sys.modules]
assert not loaded, loaded
"""
    run_python(code)


@pytest.mark.parametrize("name", keras_pianogen.__all__)
def test_every_public_name_loads_and_is_listed(name):
    assert getattr(keras_pianogen, name) is not None
    assert name in dir(keras_pianogen)


def test_public_modules_can_be_imported_from():
    from keras_pianogen.comparison import compare
    from keras_pianogen.evaluation import evaluate
    from keras_pianogen.gan_training import GanRecipe
    from keras_pianogen.samplers import build_sampler
    from keras_pianogen.two_sample import judge_continuations

    assert compare is keras_pianogen.comparison.compare
    assert evaluate is keras_pianogen.evaluation.evaluate
    assert GanRecipe is keras_pianogen.training.GanRecipe
    assert build_sampler is keras_pianogen.samplers.build_sampler
    assert judge_continuations is keras_pianogen.two_sample.judge_continuations
    with pytest.raises(ImportError, match="no_such_name"):
        from keras_pianogen.samplers import no_such_name  # noqa: F401


def test_type_checkers_see_exactly_the_public_names():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    shown = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert shown == set(keras_pianogen.__all__)


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'read_nots'"):
        _ = keras_pianogen.read_nots


def test_the_version_is_the_installed_distributions():
    installed = importlib.metadata.version("keras-pianogen")
    assert keras_pianogen.__version__ == installed


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()
