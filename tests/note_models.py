"""A small model of notes that are short, close together and of the middle."""

import keras
import numpy as np

from keras_pianogen.models import NoteTransformerBackbone
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.models import NoteTransformerCausalLMPreprocessor
from keras_pianogen.models import NoteTupleTokenizer
from keras_pianogen.note_tuples import NoteTuples

FORM = NoteTuples()


def build_note_model(max_sequence_length=32, **settings):
    keras.utils.set_random_seed(0)
    backbone = NoteTransformerBackbone(
        FORM,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=max_sequence_length,
        dropout=0.0,
        **settings,
    )
    preprocessor = NoteTransformerCausalLMPreprocessor(
        NoteTupleTokenizer(), sequence_length=24
    )
    model = NoteTransformerCausalLM(backbone, preprocessor)
    model.compile()
    for name in ("shift", "duration"):
        dense = getattr(model.heads, f"{name}_head").logits_dense
        dense.bias.assign(-0.1 * np.arange(FORM.num_classes[name]))
    far = np.abs(np.arange(128) - 64)
    model.heads.pitch_head.logits_dense.bias.assign(-0.05 * far)
    return model
