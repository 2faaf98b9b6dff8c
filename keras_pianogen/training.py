"""Training runs: the recipe, crash-safe checkpoints, resume, the record.

A run is a folder:

    config.json     what was asked for: corpus, recipe, command, versions
    history.csv     a row every few steps: loss, validation, speed
    checkpoints/    the last two, each enough to go on exactly
    preset/         the weights best on validation, for `from_preset`; the
                    last ones where the corpus has no validation split

Losses are in nats per event; times in seconds.
"""

import dataclasses
import math
import numbers
import os
import time

import keras

from keras_pianogen.corpus import Corpus
from keras_pianogen.evaluation import evaluate
from keras_pianogen.events import SETTINGS
from keras_pianogen.events import EventVocabulary
from keras_pianogen.models import MusicTransformerBackbone
from keras_pianogen.models import MusicTransformerCausalLM
from keras_pianogen.models import MusicTransformerCausalLMPreprocessor
from keras_pianogen.models import PerformanceTokenizer
from keras_pianogen.runs import Run
from keras_pianogen.runs import TrainingError
from keras_pianogen.runs import seed_step
from keras_pianogen.runs import stop_on_interrupt
from keras_pianogen.windows import EventWindows

COLUMNS = (
    "step",
    "events",
    "seconds",
    "events_per_second",
    "learning_rate",
    "loss",
    "accuracy",
    "val_nats_per_event",
    "best_val_nats_per_event",
)

# A row of the history comes after so many steps; in a run shorter than 40
# times as many, after a fortieth of it. A run by the clock sets its learning
# rate as often.
STEPS_A_ROW = 50

