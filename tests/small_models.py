"""Small models with random weights, and what they are given."""

import functools

import keras
import numpy as np

from keras_pianogen.events import EventVocabulary
from keras_pianogen.generation import decoding
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.notes import NOTE_DTYPE

CONTEXT = 48

# Tests share models: no sampler of one test removes what another compiled.
decoding.STRUCTURES_KEPT = 100


def build_model(seed=0, context=CONTEXT, num_layers=1, **kwargs):
    """A Music Transformer; of one block, to be traced sooner."""
    keras.utils.set_random_seed(seed)
    vocabulary = EventVocabulary.named("magenta")
    backbone = MusicTransformerBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=num_layers,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=context,
        **kwargs,
    )
    # Large weights, so that the likeliest event is never a near tie.
    backbone.set_weights([w * 2 for w in backbone.get_weights()])
    preprocessor = MusicTransformerCausalLMPreprocessor(
        PerformanceTokenizer.from_vocabulary(vocabulary),
        sequence_length=context,
    )
    return MusicTransformerCausalLM(backbone, preprocessor)


@functools.cache
def the_model(context=CONTEXT, num_layers=1):
    """A model that tests share, compiled once, and don't change."""
    return build_model(context=context, num_layers=num_layers)


def random_notes(count=40, seed=0):
    rng = np.random.default_rng(seed)
    notes = np.zeros(count, NOTE_DTYPE)
    notes["start"] = np.sort(rng.uniform(0, count / 8, count)).round(2)
    notes["end"] = notes["start"] + 0.2
    notes["pitch"] = 40 + np.arange(count) % 40
    notes["velocity"] = rng.integers(30, 100, count)
    return notes


def random_ids(count, seed=0):
    return np.random.default_rng(seed).integers(3, 391, count).astype("int32")


def logits_of(model, ids):
    """Logits by a full forward over the start id and `ids`."""
    vocabulary = model.preprocessor.tokenizer.vocabulary
    ids = np.concatenate([[vocabulary.start_id], ids])[None]
    x = {"token_ids": ids, "padding_mask": np.ones(ids.shape, bool)}
    return model.predict(x, verbose=0)[0]
