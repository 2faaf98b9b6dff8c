"""Holds what the package does, bit for bit, while its code is moved about.

It is a script, not a test that pytest collects:

    KERAS_BACKEND=jax .venv/bin/python tests/behaviour.py
    KERAS_BACKEND=jax .venv/bin/python tests/behaviour.py --only gan
    KERAS_BACKEND=jax .venv/bin/python tests/behaviour.py --keep

The first line compares all facts with those in `tests/data/behaviour.json`.
It prints one line for each: `same NAME`, or `CHANGED NAME` with what was
expected and what was got. A group of facts that ends in an exception prints
`FAILED`, and a fact that did not come prints `MISSING`. The exit status is 1
if any fact is not the same. `--only` takes the beginning of a name and may
come again. `--keep` records the facts instead, and leaves those of other
backends as they are. Run it with each of jax, torch and tensorflow.

What is held, by the beginning of the facts' names:

    midi        events of a file, and the MIDI, picture and sound made of them
    corpus      the bytes of prepared corpora
    windows     the first batches of training and of evaluation
    generate    events that both bundled presets write, with several settings
    stream      events that `stream` gives
    command     the bytes of a MIDI file that `pianogen generate` writes
    evaluate    likelihoods of the bundled small preset
    gan         two GAN folders in `tests/data/gan` that were saved before the
                code was moved: that they load, their draws, two rounds of
                training, and what they are saved as again
    train       runs of a small language model: whole, stopped by Ctrl-C,
                killed, and with averaged weights; their histories and weights
    adversary   runs of a small GAN: whole, stopped, and fine-tuning

The facts of midi, corpus and windows are the same on every backend. The
others are each backend's own.

Only names that are public are used: those of `keras_pianogen` and of its
public modules, and the command line. A name that is not there is looked for
in all modules of the package, wherever it may have been moved.

The figures belong to one kind of machine, which the record names. On another
processor, or with other releases of the backends, sums may differ in their
last digit and with them everything that follows: record the figures there
with the old code, and compare with the new. All programs of a backend run on
one thread here, so that no sum depends on what else the machine does.

`--save-gans` has written the GAN folders once, by the code as it was. Saving
them again by other code would take away what they are for.
"""

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import importlib
import importlib.metadata
import itertools
import json
import os
import pathlib
import pkgutil
import platform
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
import traceback
import types

# One thread, one processor, and none of the machine's own settings.
os.environ.update(
    CUDA_VISIBLE_DEVICES="",
    JAX_PLATFORMS="cpu",
    MKL_NUM_THREADS="1",
    OMP_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    TF_CPP_MIN_LOG_LEVEL="3",
    TF_NUM_INTEROP_THREADS="1",
    TF_NUM_INTRAOP_THREADS="1",
    XLA_FLAGS="--xla_cpu_multi_thread_eigen=false",
)
for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_DISABLE_MOST_OPTIMIZATIONS"):
    os.environ.pop(name, None)

import numpy as np  # noqa: E402, it reads them.

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
RECORD = DATA / "behaviour.json"
GANS = DATA / "gan"
BACH = DATA / "bach_bwv_885.midi"
SCARLATTI = DATA / "scarlatti_k_525.midi"
MAESTRO = ROOT.parent / "shared" / "data" / "maestro-v3.0.0"

# The package beside this script, not an installed one.
sys.path.insert(0, str(ROOT))

BACKEND = os.environ.get("KERAS_BACKEND", "")
BACKENDS = ("jax", "torch", "tensorflow")
# Groups whose facts know nothing of backends.
SHARED = ("midi", "corpus", "windows")
# Public modules where a name is looked for before all others.
PUBLIC = (
    "models",
    "layers",
    "samplers",
    "evaluation",
    "training",
    "gan_training",
)

SMALL = "music_transformer_small_maestro"
LARGE = "music_transformer_maestro"

LANGUAGE_MODEL = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "dropout": 0.1,
    "sequence_length": 32,
    "batch_size": 2,
    "seed": 7,
}
LOOKS = {"validation_events": 300, "validations": 2, "samples": 0}
GAN = {
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 8,
    "intermediate_dim": 8,
    "sequence_length": 16,
    "batch_size": 2,
    "noise_dim": 4,
}
FINE_TUNED = {
    "sequence_length": 24,
    "context_length": 8,
    "batch_size": 2,
    "num_layers": 1,
    "frozen_layers": 0,
    "likelihood_steps": 1,
    "warm_up": 2,
}
# Columns of a history that are of the clock or of the machine.
TIMES = ("seconds", "events_per_second", "memory_bytes")


class Killed(Exception):
    """A run that ends here leaves nothing but what is on disk."""


# === Names, wherever they are ===


