"""Models in KerasHub's shape: backbone, tokenizer, preprocessor and task."""

from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.causal_lm import MusicTransformerCausalLM
from keras_pianogen.models.grammar import EventGrammar
from keras_pianogen.models.preprocessor import (
    MusicTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.tokenizer import PerformanceTokenizer

__all__ = [
    "EventGrammar",
    "MusicTransformerBackbone",
    "MusicTransformerCausalLM",
    "MusicTransformerCausalLMPreprocessor",
    "PerformanceTokenizer",
]
