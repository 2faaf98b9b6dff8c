"""Models of notes that can do more, made of models that can't yet."""

import numpy as np
from keras import ops

from keras_pianogen.models.note_causal_lm import NoteTransformerCausalLM


def extended(model, infilling=0.0, performing=0.0, controls=None):
    """A model of notes that can do more, with the weights of one that can't.

    Until it is trained, it continues music as the other does: the embeddings
    of new fields are 0.

    Args:
        model: a `NoteTransformerCausalLM`.
        infilling: float, 0 to 1. The share of training windows with a gap,
            the preprocessor's `infilling`. Defaults to `0.0`, the model's own.
        performing: float, 0 to 1. The share of the others with a score, the
            preprocessor's `performing`. Defaults to `0.0`, the model's own.
        controls: a `Controls`. Defaults to `None`, the model's own. Those of
            the model that are named again are learned anew if their classes
            differ.

    Returns:
        A `NoteTransformerCausalLM`, not compiled.

    Raises:
        ValueError: if the model is none of notes.
    """
    if not isinstance(model, NoteTransformerCausalLM):
        raise ValueError(
            "`infilling`, `performing` and `controls` are for models of notes, "
            "such as the preset note_transformer_maestro. Received: a "
            f"{type(model).__name__}"
        )
    infilling = infilling or model.preprocessor.infilling
    performing = performing or model.preprocessor.performing
    controls = controls or model.backbone.controls
    controls = controls.get_config()
    config = model.backbone.get_config() | {
        "infilling": bool(infilling),
        "performing": bool(performing),
        "controls": controls,
    }
    backbone = type(model.backbone).from_config(config)
    config = model.preprocessor.get_config() | {
        "infilling": infilling,
        "performing": performing,
        "controls": controls,
    }
    preprocessor = type(model.preprocessor).from_config(config)
    new = NoteTransformerCausalLM(backbone, preprocessor)
    table = new.backbone.note_embedding.embedding.embeddings
    own = {variable.path: variable for variable in model.variables}
    for variable in new.variables:
        if variable is table:
            variable.assign(_grown(model.backbone, backbone))
        elif variable.path in own:
            variable.assign(own[variable.path])
    return new


def _grown(own, new):
    """The embeddings of the fields of a backbone, for those of another."""
    table = ops.convert_to_numpy(own.note_embedding.embedding.embeddings)
    blocks, first = {}, 0
    for name, block in _blocks(own).items():
        blocks[name] = table[first : first + len(block)]
        first += len(block)
    parts = []
    for name, empty in _blocks(new).items():
        known = blocks.get(name, empty)
        is_same = known.shape == empty.shape and (
            _meaning(own, name) == _meaning(new, name)
        )
        parts.append(known if is_same else empty)
    return np.concatenate(parts).astype(table.dtype)


def _blocks(backbone):
    """Zeros in the shape of each field's embeddings, "none" among them."""
    sizes = backbone.fields.sizes(backbone.form)
    width = backbone.hidden_dim
    return {name: np.zeros((n + 1, width)) for name, n in sizes.items()}


def _meaning(backbone, name):
    """What the classes of a field stand for."""
    controls = backbone.controls
    found = [control for control in controls.all if control.name == name]
    return found or name
