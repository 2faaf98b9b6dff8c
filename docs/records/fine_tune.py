"""Fine-tunes on eighteen pieces by Rachmaninoff: see docs/guides.

KERAS_BACKEND=torch python docs/records/fine_tune.py \
    ../shared/data/maestro-v3.0.0 docs/records/fine_tune.csv full-22

The pieces are of MAESTRO's validation split, which the bundled preset was not
trained on: 4 to train on, 22 minutes; 3 to choose by; 3 to judge by, other
works all of them. A row of the record is a look at 5,000 events of the
first three; a run's last row, whose step is `best`, has what all events of the
others say of the weights before it began and of its best ones.
"""

import argparse
import csv
import pathlib
import tempfile
import time
import types

import keras

from keras_pianogen import EventWindows
from keras_pianogen import Maestro
from keras_pianogen import prepare_corpus
from keras_pianogen import read_notes
from keras_pianogen import write_midi
from keras_pianogen.judging.likelihood import evaluate
from keras_pianogen.models import MusicTransformerCausalLM

# Learning rate of AdamW, and what is different. Names have minutes of music.
RUNS = {
    "full-22": {"rate": 2e-4},
    "lora-22": {"rate": 2e-3, "rank": 8},
    "mechanical-22": {"rate": 2e-4, "mechanical": True},
    "mechanical-6": {
        "rate": 2e-4,
        "mechanical": True,
        "works": ("Op. 32/5",),
    },
    "mechanical-lora-22": {"rate": 2e-3, "mechanical": True, "rank": 8},
    "mechanical-all-lora-22": {
        "rate": 2e-3,
        "mechanical": True,
        "rank": 8,
        "everywhere": True,
    },
}
WORKS = "Op. 32/5", "Elegie in", "33 No. 3"  # 22 minutes
EVERYWHERE = (
    "query",
    "key",
    "value",
    "attention_output",
    "feedforward_intermediate_dense",
    "feedforward_output_dense",
)
HELD_OUT = {
    "validation": ("Polka",),
    "test": ("Lilac", "Humoresque", "No. 2 in C-sharp"),
    "": ("sharp Minor, Op. 3",),  # a work of the test once more
}
STEPS, STEPS_A_LOOK, EVENTS_A_STEP = 40, 20, 2048
COLUMNS = ("run", "step", "events", "seconds", "trained", "loss", "before",
           "nats_per_event")  # fmt: skip


def main(maestro, record, name):
    settings = RUNS[name]
    with tempfile.TemporaryDirectory() as folder:
        corpus = prepare(maestro, pathlib.Path(folder), **settings)
        rows = train(corpus, name, **settings)
    record = pathlib.Path(record)
    new = not record.exists()
    with open(record, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def prepare(maestro, folder, works=WORKS, mechanical=False, **_):
    """A corpus of the works to train on; what it is judged by stays."""
    source = folder / "midi"
    source.mkdir()
    pieces = []
    for piece in Maestro(maestro).split("validation"):
        if piece.composer != "Sergei Rachmaninoff":
            continue
        split = split_of(piece.title)
        kept = (
            split if split != "train" else any(w in piece.title for w in works)
        )
        if not kept:
            continue
        notes = read_notes(piece.path)
        path = source / piece.path.name
        write_midi(even(notes) if mechanical else notes, path)
        pieces.append(
            types.SimpleNamespace(
                path=path,
                split=split,
                composer=piece.composer,
                title=piece.title,
                year=piece.year,
            )
        )
    return prepare_corpus(
        types.SimpleNamespace(folder=source, pieces=pieces), folder / "corpus"
    )


def split_of(title):
    for split, works in HELD_OUT.items():
        if any(work in title for work in works):
            return split
    return "train"


def even(notes):
    """As a notation program would play: a grid of 125 ms, one velocity."""
    notes = notes.copy()
    length = (notes["end"] - notes["start"]) / 0.125
    notes["start"] = (notes["start"] / 0.125).round() * 0.125
    notes["end"] = notes["start"] + length.round().clip(1) * 0.125
    notes["velocity"] = 80
    return notes


def train(corpus, name, rate, rank=None, everywhere=False, **_):
    keras.utils.set_random_seed(0)
    model = MusicTransformerCausalLM.from_preset(
        "music_transformer_maestro", dtype="float32"
    )
    if rank is not None:
        names = list(EVERYWHERE) if everywhere else None
        model.backbone.enable_lora(rank, target_layer_names=names)
    model.compile(keras.optimizers.AdamW(rate, global_clipnorm=1.0))
    length = model.backbone.max_sequence_length
    windows = EventWindows(
        corpus,
        vocabulary=model.preprocessor.tokenizer.vocabulary,
        sequence_length=length,
        batch_size=EVENTS_A_STEP // length,
        steps=STEPS_A_LOOK,
    )
    rows, seconds, losses = [], 0.0, [""]
    before = judge(model, corpus, "test")
    look = judge(model, corpus, "validation")
    best, weights = look, model.get_weights()
    trained = sum(w.size for w in map(keras.ops.convert_to_numpy,
                                      model.trainable_weights))  # fmt: skip
    for step in range(0, STEPS + 1, STEPS_A_LOOK):
        if step:
            began = time.monotonic()
            losses = model.fit(windows, verbose=0).history["loss"]
            seconds += time.monotonic() - began
            look = judge(model, corpus, "validation")
        if look < best:
            best, weights = look, model.get_weights()
        rows.append(
            {"run": name, "step": step, "events": step * EVENTS_A_STEP,
             "seconds": round(seconds), "trained": trained, "loss": losses[-1],
             "nats_per_event": look}
        )  # fmt: skip
    model.set_weights(weights)
    last = {"step": "best", "before": before,
            "nats_per_event": judge(model, corpus, "test")}  # fmt: skip
    return [*rows, rows[-1] | last]


def judge(model, corpus, split):
    few = 5_000 if split == "validation" else None
    return evaluate(
        model, corpus, split, batch_size=4, max_events=few
    ).nats_per_event


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("maestro")
    parser.add_argument("record")
    parser.add_argument("name", choices=RUNS)
    main(**vars(parser.parse_args()))
