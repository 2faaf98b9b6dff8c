"""Refuses recipes whose settings are out of range or contradict each other."""

import math
import numbers

from keras_pianogen.notices.hints import hinted

COUNTS = (
    "num_layers",
    "num_heads",
    "hidden_dim",
    "intermediate_dim",
    "sequence_length",
    "local_block_size",
    "batch_size",
    "gradient_accumulation_steps",
)
SHARES = (
    "dropout",
    "warmup",
    "label_smoothing",
    "infilling",
    "performing",
    "ema_momentum",
)
# Settings that may be `None`.
BLOCKS = "With --local-block-size 128, two blocks fit --sequence-length 256."
OPTIONAL = ("local_block_size", "ema_momentum", "dtype")


def check_recipe(recipe, **choices):
    """Check the settings of a `Recipe`.

    Args:
        recipe: a `Recipe`.
        **choices: the values that a setting can have, by its name.

    Raises:
        ValueError: if a setting is refused, with its name and value.
    """
    for name, values in choices.items():
        _check_choice(recipe, name, values)
    _check(recipe, COUNTS, _is_count, "a positive integer")
    _check(recipe, SHARES, lambda x: 0 <= x < 1, "at least 0 and below 1")
    positive = ("learning_rate", "global_clipnorm")
    _check(recipe, positive, lambda x: x > 0, "above 0")
    _check(recipe, ("weight_decay",), lambda x: 0 <= x < math.inf, "0 or above")
    if recipe.architecture != "lstm" and recipe.hidden_dim % recipe.num_heads:
        raise ValueError(
            "`num_heads` must divide `hidden_dim`. Received: "
            f"num_heads={recipe.num_heads}, hidden_dim={recipe.hidden_dim}"
        )
    _check_blocks(recipe)


def _check_choice(recipe, name, values):
    value = getattr(recipe, name)
    if value in values or (value is None and name in OPTIONAL):
        return
    others = " or `None`" if name in OPTIONAL else ""
    raise ValueError(
        f"`{name}` must be one of {', '.join(map(repr, values))}{others}. "
        f"Received: {name}={value!r}"
    )


def _check(recipe, names, holds, rule):
    for name in names:
        value = getattr(recipe, name)
        if value is None and name in OPTIONAL:
            continue
        if not holds(value):
            raise ValueError(
                f"`{name}` must be {rule}. Received: {name}={value!r}"
            )


def _is_count(value):
    return isinstance(value, numbers.Integral) and value >= 1


def _check_blocks(recipe):
    """Refuse blocks that are longer than a training window."""
    size, previous = recipe.local_block_size, recipe.attend_previous_block
    if size is not None and recipe.architecture != "music_transformer":
        raise ValueError(
            "`local_block_size` is for the Music Transformer. Received: "
            f"local_block_size={size}, architecture={recipe.architecture!r}"
        )
    if size is None and previous:
        error = ValueError(
            "`attend_previous_block` needs `local_block_size`. Received: "
            f"local_block_size=None, attend_previous_block={previous}"
        )
        raise hinted(error, BLOCKS)
    if (size or 0) * (2 if previous else 1) > recipe.sequence_length:
        error = ValueError(
            "`sequence_length` must be at least `local_block_size`, and twice "
            "as much with `attend_previous_block`. "
            f"Received: sequence_length={recipe.sequence_length}, "
            f"local_block_size={size}, attend_previous_block={previous}"
        )
        raise hinted(error, BLOCKS)
