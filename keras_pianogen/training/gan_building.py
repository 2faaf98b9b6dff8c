"""The networks of a GAN's recipe, built and compiled."""

import keras

from keras_pianogen.events import EventVocabulary
from keras_pianogen.gan import MusicTransformerDiscriminator
from keras_pianogen.gan import MusicTransformerGenerator
from keras_pianogen.gan import TransformerGAN
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.models import MusicTransformerCausalLM

# Settings that are arguments of `MusicTransformerDiscriminator`.
DISCRIMINATOR = (
    "bidirectional",
    "spectral_normalization",
    "minibatch_statistics",
    "frozen_layers",
)


def networks_of(recipe):
    """An object that builds the networks of a `GanRecipe`."""
    kind = FromNoise if recipe.preset is None else FromPreset
    return kind(recipe)


def build(recipe, steps):
    """A new model, compiled, whose weights are drawn by the recipe's seed.

    Args:
        recipe: a `GanRecipe`.
        steps: int. Rounds over which the temperature falls, if it does.
    """
    keras.utils.set_random_seed(recipe.seed)
    networks = networks_of(recipe)
    generator = networks.generator()
    gan = TransformerGAN(
        generator,
        networks.discriminator(generator),
        sampling=GumbelSoftmax(
            recipe.mode,
            GumbelSoftmax.annealing(steps) if recipe.annealed else 1.0,
            seed=recipe.seed,
            name="sampling",
        ),
        context_length=recipe.context_length,
        feedback=recipe.feedback,
        barred_ids=networks.barred_ids,
        seed=recipe.seed,
    )
    gan.generator_optimizer = _adam(recipe.generator_learning_rate)
    gan.discriminator_optimizer = _adam(recipe.discriminator_learning_rate)
    compile_gan(recipe, gan)
    return gan


def compile_gan(recipe, gan, **changes):
    """Compile a model that `build` returned; its optimizers stay."""
    gan.compile(
        gan.generator_optimizer,
        gan.discriminator_optimizer,
        **recipe.compile_settings | changes,
    )


class FromNoise:
    """Builds a generator that turns noise into events, and its discriminator.

    Args:
        recipe: a `GanRecipe`.
    """

    def __init__(self, recipe):
        self.recipe = recipe
        vocabulary = EventVocabulary.named(recipe.vocabulary)
        self.barred_ids = (
            vocabulary.pad_id,
            vocabulary.start_id,
            vocabulary.end_id,
        )
        self.shape = {"vocabulary_size": len(vocabulary)}
        names = ("num_layers", "num_heads", "hidden_dim", "intermediate_dim")
        self.shape |= _chosen(recipe, names)

    def generator(self):
        names = ("dropout", "sequence_length", "noise_dim")
        return MusicTransformerGenerator(
            **self.shape, **_chosen(self.recipe, names)
        )

    def discriminator(self, generator):
        return MusicTransformerDiscriminator(
            **self.shape | _discriminator_settings(self.recipe)
        )

    def vocabulary(self, gan):
        return EventVocabulary.named(self.recipe.vocabulary)

    def language_models(self, gan):
        """The language models that a trained GAN contains: none."""
        return []


class FromPreset:
    """Loads a language model, and builds a discriminator of its blocks.

    Args:
        recipe: a `GanRecipe`.
    """

    barred_ids = None  # The special ids of the preset's tokenizer.

    def __init__(self, recipe):
        self.recipe = recipe

    def generator(self):
        return MusicTransformerCausalLM.from_preset(self.recipe.preset)

    def discriminator(self, generator):
        backbone = generator.backbone
        num_layers = min(self.recipe.num_layers, backbone.num_layers)
        settings = _discriminator_settings(self.recipe)
        settings["frozen_layers"] = min(settings["frozen_layers"], num_layers)
        return MusicTransformerDiscriminator.from_music_transformer(
            backbone, num_layers=num_layers, **settings
        )

    def vocabulary(self, gan):
        return gan.generator.preprocessor.tokenizer.vocabulary

    def language_models(self, gan):
        """The language models that a trained GAN contains: its generator."""
        return [gan.trained_generator()]


def _discriminator_settings(recipe):
    return _chosen(recipe, DISCRIMINATOR) | {
        "dropout": recipe.discriminator_dropout,
        "max_sequence_length": recipe.sequence_length,
    }


def _chosen(recipe, names):
    return {name: getattr(recipe, name) for name in names}


def _adam(learning_rate):
    return keras.optimizers.Adam(learning_rate, beta_1=0.5, beta_2=0.99)
