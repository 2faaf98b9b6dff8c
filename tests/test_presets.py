"""Presets: saved, checked, loaded again; LoRA, int8 and low precision."""

import functools
import hashlib
import http.server
import io
import random
import shutil
import subprocess
import threading

import huggingface_hub
import keras
import keras_hub
import numpy as np
import pytest
from huggingface_hub import constants
from small_models import CONTEXT
from small_models import build_model
from small_models import logits_of
from small_models import random_ids

from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import presets


def test_a_preset_gives_the_same_logits_back(tmp_path):
    model = build_model(num_layers=2)
    folder = str(tmp_path / "preset")
    model.save_to_preset(folder)
    ids = random_ids(60)
    expected = logits_of(model, ids)
    for cls in (MusicTransformerCausalLM, keras_hub.models.CausalLM):
        loaded = cls.from_preset(folder)
        assert type(loaded) is MusicTransformerCausalLM
        assert loaded.preprocessor.tokenizer.get_config()["max_shift"] == 100
        np.testing.assert_array_equal(logits_of(loaded, ids), expected)
    backbone = MusicTransformerBackbone.from_preset(folder)
    for ours, theirs in zip(
        backbone.get_weights(), model.backbone.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_half_precision_preset_loads_in_the_current_one(tmp_path):
    model = build_model()
    model.save_to_preset(str(tmp_path / "a"))
    half = MusicTransformerCausalLM.from_preset(tmp_path / "a", dtype="float16")
    half.save_to_preset(str(tmp_path / "b"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "b")
    assert loaded.backbone.token_embedding.embeddings.dtype == "float32"
    np.testing.assert_allclose(
        logits_of(loaded, random_ids(40)),
        logits_of(model, random_ids(40)),
        atol=0.05,
    )


@pytest.mark.parametrize("source", ["no_such_preset", "/no/such/folder"])
def test_an_unknown_preset_is_named(source):
    with pytest.raises(ValueError, match=source):
        MusicTransformerCausalLM.from_preset(source)


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "cls",
    [
        keras_hub.models.CausalLM,
        keras_hub.models.Backbone,
        keras_hub.models.CausalLMPreprocessor,
        keras_hub.models.GPT2Backbone,
        keras_hub.tokenizers.Tokenizer,
    ],
)
def test_keras_hub_says_how_a_bundled_preset_is_loaded(cls):
    name = "music_transformer_maestro"
    with pytest.raises(ValueError, match=f"CausalLM.from_preset.'{name}'"):
        cls.from_preset(name)


@pytest.fixture
def copied_preset(tmp_path, monkeypatch):
    """A copy of the bundled preset, which the package takes for its own."""
    name = "music_transformer_maestro"
    shutil.copytree(presets.FOLDER / name, tmp_path / name)
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    return tmp_path / name


def flip(path, rng):
    """Flip a random bit of a file."""
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


@pytest.mark.one_backend
def test_a_hundred_flipped_bits_are_a_hundred_refusals(copied_preset, tmp_path):
    build_model().save_to_preset(str(tmp_path / "own"))
    rng = random.Random(0)
    for folder, name in (
        (copied_preset, copied_preset.name),
        (tmp_path / "own", tmp_path / "own"),
    ):
        files = [p for p in folder.iterdir() if p.suffix in (".json", ".h5")]
        assert len(files) >= 6
        for i in range(50):
            path = files[i % len(files)]
            content = path.read_bytes()
            flip(path, rng)
            with pytest.raises(ValueError, match=f"damaged: .*{path.name}"):
                MusicTransformerCausalLM.from_preset(name)
            path.write_bytes(content)
        presets.locate(name)


@pytest.mark.one_backend
def test_truncated_and_missing_files_are_named(copied_preset, tmp_path):
    build_model().save_to_preset(str(tmp_path / "own"))
    for folder, name in (
        (copied_preset, copied_preset.name),
        (tmp_path / "own", tmp_path / "own"),
    ):
        weights = folder / "model.weights.h5"
        weights.write_bytes(weights.read_bytes()[:-1])
        with pytest.raises(ValueError, match="damaged: .*model.weights.h5"):
            MusicTransformerBackbone.from_preset(name)
        weights.unlink()
        with pytest.raises(ValueError, match="incomplete: .*model.weights.h5"):
            MusicTransformerCausalLM.from_preset(name)


@pytest.mark.one_backend
@pytest.mark.skipif(not shutil.which("sha256sum"), reason="no sha256sum")
def test_sums_are_those_of_sha256sum(tmp_path):
    build_model().save_to_preset(str(tmp_path))
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", presets.SUMS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr
    assert "model.weights.h5: OK" in checked.stdout
    for damaged in ("nonsense\n", ""):
        (tmp_path / presets.SUMS).write_text(damaged)
        with pytest.raises(ValueError, match="lines of a sha256"):
            MusicTransformerCausalLM.from_preset(tmp_path)


@pytest.mark.one_backend
def test_a_preset_without_sums_is_loaded_with_a_warning(tmp_path):
    build_model().save_to_preset(str(tmp_path))
    (tmp_path / presets.SUMS).unlink()
    with pytest.warns(UserWarning, match=f"{tmp_path} is loaded unchecked"):
        MusicTransformerCausalLM.from_preset(tmp_path)


def test_lora_trains_few_weights_and_changes_the_model():
    model = build_model()
    model.backbone.enable_lora(2)
    trainable = sum(np.prod(w.shape) for w in model.trainable_weights)
    assert trainable < model.count_params() / 2
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    ids = random_ids(CONTEXT * 2)
    before = logits_of(model, ids)
    model.generate(max_length=10, sampler="greedy")
    model.fit(ids, batch_size=1, verbose=0)
    after = logits_of(model, ids)
    assert np.abs(after - before).max() > 1e-3
    # What sampling uses is what training changed.
    greedy = model.generate(
        max_length=30, sampler="greedy", output="ids", stop_token_ids=None,
        grammar=False,
    )  # fmt: skip
    likeliest = logits_of(model, greedy)[:, 3:].argmax(axis=-1) + 3
    np.testing.assert_array_equal(greedy, likeliest[:-1])


# Layers that take LoRA: KerasHub's choice, and all of them.
LORA_LAYERS = {
    "query and value": None,
    "all": [
        "query",
        "key",
        "value",
        "attention_output",
        "feedforward_intermediate_dense",
        "feedforward_output_dense",
    ],
}


def with_lora(names, seed=0):
    """A model whose LoRA weights have been trained, and change it a lot."""
    model = build_model(seed, num_layers=2)
    model.backbone.enable_lora(2, target_layer_names=LORA_LAYERS[names])
    model.compile(optimizer=keras.optimizers.Adam(3e-2))
    model.fit(random_ids(CONTEXT * 2), batch_size=1, verbose=0)
    return model


# The same for all tests of a process, and not to be changed.
the_lora = functools.cache(with_lora)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param("query and value", marks=pytest.mark.one_backend),
        "all",
    ],
)
def test_lora_weights_saved_alone_give_the_same_model_back(names, tmp_path):
    before = logits_of(build_model(num_layers=2), random_ids(CONTEXT))
    model = the_lora(names)
    weights = model.trainable_weights
    assert {weight.name for weight in weights} == {
        "lora_kernel_a",
        "lora_kernel_b",
    }
    assert len(weights) == 2 * 2 * len(LORA_LAYERS[names] or "qv")
    logits = logits_of(model, random_ids(CONTEXT))
    assert np.abs(logits - before).max() > 0.1
    model.backbone.save_lora_weights(tmp_path / "my.lora.h5")
    loaded = build_model(num_layers=2)
    if names == "all":
        loaded.backbone.enable_lora(2, target_layer_names=LORA_LAYERS[names])
    loaded.backbone.load_lora_weights(tmp_path / "my.lora.h5")
    again = logits_of(loaded, random_ids(CONTEXT))
    np.testing.assert_allclose(again, logits, atol=1e-5)


