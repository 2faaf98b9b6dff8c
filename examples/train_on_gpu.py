"""Train a Music Transformer on a GPU for a number of minutes, and pack it.

    pianogen prepare maestro-v3.0.0 --out corpora/maestro
    KERAS_BACKEND=jax python examples/train_on_gpu.py corpora/maestro \\
        --out runs/base --minutes 20

The model has the size `base`, which was published for the Music Transformer,
and is trained in mixed bfloat16. The learning rate falls to 0 when the time is
over. --resume continues after a stop. The result is in `OUT/packed`: the
preset with the best validation loss, in float16 and in shards of at most
15 MB, and the record of the run. In the end the script prints the share of the
device's peak speed that the training used. It counts model FLOPs, after
Chowdhery et al. (2022): operations that are recomputed count once.
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

from keras_pianogen.models import from_preset
from keras_pianogen.training import Recipe
from keras_pianogen.training import train

SHARD_GB = 15e6 / 1024**3  # Keras's gigabytes.
RECORD = ("config.json", "history.csv", "curves.png")
# Peak speed of matrix products in bfloat16 without sparsity, in TFLOP/s, as
# published by the makers. The first name that fits counts.
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
SETTINGS = ("size", "batch_size", "sequence_length", "dtype", "seed")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="a corpus that `pianogen prepare` made")
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
        "--peak",
        type=float,
        help="peak speed of the device in TFLOP/s, if it isn't known here",
    )
    return parser.parse_args()


def flops_of_event(recipe, parameters):
    """Model FLOPs of training on one event, forward and backward.

    There are six for each weight of a matrix. The embedding is such a matrix,
    because it is the output layer too. Attention has three products, of which
    the causal half counts: queries with keys, queries with relative
    embeddings, and attention weights with values.
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
    settings, minutes = {}, arguments.minutes
    if not arguments.resume:
        settings = {"size": "base", "dtype": "mixed_bfloat16"}
        minutes = minutes or 20
    for name in SETTINGS:
        if getattr(arguments, name) is not None:
            settings[name] = getattr(arguments, name)
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
            settings,
            minutes=minutes,
            resume=arguments.resume,
            validation_events=200_000,
            workers=arguments.workers,
            progress=report,
        )


def pack(out):
    """Save the preset in float16 and in small files, and the run's record."""
    packed = out / "packed"
    shutil.rmtree(packed, ignore_errors=True)
    model = from_preset(out / "preset", dtype="float16")
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
    print(
        f"{device}: {speed:,.0f} events per second, {tflops:.4g} model TFLOP/s"
    )
    peaks = [peak for name, peak in PEAKS.items() if name in device]
    peak = arguments.peak or (peaks[0] if peaks else None)
    if peak is None:
        print("The peak speed of this device isn't known; --peak sets it.")
    else:
        print(f"{tflops / peak:.1%} of the bfloat16 peak, {peak:g} TFLOP/s")
    for path in sorted(packed.rglob("*.*")):
        print(f"{path} {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
