"""Models of notes that fill gaps, made of models that don't yet."""

import numpy as np
from keras import ops

from keras_pianogen.models.note_causal_lm import NoteTransformerCausalLM


def with_infilling(model, share):
    """A model of notes that fills gaps, with the weights of one that may not.

    Until it is trained, it continues music as the other does: the embeddings
    of gaps are 0, see `data.gaps`.

    Args:
        model: a `NoteTransformerCausalLM`.
        share: float above 0, up to 1. The share of training windows with a
            gap, the preprocessor's `infilling`.

    Returns:
        A `NoteTransformerCausalLM`, not compiled.

    Raises:
        ValueError: if the model is none of notes.
    """
    if not isinstance(model, NoteTransformerCausalLM):
        raise ValueError(
            "`infilling` is for models of notes, such as the preset "
            f"note_transformer_maestro. Received: a {type(model).__name__}"
        )
    config = model.backbone.get_config() | {"infilling": True}
    backbone = type(model.backbone).from_config(config)
    config = model.preprocessor.get_config() | {"infilling": share}
    preprocessor = type(model.preprocessor).from_config(config)
    filling = NoteTransformerCausalLM(backbone, preprocessor)
    own = {variable.path: variable for variable in model.variables}
    for variable in filling.variables:
        if variable.path in own:
            variable.assign(_grown(own[variable.path], variable.shape))
    return filling


def _grown(variable, shape):
    """The value of a variable, with rows of 0 up to a shape."""
    value = ops.convert_to_numpy(variable)
    if value.shape == tuple(shape):
        return value
    rows = np.zeros((shape[0] - len(value), *shape[1:]), value.dtype)
    return np.concatenate([value, rows])
