"""Draws the pictures of docs/concepts with the code that they explain.

KERAS_BACKEND=torch python docs/records/plot_concepts.py \
    tests/data/bach_bwv_885.midi docs/images

To find the events that a query attends to, it changes each event and compares
the outputs. To find the content of a ring, it fills one whose keys are the
numbers of the events.
"""

import pathlib
import sys

import keras
import matplotlib
import numpy as np
from keras import ops
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_pianogen import EventVocabulary
from keras_pianogen import read_notes
from keras_pianogen.attention import blocks
from keras_pianogen.layers import RelativeGlobalAttention
from keras_pianogen.layers import RelativeLocalAttention

KINDS = {
    "velocity": "#e0d3ee",
    "note on": "#f3c6ae",
    "note off": "#f8e7dd",
    "shift": "#c8d6ef",
}
INK, QUIET = "#333333", "#999999"
# The same data gives the same file, with text stored as text.
matplotlib.rcParams |= {
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "concepts",
}


def main(midi, folder):
    folder = pathlib.Path(folder)
    for name, figure in {
        "events": draw_events(midi),
        "skewing": draw_skewing(),
        "masks": draw_masks(),
        "ring": draw_ring(),
    }.items():
        figure.savefig(
            folder / f"concept_{name}.svg",
            metadata={"Date": None},
            bbox_inches="tight",
        )


def draw_events(midi, count=4):
    """Draws the first notes of a piece and their events."""
    notes, keys = read_notes(midi)[:count], read_notes(midi, sustain=False)
    figure = Figure(figsize=(9.5, 4.6), layout="constrained")
    roll, strip = figure.subplots(2, 1, height_ratios=(1.25, 1))
    for note, key in zip(notes, keys):
        place = note["start"], note["pitch"] - 0.4
        held = note["end"] - note["start"]
        roll.add_patch(Rectangle(place, held, 0.8, color=KINDS["note off"]))
        struck = key["end"] - note["start"]
        roll.add_patch(Rectangle(place, struck, 0.8, color=KINDS["note on"]))
        roll.text(note["start"], note["pitch"] + 0.7,
                  f"{note['pitch']}, velocity {note['velocity']}",
                  fontsize=8, color=INK)  # fmt: skip
    roll.set(xlim=(0, 9), ylim=(40, 71), xlabel="seconds", ylabel="MIDI pitch")
    roll.spines[["top", "right"]].set_visible(False)
    vocabulary = EventVocabulary.named("magenta")
    for place, event in enumerate(vocabulary.encode(notes)):
        text = vocabulary.describe(event)
        kind = next(kind for kind in KINDS if text.startswith(kind))
        strip.add_patch(
            Rectangle((place + 0.06, 0), 0.88, 1, color=KINDS[kind])
        )
        strip.text(place + 0.5, 0.04, text, rotation=90, ha="center",
                   va="bottom", fontsize=8, color=INK)  # fmt: skip
        strip.text(place + 0.5, -0.08, str(event), ha="center", va="top",
                   fontsize=7, color=QUIET)  # fmt: skip
    strip.set(xlim=(0, place + 1), ylim=(0, 1))
    strip.axis("off")
    return figure


def draw_skewing(time=5):
    """From products with relative embeddings to a row of keys for each query.

    Above as in the paper's figures 4 to 7, below as it is done here.
    """
    query, relative = random_head(time)
    products = query @ relative.T  # Column m is of distance time - 1 - m.
    names = np.array(
        [[f"{i},{time - 1 - m}" for m in range(time)] for i in range(time)]
    )
    distance = np.arange(time)[::-1]
    unmeant = distance[None] > np.arange(time)[:, None]
    masked = np.where(unmeant, 0.0, products)
    names = np.where(unmeant, "", names)
    padded = np.pad(masked, ((0, 0), (1, 0)))
    padded_names = np.pad(names, ((0, 0), (1, 0)), constant_values="pad")
    folded = padded.reshape(time + 1, time)
    folded_names = padded_names.reshape(time + 1, time)
    textbook = folded[1:], folded_names[1:]
    # This package adds a column for the distance -1 and copies nothing.
    wide = np.pad(products, ((0, 0), (0, 1)))
    wide_names = np.pad(names, ((0, 0), (0, 1)), constant_values="−1")
    line = slice(time - 1, time - 1 + time * time)
    ours = wide.reshape(-1)[line].reshape(time, time)
    our_names = wide_names.reshape(-1)[line].reshape(time, time)
    seen = np.tril(np.ones((time, time), bool))
    check_skewed(query, relative, np.where(seen, textbook[0], 0))
    check_skewed(query, relative, np.where(seen, ours, 0))
    figure = Figure(figsize=(10.5, 5))
    axes = figure.subplots(2, 4)
    for axis, title, values, labels in (
        (axes[0, 0], "query × embeddings, masked", masked, names),
        (axes[0, 1], "a column is padded", padded, padded_names),
        (axes[0, 2], "reshaped", folded, folded_names),
        (axes[0, 3], "the first row removed", *textbook),
        (axes[1, 0], "query × embeddings", products, names),
        (axes[1, 1], "one more column, for −1", wide, wide_names),
        (axes[1, 2], f"from element {time - 1} on, reshaped", ours, our_names),
        (axes[1, 3], "later keys masked", np.where(seen, ours, np.nan),
         np.where(seen, our_names, "")),
    ):  # fmt: skip
        draw_cells(axis, title, values, labels, np.abs(products).max())
    for axis, text in zip(
        axes[:, 0], ("textbook", "this package"), strict=True
    ):
        axis.text(-0.9, (time - 1) / 2, text, rotation=90, va="center",
                  ha="center", color=QUIET)  # fmt: skip
    return figure


