"""Recipes: what model is trained, and how.

`Recipe.sized` has them by size, for Music Transformers and for the baselines
that they are compared with. Their defaults were chosen on the validation
split; docs/results.md has the sweep.
"""

import dataclasses
import math
import numbers

import keras

from keras_pianogen import devices
from keras_pianogen.events import SETTINGS
from keras_pianogen.events import EventVocabulary
from keras_pianogen.models import LSTMBackbone
from keras_pianogen.models import LSTMLanguageModel
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.models import TransformerBackbone
from keras_pianogen.models import TransformerLanguageModel
from keras_pianogen.models.losses import SmoothedCrossentropy

# The dial. `base` is the size that was published for the Music Transformer:
# tensor2tensor's `transformer_base`, windows of 2,048 events. The learning
# rate falls as the width grows, and batches of big models fill a GPU. Small
# ones see the corpus too seldom to learn it by heart: no dropout.
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

# What is trained. The LSTM has PerformanceRNN's shape at every size.
ARCHITECTURES = {
    "music_transformer": {},
    "transformer": {},
    "lstm": {"num_layers": 3, "hidden_dim": 512},
}

# Optimizers, with the product of learning rate and width.
OPTIMIZERS = {"muon": 1.2, "adamw": 0.2}

DTYPES = ("float32", "mixed_bfloat16")

# What of a recipe is the model's own, and comes with a preset.
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
)