# What of a recipe is the model's own, and comes with a preset.
SHAPE = (
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


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained and how. The defaults suit a laptop's CPU.

    Args:
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
        learning_rate: Its peak; it warms up from 0 and falls to 0 along a
            cosine.
        warmup: Share of the run, 0 to 1, in which it rises.
        weight_decay: AdamW's, on kernels only.
        dtype: `"float32"`, or `"mixed_bfloat16"` on GPUs that have it.
        seed: Of weights, dropout, windows and augmentation.
    """

    vocabulary: str = "magenta"
    num_layers: int = 4
    num_heads: int = 4
    hidden_dim: int = 128
    intermediate_dim: int = 512
    dropout: float = 0.1
    share_heads: bool = False
    sequence_length: int = 256
    local_block_size: int | None = None
    attend_previous_block: bool = False
    batch_size: int = 4
    learning_rate: float = 3e-3
    warmup: float = 0.02
    weight_decay: float = 0.01
    dtype: str = "float32"
    seed: int = 0

    def __post_init__(self):
        EventVocabulary.named(self.vocabulary)
        for name in (
            "num_layers",
            "num_heads",
            "hidden_dim",
            "intermediate_dim",
            "sequence_length",
            "local_block_size",
            "batch_size",
        ):
            value = getattr(self, name)
            if name == "local_block_size" and value is None:
                continue
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(
                    f"`{name}` must be a positive integer. "
                    f"Received: {name}={value!r}"
                )
        for name in ("dropout", "warmup"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 0 and below 1. "
                    f"Received: {name}={getattr(self, name)}"
                )
        if not self.learning_rate > 0:
            raise ValueError(
                "`learning_rate` must be above 0. "
                f"Received: learning_rate={self.learning_rate}"
            )
        if self.hidden_dim % self.num_heads:
            raise ValueError(
                "`num_heads` must divide `hidden_dim`. Received: "
                f"num_heads={self.num_heads}, hidden_dim={self.hidden_dim}"
            )
        self._check_blocks()

    def _check_blocks(self):
        """Refuse blocks of which training would never see a whole one."""
        size, previous = self.local_block_size, self.attend_previous_block
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

    def build_model(self):
        """A new model, its weights drawn by the seed."""
        keras.utils.set_random_seed(self.seed)
        vocabulary = EventVocabulary.named(self.vocabulary)
        backbone = MusicTransformerBackbone(
            vocabulary_size=len(vocabulary),
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            hidden_dim=self.hidden_dim,
            intermediate_dim=self.intermediate_dim,
            dropout=self.dropout,
            max_sequence_length=self.sequence_length,
            share_heads=self.share_heads,
            local_block_size=self.local_block_size,
            attend_previous_block=self.attend_previous_block,
            dtype=self.dtype,
        )
        preprocessor = MusicTransformerCausalLMPreprocessor(
            PerformanceTokenizer.from_vocabulary(vocabulary),
            sequence_length=self.sequence_length,
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
            if name not in ("vocabulary", "sequence_length")
        }
        return dataclasses.replace(
            self,
            vocabulary=names[0],
            sequence_length=backbone.max_sequence_length,
            **own,
        )

    def build_optimizer(self, steps=None):
        """AdamW; with `steps`, on the schedule of a run of that length."""
        learning_rate = self.learning_rate
        if steps is not None:
            warmup = max(1, round(self.warmup * steps))
            learning_rate = keras.optimizers.schedules.CosineDecay(
                initial_learning_rate=learning_rate / warmup,
                warmup_target=learning_rate,
                warmup_steps=warmup,
                decay_steps=max(1, steps - warmup),
            )
        optimizer = keras.optimizers.AdamW(
            learning_rate=learning_rate,
            weight_decay=self.weight_decay,
            beta_2=0.98,
            global_clipnorm=1.0,
        )
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


def train(
    corpus,
    out,
    recipe=None,
    *,
    steps=None,
    minutes=None,
    resume=False,
    preset=None,
    validation_events=50_000,
    validations=20,
    workers=1,
    progress=None,
):
    """Train a model on a prepared corpus.

    Ctrl-C ends the run after the step it is in, with a checkpoint; the same
    call with `resume=True` goes on from the last one.

    Args:
        corpus: a `keras_pianogen.Corpus` or its folder.
        out: folder of the run.
        recipe: a `Recipe`. Defaults to `Recipe()`.
        steps: int. Length of the run in optimizer steps.
        minutes: float. Length of the run by the clock, in place of `steps`.
            With `resume`, both may be left out: the run's own length.
        resume: bool. Whether to go on with the run in `out`.
        preset: a preset's name or folder to begin from, in place of new
            weights. The model's shape, its vocabulary and the length of
            windows are then the preset's, not the recipe's.
        validation_events: int. Validation events read each time, taken
            evenly from the split.
        validations: int. How many times validation is read in a run.
        workers: int. Threads that prepare batches.
        progress: a function called with each row of the history, a dict, and
            the share of the run that is done.

    Returns:
        The last row of the history, a dict.

    Raises:
        TrainingError: if `out` holds a run already, or none to resume, or
            the loss stops being finite.
        ValueError: if not exactly one of `steps` and `minutes` is given.
    """
    if (
        steps is not None
        and minutes is not None
        or (steps is None and minutes is None and not resume)
    ):
        raise ValueError(
            "Give exactly one of `steps` and `minutes`. "
            f"Received: steps={steps}, minutes={minutes}"
        )
    for name, value in (("steps", steps), ("minutes", minutes)):
        if value is not None and not value > 0:
            raise ValueError(
                f"`{name}` must be above 0. Received: {name}={value}"
            )
    corpus = corpus if isinstance(corpus, Corpus) else Corpus(corpus)
    run = Run(out, COLUMNS)
    if resume:
        saved = run.open(corpus, lambda config: Recipe(**config["recipe"]))
        if recipe is not None and recipe != saved:
            raise TrainingError(
                "A run goes on with the recipe it began with, "
                f"{saved}. Received: {recipe}"
            )
        recipe = saved
        preset = run.config["preset"]
        if steps is None and minutes is None:
            steps, minutes = run.config["steps"], run.config["minutes"]
    else:
        recipe = recipe or Recipe()
        run.check_unused()
    if preset is None:
        model = recipe.build_model()
    else:
        keras.utils.set_random_seed(recipe.seed)
        model = MusicTransformerCausalLM.from_preset(preset, dtype=recipe.dtype)
        recipe = recipe.with_shape_of(model)
    model.compile(optimizer=recipe.build_optimizer(steps))
    model.optimizer.build(model.trainable_variables)
    state = run.restore(model) if resume else {"step": 0, "seconds": 0.0}
    run.write_config(
        corpus,
        recipe=dataclasses.asdict(recipe),
        steps=steps,
        minutes=minutes,
        preset=None if preset is None else os.fspath(preset),
    )
    # Never 1: Keras looks at a first batch to build a model, which
    # `EventWindows` can't tell from an epoch of one step.
    steps_a_row = min(STEPS_A_ROW, max(2, (steps or 10**9) // 40))
    windows = EventWindows(
        corpus,
        "train",
        vocabulary=model.preprocessor.tokenizer.vocabulary,
        sequence_length=recipe.sequence_length,
        batch_size=recipe.batch_size,
        steps=steps_a_row,
        seed=recipe.seed,
        first_step=state["step"],
        workers=workers,
    )
    recorder = _Recorder(
        run,
        corpus,
        recipe,
        state,
        steps=steps,
        minutes=minutes,
        validation_events=validation_events,
        validations=validations,
        progress=progress,
    )
    if not recorder.finished:
        with stop_on_interrupt(recorder):
            model.fit(windows, epochs=10**9, verbose=0, callbacks=[recorder])
    return recorder.row


class _Recorder(keras.callbacks.Callback):
    """Sets the learning rate, keeps the record, and ends the run."""

    def __init__(
        self,
        run,
        corpus,
        recipe,
        state,
        *,
        steps,
        minutes,
        validation_events,
        validations,
        progress,
    ):
        super().__init__()
        self.run = run
        self.corpus = corpus
        self.recipe = recipe
        self.step = state["step"]
        self.seconds_before = state["seconds"]
        self.best = state.get("best", math.inf)
        self.validated = state.get("validated", 0)
        self.row = state.get("row", {})
        self.steps = steps
        self.minutes = minutes
        self.validation_events = validation_events
        self.validations = validations
        self.progress = progress
        self.interrupted = False
        self.began = time.monotonic()
        self.saved = time.monotonic()

    @property
    def seconds(self):
        return self.seconds_before + time.monotonic() - self.began

    @property
    def done(self):
        if self.steps is not None:
            return min(1.0, self.step / self.steps)
        return min(1.0, self.seconds / (60 * self.minutes))

    @property
    def finished(self):
        return self.done >= 1

    def on_train_begin(self, logs=None):
        self.began = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        if self.minutes is not None:
            self.model.optimizer.learning_rate = self.recipe.learning_rate_at(
                max(self.done, 1e-4)
            )
        self.epoch_began = time.monotonic()
        self.epoch_step = self.step

    def on_train_batch_begin(self, batch, logs=None):
        seed_step(self.recipe.seed, self.step)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.progress is not None and self.row:
            self.progress(self.row | {"step": self.step}, self.done)
        if self.interrupted or (self.steps and self.step >= self.steps):
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(self.run.not_finite(self.step))
        events = self.recipe.batch_size * self.recipe.sequence_length
        spent = time.monotonic() - self.epoch_began
        self.row = {
            "step": self.step,
            "events": self.step * events,
            "seconds": self.seconds,
            "events_per_second": (self.step - self.epoch_step) * events / spent,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "loss": loss,
            "accuracy": float(logs["accuracy"]),
            "val_nats_per_event": "",
            "best_val_nats_per_event": self.best,
        }
        stopping = self.finished or self.interrupted
        validating = (
            self.finished or self.done * self.validations >= self.validated + 1
        )
        if validating:
            better = self._validate()
        else:
            better = stopping and not (self.run.folder / "preset").exists()
        self.run.append(self.row)
        # First the checkpoint, which refuses weights that aren't finite.
        if validating or stopping or time.monotonic() - self.saved > 60:
            self._save()
        if better:
            self.run.save_preset(self.model)
        if self.progress is not None:
            self.progress(self.row, self.done)
        if stopping:
            self.model.stop_training = True

    def _validate(self):
        """Read validation; whether these weights are the best so far."""
        self.validated = int(self.done * self.validations)
        if not len(self.corpus.split("validation")):
            return True
        figures = evaluate(
            self.model,
            self.corpus,
            "validation",
            batch_size=self.recipe.batch_size,
            sequence_length=self.recipe.sequence_length,
            max_events=self.validation_events,
        )
        better = figures.nats_per_event < self.best
        self.best = min(self.best, figures.nats_per_event)
        self.row["val_nats_per_event"] = figures.nats_per_event
        self.row["best_val_nats_per_event"] = self.best
        return better

    def _save(self):
        self.run.save(
            self.model,
            {
                "step": self.step,
                "seconds": self.seconds,
                "best": self.best,
                "validated": self.validated,
                "row": self.row,
            },
        )
        self.saved = time.monotonic()
