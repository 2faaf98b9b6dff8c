"""Holds what the package does, bit for bit, while its code is moved about.

It is a script, not a test that pytest collects:

    KERAS_BACKEND=jax .venv/bin/python tests/behaviour.py
    KERAS_BACKEND=jax .venv/bin/python tests/behaviour.py --only gan
    KERAS_BACKEND=jax .venv/bin/python tests/behaviour.py --keep

The first line compares all facts with those in `tests/data/behaviour.json`.
It prints one line for each: `same NAME`, or `CHANGED NAME` with what was
expected and what was got. The record's `changes` say which facts were recorded
again, since which commit, and why. A group of facts that ends in an exception
prints `FAILED`, and a fact that did not come prints `MISSING`. The exit status
is 1 if any fact is not the same. `--only` takes the beginning of a name and may
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
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import tempfile
import time
import traceback

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

# They and what they import read these settings.
from behaviour_facts import BACKEND  # noqa: E402
from behaviour_facts import DATA  # noqa: E402
from behaviour_facts import MAESTRO  # noqa: E402
from behaviour_facts import ROOT  # noqa: E402
from behaviour_music import command  # noqa: E402
from behaviour_music import corpus  # noqa: E402
from behaviour_music import evaluate  # noqa: E402
from behaviour_music import generate  # noqa: E402
from behaviour_music import midi  # noqa: E402
from behaviour_music import stream  # noqa: E402
from behaviour_music import windows  # noqa: E402
from behaviour_training import adversary  # noqa: E402
from behaviour_training import gan  # noqa: E402
from behaviour_training import save_gans  # noqa: E402
from behaviour_training import train  # noqa: E402

RECORD = DATA / "behaviour.json"

# The package beside this script, not an installed one.
sys.path.insert(0, str(ROOT))

BACKENDS = ("jax", "torch", "tensorflow")
# Groups whose facts know nothing of backends.
SHARED = ("midi", "corpus", "windows")

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
