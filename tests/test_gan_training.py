"""Runs of the Transformer-GAN, and the figures that show collapse."""

import csv
import json
import math
import shutil
import signal

import keras
import numpy as np
import pytest
from sizes import GAN as TINY
from small_runs import assert_same_variables
from small_runs import interrupt_at
from small_runs import variables_of
from typer.testing import CliRunner

from keras_pianogen import cli
from keras_pianogen import read_notes
from keras_pianogen.data.preparing import prepare_corpus
from keras_pianogen.events import EventVocabulary
from keras_pianogen.judging.collapse import CollapseFigures
from keras_pianogen.judging.collapse import distinct
from keras_pianogen.judging.collapse import self_similarity
from keras_pianogen.judging.distances import jensen_shannon
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.models import TransformerGAN
from keras_pianogen.training import TrainingError
from keras_pianogen.training import gan as gan_training
from keras_pianogen.training import recorder
from keras_pianogen.training.collapse_monitor import LOGS
from keras_pianogen.training.collapse_monitor import CollapseMonitor
from keras_pianogen.training.gan import COLUMNS
from keras_pianogen.training.gan import SETUPS
from keras_pianogen.training.gan import GanRecipe
from keras_pianogen.training.gan import train_gan
from keras_pianogen.training.gan_building import networks_of

VOCABULARY = EventVocabulary.named("pno-ai")


def to_numpy(model):
    return [keras.ops.convert_to_numpy(v) for v in model.variables]


def rows(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


# === Figures ===


def test_distinct_counts_different_groups():
    assert distinct([[1, 2, 1, 2, 1]], 2) == 2 / 4
    assert distinct([[1, 2], [1, 2], [3, 4]], 2) == 2 / 3
    assert distinct([[1]], 4) == 0


def test_samples_that_are_alike_have_a_similarity_of_one():
    assert self_similarity([[1, 2, 3], [1, 2, 3]]) == 1
    assert self_similarity([[1, 2, 3], [4, 5, 6]]) == 0
    assert self_similarity([[1, 2, 3], [1, 2, 4]]) == pytest.approx(1 / 3)


def test_the_divergence_is_scipys():
    distance = pytest.importorskip("scipy.spatial.distance")
    p, q = np.random.default_rng(0).dirichlet([0.3] * 30, 2)
    expected = distance.jensenshannon(p, q) ** 2
    assert jensen_shannon(p, q) == pytest.approx(expected)
    assert jensen_shannon(p, p) == 0
    apart = jensen_shannon(np.array([1.0, 0]), np.array([0, 1.0]))
    assert apart == pytest.approx(math.log(2))
    assert jensen_shannon(np.zeros(2), np.array([0, 1.0])) == math.log(2)


def real_sequences(count=40):
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1.0] * 60)
    return 40 + rng.choice(60, (count, 32), p=shares)


def test_samples_are_compared_with_real_music():
    real = real_sequences()
    figures = CollapseFigures(VOCABULARY, real, samples=40)
    assert figures.of(real)["event_divergence"] == 0
    assert figures.of(real)["largest_excess"] == pytest.approx(1)
    same = figures.of(np.full((8, 32), 45))
    assert same["commonest_share"] == 1
    assert same["entropy"] == 0
    assert same["self_similarity"] == 1
    assert same["largest_excess"] == pytest.approx(1 / np.mean(real == 45))
    # No note-on among real ones' pitches but these: ids 40 to 99.
    assert same["pitch_divergence"] > 0.3


def test_a_sentence_says_what_is_seen():
    real = real_sequences()
    figures = CollapseFigures(VOCABULARY, real, samples=40)
    logs = {"generator_gradient_norm": 1.0}
    one = np.full((8, 32), 45)
    name = VOCABULARY.describe(45)
    assert figures.describe(one, {"generator_gradient_norm": 0.0}) == (
        "The generator receives no gradient."
    )
    assert figures.describe(one, logs) == (
        f"One event, {name}, makes up 100% of what it writes."
    )
    alike = np.tile(real[:1], (8, 1))
    assert "resemble" in figures.describe(alike, logs) or "repeats" in (
        figures.describe(alike, logs)
    )
    assert figures.describe(real, logs) == "No collapse."
    assert figures.describe(real, logs, rounds=100) == "No collapse."
    assert figures.describe(real, logs, rounds=10).startswith(
        "After 10 rounds it is too early to tell"
    )
    sure = logs | {"real_accuracy": 1.0, "fake_accuracy": 0.97}
    assert "from real music, 97%." in figures.describe(real, sure)