POSITIVE = (
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "sequence_length",
    "local_block_size",
    "batch_size",
    "gradient_accumulation_steps",
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    The defaults are those of the size `"small"`, which suits a laptop's CPU;
    `Recipe.sized` has the others.

    Args:
        architecture: `"music_transformer"`; or, to compare it with,
            `"transformer"`, without relative attention, or `"lstm"`.
        vocabulary: a named event vocabulary, `"magenta"` or `"pno-ai"`.
        num_layers: Number of blocks.
        num_heads: Attention heads of each block.
        hidden_dim: Width of the blocks.
        intermediate_dim: Width of the feed-forward networks' middle.
        dropout: 0 to 1.
        share_heads: Whether heads share their relative embeddings.
        sequence_length: Events of a training window, and how far back the
            model can attend.
        local_block_size: Makes attention local, to blocks of so many events;
            `None` for global attention.
        attend_previous_block: Whether local attention sees the block before
            as well.
        batch_size: Windows of a step.
        gradient_accumulation_steps: Steps whose gradients are averaged before
            the weights change; batches that don't fit a memory at once.
        optimizer: `"muon"`, whose steps for matrices are orthogonal, with
            Adam's for all else (Jordan et al., 2024); or `"adamw"`.
        learning_rate: Its peak; it warms up from 0 and falls to 0 along a
            cosine.
        warmup: Share of the run, 0 to 1, in which it rises.
        weight_decay: On kernels only.
        global_clipnorm: Longest gradient, over all weights together.
        label_smoothing: 0 to 1, see `SmoothedCrossentropy`.
        ema_momentum: Momentum of an exponential moving average of the
            weights, 0 to 1, which is then what is validated and saved as a
            preset; `None` for the weights themselves.
        dtype: `"float32"`, or `"mixed_bfloat16"` on GPUs that have it; `None`
            is the latter on a GPU and the former without one.
        seed: Of weights, dropout, windows and augmentation.
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
    ema_momentum: float | None = None
    dtype: str | None = None
    seed: int = 0

    @classmethod
    def sized(cls, size="small", **changes):
        """A recipe by its size.

        Args:
            size: `"tiny"`, `"small"`, `"base"` or `"large"`. Width, depth,
                heads, the length of windows, the batch and the learning rate
                follow from it, and from a width of one's own.
            **changes: arguments of `Recipe`.

        Returns:
            A `Recipe`.
        """
        if size not in SIZES:
            raise ValueError(
                f"`size` must be one of {', '.join(map(repr, SIZES))}. "
                f"Received: size={size!r}"
            )
        architecture = changes.get("architecture", cls.architecture)
        given = SIZES[size] | ARCHITECTURES.get(architecture, {}) | changes
        width = given["hidden_dim"]
        optimizer = given.get("optimizer", cls.optimizer)
        rate = OPTIMIZERS.get(optimizer, 1.0)  # Others are refused below.
        follows = {
            "intermediate_dim": 4 * width,
            "learning_rate": float(f"{rate / width:.1g}"),
        }
        return cls(**follows | given)

    def __post_init__(self):
        EventVocabulary.named(self.vocabulary)
        if self.architecture not in ARCHITECTURES:
            raise ValueError(
                "`architecture` must be one of "
                f"{', '.join(map(repr, ARCHITECTURES))}. "
                f"Received: architecture={self.architecture!r}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"`optimizer` must be one of {', '.join(map(repr, OPTIMIZERS))}"
                f". Received: optimizer={self.optimizer!r}"
            )
        for name in POSITIVE:
            value = getattr(self, name)
            if name == "local_block_size" and value is None:
                continue
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(
                    f"`{name}` must be a positive integer. "
                    f"Received: {name}={value!r}"
                )
        for name in ("dropout", "warmup", "label_smoothing", "ema_momentum"):
            value = getattr(self, name)
            if name == "ema_momentum" and value is None:
                continue
            if not 0 <= value < 1:
                raise ValueError(
                    f"`{name}` must be at least 0 and below 1. "
                    f"Received: {name}={value}"
                )
        for name in ("learning_rate", "global_clipnorm"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be above 0. "
                    f"Received: {name}={getattr(self, name)}"
                )
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                "`weight_decay` must be 0 or above. "
                f"Received: weight_decay={self.weight_decay}"
            )
        if self.dtype not in (None, *DTYPES):
            raise ValueError(
                f"`dtype` must be one of {', '.join(map(repr, DTYPES))}, or "
                f"`None`. Received: dtype={self.dtype!r}"
            )
        if self.architecture != "lstm" and self.hidden_dim % self.num_heads:
            raise ValueError(
                "`num_heads` must divide `hidden_dim`. Received: "
                f"num_heads={self.num_heads}, hidden_dim={self.hidden_dim}"
            )
        self._check_blocks()

    def _check_blocks(self):
        """Refuse blocks of which training would never see a whole one."""
        size, previous = self.local_block_size, self.attend_previous_block
        if size is not None and self.architecture != "music_transformer":
            raise ValueError(
                "`local_block_size` is for the Music Transformer. Received: "
                f"local_block_size={size}, architecture={self.architecture!r}"
            )
        if size is None:
            if previous:
                raise ValueError(
                    "`attend_previous_block` needs `local_block_size`. "
                    "Received: local_block_size=None, "
                    f"attend_previous_block={previous}"
                )
            return
        if size * (2 if previous else 1) > self.sequence_length:
            raise ValueError(
                "`sequence_length` must be at least `local_block_size`, and "
                "twice as much with `attend_previous_block`. "
                f"Received: sequence_length={self.sequence_length}, "
                f"local_block_size={size}, attend_previous_block={previous}"
            )

    def on_device(self):
        """This recipe with the device's `dtype` in place of `None`."""
        if self.dtype is not None:
            return self
        on_gpu = devices.device_memory() is not None
        dtype = "mixed_bfloat16" if on_gpu else "float32"
        return dataclasses.replace(self, dtype=dtype)

    def build_model(self, backbone=None):
        """A new model, its weights drawn by the seed.

        Args:
            backbone: a dict, the configuration of a Music Transformer's
                backbone in place of the recipe's shape: a preset's may have
                more of its own. Defaults to `None`.
        """
        keras.utils.set_random_seed(self.seed)
        vocabulary = EventVocabulary.named(self.vocabulary)
        preprocessor = MusicTransformerCausalLMPreprocessor(
            PerformanceTokenizer.from_vocabulary(vocabulary),
            sequence_length=self.sequence_length,
        )
        if backbone is not None:
            backbone = MusicTransformerBackbone.from_config(backbone)
            return MusicTransformerCausalLM(backbone, preprocessor)
        settings = {
            "vocabulary_size": len(vocabulary),
            "num_layers": self.num_layers,
            "hidden_dim": self.hidden_dim,
            "dropout": self.dropout,
            "max_sequence_length": self.sequence_length,
            "dtype": self.on_device().dtype,
        }
        if self.architecture == "lstm":
            return LSTMLanguageModel(LSTMBackbone(**settings), preprocessor)
        settings["num_heads"] = self.num_heads
        settings["intermediate_dim"] = self.intermediate_dim
        if self.architecture == "transformer":
            return TransformerLanguageModel(
                TransformerBackbone(**settings), preprocessor
            )
        backbone = MusicTransformerBackbone(
            share_heads=self.share_heads,
            local_block_size=self.local_block_size,
            attend_previous_block=self.attend_previous_block,
            **settings,
        )
        return MusicTransformerCausalLM(backbone, preprocessor)

    def with_shape_of(self, model):
        """This recipe, for a model that is there already."""
        backbone = model.backbone
        vocabulary = model.preprocessor.tokenizer.vocabulary
        names = [
            name
            for name in SETTINGS
            if EventVocabulary.named(name) == vocabulary
        ]
        if not names:
            raise ValueError(
                "A preset to begin from must have one of the named event "
                f"vocabularies. Received: {vocabulary}"
            )
        own = {
            name: getattr(backbone, name)
            for name in SHAPE
            if name not in ("architecture", "vocabulary", "sequence_length")
        }
        return dataclasses.replace(
            self,
            architecture="music_transformer",
            vocabulary=names[0],
            sequence_length=backbone.max_sequence_length,
            **own,
        )

    def compile(self, model, steps=None):
        """Compile a model with this recipe's optimizer and loss.

        Args:
            model: what `build_model` returns, or one of its kind.
            steps: int. Length of the run, on whose schedule the learning rate
                is; `None` for a learning rate that is set from outside.
        """
        loss = "auto"
        if self.label_smoothing:
            loss = SmoothedCrossentropy(self.label_smoothing)
        model.compile(optimizer=self.build_optimizer(steps), loss=loss)
        model.optimizer.build(model.trainable_variables)

    def build_optimizer(self, steps=None):
        """An optimizer; with `steps`, on the schedule of a run so long."""
        learning_rate = self.learning_rate
        if steps is not None:
            updates = max(1, steps // self.gradient_accumulation_steps)
            warmup = max(1, round(self.warmup * updates))
            learning_rate = keras.optimizers.schedules.CosineDecay(
                initial_learning_rate=learning_rate / warmup,
                warmup_target=learning_rate,
                warmup_steps=warmup,
                decay_steps=max(1, updates - warmup),
            )
        accumulated = self.gradient_accumulation_steps
        settings = {
            "learning_rate": learning_rate,
            "weight_decay": self.weight_decay,
            "global_clipnorm": self.global_clipnorm,
            "gradient_accumulation_steps": (
                accumulated if accumulated > 1 else None
            ),
        }
        if self.ema_momentum is not None:
            settings |= {"use_ema": True, "ema_momentum": self.ema_momentum}
        if self.optimizer == "muon":
            optimizer = keras.optimizers.Muon(
                adam_weight_decay=None, adam_beta_2=0.98, **settings
            )
        else:
            optimizer = keras.optimizers.AdamW(beta_2=0.98, **settings)
        optimizer.exclude_from_weight_decay(
            var_names=["bias", "gamma", "beta", "embeddings"]
        )
        return optimizer

    def learning_rate_at(self, progress):
        """The same schedule by the clock: `progress`, 0 to 1, is done."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup
        rest = (progress - self.warmup) / max(1e-9, 1 - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1, rest)))
