"""The optimizer steps of one round of adversarial training.

A round has steps by likelihood, steps of the discriminator and steps of the
generator. Batches are dicts of tensors, see `TransformerGAN`; ids have the
shape (batch, time).
"""

import dataclasses

import keras
from keras import ops

from keras_pianogen.gan import adversarial_losses
from keras_pianogen.gradients import input_gradient
from keras_pianogen.gradients import value_and_grad
from keras_pianogen.layers.building import check_sizes


@dataclasses.dataclass(frozen=True)
class RoundSettings:
    """The settings of a round; see `TransformerGAN.compile`."""

    loss: str
    discriminator_steps: int
    generator_steps: int
    likelihood_steps: int
    gradient_penalty: float
    label_smoothing: float
    feature_matching: float
    gradient_clipping: float | None
    averaging: float | None

    def __post_init__(self):
        check_sizes(discriminator_steps=self.discriminator_steps)
        if self.generator_steps:
            check_sizes(generator_steps=self.generator_steps)
        if self.averaging is not None and not 0 < self.averaging < 1:
            raise ValueError(
                "`averaging` must be above 0 and below 1. "
                f"Received: averaging={self.averaging}"
            )


class Learner:
    """A model that takes optimizer steps.

    Args:
        model: a `keras.Model`.
        optimizer: a `keras.optimizers.Optimizer`, built for the model.
        gradient_clipping: float. Largest global norm of a gradient, or `None`
            for no limit.
        gan: the `TransformerGAN`, whose variables a loss may read.
    """

    def __init__(self, model, optimizer, gradient_clipping, gan):
        self.model, self.optimizer = model, optimizer
        self.gradient_clipping, self.gan = gradient_clipping, gan

    def step(self, function):
        """Take one optimizer step on a loss.

        Args:
            function: see `value_and_grad`.

        Returns:
            A triple of the loss, the other tensors of the function, and the
            global norm of the gradient before it was clipped.
        """
        variables = self.model.trainable_variables
        own = {id(v) for v in variables}
        others = [v for v in self.gan.variables if id(v) not in own]
        loss, kept, gradients = value_and_grad(function, variables, others)
        norm = _global_norm(gradients)
        if self.gradient_clipping is not None:
            scale = ops.minimum(1.0, self.gradient_clipping / (norm + 1e-12))
            gradients = [g * ops.cast(scale, g.dtype) for g in gradients]
        self.optimizer.apply(gradients, variables)
        return loss, kept, norm


