"""Runs that begin from a preset, and runs that go on, with which settings."""

import dataclasses
import json
import shutil
import signal

import pytest
from small_runs import RECIPE
from small_runs import assert_same_variables
from small_runs import interrupt_at
from small_runs import last_checkpoint
from small_runs import read_history
from small_runs import train

from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.training import TrainingError
from keras_pianogen.training import language_model


@pytest.fixture(scope="module")
def tuned(finished, small_corpus, tmp_path_factory):
    """The folder of a run of four steps from a preset, and the preset's.

    It was stopped after two steps. Then the preset was removed, and the record
    of what was asked for damaged.
    """
    place = tmp_path_factory.mktemp("tuned")
    folder, preset = place / "run", place / "preset"
    model = MusicTransformerCausalLM.from_preset(finished / "preset")
    config = model.backbone.get_config() | {"layer_norm_epsilon": 1e-3}
    backbone = MusicTransformerBackbone.from_config(config)
    other = MusicTransformerCausalLM(backbone, model.preprocessor)
    other.set_weights(model.get_weights())
    other.save_to_preset(str(preset))
    train(small_corpus, folder, RECIPE, steps=2, preset=preset)
    shutil.rmtree(preset)
    (folder / "config.json").write_text("{")
    assert train(small_corpus, folder, resume=True, steps=4)["step"] == 4
    return folder, preset


@pytest.mark.one_backend
def test_a_run_begins_from_a_preset_and_goes_on_without_it(tuned, finished):
    folder, preset = tuned
    first, fresh = (
        float(read_history(place)[0]["loss"]) for place in (folder, finished)
    )
    assert first < 0.8 * fresh
    config = json.loads((folder / "config.json").read_text())
    assert config["preset"] == str(preset)


@pytest.mark.one_backend
def test_a_preset_s_own_settings_outlive_it(tuned):
    saved = MusicTransformerCausalLM.from_preset(tuned[0] / "preset")
    assert saved.backbone.layer_norm_epsilon == 1e-3


@pytest.mark.one_backend
def test_a_run_from_a_preset_has_the_preset_s_shape(
    tuned, small_corpus, tmp_path
):
    folder = shutil.copytree(tuned[0], tmp_path / "run")
    recipe = dataclasses.replace(RECIPE, num_layers=5)
    settings = {"resume": True, "preset": tuned[1]}
    assert train(small_corpus, folder, recipe, **settings)["step"] == 4
    with pytest.raises(TrainingError, match="`num_layers` of this run is 1"):
        train(small_corpus, folder, {"num_layers": 5}, **settings)


@pytest.mark.one_backend
def test_a_preset_is_measured_before_it_is_trained(
    tuned, small_corpus, tmp_path
):
    rows = []

    def progress(row, done):
        rows.append(row)

    settings = {"preset": tuned[0] / "preset", "progress": progress}
    # The minutes are over before the first step: there is one all the same.
    row = train(
        small_corpus, tmp_path / "run", RECIPE, minutes=1e-4, **settings
    )
    assert row["step"] == 1
    preset = MusicTransformerCausalLM.from_preset(tuned[0] / "preset")
    figures = evaluate(preset, small_corpus, "validation")
    first = {
        "step": 0,
        "val_nats_per_event": row["preset_val_nats_per_event"],
        "unit": "event",
    }
    assert rows[0] == first
    assert first["val_nats_per_event"] == pytest.approx(
        figures.nats_per_event, rel=1e-4
    )


