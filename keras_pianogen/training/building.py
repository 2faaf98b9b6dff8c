"""Language models of a recipe, built and compiled."""

import dataclasses

import keras

from keras_pianogen.events import EventVocabulary
from keras_pianogen.models import LSTMBackbone
from keras_pianogen.models import LSTMLanguageModel
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import NoteTransformerBackbone
from keras_pianogen.models import NoteTransformerCausalLM
from keras_pianogen.models import NoteTransformerCausalLMPreprocessor
from keras_pianogen.models import NoteTupleTokenizer
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.models import TransformerBackbone
from keras_pianogen.models import TransformerLanguageModel
from keras_pianogen.models.losses import SmoothedCrossentropy
from keras_pianogen.note_tuples import NoteTuples
from keras_pianogen.training.optimizers import build_optimizer

# Settings that only some backbones have.
_HEADS = ("num_heads", "intermediate_dim")
_RELATIVE = ("share_heads", "local_block_size", "attend_previous_block")


@dataclasses.dataclass(frozen=True)
class _OfEvents:
    """Models over events.

    Args:
        backbone: class of the backbone.
        model: class of the language model.
        names: settings that the backbone has besides those that all have.
    """

    backbone: type
    model: type
    names: tuple[str, ...] = ()

    def build(self, recipe, config):
        """A model, whose backbone has a configuration, or the recipe's own."""
        # A preset of notes may be trained with these, so that no recipe is
        # refused before.
        for name in ("infilling", "performing", "controls", "relations"):
            if value := getattr(recipe, name):
                raise ValueError(
                    f"`{name}` is for the architecture 'note_transformer'. "
                    f"Received: {name}={value!r}, "
                    f"architecture={recipe.architecture!r}"
                )
        vocabulary = EventVocabulary.named(recipe.vocabulary)
        preprocessor = MusicTransformerCausalLMPreprocessor(
            PerformanceTokenizer.from_vocabulary(vocabulary),
            sequence_length=recipe.sequence_length,
        )
        config = config or {
            "vocabulary_size": len(vocabulary),
            **_settings(recipe),
            **{name: getattr(recipe, name) for name in self.names},
        }
        return self.model(self.backbone.from_config(config), preprocessor)


class _OfNotes:
    """Models over notes."""

    def build(self, recipe, config):
        """A model, whose backbone has a configuration, or the recipe's own."""
        config = config or {
            "form": NoteTuples(),
            **_settings(recipe),
            **{name: getattr(recipe, name) for name in _HEADS},
            "share_heads": recipe.share_heads,
            "relations": recipe.relations,
            "infilling": bool(recipe.infilling),
            "performing": bool(recipe.performing),
        }
        backbone = NoteTransformerBackbone.from_config(config)
        preprocessor = NoteTransformerCausalLMPreprocessor(
            NoteTupleTokenizer(**backbone.form.get_config()),
            sequence_length=recipe.sequence_length,
            infilling=recipe.infilling,
            performing=recipe.performing,
            controls=backbone.controls,
        )
        return NoteTransformerCausalLM(backbone, preprocessor)


MODELS = {
    "music_transformer": _OfEvents(
        MusicTransformerBackbone, MusicTransformerCausalLM, _HEADS + _RELATIVE
    ),
    "note_transformer": _OfNotes(),
    "transformer": _OfEvents(
        TransformerBackbone, TransformerLanguageModel, _HEADS
    ),
    "lstm": _OfEvents(LSTMBackbone, LSTMLanguageModel),
}


def build_model(recipe, backbone=None):
    """A new model, whose weights are drawn by the recipe's seed.

    It has no controls but those of `backbone`: a recipe only names them, and
    a corpus says what they mean (see `data.controls.Controls.of`).

    Args:
        recipe: a `Recipe`.
        backbone: dict. Configuration of the backbone that is built in place of
            the recipe's own: that of a preset can have settings that a recipe
            lacks. Defaults to `None`.
    """
    keras.utils.set_random_seed(recipe.seed)
    return MODELS[recipe.architecture].build(recipe, backbone)


def _settings(recipe):
    """The settings that the backbones of all architectures have."""
    return {
        "num_layers": recipe.num_layers,
        "hidden_dim": recipe.hidden_dim,
        "dropout": recipe.dropout,
        "max_sequence_length": recipe.sequence_length,
        "dtype": recipe.on_device().dtype,
    }


def compile_model(recipe, model, steps=None):
    """Compile a model with a recipe's optimizer and loss.

    Args:
        recipe: a `Recipe`.
        model: a model that `build_model` returned, or one of its kind.
        steps: int. Length of the run, which the learning rate's schedule
            spans. `None` if the caller sets the learning rate.
    """
    loss = "auto"
    if recipe.label_smoothing:
        loss = SmoothedCrossentropy(recipe.label_smoothing)
    model.compile(optimizer=build_optimizer(recipe, steps), loss=loss)
    model.optimizer.build(model.trainable_variables)