class AdversarialSteps:
    """The steps of a compiled `TransformerGAN`. Each returns a dict of logs.

    Args:
        gan: the `TransformerGAN`.
        settings: a `RoundSettings`.
    """

    def __init__(self, gan, settings):
        self.gan, self.settings, self.fakes = gan, settings, gan.fakes
        self.loss = adversarial_losses.get(settings.loss)
        self.generator, self.discriminator = (
            Learner(model, optimizer, settings.gradient_clipping, gan)
            for model, optimizer in (
                (gan.generator, gan.generator_optimizer),
                (gan.discriminator, gan.discriminator_optimizer),
            )
        )

    def round(self, batch):
        """All steps of a round; the logs are those of its last steps."""
        settings, logs = self.settings, {}
        count = settings.discriminator_steps + settings.likelihood_steps
        parts = [_part(batch, i, count) for i in range(count)]
        for _ in range(settings.likelihood_steps):
            logs |= self.likelihood_step(parts.pop()["token_ids"])
        for part in parts:
            drawn = self._draw(part)
            logs |= self.discriminator_step(part, drawn)
        if settings.generator_steps:
            logs |= self.generator_step(part, drawn)
        for _ in range(settings.generator_steps - 1):
            logs |= self.generator_step(part, self._draw(part))
        return logs

    def likelihood_step(self, ids):
        """One step of a language model towards real events."""
        model = self.generator.model
        value, _, _ = self.generator.step(
            lambda: (self.fakes.nats_per_event(model, ids), ())
        )
        return {"nats_per_event": value}

    def discriminator_step(self, batch, drawn):
        """One step of the discriminator, to tell real events from fakes."""
        judge, weight = self.discriminator.model, self.settings.gradient_penalty
        fake = ops.stop_gradient(self._events(drawn, training=True))
        real = self._one_hot(batch["token_ids"])
        mixed = self._mix(real, fake, batch.get("mixing")) if weight else None

        def loss():
            real_logits = judge(real, training=True)
            fake_logits = judge(fake, training=True)
            value = self._discriminator_loss(real_logits, fake_logits)
            if weight:
                penalty = gradient_penalty(judge, mixed, self.gan.variables)
                value = value + weight * penalty
            return value, (real_logits, fake_logits)

        value, logits, _ = self.discriminator.step(loss)
        return self._accuracies(*logits) | {"discriminator_loss": value}

    def generator_step(self, batch, drawn):
        """One step of the generator, to have its fakes judged as real."""
        judge, weight = self.discriminator.model, self.settings.feature_matching
        real = None  # Most losses use generated sequences alone.
        if self.loss.compares_with_real or weight:
            real = self._one_hot(batch["token_ids"])

        def loss():
            events = self._events(drawn, training=True)
            fake_logits, fake_features = judge.with_features(
                events, training=True
            )
            real_logits = None
            if real is not None:
                real_logits, real_features = judge.with_features(
                    real, training=True
                )
            value = self.loss.generator_loss(real_logits, fake_logits)
            if weight:
                value = value + weight * _gap(fake_features, real_features)
            return value, ()

        value, _, norm = self.generator.step(loss)
        return {"generator_loss": value, "generator_gradient_norm": norm}

    def evaluate(self, batch):
        """Losses and accuracies on a batch, without a step."""
        fake = self._events(self._draw(batch), training=False)
        real = self._one_hot(batch["token_ids"])
        logits = [
            self.discriminator.model(events, training=False)
            for events in (real, fake)
        ]
        return self._accuracies(*logits) | {
            "discriminator_loss": self._discriminator_loss(*logits),
            "generator_loss": self.loss.generator_loss(*logits),
        }

    def _draw(self, batch):
        return self.fakes.draw(self.generator.model, batch)

    def _events(self, drawn, training):
        step = self.gan.rounds.value
        return self.fakes.events(self.generator.model, drawn, step, training)

    def _one_hot(self, ids):
        return ops.one_hot(ids, self.discriminator.model.vocabulary_size)

    def _mix(self, real, fake, share):
        """Points between real and generated sequences, for the penalty."""
        if share is None:
            share = keras.random.uniform(
                ops.shape(real)[:1], seed=self.gan.seed_generator
            )
        share = share[:, None, None]
        return share * real + (1 - share) * fake

    def _discriminator_loss(self, real, fake):
        smoothing = self.settings.label_smoothing
        return self.loss.discriminator_loss(real, fake, smoothing)

    def _accuracies(self, real, fake):
        shares = self.loss.accuracies(real, fake)
        return dict(zip(("real_accuracy", "fake_accuracy"), shares))


def gradient_penalty(judge, events, variables):
    """The penalty on gradients whose norm isn't 1.

    Args:
        judge: a discriminator.
        events: float tensor (batch, time, N).
        variables: list of all variables that the discriminator may read.

    Returns:
        A scalar tensor.

    Reference:
        - [Gulrajani et al., 2017](https://arxiv.org/abs/1704.00028), equation
          3
    """
    # Without dropout, because its masks would differ from those of the loss.
    slopes = input_gradient(
        lambda x: judge(x, training=False), events, variables
    )
    squares = ops.sum(ops.square(slopes), axis=(1, 2))  # (batch,)
    return ops.mean(ops.square(ops.sqrt(squares + 1e-12) - 1))


def _gap(fake, real):
    """The squared distance between mean features (Salimans et al., 2016)."""
    gap = ops.mean(fake, axis=0) - ops.mean(real, axis=0)
    return ops.sum(ops.square(gap))


def _part(batch, index, count):
    """One of `count` equal parts of a batch, a dict of tensors."""
    size = ops.shape(batch["token_ids"])[0] // count
    return {
        name: x[index * size : (index + 1) * size] for name, x in batch.items()
    }


def _global_norm(gradients):
    total = sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients)
    return ops.sqrt(total)
