"""Models in KerasHub's shape: backbone, tokenizer, preprocessor and task."""

from keras_pianogen.models.backbone import MusicTransformerBackbone
from keras_pianogen.models.baselines import LSTMBackbone
from keras_pianogen.models.baselines import LSTMLanguageModel
from keras_pianogen.models.baselines import TransformerBackbone
from keras_pianogen.models.baselines import TransformerLanguageModel
from keras_pianogen.models.baselines import load_language_model
from keras_pianogen.models.causal_lm import MusicTransformerCausalLM
from keras_pianogen.models.discriminator import MusicTransformerDiscriminator
from keras_pianogen.models.generator import MusicTransformerGenerator
from keras_pianogen.models.grammar import EventGrammar
from keras_pianogen.models.preprocessor import (
    MusicTransformerCausalLMPreprocessor,
)
from keras_pianogen.models.prompt_cache import PromptCache
from keras_pianogen.models.tokenizer import PerformanceTokenizer
from keras_pianogen.models.transformer_gan import TransformerGAN

__all__ = [
    "EventGrammar",
    "LSTMBackbone",
    "LSTMLanguageModel",
    "MusicTransformerBackbone",
    "MusicTransformerCausalLM",
    "MusicTransformerCausalLMPreprocessor",
    "MusicTransformerDiscriminator",
    "MusicTransformerGenerator",
    "PerformanceTokenizer",
    "PromptCache",
    "TransformerBackbone",
    "TransformerGAN",
    "TransformerLanguageModel",
    "load_language_model",
]
