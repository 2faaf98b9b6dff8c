# mypy: allow-untyped-defs, allow-incomplete-defs
"""Music as vectors: mean hidden states of a trained Music Transformer.

A vector stands for a window of events or notes. It is the mean of the
backbone's last hidden states, from which the model predicts the next one. A
vector therefore shows only differences that the model has learnt to represent.
"""

import keras
import numpy as np

BATCH = 16  # windows


def embed_pieces(model, pieces, *, window=None, progress=None):
    """Embeddings of performances, one for each window.

    The events or notes after a piece's last whole window are left out. A piece
    that is shorter than a window has one embedding, of all of it.

    Args:
        model: a `MusicTransformerCausalLM` or `NoteTransformerCausalLM` with
            a preprocessor.
        pieces: a list of performances, each of a note or more.
        window: int. Number of events or notes in a window. Defaults to
            `None`: 128 events or 32 notes, a few seconds of MAESTRO.
        progress: a function called with (windows done, windows in all).

    Returns:
        A list of float64 arrays (windows, hidden_dim), one for each piece.
    """
    form = model.preprocessor.form
    window = window or form.tokens_a_window
    rows = [_windows(form.backbone_inputs(notes), window) for notes in pieces]
    inputs = {
        name: np.concatenate([row[name] for row in rows]) for name in rows[0]
    }
    count = len(inputs["padding_mask"])
    found = np.zeros((count, model.backbone.hidden_dim))
    for begin in range(0, count, BATCH):
        part = {name: x[begin : begin + BATCH] for name, x in inputs.items()}
        found[begin : begin + BATCH] = _embed(model.backbone, part)
        if progress is not None:
            progress(min(begin + BATCH, count), count)
    ends = np.cumsum([len(row["padding_mask"]) for row in rows])
    return np.split(found, ends[:-1])


def _windows(inputs, window):
    """Inputs in windows, (windows, window, ...), and their padding mask."""
    length = len(next(iter(inputs.values())))
    whole = max(length // window, 1) * window
    inputs |= {"padding_mask": np.ones(length, "bool")}
    return {
        name: _padded(x[:whole], whole).reshape(-1, window, *x.shape[1:])
        for name, x in inputs.items()
    }


def _padded(x, length):
    missing = length - len(x)
    return np.pad(x, ((0, missing), *[(0, 0)] * (x.ndim - 1)))


def _embed(backbone, inputs):
    """Means over all tokens but padding, (windows, hidden_dim)."""
    # There are always `BATCH` rows, so that the backbone is compiled once.
    full = {name: _padded(x, BATCH) for name, x in inputs.items()}
    states = keras.ops.convert_to_numpy(backbone.predict_on_batch(full)).astype(
        "float64"
    )  # (batch, time, hidden_dim)
    mask = inputs["padding_mask"][..., None]
    return (states[: len(mask)] * mask).sum(1) / mask.sum(1)
