"""Models in KerasHub's shape: backbone, tokenizer, preprocessor and task."""

import importlib

import keras_pianogen.notices.quiet_keras  # noqa: F401
from keras_pianogen.generation.grammar import EventGrammar
from keras_pianogen.generation.prompt_cache import PromptCache
from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.baselines import LSTMBackbone
from keras_pianogen.models.baselines import LSTMLanguageModel
from keras_pianogen.models.baselines import TransformerBackbone
from keras_pianogen.models.baselines import TransformerLanguageModel
from keras_pianogen.models.causal_lm import MusicTransformerCausalLM
from keras_pianogen.models.loading import from_preset
from keras_pianogen.models.note_backbone import NoteTransformerBackbone
from keras_pianogen.models.note_causal_lm import NoteTransformerCausalLM
from keras_pianogen.models.note_preprocessor import (
    NoteTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.note_preprocessor import NoteTupleTokenizer
from keras_pianogen.models.preprocessor import (
    MusicTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.tokenizer import PerformanceTokenizer

__all__ = [
    "EventGrammar",
    "LSTMBackbone",
    "LSTMLanguageModel",
    "MusicTransformerBackbone",
    "MusicTransformerCausalLM",
    "MusicTransformerCausalLMPreprocessor",
    "NoteTransformerBackbone",
    "NoteTransformerCausalLM",
    "NoteTransformerCausalLMPreprocessor",
    "NoteTupleTokenizer",
    "PerformanceTokenizer",
    "PromptCache",
    "TransformerBackbone",
    "TransformerLanguageModel",
    "from_preset",
    "load_language_model",
]

# The name that `from_preset` had in earlier versions.
load_language_model = from_preset

# The GAN's classes were here before they had a folder of their own.
_MOVED_TO_GAN = (
    "MusicTransformerDiscriminator",
    "MusicTransformerGenerator",
    "TransformerGAN",
)


def __getattr__(name):
    """Finds the GAN's classes under the name they had in earlier versions."""
    if name not in _MOVED_TO_GAN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("keras_pianogen.gan"), name)
