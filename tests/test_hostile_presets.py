"""Presets made to do harm are refused, and do nothing before."""

import contextlib
import shutil
import sys

import keras_hub
import numpy as np
import pytest
from command_line import fail
from hostile_presets import HOSTILE
from hostile_presets import TOKENIZERS
from hostile_presets import setting
from small_models import build_model

from keras_pianogen.gan import MusicTransformerDiscriminator
from keras_pianogen.gan import TransformerGAN
from keras_pianogen.models import LSTMBackbone
from keras_pianogen.models import LSTMLanguageModel
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import NoteTransformerBackbone
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.models import NoteTransformerCausalLMPreprocessor
from keras_pianogen.models import NoteTupleTokenizer
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.models import load_language_model
from keras_pianogen.models.sums import write_sums
from keras_pianogen.note_tuples import NoteTuples

pytestmark = [
    pytest.mark.one_backend,
    pytest.mark.filterwarnings(
        "ignore:.* is loaded unchecked", "ignore:Skipping nested"
    ),
]

LOADERS = {
    "events": (
        MusicTransformerCausalLM.from_preset,
        load_language_model,
        MusicTransformerBackbone.from_preset,
        MusicTransformerCausalLMPreprocessor.from_preset,
        PerformanceTokenizer.from_preset,
    ),
    "notes": (
        NoteTransformerCausalLM.from_preset,
        NoteTransformerBackbone.from_preset,
        NoteTransformerCausalLMPreprocessor.from_preset,
        NoteTupleTokenizer.from_preset,
    ),
    "gan": (TransformerGAN.from_preset,),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The folder of the sound presets, by kind."""
    folder = tmp_path_factory.mktemp("sound")
    model = build_model(num_layers=2)
    model.save_to_preset(folder / "events")
    NoteTransformerCausalLM(
        NoteTransformerBackbone(
            form=NoteTuples(),
            num_layers=1,
            num_heads=2,
            hidden_dim=16,
            intermediate_dim=32,
        ),
        NoteTransformerCausalLMPreprocessor(NoteTupleTokenizer()),
    ).save_to_preset(folder / "notes")
    discriminator = MusicTransformerDiscriminator.from_music_transformer(
        model.backbone, num_layers=1
    )
    gan = TransformerGAN(model, discriminator)
    gan.compile(averaging=0.9)
    gan.save_to_preset(folder / "gan")
    return folder


@contextlib.contextmanager
def watched():
    """Yields a list of what was written, run or connected to meanwhile."""
    seen.clear()
    watching.append(True)
    try:
        yield seen
    finally:
        watching.clear()


seen, watching = [], []
HARM = ("subprocess", "socket", "os.system", "os.exec", "os.mkdir", "marshal")


def _watch(event, args):
    if not watching:
        return
    wrote = event == "open" and any(x in str(args[1]) for x in "wax+")
    if wrote or event.startswith(HARM):
        seen.append((event, args))


sys.addaudithook(_watch)


def test_the_sound_presets_load(sound):
    for kind, loaders in LOADERS.items():
        for load in loaders:
            load(sound / kind)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_preset_is_one_value_error_that_names_it(
    name, sound, tmp_path
):
    hostile = HOSTILE[name]
    folder = tmp_path / "preset"
    shutil.copytree(sound / hostile.kind, folder)
    hostile.make(folder)
    loaders = LOADERS[hostile.kind][: hostile.models_only or None]
    with watched() as harm:
        for load in loaders:
            with pytest.raises(ValueError) as refusal:
                load(folder)
            message = str(refusal.value)
            assert hostile.named in message and len(message) < 1000
        assert harm == []
    assert [x.name for x in tmp_path.iterdir()] == ["preset"]


def test_there_are_169_of_them():
    assert len(HOSTILE) >= 169


@pytest.mark.parametrize("path", ["/tmp/overwritten.json", "../x.json", ""])
def test_no_class_takes_a_name_to_be_saved_under(path, sound, tmp_path):
    tokenizer = PerformanceTokenizer()
    for make in (
        lambda: PerformanceTokenizer(config_file=path),
        lambda: MusicTransformerCausalLMPreprocessor(
            tokenizer, config_file=path
        ),
    ):
        with pytest.raises(ValueError, match="`config_file` must be '.*json'"):
            make()
    shutil.copytree(sound / "events", tmp_path / "preset")
    setting(TOKENIZERS, "config_file", path)(tmp_path / "preset")
    # KerasHub's own classes don't check the files, but make our objects.
    with pytest.raises(TypeError, match="`config_file` must be"):
        keras_hub.models.CausalLM.from_preset(str(tmp_path / "preset"))


def test_training_from_a_hostile_preset_writes_nothing(
    sound, small_corpus, tmp_path
):
    target = tmp_path / "overwritten.json"
    shutil.copytree(sound / "events", tmp_path / "preset")
    setting(TOKENIZERS, "config_file", str(target))(tmp_path / "preset")
    write_sums(tmp_path / "preset")
    error, _ = fail(
        "train", small_corpus.folder, "--out", tmp_path / "run",
        "--preset", tmp_path / "preset", "--steps", "1",
    )  # fmt: skip
    assert "task.json is wrong" in error and "`config_file` must be" in error
    assert not target.exists()


def test_baselines_refuse_a_tokenizer_with_more_ids():
    backbone = LSTMBackbone(vocabulary_size=100, num_layers=1, hidden_dim=8)
    preprocessor = MusicTransformerCausalLMPreprocessor(PerformanceTokenizer())
    with pytest.raises(ValueError, match="at least the tokenizer's, 391"):
        LSTMLanguageModel(backbone, preprocessor)


def test_random_bytes_in_a_file_are_a_value_error_or_harmless(sound, tmp_path):
    rng = np.random.default_rng(0)
    shutil.copytree(sound / "events", tmp_path / "preset")
    files = ["config.json", "task.json", "tokenizer.json", "model.weights.h5"]
    (tmp_path / "preset" / "SHA256SUMS").unlink()
    refused = 0
    for i in range(60):
        path = tmp_path / "preset" / files[i % 4]
        content = path.read_bytes()
        damaged = bytearray(content)
        for at in rng.integers(len(damaged), size=4):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            MusicTransformerCausalLM.from_preset(tmp_path / "preset")
        except ValueError:
            refused += 1
        path.write_bytes(content)
    assert refused >= 45
