"""Recipes of the Transformer-GAN: which networks are trained, and how.

`GanRecipe.named` has three setups. Each setting that a setup leaves out is the
default of `GanRecipe`.
"""

import dataclasses
import os

import keras

from keras_pianogen.events import EventVocabulary
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerDiscriminator
from keras_pianogen.models import MusicTransformerGenerator
from keras_pianogen.models import TransformerGAN

# `paper` has the settings of the paper.
SETUPS = {
    "paper": {"mode": "argmax", "augment": False},
    "straight-through": {
        "loss": "wasserstein",
        "discriminator_steps": 2,
        "discriminator_dropout": 0.0,
        "generator_learning_rate": 3e-4,
        "discriminator_learning_rate": 3e-4,
        "averaging": 0.99,
    },
    "fine-tune": {
        "preset": "music_transformer_maestro",
        "num_layers": 6,
        "frozen_layers": 2,
        "discriminator_dropout": 0.0,
        "batch_size": 8,
        "generator_learning_rate": 3e-5,
        "discriminator_learning_rate": 2e-4,
        "likelihood_steps": 5,
        "gradient_clipping": 1.0,
        "averaging": 0.99,
        "warm_up": 1000,
    },
}

# Settings that are arguments of `TransformerGAN.compile`.
COMPILED = (
    "loss",
    "discriminator_steps",
    "generator_steps",
    "likelihood_steps",
    "label_smoothing",
    "feature_matching",
    "gradient_clipping",
    "averaging",
)

# Settings that are arguments of `MusicTransformerDiscriminator`.
DISCRIMINATOR = (
    "bidirectional",
    "spectral_normalization",
    "minibatch_statistics",
    "frozen_layers",
)


