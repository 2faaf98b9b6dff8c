# mypy: allow-untyped-defs, allow-incomplete-defs
"""Music as vectors: mean hidden states of a trained Music Transformer.

A vector stands for a window of events. It is the mean of the backbone's last
hidden states, from which the model predicts the next event. A vector therefore
shows only differences that the model has learnt to represent.
"""

import keras
import numpy as np

WINDOW = 128  # events, a few seconds of MAESTRO
BATCH = 16  # windows


def embed_pieces(model, pieces, *, window=WINDOW, progress=None):
    """Embeddings of performances, one for each window.

    The events after a piece's last whole window are left out. A piece that is
    shorter than a window has one embedding, of all its events.

    Args:
        model: a `MusicTransformerCausalLM` with a preprocessor.
        pieces: a list of performances, each of a note or more.
        window: int. Number of events in a window.
        progress: a function called with (windows done, windows in all).

    Returns:
        A list of float64 arrays (windows, hidden_dim), one for each piece.
    """
    vocabulary = model.preprocessor.tokenizer.vocabulary
    rows = [_windows(vocabulary.encode(notes), window) for notes in pieces]
    ids = np.concatenate(rows)
    found = np.zeros((len(ids), model.backbone.hidden_dim))
    for begin in range(0, len(ids), BATCH):
        part = ids[begin : begin + BATCH]
        found[begin : begin + BATCH] = _embed(model.backbone, part)
        if progress is not None:
            progress(begin + len(part), len(ids))
    return np.split(found, np.cumsum([len(r) for r in rows])[:-1])


def _windows(ids, window):
    """Ids, (windows, window); -1 after the end of a piece shorter than one."""
    whole = len(ids) // window
    if whole:
        return ids[: whole * window].reshape(whole, window)
    return np.pad(ids, (0, window - len(ids)), constant_values=-1)[None]


def _embed(backbone, ids):
    """Means over all events but padding, (windows, hidden_dim)."""
    # There are always `BATCH` rows, so that the backbone is compiled once.
    full = np.full((BATCH, ids.shape[1]), -1, "int32")
    full[: len(ids)] = ids
    mask = full >= 0
    states = keras.ops.convert_to_numpy(
        backbone.predict_on_batch(
            {"token_ids": np.where(mask, full, 0), "padding_mask": mask}
        )
    ).astype("float64")  # (batch, time, hidden_dim)
    mask = mask[: len(ids), :, None]
    return (states[: len(ids)] * mask).sum(1) / mask.sum(1)
