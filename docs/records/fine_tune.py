"""Fine-tunes the bundled preset on pieces by Rachmaninoff, see docs/guides.

KERAS_BACKEND=torch python docs/records/fine_tune.py \
    ../shared/data/maestro-v3.0.0 docs/records/fine_tune.csv full-22

The pieces are from MAESTRO's validation split, which the bundled preset was
not trained on. It trains on 4 pieces (22 minutes), selects the weights on 3
others and tests them on 3 others, all of other works. A row of the record is a
validation on 5,000 events of the selection pieces. The last row of a run, with
the step `best`, has the loss on all test pieces before the run and with the
selected weights.
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

# The learning rate of AdamW and other settings. Names contain the minutes.
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
    "": ("sharp Minor, Op. 3",),  # another performance of a test piece
}
STEPS, VALIDATION_STEPS, STEP_EVENTS = 40, 20, 2048
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
    """Prepares a corpus with some works to train on and all held-out pieces."""
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
    """Plays notes like a notation program: a grid of 125 ms, one velocity."""
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
        batch_size=STEP_EVENTS // length,
        steps=VALIDATION_STEPS,
    )
    rows, seconds, losses = [], 0.0, [""]
    before = judge(model, corpus, "test")
    loss = judge(model, corpus, "validation")
    best, weights = loss, model.get_weights()
    trained = sum(w.size for w in map(keras.ops.convert_to_numpy,
                                      model.trainable_weights))  # fmt: skip
    for step in range(0, STEPS + 1, VALIDATION_STEPS):
        if step:
            began = time.monotonic()
            losses = model.fit(windows, verbose=0).history["loss"]
            seconds += time.monotonic() - began
            loss = judge(model, corpus, "validation")
        if loss < best:
            best, weights = loss, model.get_weights()
        rows.append(
            {"run": name, "step": step, "events": step * STEP_EVENTS,
             "seconds": round(seconds), "trained": trained, "loss": losses[-1],
             "nats_per_event": loss}
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