def find(name):
    """A public name of the package, or one that has moved."""
    package = importlib.import_module("keras_pianogen")
    places = [package.__name__]
    places += (f"{package.__name__}.{place}" for place in PUBLIC)
    # Commands have names of their own, that are not meant here.
    commands = tuple(f"{package.__name__}.{x}" for x in ("cli", "studio"))
    others = pkgutil.walk_packages(
        package.__path__, f"{package.__name__}.", onerror=lambda _: None
    )
    for place in itertools.chain(places, (info.name for info in others)):
        if place.startswith(commands) or place.endswith("__main__"):
            continue
        # A kernel's module may need what is not here.
        with contextlib.suppress(Exception):
            value = getattr(importlib.import_module(place), name)
            if not isinstance(value, types.ModuleType):
                return value
    raise ImportError(f"The package has no {name} any more.")


def pianogen(*arguments):
    """What the program prints, which must end well."""
    from typer.testing import CliRunner

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["scripts"]["pianogen"].partition(":")
    app = getattr(importlib.import_module(module), name)
    result = CliRunner().invoke(app, [os.fspath(a) for a in arguments])
    if result.exit_code:
        raise RuntimeError(result.output) from result.exception
    return result.stdout


def set_seed(seed=0):
    import keras

    keras.utils.set_random_seed(seed)


# === What facts are made of ===


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def of_file(path):
    return sha256(pathlib.Path(path).read_bytes())