@dataclasses.dataclass(frozen=True)
class GanRecipe:
    """The settings of a Transformer-GAN and of its training.

    Args:
        setup: Name of the setup that the settings started from.
        vocabulary: Name of the event vocabulary, "magenta" or "pno-ai"; a
            preset has its own.
        preset: Name or folder of the language model that is fine-tuned. With
            `None` the generator turns noise into events.
        num_layers: Blocks of the discriminator, and of a generator from
            noise. A discriminator has at most as many as its preset.
        num_heads: Attention heads of each block; a preset has its own.
        hidden_dim: Width of the blocks; a preset has its own.
        intermediate_dim: Width of the hidden layer of each feed-forward
            network; a preset has its own.
        dropout: Dropout rate of a generator from noise, 0 to 1.
        discriminator_dropout: Dropout rate of the discriminator, 0 to 1.
        sequence_length: Events of a sequence that the discriminator sees.
        context_length: Events at the beginning of a sequence that are given
            to a language model, which writes the others.
        noise_dim: Size of the noise that each event is made from.
        mode: How events are chosen from logits: "straight_through", "soft"
            or "argmax", see `GumbelSoftmax`.
        annealed: Whether the temperature of that choice falls from 1 to 0.01.
        feedback: Number of later events through which the gradient of an
            event is followed, for a language model.
        batch_size: Sequences of each step.
        generator_learning_rate: Learning rate of the generator's Adam, whose
            beta_1 is 0.5.
        discriminator_learning_rate: Learning rate of the discriminator's
            Adam, whose beta_1 is 0.5.
        loss: "non_saturating", "hinge", "wasserstein" or "relativistic".
        discriminator_steps: Steps of the discriminator in each round.
        generator_steps: Steps of the generator in each round.
        likelihood_steps: Steps by likelihood in each round, for a language
            model.
        label_smoothing: Subtracted from the label of real sequences, 0 to 1.
        feature_matching: Weight in the generator's loss of the distance
            between features of real and generated sequences.
        gradient_clipping: Largest global norm of a gradient; `None` for no
            limit.
        averaging: Momentum of the exponential moving average of the
            generator's weights, 0 to 1; `None` for no average.
        warm_up: Rounds before the first in which the discriminator learns
            alone, so that it can judge a pretrained generator; at most as
            many as the run has.
        bidirectional: Whether the discriminator also attends to later events.
        spectral_normalization: Whether the discriminator's kernels have a
            spectral norm of 1.
        minibatch_statistics: Whether the discriminator also sees how much
            the sequences of a batch differ.
        frozen_layers: Blocks of the discriminator that are not trained.
        augment: Whether real windows are augmented.
        seed: Seed of weights, noise and windows.
    """

    setup: str
    vocabulary: str = "pno-ai"
    preset: str | None = None
    num_layers: int = 2
    num_heads: int = 8
    hidden_dim: int = 128
    intermediate_dim: int = 256
    dropout: float = 0.1
    discriminator_dropout: float = 0.1
    sequence_length: int = 128
    context_length: int = 32
    noise_dim: int = 50
    mode: str = "straight_through"
    annealed: bool = False
    feedback: int = 1
    batch_size: int = 16
    generator_learning_rate: float = 1e-4
    discriminator_learning_rate: float = 1e-4
    loss: str = "non_saturating"
    discriminator_steps: int = 1
    generator_steps: int = 1
    likelihood_steps: int = 0
    label_smoothing: float = 0.0
    feature_matching: float = 0.0
    gradient_clipping: float | None = None
    averaging: float | None = None
    warm_up: int = 0
    bidirectional: bool = False
    spectral_normalization: bool = False
    minibatch_statistics: bool = False
    frozen_layers: int = 0
    augment: bool = True
    seed: int = 0

    @classmethod
    def named(cls, setup, **changes):
        """The recipe of a setup, with changes.

        Args:
            setup: `"paper"`, `"straight-through"` or `"fine-tune"`.
            **changes: arguments of `GanRecipe`.

        Returns:
            A `GanRecipe`.
        """
        if setup not in SETUPS:
            raise ValueError(
                f"`setup` must be one of {', '.join(map(repr, SETUPS))}. "
                f"Received: setup={setup!r}"
            )
        return cls(**{"setup": setup} | SETUPS[setup] | changes)

    @classmethod
    def of(cls, recipe):
        """The recipe of a `GanRecipe`, a setup's name, or a dict.

        A dict holds arguments of `named`. A preset's folder can be found from
        every working directory afterwards.
        """
        if isinstance(recipe, str):
            recipe = cls.named(recipe)
        elif isinstance(recipe, dict):
            recipe = cls.named(**recipe)
        return dataclasses.replace(recipe, preset=_absolute(recipe.preset))

    @property
    def networks(self):
        """An object that builds the networks of this recipe."""
        if self.preset is None:
            return _FromNoise(self)
        return _FromPreset(self)

    def build(self, steps):
        """A new model, compiled, whose weights are drawn by the seed.

        Args:
            steps: int. Rounds over which the temperature falls, if it does.
        """
        keras.utils.set_random_seed(self.seed)
        networks = self.networks
        generator = networks.generator()
        gan = TransformerGAN(
            generator,
            networks.discriminator(generator),
            sampling=GumbelSoftmax(
                self.mode,
                GumbelSoftmax.annealing(steps) if self.annealed else 1.0,
                seed=self.seed,
                name="sampling",
            ),
            context_length=self.context_length,
            feedback=self.feedback,
            barred_ids=networks.barred_ids,
            seed=self.seed,
        )
        gan.generator_optimizer = _adam(self.generator_learning_rate)
        gan.discriminator_optimizer = _adam(self.discriminator_learning_rate)
        self.compile(gan)
        return gan

    def compile(self, gan, **changes):
        """Compile a model that `build` returned; its optimizers stay."""
        gan.compile(
            gan.generator_optimizer,
            gan.discriminator_optimizer,
            **_chosen(self, COMPILED) | changes,
        )


def stated_settings(recipe):
    """The settings that are stated by what `GanRecipe.of` takes, a dict.

    The name of a setup states that name alone.
    """
    if isinstance(recipe, str):
        return {"setup": recipe}
    if not isinstance(recipe, dict):
        recipe = dataclasses.asdict(recipe)
    if "preset" in recipe:
        recipe = recipe | {"preset": _absolute(recipe["preset"])}
    return recipe


class _FromNoise:
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


class _FromPreset:
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


def _absolute(preset):
    """A preset whose folder is found from every working directory."""
    if preset is None or not os.path.isdir(preset):
        return preset
    return os.path.abspath(preset)
