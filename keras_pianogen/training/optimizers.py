"""The optimizer of a recipe, and its learning rate.

The learning rate rises from 0 to its peak along a line, and falls to 0 along a
cosine.
"""

import math

import keras


def build_optimizer(recipe, steps=None):
    """The optimizer of a recipe.

    Args:
        recipe: a `Recipe`.
        steps: int. Length of the run, which the learning rate's schedule
            spans. Defaults to `None`, a constant learning rate.
    """
    accumulated = recipe.gradient_accumulation_steps
    settings = {
        "learning_rate": schedule(recipe, steps),
        "weight_decay": recipe.weight_decay,
        "global_clipnorm": recipe.global_clipnorm,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
    }
    if recipe.ema_momentum is not None:
        settings |= {"use_ema": True, "ema_momentum": recipe.ema_momentum}
    if recipe.optimizer == "muon":
        optimizer = keras.optimizers.Muon(
            adam_weight_decay=None,
            adam_beta_2=0.98,
            exclude_layers=["logits_dense"],
            **settings,
        )
    else:
        optimizer = keras.optimizers.AdamW(beta_2=0.98, **settings)
    optimizer.exclude_from_weight_decay(
        var_names=["bias", "gamma", "beta", "embeddings"]
    )
    return optimizer


def schedule(recipe, steps=None):
    """The learning rate's schedule by steps, or a constant; see above."""
    if steps is None:
        return recipe.learning_rate
    updates = max(1, steps // recipe.gradient_accumulation_steps)
    warmup = max(1, round(recipe.warmup * updates))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=recipe.learning_rate / warmup,
        warmup_target=recipe.learning_rate,
        warmup_steps=warmup,
        decay_steps=max(1, updates - warmup),
    )


def learning_rate_at(recipe, done):
    """The learning rate of a recipe after a share of a run.

    Args:
        recipe: a `Recipe`.
        done: float. Share of the run that is done, 0 to 1.
    """
    peak, warmup = recipe.learning_rate, recipe.warmup
    if done < warmup:
        return peak * done / warmup
    rest = (done - warmup) / max(1e-9, 1 - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * min(1, rest)))
