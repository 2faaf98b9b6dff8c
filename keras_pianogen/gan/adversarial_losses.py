"""Losses of a generator and a discriminator, computed from logits alone.

Each loss is one class in this file and one name in `LOSSES`. Nothing else in
the package knows which losses there are. Logits have the shape (batch, 1); a
logit above 0 means real.
"""

from keras import ops


class AdversarialLoss:
    """The base of each loss.

    A subclass defines two methods. Both take the logits of real and of
    generated sequences and return a scalar tensor:

    - `discriminator_loss(real, fake, label_smoothing)` is minimized by the
      discriminator. `label_smoothing`, 0 to 1, is subtracted from the label 1
      of real sequences, by losses that have labels.
    - `generator_loss(real, fake)` is minimized by the generator. `real` may
      be `None` unless the loss sets `compares_with_real`.

    Attributes:
        is_relative: bool. Whether only differences between logits have a
            meaning. Accuracies then compare logits with the middle between
            the means of both sides, and otherwise with 0.
        compares_with_real: bool. Whether `generator_loss` uses the logits of
            real sequences.
        gradient_penalty: float. Default weight of the gradient penalty.
    """

    is_relative = False
    compares_with_real = False
    gradient_penalty = 0.0

    def accuracies(self, real, fake):
        """Shares of real and of generated sequences that are told correctly.

        Returns:
            A pair of scalar tensors, each from 0 to 1.
        """
        threshold = 0.0
        if self.is_relative:
            threshold = (ops.mean(real) + ops.mean(fake)) / 2
        return (
            ops.mean(ops.cast(real > threshold, "float32")),
            ops.mean(ops.cast(fake < threshold, "float32")),
        )


class NonSaturating(AdversarialLoss):
    """Cross-entropy, with the generator's labels swapped.

    Reference:
        - [Goodfellow et al., 2014](https://arxiv.org/abs/1406.2661)
    """

    def discriminator_loss(self, real, fake, label_smoothing):
        real_loss = _real_cross_entropy(real, label_smoothing)
        return real_loss + ops.mean(ops.softplus(fake))

    def generator_loss(self, real, fake):
        return ops.mean(ops.softplus(-fake))


class Hinge(AdversarialLoss):
    """Logits count up to a margin of 1.

    Reference:
        - [Lim and Ye, 2017](https://arxiv.org/abs/1705.02894)
    """

    def discriminator_loss(self, real, fake, label_smoothing):
        return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))

    def generator_loss(self, real, fake):
        return -ops.mean(fake)


class Wasserstein(AdversarialLoss):
    """The difference between the mean logits of both sides.

    Reference:
        - [Arjovsky et al., 2017](https://arxiv.org/abs/1701.07875)
        - [Gulrajani et al., 2017](https://arxiv.org/abs/1704.00028): the
          weight of the penalty
    """

    is_relative = True
    gradient_penalty = 10.0

    def discriminator_loss(self, real, fake, label_smoothing):
        return ops.mean(fake) - ops.mean(real)

    def generator_loss(self, real, fake):
        return -ops.mean(fake)


class Relativistic(AdversarialLoss):
    """Cross-entropy of the difference between a real and a generated logit.

    Reference:
        - [Jolicoeur-Martineau, 2018](https://arxiv.org/abs/1807.00734)
    """

    is_relative = True
    compares_with_real = True

    def discriminator_loss(self, real, fake, label_smoothing):
        return _real_cross_entropy(real - fake, label_smoothing)

    def generator_loss(self, real, fake):
        return ops.mean(ops.softplus(real - fake))


LOSSES = {
    "non_saturating": NonSaturating(),
    "hinge": Hinge(),
    "wasserstein": Wasserstein(),
    "relativistic": Relativistic(),
}


def get(loss):
    """The `AdversarialLoss` of a name in `LOSSES`."""
    if loss not in LOSSES:
        raise ValueError(
            f"`loss` must be one of {', '.join(map(repr, LOSSES))}. "
            f"Received: loss={loss!r}"
        )
    return LOSSES[loss]


def _real_cross_entropy(logits, label_smoothing):
    """Cross-entropy with the label `1 - label_smoothing`."""
    return ops.mean(ops.softplus(-logits) + label_smoothing * logits)
