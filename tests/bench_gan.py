"""A round of the Transformer-GAN against the sum of its parts.

    make bench PYTEST_FLAGS="-k gan"

The two parts are a step of the discriminator and one of the generator, each
compiled alone; rounds of all three are timed in turns. Two blocks of width
128, 8 heads, batches of 16 x 128 events.
"""

import statistics
import time

import keras
import numpy as np

from keras_pianogen.models import MusicTransformerDiscriminator
from keras_pianogen.models import MusicTransformerGenerator
from keras_pianogen.models import TransformerGAN

pytest_plugins = ["measuring"]

LENGTH, BATCH, ROUNDS = 128, 16, 8
SHAPE = {
    "vocabulary_size": 416,
    "num_layers": 2,
    "num_heads": 8,
    "hidden_dim": 128,
    "intermediate_dim": 256,
}


def build(part):
    keras.utils.set_random_seed(0)
    gan = TransformerGAN(
        MusicTransformerGenerator(**SHAPE, sequence_length=LENGTH),
        MusicTransformerDiscriminator(**SHAPE),
        seed=0,
    )
    gan.compile(loss="non_saturating")
    steps = gan.steps
    parts = {
        "round": steps.round,
        "discriminator": lambda batch: steps.discriminator_step(
            batch, gan.fakes.draw(gan.generator, batch)
        ),
        "generator": lambda batch: steps.generator_step(
            batch, gan.fakes.draw(gan.generator, batch)
        ),
    }
    steps.round = parts[part]
    return gan


def seconds(gan, ids):
    began = time.perf_counter()
    logs = gan.train_on_batch(ids, return_dict=True)
    assert all(np.isfinite(float(value)) for value in logs.values())
    return time.perf_counter() - began


def test_gan_round_against_its_parts(benchmark, summary):
    ids = np.random.default_rng(0).integers(3, 416, (BATCH, LENGTH))
    models = {
        part: build(part) for part in ("round", "discriminator", "generator")
    }
    spent = {part: [] for part in models}

    def measure():
        for turn in range(ROUNDS + 2):
            for part, gan in models.items():
                took = seconds(gan, ids.astype("int32"))
                if turn >= 2:  # The first ones compile.
                    spent[part].append(took)

    benchmark.pedantic(measure, rounds=1)
    median = {part: statistics.median(times) for part, times in spent.items()}
    ratio = (median["discriminator"] + median["generator"]) / median["round"]
    benchmark.extra_info |= median | {"ratio": ratio}
    summary.table.add_row(
        "GAN, 2 + 2 layers, width 128, 16 x 128",
        f"{1 / median['round']:.2f} rounds/s",
        f"its two steps alone {1 / (ratio * median['round']):.2f}",
        f"{ratio:.2f} x",
    )
