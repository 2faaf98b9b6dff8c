"""Facts of `behaviour.py` about GANs and runs of training.

Each group is a function of a folder that yields names and values.
"""

import contextlib
import dataclasses
import importlib
import importlib.metadata
import itertools
import json
import math
import shutil
import signal

import numpy as np
import sizes
from behaviour_facts import BACKEND
from behaviour_facts import GANS
from behaviour_facts import corpora
from behaviour_facts import find
from behaviour_facts import of_checkpoint
from behaviour_facts import of_config
from behaviour_facts import of_file
from behaviour_facts import of_history
from behaviour_facts import of_ids
from behaviour_facts import of_logs
from behaviour_facts import of_weights
from behaviour_facts import pianogen
from behaviour_facts import set_seed
from behaviour_facts import sha256

LANGUAGE_MODEL = sizes.LANGUAGE_MODEL | {
    "dropout": 0.1,
    "batch_size": 2,
    "seed": 7,
}
LOOKS = {"validation_events": 300, "validations": 2, "samples": 0}
FINE_TUNED = {
    "sequence_length": 24,
    "context_length": 8,
    "batch_size": 2,
    "num_layers": 1,
    "frozen_layers": 0,
    "likelihood_steps": 1,
    "warm_up": 2,
}


# However slow the machine is, runs have no checkpoints between their looks.
importlib.import_module(
    "keras_pianogen.training.recorder"
).SECONDS_A_CHECKPOINT = math.inf


class Killed(Exception):
    """A run that ends here leaves nothing but what is on disk."""


def real_ids(gan, count):
    length = gan.discriminator.max_sequence_length
    size = gan.discriminator.vocabulary_size
    rng = np.random.default_rng(0)
    return rng.integers(3, size, (count, length)).astype("int32")


def gan(folder):
    """GAN folders that older code has saved: draws, and two rounds."""
    for kind, settings in (
        (
            "noise",
            {
                "loss": "wasserstein",
                "discriminator_steps": 2,
                "averaging": 0.9,
            },
        ),
        (
            "continuing",
            {
                "loss": "relativistic",
                "likelihood_steps": 1,
                "feature_matching": 1.0,
                "label_smoothing": 0.1,
            },
        ),
    ):
        set_seed()
        model = find("TransformerGAN").from_preset(str(GANS / kind))
        yield f"{kind}.weights", of_weights(model)
        inputs = 3 if kind == "noise" else real_ids(model, 3)
        yield f"{kind}.drawn", of_ids(*model.generate(inputs, seed=5))
        model.save_to_preset(str(folder / kind))
        yield f"{kind}.saved", of_config(folder / kind / "config.json")
        files = sorted(path.name for path in (folder / kind).iterdir())
        yield f"{kind}.files", files
        model.compile("adam", "adam", **settings)
        batch = real_ids(model, 8)
        set_seed(1)
        for number in (1, 2):
            logs = model.train_on_batch(batch, return_dict=True)
            yield f"{kind}.round.{number}", of_logs(logs)
        yield f"{kind}.trained", of_weights(model)
        yield f"{kind}.redrawn", of_ids(*model.generate(inputs, seed=6))
        if kind == "noise":
            model.save(folder / "gan.keras")
            import keras

            again = keras.models.load_model(folder / "gan.keras")
            drawn = again.generate(inputs, seed=6)
            yield f"{kind}.reloaded", of_ids(*drawn)


def results(name, folder, kind="MusicTransformerCausalLM"):
    """The facts of a run that is over."""
    yield f"{name}.history", of_history(folder, "loss")
    yield f"{name}.checkpoint", of_checkpoint(folder)
    preset = str(folder / "preset")
    yield f"{name}.preset", of_weights(find(kind).from_preset(preset))
    config = folder / "preset" / "config.json"
    yield f"{name}.config", of_config(config)
    recipe = json.loads((folder / "config.json").read_text())["recipe"]
    usual = dataclasses.asdict(find("Recipe")())
    # A setting that is new, and not used here, changes nothing.
    yield (
        f"{name}.recipe",
        {k: v for k, v in sorted(recipe.items()) if v != usual[k]},
    )


def at_step(step, action):
    """A run's progress function that acts once, at a step."""
    seen = []

    def progress(row, *_):
        if row["step"] == step and not seen:
            seen.append(step)
            action()

    return progress


def interrupt():
    signal.raise_signal(signal.SIGINT)


def kill():
    raise Killed