def of_arrays(*arrays):
    """The sha256 of arrays, their types and their shapes."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype.descr} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def of_ids(*pieces):
    """How many events there are, the first few, and the sha256 of all."""
    pieces = [np.asarray(piece).astype("int64") for piece in pieces]
    return [
        [len(piece) for piece in pieces],
        pieces[0][:8].tolist(),
        of_arrays(*pieces),
    ]


def of_notes(*pieces):
    return [[len(piece) for piece in pieces], of_arrays(*pieces)]


def of_weights(model):
    """Of what a model has learned, without the states of random numbers."""
    weights = [np.asarray(w) for w in model.get_weights()]
    return of_arrays(*(w for w in weights if w.dtype.kind == "f"))


def of_batch(batch):
    x, y, weights = batch
    return of_arrays(*(x[name] for name in sorted(x)), y, weights)


def of_config(path):
    """Of a saved configuration, whatever modules its classes lie in.

    Nor do numbers count at the end of names: Keras gives them to objects
    without a name of their own, in the order in which they are made.
    """

    def plain(value, key=None):
        if isinstance(value, dict):
            return {
                name: plain(inner, name)
                for name, inner in value.items()
                if name != "module"
            }
        if isinstance(value, list):
            return [plain(inner) for inner in value]
        if key == "name" and isinstance(value, str):
            return re.sub(r"_\d+$", "", value)
        return value

    config = plain(json.loads(pathlib.Path(path).read_text()))
    return sha256(json.dumps(config, sort_keys=True).encode())


def of_history(folder, shown):
    """A column of a run's history, and the sha256 of all that are no times."""
    with open(folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [
        [f"{name}={value}" for name, value in row.items() if name not in TIMES]
        for row in rows
    ]
    return [
        [row[shown] for row in rows],
        sha256(json.dumps(kept).encode()),
    ]


def of_checkpoint(folder):
    """Of the newest checkpoint's arrays, in whatever order they lie."""
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    with np.load(newest / "variables.npz") as saved:
        arrays = sorted(of_arrays(saved[name]) for name in saved.files)
    return [newest.name, len(arrays), sha256(json.dumps(arrays).encode())]


def of_logs(logs):
    """All digits of a step's losses."""
    return {name: repr(float(value)) for name, value in sorted(logs.items())}


# === Facts, in groups; each is a name and a value ===


def midi(folder):
    """Events of a file, and what is made of notes."""
    notes = find("read_notes")(SCARLATTI)
    yield "notes", of_notes(notes)
    yield "pedal", of_arrays(find("read_pedal")(SCARLATTI))
    for name in ("magenta", "pno-ai"):
        vocabulary = find("EventVocabulary").named(name)
        ids = vocabulary.encode(notes)
        yield f"{name}.ids", of_ids(ids)
        yield f"{name}.notes", of_notes(vocabulary.decode(ids))
    find("write_midi")(notes, folder / "again.mid")
    yield "written", of_file(folder / "again.mid")
    yield "picture", sha256(find("piano_roll_svg")(notes[:60]).encode())
    sound = find("synthesize")(notes[:20])
    # Filters may run on what the processor has: 16 bits are what is heard.
    yield "sound", of_arrays(np.rint(sound * 32767).astype("int16"))


def corpora(folder):
    """A corpus of the tests' files, and of a few of MAESTRO's if it is here.

    MAESTRO's is `None` where there is no MAESTRO.
    """
    source = folder / "midi"
    source.mkdir()
    for path in sorted(DATA.glob("*.midi")):
        shutil.copy(path, source)
    (source / "broken.mid").write_bytes(b"This is no MIDI file.")
    own = find("prepare_corpus")(source, folder / "own")
    if not MAESTRO.is_dir():
        return own, None
    maestro = find("Maestro")(MAESTRO)
    pieces = [maestro.split(s)[:2] for s in ("train", "validation", "test")]
    some = types.SimpleNamespace(
        folder=maestro.folder, pieces=list(itertools.chain(*pieces))
    )
    return own, find("prepare_corpus")(some, folder / "some")


def corpus(folder):
    """The bytes of prepared corpora."""
    own, some = corpora(folder)
    pianogen("prepare", folder / "midi", "--out", folder / "command")
    for name, where in (
        ("own", own and own.folder),
        ("command", folder / "command"),
        ("maestro", some and some.folder),
    ):
        if where is not None:
            yield f"{name}.notes", of_file(where / "notes.npy")
            yield f"{name}.table", of_file(where / "corpus.json")
    yield "own.fingerprint", own.fingerprint


def windows(folder):
    """The first batches of training, and of evaluation."""
    for name, prepared in zip(("own", "maestro"), corpora(folder)):
        if prepared is None:
            continue
        settings = {
            "vocabulary": find("EventVocabulary").named("magenta"),
            "sequence_length": 64,
            "batch_size": 4,
        }
        for kind, others in (
            ("augmented", {}),
            ("plain", {"augment": False}),
            ("whole", {"whole": True}),
        ):
            batches = find("EventWindows")(
                prepared, "train", seed=3, **settings, **others
            )
            yield f"{name}.{kind}.steps", batches.steps
            for step in range(3):
                made = batches.batch(step)
                yield f"{name}.{kind}.{step}", of_batch(made)
        ordered = find("EvaluationWindows")(prepared, "validation", **settings)
        yield f"{name}.evaluation.events", int(ordered.num_events)
        yield f"{name}.evaluation.0", of_batch(ordered[0])


def generate(folder):
    """Events that the bundled presets write."""
    build = find("build_sampler")
    for preset, name in ((SMALL, "small"), (LARGE, "large")):
        set_seed()
        model = find("MusicTransformerCausalLM").from_preset(preset)
        ids = {"output": "ids"}
        yield (
            f"{name}.new",
            of_ids(model.generate(max_length=100, seed=1, **ids)),
        )
        yield (
            f"{name}.prompt",
            of_ids(
                model.generate(
                    str(BACH), prompt_seconds=8, seconds=3, seed=2, **ids
                )
            ),
        )
        yield (
            f"{name}.ending",
            of_notes(model.generate(seconds=4, ending=True, seed=3)),
        )
        yield (
            f"{name}.hot",
            of_ids(
                model.generate(
                    seconds=2,
                    sampler=build(1.2, min_p=0.02),
                    repeat_penalty=0.1,
                    seed=4,
                    **ids,
                )
            ),
        )
        if name == "large" and BACKEND == "tensorflow":
            continue
        yield (
            f"{name}.variations",
            of_notes(
                *model.generate(
                    str(BACH),
                    variations=3,
                    prompt_seconds=5,
                    seconds=2,
                    strip_prompt=True,
                    seed=5,
                )
            ),
        )
        if name == "large" or BACKEND == "tensorflow":
            continue
        yield (
            f"{name}.prompts",
            of_ids(
                *model.generate(
                    [str(BACH), str(SCARLATTI), []],
                    prompt_seconds=6,
                    seconds=2,
                    seed=6,
                    **ids,
                )
            ),
        )
        yield (
            f"{name}.free",
            of_ids(
                model.generate(
                    max_length=80,
                    grammar=False,
                    sampler=build(top_p=0.98),
                    seed=7,
                    **ids,
                )
            ),
        )
        yield (
            f"{name}.top_k",
            of_ids(
                model.generate(
                    max_length=80, sampler=build(0.9, top_k=20), seed=8, **ids
                )
            ),
        )
        yield (
            f"{name}.greedy",
            of_ids(model.generate(max_length=80, sampler="greedy", **ids)),
        )
        # Past its context, whose oldest events are then forgotten.
        yield (
            f"{name}.long",
            of_ids(model.generate(seconds=14, seed=9, **ids)),
        )


def stream(folder):
    """Events that `stream` gives."""
    set_seed()
    model = find("MusicTransformerCausalLM").from_preset(SMALL)
    made = itertools.islice(model.stream(seed=1), 64)
    yield "new", of_ids(list(made))
    made = model.stream(str(BACH), prompt_seconds=8, seed=2)
    yield "prompt", of_ids(list(itertools.islice(made, 64)))


def command(folder):
    """A MIDI file that the program writes."""
    out = folder / "piece.mid"
    options = ["--seconds", "4", "--seed", "3", "--preset", SMALL]
    pianogen("generate", "--out", out, *options)
    yield "generate", of_file(out)
    out = folder / "continued.mid"
    options += ["--prompt", str(BACH), "--prompt-seconds", "5"]
    pianogen("generate", "--out", out, "--variations", "2", *options)
    for number in (1, 2):
        path = folder / f"continued-{number}.mid"
        yield f"continue.{number}", of_file(path)


def evaluate(folder):
    """Likelihoods of the small preset, all digits."""
    own, _ = corpora(folder)
    options = ["--preset", SMALL, "--split", "train", "--json"]
    if BACKEND == "tensorflow":
        options += ["--batch-size", "2"]
    figures = json.loads(pianogen("evaluate", own.folder, *options))
    for name in (
        "nats_per_event",
        "nats_per_note",
        "nats_per_second",
        "accuracy",
    ):
        yield name, repr(figures[name])
    yield "events", figures["num_events"]
    options += ["--n-gram", "3", "--split", "validation"]
    figures = json.loads(pianogen("evaluate", own.folder, *options))
    yield "trigrams", repr(figures["nats_per_event"])


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
    text = json.dumps(recipe, sort_keys=True)
    yield f"{name}.recipe", sha256(text.encode())


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
    recipe = named("straight-through", **GAN, dropout=0.3, annealed=True)
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


GROUPS = (
    midi,
    corpus,
    windows,
    generate,
    stream,
    command,
    evaluate,
    gan,
    train,
    adversary,
)


# === The GAN folders ===


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


# === The record ===


def machine():
    """What the figures were made on."""
    processor = platform.machine()
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    releases = {"python": platform.python_version()}
    for name in ("keras", "keras-hub", "numpy", BACKEND):
        releases[name] = importlib.metadata.version(name)
    return {"processor": processor, "system": platform.system()} | releases


def is_asked_for(name, prefixes):
    """Whether a fact, or some of a group's, is among those asked for."""
    return not prefixes or any(
        name.startswith(p) or p.startswith(f"{name}.") for p in prefixes
    )


def facts(group, prefixes):
    """The facts of a group by their full names, as JSON would have them."""
    with tempfile.TemporaryDirectory() as folder:
        for name, value in group(pathlib.Path(folder)):
            name = f"{group.__name__}.{name}"
            if not prefixes or any(name.startswith(p) for p in prefixes):
                yield name, json.loads(json.dumps(value))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--only", action="append", metavar="PREFIX")
    parser.add_argument("--save-gans", action="store_true")
    options = parser.parse_args()
    if BACKEND not in BACKENDS:
        parser.error(f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}")
    import keras_pianogen

    if not pathlib.Path(keras_pianogen.__file__).is_relative_to(ROOT):
        parser.error(f"{keras_pianogen.__file__} is not this tree's package")
    if options.save_gans:
        save_gans()
        return 0

    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    here = machine()
    known = record.get("machine", {}).get(BACKEND)
    if not options.keep and known != here:
        print(f"note: the figures are of {known}; this is {here}")
    changed, failed, unseen = [], [], {}
    for group in GROUPS:
        name = group.__name__
        if not is_asked_for(name, options.only):
            continue
        section = "any" if name in SHARED else BACKEND
        expected = record.setdefault(section, {})
        unseen[name] = {
            fact
            for fact in expected
            if fact.startswith(f"{name}.")
            and (not options.only or fact.startswith(tuple(options.only)))
        }
        began = time.monotonic()
        try:
            for fact, value in facts(group, options.only):
                unseen[name].discard(fact)
                if options.keep:
                    expected[fact] = value
                    print(f"kept {fact}")
                elif fact in expected and expected[fact] == value:
                    print(f"same {fact}")
                else:
                    changed.append(fact)
                    print(
                        f"CHANGED {fact} expected {expected.get(fact)} "
                        f"got {value}"
                    )
                sys.stdout.flush()
        except Exception:
            traceback.print_exc()
            print(f"FAILED {name}")
            failed.append(name)
        else:
            print(f"# {name}: {time.monotonic() - began:.0f} s", flush=True)
    for name, left in unseen.items():
        for fact in sorted(left):
            if ".maestro." in fact and not MAESTRO.is_dir():
                print(f"skipped {fact}: there is no {MAESTRO}")
            elif name in failed:
                print(f"MISSING {fact}")
            elif options.keep:
                section = "any" if name in SHARED else BACKEND
                del record[section][fact]
            else:
                changed.append(fact)
                print(f"MISSING {fact}")
    if options.keep:
        record.setdefault("machine", {})[BACKEND] = here
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    elif changed:
        print(f"{len(changed)} facts have changed.")
    return 1 if changed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