@pytest.mark.one_backend
def test_fit_is_watched_by_a_callback(tmp_path):
    # The loss that is compiled soonest.
    recipe = GanRecipe.named(
        "straight-through",
        **TINY,
        generator_learning_rate=0.1,
        averaging=None,
        loss="non_saturating",
        discriminator_steps=1,
    )
    gan = recipe.build(10)
    real = real_sequences()[:, :16].astype("int32")
    monitor = CollapseMonitor(
        VOCABULARY, real, folder=tmp_path, samples=8, every=2
    )
    with pytest.raises(ValueError, match="of shape"):
        CollapseMonitor(VOCABULARY, real[0])
    history = gan.fit(
        real[:24], batch_size=4, epochs=1, verbose=0, callbacks=[monitor]
    )
    found = rows(tmp_path)
    assert [int(r["step"]) for r in found] == [1, 2, 3, 4, 5, 6]
    assert [int(r["figures_step"]) for r in found] == [0, 2, 2, 4, 4, 6]
    assert (
        history.history["event_divergence"][0]
        == (monitor.figures["event_divergence"])
    )
    # The last samples were made by the weights as they are now.
    collapse = monitor.collapse
    ids = gan.generate(collapse.inputs, seed=0)
    np.testing.assert_array_equal(ids, collapse.samples)
    assert ids.shape == (8, 16)
    assert float(found[0]["entropy"]) != float(found[-1]["entropy"])
    assert monitor.sentence
    assert (tmp_path / "curves.png").stat().st_size > 10_000


# === Runs ===


# The loss that is compiled soonest.
SOON = TINY | {
    "loss": "non_saturating",
    "discriminator_steps": 1,
    "dropout": 0.3,
    "annealed": True,
}


@pytest.fixture(scope="module")
def whole(small_corpus, tmp_path_factory):
    """The folder of a run of six rounds, a checkpoint at each look."""
    folder = tmp_path_factory.mktemp("gan") / "whole"
    recipe = GanRecipe.named("straight-through", **SOON)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "SECONDS_A_CHECKPOINT", 0)
        row = train_gan(
            small_corpus,
            folder,
            recipe,
            steps=6,
            progress=lambda row, done, sentence: seen.append((done, sentence)),
        )
    assert row["step"] == 6
    assert seen[-1][0] == 1 and seen[-1][1]
    return folder


def test_a_run_leaves_a_record(whole):
    found = rows(whole)
    assert tuple(found[0]) == COLUMNS
    assert [int(r["step"]) for r in found] == [1, 2, 3, 4, 5, 6]
    for name in ("distinct_4", "event_divergence", "entropy"):
        assert all(math.isfinite(float(r[name])) for r in found)
    for name in LOGS[:-1]:
        assert all(math.isfinite(float(r[name])) for r in found)
    assert all(float(r["generator_gradient_norm"]) > 0 for r in found)
    assert found[-1]["figures_step"] == "6"
    assert json.loads((whole / "real.json").read_text())["entropy"] > 0
    assert (whole / "curves.png").stat().st_size > 10_000
    for step in (0, 6):
        read_notes(whole / "samples" / f"step-{step:06}-1.mid")
    gan = TransformerGAN.from_preset(str(whole / "gan"))
    assert gan.generate(2).shape == (2, 16)


# TensorFlow goes on alike after a saved round, see `test_gan.py`.
@pytest.mark.bit_for_bit
@pytest.mark.slow_to_trace
def test_a_resumed_run_equals_an_uninterrupted_one(
    whole, small_corpus, tmp_path
):
    # As if it had been killed before the last checkpoint.
    part = shutil.copytree(whole, tmp_path / "part")
    shutil.rmtree(part / "checkpoints" / "step-000000006")
    shutil.rmtree(part / "gan")
    train_gan(small_corpus, part, None, resume=True)
    assert (part / "gan").is_dir()
    for ours, theirs in zip(rows(whole), rows(part), strict=True):
        for name in ("step", *LOGS, "temperature"):
            assert ours[name] == theirs[name], name
    assert len(variables_of(part)) > 20
    assert_same_variables(part, whole)


