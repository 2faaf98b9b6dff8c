"""Train a Music Transformer on a GPU for so many minutes, and pack it up.

    pianogen prepare maestro-v3.0.0 --out corpora/maestro
    KERAS_BACKEND=jax python examples/train_on_gpu.py corpora/maestro \\
        --out runs/base --minutes 20

The size `base`, the one published for the Music Transformer, in mixed
bfloat16, with the schedule set to end with the clock. `--resume` goes on
after a stop. What comes back is `OUT/packed`: the best preset in float16, in
shards of at most 15 MB, and the run's record. Printed at the end is how much
of the device's peak the training used (model FLOPs, Chowdhery et al., 2022:
none for what is computed twice).
"""

import argparse
import csv
import json
import pathlib
import shutil

import keras
from rich.progress import BarColumn
from rich.progress import Progress
from rich.progress import TextColumn
from rich.progress import TimeRemainingColumn

from keras_pianogen.models import load_language_model
from keras_pianogen.training.language_model import train
from keras_pianogen.training.recipe import Recipe

SHARD_GB = 15e6 / 1024**3  # Keras's gigabytes.
RECORD = ("config.json", "history.csv", "curves.png")
# Peaks of matrix products in bfloat16 without sparsity, in TFLOP/s, as their
# makers give them. Longer names first.
PEAKS = {
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L40": 181,
    "L4": 121,
}
# What a run that goes on has already.
ITS_OWN = ("minutes", "size", "batch_size", "sequence_length", "dtype", "seed")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="a corpus made by `pianogen prepare`")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, help="20")
    parser.add_argument("--size", help="base")
    parser.add_argument("--batch-size", type=int, help="by size")
    parser.add_argument("--sequence-length", type=int, help="by size")
    parser.add_argument("--dtype", help="mixed_bfloat16")
    parser.add_argument("--seed", type=int, help="0")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--peak", type=float, help="the device's peak in TFLOP/s, if not known"
    )
    arguments = parser.parse_args()
    given = [n for n in ITS_OWN if getattr(arguments, n) is not None]
    if arguments.resume and given:
        parser.error(f"--resume goes on as it began, without {given}")
    return arguments


def flops_of_event(recipe, parameters):
    """Model FLOPs of training on one event, forward and backward.

    Six for each weight of a matrix (the tied embedding is one, as the output
    layer), and for attention three products of a causal half: queries with
    keys and with relative embeddings, and weights with values.
    """
    attention = 3 * recipe.num_layers * recipe.hidden_dim
    relative = (
        recipe.num_layers
        * recipe.sequence_length
        * recipe.hidden_dim
        // (recipe.num_heads if recipe.share_heads else 1)
    )
    return 6 * (parameters - relative) + 3 * attention * recipe.sequence_length


def device_name():
    if keras.config.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    if keras.config.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    return "an unknown device"


def run(arguments):
    given = {name: getattr(arguments, name) for name in ITS_OWN}
    given = {name: value for name, value in given.items() if value is not None}
    minutes = given.pop("minutes", 20)
    chosen = {"size": "base", "dtype": "mixed_bfloat16"} | given
    with Progress(
        TextColumn("step {task.fields[step]:,}"),
        BarColumn(),
        TextColumn(
            "loss {task.fields[loss]:.3f}  "
            "best {task.fields[best_val_nats_per_event]:.3f}  "
            "{task.fields[events_per_second]:,.0f} events/s"
        ),
        TimeRemainingColumn(),
    ) as bar:
        names = ("loss", "best_val_nats_per_event", "events_per_second")
        fields = dict.fromkeys(names, float("nan"))
        task = bar.add_task("", total=1.0, step=0, **fields)

        def report(row, done):
            fields = {name: row[name] for name in ("step", *names)}
            bar.update(task, completed=done, **fields)

        train(
            arguments.corpus,
            arguments.out,
            None if arguments.resume else Recipe.sized(**chosen),
            minutes=None if arguments.resume else minutes,
            resume=arguments.resume,
            validation_events=200_000,
            workers=arguments.workers,
            progress=report,
        )


def pack(out):
    """The preset in float16 and small files, and the run's record."""
    packed = out / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    model = load_language_model(out / "preset", dtype="float16")
    model.save_to_preset(str(packed), max_shard_size=SHARD_GB)
    record = packed / "record"
    record.mkdir()
    for name in RECORD:
        shutil.copy(out / name, record)
    return model.count_params(), packed


def main():
    arguments = parse_arguments()
    run(arguments)
    parameters, packed = pack(arguments.out)
    config = json.loads((arguments.out / "config.json").read_text())
    recipe = Recipe(**config["recipe"])
    with open(arguments.out / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    speeds = sorted(float(row["events_per_second"]) for row in rows)
    speed = speeds[len(speeds) // 2]
    tflops = speed * flops_of_event(recipe, parameters) / 1e12
    best = rows[-1]["best_val_nats_per_event"]
    print(f"{parameters:,} parameters, {best} nats per event on validation")
    device = device_name()
    print(f"{device}: {speed:,.0f} events a second, {tflops:.4g} model TFLOP/s")
    peaks = [peak for name, peak in PEAKS.items() if name in device]
    peak = arguments.peak or (peaks[0] if peaks else None)
    if peak is None:
        print("Its peak isn't known here; --peak gives it.")
    else:
        print(f"{tflops / peak:.1%} of its bfloat16 peak, {peak:g} TFLOP/s")
    for path in sorted(packed.rglob("*.*")):
        print(f"{path} {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