def train(folder):
    """Runs of a language model: whole, stopped, killed, averaged."""
    own, _ = corpora(folder)
    begin, recipe = find("train"), find("Recipe").sized(**LANGUAGE_MODEL)

    options = LANGUAGE_MODEL | LOOKS | {"steps": 8}
    words = ((f"--{k.replace('_', '-')}", str(v)) for k, v in options.items())
    whole = folder / "whole"
    pianogen("train", own.folder, "--out", whole, *itertools.chain(*words))
    yield from results("whole", whole)

    for name, step, action in (("stopped", 3, interrupt), ("killed", 6, kill)):
        out = folder / name
        with contextlib.suppress(Killed):
            begin(
                own,
                out,
                recipe,
                steps=8,
                progress=at_step(step, action),
                **LOOKS,
            )
        begin(own, out, resume=True)
        yield from results(name, out)

    averaged = dataclasses.replace(
        recipe,
        optimizer="adamw",
        learning_rate=0.003,
        ema_momentum=0.9,
        gradient_accumulation_steps=2,
        label_smoothing=0.1,
    )
    out = folder / "averaged"
    begin(own, out, averaged, steps=4, **LOOKS)
    yield from results("averaged", out)


def gan_results(name, folder):
    yield f"{name}.history", of_history(folder, "generator_loss")
    yield f"{name}.checkpoint", of_checkpoint(folder)
    saved = find("TransformerGAN").from_preset(str(folder / "gan"))
    yield f"{name}.gan", of_weights(saved)
    yield f"{name}.config", of_config(folder / "gan" / "config.json")
    samples = sorted((folder / "samples").glob("*.mid"))
    yield f"{name}.samples", [len(samples), *map(of_file, samples[-2:])]
    yield f"{name}.real", of_file(folder / "real.json")
    recipe = json.loads((folder / "config.json").read_text())["recipe"]
    recipe.pop("preset")  # It is a path.
    text = json.dumps(recipe, sort_keys=True)
    yield f"{name}.recipe", sha256(text.encode())


def adversary(folder):
    """Runs of a GAN: whole, stopped, and a language model's fine-tuning."""
    own, _ = corpora(folder)
    begin, named = find("train_gan"), find("GanRecipe").named
    recipe = named("straight-through", **sizes.GAN, dropout=0.3, annealed=True)
    begin(own, folder / "whole", recipe, steps=6)
    yield from gan_results("whole", folder / "whole")
    stop = at_step(3, interrupt)
    begin(own, folder / "stopped", recipe, steps=6, progress=stop)
    begin(own, folder / "stopped", None, resume=True)
    yield from gan_results("stopped", folder / "stopped")

    if BACKEND == "tensorflow":
        return
    out = folder / "fine_tuned"
    preset = folder / "preset"
    old = find("TransformerGAN").from_preset(str(GANS / "continuing"))
    old.generator.save_to_preset(str(preset))
    recipe = named("fine-tune", preset=str(preset), **FINE_TUNED)
    begin(own, out, recipe, steps=2, validation_events=300)
    yield from gan_results("fine_tuned", out)
    tuned = find("MusicTransformerCausalLM").from_preset(str(out / "preset"))
    yield "fine_tuned.preset", of_weights(tuned)


def save_gans():
    """Write the GAN folders, with weights that no backend has drawn."""
    shape = {
        "num_layers": 1,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 8,
    }
    vocabulary = find("EventVocabulary").named("pno-ai")
    set_seed()
    models = importlib.import_module("keras_pianogen").models
    sampling = find("GumbelSoftmax")("straight_through", 1.0, seed=1)
    noise = models.TransformerGAN(
        models.MusicTransformerGenerator(
            vocabulary_size=40, sequence_length=24, noise_dim=4, **shape
        ),
        models.MusicTransformerDiscriminator(
            vocabulary_size=40,
            max_sequence_length=24,
            bidirectional=True,
            spectral_normalization=True,
            minibatch_statistics=True,
            **shape,
        ),
        sampling,
        barred_ids=(0, 1, 2),
        seed=1,
    )
    backbone = models.MusicTransformerBackbone(
        len(vocabulary), **shape | {"hidden_dim": 4}, max_sequence_length=24
    )
    preprocessor = models.MusicTransformerCausalLMPreprocessor(
        models.PerformanceTokenizer.from_vocabulary(vocabulary),
        sequence_length=24,
    )
    language_model = models.MusicTransformerCausalLM(backbone, preprocessor)
    judge = models.MusicTransformerDiscriminator.from_music_transformer(
        backbone, num_layers=1, frozen_layers=0, max_sequence_length=24
    )
    continuing = models.TransformerGAN(
        language_model, judge, context_length=8, feedback=1, seed=2
    )
    for name, model in (("noise", noise), ("continuing", continuing)):
        rng = np.random.default_rng(0)
        for part in (model.generator, model.discriminator):
            part.set_weights(
                [
                    (w + 0.3 * rng.normal(size=w.shape)).astype(w.dtype)
                    if w.dtype.kind == "f"
                    else w
                    for w in map(np.asarray, part.get_weights())
                ]
            )
        shutil.rmtree(GANS / name, ignore_errors=True)
        model.save_to_preset(str(GANS / name))