def test_a_run_goes_on_with_the_settings_it_has(whole, small_corpus, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    recipe = GanRecipe.named("straight-through", **SOON)
    for same in (recipe, "straight-through", {"annealed": True, "seed": 0}):
        row = train_gan(small_corpus, folder, same, resume=True)
        assert row["step"] == 6
    before = (folder / "config.json").read_bytes()
    with pytest.raises(TrainingError) as refused:
        train_gan(
            small_corpus,
            folder,
            {"setup": "paper", "dropout": 0.3, "seed": 1},
            resume=True,
        )
    assert str(refused.value) == (
        "`setup` of this run is 'straight-through'. Received: 'paper'. "
        "`seed` of this run is 0. Received: 1"
    )
    assert (folder / "config.json").read_bytes() == before


# That no gradient comes through an argmax, each backend shows in `test_gan.py`.
@pytest.mark.one_backend
def test_the_papers_generator_stays_as_it_was(small_corpus, tmp_path):
    recipe = GanRecipe.named("paper", **TINY, seed=3)
    before = to_numpy(recipe.build(3).generator)
    train_gan(small_corpus, tmp_path, recipe, steps=3)
    found = rows(tmp_path)
    assert [float(r["generator_gradient_norm"]) for r in found] == [0, 0, 0]
    assert len({r["event_divergence"] for r in found}) == 1
    gan = TransformerGAN.from_preset(str(tmp_path / "gan"))
    trained = [keras.ops.convert_to_numpy(v) for v in gan.generator.weights]
    for a, b in zip(
        [x for x in before if x.dtype.kind == "f"], trained, strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("preset") / "tiny"
    backbone = MusicTransformerBackbone(
        len(VOCABULARY), 2, 2, 8, 8, max_sequence_length=32
    )
    preprocessor = MusicTransformerCausalLMPreprocessor(
        PerformanceTokenizer.from_vocabulary(VOCABULARY), sequence_length=32
    )
    MusicTransformerCausalLM(backbone, preprocessor).save_to_preset(str(folder))
    return str(folder)


SMALL = {
    "sequence_length": 24,
    "context_length": 8,
    "batch_size": 2,
    "num_layers": 1,
    "frozen_layers": 1,
    "likelihood_steps": 1,
}


WARM_UP = 4


@pytest.fixture(scope="module")
def fine_tuning(language_model):
    return GanRecipe.named(
        "fine-tune", preset=language_model, **SMALL, annealed=True
    )


@pytest.fixture(scope="module")
def tuned(small_corpus, tmp_path_factory, fine_tuning):
    """The folder of a run of four rounds after as many of warm-up."""
    folder = tmp_path_factory.mktemp("gan") / "tuned"
    settings = {"steps": WARM_UP, "validation_events": 500}
    row = train_gan(small_corpus, folder, fine_tuning, **settings)
    loss = float(rows(folder)[-1]["val_nats_per_event"])
    assert loss == pytest.approx(row["val_nats_per_event"], abs=1e-4)
    return folder


@pytest.mark.one_backend
@pytest.mark.slow_to_trace
def test_a_language_model_is_fine_tuned(tuned):
    first, last = rows(tuned)[0], rows(tuned)[-1]
    assert float(first["generator_gradient_norm"]) > 0
    assert float(last["temperature"]) < float(first["temperature"])
    model = MusicTransformerCausalLM.from_preset(str(tuned / "preset"))
    assert model.backbone.num_layers == 2
    assert model.backbone.trainable
    # The preset has the averaged weights, which were validated.
    gan = TransformerGAN.from_preset(str(tuned / "gan"))
    for ours, theirs in zip(
        model.get_weights(), gan.averaged_generator.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.one_backend
@pytest.mark.bit_for_bit
@pytest.mark.slow_to_trace
def test_the_discriminator_warms_up_alone(
    tuned, small_corpus, tmp_path, fine_tuning
):
    before = fine_tuning.build(WARM_UP)
    heard = []

    def stop(row, done, sentence):
        heard.append(sentence)
        if len(heard) == 3:
            signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "run"
    settings = {"steps": WARM_UP, "validation_events": 500}
    train_gan(small_corpus, folder, fine_tuning, progress=stop, **settings)
    assert "round 3 of 4" in heard[2]
    assert not (folder / "history.csv").exists()
    learning = {id(v) for v in before.discriminator.trainable_variables}
    for saved, variable in zip(variables_of(folder), before.variables):
        if variable.path.endswith("kernel"):
            value = keras.ops.convert_to_numpy(variable)
            changed = (saved != value).any()
            assert changed == (id(variable) in learning), variable.path
    train_gan(small_corpus, folder, None, resume=True, **settings)
    for ours, theirs in zip(rows(folder), rows(tuned), strict=True):
        for name in LOGS:
            assert ours[name] == theirs[name], name
    assert_same_variables(folder, tuned)


def test_all_setups_are_recipes():
    assert set(SETUPS) == {"paper", "straight-through", "fine-tune"}
    paper = GanRecipe.named("paper")
    assert (paper.mode, paper.noise_dim, paper.num_heads) == ("argmax", 50, 8)
    with pytest.raises(ValueError, match="`setup` must be one of"):
        GanRecipe.named("cyclegan")


@pytest.mark.one_backend
def test_a_run_ends_after_its_round_and_is_left_alone(small_corpus, tmp_path):
    recipe = GanRecipe.named("paper", **TINY)
    row = train_gan(
        small_corpus, tmp_path, recipe, steps=40, progress=interrupt_at(1)
    )
    assert 1 <= row["step"] == len(rows(tmp_path)) < 4
    assert (tmp_path / "checkpoints" / f"step-{row['step']:09}").is_dir()
    with pytest.raises(TrainingError, match="holds a run already"):
        train_gan(small_corpus, tmp_path, recipe, steps=2)

    log = tmp_path / "log.csv"
    train_gan(
        small_corpus,
        tmp_path,
        None,
        steps=6,
        resume=True,
        callbacks=[
            keras.callbacks.CSVLogger(log),
            keras.callbacks.TensorBoard(tmp_path / "tensorboard"),
        ],
    )
    with open(log, newline="") as file:
        seen = list(csv.DictReader(file))
    # One that was broken off has been seen.
    first = -(-row["step"] // 2)
    assert int(seen[0]["epoch"]) == first
    assert len(seen) == -(-(6 - row["step"]) // 2)
    for name in ("generator_loss", "event_divergence"):
        ours, theirs = rows(tmp_path)[-1][name], seen[-1][name]
        assert float(theirs) == pytest.approx(float(ours), rel=1e-4)
    assert list((tmp_path / "tensorboard").rglob("events.out.*"))


@pytest.fixture
def unvalidated_corpus(small_corpus, tmp_path):
    """A corpus without a validation split."""
    return prepare_corpus(
        small_corpus.folder.parent,
        tmp_path / "corpus",
        validation_fraction=0,
        test_fraction=0,
    )


@pytest.mark.one_backend
def test_a_callback_may_stop_a_run_on_a_corpus_without_validation(
    unvalidated_corpus, tmp_path
):
    tmp_path = tmp_path / "run"
    recipe = GanRecipe.named("paper", **TINY)
    stop = keras.callbacks.LambdaCallback()
    stop.on_epoch_end = lambda *_: setattr(stop.model, "stop_training", True)
    row = train_gan(
        unvalidated_corpus, tmp_path, recipe, steps=40, callbacks=[stop]
    )
    assert row["step"] == 2 == len(rows(tmp_path))
    assert (tmp_path / "checkpoints" / "step-000000002").is_dir()
    TransformerGAN.from_preset(str(tmp_path / "gan"))
    assert (tmp_path / "curves.png").exists()


@pytest.mark.one_backend
def test_without_validation_a_language_model_has_no_loss(
    unvalidated_corpus, fine_tuning
):
    networks = networks_of(fine_tuning)
    assert gan_training._likelihood(unvalidated_corpus, networks, None, 9) == {}


def test_pieces_that_are_too_short_are_refused(small_corpus, tmp_path):
    recipe = GanRecipe.named("paper", **TINY | {"sequence_length": 1000})
    with pytest.raises(TrainingError, match="too short"):
        train_gan(small_corpus, tmp_path, recipe, steps=2)


# === Command line ===


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--setup", "wrong"], "`setup` must be one of"),
        ([], "`--setup` must be"),
        (["--resume", "--setup", "paper"], "holds no run to go on with"),
        (["--setup", "paper", "--preset", "x"], "--setup fine-tune"),
        (["--resume"], "holds no run to go on with"),
    ],
)
def test_the_command_refuses(small_corpus, tmp_path, options, message):
    result = CliRunner().invoke(
        cli.app,
        ["train-gan", str(small_corpus.folder), "--out", str(tmp_path / "run")]
        + options,
    )
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