def test_a_preset_has_lora_in_its_kernels(tmp_path):
    model = the_lora("all")
    model.save_to_preset(str(tmp_path / "preset"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "preset")
    ids = random_ids(CONTEXT)
    logits = logits_of(loaded, ids)
    np.testing.assert_allclose(logits, logits_of(model, ids), atol=1e-5)
    assert len(loaded.weights) == len(build_model(num_layers=2).weights)


@pytest.mark.filterwarnings(
    "ignore:.*`quantize` method implemented",
    "ignore:.*The use of `x.T`:UserWarning",
)
@pytest.mark.parametrize(
    "order",
    [
        "lora",
        pytest.param("lora, int8", marks=pytest.mark.one_backend),
        pytest.param("int8, lora", marks=pytest.mark.one_backend),
    ],
)
def test_what_is_sampled_is_likeliest_in_a_full_forward_with_lora(order):
    if order == "int8, lora":
        model = build_model()
        model.quantize("int8")
        model.backbone.enable_lora(2, target_layer_names=LORA_LAYERS["all"])
        model.compile(optimizer=keras.optimizers.Adam(3e-2))
        before = logits_of(model, random_ids(CONTEXT))
        model.fit(random_ids(CONTEXT * 2), batch_size=1, verbose=0)
        after = logits_of(model, random_ids(CONTEXT))
        assert np.abs(after - before).max() > 0.1
    else:
        model = (the_lora if order == "lora" else with_lora)("all")
        before = logits_of(model, random_ids(CONTEXT))
        if order == "lora, int8":
            model.quantize("int8")
        after = logits_of(model, random_ids(CONTEXT))
        assert np.abs(after - before).mean() < 0.1 * before.std()
    greedy = model.generate(
        max_length=CONTEXT - 1, sampler="greedy", output="ids",
        stop_token_ids=None, grammar=False,
    )  # fmt: skip
    # Special ids are never sampled. int8 rounds the two ways' inputs apart.
    logits = logits_of(model, greedy)[:-1, 3:]
    gap = logits.max(-1) - logits[np.arange(len(greedy)), greedy - 3]
    assert gap.max() <= (1e-5 if order == "lora" else 0.05 * logits.std())


@pytest.mark.filterwarnings(
    "ignore:.*`quantize` method implemented",
    "ignore:.*The use of `x.T`:UserWarning",
)
def test_int8_stays_near_and_comes_back_from_a_preset(tmp_path):
    model = build_model()
    ids = random_ids(40)
    before = logits_of(model, ids)
    model.quantize("int8")
    after = logits_of(model, ids)
    # Compared with the spread of the logits themselves.
    assert np.abs(after - before).mean() < 0.1 * before.std()
    model.save_to_preset(str(tmp_path / "int8"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "int8")
    np.testing.assert_allclose(logits_of(loaded, ids), after, atol=1e-4)
    assert len(loaded.generate(max_length=30, seed=0, output="ids")) > 0


@pytest.mark.parametrize(
    "dtype",
    [
        "mixed_bfloat16",
        pytest.param("bfloat16", marks=pytest.mark.one_backend),
    ],
)
def test_bfloat16_models_train_and_generate(dtype):
    model = build_model(dtype=dtype)
    data = model.preprocessor.windows(random_ids(100))
    history = model.fit(*data[:2], sample_weight=data[2], verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    # Keras's accuracy compares ids in the logits' dtype.
    x, y, weight = data
    logits = model.predict(x, verbose=0)
    assert logits.dtype == "float32"
    expected = ((logits.argmax(-1) == y) * weight).sum() / weight.sum()
    figures = model.evaluate(x, y, weight, verbose=0, return_dict=True)
    np.testing.assert_allclose(figures["accuracy"], expected, atol=1e-6)
    for length in (0, 100):
        ids = model.generate(
            random_ids(length), max_length=length + 40, seed=0, output="ids",
            stop_token_ids=None,
        )  # fmt: skip
        assert len(ids) == length + 39


@pytest.mark.one_backend
def test_a_preset_comes_from_a_hugging_face_handle_and_is_verified(
    tmp_path, monkeypatch
):
    model = build_model()
    for name in ("some-model", "damaged"):
        model.save_to_preset(str(tmp_path / name))
    flip(tmp_path / "damaged" / "model.weights.h5", random.Random(0))

    class Hub(http.server.SimpleHTTPRequestHandler):
        """The hub's file addresses: /USER/MODEL/resolve/main/FILE."""

        def send_head(self):
            name = self.path.replace("/resolve/main/", "/")
            path = tmp_path / name.removeprefix("/someone/")
            if not path.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            content = path.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return io.BytesIO(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        path = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(
            constants.ENDPOINT
        )
        for name, value in (
            ("ENDPOINT", address),
            ("HUGGINGFACE_CO_URL_TEMPLATE", address + path),
            ("HF_HUB_CACHE", str(tmp_path / "hub")),
            ("HF_HUB_DISABLE_XET", True),
        ):
            monkeypatch.setattr(constants, name, value)
        loaded = MusicTransformerCausalLM.from_preset("hf://someone/some-model")
        with pytest.raises(ValueError, match="damaged is damaged.*weights.h5"):
            MusicTransformerCausalLM.from_preset("hf://someone/damaged")
        huggingface_hub.close_session()
        server.shutdown()
    for ours, theirs in zip(
        loaded.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_without_a_network_nothing_is_loaded_unchecked(monkeypatch):
    def offline(repository, file):
        raise huggingface_hub.utils.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(ConnectionError, match="hf://a/b can't be.*no network"):
        MusicTransformerCausalLM.from_preset("hf://a/b")


def test_a_local_model_comes_back_from_a_preset_and_samples_as_it_sees(
    tmp_path,
):
    model = build_model(
        context=20,
        num_layers=2,
        local_block_size=8,
        attend_previous_block=True,
    )
    model.save_to_preset(str(tmp_path / "local"))
    loaded = MusicTransformerCausalLM.from_preset(tmp_path / "local")
    config = loaded.backbone.get_config()
    assert config["local_block_size"] == 8 and config["attend_previous_block"]
    prompt = random_ids(13)
    ids = loaded.generate(
        prompt, max_length=70, sampler="greedy", output="ids",
        stop_token_ids=None, grammar=False,
    )  # fmt: skip
    assert len(ids) == 69  # The start id is not returned.
    logits = logits_of(model, ids)
    np.testing.assert_array_equal(logits_of(loaded, ids), logits)
    likeliest = logits[:, 3:].argmax(axis=-1) + 3
    np.testing.assert_array_equal(ids[13:], likeliest[13:-1])
