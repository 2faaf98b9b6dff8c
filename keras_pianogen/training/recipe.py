"""Recipes of language models: which model is trained, and how.

`Recipe.sized` has four sizes, for Music Transformers and for the baselines
that they are compared with. The defaults were chosen on the validation split;
docs/lab_log.md has the experiments. This module loads neither Keras nor NumPy,
so that the command line can show the settings at once; `building` builds the
models.
"""

import dataclasses

from keras_pianogen.training.recipe_checks import check_recipe

# `base` is the size that was published for the Music Transformer:
# tensor2tensor's `transformer_base`, with windows of 2,048 events. Batches of
# the large sizes fill a GPU. The small sizes have no dropout: they see the
# corpus too seldom to overfit.
SIZES = {
    "tiny": {
        "num_layers": 2,
        "num_heads": 4,
        "hidden_dim": 128,
        "sequence_length": 256,
        "batch_size": 8,
    },
    "small": {
        "num_layers": 4,
        "num_heads": 4,
        "hidden_dim": 192,
        "sequence_length": 512,
        "batch_size": 4,
    },
    "base": {
        "dropout": 0.1,
        "num_layers": 6,
        "num_heads": 8,
        "hidden_dim": 512,
        "sequence_length": 2048,
        "batch_size": 16,
    },
    "large": {
        "dropout": 0.1,
        "num_layers": 12,
        "num_heads": 12,
        "hidden_dim": 768,
        "sequence_length": 2048,
        "batch_size": 16,
    },
}

# The settings of each architecture that don't follow the size. The LSTM has
# the shape of PerformanceRNN at every size.
ARCHITECTURES = {
    "music_transformer": {},
    "note_transformer": {},
    "transformer": {},
    "lstm": {"num_layers": 3, "hidden_dim": 512},
}

# For each optimizer, the product of the learning rate and the model's width.
OPTIMIZERS = {"muon": 1.2, "adamw": 0.2}

# The learning rate of a run that begins with a preset: that of a new model
# would undo what the preset has learned.
FINE_TUNING_RATE = 3e-4