def random_head(time, key_dim=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, time, key_dim)).astype("float32")


def check_skewed(query, relative, skewed):
    """Checks that skewed logits give the outputs of the package's attention."""
    time, key_dim = query.shape
    key, value = random_head(time)[::-1]
    tensors = [ops.convert_to_tensor(x[None, None])
               for x in (query, key, value)]  # fmt: skip
    outputs = blocks.attend(
        *tensors, ops.convert_to_tensor(relative[:, None]), block_size=2
    )
    logits = (query @ key.T + skewed) / key_dim**0.5
    logits = np.where(np.tril(np.ones((time, time))) > 0, logits, -np.inf)
    weights = np.exp(logits)
    weights /= weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs)[0, 0], weights @ value, atol=1e-5
    )


def draw_cells(axis, title, values, names, most):
    axis.imshow(values, cmap="PuOr", vmin=-1.6 * most, vmax=1.6 * most)
    for (row, column), name in np.ndenumerate(names):
        axis.text(column, row, name, ha="center", va="center", fontsize=7,
                  color=QUIET if name in ("pad", "−1") else INK)  # fmt: skip
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])


def draw_masks(time=16, size=4):
    """Draws masks of attention, with a row for each query."""
    kinds = {
        "global": RelativeGlobalAttention(1, 4, max_distance=time),
        f"global, max_distance={2 * size}": RelativeGlobalAttention(
            1, 4, max_distance=2 * size
        ),
        f"local_block_size={size}": RelativeLocalAttention(
            1, 4, local_block_size=size
        ),
        "attend_previous_block=True": RelativeLocalAttention(
            1, 4, local_block_size=size, attend_previous_block=True
        ),
    }
    figure = Figure(figsize=(10.5, 3))
    for axis, (title, layer) in zip(figure.subplots(1, 4), kinds.items()):
        axis.imshow(attended(layer, time), cmap="Blues", vmin=0, vmax=2)
        axis.set_title(title, fontsize=9)
        axis.set_xticks(np.arange(time + 1) - 0.5, [""] * (time + 1))
        axis.set_yticks(np.arange(time + 1) - 0.5, [""] * (time + 1))
        axis.tick_params(length=0)
        axis.grid(color="white", lw=0.6)
        axis.set_xlabel("event as a key")
        if layer is kinds["global"]:
            axis.set_ylabel("event as a query")
            draw_blocks(axis, time, size)
    return figure


def draw_blocks(axis, time, size):
    """Draws the rectangles of logits that blocks of queries compute."""
    shape = blocks.Staircase((1, 1, time, 4), time, 0, size)
    for start, count, rows, first, stop in shape.stairs():
        for block in range(count):
            corner = first - 0.5, start + block * rows - 0.5
            axis.add_patch(
                Rectangle(corner, stop - first, rows, fill=False,
                          ec="#cc5533", lw=1.4)
            )  # fmt: skip


def attended(layer, time):
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(1, time, 4))
    # One sequence for each event that is changed.
    changed = np.repeat(inputs, time, 0)
    changed[np.arange(time), np.arange(time)] += 1
    both = np.concatenate([inputs, changed]).astype("float32")
    outputs = ops.convert_to_numpy(layer(both))
    change = np.abs(outputs[1:] - outputs[:1]).max(-1)  # (changed, output)
    return change.T > 1e-6


def draw_ring(capacity=8, events=13):
    """Draws the event in each slot of a ring while events arrive."""
    layer = RelativeGlobalAttention(1, 1, max_distance=capacity, use_bias=False)
    layer.build((1, None, 1))
    layer.key.set_weights([np.ones((1, 1), "float32")])
    cache = layer.build_cache(1)
    figure = Figure(figsize=(6, 4.6))
    axis = figure.subplots()
    for event in range(events):
        one = np.full((1, 1, 1), event, "float32")
        _, cache = layer(one, cache=cache, cache_update_index=event)
        kept = ops.convert_to_numpy(cache[0])[0, 0, :, 0].round().astype(int)
        for slot, number in enumerate(kept):
            if slot > event:
                continue
            colour = KINDS["note on"] if number == event else KINDS["shift"]
            axis.add_patch(Rectangle((slot, event), 0.94, 0.9, color=colour))
            axis.text(slot + 0.47, event + 0.5, str(number), ha="center",
                      va="center", fontsize=8, color=INK)  # fmt: skip
    axis.set(
        xlim=(0, capacity),
        ylim=(events, 0),
        xticks=np.arange(capacity) + 0.47,
        xticklabels=range(capacity),
        yticks=np.arange(events) + 0.5,
        yticklabels=range(events),
        xlabel="slot of the ring",
        ylabel="after event",
    )
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


if __name__ == "__main__":
    main(*sys.argv[1:])
