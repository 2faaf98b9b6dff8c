"""Losses of generators and discriminators, from their logits alone.

Logits are (batch, 1), above 0 for real.
"""

from keras import ops

LOSSES = ("non_saturating", "hinge", "wasserstein", "relativistic")
# Only differences of logits mean something with these.
RELATIVE = ("wasserstein", "relativistic")


def check_loss(loss):
    if loss not in LOSSES:
        raise ValueError(
            f"`loss` must be one of {', '.join(map(repr, LOSSES))}. "
            f"Received: loss={loss!r}"
        )


def discriminator_loss(loss, real, fake, label_smoothing=0.0):
    """What a discriminator minimizes.

    Args:
        loss: `"non_saturating"` (Goodfellow et al., 2014), `"hinge"` (Lim and
            Ye, 2017), `"wasserstein"` (Arjovsky et al., 2017) or
            `"relativistic"` (Jolicoeur-Martineau, 2018).
        real: logits of real sequences.
        fake: logits of generated ones.
        label_smoothing: float, 0 to 1. How far the label of real sequences,
            theirs alone, is below 1. For `"non_saturating"` and
            `"relativistic"`.

    Returns:
        A scalar tensor.
    """
    if loss == "hinge":
        return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))
    if loss == "wasserstein":
        return ops.mean(fake) - ops.mean(real)
    if loss == "relativistic":
        return _real_loss(real - fake, label_smoothing)
    return _real_loss(real, label_smoothing) + ops.mean(ops.softplus(fake))


def generator_loss(loss, real, fake):
    """What a generator minimizes; arguments as above."""
    if loss in ("hinge", "wasserstein"):
        return -ops.mean(fake)
    if loss == "relativistic":
        return ops.mean(ops.softplus(real - fake))
    return ops.mean(ops.softplus(-fake))


def accuracies(loss, real, fake):
    """Shares of real and of generated sequences that were told right."""
    threshold = 0.0
    if loss in RELATIVE:
        threshold = (ops.mean(real) + ops.mean(fake)) / 2
    return (
        ops.mean(ops.cast(real > threshold, "float32")),
        ops.mean(ops.cast(fake < threshold, "float32")),
    )


def _real_loss(logits, label_smoothing):
    """Cross-entropy with the label `1 - label_smoothing`."""
    return ops.mean(ops.softplus(-logits) + label_smoothing * logits)