# The settings that a preset brings with it.
SHAPE = (
    "architecture",
    "vocabulary",
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "dropout",
    "share_heads",
    "sequence_length",
    "local_block_size",
    "attend_previous_block",
    "relations",
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a language model and of its training.

    The defaults are those of the size `"small"`, which suits a laptop's CPU;
    `Recipe.sized` has the others.

    Args:
        architecture: "music_transformer"; "note_transformer", whose positions
            are notes and not events; or, for comparison, "transformer", which
            has no relative attention, or "lstm".
        vocabulary: Name of the event vocabulary, "magenta" or "pno-ai". Notes
            have none.
        num_layers: Number of blocks.
        num_heads: Attention heads of each block; must divide the width.
        hidden_dim: Width of the blocks.
        intermediate_dim: Width of the hidden layer of each feed-forward
            network.
        dropout: Dropout rate, 0 to 1.
        share_heads: Whether heads share their relative embeddings.
        sequence_length: Events of a training window; also how far back the
            model can attend.
        local_block_size: Makes attention local, to blocks of this many
            events; `None` for attention to the whole window.
        attend_previous_block: Whether local attention also sees the block
            before.
        batch_size: Windows of each step.
        gradient_accumulation_steps: Steps whose gradients are averaged before
            the weights change, for batches that don't fit into memory.
        optimizer: "muon", whose steps for matrices are orthogonal, with Adam
            for all other weights (Jordan et al., 2024); or "adamw".
        learning_rate: Peak of the learning rate, which rises from 0 and falls
            to 0 along a cosine.
        warmup: Share of the run, 0 to 1, in which the learning rate rises.
        weight_decay: Weight decay of kernels, 0 or more.
        global_clipnorm: Largest norm of the gradient over all weights.
        label_smoothing: Share of each label that is spread over all events,
            0 to 1, see `SmoothedCrossentropy`.
        infilling: Share of the windows in which a gap is to be filled, 0 to 1,
            for "note_transformer" only. It makes a model that fills gaps, of
            a preset that doesn't as well.
        performing: Share of the other windows in which a score is to be
            performed, 0 to 1, for "note_transformer" only.
        controls: What can be asked of the model, names with commas between
            them: density, loudness, register, polyphony, pace and legato;
            composer and period; and the corpus's own labels. For
            "note_transformer" only. Those that a preset has stay.
        relations: What attention is told of two notes besides their order:
            onset, how far their onsets are apart; pitch, how far their pitches
            are; or onset,pitch. For "note_transformer" only.
        ema_momentum: Momentum of an exponential moving average of the
            weights, 0 to 1. The average is then validated and saved as the
            preset. `None` for the weights themselves.
        dtype: "float32", or "mixed_bfloat16" for GPUs that support it. `None`
            is the latter on a GPU and the former without one.
        seed: Seed of weights, dropout, windows and augmentation.
    """

    architecture: str = "music_transformer"
    vocabulary: str = "magenta"
    num_layers: int = 4
    num_heads: int = 4
    hidden_dim: int = 192
    intermediate_dim: int = 768
    dropout: float = 0.0
    share_heads: bool = False
    sequence_length: int = 512
    local_block_size: int | None = None
    attend_previous_block: bool = False
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    optimizer: str = "muon"
    learning_rate: float = 6e-3
    warmup: float = 0.02
    weight_decay: float = 0.01
    global_clipnorm: float = 1.0
    label_smoothing: float = 0.0
    infilling: float = 0.0
    performing: float = 0.0
    controls: str = ""
    relations: str = ""
    ema_momentum: float | None = None
    dtype: str | None = None
    seed: int = 0

    @classmethod
    def sized(cls, size="small", **changes):
        """The recipe of a size, with changes.

        Args:
            size: `"tiny"`, `"small"`, `"base"` or `"large"`. It sets width,
                depth, heads, the length of windows, the batch and the
                learning rate. The learning rate and `intermediate_dim` also
                follow a width among the changes.
            **changes: arguments of `Recipe`.

        Returns:
            A `Recipe`.
        """
        architecture = changes.get("architecture", cls.architecture)
        given = _settings_of_size(size, architecture) | changes
        width = given["hidden_dim"]
        optimizer = given.get("optimizer", cls.optimizer)
        rate = OPTIMIZERS.get(optimizer, 1.0)  # Others are refused.
        follows = {
            "intermediate_dim": 4 * width,
            "learning_rate": float(f"{rate / width:.1g}"),
        }
        return cls(**follows | given)

    @classmethod
    def of(cls, recipe, fine_tuning=False):
        """The recipe of a `Recipe`, a dict, or `None` for the default.

        A dict holds arguments of `sized`. The device's `dtype` is chosen.

        Args:
            recipe: a `Recipe`, a dict or `None`.
            fine_tuning: bool. Whether the run begins with a preset. Where no
                learning rate is given, it is then `FINE_TUNING_RATE`.
        """
        if not isinstance(recipe, cls):
            rate = {"learning_rate": FINE_TUNING_RATE} if fine_tuning else {}
            recipe = cls.sized(**rate | (recipe or {}))
        return recipe.on_device()

    def __post_init__(self):
        from keras_pianogen.events import EventVocabulary

        EventVocabulary.named(self.vocabulary)
        check_recipe(
            self,
            architecture=ARCHITECTURES,
            optimizer=OPTIMIZERS,
            dtype=("float32", "mixed_bfloat16"),
        )

    def on_device(self):
        """This recipe with the device's `dtype` in place of `None`."""
        from keras_pianogen import devices

        if self.dtype is not None:
            return self
        on_gpu = devices.device_memory() is not None
        dtype = "mixed_bfloat16" if on_gpu else "float32"
        return dataclasses.replace(self, dtype=dtype)

    @property
    def control_names(self):
        """The names in `controls`, a list."""
        names = (name.strip() for name in self.controls.split(","))
        return [name for name in names if name]

    def build_model(self, backbone=None):
        """A new model, see `building.build_model`."""
        from keras_pianogen.training import building

        return building.build_model(self, backbone)

    def with_shape_of(self, model):
        """This recipe with the shape and the vocabulary of a model.

        Args:
            model: a `MusicTransformerCausalLM` or `NoteTransformerCausalLM`.

        Raises:
            ValueError: if the model's vocabulary has no name.
        """
        backbone, of_form = model.backbone, ("vocabulary", "architecture")
        own = {
            name: getattr(backbone, name)
            for name in SHAPE
            if name not in of_form and hasattr(backbone, name)
        }
        return dataclasses.replace(
            self,
            sequence_length=backbone.max_sequence_length,
            **model.preprocessor.form.recipe_settings(),
            **own,
        )

    def compile(self, model, steps=None):
        """Compile a model with the recipe's optimizer, see `building`."""
        from keras_pianogen.training import building

        building.compile_model(self, model, steps)


def stated_settings(recipe, architecture):
    """The settings that are stated by what `Recipe.of` takes, a dict.

    Args:
        recipe: a `Recipe`, which states all settings; or a dict of arguments
            of `Recipe.sized`, which states those and what follows from a size
            alone; or `None`, which states nothing.
        architecture: the architecture if the recipe states none.
    """
    if recipe is None:
        return {}
    if not isinstance(recipe, dict):
        return dataclasses.asdict(recipe.on_device())
    changes = dict(recipe)
    size = changes.pop("size", None)
    if size is None:
        return changes
    architecture = changes.get("architecture", architecture)
    return _settings_of_size(size, architecture) | changes


def _settings_of_size(size, architecture):
    if size not in SIZES:
        raise ValueError(
            f"`size` must be one of {', '.join(map(repr, SIZES))}. "
            f"Received: size={size!r}"
        )
    return SIZES[size] | ARCHITECTURES.get(architecture, {})