@pytest.mark.one_backend
def test_ctrl_c_before_the_first_step_ends_a_run(tuned, small_corpus, tmp_path):
    settings = {"preset": tuned[0] / "preset", "steps": 4}
    evaluated = language_model.evaluate

    def interrupted(*arguments, **others):
        signal.raise_signal(signal.SIGINT)
        return evaluated(*arguments, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_model, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(small_corpus, tmp_path / "run", RECIPE, **settings)
    assert (
        train(small_corpus, tmp_path / "run", RECIPE, **settings)["step"] == 4
    )


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        None,
        {"learning_rate": 1e-2, "hidden_dim": 16},
        {"size": "tiny", **dataclasses.asdict(RECIPE)},
    ],
    ids=("all settings", "none", "two", "a size and all settings"),
)
def test_a_run_goes_on_with_the_settings_it_has(
    finished, small_corpus, tmp_path, recipe
):
    folder = shutil.copytree(finished, tmp_path / "run")
    assert train(small_corpus, folder, recipe, resume=True)["step"] == 40


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("recipe", "preset", "message"),
    [
        (
            {"learning_rate": 0.5, "seed": 0},
            None,
            "`learning_rate` of this run is 0.01. Received: 0.5",
        ),
        (
            dataclasses.replace(RECIPE, batch_size=8, dropout=0.5),
            None,
            "`dropout` of this run is 0.0. Received: 0.5. "
            "`batch_size` of this run is 4. Received: 8",
        ),
        (
            {"size": "tiny", "num_layers": 1, "num_heads": 2},
            None,
            "`hidden_dim` of this run is 16. Received: 128. "
            "`sequence_length` of this run is 32. Received: 256. "
            "`batch_size` of this run is 4. Received: 8",
        ),
        (None, "mine", "`preset` of this run is None. Received: 'mine'"),
    ],
)
def test_only_settings_that_differ_are_refused_by_name_with_both_values(
    finished, small_corpus, recipe, preset, message
):
    before = (finished / "config.json").read_bytes()
    with pytest.raises(TrainingError) as refused:
        train(small_corpus, finished, recipe, resume=True, preset=preset)
    assert str(refused.value) == message
    assert "--preset" in refused.value.__notes__[0]
    assert (finished / "config.json").read_bytes() == before


@pytest.mark.one_backend
def test_only_what_is_there_goes_on(small_corpus, tmp_path):
    with pytest.raises(TrainingError, match="no run to go on with"):
        train(small_corpus, tmp_path / "none", resume=True)


@pytest.mark.one_backend
def test_a_run_is_never_overwritten(finished, small_corpus):
    with pytest.raises(TrainingError, match="holds a run already"):
        train(small_corpus, finished, RECIPE, steps=1)


@pytest.mark.one_backend
def test_a_longer_run_is_remembered(finished, small_corpus, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    longer = {"steps": 46, "progress": interrupt_at(42)}
    train(small_corpus, folder, resume=True, **longer)
    row = train(small_corpus, folder, resume=True)
    assert row["step"] == 46
    config = json.loads((folder / "config.json").read_text())
    assert config["steps"] == 46
    assert [resume["step"] for resume in config["resumes"]] == [40, 42]
    assert config["command"] and config["resumes"][0]["versions"]


@pytest.mark.one_backend
def test_a_run_from_before_there_were_blocks_goes_on(
    finished, small_corpus, tmp_path
):
    folder = shutil.copytree(finished, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]
    for name in ("local_block_size", "attend_previous_block"):
        del config["recipe"][name]
    (folder / "config.json").write_text(json.dumps(config))
    assert train(small_corpus, folder, RECIPE, resume=True)["step"] == 40


@pytest.mark.bit_for_bit
def test_every_setting_of_a_recipe_goes_on_bit_for_bit(small_corpus, tmp_path):
    recipe = dataclasses.replace(
        RECIPE,
        optimizer="muon",
        dropout=0.2,
        gradient_accumulation_steps=3,
        ema_momentum=0.7,
        label_smoothing=0.1,
    )
    whole = tmp_path / "whole"
    train(small_corpus, whole, recipe, steps=16, validations=2)
    # As if it had been killed after its validation halfway, two of three
    # gradients added up.
    parts = shutil.copytree(whole, tmp_path / "parts")
    shutil.rmtree(last_checkpoint(parts))
    assert last_checkpoint(parts).name == "step-000000008"
    train(small_corpus, parts, resume=True)
    assert_same_variables(parts, whole)


@pytest.mark.one_backend
def test_local_attention_goes_on_and_is_kept_in_the_preset(
    small_corpus, tmp_path
):
    folder = tmp_path / "run"
    blocks = {"local_block_size": 16, "attend_previous_block": True}
    recipe = dataclasses.replace(RECIPE, **blocks)
    train(small_corpus, folder, recipe, steps=4, progress=interrupt_at(2))
    row = train(small_corpus, folder, resume=True)
    assert row["step"] == 4
    model = MusicTransformerCausalLM.from_preset(folder / "preset")
    assert blocks.items() <= model.backbone.get_config().items()
    assert recipe.with_shape_of(model) == RECIPE.with_shape_of(model) == recipe


@pytest.mark.one_backend
def test_a_run_killed_before_its_first_checkpoint_begins_anew(
    small_corpus, tmp_path
):
    folder = tmp_path / "run"

    def kill(row, done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_corpus, folder, RECIPE, steps=4, progress=kill)
    assert not list((folder / "checkpoints").glob("step-*"))
    row = train(small_corpus, folder, RECIPE, steps=4)
    assert row["step"] == 4
