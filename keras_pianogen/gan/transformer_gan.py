"""A generator and a discriminator of events, trained against each other."""

import contextlib

import keras
import keras_hub
import numpy as np
from keras import ops

from keras_pianogen.data.feeding import feed_training
from keras_pianogen.gan import adversarial_losses
from keras_pianogen.gan.continuation import bars
from keras_pianogen.gan.continuation import continue_events
from keras_pianogen.gan.continuation import event_logits
from keras_pianogen.gan.continuation import relax
from keras_pianogen.gradients import input_gradient
from keras_pianogen.gradients import run_test_step
from keras_pianogen.gradients import run_train_step
from keras_pianogen.gradients import value_and_grad
from keras_pianogen.layers import GumbelSoftmax
from keras_pianogen.layers.building import check_sizes
from keras_pianogen.models.causal_lm import MusicTransformerCausalLM
from keras_pianogen.models.presets import verified_presets


@verified_presets
@keras.saving.register_keras_serializable(package="keras_pianogen")
class TransformerGAN(keras_hub.models.Backbone):
    """A Transformer-GAN over events, trained with `fit`.

    Two kinds of generators are taken. A `MusicTransformerGenerator` turns
    noise into all events of a sequence at once, as in the paper. A
    `MusicTransformerCausalLM` writes one event after another: it continues
    the first `context_length` events of real sequences, and goes on being
    trained by likelihood beside (adversarial fine-tuning, Muhamed et al.,
    2021).

    One call of `train_step` is a round: `likelihood_steps` steps by
    likelihood, `discriminator_steps` of the discriminator and
    `generator_steps` of the generator. The first two are on parts of the
    batch of their own, so that its size must be divisible by the number of
    both.

    A batch is ids of shape (batch, time), or a dict of them as `token_ids`,
    as `EventWindows` has it. The dict may also bring random numbers, each
    with the batch's size, in place of the model's own: `noise`, what a
    generator from noise takes; `gumbel_noise` (batch, length, vocabulary
    size), of the draws; `mixing` (batch,), 0 to 1, where between real and
    generated the gradient penalty is taken. With all of them and no dropout a
    round is the same on every backend.

    Args:
        generator: a `MusicTransformerGenerator` or a
            `MusicTransformerCausalLM`.
        discriminator: a `MusicTransformerDiscriminator` of the same
            `vocabulary_size`.
        sampling: a `GumbelSoftmax`, between the two. Defaults to
            `GumbelSoftmax()`, straight-through at a temperature of 1. With a
            language model it must be straight-through.
        context_length: int. Real events that a language model continues.
            Defaults to `32`.
        feedback: int. Over how many later draws of a language model the
            gradient of an event is followed, see `continuation.relax`.
            Defaults to `1`.
        barred_ids: ids that the generator may not draw, such as padding.
            Defaults to the special ids of a language model's tokenizer, to
            none for a generator from noise.
        averaged_generator: a generator of the same shape, whose weights are
            the average that `compile(averaging=...)` keeps. Defaults to
            `None`, none yet.
        seed: int, or `None`. Of noise.
        **kwargs: `name` and `trainable`.

    Call arguments:
        inputs: what the generator takes.

    Returns:
        The discriminator's logits (batch, 1) for what the generator makes of
        the inputs: of noise, events; of event ids, the events it expects
        next.

    Examples:
        Adversarial fine-tuning of a preset:

        ```python
        generator = MusicTransformerCausalLM.from_preset(
            "music_transformer_maestro"
        )
        discriminator = MusicTransformerDiscriminator.from_music_transformer(
            generator.backbone, num_layers=3, frozen_layers=2
        )
        gan = TransformerGAN(generator, discriminator)
        gan.compile(keras.optimizers.Adam(1e-5), keras.optimizers.Adam(1e-4))
        windows = EventWindows(
            corpus, vocabulary=vocabulary, sequence_length=128, batch_size=48
        )
        gan.fit(windows, epochs=1)
        gan.generator.save_to_preset("fine_tuned")
        ```
    """

    def __init__(
        self,
        generator,
        discriminator,
        sampling=None,
        context_length=32,
        feedback=1,
        barred_ids=None,
        averaged_generator=None,
        seed=None,
        **kwargs,
    ):
        self.generator = generator
        self.discriminator = discriminator
        self.sampling = sampling or GumbelSoftmax(seed=seed, name="sampling")
        self.continues = isinstance(generator, MusicTransformerCausalLM)
        _check_pair(generator, discriminator, self.sampling, self.continues)
        check_sizes(context_length=context_length)
        if feedback < 0:
            raise ValueError(
                f"`feedback` must be 0 or more. Received: feedback={feedback}"
            )

        # === Functional Model ===
        events = self.sampling(generator(generator.input))
        outputs = discriminator(events)
        super().__init__(inputs=generator.input, outputs=outputs, **kwargs)

        # === Config ===
        self.context_length = context_length
        self.feedback = feedback
        if barred_ids is None and self.continues and generator.preprocessor:
            barred_ids = generator.preprocessor.tokenizer.special_token_ids
        self.barred_ids = sorted(int(i) for i in barred_ids or ())
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rounds = keras.Variable(
            0, dtype="int32", trainable=False, name="rounds"
        )
        self.averaged_generator = averaged_generator
        if averaged_generator is not None:
            averaged_generator.trainable = False  # Nobody trains it.

    def compile(
        self,
        generator_optimizer="auto",
        discriminator_optimizer="auto",
        loss="non_saturating",
        *,
        discriminator_steps=1,
        generator_steps=1,
        likelihood_steps=None,
        gradient_penalty=None,
        label_smoothing=0.0,
        feature_matching=0.0,
        gradient_clipping=1.0,
        averaging=None,
        **kwargs,
    ):
        """Configure training.

        Args:
            generator_optimizer: `"auto"` (Adam at 1e-4, beta_1 0.5; for a
                language model 1e-5), an optimizer or its name.
            discriminator_optimizer: `"auto"` (Adam at 1e-4, beta_1 0.5), an
                optimizer or its name.
            loss: `"non_saturating"`, `"hinge"`, `"wasserstein"` or
                `"relativistic"`, see `adversarial_losses`.
            discriminator_steps: int. Steps of a round, as the next two.
            generator_steps: int. With `0`, and no likelihood steps, the
                discriminator learns alone; the same optimizers go on if the
                model is compiled anew afterwards.
            likelihood_steps: int. Defaults to `5` for a language model; `0`
                and nothing else for a generator from noise.
            gradient_penalty: float. Weight of the penalty on gradients whose
                norm isn't 1, between real and generated events (Gulrajani et
                al., 2017, equation 3). Defaults to `10.0` with
                `"wasserstein"`, otherwise to `0.0`.
            label_smoothing: float, 0 to 1. Of real sequences alone (Salimans
                et al., 2016); 0.1 makes their labels 0.9.
            feature_matching: float. Weight of the squared distance between
                mean pooled features of real and of generated sequences, in
                the generator's loss (Salimans et al., 2016).
            gradient_clipping: float. Largest global norm of each gradient;
                `None` for any.
            averaging: float, 0 to 1. Momentum of an exponential average of
                the generator's weights, kept in `averaged_generator`. `None`
                for no average.
            **kwargs: See `keras.Model.compile`.
        """
        adversarial_losses.check_loss(loss)
        if likelihood_steps is None:
            likelihood_steps = 5 if self.continues else 0
        check_sizes(discriminator_steps=discriminator_steps)
        if generator_steps:
            check_sizes(generator_steps=generator_steps)
        if likelihood_steps and not self.continues:
            raise ValueError(
                "A generator from noise has no likelihood. "
                f"Received: likelihood_steps={likelihood_steps}"
            )
        if gradient_penalty is None:
            gradient_penalty = 10.0 if loss == "wasserstein" else 0.0
        if averaging is not None and not 0 < averaging < 1:
            raise ValueError(
                "`averaging` must be above 0 and below 1. "
                f"Received: averaging={averaging}"
            )
        self.settings = {
            "loss": loss,
            "discriminator_steps": discriminator_steps,
            "generator_steps": generator_steps,
            "likelihood_steps": likelihood_steps,
            "gradient_penalty": gradient_penalty,
            "label_smoothing": label_smoothing,
            "feature_matching": feature_matching,
            "gradient_clipping": gradient_clipping,
            "averaging": averaging,
        }
        rate = 1e-5 if self.continues else 1e-4
        self.generator_optimizer = _optimizer(generator_optimizer, rate)
        self.discriminator_optimizer = _optimizer(discriminator_optimizer, 1e-4)
        judges = {id(v) for v in self.discriminator.trainable_variables}
        if averaging is not None and self.averaged_generator is None:
            self.averaged_generator = _copy(self.generator)
            self.averaged_generator.trainable = False
        # JAX hands `fit` the variables of one optimizer only.
        optimizer = keras.optimizers.MultiOptimizer(
            lambda variable: (
                self.discriminator_optimizer
                if id(variable) in judges
                else self.generator_optimizer
            )
        )
        optimizer.build(self.trainable_variables)
        super().compile(optimizer=optimizer, loss=None, **kwargs)

    def fit(self, x=None, callbacks=None, **kwargs):
        """Train both.

        Args:
            x: real music, `keras_pianogen.EventWindows` or whatever else Keras
                trains on, without targets of its own.
            callbacks: `keras.callbacks.Callback` objects.
            **kwargs: See `keras.Model.fit`.

        Returns:
            A `keras.callbacks.History`.
        """
        shuffle = kwargs.get("shuffle", True)
        x, callbacks = feed_training(x, callbacks, shuffle)
        return super().fit(x, callbacks=callbacks, **kwargs)

    def get_compile_config(self):
        if not self.compiled:
            return None
        return self.settings | {
            name: _serialize_optimizer(getattr(self, name))
            for name in ("generator_optimizer", "discriminator_optimizer")
        }

    def compile_from_config(self, config):
        config = dict(config)
        for name in ("generator_optimizer", "discriminator_optimizer"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        self.compile(**config)

    # === Steps ===

    def train_step(self, *args):
        """One round; see the class. Logs are of the round's last steps."""
        return run_train_step(self, self._round, args)

    def test_step(self, *args):
        """Losses and accuracies on a batch; no weight changes."""
        return run_test_step(self, self._judge, args)

    def _round(self, data):
        batch, count = self._batch(data), self._batches_of_a_round
        parts = [_part(batch, i, count) for i in range(count)]
        logs = {}
        for _ in range(self.settings["likelihood_steps"]):
            logs |= self._likelihood_step(parts.pop()["token_ids"])
        for part in parts:
            fakes = self._draw(part)
            logs |= self._discriminator_step(part, fakes)
        if not self.settings["generator_steps"]:
            return logs
        logs |= self._generator_step(part, fakes)
        for _ in range(self.settings["generator_steps"] - 1):
            logs |= self._generator_step(part, self._draw(part))
        self.rounds.assign(self.rounds.value + 1)
        self._update_average()
        return logs

    @property
    def _batches_of_a_round(self):
        return (
            self.settings["discriminator_steps"]
            + self.settings["likelihood_steps"]
        )

    def _judge(self, data):
        batch = self._batch(data)
        fake = self._events(self._draw(batch), training=False)
        real = self._one_hot(batch["token_ids"])
        real_logits = self.discriminator(real, training=False)
        fake_logits = self.discriminator(fake, training=False)
        loss = self.settings["loss"]
        return self._accuracies(real_logits, fake_logits) | {
            "discriminator_loss": adversarial_losses.discriminator_loss(
                loss, real_logits, fake_logits, self.settings["label_smoothing"]
            ),
            "generator_loss": adversarial_losses.generator_loss(
                loss, real_logits, fake_logits
            ),
        }

    def _likelihood_step(self, ids):
        generator = self.generator

        def loss():
            logits = event_logits(generator, ids[:, :-1], training=True)
            losses = ops.sparse_categorical_crossentropy(
                ids[:, 1:], logits, from_logits=True
            )
            return ops.mean(losses), ()

        value, _, gradients = self._value_and_grad(loss, generator)
        self._apply(self.generator_optimizer, gradients, generator)
        return {"nats_per_event": value}

    def _discriminator_step(self, batch, fakes):
        """Tell real events from what was drawn."""
        settings, judge = self.settings, self.discriminator
        fake = ops.stop_gradient(self._events(fakes, training=True))
        real = self._one_hot(batch["token_ids"])
        mixed = self._mix(real, fake, batch.get("mixing"))

        def loss():
            real_logits = judge(real, training=True)
            fake_logits = judge(fake, training=True)
            value = adversarial_losses.discriminator_loss(
                settings["loss"],
                real_logits,
                fake_logits,
                settings["label_smoothing"],
            )
            if settings["gradient_penalty"]:
                penalty = self._gradient_penalty(mixed)
                value = value + settings["gradient_penalty"] * penalty
            return value, (real_logits, fake_logits)

        value, logits, gradients = self._value_and_grad(loss, judge)
        self._apply(self.discriminator_optimizer, gradients, judge)
        return self._accuracies(*logits) | {"discriminator_loss": value}

    def _accuracies(self, real, fake):
        right = adversarial_losses.accuracies(self.settings["loss"], real, fake)
        return {"real_accuracy": right[0], "fake_accuracy": right[1]}

    def _generator_step(self, batch, fakes):
        """Make the discriminator take what was drawn for real."""
        settings, judge = self.settings, self.discriminator
        real = None  # Most losses look at generated sequences alone.
        if settings["loss"] == "relativistic" or settings["feature_matching"]:
            real = self._one_hot(batch["token_ids"])

        def loss():
            events = self._events(fakes, training=True)
            fake_logits, fake = judge.with_features(events, training=True)
            real_logits = features = None
            if real is not None:
                real_logits, features = judge.with_features(real, training=True)
            value = adversarial_losses.generator_loss(
                settings["loss"], real_logits, fake_logits
            )
            if settings["feature_matching"]:
                gap = ops.mean(fake, axis=0) - ops.mean(features, axis=0)
                gap = ops.sum(ops.square(gap))
                value = value + settings["feature_matching"] * gap
            return value, ()

        value, _, gradients = self._value_and_grad(loss, self.generator)
        norm = _global_norm(gradients)
        self._apply(self.generator_optimizer, gradients, self.generator)
        return {"generator_loss": value, "generator_gradient_norm": norm}

    # === Fakes ===

    def draw_inputs(self, batch_size):
        """Noise for a generator from noise, a float tensor."""
        shape = self.generator.input.shape[1:]
        return keras.random.normal(
            (batch_size, *shape), seed=self.seed_generator
        )

    def _draw(self, batch):
        """What fakes are made of, without a gradient: see `_events`."""
        real, gumbel = batch["token_ids"], batch.get("gumbel_noise")
        size = ops.shape(real)[0]
        if not self.continues:
            noise = batch.get("noise")
            return (self.draw_inputs(size) if noise is None else noise), gumbel
        context = real[:, : self.context_length]
        length = real.shape[1] - self.context_length
        if gumbel is None:
            gumbel = self.sampling.draw_noise(
                (size, length, self.discriminator.vocabulary_size)
            )
        gumbel = gumbel + self._bars
        new = continue_events(self.generator, context, gumbel)
        return ops.concatenate([context, new], axis=1), gumbel

    def _events(self, fakes, training):
        """One-hot events, or distributions, with the generator's gradient."""
        source, gumbel = fakes
        step = self.rounds.value
        if not self.continues:
            logits = self.generator(source, training=training) + self._bars
            return self.sampling(logits, noise=gumbel, step=step)
        if not training:
            return self._one_hot(source)
        temperature = self.sampling.temperature_at(step)
        return relax(self.generator, source, gumbel, temperature, self.feedback)

    @property
    def _bars(self):
        """What is added to logits, so that barred ids are never drawn."""
        size = self.discriminator.vocabulary_size
        return ops.convert_to_tensor(bars(size, self.barred_ids))

    def _one_hot(self, ids):
        return ops.one_hot(ids, self.discriminator.vocabulary_size)

    def _batch(self, data):
        """A batch as a dict, its ids checked."""
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        batch = dict(x) if isinstance(x, dict) else {"token_ids": x}
        batch.pop("padding_mask", None)
        batch = {name: ops.convert_to_tensor(x) for name, x in batch.items()}
        batch["token_ids"] = ids = ops.cast(batch["token_ids"], "int32")
        if not self.continues:
            expected = self.generator.sequence_length
            if ids.shape[1] != expected:
                raise ValueError(
                    "Real sequences must be as long as the generator's, "
                    f"{expected} events. Received: {ids.shape[1]} events"
                )
        elif ids.shape[1] <= self.context_length:
            raise ValueError(
                "Sequences must be longer than `context_length`, "
                f"{self.context_length} events. Received: {ids.shape[1]} events"
            )
        return batch

    # === Gradients ===

    def _mix(self, real, fake, share):
        """Points between real and generated sequences, for the penalty."""
        if not self.settings["gradient_penalty"]:
            return None
        if share is None:
            share = keras.random.uniform(
                ops.shape(real)[:1], seed=self.seed_generator
            )
        share = share[:, None, None]
        return share * real + (1 - share) * fake

    def _gradient_penalty(self, mixed):
        # Without dropout, whose masks would be others than the loss's.
        slopes = input_gradient(
            lambda x: self.discriminator(x, training=False),
            mixed,
            self.variables,
        )
        squares = ops.sum(ops.square(slopes), axis=(1, 2))
        return ops.mean(ops.square(ops.sqrt(squares + 1e-12) - 1))

    def _value_and_grad(self, function, model):
        own = {id(v) for v in model.trainable_variables}
        others = [v for v in self.variables if id(v) not in own]
        return value_and_grad(function, model.trainable_variables, others)

    def _apply(self, optimizer, gradients, model):
        limit = self.settings["gradient_clipping"]
        if limit is not None:
            scale = ops.minimum(1.0, limit / (_global_norm(gradients) + 1e-12))
            gradients = [g * ops.cast(scale, g.dtype) for g in gradients]
        optimizer.apply(gradients, model.trainable_variables)

    def _update_average(self):
        if self.settings["averaging"] is None:
            return
        momentum = self.settings["averaging"]
        for average, variable in zip(
            self.averaged_generator.variables,
            self.generator.variables,
            strict=True,
        ):
            if "float" in keras.backend.standardize_dtype(variable.dtype):
                average.assign(
                    average.value * momentum + variable.value * (1 - momentum)
                )

    # === Results ===

    def trained_generator(self):
        """A generator of its own, with the averaged weights if there are some.

        It can be saved, and trained further.
        """
        source = self.averaged_generator or self.generator
        copy = _copy(self.generator, source.get_weights())
        copy.trainable = True
        return copy

    def generate(self, inputs, averaged=None, seed=None):
        """Event ids, as they are seen by the discriminator.

        Args:
            inputs: for a generator from noise, noise or the number of
                sequences; for a language model, ids of shape (batch,
                context_length + length), whose first `context_length` are
                continued. More than ids, notes and MIDI say: see
                `MusicTransformerCausalLM.generate`.
            averaged: bool. Whether to use the averaged weights. Defaults to
                whether there are some.
            seed: int. The same seed and inputs give the same events, and the
                model's own random numbers stay as they are. Defaults to
                `None`, its own.

        Returns:
            An int array of shape (batch, time).
        """
        with _drawing_from(seed, self.sampling, self):
            return self._generate(inputs, averaged)

    def _generate(self, inputs, averaged):
        own = self.generator
        if self.averaged_generator is not None and averaged is not False:
            self.generator = self.averaged_generator
        try:
            if isinstance(inputs, int):
                inputs = self.draw_inputs(inputs)
            if self.continues:
                ids = self._draw({"token_ids": ops.cast(inputs, "int32")})[0]
            else:
                logits = self.generator(inputs, training=False) + self._bars
                ids = ops.argmax(self.sampling(logits), axis=-1)
        finally:
            self.generator = own
        return ops.convert_to_numpy(ids).astype("int32")

    def get_config(self):
        # Without `trainable`, which would thaw the frozen parts.
        return {
            "name": self.name,
            "generator": _serialize(self.generator),
            "discriminator": _serialize(self.discriminator),
            "sampling": _serialize(self.sampling),
            "context_length": self.context_length,
            "feedback": self.feedback,
            "barred_ids": self.barred_ids,
            "averaged_generator": self.averaged_generator
            and _serialize(self.averaged_generator),
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        parts = "generator", "discriminator", "sampling", "averaged_generator"
        for name in parts:
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(
                    config[name]
                )
        return cls(**config)


@contextlib.contextmanager
def _drawing_from(seed, *owners):
    """Random numbers from a seed for a while; then from where they were."""
    if seed is None:
        yield
        return
    states = [owner.seed_generator.state for owner in owners]
    before = [ops.convert_to_numpy(state).copy() for state in states]
    drawn = np.random.SeedSequence(seed).generate_state(len(states))
    for state, first in zip(states, drawn, strict=True):
        state.assign(np.array([first, 0], "uint32"))
    try:
        yield
    finally:
        for state, value in zip(states, before, strict=True):
            state.assign(value)


def _check_pair(generator, discriminator, sampling, continues):
    size = generator.vocabulary_size if not continues else (
        generator.backbone.vocabulary_size
    )  # fmt: skip
    if size != discriminator.vocabulary_size:
        raise ValueError(
            "`generator` and `discriminator` must have the same "
            f"`vocabulary_size`. Received: {size} and "
            f"{discriminator.vocabulary_size}"
        )
    if continues and sampling.mode != "straight_through":
        raise ValueError(
            "A language model draws one event after another, so `sampling` "
            f"must be straight-through. Received: mode={sampling.mode!r}"
        )


def _optimizer(optimizer, learning_rate):
    if optimizer == "auto":
        return keras.optimizers.Adam(learning_rate, beta_1=0.5)
    return keras.optimizers.get(optimizer)


def _serialize_optimizer(optimizer):
    config = keras.saving.serialize_keras_object(optimizer)
    if config["module"].startswith("keras.src.backend"):
        # On PyTorch Keras writes the name of a class that is PyTorch's alone.
        config["module"] = "keras.optimizers"
        config["registered_name"] = None
    return config


def _serialize(part):
    config = keras.saving.serialize_keras_object(part)
    # The parts are compiled by the whole.
    config.pop("compile_config", None)
    return config


def _copy(model, weights=None):
    """A model of its own with the same weights, or others."""
    copy = model.__class__.from_config(model.get_config())
    copy.set_weights(model.get_weights() if weights is None else weights)
    return copy


def _part(batch, index, count):
    """One of `count` equal parts of a batch, a dict of tensors."""
    size = ops.shape(batch["token_ids"])[0] // count
    return {
        name: x[index * size : (index + 1) * size] for name, x in batch.items()
    }


def _global_norm(gradients):
    total = sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients)
    return ops.sqrt(total)
