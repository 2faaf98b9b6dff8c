"""Recipes of the Transformer-GAN: which networks are trained, and how.

`GanRecipe.named` has three setups. Each setting that a setup leaves out is the
default of `GanRecipe`. This module loads no Keras, so that the command line can
show the settings at once; `gan_building` builds the networks.
"""

import dataclasses
import os

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
        loss: Name of the adversarial loss, such as "wasserstein". An unknown
            name is refused with a list of all names.
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
    def compile_settings(self):
        """The settings that are arguments of `TransformerGAN.compile`."""
        return {name: getattr(self, name) for name in COMPILED}

    def build(self, steps):
        """A new model, compiled, see `gan_building.build`."""
        from keras_pianogen.training import gan_building

        return gan_building.build(self, steps)


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


def _absolute(preset):
    """A preset whose folder is found from every working directory."""
    if preset is None or not os.path.isdir(preset):
        return preset
    return os.path.abspath(preset)
